//! Rules of any device tree.

use super::{Report, Rule, device_type, number};
use crate::fdt::{Node, Tree};
use std::collections::BTreeMap;

const CELLS: Rule = Rule {
    id: "cells",
    text: "a node whose children have reg says #address-cells and #size-cells, each at most 4",
    source: "Devicetree Specification 0.4 §2.3.5",
};
const REG: Rule = Rule {
    id: "reg-length",
    text: "reg is a whole, non-zero number of (address, size) entries in the parent's cells",
    source: "Devicetree Specification 0.4 §2.3.6",
};
const UNIT: Rule = Rule {
    id: "unit-address",
    text: "a unit address is the first address of reg, and a node without reg has none",
    source: "Devicetree Specification 0.4 §2.2.1",
};
const NAMES: Rule = Rule {
    id: "unique-names",
    text: "siblings have different names, and properties of a node too",
    source: "Devicetree Specification 0.4 §2.2.1",
};
const PHANDLE: Rule = Rule {
    id: "phandle-unique",
    text: "a phandle is one cell, not 0 or 0xffffffff, and given once",
    source: "Devicetree Specification 0.4 §2.3.3",
};
const PARENT: Rule = Rule {
    id: "interrupt-parent",
    text: "interrupt-parent is the phandle of a node with #interrupt-cells",
    source: "Devicetree Specification 0.4 §2.4.1",
};
const INTERRUPTS: Rule = Rule {
    id: "interrupts-length",
    text: "interrupts is a whole number of specifiers of the node's interrupt parent",
    source: "Devicetree Specification 0.4 §2.4.1",
};
const MAP: Rule = Rule {
    id: "interrupt-map",
    text: "each interrupt-map row is a unit address, a specifier, a phandle, and the parent's address and specifier; the mask is the row's start",
    source: "Devicetree Specification 0.4 §2.4.3",
};

pub(super) const RULES: &[&Rule] = &[
    &CELLS,
    &REG,
    &UNIT,
    &NAMES,
    &PHANDLE,
    &PARENT,
    &INTERRUPTS,
    &MAP,
];

struct Context<'a> {
    report: &'a mut Report,
    phandles: BTreeMap<u32, &'a Node>,
}

pub(super) fn check(tree: &Tree, report: &mut Report) {
    let mut phandles = BTreeMap::new();
    for (path, node) in tree.walk() {
        names(node, &path, report);
        if node.get("phandle").is_none() {
            continue;
        }
        match node.get_u32("phandle") {
            Some(handle) if handle != 0 && handle != u32::MAX => {
                if phandles.insert(handle, node).is_some() {
                    report.add(&PHANDLE, &path, format!("{handle:#x} is given twice"));
                }
            }
            _ => report.add(&PHANDLE, &path, "not a phandle"),
        }
    }
    let mut context = Context { report, phandles };
    // Each node with its path, its parent and the interrupt parent that it inherits.
    let mut todo = vec![("/".to_owned(), &tree.root, None, None)];
    while let Some((path, node, parent, inherited)) = todo.pop() {
        if let Some(parent) = parent {
            reg(node, parent, &path, context.report);
        }
        let controller = context.interrupt_parent(node, inherited, &path);
        context.interrupts(node, controller, &path);
        context.map(node, &path);
        cells(node, &path, context.report);
        // A node that maps or takes interrupts is the interrupt parent of its children.
        let own = node.get("#interrupt-cells").is_some().then_some(node);
        for child in node.children.iter().rev() {
            let path = if path == "/" {
                format!("/{}", child.name)
            } else {
                format!("{path}/{}", child.name)
            };
            todo.push((path, child, Some(node), own.or(controller)));
        }
    }
}

fn names(node: &Node, path: &str, report: &mut Report) {
    let siblings = node
        .children
        .iter()
        .map(|c| c.name.as_str())
        .collect::<Vec<_>>();
    let properties = node
        .properties
        .iter()
        .map(|(n, _)| n.as_str())
        .collect::<Vec<_>>();
    for mut list in [siblings, properties] {
        list.sort_unstable();
        for pair in list.windows(2).filter(|w| w[0] == w[1]) {
            report.add(&NAMES, path, format!("{} is there twice", pair[0]));
        }
    }
}

fn cells(node: &Node, path: &str, report: &mut Report) {
    if !node.children.iter().any(|c| c.get("reg").is_some()) {
        return;
    }
    for name in ["#address-cells", "#size-cells"] {
        match node.get_u32(name) {
            Some(0..=4) => {}
            Some(n) => report.add(&CELLS, path, format!("{name} is {n}")),
            None => report.add(&CELLS, path, format!("{name} is missing or not one cell")),
        }
    }
}

fn reg(node: &Node, parent: &Node, path: &str, report: &mut Report) {
    let unit = node.name.split_once('@').map(|(_, u)| u);
    let Some(reg) = node.get("reg") else {
        report.require(unit.is_none(), &UNIT, path, || {
            "a unit address without reg".into()
        });
        return;
    };
    let (Some(address @ 0..=4), Some(size @ 0..=4)) = (
        parent.get_u32("#address-cells"),
        parent.get_u32("#size-cells"),
    ) else {
        return; // said by CELLS
    };
    let entry = (address + size) as usize * 4;
    if entry == 0 || reg.is_empty() || !reg.len().is_multiple_of(entry) {
        report.add(
            &REG,
            path,
            format!("{} bytes, entries of {entry}", reg.len()),
        );
        return;
    }
    // A PCI function's unit address is device,function.
    if device_type(parent) == "pci" {
        return;
    }
    let first = node.get_cells("reg").unwrap_or_default();
    let Some(base) = first.get(..address as usize).and_then(number) else {
        return;
    };
    let holds = unit.is_some_and(|u| u64::from_str_radix(u, 16) == Ok(base));
    report.require(holds, &UNIT, path, || format!("reg starts at {base:#x}"));
}

impl<'a> Context<'a> {
    fn interrupt_parent(
        &mut self,
        node: &Node,
        inherited: Option<&'a Node>,
        path: &str,
    ) -> Option<&'a Node> {
        if node.get("interrupt-parent").is_none() {
            return inherited;
        }
        let found = node
            .get_u32("interrupt-parent")
            .and_then(|p| self.phandles.get(&p).copied())
            .filter(|n| n.get_u32("#interrupt-cells").is_some());
        self.report
            .require(found.is_some(), &PARENT, path, || "does not resolve".into());
        found
    }

    fn interrupts(&mut self, node: &Node, controller: Option<&Node>, path: &str) {
        let Some(value) = node.get("interrupts") else {
            return;
        };
        match controller.and_then(|c| c.get_u32("#interrupt-cells")) {
            Some(cells @ 1..=8) => {
                let whole = !value.is_empty() && value.len().is_multiple_of(cells as usize * 4);
                self.report.require(whole, &INTERRUPTS, path, || {
                    format!("{} bytes, specifiers of {cells} cells", value.len())
                });
            }
            _ => self.report.add(&INTERRUPTS, path, "no interrupt parent"),
        }
    }

    fn map(&mut self, node: &Node, path: &str) {
        if node.get("interrupt-map").is_none() {
            return;
        }
        let (Some(address @ 0..=4), Some(specifier @ 1..=8), Some(cells)) = (
            node.get_u32("#address-cells"),
            node.get_u32("#interrupt-cells"),
            node.get_cells("interrupt-map"),
        ) else {
            self.report.add(&MAP, path, "cells are missing");
            return;
        };
        let start = (address + specifier) as usize;
        let Some(mask) = node
            .get_cells("interrupt-map-mask")
            .filter(|m| m.len() == start)
        else {
            self.report.add(
                &MAP,
                path,
                format!("interrupt-map-mask is not {start} cells"),
            );
            return;
        };
        let mut rest = cells.as_slice();
        while let Some((row, after)) = rest.split_at_checked(start) {
            if row.is_empty() || rest.is_empty() {
                break;
            }
            if row.iter().zip(&mask).any(|(r, m)| r & !m != 0) {
                self.report
                    .add(&MAP, path, "a row has bits outside the mask");
            }
            let parent = after.first().and_then(|p| self.phandles.get(p));
            let Some(width) = parent.and_then(|p| {
                let address = p.get_u32("#address-cells").unwrap_or(0);
                let specifier = p.get_u32("#interrupt-cells")?;
                (address <= 4 && (1..=8).contains(&specifier))
                    .then(|| (address + specifier) as usize)
            }) else {
                self.report
                    .add(&MAP, path, "a row's interrupt parent does not resolve");
                return;
            };
            match after.get(1 + width..) {
                Some(next) => rest = next,
                None => break,
            }
        }
        self.report
            .require(rest.is_empty(), &MAP, path, || "the last row is cut".into());
    }
}

//! Rules of dynamic reconfiguration: connectors of host bridges and of slots, blocks of memory.

use super::{Report, Rule, Span, device_type, memory};
use crate::fdt::{Node, Tree};

const CONNECTORS: Rule = Rule {
    id: "drc",
    text: "ibm,drc-indexes, -names, -types and -power-domains have as many entries as they say; no index is given twice",
    source: "LoPAR §13.5.2",
};
const MINE: Rule = Rule {
    id: "my-drc-index",
    text: "ibm,my-drc-index is one of the parent's ibm,drc-indexes",
    source: "LoPAR §13.5.2",
};
const TYPES: Rule = Rule {
    id: "drc-type",
    text: "the connector of a host bridge has the type PHB; one below a host bridge has SLOT, or a number if the slot can be hot-plugged",
    source: "LoPAR §13.5.2",
};
const BLOCKS: Rule = Rule {
    id: "dynamic-memory",
    text: "blocks are in order, end at or below ibm,lrdr-capacity, have its size; those that can be added are no memory yet",
    source: "LoPAR Binding, ibm,dynamic-reconfiguration-memory, ibm,dynamic-memory-v2",
};
const CALLS: Rule = Rule {
    id: "drc-calls",
    text: "where there are connectors, their RTAS calls are there",
    source: "LoPAR §13.5.3",
};

pub(super) const RULES: &[&Rule] = &[&CONNECTORS, &MINE, &TYPES, &BLOCKS, &CALLS];

/// Flag of a block without a connector, or not for reconfiguration.
const FIXED: u32 = 0x20 | 0x80;

pub(super) fn check(tree: &Tree, report: &mut Report) {
    let mut all = Vec::new();
    for (path, node) in tree.walk() {
        let own = indexes(node, &path, report);
        let types = types(node);
        for child in &node.children {
            let Some(index) = child.get_u32("ibm,my-drc-index") else {
                continue;
            };
            let at = own.iter().position(|i| *i == index);
            report.require(at.is_some(), &MINE, &path, || {
                format!("{} has {index:#x}", child.name)
            });
            let kind = at.and_then(|at| types.get(at));
            if let Some(kind) = kind {
                let fits = match (path.as_str(), device_type(node), device_type(child)) {
                    ("/", _, "pci") => *kind == b"PHB",
                    (_, "pci", _) => {
                        *kind == b"SLOT" || !kind.is_empty() && kind.iter().all(u8::is_ascii_digit)
                    }
                    _ => true,
                };
                report.require(fits, &TYPES, &path, || {
                    format!("{} has {:?}", child.name, String::from_utf8_lossy(kind))
                });
            }
        }
        all.extend(own);
    }
    let path = "/ibm,dynamic-reconfiguration-memory";
    if let Some(node) = tree.node(path) {
        all.extend(blocks(tree, node, path, report));
    }
    all.sort_unstable();
    for pair in all.windows(2).filter(|w| w[0] == w[1]) {
        report.add(&CONNECTORS, "/", format!("{:#x} is given twice", pair[0]));
    }
    let rtas = tree.node("/rtas");
    for name in [
        "get-sensor-state",
        "set-indicator",
        "ibm,configure-connector",
    ] {
        let there = rtas.is_some_and(|r| r.get(name).is_some());
        report.require(there || all.is_empty(), &CALLS, "/rtas", || {
            format!("no {name}")
        });
    }
}

/// The entries of a node's `ibm,drc-types`.
fn types(node: &Node) -> Vec<&[u8]> {
    let value = node.get("ibm,drc-types").unwrap_or_default();
    let entries = value.get(4..).unwrap_or_default();
    entries.split(|b| *b == 0).collect()
}

/// The connectors below a node.
fn indexes(node: &Node, path: &str, report: &mut Report) -> Vec<u32> {
    let cells = |name: &str| {
        let cells = node.get_cells(name)?;
        let (&count, rest) = cells.split_first()?;
        (count as usize == rest.len()).then(|| rest.to_vec())
    };
    let strings = |name: &str| {
        let (count, rest) = node.get(name)?.split_first_chunk::<4>()?;
        let entries = rest.iter().filter(|b| **b == 0).count();
        (u32::from_be_bytes(*count) as usize == entries && rest.last() == Some(&0))
            .then_some(entries)
    };
    let lengths = [
        cells("ibm,drc-indexes").map(|c| c.len()),
        strings("ibm,drc-names"),
        strings("ibm,drc-types"),
        cells("ibm,drc-power-domains").map(|c| c.len()),
    ];
    let alike = lengths.iter().all(|l| l.is_some() && *l == lengths[0]);
    let any = node
        .properties
        .iter()
        .any(|(n, _)| n.starts_with("ibm,drc-"));
    report.require(alike || !any, &CONNECTORS, path, || {
        format!("entries of the four: {lengths:?}")
    });
    cells("ibm,drc-indexes").unwrap_or_default()
}

/// The connectors of memory that can be added.
fn blocks(tree: &Tree, node: &Node, path: &str, report: &mut Report) -> Vec<u32> {
    let capacity = tree
        .node("/rtas")
        .and_then(|r| r.get_cells("ibm,lrdr-capacity"));
    let (max, size) = match capacity.as_deref() {
        Some(&[a, b, c, d, _]) => (
            u64::from(a) << 32 | u64::from(b),
            u64::from(c) << 32 | u64::from(d),
        ),
        _ => (0, 0),
    };
    let same = size != 0 && node.get_number("ibm,lmb-size") == Some(size);
    report.require(same, &BLOCKS, path, || "ibm,lmb-size".into());
    let cells = node.get_cells("ibm,dynamic-memory-v2").unwrap_or_default();
    let Some((&count, sets)) = cells.split_first() else {
        report.add(&BLOCKS, path, "no ibm,dynamic-memory-v2");
        return Vec::new();
    };
    let (sets, rest) = sets.as_chunks::<6>();
    report.require(
        rest.is_empty() && sets.len() == count as usize,
        &BLOCKS,
        path,
        || format!("{count} sets in {} cells", cells.len()),
    );
    let boot = memory(tree);
    let (mut connectors, mut end) = (Vec::new(), 0);
    for &[n, high, low, connector, _, flags] in sets {
        let start = u64::from(high) << 32 | u64::from(low);
        let span = size
            .checked_mul(n.into())
            .and_then(|bytes| Span::new(start, bytes));
        let Some(span) = span.filter(|s| s.start >= end && s.end <= max) else {
            report.add(&BLOCKS, path, format!("{n} blocks at {start:#x}"));
            continue;
        };
        end = span.end;
        if flags & FIXED != 0 {
            continue;
        }
        let clear = boot
            .iter()
            .all(|(b, _)| b.end <= span.start || span.end <= b.start);
        report.require(clear, &BLOCKS, path, || {
            format!("{n} blocks at {start:#x} are memory already")
        });
        // A tree that says more than this many is not one to enumerate.
        connectors.extend((0..n.min(1 << 20)).map(|i| connector.wrapping_add(i)));
    }
    connectors
}

//! Rules of PCI host bridges and their DMA windows.

use super::{Report, Rule, Span, device_type, memory, number, overlaps};
use crate::fdt::{Node, Tree};

const BRIDGE: Rule = Rule {
    id: "phb",
    text: "a host bridge has cells 3 and 2, one interrupt cell, bus-range, ranges, an interrupt map and a BUID of its own",
    source: "LoPAR Binding, PCI host bridge; IEEE 1275 PCI Bus Binding",
};
const RANGES: Rule = Rule {
    id: "phb-ranges",
    text: "ranges is whole entries of 7 cells whose processor side overlaps neither memory nor another range",
    source: "IEEE 1275 PCI Bus Binding, ranges",
};
const WINDOW: Rule = Rule {
    id: "dma-window",
    text: "ibm,dma-window is LIOBN, base and size in the node's DMA cells; 4 KiB pages, below 4 GiB, a LIOBN of its own",
    source: "LoPAR Binding, ibm,dma-window",
};
const DDW: Rule = Rule {
    id: "ddw-applicable",
    text: "ibm,ddw-applicable is the tokens of query, create and remove in /rtas",
    source: "LoPAR Binding, ibm,ddw-applicable",
};
const EXTENSIONS: Rule = Rule {
    id: "ddw-extensions",
    text: "ibm,ddw-extensions is a count, as many cells, and the first is the token of reset in /rtas; it needs ibm,ddw-applicable",
    source: "LoPAR Binding, ibm,ddw-extensions",
};
const FUNCTION: Rule = Rule {
    id: "pci-function",
    text: "a function has reg, ids and class; its configuration address is in the bus range, its BARs exist and have power-of-two sizes",
    source: "IEEE 1275 PCI Bus Binding, reg",
};
const MSI: Rule = Rule {
    id: "pe-total-msi",
    text: "ibm,pe-total-#msi is there and no function asks for more",
    source: "LoPAR Binding, ibm,pe-total-#msi",
};

pub(super) const RULES: &[&Rule] = &[
    &BRIDGE,
    &RANGES,
    &WINDOW,
    &DDW,
    &EXTENSIONS,
    &FUNCTION,
    &MSI,
];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    let mut spans = memory(tree);
    let mut liobns = Vec::new();
    let mut buids = Vec::new();
    let rtas = tree.node("/rtas");
    let bridges = tree
        .root
        .children
        .iter()
        .filter(|n| n.get_str("compatible") == Some("IBM,Logical_PHB"));
    for node in bridges {
        let path = format!("/{}", node.name);
        bridge(node, &path, report);
        buids.extend(node.get_cells("reg").and_then(|r| number(r.get(..2)?)));
        ranges(node, &path, &mut spans, report);
        liobns.extend(window(node, &path, report));
        ddw(node, rtas, &path, report);
        let total = node.get_u32("ibm,pe-total-#msi");
        report.require(total.is_some(), &MSI, &path, || "missing".into());
        for child in &node.children {
            function(
                child,
                node,
                total.unwrap_or(0),
                &format!("{path}/{}", child.name),
                report,
            );
        }
    }
    for (a, b) in overlaps(&mut spans) {
        // Memory over memory is the memory rule's.
        if a.starts_with("/pci") || b.starts_with("/pci") {
            report.add(&RANGES, &a, format!("overlaps {b}"));
        }
    }
    liobns.sort_unstable();
    for pair in liobns.windows(2).filter(|w| w[0] == w[1]) {
        report.add(&WINDOW, "/", format!("LIOBN {:#x} is given twice", pair[0]));
    }
    buids.sort_unstable();
    for pair in buids.windows(2).filter(|w| w[0] == w[1]) {
        report.add(&BRIDGE, "/", format!("BUID {:#x} is given twice", pair[0]));
    }
}

fn bridge(node: &Node, path: &str, report: &mut Report) {
    report.require(device_type(node) == "pci", &BRIDGE, path, || {
        "device_type is not pci".into()
    });
    for (name, value) in [
        ("#address-cells", 3),
        ("#size-cells", 2),
        ("#interrupt-cells", 1),
    ] {
        report.require(node.get_u32(name) == Some(value), &BRIDGE, path, || {
            format!("{name} is not {value}")
        });
    }
    let order = node
        .get_cells("bus-range")
        .is_some_and(|r| matches!(r[..], [a, b] if a <= b && b <= 255));
    report.require(order, &BRIDGE, path, || "bus-range".into());
    for name in ["reg", "ranges", "interrupt-map", "interrupt-map-mask"] {
        report.require(node.get(name).is_some(), &BRIDGE, path, || {
            format!("no {name}")
        });
    }
}

fn ranges(node: &Node, path: &str, spans: &mut Vec<(Span, String)>, report: &mut Report) {
    let cells = node.get_cells("ranges").unwrap_or_default();
    let (entries, rest) = cells.as_chunks::<7>();
    report.require(rest.is_empty(), &RANGES, path, || {
        format!("{} cells", cells.len())
    });
    for [space, rest @ ..] in entries {
        let known = matches!(space & 0x0300_0000, 0x0100_0000..=0x0300_0000);
        report.require(known, &RANGES, path, || format!("space {space:#x}"));
        let fields = [number(&rest[..2]), number(&rest[2..4]), number(&rest[4..])];
        let [Some(pci), Some(cpu), Some(size)] = fields else {
            continue;
        };
        match (Span::new(pci, size), Span::new(cpu, size)) {
            (Some(_), Some(span)) => spans.push((span, path.to_owned())),
            _ => report.add(&RANGES, path, "a range is empty or passes 2^64"),
        }
    }
}

/// The LIOBN, if the window can be read.
fn window(node: &Node, path: &str, report: &mut Report) -> Option<u32> {
    let Some(cells) = node.get_cells("ibm,dma-window") else {
        report.add(&WINDOW, path, "missing or not cells");
        return None;
    };
    let address = node
        .get_u32("ibm,#dma-address-cells")
        .or(node.get_u32("#address-cells"))?;
    let size = node
        .get_u32("ibm,#dma-size-cells")
        .or(node.get_u32("#size-cells"))?;
    if !(1..=2).contains(&address)
        || !(1..=2).contains(&size)
        || cells.len() != 1 + (address + size) as usize
    {
        report.add(
            &WINDOW,
            path,
            format!("{} cells for {address} and {size}", cells.len()),
        );
        return None;
    }
    let (liobn, rest) = cells.split_first()?;
    let (base, size) = rest.split_at_checked(address as usize)?;
    match number(base)
        .zip(number(size))
        .and_then(|(b, s)| Span::new(b, s))
    {
        Some(Span { start, end }) => {
            let aligned = (start | end).is_multiple_of(4096);
            report.require(aligned, &WINDOW, path, || "not whole 4 KiB pages".into());
            report.require(end <= 1 << 32, &WINDOW, path, || {
                format!("ends at {end:#x}")
            });
        }
        None => report.add(&WINDOW, path, "empty"),
    }
    Some(*liobn)
}

fn ddw(node: &Node, rtas: Option<&Node>, path: &str, report: &mut Report) {
    let token = |name: &str| rtas.and_then(|r| r.get_u32(name));
    if node.get("ibm,ddw-applicable").is_some() {
        let names = [
            "ibm,query-pe-dma-window",
            "ibm,create-pe-dma-window",
            "ibm,remove-pe-dma-window",
        ];
        let cells = node.get_cells("ibm,ddw-applicable").unwrap_or_default();
        report.require(cells.len() == 3, &DDW, path, || {
            format!("{} cells", cells.len())
        });
        for (cell, name) in cells.iter().zip(names) {
            report.require(token(name) == Some(*cell), &DDW, path, || {
                format!("{cell:#x} is not {name}")
            });
        }
    }
    if node.get("ibm,ddw-extensions").is_some() {
        let applicable = node.get("ibm,ddw-applicable").is_some();
        report.require(applicable, &EXTENSIONS, path, || {
            "no ibm,ddw-applicable".into()
        });
        let cells = node.get_cells("ibm,ddw-extensions").unwrap_or_default();
        match cells.split_first() {
            Some((count, rest)) if *count as usize == rest.len() => {
                let reset = token("ibm,reset-pe-dma-window");
                let holds = rest.first().is_none_or(|t| reset == Some(*t));
                report.require(holds, &EXTENSIONS, path, || {
                    "the reset token is not in /rtas".into()
                });
            }
            _ => report.add(&EXTENSIONS, path, format!("{} cells", cells.len())),
        }
    }
}

fn function(node: &Node, bridge: &Node, total: u32, path: &str, report: &mut Report) {
    for name in ["vendor-id", "device-id", "class-code"] {
        report.require(node.get_u32(name).is_some(), &FUNCTION, path, || {
            format!("no {name}")
        });
    }
    let cells = node.get_cells("reg").unwrap_or_default();
    let (entries, _) = cells.as_chunks::<5>();
    let Some(([address, ..], bars)) = entries.split_first() else {
        report.add(&FUNCTION, path, "no reg");
        return;
    };
    let bus = address >> 16 & 0xff;
    let buses = bridge.get_cells("bus-range").unwrap_or_default();
    let inside = matches!(buses[..], [first, last] if (first..=last).contains(&bus));
    report.require(inside, &FUNCTION, path, || {
        format!("bus {bus} is not in bus-range")
    });
    report.require(address & 0xff00_00ff == 0, &FUNCTION, path, || {
        "the first entry is not configuration space".into()
    });
    for [first, _, _, high, low] in bars {
        let size = u64::from(*high) << 32 | u64::from(*low);
        let register = matches!(first & 0xff, 0x10 | 0x14 | 0x18 | 0x1c | 0x20 | 0x24 | 0x30);
        let holds = register && first & 0xffff00 == address & 0xffff00 && size.is_power_of_two();
        report.require(holds, &FUNCTION, path, || {
            format!("BAR {first:#x} of {size:#x} bytes")
        });
    }
    for name in ["ibm,req#msi", "ibm,req#msi-x"] {
        let wanted = node.get_u32(name).unwrap_or(0);
        report.require(wanted <= total, &MSI, path, || {
            format!("{name} is {wanted} of {total}")
        });
    }
}

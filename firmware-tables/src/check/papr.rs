//! Rules of a PAPR partition's tree, host bridges apart.

use super::{Report, Rule, Span, device_type, memory, overlaps};
use crate::fdt::{Node, Tree};

const ROOT: Rule = Rule {
    id: "root",
    text: "the root has two address and two size cells, device_type chrp, model and compatible",
    source: "LoPAR Binding, root node; Linux pSeries_probe",
};
const MEMORY: Rule = Rule {
    id: "memory",
    text: "memory starts at 0, no entry is empty, none overlaps",
    source: "LoPAR Binding, memory node",
};
const RTAS: Rule = Rule {
    id: "rtas",
    text: "the RTAS blob has base, entry and size, lies in memory below 4 GiB and is entered inside",
    source: "LoPAR, RTAS environment (instantiate-rtas)",
};
const LRDR: Rule = Rule {
    id: "lrdr-capacity",
    text: "ibm,lrdr-capacity is 5 cells; its address covers all memory, its CPU count all CPUs; block size is a power of two",
    source: "LoPAR Binding, ibm,lrdr-capacity; Linux sizes the window it creates by it",
};
const HYPERTAS: Rule = Rule {
    id: "hypertas-functions",
    text: "ibm,hypertas-functions is a list of strings with hcall-tce and hcall-multi-tce where there is a host bridge",
    source: "LoPAR Binding, ibm,hypertas-functions",
};
const TOKENS: Rule = Rule {
    id: "rtas-tokens",
    text: "each RTAS call has one cell and a token of its own",
    source: "LoPAR, RTAS call tokens",
};
const CALLS: Rule = Rule {
    id: "rtas-calls",
    text: "calls that the machine's devices need are there",
    source: "LoPAR, RTAS call functions required by device",
};
const INITRD: Rule = Rule {
    id: "initrd",
    text: "the initial RAM disk is not empty, lies in memory and not over RTAS",
    source: "Linux Documentation/arch/powerpc/bootwrapper (linux,initrd-start)",
};
const STDOUT: Rule = Rule {
    id: "stdout",
    text: "linux,stdout-path names a node",
    source: "Devicetree Specification 0.4 §3.6",
};
const VEC5: Rule = Rule {
    id: "architecture-vec-5",
    text: "byte 0 of ibm,architecture-vec-5 is its length less two; associativity form 2 needs its lookup tables",
    source: "LoPAR Binding, ibm,architecture-vec-5",
};
const CPU: Rule = Rule {
    id: "cpu",
    text: "a processor has the properties that a kernel needs, and a server number of its own; the booting one is there",
    source: "LoPAR, PA Processor Binding",
};
const FEATURES: Rule = Rule {
    id: "pa-features",
    text: "an attribute's length byte fits; where vec5 says radix, byte 40 bit 0 does too, and page sizes are listed with 4K and 64K",
    source: "LoPAR, PA Processor Binding, ibm,pa-features and ibm,processor-radix-AP-encodings",
};
const XICS: Rule = Rule {
    id: "xics",
    text: "an IBM,ppc-xicp node is an interrupt controller of 2-cell specifiers whose server ranges hold every CPU's server",
    source: "LoPAR Binding, interrupt controller node",
};
const VTY: Rule = Rule {
    id: "vty",
    text: "an hvterm1 has reg and interrupts",
    source: "LoPAR Binding, vdevice children",
};

pub(super) const RULES: &[&Rule] = &[
    &ROOT, &MEMORY, &RTAS, &LRDR, &HYPERTAS, &TOKENS, &CALLS, &INITRD, &STDOUT, &VEC5, &CPU,
    &FEATURES, &XICS, &VTY,
];

/// Names of `/rtas` properties that are tokens, as far as a machine here may have them.
const CALL_NAMES: &[&str] = &[
    "get-time-of-day",
    "set-time-of-day",
    "power-off",
    "system-reboot",
    "read-pci-config",
    "write-pci-config",
    "ibm,read-pci-config",
    "ibm,write-pci-config",
    "ibm,change-msi",
    "ibm,query-interrupt-source-number",
    "ibm,set-xive",
    "ibm,get-xive",
    "ibm,int-on",
    "ibm,int-off",
    "ibm,query-pe-dma-window",
    "ibm,create-pe-dma-window",
    "ibm,remove-pe-dma-window",
    "ibm,reset-pe-dma-window",
    "start-cpu",
    "query-cpu-stopped-state",
    "stop-self",
    "nvram-fetch",
    "nvram-store",
    "event-scan",
    "check-exception",
    "display-character",
    "ibm,os-term",
    "ibm,get-system-parameter",
    "ibm,set-system-parameter",
    "ibm,get-config-addr-info2",
    "ibm,set-eeh-option",
    "ibm,read-slot-reset-state2",
    "ibm,set-slot-reset",
    "ibm,slot-error-detail",
    "ibm,configure-pe",
    "ibm,open-errinjct",
    "ibm,errinjct",
    "ibm,close-errinjct",
    "get-sensor-state",
    "set-indicator",
    "ibm,configure-connector",
];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    root(&tree.root, report);
    memory_nodes(tree, report);
    rtas(tree, report);
    chosen(tree, report);
    cpus(tree, report);
    xics(tree, report);
    for node in tree.node("/vdevice").iter().flat_map(|v| &v.children) {
        if node.get_str("compatible") == Some("hvterm1") {
            let holds = node.get_u32("reg").is_some() && node.get("interrupts").is_some();
            report.require(holds, &VTY, &format!("/vdevice/{}", node.name), || {
                "incomplete".into()
            });
        }
    }
}

fn root(root: &Node, report: &mut Report) {
    let cells = (root.get_u32("#address-cells"), root.get_u32("#size-cells"));
    report.require(cells == (Some(2), Some(2)), &ROOT, "/", || {
        format!("cells are {cells:?}")
    });
    report.require(device_type(root) == "chrp", &ROOT, "/", || {
        "device_type is not chrp".into()
    });
    for name in ["model", "compatible"] {
        report.require(root.get_strings(name).is_some(), &ROOT, "/", || {
            format!("no {name}")
        });
    }
}

fn memory_nodes(tree: &Tree, report: &mut Report) {
    for node in tree
        .root
        .children
        .iter()
        .filter(|n| device_type(n) == "memory")
    {
        let path = format!("/{}", node.name);
        let cells = node.get_cells("reg").unwrap_or_default();
        for entry in cells.as_chunks::<4>().0 {
            let (base, size) = (super::number(&entry[..2]), super::number(&entry[2..]));
            let span = base.zip(size).and_then(|(b, s)| Span::new(b, s));
            report.require(span.is_some(), &MEMORY, &path, || {
                "an entry is empty or passes 2^64".into()
            });
        }
    }
    let mut spans = memory(tree);
    for (a, b) in overlaps(&mut spans) {
        report.add(&MEMORY, &a, format!("overlaps {b}"));
    }
    let first = spans.first().map(|(s, _)| s.start);
    report.require(first == Some(0), &MEMORY, "/", || "no memory at 0".into());
}

fn rtas_span(tree: &Tree) -> Option<Span> {
    let rtas = tree.node("/rtas")?;
    Span::new(
        rtas.get_u32("linux,rtas-base")?.into(),
        rtas.get_u32("rtas-size")?.into(),
    )
}

fn rtas(tree: &Tree, report: &mut Report) {
    let path = "/rtas";
    let Some(node) = tree.node(path) else {
        report.add(&RTAS, path, "no node");
        return;
    };
    match (rtas_span(tree), node.get_u32("linux,rtas-entry")) {
        (Some(span), Some(entry)) => {
            let inside = memory(tree).iter().any(|(m, _)| span.within(*m));
            report.require(inside, &RTAS, path, || "not in memory".into());
            report.require(span.end <= 1 << 32, &RTAS, path, || "passes 4 GiB".into());
            let entry = u64::from(entry);
            let holds = span.start <= entry && entry < span.end && entry.is_multiple_of(4);
            report.require(holds, &RTAS, path, || {
                format!("entry {entry:#x} is outside")
            });
        }
        _ => report.add(
            &RTAS,
            path,
            "linux,rtas-base, linux,rtas-entry or rtas-size is missing",
        ),
    }
    lrdr(tree, node, report);
    let bridges = tree.root.children.iter().any(|n| device_type(n) == "pci");
    match node.get_strings("ibm,hypertas-functions") {
        None => report.add(&HYPERTAS, path, "missing or not strings"),
        Some(list) if bridges => {
            for name in ["hcall-tce", "hcall-multi-tce"] {
                report.require(list.contains(&name), &HYPERTAS, path, || {
                    format!("no {name}")
                });
            }
        }
        Some(_) => {}
    }
    let mut tokens = Vec::new();
    for name in CALL_NAMES.iter().filter(|n| node.get(n).is_some()) {
        match node.get_u32(name) {
            Some(token) => tokens.push((token, *name)),
            None => report.add(&TOKENS, path, format!("{name} is not one cell")),
        }
    }
    tokens.sort_unstable();
    for pair in tokens.windows(2).filter(|w| w[0].0 == w[1].0) {
        report.add(
            &TOKENS,
            path,
            format!("{} and {} share {:#x}", pair[0].1, pair[1].1, pair[0].0),
        );
    }
    let mut needed = vec!["power-off"];
    if bridges {
        needed.extend(["ibm,read-pci-config", "ibm,write-pci-config"]);
        if xicp(tree).is_some() {
            needed.extend(["ibm,get-xive", "ibm,set-xive", "ibm,int-on", "ibm,int-off"]);
        }
    }
    if tree.node("/vdevice/nvram").is_some() {
        needed.extend(["nvram-fetch", "nvram-store"]);
    }
    if tree.node("/cpus").is_some_and(|c| c.children.len() > 1) {
        needed.extend(["start-cpu", "stop-self", "query-cpu-stopped-state"]);
    }
    for name in needed {
        report.require(node.get(name).is_some(), &CALLS, path, || {
            format!("no {name}")
        });
    }
}

fn lrdr(tree: &Tree, node: &Node, report: &mut Report) {
    let path = "/rtas";
    let cells = node.get_cells("ibm,lrdr-capacity").unwrap_or_default();
    let &[high, low, lmb_high, lmb_low, cpus] = cells.as_slice() else {
        report.add(&LRDR, path, format!("{} cells", cells.len()));
        return;
    };
    let max = u64::from(high) << 32 | u64::from(low);
    let lmb = u64::from(lmb_high) << 32 | u64::from(lmb_low);
    let end = memory(tree).iter().map(|(s, _)| s.end).max().unwrap_or(0);
    report.require(max >= end, &LRDR, path, || {
        format!("{max:#x} is below the end of memory {end:#x}")
    });
    report.require(lmb.is_power_of_two(), &LRDR, path, || {
        format!("block size {lmb:#x}")
    });
    let count = tree.node("/cpus").map_or(0, |c| c.children.len());
    report.require(cpus as usize >= count, &LRDR, path, || {
        format!("{cpus} CPUs of {count}")
    });
}

fn chosen(tree: &Tree, report: &mut Report) {
    let path = "/chosen";
    let Some(node) = tree.node(path) else {
        report.add(&VEC5, path, "no node");
        return;
    };
    let (start, end) = (node.get("linux,initrd-start"), node.get("linux,initrd-end"));
    if start.is_some() || end.is_some() {
        let numbers = node
            .get_number("linux,initrd-start")
            .zip(node.get_number("linux,initrd-end"));
        let span = numbers.and_then(|(s, e)| Span::new(s, e.checked_sub(s)?));
        match span {
            None => report.add(&INITRD, path, "empty, backwards, or one end is missing"),
            Some(span) => {
                let inside = memory(tree).iter().any(|(m, _)| span.within(*m));
                report.require(inside, &INITRD, path, || {
                    format!("{span:x?} is not in memory")
                });
                let clear = rtas_span(tree).is_none_or(|r| !r.overlaps(span));
                report.require(clear, &INITRD, path, || "overlaps RTAS".into());
            }
        }
    }
    if node.get("linux,stdout-path").is_some() {
        let found = node
            .get_str("linux,stdout-path")
            .is_some_and(|p| tree.node(p).is_some());
        report.require(found, &STDOUT, path, || "does not resolve".into());
    }
    match node.get("ibm,architecture-vec-5") {
        None => report.add(&VEC5, path, "missing: a kernel then takes the hash MMU"),
        Some(vec5) => {
            let said = vec5.first().map(|l| usize::from(*l) + 2);
            report.require(said == Some(vec5.len()), &VEC5, path, || {
                format!("{} bytes", vec5.len())
            });
            let form2 = vec5.get(5).is_some_and(|b| b & 0x20 != 0);
            let tables = tree
                .node("/rtas")
                .is_some_and(|r| r.get("ibm,numa-lookup-index-table").is_some());
            report.require(!form2 || tables, &VEC5, path, || {
                "form 2 without tables".into()
            });
        }
    }
}

fn cpus(tree: &Tree, report: &mut Report) {
    let vec5 = tree
        .node("/chosen")
        .and_then(|c| c.get("ibm,architecture-vec-5"));
    let radix = vec5
        .and_then(|v| v.get(24))
        .is_some_and(|b| b & 0xc0 == 0x40);
    let mut servers = Vec::new();
    let mut boot = false;
    for node in tree
        .node("/cpus")
        .iter()
        .flat_map(|c| &c.children)
        .filter(|n| device_type(n) == "cpu")
    {
        let path = format!("/cpus/{}", node.name);
        let wanted = [
            "reg",
            "timebase-frequency",
            "ibm,ppc-interrupt-server#s",
            "ibm,pa-features",
        ];
        for name in wanted
            .into_iter()
            .chain(radix.then_some("ibm,processor-radix-AP-encodings"))
        {
            report.require(node.get(name).is_some(), &CPU, &path, || {
                format!("no {name}")
            });
        }
        boot |= node.get_u32("reg") == Some(tree.boot_cpu);
        servers.extend(
            node.get_cells("ibm,ppc-interrupt-server#s")
                .unwrap_or_default(),
        );
        features(node, radix, &path, report);
    }
    report.require(boot, &CPU, "/cpus", || {
        "the booting processor is not there".into()
    });
    servers.sort_unstable();
    for pair in servers.windows(2).filter(|w| w[0] == w[1]) {
        report.add(&CPU, "/cpus", format!("server {} is there twice", pair[0]));
    }
}

fn features(node: &Node, radix: bool, path: &str, report: &mut Report) {
    if let Some(features) = node.get("ibm,pa-features") {
        let length = features.first().map(|l| usize::from(*l) + 2);
        report.require(length == Some(features.len()), &FEATURES, path, || {
            format!("{} bytes", features.len())
        });
        let bit = features.get(42).is_some_and(|b| b & 0x80 != 0);
        report.require(bit || !radix, &FEATURES, path, || "no radix bit".into());
    }
    if let Some(sizes) = node
        .get("ibm,processor-radix-AP-encodings")
        .and(node.get_cells("ibm,processor-radix-AP-encodings"))
    {
        for shift in [12, 16] {
            let found = sizes.iter().any(|c| c & 0x1fff_ffff == shift);
            report.require(found, &FEATURES, path, || format!("no pages of 2^{shift}"));
        }
    }
}

fn xicp(tree: &Tree) -> Option<&Node> {
    tree.root
        .children
        .iter()
        .find(|n| n.get_str("compatible") == Some("IBM,ppc-xicp"))
}

fn xics(tree: &Tree, report: &mut Report) {
    let Some(node) = xicp(tree) else { return };
    let path = format!("/{}", node.name);
    let shape =
        node.get("interrupt-controller").is_some() && node.get_u32("#interrupt-cells") == Some(2);
    report.require(shape, &XICS, &path, || {
        "not an interrupt controller of 2 cells".into()
    });
    let ranges = node
        .get_cells("ibm,interrupt-server-ranges")
        .unwrap_or_default();
    for cpu in tree.node("/cpus").iter().flat_map(|c| &c.children) {
        for server in cpu
            .get_cells("ibm,ppc-interrupt-server#s")
            .unwrap_or_default()
        {
            let found = ranges
                .as_chunks::<2>()
                .0
                .iter()
                .any(|[first, count]| server.wrapping_sub(*first) < *count);
            report.require(found, &XICS, &path, || {
                format!("server {server} is in no range")
            });
        }
    }
}

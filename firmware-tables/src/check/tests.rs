use super::*;
use crate::fdt::{PseriesDescription, parse, pseries_tree};
use std::collections::BTreeSet;

fn full() -> Tree {
    pseries_tree(&crate::fdt::tests::full()).unwrap()
}

/// A rule, the node to change, and a change that breaks the rule there.
type Case = (&'static str, &'static str, fn(&mut Node));

const PHB: &str = "/pci@800000020000000";
const DYNAMIC: &str = "/ibm,dynamic-reconfiguration-memory";
const NVME: &str = "/pci@800000020000000/pci1b36,10@1";

fn cut(node: &mut Node, name: &str) {
    let (_, value) = node.properties.iter_mut().find(|(n, _)| n == name).unwrap();
    value.truncate(value.len() - 4);
}

fn remove(node: &mut Node, name: &str) {
    let before = node.properties.len();
    node.properties.retain(|(n, _)| n != name);
    assert_ne!(before, node.properties.len());
}

const CASES: &[Case] = &[
    ("cells", "/cpus", |n| remove(n, "#size-cells")),
    ("cells", "/cpus", |n| {
        n.u32("#address-cells", 5);
    }),
    ("reg-length", "/memory@0", |n| cut(n, "reg")),
    ("unit-address", "/memory@0", |n| {
        n.cells("reg", &[0, 4096, 0, 4096]);
    }),
    ("unit-address", "/cpus", |n| n.name = "cpus@1".into()),
    ("unique-names", "/", |n| {
        n.add(Node::new("chosen"));
    }),
    ("unique-names", "/chosen", |n| {
        n.properties.push(("bootargs".into(), vec![0]))
    }),
    ("phandle-unique", "/rtas", |n| {
        n.u32("phandle", 1);
    }),
    ("phandle-unique", "/rtas", |n| {
        n.u32("phandle", 0);
    }),
    ("interrupt-parent", "/vdevice", |n| {
        n.u32("interrupt-parent", 99);
    }),
    ("interrupts-length", "/vdevice/vty", |n| {
        n.u32("interrupts", 5);
    }),
    ("interrupts-length", NVME, |n| {
        n.flag("interrupts");
    }),
    ("interrupt-map", PHB, |n| cut(n, "interrupt-map")),
    ("interrupt-map", "/interrupt-controller", |n| {
        n.u32("#address-cells", u32::MAX);
    }),
    ("interrupt-map", PHB, |n| cut(n, "interrupt-map-mask")),
    ("interrupt-map", PHB, |n| {
        n.cells("interrupt-map-mask", &[0, 0, 0, 7]);
    }),
    ("interrupt-map", PHB, |n| {
        n.cells("interrupt-map", &[0, 0, 0, 1, 99, 1, 1]);
    }),
    ("root", "/", |n| {
        n.str("device_type", "x");
    }),
    ("memory", "/memory@0", |n| {
        n.cells("reg", &[0, 0, 0, 4096, 0, 4095, 0, 1]);
    }),
    ("memory", "/memory@0", |n| {
        n.cells("reg", &[0, 0, 0, 0]);
    }),
    ("rtas", "/rtas", |n| {
        n.u32("linux,rtas-base", 0x7fff_0000);
    }),
    ("rtas", "/rtas", |n| {
        n.u32("linux,rtas-entry", 0);
    }),
    ("rtas", "/rtas", |n| remove(n, "rtas-size")),
    ("lrdr-capacity", "/rtas", |n| {
        n.cells("ibm,lrdr-capacity", &[0, 0, 0, 4096, 4]);
    }),
    ("lrdr-capacity", "/rtas", |n| cut(n, "ibm,lrdr-capacity")),
    ("hypertas-functions", "/rtas", |n| {
        n.str("ibm,hypertas-functions", "hcall-tce");
    }),
    ("rtas-tokens", "/rtas", |n| {
        n.u32("power-off", 0x2000);
    }),
    ("rtas-tokens", "/rtas", |n| {
        n.u64("power-off", 1);
    }),
    ("rtas-calls", "/rtas", |n| remove(n, "start-cpu")),
    ("initrd", "/chosen", |n| {
        n.u64("linux,initrd-end", 1 << 40);
    }),
    ("initrd", "/chosen", |n| {
        n.u64("linux,initrd-end", 0);
    }),
    ("initrd", "/chosen", |n| {
        n.u64("linux,initrd-end", 0x2fff_1000);
    }),
    ("initrd", "/chosen", |n| remove(n, "linux,initrd-end")),
    ("stdout", "/chosen", |n| {
        n.str("linux,stdout-path", "/vdevice/vty@1");
    }),
    ("architecture-vec-5", "/chosen", |n| {
        cut(n, "ibm,architecture-vec-5")
    }),
    ("architecture-vec-5", "/chosen", |n| {
        n.properties
            .iter_mut()
            .find(|(n, _)| n.starts_with("ibm,arch"))
            .unwrap()
            .1[5] = 0xa0
    }),
    ("cpu", "/cpus/PowerPC,POWER9@1", |n| {
        n.u32("ibm,ppc-interrupt-server#s", 2);
    }),
    ("cpu", "/cpus/PowerPC,POWER9@0", |n| {
        remove(n, "timebase-frequency")
    }),
    ("cpu", "/cpus/PowerPC,POWER9@0", |n| {
        n.u32("reg", 9);
    }),
    ("pa-features", "/cpus/PowerPC,POWER9@0", |n| {
        n.set("ibm,pa-features", [66; 68]);
    }),
    ("pa-features", "/cpus/PowerPC,POWER9@0", |n| {
        n.u32("ibm,processor-radix-AP-encodings", 12);
    }),
    ("xics", "/interrupt-controller", |n| {
        n.cells("ibm,interrupt-server-ranges", &[0, 3]);
    }),
    ("xics", "/interrupt-controller", |n| {
        remove(n, "interrupt-controller")
    }),
    ("vty", "/vdevice/vty", |n| remove(n, "interrupts")),
    ("drc", PHB, |n| remove(n, "ibm,drc-types")),
    ("drc", PHB, |n| cut(n, "ibm,drc-names")),
    ("drc", PHB, |n| {
        n.cells("ibm,drc-indexes", &[3, 0x4000_0008, 0x4000_0011]);
    }),
    ("drc", PHB, |n| {
        n.cells(
            "ibm,drc-indexes",
            &[3, 0x4000_0008, 0x4000_0011, 0x8000_0004],
        );
    }),
    ("my-drc-index", NVME, |n| {
        n.u32("ibm,my-drc-index", 7);
    }),
    ("drc", "/", |n| cut(n, "ibm,drc-indexes")),
    ("drc", "/", |n| {
        n.cells("ibm,drc-indexes", &[1, 0x4000_0008]);
    }),
    ("my-drc-index", PHB, |n| {
        n.u32("ibm,my-drc-index", 0x4000_0008);
    }),
    ("drc-type", "/", |n| {
        n.set("ibm,drc-types", b"\0\0\0\x01SLOT\0".to_vec());
    }),
    ("drc-type", PHB, |n| {
        n.set("ibm,drc-types", b"\0\0\0\x03SLOT\0PHB\0SLOT\0".to_vec());
    }),
    ("drc-calls", "/rtas", |n| remove(n, "set-indicator")),
    ("dynamic-memory", DYNAMIC, |n| {
        n.u64("ibm,lmb-size", 1 << 24);
    }),
    ("dynamic-memory", DYNAMIC, |n| {
        cut(n, "ibm,dynamic-memory-v2")
    }),
    ("dynamic-memory", DYNAMIC, |n| {
        n.cells("ibm,dynamic-memory-v2", &[1, 4, 0, 0, 0x8000_0000, 0, 0]);
    }),
    ("dynamic-memory", DYNAMIC, |n| {
        n.cells(
            "ibm,dynamic-memory-v2",
            &[1, 5, 0, 0x4000_0000, 0x8000_0000, 0, 0],
        );
    }),
    ("phb", PHB, |n| {
        n.cells("bus-range", &[4, 3]);
    }),
    ("phb", PHB, |n| remove(n, "interrupt-map")),
    ("phb-ranges", PHB, |n| cut(n, "ranges")),
    ("phb-ranges", PHB, |n| {
        n.cells("ranges", &[0x0200_0000, 0, 0, 0, 0x1000, 0, 0x1000]);
    }),
    ("dma-window", PHB, |n| cut(n, "ibm,dma-window")),
    ("dma-window", PHB, |n| {
        n.cells("ibm,dma-window", &[1, 0, 0xc000_0000, 0, 0x8000_0000]);
    }),
    ("dma-window", PHB, |n| {
        n.cells("ibm,dma-window", &[1, 0, 0, 0, 0x1001]);
    }),
    ("ddw-applicable", PHB, |n| {
        n.cells("ibm,ddw-applicable", &[1, 2, 3]);
    }),
    ("ddw-applicable", PHB, |n| cut(n, "ibm,ddw-applicable")),
    ("ddw-extensions", PHB, |n| cut(n, "ibm,ddw-extensions")),
    ("ddw-extensions", PHB, |n| {
        n.cells("ibm,ddw-extensions", &[1, 77]);
    }),
    ("ddw-extensions", PHB, |n| remove(n, "ibm,ddw-applicable")),
    ("pci-function", NVME, |n| remove(n, "class-code")),
    ("pci-function", NVME, |n| {
        n.cells("reg", &[0x800, 0, 0, 0, 0, 0x0200_0810, 0, 0, 0, 3]);
    }),
    ("pe-total-msi", NVME, |n| {
        n.u32("ibm,req#msi-x", 2048);
    }),
];

#[test]
fn the_generated_trees_hold_every_rule() {
    assert_eq!(pseries(&full()), []);
    let mut bare = PseriesDescription::default();
    bare.rtas.calls = vec![("power-off".into(), 1)];
    assert_eq!(pseries(&pseries_tree(&bare).unwrap()), []);
}

#[test]
fn each_rule_finds_its_breach() {
    let mut seen = BTreeSet::new();
    for (index, (id, path, change)) in CASES.iter().enumerate() {
        let mut tree = full();
        change(tree.node_mut(path).unwrap());
        let found = pseries(&tree);
        assert!(
            found.iter().any(|f| f.rule.id == *id),
            "case {index} ({id} at {path}): {found:#?}"
        );
        seen.insert(*id);
    }
    assert_eq!(seen, rules().iter().map(|r| r.id).collect());
}

#[test]
fn two_bridges_must_differ() {
    let mut tree = full();
    let mut second = tree.node(PHB).unwrap().clone();
    second.name = "pci@800000020000001".into();
    tree.root.add(second);
    let ids: BTreeSet<_> = pseries(&tree).iter().map(|f| f.rule.id).collect();
    assert_eq!(
        ids,
        BTreeSet::from(["unit-address", "phb", "phb-ranges", "dma-window", "drc"])
    );
}

#[test]
fn a_slot_that_can_be_hot_plugged_has_a_number() {
    let mut tree = full();
    let types = [&3_u32.to_be_bytes()[..], b"SLOT\0", b"14\0", b"SLOT\0"].concat();
    tree.node_mut(PHB).unwrap().set("ibm,drc-types", types);
    assert_eq!(pseries(&tree), []);
}

#[test]
fn an_empty_tree_is_found_wanting_without_a_panic() {
    assert!(!pseries(&Tree::default()).is_empty());
}

proptest::proptest! {
    /// Whatever a blob's bytes say, the rules answer.
    #[test]
    fn no_tree_makes_the_rules_panic(at in 0usize..8192, value: u32, more in proptest::collection::vec((0usize..8192, 0u8..), 0..8)) {
        let mut blob = full().to_blob().unwrap();
        let length = blob.len();
        let at = (at % (length - 4)) & !3;
        blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
        for (at, byte) in more {
            blob[at % length] = byte;
        }
        if let Ok(tree) = parse(&blob) {
            pseries(&tree);
        }
    }
}

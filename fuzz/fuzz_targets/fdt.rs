//! The device-tree parser, writer, source printer and checker: any bytes, damaged blobs of a machine, and trees of a machine with changes.
//!
//! What parses is written and parsed again to the same tree, and its written form is stable; a tree that the parser would not give
//! cannot be written; the checker takes every tree and its report is bounded.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use viommu_firmware_tables::check::{self, MAX_FINDINGS};
use viommu_firmware_tables::fdt::{
    BarDescription, BarSpace, ConnectorDescription, ConsoleDescription, CpuDescription,
    DdwDescription, DmaWindowDescription, FunctionDescription, InterruptController, Node,
    NvramDescription, ParseError, PhbDescription, PseriesDescription, RangeDescription, Tree,
    parse, pseries, pseries_tree, to_dts,
};

/// Changes of one run.
const CHANGES: usize = 24;

#[derive(Arbitrary, Debug)]
enum Input {
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// A machine's blob with bytes or words replaced.
    Damaged(Vec<(u16, u8)>, Vec<(u16, u32)>, Option<u16>),
    /// A machine's tree with changes.
    Changed(Vec<(u8, Change)>),
}

#[derive(Arbitrary, Debug)]
enum Change {
    /// Another value for one of the node's properties.
    Value(u8, Vec<u8>),
    /// One cell of one of them.
    Cell(u8, u8, u32),
    /// Another length.
    Resize(u8, u16),
    /// A value that another property of any node has.
    Copy(u8, u8, u8),
    RemoveProperty(u8),
    Repeat(u8),
    Rename(String),
    RenameProperty(u8, String),
    RemoveChild(u8),
    /// One node more, a copy of another.
    Graft(u8),
    BootCpu(u32),
    Reserve(u64, u64),
}

fn machine() -> PseriesDescription {
    let connector = |index, name: &str| ConnectorDescription {
        index,
        name: name.to_owned(),
    };
    let range = |cpu, pci, size| RangeDescription { cpu, pci, size };
    let mut description = PseriesDescription {
        cpus: (0..2).map(|reg| CpuDescription { reg }).collect(),
        max_cpus: 2,
        initrd: Some((0x0800_0000, 0x0812_3456)),
        interrupt_controller: InterruptController::Xics { servers: 2 },
        console: Some(ConsoleDescription {
            reg: 0x7100_0000,
            irq: 0x1000,
        }),
        nvram: Some(NvramDescription {
            reg: 0x7100_0001,
            size: 0x1_0000,
        }),
        ..PseriesDescription::default()
    };
    let names = ["ibm,query-pe-dma-window", "ibm,create-pe-dma-window"];
    let more = ["ibm,remove-pe-dma-window", "ibm,reset-pe-dma-windows"];
    description.rtas.calls = (0x2000..)
        .zip(names.iter().chain(&more))
        .map(|(token, name)| ((*name).to_owned(), token))
        .collect();
    description.phbs.push(PhbDescription {
        index: 0,
        buid: 0x0800_0000_2000_0000,
        mmio32: range(0x2000_8000_0000, 0x8000_0000, 0x7000_0000),
        mmio64: Some(range(0x2100_0000_0000, 0x2100_0000_0000, 1 << 40)),
        io: Some(range(0x2000_0000_0000, 0, 0x1_0000)),
        bus_range: (0, 0xff),
        lsi_base: 0x1010,
        dma_window: DmaWindowDescription {
            liobn: 0x8000_0000,
            base: 0,
            size: 1 << 30,
        },
        ddw: Some(DdwDescription {
            tokens: [0x2000, 0x2001, 0x2002],
            reset: Some(0x2003),
            extensions: vec![1],
        }),
        connector: Some(connector(0x2000_0000, "PHB 0")),
        connectors: vec![connector(0x4000_0008, "P0-C1")],
        total_msis: 256,
        functions: vec![FunctionDescription {
            devfn: 8,
            vendor: 0x1b36,
            device: 0x10,
            revision: 2,
            class: 0x01_0802,
            subsystem: (0x1af4, 0x1100),
            interrupt_pin: 1,
            bars: vec![BarDescription {
                index: 0,
                space: BarSpace::Memory64,
                prefetchable: false,
                size: 0x4000,
            }],
            msi: 0,
            msix: 9,
            connector: Some(0x4000_0008),
        }],
    });
    description
}

static TREE: LazyLock<Tree> = LazyLock::new(|| pseries_tree(&machine()).unwrap());
static BLOB: LazyLock<Vec<u8>> = LazyLock::new(|| pseries(&machine()).unwrap());

fn count(node: &Node) -> usize {
    1 + node.children.iter().map(count).sum::<usize>()
}

/// Node `n` in order, the root being 0.
fn nth(mut node: &mut Node, mut n: usize) -> &mut Node {
    while n > 0 {
        n -= 1;
        let mut at = 0;
        while let Some(size) = node.children.get(at).map(count).filter(|size| *size <= n) {
            n -= size;
            at += 1;
        }
        node = &mut node.children[at];
    }
    node
}

fn copy_of(tree: &Tree, n: u8) -> Node {
    let nodes = tree.walk();
    nodes[usize::from(n) % nodes.len()].1.clone()
}

fn index(n: u8, len: usize) -> usize {
    usize::from(n) % len.max(1)
}

fn property(node: &Node, n: u8) -> Option<(String, Vec<u8>)> {
    let at = index(n, node.properties.len());
    node.properties.get(at).cloned()
}

fn change(tree: &mut Tree, at: u8, change: &Change) {
    let other = match change {
        Change::Copy(_, node, _) | Change::Graft(node) => copy_of(tree, *node),
        _ => Node::default(),
    };
    match change {
        Change::BootCpu(n) => tree.boot_cpu = *n,
        Change::Reserve(address, size) => tree.reservations.push((*address, *size)),
        _ => {}
    }
    let n = usize::from(at) % count(&tree.root);
    let node = nth(&mut tree.root, n);
    let have = node.properties.len();
    match change {
        Change::Value(n, value) => {
            if let Some((name, _)) = property(node, *n) {
                node.set(&name, value.clone());
            }
        }
        Change::Cell(n, at, cell) => {
            if let Some((_, value)) = node.properties.get_mut(index(*n, have)) {
                let cells = value.as_chunks_mut::<4>().0;
                let at = index(*at, cells.len());
                if let Some(old) = cells.get_mut(at) {
                    *old = cell.to_be_bytes();
                }
            }
        }
        Change::Resize(n, len) => {
            if let Some((_, value)) = node.properties.get_mut(index(*n, have)) {
                value.resize(usize::from(len % 512), 0xff);
            }
        }
        Change::Copy(n, _, from) => {
            let value = other.properties.get(index(*from, other.properties.len()));
            if let (Some((name, _)), Some((_, value))) = (property(node, *n), value) {
                node.set(&name, value.clone());
            }
        }
        Change::RemoveProperty(n) if have > 0 => drop(node.properties.remove(index(*n, have))),
        Change::Repeat(n) => node.properties.extend(property(node, *n)),
        Change::Rename(name) => node.name.clone_from(name),
        Change::RenameProperty(n, name) => {
            if let Some((old, _)) = node.properties.get_mut(index(*n, have)) {
                old.clone_from(name);
            }
        }
        Change::RemoveChild(n) if !node.children.is_empty() => {
            let at = index(*n, node.children.len());
            node.children.remove(at);
        }
        Change::Graft(_) if !other.name.is_empty() => node.children.push(other),
        _ => {}
    }
}

fn hold(tree: &Tree) {
    assert!(check::pseries(tree).len() <= MAX_FINDINGS);
}

fn bytes(blob: &[u8]) {
    let parsed = parse(blob);
    assert_eq!(to_dts(blob).err(), parsed.clone().err());
    if let Ok(tree) = parsed {
        let written = tree.to_blob().expect("what parses can be written");
        assert_eq!(parse(&written).as_ref(), Ok(&tree));
        assert_eq!(tree.to_blob().as_ref(), Ok(&written));
        hold(&tree);
    }
}

fuzz_target!(|input: Input| match input {
    Input::Bytes(blob) => bytes(&blob),
    Input::Damaged(changes, words, length) => {
        let mut blob = BLOB.clone();
        for (at, byte) in changes.iter().take(CHANGES) {
            let at = usize::from(*at) % blob.len();
            blob[at] = *byte;
        }
        for (at, word) in words.iter().take(CHANGES) {
            let words = blob.as_chunks_mut::<4>().0;
            let at = usize::from(*at) % words.len();
            words[at] = word.to_be_bytes();
        }
        if let Some(length) = length {
            blob.truncate(length.into());
        }
        bytes(&blob);
    }
    Input::Changed(changes) => {
        let mut tree = TREE.clone();
        for (at, c) in changes.iter().take(CHANGES) {
            change(&mut tree, *at, c);
        }
        hold(&tree);
        if let Ok(blob) = tree.to_blob() {
            match parse(&blob) {
                Ok(read) => assert!(read == tree, "written and read, the tree differs"),
                // The writer has no limits.
                Err(error) => assert!(
                    matches!(error, ParseError::Limit(_) | ParseError::Name(_)),
                    "{error}"
                ),
            }
        }
    }
});

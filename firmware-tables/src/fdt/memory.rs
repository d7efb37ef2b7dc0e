//! Memory nodes: what is there at boot, and the blocks that can be added. LoPAR Binding, memory node and
//! `ibm,dynamic-reconfiguration-memory`.

use super::description::PseriesDescription;
use super::tree::Node;

/// The block belongs to the partition.
const ASSIGNED: u32 = 0x08;
/// The block has no connector.
const NO_CONNECTOR: u32 = 0x20;
/// The block is not for reconfiguration.
const RESERVED: u32 = 0x80;
/// Cells of an `ibm,associativity`: everything is in one domain.
const DOMAINS: [u32; 4] = [0; 4];

fn node(start: u64, size: u64) -> Node {
    let mut node = Node::new(format!("memory@{start:x}"));
    node.str("device_type", "memory").cells(
        "reg",
        &[
            (start >> 32) as u32,
            start as u32,
            (size >> 32) as u32,
            size as u32,
        ],
    );
    node
}

/// With radix there is no small real-mode area, so one node says all of memory.
pub(super) fn boot(description: &PseriesDescription) -> Node {
    node(0, description.memory_size)
}

/// The node of block `number`, as its connector hands it out.
pub fn block_node(description: &PseriesDescription, number: u32) -> Node {
    let size = description.lmb_size;
    let mut node = node(u64::from(number).saturating_mul(size), size);
    let mut associativity = vec![DOMAINS.len() as u32];
    associativity.extend(DOMAINS);
    node.cells("ibm,associativity", &associativity).u32(
        "ibm,my-drc-index",
        description.lmb_drc_base.wrapping_add(number),
    );
    node
}

/// All blocks: those of boot memory, which stay, and those that can be added.
pub(super) fn reconfiguration(description: &PseriesDescription) -> Node {
    let lmb = description.lmb_size.max(1);
    let (boot, all) = (description.memory_size / lmb, description.max_memory / lmb);
    let mut blocks = vec![2];
    let mut set = |first: u64, count: u64, connector: u32, flags: u32| {
        let at = first * lmb;
        let no_domain = 0;
        blocks.extend([
            count as u32,
            (at >> 32) as u32,
            at as u32,
            connector,
            no_domain,
            flags,
        ]);
    };
    set(0, boot, 0, RESERVED | NO_CONNECTOR | ASSIGNED);
    let first = description.lmb_drc_base.wrapping_add(boot as u32);
    set(boot, all - boot, first, 0);
    // Lists, entries of a list, the one list.
    let mut lookup = vec![1, DOMAINS.len() as u32];
    lookup.extend(DOMAINS);
    let mut node = Node::new("ibm,dynamic-reconfiguration-memory");
    node.u64("ibm,lmb-size", description.lmb_size)
        .u32("ibm,memory-flags-mask", 0xff)
        .u32("ibm,memory-preservation-time", 0)
        .cells("ibm,dynamic-memory-v2", &blocks)
        .cells("ibm,associativity-lookup-arrays", &lookup);
    node
}

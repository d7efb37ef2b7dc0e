//! The tree of a pseries machine, as a kernel entered without Open Firmware wants it. LoPAR Binding.

use super::description::{InterruptController, PhbDescription, PseriesDescription};
use super::tree::{Node, Tree};
use super::{FdtError, cpu, memory, phb};

/// Phandle of the interrupt controller.
const INTC: u32 = 1;

/// What firmware and kernel would have agreed on: byte 0 is the length less two, then the option vector. LoPAR Binding
/// (`ibm,architecture-vec-5`).
fn architecture_vec_5(description: &PseriesDescription) -> [u8; 27] {
    let mut vec5 = [0; 27];
    vec5[0] = 25;
    vec5[2] = 0x20; // dynamic reconfiguration memory
    vec5[5] = 0x80; // associativity form 1
    vec5[6] = 0x05;
    if description.max_memory > description.memory_size {
        vec5[22] = 0x80; // ibm,dynamic-memory-v2
    }
    vec5[23] = match description.interrupt_controller {
        InterruptController::Xics { .. } => 0x00,
    };
    vec5[24] = 0x40; // radix MMU
    vec5[26] = 0x40; // guest translation shootdown
    vec5
}

/// The device tree of a machine, as a value.
///
/// # Errors
/// A description that no tree can say.
pub fn pseries_tree(description: &PseriesDescription) -> Result<Tree, FdtError> {
    description.validate()?;
    let mut root = Node::default();
    root.u32("#address-cells", 2)
        .u32("#size-cells", 2)
        .str("device_type", "chrp")
        .str("model", &description.model)
        .str("compatible", "viommu,pseries")
        .str("system-id", "viommu")
        .u32("interrupt-parent", INTC);
    let connectors = description.phbs.iter().filter_map(|p| p.connector.clone());
    let connectors: Vec<_> = connectors.collect();
    if !connectors.is_empty() {
        phb::set_connectors(&mut root, phb::PHB, &connectors);
    }
    root.add(chosen(description));
    root.add(cpu::node(description));
    root.add(memory::boot(description));
    if description.max_memory > description.memory_size {
        root.add(memory::reconfiguration(description));
    }
    root.add(rtas(description));
    root.add(interrupt_controller(description.interrupt_controller));
    root.add(vdevice(description));
    for bridge in &description.phbs {
        root.add(bridge_node(bridge));
    }
    let boot_cpu = description.cpus.first().map_or(0, |c| c.reg);
    Ok(Tree {
        root,
        reservations: reservations(description),
        boot_cpu,
    })
}

/// The node of a host bridge with the functions that it is described with, as the tree has it or a connector hands it out.
pub fn bridge_node(bridge: &PhbDescription) -> Node {
    phb::node(bridge, INTC)
}

/// What a kernel must not allocate before it has read the tree: firmware code and the initial RAM disk. The tree's own place is not
/// known here; Linux reserves it itself.
fn reservations(description: &PseriesDescription) -> Vec<(u64, u64)> {
    let rtas = &description.rtas;
    let mut list = vec![(u64::from(rtas.base), u64::from(rtas.size))];
    if let Some((start, end)) = description.initrd {
        list.push((start, end.saturating_sub(start)));
    }
    list
}

/// The flattened device tree of a machine.
///
/// # Errors
/// A description that no tree can say, or a tree beyond the format's sizes.
pub fn pseries(description: &PseriesDescription) -> Result<Vec<u8>, FdtError> {
    pseries_tree(description)?.to_blob()
}

fn chosen(description: &PseriesDescription) -> Node {
    let mut node = Node::new("chosen");
    node.str("bootargs", &description.bootargs)
        .set("ibm,architecture-vec-5", architecture_vec_5(description))
        // Linux on PAPR keeps firmware's BAR values unless told that it may assign them.
        .u32("linux,pci-probe-only", 0);
    if let Some((start, end)) = description.initrd {
        node.u64("linux,initrd-start", start)
            .u64("linux,initrd-end", end);
    }
    if let Some(console) = &description.console {
        let path = format!("/vdevice/vty@{:x}", console.reg);
        node.str("linux,stdout-path", &path)
            .str("stdout-path", &path);
    }
    if let Some(seed) = description.kaslr_seed {
        node.u64("kaslr-seed", seed);
    }
    if !description.rng_seed.is_empty() {
        node.set("rng-seed", description.rng_seed.as_slice());
    }
    node
}

fn rtas(description: &PseriesDescription) -> Node {
    let mut node = Node::new("rtas");
    let (max, lmb) = (description.max_memory, description.lmb_size);
    let max_cpus = description.max_cpus.max(description.cpus.len() as u32);
    node.u32("linux,rtas-base", description.rtas.base)
        .u32("linux,rtas-entry", description.rtas.entry)
        .u32("rtas-size", description.rtas.size)
        .strings("ibm,hypertas-functions", &description.hypertas)
        .cells(
            "ibm,lrdr-capacity",
            &[
                (max >> 32) as u32,
                max as u32,
                (lmb >> 32) as u32,
                lmb as u32,
                max_cpus,
            ],
        );
    if description.rtas.token("event-scan").is_some() {
        node.u32("rtas-event-scan-rate", 1)
            .u32("rtas-error-log-max", 2048);
    }
    if description.rtas.token("display-character").is_some() {
        node.u32("rtas-display-device", 0);
    }
    for (name, token) in &description.rtas.calls {
        node.u32(name, *token);
    }
    if !description.rtas.errors.is_empty() {
        // Names and numbers in turn.
        let mut value = Vec::new();
        for (name, number) in &description.rtas.errors {
            value.extend(name.as_bytes());
            value.push(0);
            value.extend(number.to_be_bytes());
        }
        node.set("ibm,errinjct-tokens", value);
    }
    node
}

fn interrupt_controller(controller: InterruptController) -> Node {
    match controller {
        InterruptController::Xics { servers } => {
            let mut node = Node::new("interrupt-controller");
            node.str("device_type", "PowerPC-External-Interrupt-Presentation")
                .str("compatible", "IBM,ppc-xicp")
                .flag("interrupt-controller")
                .u32("#address-cells", 0)
                .u32("#interrupt-cells", 2)
                .cells("ibm,interrupt-server-ranges", &[0, servers])
                .u32("phandle", INTC)
                .u32("linux,phandle", INTC);
            node
        }
    }
}

fn vdevice(description: &PseriesDescription) -> Node {
    let mut node = Node::new("vdevice");
    node.str("device_type", "vdevice")
        .str("compatible", "IBM,vdevice")
        .u32("#address-cells", 1)
        .u32("#size-cells", 0)
        .u32("interrupt-parent", INTC);
    if let Some(console) = &description.console {
        let mut vty = Node::new(format!("vty@{:x}", console.reg));
        vty.str("device_type", "serial")
            .str("compatible", "hvterm1")
            .u32("reg", console.reg)
            .cells("interrupts", &[console.irq, 0]);
        node.add(vty);
    }
    if let Some(nvram) = &description.nvram {
        let mut device = Node::new(format!("nvram@{:x}", nvram.reg));
        device
            .str("device_type", "nvram")
            .str("compatible", "viommu,nvram")
            .u32("reg", nvram.reg)
            .u32("#bytes", nvram.size);
        node.add(device);
    }
    node
}

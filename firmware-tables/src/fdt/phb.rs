//! PCI host bridge nodes.

use super::description::{
    BarSpace, ConnectorDescription, DdwDescription, FunctionDescription, PhbDescription,
    RangeDescription,
};
use super::tree::Node;

/// Space codes of a PCI address's first cell. IEEE 1275 PCI Bus Binding, physical address formats.
const IO: u32 = 0x0100_0000;
const MEMORY32: u32 = 0x0200_0000;
const MEMORY64: u32 = 0x0300_0000;
const PREFETCHABLE: u32 = 0x4000_0000;

/// `ibm,drc-types`: a slot whose function comes and goes logically.
const SLOT: &str = "SLOT";
/// `ibm,drc-types`: a host bridge.
pub(super) const PHB: &str = "PHB";
/// `ibm,drc-power-domains`: power is not the guest's to switch.
const NO_POWER_DOMAIN: u32 = u32::MAX;

fn push64(cells: &mut Vec<u32>, value: u64) {
    cells.extend([(value >> 32) as u32, value as u32]);
}

/// A host bridge with its functions. `intc` is the phandle of the interrupt controller. LoPAR Binding.
pub(super) fn node(phb: &PhbDescription, intc: u32) -> Node {
    let mut node = Node::new(format!("pci@{:x}", phb.buid));
    let mut reg = Vec::new();
    push64(&mut reg, phb.buid);
    push64(&mut reg, 0);
    node.str("device_type", "pci")
        .str("compatible", "IBM,Logical_PHB")
        .u32("#address-cells", 3)
        .u32("#size-cells", 2)
        .u32("#interrupt-cells", 1)
        .cells("reg", &reg)
        .flag("used-by-rtas")
        .u32("ibm,pci-config-space-type", 1)
        .u32("linux,pci-domain", phb.index)
        .cells(
            "bus-range",
            &[u32::from(phb.bus_range.0), u32::from(phb.bus_range.1)],
        )
        .cells("ranges", &ranges(phb))
        .cells("interrupt-map-mask", &[0x1800, 0, 0, 7])
        .cells("interrupt-map", &interrupt_map(phb, intc))
        .u32("ibm,pe-total-#msi", phb.total_msis)
        .u32("ibm,#dma-address-cells", 2)
        .u32("ibm,#dma-size-cells", 2);
    let mut window = vec![phb.dma_window.liobn];
    push64(&mut window, phb.dma_window.base);
    push64(&mut window, phb.dma_window.size);
    node.cells("ibm,dma-window", &window);
    if let Some(ddw) = &phb.ddw {
        set_ddw(&mut node, ddw);
    }
    if !phb.connectors.is_empty() {
        set_connectors(&mut node, SLOT, &phb.connectors);
    }
    if let Some(connector) = &phb.connector {
        node.u32("ibm,my-drc-index", connector.index);
    }
    for function in &phb.functions {
        node.add(function_node(phb, function));
    }
    node
}

/// The four properties of a node with connectors of one type below it: each is a count and as many entries. LoPAR §13.5.2.
pub(super) fn set_connectors(node: &mut Node, kind: &str, connectors: &[ConnectorDescription]) {
    let count = connectors.len() as u32;
    let cells = |each: &dyn Fn(&ConnectorDescription) -> u32| {
        let cells = std::iter::once(count).chain(connectors.iter().map(each));
        cells.collect::<Vec<_>>()
    };
    let strings = |each: &dyn Fn(&ConnectorDescription) -> String| {
        let mut bytes = count.to_be_bytes().to_vec();
        for connector in connectors {
            bytes.extend(each(connector).as_bytes());
            bytes.push(0);
        }
        bytes
    };
    node.cells("ibm,drc-indexes", &cells(&|c| c.index))
        .set("ibm,drc-names", strings(&|c| c.name.clone()))
        .set("ibm,drc-types", strings(&|_| kind.to_owned()))
        .cells("ibm,drc-power-domains", &cells(&|_| NO_POWER_DOMAIN));
}

fn set_ddw(node: &mut Node, ddw: &DdwDescription) {
    node.cells("ibm,ddw-applicable", &ddw.tokens);
    if let Some(reset) = ddw.reset {
        let mut cells = vec![ddw.extensions.len() as u32 + 1, reset];
        cells.extend(&ddw.extensions);
        node.cells("ibm,ddw-extensions", &cells);
    }
}

fn ranges(phb: &PhbDescription) -> Vec<u32> {
    let mut cells = Vec::new();
    let mut push = |space: u32, range: &RangeDescription| {
        cells.push(space);
        push64(&mut cells, range.pci);
        push64(&mut cells, range.cpu);
        push64(&mut cells, range.size);
    };
    if let Some(io) = &phb.io {
        push(IO, io);
    }
    push(MEMORY32, &phb.mmio32);
    if let Some(mmio64) = &phb.mmio64 {
        push(MEMORY64, mmio64);
    }
    cells
}

/// Only the slot's two low bits count, so sixteen rows say it for all 32 slots.
fn interrupt_map(phb: &PhbDescription, intc: u32) -> Vec<u32> {
    let mut cells = Vec::new();
    for slot in 0..4u8 {
        for pin in 1..=4u8 {
            cells.extend([
                u32::from(slot) << 11,
                0,
                0,
                u32::from(pin),
                intc,
                phb.lsi(slot, pin),
                1,
            ]);
        }
    }
    cells
}

/// The node of a function behind a host bridge, as the bridge's node has it or a connector hands it out.
pub fn function_node(phb: &PhbDescription, function: &FunctionDescription) -> Node {
    let (slot, number) = (function.devfn >> 3, function.devfn & 7);
    let unit = if number == 0 {
        format!("{slot:x}")
    } else {
        format!("{slot:x},{number:x}")
    };
    let mut node = Node::new(format!(
        "pci{:x},{:x}@{unit}",
        function.vendor, function.device
    ));
    let address = u32::from(phb.bus_range.0) << 16 | u32::from(function.devfn) << 8;
    let mut reg = vec![address, 0, 0, 0, 0];
    for bar in &function.bars {
        let space = match bar.space {
            BarSpace::Io => IO,
            BarSpace::Memory32 => MEMORY32,
            BarSpace::Memory64 => MEMORY64,
        };
        let prefetchable = if bar.prefetchable && bar.space != BarSpace::Io {
            PREFETCHABLE
        } else {
            0
        };
        reg.extend([
            address | space | prefetchable | (0x10 + 4 * u32::from(bar.index)),
            0,
            0,
        ]);
        push64(&mut reg, bar.size);
    }
    node.cells("reg", &reg)
        .u32("vendor-id", function.vendor.into())
        .u32("device-id", function.device.into())
        .u32("revision-id", function.revision.into())
        .u32("class-code", function.class & 0xff_ffff);
    let (subsystem_vendor, subsystem) = function.subsystem;
    if subsystem_vendor != 0 {
        node.u32("subsystem-vendor-id", subsystem_vendor.into())
            .u32("subsystem-id", subsystem.into());
    }
    if function.interrupt_pin != 0 {
        node.u32("interrupts", function.interrupt_pin.into());
    }
    if function.msi != 0 {
        node.u32("ibm,req#msi", function.msi);
    }
    if function.msix != 0 {
        node.u32("ibm,req#msi-x", function.msix);
    }
    if let Some(index) = function.connector {
        node.u32("ibm,my-drc-index", index);
    }
    node
}

//! What comes and goes by connectors: host bridges, functions behind them, and blocks of memory. LoPAR §13.

use std::collections::BTreeMap;

use viommu_devices::pci::PciDevice;
use viommu_devices::spapr::drc::{
    Change, Connectors, DrcIndex, DrcState, MULTI_LEVEL, Step, VALID_TRANSLATION,
};
use viommu_devices::spapr::rtas::{RTAS_HARDWARE_ERROR, RtasReply, RtasRequest, RtasStatus};
use viommu_firmware_tables::fdt::Node;

use super::map;
use super::platform::Platform;
use super::tree::{bridge_connector_name, connector_name};
use crate::observe::report::SlotEvent;

/// Events that the report lists.
const MAX_EVENTS: usize = 1024;

enum Resource {
    /// A host bridge, by its number.
    Bridge(u32),
    /// A function, and itself while it is not on its bridge.
    Function {
        bridge: u32,
        devfn: u8,
        away: Option<Box<dyn PciDevice>>,
    },
    /// A block of memory at this address.
    Block(u64),
}

/// Connectors and what is behind them.
#[derive(Default)]
pub struct Slots {
    connectors: Connectors,
    resources: BTreeMap<DrcIndex, Resource>,
    events: Vec<SlotEvent>,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots")
            .field("connectors", &self.connectors)
            .finish_non_exhaustive()
    }
}

impl Slots {
    /// Adds the connector of a host bridge, which is there at boot.
    pub fn add_bridge(&mut self, index: DrcIndex, bridge: u32, node: &Node) {
        self.connectors
            .add(index, DrcState::Configured, steps(node));
        self.resources.insert(index, Resource::Bridge(bridge));
    }

    /// Adds the connector of a function; `away` is the function if its slot is empty at boot.
    pub fn add_function(
        &mut self,
        index: DrcIndex,
        bridge: u32,
        devfn: u8,
        node: Option<&Node>,
        away: Option<Box<dyn PciDevice>>,
    ) {
        let state = match away {
            Some(_) => DrcState::Unusable,
            None => DrcState::Configured,
        };
        let steps = node.map(steps).unwrap_or_default();
        self.connectors.add(index, state, steps);
        let resource = Resource::Function {
            bridge,
            devfn,
            away,
        };
        self.resources.insert(index, resource);
    }

    /// Adds the connector of the block of memory at `start`, which is not there at boot.
    pub fn add_block(&mut self, index: DrcIndex, start: u64, node: &Node) {
        self.connectors.add(index, DrcState::Unusable, steps(node));
        self.resources.insert(index, Resource::Block(start));
    }

    /// State of a connector.
    pub fn state(&self, index: DrcIndex) -> Option<DrcState> {
        self.connectors.state(index)
    }

    /// What came and went, in order; the first `MAX_EVENTS` of it.
    pub fn events(&self) -> &[SlotEvent] {
        &self.events
    }
}

/// A node as ibm,configure-connector hands it out.
fn steps(node: &Node) -> Vec<Step> {
    let mut out = vec![Step::Child(node.name.clone())];
    append(node, &mut out);
    out
}

fn append(node: &Node, out: &mut Vec<Step>) {
    let properties = node.properties.iter();
    out.extend(properties.map(|(name, value)| Step::Property(name.clone(), value.clone())));
    for (i, child) in node.children.iter().enumerate() {
        let name = child.name.clone();
        out.push(if i == 0 {
            Step::Child(name)
        } else {
            Step::Sibling(name)
        });
        append(child, out);
    }
    if !node.children.is_empty() {
        out.push(Step::Parent);
    }
}

/// get-sensor-state, set-indicator, ibm,configure-connector.
pub(super) fn rtas(platform: &mut Platform, request: &RtasRequest) -> RtasReply {
    // Taken out while the platform changes.
    let mut slots = std::mem::take(&mut platform.slots);
    let Slots {
        connectors,
        resources,
        events,
    } = &mut slots;
    let ram = platform.ram.clone();
    let reply = connectors.rtas(request.call, request.args(), &ram, |index, change| {
        let resource = resources.get_mut(&index).ok_or(RTAS_HARDWARE_ERROR)?;
        apply(platform, resource, change)?;
        if events.len() < MAX_EVENTS {
            events.push(event(platform, resource, change));
        }
        Ok(())
    });
    platform.slots = slots;
    platform.deliver_interrupts();
    reply.unwrap_or(RTAS_HARDWARE_ERROR.into())
}

fn apply(
    platform: &mut Platform,
    resource: &mut Resource,
    change: Change,
) -> Result<(), RtasStatus> {
    match (resource, change) {
        (Resource::Bridge(number), _) => {
            let phb = platform.phbs.get_mut(*number as usize);
            let phb = phb.ok_or(RTAS_HARDWARE_ERROR)?;
            if !phb.is_empty() {
                return Err(MULTI_LEVEL);
            }
            phb.isolate(change == Change::Detach);
            // Also when it comes back: hypercalls fill the default window of an isolated bridge too.
            platform.iommu.set_now(platform.clock.now_ns());
            platform.iommu.reset_bridge(phb.config().buid);
        }
        (
            Resource::Function {
                bridge,
                devfn,
                away,
            },
            _,
        ) => {
            let phb = platform.phbs.get_mut(*bridge as usize);
            let phb = phb.ok_or(RTAS_HARDWARE_ERROR)?;
            if change == Change::Attach {
                if phb.is_isolated() {
                    return Err(MULTI_LEVEL);
                }
                let device = away.take().ok_or(RTAS_HARDWARE_ERROR)?;
                phb.add_device(*devfn, device);
                return Ok(());
            }
            let mut device = phb.remove_device(*devfn).ok_or(RTAS_HARDWARE_ERROR)?;
            device.reset();
            *away = Some(device);
            // The windows stay: the PE is the bridge, and Linux keeps what it knows of them in the bridge's node. They go with the bridge.
        }
        (Resource::Block(start), Change::Attach) => {
            platform.iommu.add_memory(*start, map::LMB_SIZE);
        }
        (Resource::Block(start), Change::Detach) => {
            if !platform.iommu.remove_memory(*start, map::LMB_SIZE) {
                return Err(VALID_TRANSLATION);
            }
        }
    }
    Ok(())
}

fn event(platform: &Platform, resource: &Resource, change: Change) -> SlotEvent {
    SlotEvent {
        at_ns: platform.clock.now_ns(),
        what: match resource {
            Resource::Bridge(number) => bridge_connector_name(*number),
            Resource::Function { bridge, devfn, .. } => connector_name(*bridge, *devfn),
            Resource::Block(start) => format!("memory at {start:#x}"),
        },
        attached: change == Change::Attach,
    }
}

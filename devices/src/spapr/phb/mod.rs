//! The PCI host bridge: functions on bus 0, their configuration space by RTAS, memory decoding, interrupts, deferred work.
//!
//! The bridge carries out the [`Effects`] of its functions: messages to its window and pin changes become [`IrqEvent`]s for the
//! interrupt controller, run requests become deadlines in virtual time. It knows neither the interrupt controller nor the IOMMU.

mod config_access;
mod decode;
mod eeh;
mod function;
mod msi;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::dma::Gpa;
use crate::effects::{Effects, Msi};
use crate::pci::PciDevice;
use crate::pci::bars::Bars;
use crate::pci::regs::{COMMAND, COMMAND_MASTER, INTERRUPT_PIN};
use crate::spapr::MSI_WINDOW_SIZE;
use crate::spapr::eeh::PeHealth;

pub use config_access::{buid_of, config_addr};
pub use eeh::PE_CONFIG_ADDR;
pub use function::{BarInfo, FunctionInfo};

/// INTx lines of a bridge.
pub const LSI_LINES: u32 = 4;

/// A range of processor addresses that the bridge forwards to PCI memory space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Processor address.
    pub gpa: Gpa,
    /// PCI address of the first byte.
    pub pci: u64,
    /// Bytes.
    pub size: u64,
}

/// What a bridge is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhbConfig {
    /// Number of the bridge, for reports.
    pub index: u32,
    /// Unit id of the bus, by which RTAS calls name the bridge.
    pub buid: u64,
    /// Window for 32-bit BARs.
    pub mmio32: Window,
    /// Window for 64-bit BARs.
    pub mmio64: Window,
    /// PCI address of the message window, [`MSI_WINDOW_SIZE`] bytes.
    pub msi_window: u64,
    /// First of the [`LSI_LINES`] source numbers for INTx.
    pub lsi_irq_base: u32,
    /// First source number for messages.
    pub msi_irq_base: u32,
    /// How many source numbers for messages; at most 65536 - `msi_irq_base`, as message data has 16 bits.
    pub n_msi: u32,
}

/// How a source changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqKind {
    /// One interrupt.
    Edge,
    /// The line has this level now (true: asserted).
    Level(bool),
}

/// For the interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqEvent {
    /// Source number.
    pub source: u32,
    /// What happens to it.
    pub kind: IrqKind,
}

/// Counts of one bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhbCounters {
    /// Memory reads forwarded to a BAR.
    pub reads: u64,
    /// Memory writes forwarded to a BAR.
    pub writes: u64,
    /// Accesses inside a window that no BAR claimed.
    pub unclaimed: u64,
    /// Messages forwarded to the interrupt controller.
    pub msis: u64,
    /// Messages dropped: not to the window, not a source of that function, bus mastering off, or the PE stopped.
    pub stray_msis: u64,
}

struct Slot {
    device: Box<dyn PciDevice>,
    deadline: Option<u64>,
    pin: bool,
    msi: Option<msi::Grant>,
}

/// The bridge.
pub struct Phb {
    config: PhbConfig,
    slots: BTreeMap<u8, Slot>,
    bars: Bars<u8>,
    irqs: Vec<IrqEvent>,
    lines: [bool; LSI_LINES as usize],
    used_msis: Vec<bool>,
    health: PeHealth,
    isolated: bool,
    now_ns: u64,
    counters: PhbCounters,
}

impl std::fmt::Debug for Phb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Phb")
            .field("config", &self.config)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Phb {
    /// An empty bridge.
    pub fn new(config: PhbConfig) -> Self {
        let n_msi = config
            .n_msi
            .min(0x1_0000u32.saturating_sub(config.msi_irq_base));
        Phb {
            config: PhbConfig { n_msi, ..config },
            slots: BTreeMap::new(),
            bars: Bars::default(),
            irqs: Vec::new(),
            lines: [false; LSI_LINES as usize],
            used_msis: vec![false; n_msi as usize],
            health: PeHealth::default(),
            isolated: false,
            now_ns: 0,
            counters: PhbCounters::default(),
        }
    }

    /// What it was built from (`n_msi` as limited).
    pub fn config(&self) -> &PhbConfig {
        &self.config
    }

    /// What happened so far.
    pub fn counters(&self) -> PhbCounters {
        self.counters
    }

    /// Puts a function at `devfn` (device in bits 7:3, function in 2:0) of bus 0. Returns the one that was there.
    pub fn add_device(
        &mut self,
        devfn: u8,
        device: Box<dyn PciDevice>,
    ) -> Option<Box<dyn PciDevice>> {
        let old = self.remove_device(devfn);
        self.slots.insert(
            devfn,
            Slot {
                device,
                deadline: None,
                pin: false,
                msi: None,
            },
        );
        self.rebuild_decode();
        old
    }

    /// Takes a function out; its interrupts are released.
    pub fn remove_device(&mut self, devfn: u8) -> Option<Box<dyn PciDevice>> {
        self.release_msis(devfn);
        self.set_pin(devfn, false);
        let old = self.slots.remove(&devfn)?.device;
        self.rebuild_decode();
        Some(old)
    }

    /// The function at `devfn`.
    pub fn device(&self, devfn: u8) -> Option<&dyn PciDevice> {
        self.slots.get(&devfn).map(|s| s.device.as_ref())
    }

    /// True if there is no function.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Isolates the bridge, or ends that; either way it is in its power-on state then. RTAS calls that name an isolated bridge get status
    /// -3. LoPAR §13.5.3.
    pub fn isolate(&mut self, isolated: bool) {
        self.reset();
        self.isolated = isolated;
    }

    /// True while it is isolated.
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Tells the bridge the virtual time, for what accesses ask to be done later. Call before accesses.
    pub fn set_now(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// When the next deferred work is due, in virtual nanoseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.slots.values().filter_map(|s| s.deadline).min()
    }

    /// Does the work that is due: each function at most once. Returns true if anything ran.
    pub fn run_due(&mut self, now_ns: u64) -> bool {
        self.set_now(now_ns);
        let due: Vec<u8> = self
            .slots
            .iter()
            .filter(|(_, s)| s.deadline.is_some_and(|t| t <= now_ns))
            .map(|(&d, _)| d)
            .collect();
        for &devfn in &due {
            let mut effects = Effects::default();
            if let Some(slot) = self.slots.get_mut(&devfn) {
                slot.deadline = None;
                slot.device.run(now_ns, &mut effects);
            }
            self.apply(devfn, effects);
        }
        !due.is_empty()
    }

    /// What the interrupt controller has to be told, oldest first. Call after every access, RTAS call and run.
    pub fn take_irqs(&mut self) -> Vec<IrqEvent> {
        std::mem::take(&mut self.irqs)
    }

    /// True if [`Phb::take_irqs`] has something.
    pub fn has_irqs(&self) -> bool {
        !self.irqs.is_empty()
    }

    /// Power-on state of the bridge and all functions. Lines that were asserted are lowered.
    pub fn reset(&mut self) {
        self.health.power_on();
        let all: Vec<u8> = self.slots.keys().copied().collect();
        for devfn in all {
            self.release_msis(devfn);
            self.set_pin(devfn, false);
            if let Some(slot) = self.slots.get_mut(&devfn) {
                slot.device.reset();
                slot.deadline = None;
            }
        }
        self.rebuild_decode();
    }

    /// Source number of the INTx pin of a function (pin 1 to 4): pins rotate with the device number.
    pub fn lsi_source(&self, devfn: u8, pin: u8) -> u32 {
        self.config.lsi_irq_base + line(devfn, pin) as u32
    }

    /// Carries out what a function asked for.
    fn apply(&mut self, devfn: u8, effects: Effects) {
        if effects.is_empty() {
            return;
        }
        for msi in effects.msis {
            self.message(devfn, msi);
        }
        if let Some(level) = effects.intx {
            self.set_pin(devfn, level);
        }
        if let (Some(ns), Some(slot)) = (effects.run_after_ns, self.slots.get_mut(&devfn)) {
            let at = self.now_ns.saturating_add(ns);
            slot.deadline = Some(slot.deadline.map_or(at, |old| old.min(at)));
        }
    }

    fn message(&mut self, devfn: u8, msi: Msi) {
        let in_window = msi
            .address
            .checked_sub(self.config.msi_window)
            .is_some_and(|at| at < MSI_WINDOW_SIZE);
        let allowed = self.slots.get(&devfn).is_some_and(|slot| {
            slot.device.config_read(COMMAND, 2) as u16 & COMMAND_MASTER != 0
                && slot.msi.is_some_and(|grant| grant.contains(msi.data))
        });
        if in_window && allowed && !self.health.dma_stopped() {
            self.counters.msis += 1;
            self.irqs.push(IrqEvent {
                source: msi.data,
                kind: IrqKind::Edge,
            });
        } else {
            self.counters.stray_msis += 1;
        }
    }

    fn set_pin(&mut self, devfn: u8, level: bool) {
        let Some(slot) = self.slots.get_mut(&devfn) else {
            return;
        };
        slot.pin = level;
        let mut lines = [false; LSI_LINES as usize];
        for (&devfn, slot) in self.slots.iter().filter(|(_, s)| s.pin) {
            let pin = slot.device.config_read(INTERRUPT_PIN, 1) as u8;
            if pin != 0
                && let Some(asserted) = lines.get_mut(line(devfn, pin))
            {
                *asserted = true;
            }
        }
        for (source, (old, new)) in
            (self.config.lsi_irq_base..).zip(self.lines.iter_mut().zip(lines))
        {
            if *old != new {
                *old = new;
                self.irqs.push(IrqEvent {
                    source,
                    kind: IrqKind::Level(new),
                });
            }
        }
    }
}

fn line(devfn: u8, pin: u8) -> usize {
    (usize::from(devfn >> 3) + usize::from(pin.max(1)) - 1) % LSI_LINES as usize
}

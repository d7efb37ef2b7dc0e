//! A PCI Express root port: the configuration space of a type-1 function, with no registers of its own. PCIe 6.0 §7.5.1.3, §7.5.3.

use super::PciDevice;
use super::config::{ConfigSpace, Identity};
use super::regs::*;
use crate::effects::Effects;

/// Primary bus; secondary and subordinate follow.
pub const PRIMARY_BUS: u16 = 0x18;
/// Secondary bus.
pub const SECONDARY_BUS: u16 = 0x19;
/// Subordinate bus.
pub const SUBORDINATE_BUS: u16 = 0x1a;
/// Memory base and limit: bits 31:20 of addresses, in bits 15:4.
pub const MEMORY_WINDOW: u16 = 0x20;
/// Prefetchable base and limit, of 64 bits.
pub const PREFETCHABLE_WINDOW: u16 = 0x24;
/// Bits 63:32 of the prefetchable base; those of the limit follow.
pub const PREFETCHABLE_UPPER: u16 = 0x28;
/// Bridge control.
pub const BRIDGE_CONTROL: u16 = 0x3e;

/// Bridge control: secondary bus reset.
const SECONDARY_RESET: u16 = 1 << 6;
/// Extended capability id of access control services.
const CAP_ACS: u16 = 0x0d;

/// A range of bus addresses that a bridge passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub first: u64,
    /// Last address.
    pub last: u64,
}

/// The root port.
pub struct RootPort {
    name: String,
    config: ConfigSpace,
    resets: bool,
}

impl RootPort {
    /// A port with this number of its slot (reported in the slot capabilities).
    pub fn new(name: &str, slot: u16) -> Self {
        let mut config = ConfigSpace::new_express(Identity {
            vendor: 0x1b36,
            device: 0x000c,
            class: 0x06_0400,
            interrupt_pin: 1,
            ..Identity::default()
        });
        config.define(HEADER_TYPE, &[1], &[]);
        config.define(BAR0, &[0; 8], &[]);
        config.define(PRIMARY_BUS, &[0; 3], &[0xff; 3]);
        // No I/O window: base and limit read 0 and stay so.
        config.define(0x1b, &[0; 3], &[]);
        config.define(MEMORY_WINDOW, &[0; 4], &[0xf0, 0xff, 0xf0, 0xff]);
        config.define(
            PREFETCHABLE_WINDOW,
            &[1, 0, 1, 0],
            &[0xf0, 0xff, 0xf0, 0xff],
        );
        config.define(PREFETCHABLE_UPPER, &[0; 8], &[0xff; 8]);
        config.define(0x30, &[0; 4], &[]);
        config.define(BRIDGE_CONTROL, &[0; 2], &[0x43, 0]);
        config.add_root_port(slot);
        // Source validation, translation blocking, P2P request and completion redirect, upstream forwarding.
        config.add_extended_capability(CAP_ACS, 1, &[0x1f, 0, 0, 0], &[0, 0, 0x1f, 0]);
        RootPort {
            name: name.to_owned(),
            config,
            resets: false,
        }
    }

    /// Bus on its other side; 0 if none is set.
    pub fn secondary(&self) -> u8 {
        self.config.read(SECONDARY_BUS, 1) as u8
    }

    /// Last bus on its other side.
    pub fn subordinate(&self) -> u8 {
        self.config.read(SUBORDINATE_BUS, 1) as u8
    }

    /// Memory that it passes on: its two windows.
    pub fn windows(&self) -> [Option<Range>; 2] {
        if self.config.command() & COMMAND_MEMORY == 0 {
            return [None; 2];
        }
        let part = |at: u16| u64::from(self.config.get_u16(at) >> 4) << 20;
        let upper = |at: u16| u64::from(self.config.get_u32(at)) << 32;
        let range = |first: u64, last: u64| {
            let last = last | 0xf_ffff;
            (first <= last).then_some(Range { first, last })
        };
        [
            range(part(MEMORY_WINDOW), part(MEMORY_WINDOW + 2)),
            range(
                upper(PREFETCHABLE_UPPER) | part(PREFETCHABLE_WINDOW),
                upper(PREFETCHABLE_UPPER + 4) | part(PREFETCHABLE_WINDOW + 2),
            ),
        ]
    }

    /// True if a memory access at `first` to `last` goes through.
    pub fn passes(&self, first: u64, last: u64) -> bool {
        self.windows()
            .into_iter()
            .flatten()
            .any(|w| w.first <= first && last <= w.last)
    }

    /// True if functions below may master the bus.
    pub fn passes_dma(&self) -> bool {
        self.config.bus_master()
    }

    /// True once after software reset what is below.
    pub fn take_reset(&mut self) -> bool {
        std::mem::take(&mut self.resets)
    }
}

impl PciDevice for RootPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn config_read(&self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32, _effects: &mut Effects) {
        let before = self.config.get_u16(BRIDGE_CONTROL);
        self.config.write(offset, size, value);
        let after = self.config.get_u16(BRIDGE_CONTROL);
        self.resets |= after & !before & SECONDARY_RESET != 0;
    }

    fn bar_size(&self, _index: u8) -> u64 {
        0
    }

    fn bar_read(&mut self, _index: u8, _offset: u64, data: &mut [u8], _effects: &mut Effects) {
        data.fill(0xff);
    }

    fn bar_write(&mut self, _index: u8, _offset: u64, _data: &[u8], _effects: &mut Effects) {}

    fn reset(&mut self) {
        self.config.reset();
        self.resets = false;
    }
}

//! This project's unit with this project's `edu`.

use std::sync::Arc;

use anyhow::{Context, Result};
use viommu_devices::dma::{DmaPort, SourceId};
use viommu_devices::edu::{BUFFER, Edu};
use viommu_devices::effects::{Effects, Msi};
use viommu_devices::memory::GuestRam;
use viommu_devices::pci::PciDevice;
use viommu_devices::vtd::{Config, Fault, Interrupt, Outcome, Vtd};
use vm_memory::{Bytes, GuestAddress};

use crate::scenario::{Mode, Pending, Target};

const SOURCE: SourceId = SourceId(0x10);
/// QEMU's I/O APIC, as its DMAR table says.
const IO_APIC: SourceId = SourceId(0xff00);
/// The device's MSI capability: control, address, data.
const MSI: u16 = 0x40;
/// Register of the device that raises an interrupt.
const RAISE: u64 = 0x60;

pub struct Ours {
    ram: GuestRam,
    unit: Vtd<GuestRam>,
    edu: Edu,
    pending: Pending,
}

/// What QEMU 10's unit can do, as far as scenarios look at it.
fn like_qemu(mode: Mode) -> Config {
    let legacy = Config {
        host_address_width: 48,
        fault_records: 1,
        esrtps: false,
        esirtps: false,
        coherent: false,
        device_tlb: false,
        interrupt_remapping: false,
        eim: false,
        snoop_control: false,
        protected_memory: false,
        ..Config::legacy()
    };
    let scalable = Config {
        scalable: true,
        rid_pasid: true,
        ..legacy.clone()
    };
    match mode {
        Mode::Legacy => legacy,
        Mode::Interrupts | Mode::X2apic => Config {
            interrupt_remapping: true,
            eim: mode == Mode::X2apic,
            ..legacy
        },
        Mode::Second => Config {
            second_stage: true,
            ..scalable
        },
        Mode::First => Config {
            first_stage: true,
            first_stage_1g: true,
            ..scalable
        },
    }
}

impl Ours {
    pub fn new(mode: Mode) -> Result<Self> {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 64 << 20)])?;
        let unit = Vtd::new(like_qemu(mode), ram.clone())?;
        let port = DmaPort::new(SOURCE, Arc::new(unit.clone()), ram.clone());
        let mut edu = Edu::new("edu", port);
        edu.config_write(4, 2, 6, &mut Effects::default());
        Ok(Ours {
            ram,
            unit,
            edu,
            pending: Pending::default(),
        })
    }

    /// Local APIC 0, logical id 1 of the flat model, as the firmware of QEMU's sets it up.
    fn deliver(&mut self, outcome: Result<Outcome, Fault>) {
        if let Ok(Outcome::Deliver(interrupt)) = outcome {
            self.accept(interrupt);
        }
        self.accept_events();
    }

    /// The unit's own interrupts.
    fn accept_events(&mut self) {
        let events = self.unit.finish(self.unit.take_actions());
        events.into_iter().for_each(|i| self.accept(i));
    }

    fn accept(&mut self, interrupt: Interrupt) {
        let Interrupt {
            vector,
            destination,
            logical,
            delivery_mode,
            level,
            ..
        } = interrupt;
        let here = if logical {
            destination & 1 != 0
        } else {
            destination == 0 || destination == 0xff
        };
        // Fixed and lowest priority; what else there is requests no vector.
        if here && delivery_mode <= 1 {
            let (word, bit) = (usize::from(vector / 32), 1 << (vector % 32));
            self.pending.requested[word] |= bit;
            self.pending.level[word] =
                self.pending.level[word] & !bit | if level { bit } else { 0 };
        }
    }
}

impl Target for Ours {
    fn read_memory(&mut self, at: u64) -> Result<u64> {
        Ok(u64::from_le(self.ram.read_obj(GuestAddress(at))?))
    }

    fn write_memory(&mut self, at: u64, value: u64) -> Result<()> {
        self.ram
            .write_obj(value.to_le(), GuestAddress(at))
            .context("memory")
    }

    fn read_register(&mut self, offset: u64, size: u8) -> Result<u64> {
        Ok(self.unit.read(offset, size))
    }

    fn write_register(&mut self, offset: u64, size: u8, value: u64) -> Result<()> {
        let events = self.unit.finish(self.unit.write(offset, size, value));
        events.into_iter().for_each(|i| self.accept(i));
        Ok(())
    }

    fn dma(&mut self, bus: u64, offset: u64, len: u64, from_device: bool) -> Result<()> {
        let local = BUFFER + offset;
        let (source, destination) = if from_device {
            (local, bus)
        } else {
            (bus, local)
        };
        for (at, value) in [
            (0x80, source),
            (0x88, destination),
            (0x90, len),
            (0x98, 1 | u64::from(from_device) << 1),
        ] {
            self.edu
                .bar_write(0, at, &value.to_le_bytes(), &mut Effects::default());
        }
        self.accept_events();
        Ok(())
    }

    fn message(&mut self, address: u32, data: u32) -> Result<()> {
        if data > 0xffff {
            // A DMA of 4 bytes; the capability's data has 16 bits.
            let msi = Msi {
                address: address.into(),
                data,
            };
            let outcome = self.unit.message(SOURCE, msi);
            self.deliver(outcome);
            return Ok(());
        }
        let mut effects = Effects::default();
        for (at, size, value) in [
            (MSI + 4, 4, address),
            (MSI + 8, 4, 0),
            (MSI + 12, 2, data),
            (MSI + 2, 2, 1),
        ] {
            self.edu.config_write(at, size, value, &mut effects);
        }
        self.edu
            .bar_write(0, RAISE, &1u32.to_le_bytes(), &mut effects);
        for msi in effects.msis {
            let outcome = self.unit.message(SOURCE, msi);
            self.deliver(outcome);
        }
        Ok(())
    }

    fn pin(&mut self, entry: u64) -> Result<()> {
        let outcome = self.unit.io_apic(IO_APIC, entry);
        self.deliver(outcome);
        Ok(())
    }

    fn pending(&mut self) -> Result<Pending> {
        Ok(self.pending)
    }
}

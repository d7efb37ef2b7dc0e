//! This project's unit with this project's `edu`.

use std::sync::Arc;

use anyhow::{Context, Result};
use viommu_devices::dma::{DmaPort, SourceId};
use viommu_devices::edu::{BUFFER, Edu};
use viommu_devices::effects::Effects;
use viommu_devices::memory::GuestRam;
use viommu_devices::pci::PciDevice;
use viommu_devices::vtd::{Config, Vtd};
use vm_memory::{Bytes, GuestAddress};

use crate::scenario::{Mode, Target};

pub struct Ours {
    ram: GuestRam,
    unit: Vtd<GuestRam>,
    edu: Edu,
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
        let source = SourceId(0x10);
        let port = DmaPort::new(source, Arc::new(unit.clone()), ram.clone());
        let mut edu = Edu::new("edu", port);
        edu.config_write(4, 2, 6, &mut Effects::default());
        Ok(Ours { ram, unit, edu })
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
        self.unit.write(offset, size, value);
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
        Ok(())
    }
}

//! An educational device, register-compatible with QEMU's `edu` (1234:11e8), for drivers and tests that want a small bus master.
//!
//! BAR 0 is 1 MiB. Registers below 0x80 are 4 bytes, the others 4 or 8:
//!
//! | offset | access | meaning |
//! |--------|--------|---------|
//! | 0x00 | R | identification, 0x010000ed |
//! | 0x04 | RW | reads as the complement of what was written |
//! | 0x08 | RW | write n, read n! modulo 2^32 |
//! | 0x20 | RW | status: bit 0 computing (never seen), bit 7 interrupt after a factorial |
//! | 0x24 | R | interrupt status |
//! | 0x60 | W | raise: ORs the value into the interrupt status |
//! | 0x64 | W | acknowledge: clears the bits of the value |
//! | 0x80 | RW | DMA source |
//! | 0x88 | RW | DMA destination |
//! | 0x90 | RW | DMA count, bytes |
//! | 0x98 | RW | DMA command: bit 0 start, bit 1 direction (0 to the device, 1 from it), bit 2 interrupt (0x100) at the end |
//! | 0xa0 | R | *extension:* last DMA status, see [`DmaStatus`] |
//! | 0xa8 | R | *extension:* bus address at which the last DMA faulted |
//!
//! The buffer of 4096 bytes is at 0x40000 in the device's own addresses, which DMA uses; it is not visible in the BAR. Everything
//! completes before the register write returns. Bus addresses are cut to a mask, 64 bits unless made otherwise (the original's is
//! 28 bits wide).

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::dma::{DmaPort, Iova};
use crate::effects::Effects;
use crate::pci::PciDevice;
use crate::pci::config::{BarKind, ConfigSpace, Identity};
use crate::pci::intx::Intx;
use crate::pci::msi::Msi;

/// Where the device's buffer begins in its own addresses.
pub const BUFFER: u64 = 0x40000;
/// Bytes of the buffer.
pub const BUFFER_SIZE: u64 = 4096;
/// Interrupt status of a finished factorial.
pub const IRQ_FACTORIAL: u32 = 1;
/// Interrupt status of a finished DMA.
pub const IRQ_DMA: u32 = 0x100;

const BAR_SIZE: u64 = 1 << 20;
const STATUS_IRQ: u32 = 0x80;
const CMD_START: u64 = 1;
const CMD_FROM_DEVICE: u64 = 2;
const CMD_IRQ: u64 = 4;

/// Register 0xa0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[repr(u32)]
pub enum DmaStatus {
    /// No DMA was started yet.
    #[default]
    None = 0,
    /// Every byte was moved.
    Done = 1,
    /// The bus faulted; register 0xa8 says where.
    Fault = 2,
    /// The device's side of the transfer is not within its buffer.
    OutOfBuffer = 3,
    /// The function is not allowed to master the bus.
    NotMaster = 4,
}

/// What the device has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EduReport {
    /// DMAs that moved every byte.
    pub dmas: u64,
    /// DMAs that did not.
    pub dma_errors: u64,
    /// Bytes moved by them.
    pub bytes: u64,
    /// How the last one ended.
    pub last: DmaStatus,
}

/// Registers that reset clears.
#[derive(Clone, Copy, Debug, Default)]
struct Registers {
    liveness: u32,
    factorial: u32,
    status: u32,
    irq_status: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    dma_status: DmaStatus,
    fault_address: u64,
}

/// The device.
pub struct Edu {
    name: String,
    port: DmaPort,
    config: ConfigSpace,
    msi: Msi,
    intx: Intx,
    mask: u64,
    registers: Registers,
    buffer: Box<[u8]>,
    report: EduReport,
}

impl Edu {
    /// A device that puts 64-bit addresses on the bus.
    pub fn new(name: &str, port: DmaPort) -> Self {
        Self::with_dma_mask(name, port, u64::MAX)
    }

    /// A device whose bus addresses are cut to `mask`: `(1 << 28) - 1` is the original's.
    pub fn with_dma_mask(name: &str, port: DmaPort, mask: u64) -> Self {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x1234,
            device: 0x11e8,
            class: 0x00_ff00,
            revision: 0x10,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            interrupt_pin: 1,
        });
        config.add_bar(0, BAR_SIZE, BarKind::Mem32);
        let msi = Msi::new(&mut config, 1);
        Edu {
            name: name.to_owned(),
            port,
            config,
            msi,
            intx: Intx::default(),
            mask,
            registers: Registers::default(),
            buffer: vec![0; BUFFER_SIZE as usize].into(),
            report: EduReport::default(),
        }
    }

    /// What it has done.
    pub fn report(&self) -> EduReport {
        self.report
    }

    fn register(&self, offset: u64) -> u64 {
        let r = &self.registers;
        match offset {
            0x00 => 0x0100_00ed,
            0x04 => r.liveness.into(),
            0x08 => r.factorial.into(),
            0x20 => r.status.into(),
            0x24 => r.irq_status.into(),
            0x80 => r.source,
            0x88 => r.destination,
            0x90 => r.count,
            0x98 => r.command,
            0xa0 => r.dma_status as u64,
            0xa8 => r.fault_address,
            _ => 0,
        }
    }

    /// `old` with the bytes of a write of 4 or 8 bytes at `offset` of a 64-bit register at `base`.
    fn merge(old: u64, base: u64, offset: u64, size: usize, value: u64) -> u64 {
        match (size, offset - base) {
            (8, 0) => value,
            (4, 0) => old & !0xffff_ffff | value,
            (4, 4) => old & 0xffff_ffff | value << 32,
            _ => old,
        }
    }

    fn write_register(&mut self, offset: u64, size: usize, value: u64, effects: &mut Effects) {
        let r = &mut self.registers;
        match offset {
            0x04 => r.liveness = !(value as u32),
            0x08 => {
                r.factorial = factorial(value as u32);
                if r.status & STATUS_IRQ != 0 {
                    self.raise(IRQ_FACTORIAL, effects);
                }
            }
            0x20 => r.status = value as u32 & STATUS_IRQ,
            0x60 => self.raise(value as u32, effects),
            0x64 => {
                r.irq_status &= !(value as u32);
                self.update_pin(effects);
            }
            0x80 | 0x84 => r.source = Self::merge(r.source, 0x80, offset, size, value),
            0x88 | 0x8c => r.destination = Self::merge(r.destination, 0x88, offset, size, value),
            0x90 | 0x94 => r.count = Self::merge(r.count, 0x90, offset, size, value),
            0x98 => {
                r.command = value & (CMD_FROM_DEVICE | CMD_IRQ);
                if value & CMD_START != 0 {
                    self.transfer(effects);
                }
            }
            _ => {}
        }
    }

    fn transfer(&mut self, effects: &mut Effects) {
        let r = &self.registers;
        let from_device = r.command & CMD_FROM_DEVICE != 0;
        let (local, bus) = if from_device {
            (r.source, r.destination)
        } else {
            (r.destination, r.source)
        };
        let (count, bus) = (r.count, Iova(bus & self.mask));
        let mut fault_address = 0;
        let range = local
            .checked_sub(BUFFER)
            .and_then(|at| Some(at..at.checked_add(count)?))
            .filter(|r| r.end <= BUFFER_SIZE)
            .map(|r| r.start as usize..r.end as usize);
        let status = if !self.config.bus_master() {
            DmaStatus::NotMaster
        } else if let Some(part) = range.and_then(|r| self.buffer.get_mut(r)) {
            let result = if from_device {
                self.port.write(bus, part)
            } else {
                self.port.read(bus, part)
            };
            match result {
                Ok(()) => DmaStatus::Done,
                Err(fault) => {
                    fault_address = fault.request.iova.0;
                    DmaStatus::Fault
                }
            }
        } else {
            DmaStatus::OutOfBuffer
        };
        self.registers.dma_status = status;
        self.registers.fault_address = fault_address;
        self.report.last = status;
        if status == DmaStatus::Done {
            self.report.dmas += 1;
            self.report.bytes += count;
        } else {
            self.report.dma_errors += 1;
        }
        if self.registers.command & CMD_IRQ != 0 {
            self.raise(IRQ_DMA, effects);
        }
    }

    fn raise(&mut self, bits: u32, effects: &mut Effects) {
        self.registers.irq_status |= bits;
        if self.registers.irq_status != 0 {
            self.msi.trigger(&self.config, 0, effects);
        }
        self.update_pin(effects);
    }

    fn update_pin(&mut self, effects: &mut Effects) {
        let wanted = self.registers.irq_status != 0 && !self.msi.enabled(&self.config);
        if wanted != self.intx.wanted() {
            self.intx.set(wanted, &mut self.config, effects);
        }
    }
}

/// n! modulo 2^32, which is 0 from 34 on.
fn factorial(n: u32) -> u32 {
    if n >= 34 {
        0
    } else {
        (1..=n).fold(1, u32::wrapping_mul)
    }
}

impl PciDevice for Edu {
    fn name(&self) -> &str {
        &self.name
    }

    fn config_read(&self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32, effects: &mut Effects) {
        let change = self.config.write(offset, size, value);
        self.intx.config_written(&self.config, change, effects);
        self.update_pin(effects);
    }

    fn bar_size(&self, index: u8) -> u64 {
        self.config.bar_size(index)
    }

    fn bar_read(&mut self, index: u8, offset: u64, data: &mut [u8], _effects: &mut Effects) {
        data.fill(0xff);
        let wide = offset >= 0x80;
        if index != 0 || !(data.len() == 4 || wide && data.len() == 8) || !offset.is_multiple_of(4)
        {
            return;
        }
        // The upper half of a wide register is readable on its own.
        let value = if wide {
            self.register(offset & !7) >> (8 * (offset & 7))
        } else {
            self.register(offset)
        };
        for (to, from) in data.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
    }

    fn bar_write(&mut self, index: u8, offset: u64, data: &[u8], effects: &mut Effects) {
        if index != 0 || !(data.len() == 4 || offset >= 0x80 && data.len() == 8) {
            return;
        }
        let value = data.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b));
        self.write_register(offset, data.len(), value, effects);
    }

    fn reset(&mut self) {
        self.registers = Registers::default();
        self.buffer.fill(0);
        self.config.reset();
        self.intx.reset();
    }
}

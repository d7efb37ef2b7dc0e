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
//! | 0x98 | RW | DMA command: bit 0 start, bit 1 direction (0 to the device, 1 from it), bit 2 interrupt (0x100) at the end; *extension:* bits 3 to 5, see below |
//! | 0xa0 | R | *extension:* last DMA status, see [`DmaStatus`] |
//! | 0xa8 | R | *extension:* bus address at which the last DMA stopped |
//! | 0xb0 | RW | *extension:* PASID, 20 bits |
//!
//! A device made by [`Edu::with_services`] has PASID, ATS and PRI. Software enables each in its capability and uses it by bits of the
//! DMA command: 3, the requests carry the PASID of register 0xb0; 4, the device asks for translations first and uses what it gets;
//! 5 (with 4), it asks for a page that is not there, and goes on when the answer comes. Without these bits DMA is as ever, and a command
//! that asks for what is not enabled does nothing ([`DmaStatus::NotEnabled`]). The device keeps no translation for the next DMA, so that
//! an invalidation of its device TLB has nothing to do. A command that comes while another waits for a page replaces it.
//!
//! The buffer of 4096 bytes is at 0x40000 in the device's own addresses, which DMA uses; it is not visible in the BAR. Everything
//! completes before the register write returns. Bus addresses are cut to a mask, 64 bits unless made otherwise (the original's is
//! 28 bits wide).

#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::Serialize;

use crate::dma::{Access, DmaPort, Iova, PageResponse, Pasid};
use crate::effects::Effects;
use crate::pci::PciDevice;
use crate::pci::ats::Services;
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

const IDENTITY: Identity = Identity {
    vendor: 0x1234,
    device: 0x11e8,
    class: 0x00_ff00,
    revision: 0x10,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    interrupt_pin: 1,
};
const BAR_SIZE: u64 = 1 << 20;
const STATUS_IRQ: u32 = 0x80;
const CMD_START: u64 = 1;
const CMD_FROM_DEVICE: u64 = 2;
const CMD_IRQ: u64 = 4;
const CMD_PASID: u64 = 8;
const CMD_ATS: u64 = 0x10;
const CMD_PRI: u64 = 0x20;
/// Bits of the command that stay.
const CMD_KEPT: u64 = CMD_FROM_DEVICE | CMD_IRQ | CMD_PASID | CMD_ATS | CMD_PRI;
const PASID_BITS: u64 = 0xf_ffff;

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
    /// The command asks for PASID, ATS or PRI, which is not there or not enabled.
    NotEnabled = 5,
    /// The unit gave no translation that allows this; register 0xa8 says where.
    NoTranslation = 6,
    /// A page was asked for, and there is no answer yet; register 0xa8 says which.
    Waiting = 7,
    /// A page was asked for, and refused; register 0xa8 says which.
    Refused = 8,
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
    pasid: u64,
}

/// The device.
pub struct Edu {
    name: String,
    port: DmaPort,
    config: ConfigSpace,
    msi: Msi,
    intx: Intx,
    services: Option<Services>,
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
        Self::of(name, port, mask, ConfigSpace::new(IDENTITY))
    }

    /// A PCI Express device with PASID, ATS and PRI; `integrated` into the root complex, or else an endpoint below a port.
    pub fn with_services(name: &str, port: DmaPort, integrated: bool) -> Self {
        let mut edu = Self::of(name, port, u64::MAX, ConfigSpace::new_express(IDENTITY));
        let config = &mut edu.config;
        if integrated {
            config.add_integrated_express();
        } else {
            config.add_express_with_prefixes();
        }
        edu.services = Some(Services::new(config));
        edu
    }

    fn of(name: &str, port: DmaPort, mask: u64, mut config: ConfigSpace) -> Self {
        config.add_bar(0, BAR_SIZE, BarKind::Mem32);
        let msi = Msi::new(&mut config, 1);
        Edu {
            name: name.to_owned(),
            port,
            config,
            msi,
            intx: Intx::default(),
            services: None,
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
            0xb0 => r.pasid,
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
                r.command = value & CMD_KEPT;
                if value & CMD_START != 0 {
                    if let Some(services) = &mut self.services {
                        services.forget(&mut self.config);
                    }
                    self.transfer(effects);
                }
            }
            0xb0 => r.pasid = value & PASID_BITS,
            _ => {}
        }
    }

    /// Does the DMA of the registers, from its start.
    fn transfer(&mut self, effects: &mut Effects) {
        let r = &self.registers;
        let (count, command) = (r.count, r.command);
        let (local, bus) = if command & CMD_FROM_DEVICE != 0 {
            (r.source, r.destination)
        } else {
            (r.destination, r.source)
        };
        let bus = Iova(bus & self.mask);
        let range = local
            .checked_sub(BUFFER)
            .and_then(|at| Some(at..at.checked_add(count)?))
            .filter(|r| r.end <= BUFFER_SIZE)
            .map(|r| r.start as usize..r.end as usize);
        let result = if !self.config.bus_master() {
            Err((DmaStatus::NotMaster, Iova(0)))
        } else if !self.may(command) {
            Err((DmaStatus::NotEnabled, Iova(0)))
        } else if let Some(range) = range {
            self.transfer_to(bus, range)
        } else {
            Err((DmaStatus::OutOfBuffer, Iova(0)))
        };
        let (status, stopped_at) = result.err().unwrap_or((DmaStatus::Done, Iova(0)));
        self.registers.dma_status = status;
        self.registers.fault_address = stopped_at.0;
        self.report.last = status;
        match status {
            // Not the end yet.
            DmaStatus::Waiting => return,
            DmaStatus::Done => {
                self.report.dmas += 1;
                self.report.bytes += count;
            }
            _ => self.report.dma_errors += 1,
        }
        if command & CMD_IRQ != 0 {
            self.raise(IRQ_DMA, effects);
        }
    }

    /// True if software enabled what a command asks for.
    fn may(&self, command: u64) -> bool {
        let asks = |bit: u64, enabled: fn(&Services, &ConfigSpace) -> bool| {
            let has = |s: &Services| enabled(s, &self.config);
            command & bit == 0 || self.services.as_ref().is_some_and(has)
        };
        let alone = command & (CMD_ATS | CMD_PRI) == CMD_PRI;
        !alone
            && asks(CMD_PASID, Services::pasid_enabled)
            && asks(CMD_ATS, Services::ats_enabled)
            && asks(CMD_PRI, Services::pri_enabled)
    }

    /// Moves part of the buffer to or from `bus`. What stops it, and where.
    fn transfer_to(&mut self, bus: Iova, range: Range<usize>) -> Result<(), (DmaStatus, Iova)> {
        let Registers { command, pasid, .. } = self.registers;
        let from_device = command & CMD_FROM_DEVICE != 0;
        let pasid = (command & CMD_PASID != 0).then_some(Pasid(pasid as u32));
        let port = self.port.with_pasid(pasid);
        let Some(mut part) = self.buffer.get_mut(range) else {
            return Err((DmaStatus::OutOfBuffer, Iova(0)));
        };
        if command & CMD_ATS == 0 {
            let moved = if from_device {
                port.write(bus, part)
            } else {
                port.read(bus, part)
            };
            return moved.map_err(|fault| (DmaStatus::Fault, fault.request.iova));
        }
        let access = if from_device {
            Access::Write
        } else {
            Access::Read
        };
        let _in_flight = port.in_flight();
        let mut at = bus;
        while !part.is_empty() {
            let grant = port
                .ask(at, part.len() as u64, access)
                .map_err(|_| (DmaStatus::NoTranslation, at))?;
            if !grant.allows(access) {
                let page = self.services.as_mut().filter(|_| command & CMD_PRI != 0);
                return Err((
                    page.map_or(DmaStatus::NoTranslation, |services| {
                        let group = services.begin();
                        match port.ask_for_page(at, access, group) {
                            None => DmaStatus::Waiting,
                            Some(answer) => {
                                services.answered(&mut self.config, group, answer);
                                DmaStatus::Refused
                            }
                        }
                    }),
                    at,
                ));
            }
            let len = (grant.piece.len as usize).min(part.len());
            let (now, rest) = part.split_at_mut(len);
            let (port, to) = (port.translated(), Iova(grant.piece.gpa.0));
            let moved = if from_device {
                port.write(to, now)
            } else {
                port.read(to, now)
            };
            moved.map_err(|_| (DmaStatus::Fault, at))?;
            at = Iova(at.0.wrapping_add(len as u64));
            part = rest;
        }
        Ok(())
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
        if let Some(services) = &mut self.services {
            services.config_written(&mut self.config, change, value);
        }
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

    fn page_response(&mut self, group: u16, answer: PageResponse, effects: &mut Effects) {
        let known = self
            .services
            .as_mut()
            .is_some_and(|s| s.answered(&mut self.config, group, answer));
        if !known || self.registers.dma_status != DmaStatus::Waiting {
            return;
        }
        if answer == PageResponse::Success {
            self.transfer(effects);
            return;
        }
        self.registers.dma_status = DmaStatus::Refused;
        self.report.last = DmaStatus::Refused;
        self.report.dma_errors += 1;
        if self.registers.command & CMD_IRQ != 0 {
            self.raise(IRQ_DMA, effects);
        }
    }

    fn reset(&mut self) {
        self.registers = Registers::default();
        self.buffer.fill(0);
        self.config.reset();
        if let Some(services) = &mut self.services {
            services.reset();
        }
        self.intx.reset();
    }
}

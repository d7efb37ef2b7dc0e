//! The register page of VT-d: writes of any value, width and offset, between faults, snapshots and resets, against a model that keeps
//! the page as dwords.
//!
//! After each step every register reads as in the model, in every width, and the messages are the model's. Memory is zeros: each
//! descriptor stops the queue, each request finds no root entry, so that status, records and events have much to do.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use viommu_devices::dma::SourceId;
use viommu_devices::effects::Msi;
use viommu_devices::memory::GuestRam;
use viommu_devices::vtd::{Actions, Blocked, Config, Operation, REGISTERS_SIZE, Request, Vtd};
use vm_memory::GuestAddress;

/// Steps of one run.
const STEPS: usize = 64;
const RAM: u64 = 16 << 20;
const FRO: u64 = 0x400;
const IRO: u64 = 0xc00;

/// Offsets of the registers that do something, most often in dwords.
const PLACES: [u64; 48] = [
    0x18, 0x18, 0x18, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x2c, 0x34, 0x34, 0x38, 0x38, 0x3c, 0x40,
    0x44, 0x64, 0x64, 0x68, 0x6c, 0x70, 0x74, 0x78, 0x7c, 0x80, 0x88, 0x88, 0x90, 0x94, 0x9c, 0xa0,
    0xa4, 0xb0, 0xb8, 0xbc, 0xc0, 0xc8, 0xd0, 0xdc, 0xe0, 0xec, 0xc00, 0xc04, 0xc08, 0xc0c, 0x40c,
    0x41c,
];

#[derive(Arbitrary, Debug)]
struct Input {
    /// What the unit has.
    config: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Write(u8, Value, bool),
    WriteAny(u16, u8, u64),
    Command(u8),
    Fault(u16, u64, u8),
    Read(u16, u8),
    Restore,
    Reset,
}

#[derive(Arbitrary, Debug)]
enum Value {
    Any(u64),
    Bit(u8),
    /// A page, with low bits.
    Page(u16, u16),
    Ones,
}

impl Value {
    fn word(&self) -> u64 {
        match *self {
            Value::Any(n) => n,
            Value::Bit(n) => 1 << (n % 64),
            Value::Page(page, low) => u64::from(page % 4100) << 12 | u64::from(low & 0xfff),
            Value::Ones => u64::MAX,
        }
    }
}

/// Control, data, address and upper address of an event, at a first offset.
#[derive(Clone, Copy, Debug)]
struct Event(u64);
const FAULT_EVENT: Event = Event(0x38);

#[derive(Clone, Debug)]
struct Model {
    config: Config,
    page: Vec<u32>,
    /// RTADDR as SRTP took it.
    root: u64,
    /// The write-only IVA.
    iva: u64,
    /// Enabled regions: first and last byte.
    regions: [(u64, u64); 2],
    next_record: u64,
    messages: Vec<Msi>,
}

const TE: u32 = 1 << 31;
const RTPS: u32 = 1 << 30;
const QIE: u32 = 1 << 26;
const IRE: u32 = 1 << 25;
const IRTPS: u32 = 1 << 24;
const CFI: u32 = 1 << 23;
const HIGH: u32 = 0x3fff;

impl Model {
    fn new(config: &Config) -> Self {
        let mut m = Model {
            config: config.clone(),
            page: vec![0; 1024],
            root: 0,
            iva: 0,
            regions: [(1, 0); 2],
            next_record: 0,
            messages: Vec::new(),
        };
        let caps = config.capabilities().expect("a possible configuration");
        *m.at(0) = u32::from(config.version.0) << 4 | u32::from(config.version.1);
        m.set64(8, caps.cap.into());
        m.set64(0x10, caps.ecap.into());
        let page_event = config.page_requests.then_some(0xe0);
        for control in [0x38, 0xa0].into_iter().chain(page_event) {
            *m.at(control) = 1 << 31;
        }
        m
    }

    fn at(&mut self, offset: u64) -> &mut u32 {
        &mut self.page[offset as usize / 4]
    }

    fn get(&self, offset: u64) -> u32 {
        self.page[offset as usize / 4]
    }

    fn get64(&self, offset: u64) -> u64 {
        u64::from(self.get(offset)) | u64::from(self.get(offset + 4)) << 32
    }

    fn set64(&mut self, offset: u64, value: u64) {
        *self.at(offset) = value as u32;
        *self.at(offset + 4) = (value >> 32) as u32;
    }

    fn read(&self, offset: u64, size: u8) -> u64 {
        (0..u64::from(size))
            .filter(|n| offset + n < REGISTERS_SIZE)
            .map(|n| {
                let byte = self.get(offset + n) >> (8 * ((offset + n) % 4)) & 0xff;
                u64::from(byte) << (8 * n)
            })
            .sum()
    }

    /// What a plain dword keeps of a write.
    fn writable(&self, offset: u64) -> u32 {
        let eim = if self.config.eim { 1 << 11 } else { 0 };
        match offset {
            0x20 => 0xffff_fc00,
            0x24 | 0x94 | 0xbc => HIGH,
            0x28 => u32::MAX,
            0x3c | 0xa4 => 0xffff,
            0x40 | 0xa8 => !3,
            0x44 | 0xac => u32::MAX,
            0x68 | 0x6c | 0x70 | 0x78 if self.may_move_regions() => 0xffe0_0000,
            0x74 | 0x7c if self.may_move_regions() => HIGH,
            0x88 => 0x7_fff0,
            0x90 => 0xffff_f807,
            0xb8 => 0xffff_f00f | eim,
            0xc0..=0xec if !self.config.page_requests => 0,
            0xc0 | 0xc8 => 0x7_ffe0,
            0xd0 => 0xffff_f007,
            0xd4 => HIGH,
            0xe4 => 0xffff,
            0xe8 => !3,
            0xec => u32::MAX,
            _ => 0,
        }
    }

    fn may_move_regions(&self) -> bool {
        self.config.protected_memory && self.get(0x64) >> 31 == 0
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        if !(size == 4 || size == 8) || !offset.is_multiple_of(4) {
            return;
        }
        for n in 0..u64::from(size) / 4 {
            if offset + 4 * n < REGISTERS_SIZE {
                self.write_dword(offset + 4 * n, (value >> (32 * n)) as u32);
            }
        }
    }

    fn write_dword(&mut self, offset: u64, value: u32) {
        let mask = self.writable(offset);
        *self.at(offset) = self.get(offset) & !mask | value & mask;
        let records = FRO..FRO + 16 * self.config.fault_records as u64;
        match offset {
            0x18 => self.command(value),
            0x2c => {
                // FM, CIRG; a command leaves CAIG.
                let mut high = self.get(offset) & 0x1800_0000 | value & 0x6000_0003;
                if value >> 31 == 1 {
                    let done = if self.by_register() {
                        value >> 29 & 3
                    } else {
                        0
                    };
                    high = high & !0x1800_0000 | done << 27;
                }
                *self.at(offset) = high;
            }
            0x34 => self.write_status(value),
            0x38 | 0xa0 | 0xe0 if offset != 0xe0 || self.config.page_requests => {
                *self.at(offset) = self.get(offset) & 1 << 30 | value & 1 << 31;
                if self.get(offset) == 1 << 30 {
                    *self.at(offset) = 0;
                    self.send(Event(offset));
                }
            }
            0x64 if self.config.protected_memory => {
                *self.at(offset) = value & 1 << 31 | value >> 31;
                let low = (self.get(0x68).into(), u64::from(self.get(0x6c)) | 0x1f_ffff);
                let high = (self.get64(0x70), self.get64(0x78) | 0x1f_ffff);
                self.regions = if value >> 31 == 1 {
                    [low, high]
                } else {
                    [(1, 0); 2]
                };
            }
            0x88 => self.queue(),
            IRO => self.iva = self.iva >> 32 << 32 | u64::from(value & 0xffff_f07f),
            0xc04 => self.iva = self.iva & 0xffff_ffff | u64::from(value) << 32,
            0xc0c => {
                let mut high = self.get(offset) & 0x0600_0000 | value & 0x3003_ffff;
                if value >> 31 == 1 {
                    let mut done = if self.by_register() {
                        value >> 28 & 3
                    } else {
                        0
                    };
                    let fits = self.iva & 63 <= self.config.mamv.into();
                    if done == 3 && !self.config.psi {
                        done = 2;
                    } else if done == 3 && !fits {
                        done = 0;
                    }
                    high = high & !0x0600_0000 | done << 25;
                }
                *self.at(offset) = high;
            }
            _ if records.contains(&offset) && offset % 16 == 12 && value >> 31 == 1 => {
                *self.at(offset) &= !(1 << 31);
                self.write_status(0);
            }
            _ => {}
        }
    }

    /// Invalidations by register are for legacy mode without a queue.
    fn by_register(&self) -> bool {
        !self.on(QIE) && self.root >> 10 & 3 == 0 && self.config.version.0 < 6
    }

    fn on(&self, bits: u32) -> bool {
        self.get(0x1c) & bits != 0
    }

    fn command(&mut self, value: u32) {
        let was = self.get(0x1c);
        let mut levels = TE | QIE;
        let mut sticky = was & (RTPS | IRTPS);
        if value & RTPS != 0 {
            self.root = self.get64(0x20);
            sticky |= RTPS;
        }
        if self.config.interrupt_remapping {
            levels |= IRE | CFI;
            sticky |= value & IRTPS;
        }
        *self.at(0x1c) = sticky | value & levels;
        if !self.on(TE | IRE) {
            self.next_record = 0;
        }
        if value & !was & QIE != 0 {
            self.queue();
        }
    }

    /// Every descriptor is zeros, so the first one ends it.
    fn queue(&mut self) {
        let tail = u64::from(self.get(0x88));
        if !self.on(QIE) || self.get(0x34) & 1 << 4 != 0 || tail == 0 {
            return;
        }
        let address = self.get64(0x90);
        let wide = address >> 11 & 1 == 1;
        let base = address & !0xfff;
        let (scalable, abort) = (self.config.scalable, self.config.abort_dma);
        let error = match self.root >> 10 & 3 {
            1 if !scalable => 7,
            3 if !abort => 7,
            2 => 7,
            1 | 3 if !wide => 5,
            _ if wide && !scalable && !abort => 5,
            _ if tail >= 4096 << (address & 7) => 1,
            _ if wide && tail & 16 != 0 => 6,
            _ if base >= RAM => 2,
            _ => 3,
        };
        *self.at(0xb0) = error;
        self.raise(1 << 4);
    }

    fn write_status(&mut self, value: u32) {
        let stopped = self.get(0x34) & 1 << 4 != 0;
        let mut status = self.get(0x34) & !(value & 0x71);
        let records = self.config.fault_records as u64;
        if (0..records).all(|n| self.get(FRO + 16 * n + 12) >> 31 == 0) {
            status &= !2;
        }
        if value & 1 << 4 != 0 {
            *self.at(0xb0) = 0;
        }
        *self.at(0x34) = status;
        if status & 0xff == 0 {
            *self.at(0x38) &= !(1 << 30);
        }
        if stopped && status & 1 << 4 == 0 {
            self.queue();
        }
    }

    fn raise(&mut self, bits: u32) {
        let was = self.get(0x34) & 0xff;
        *self.at(0x34) |= bits;
        if was == 0 {
            if self.get(0x38) >> 31 == 1 {
                *self.at(0x38) |= 1 << 30;
            } else {
                self.send(FAULT_EVENT);
            }
        }
    }

    fn send(&mut self, Event(at): Event) {
        let address = self.get64(at + 8);
        let data = self.get(at + 4);
        self.messages.push(Msi { address, data });
    }

    /// What becomes of a request without PASID: a code, 0 for a protected region, or none.
    fn request(&mut self, source: u16, address: u64, write: bool) -> Option<u8> {
        if !self.on(TE) {
            let inside = |(first, last): &(u64, u64)| (*first..=*last).contains(&address);
            return self.regions.iter().any(inside).then_some(0);
        }
        let table = self.root & !0xfff;
        let root = table + u64::from(source >> 8) * 16;
        let code = match self.root >> 10 & 3 {
            0 if root + 16 > RAM => 0x8,
            0 => 0x1,
            1 if !self.config.scalable => 0x30,
            1 if root + u64::from(source >> 7 & 1) * 8 + 8 > RAM => 0x38,
            1 => 0x39,
            3 if self.config.abort_dma => 0x33,
            _ => 0x30,
        };
        let n = self.next_record;
        let at = FRO + 16 * n;
        if self.get(0x34) & 1 != 0 || self.get(at + 12) >> 31 == 1 {
            self.raise(1);
            return Some(code);
        }
        self.set64(at, address & !0xfff);
        let kind = if write { 0 } else { 1 << 62 };
        self.set64(
            at + 8,
            1 << 63 | kind | u64::from(code) << 32 | u64::from(source),
        );
        if self.get(0x34) & 2 == 0 {
            *self.at(0x34) = self.get(0x34) & 0xff | (n as u32) << 8;
        }
        self.next_record = (n + 1) % self.config.fault_records as u64;
        self.raise(2);
        Some(code)
    }
}

fn config(n: u8) -> Config {
    let base = if n & 1 == 0 {
        Config::full()
    } else {
        Config::legacy()
    };
    Config {
        fault_records: [1, 2, 4, 7][usize::from(n >> 1 & 3)],
        psi: n & 8 == 0,
        protected_memory: n & 16 == 0,
        eim: n & 32 == 0,
        mamv: if n & 64 == 0 { 18 } else { 3 },
        ..base
    }
}

fn check(unit: &Vtd, model: &mut Model, actions: Actions) {
    assert!(actions.device_tlb.is_empty() && actions.responses.is_empty() && !actions.run_again);
    assert_eq!(actions.messages, std::mem::take(&mut model.messages));
    assert!(!unit.has_actions());
    let records = FRO..FRO + 16 * model.config.fault_records as u64 + 16;
    for offset in (0..0x100)
        .chain(records)
        .chain(IRO - 8..IRO + 24)
        .step_by(4)
    {
        assert_eq!(
            unit.read(offset, 4),
            u64::from(model.get(offset)),
            "{offset:#x}"
        );
    }
}

fuzz_target!(|input: Input| {
    let config = config(input.config);
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).expect("memory");
    let mut unit = Vtd::new(config.clone(), ram.clone()).expect("a possible configuration");
    let mut model = Model::new(&config);
    for step in input.steps.iter().take(STEPS) {
        let mut actions = Actions::default();
        match step {
            Step::Write(place, value, wide) => {
                let offset = PLACES[usize::from(*place) % PLACES.len()];
                let size = if *wide { 8 } else { 4 };
                actions = unit.write(offset, size, value.word());
                model.write(offset, size, value.word());
            }
            Step::WriteAny(offset, size, value) => {
                let (offset, size) = (u64::from(offset % 0x1010), size % 10);
                actions = unit.write(offset, size, *value);
                model.write(offset, size, *value);
            }
            Step::Command(bits) => {
                let value = u64::from(bits & 0x7f) << 25 | u64::from(bits >> 7) << 24;
                actions = unit.write(0x18, 4, value);
                model.write(0x18, 4, value);
            }
            Step::Fault(source, address, kind) => {
                let write = kind & 1 != 0;
                let operation = if write {
                    Operation::Write
                } else {
                    Operation::Read
                };
                // Often near the protected regions.
                let address = if kind & 2 != 0 {
                    address & 0x3ff_ffff
                } else {
                    *address
                };
                let request = Request::untranslated(SourceId(*source), address, operation);
                let code = match unit.translate(&request) {
                    Ok(t) => {
                        assert_eq!((t.address, t.pass_through), (address, true));
                        None
                    }
                    Err(Blocked::Protected) => Some(0),
                    Err(Blocked::Fault(f)) => Some(f.reason.code()),
                };
                assert_eq!(code, model.request(*source, address, write));
                assert!(unit.has_actions() || model.messages.is_empty());
                actions = unit.take_actions();
            }
            Step::Read(offset, size) => {
                let (offset, size) = (
                    u64::from(offset % 0x1010),
                    [1, 2, 4, 8][usize::from(size % 4)],
                );
                assert_eq!(
                    unit.read(offset, size),
                    model.read(offset, size),
                    "{offset:#x}"
                );
            }
            Step::Restore => {
                let snapshot = unit.save().expect("nothing is in flight");
                unit = Vtd::restore(&snapshot, ram.clone()).expect("its own snapshot");
                assert_eq!(unit.save().expect("nothing is in flight"), snapshot);
            }
            Step::Reset => {
                unit.reset();
                model = Model::new(&config);
            }
        }
        check(&unit, &mut model, actions);
    }
});

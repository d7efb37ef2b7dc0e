//! A small laboratory for tests, fuzzing, benchmarks and examples: guest memory, a unit over it, and a driver's handiwork.
//!
//! It panics where a test would: on a full memory or a wrong argument. Nothing here is for use behind a guest.

pub mod plan;

use std::cell::Cell;

use vm_memory::{Bytes, GuestAddress};

use crate::dma::SourceId;
use crate::memory::GuestRam;
use crate::vtd::spec::paging::{first, index, second, shift};
use crate::vtd::spec::queue::types;
use crate::vtd::spec::registers::{FRO, Register, global};
use crate::vtd::spec::{PAGE, fault::Record};
use crate::vtd::{Actions, Config, Vtd};

/// Bytes of guest memory, from 0.
pub const RAM: u64 = 64 << 20;
/// Root table.
pub const ROOT: u64 = 0x1000;
/// Invalidation queue, one page.
pub const QUEUE: u64 = 0x2000;
/// Where wait descriptors write.
pub const STATUS: u64 = 0x3000;
/// Page request queue, one page.
pub const PAGE_QUEUE: u64 = 0x4000;
/// Interrupt remapping table, 16 pages: 4096 entries.
pub const IRT: u64 = 0x1_0000;
/// Interrupt table size field for [`IRT`].
pub const IRT_SIZE: u64 = 11;
/// First page that is handed out.
pub const FIRST_FREE: u64 = 0x10_0000;

/// The requester of most tests: 00:02.0.
pub const DEVICE: SourceId = SourceId(0x10);

/// See the module.
#[derive(Debug)]
pub struct Lab {
    /// Guest memory.
    pub ram: GuestRam,
    /// The unit.
    pub unit: Vtd<GuestRam>,
    free: Cell<u64>,
    tail: Cell<u64>,
    /// Descriptors are 256 bits wide.
    wide: bool,
}

impl Lab {
    /// Memory and a unit after reset.
    pub fn new(config: Config) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).expect("memory");
        let wide = config.scalable;
        let unit = Vtd::new(config, ram.clone()).expect("a possible configuration");
        Lab {
            ram,
            unit,
            free: Cell::new(FIRST_FREE),
            tail: Cell::new(0),
            wide,
        }
    }

    /// A fresh page of zeros.
    pub fn page(&self) -> u64 {
        self.pages(1)
    }

    /// `count` fresh pages of zeros, contiguous.
    pub fn pages(&self, count: u64) -> u64 {
        let at = self.free.get();
        self.free.set(at + count * PAGE);
        assert!(at + count * PAGE <= RAM, "out of memory");
        at
    }

    /// Writes a quadword of guest memory.
    pub fn put(&self, at: u64, value: u64) {
        self.ram
            .write_obj(value.to_le(), GuestAddress(at))
            .expect("memory");
    }

    /// Reads a quadword of guest memory.
    pub fn get(&self, at: u64) -> u64 {
        u64::from_le(self.ram.read_obj(GuestAddress(at)).expect("memory"))
    }

    /// Reads a register by name.
    pub fn register(&self, register: Register) -> u64 {
        let (at, size) = place(register);
        self.unit.read(at, size as u8)
    }

    /// Writes a register by name.
    pub fn set_register(&self, register: Register, value: u64) -> Actions {
        let (at, size) = place(register);
        self.unit.write(at, size as u8, value)
    }

    /// Sets command bits and keeps the levels that are on.
    pub fn command(&self, bits: u32) -> Actions {
        let levels = global::TE | global::QIE | global::IRE | global::CFI;
        let on = self.register(Register::GSTS) as u32 & levels;
        self.set_register(Register::GCMD, u64::from(on | bits))
    }

    /// Points the unit to the root table in a mode (TTM), switches the queue and translation on.
    pub fn enable(&self, mode: u64) {
        self.set_register(Register::RTADDR, ROOT | mode << 10);
        self.command(global::SRTP);
        self.enable_queue();
        self.command(global::TE);
    }

    /// Switches the queue on.
    pub fn enable_queue(&self) {
        self.tail.set(0);
        self.set_register(Register::IQT, 0);
        self.set_register(Register::IQA, QUEUE | u64::from(self.wide) << 11);
        self.command(global::QIE);
    }

    /// Puts a descriptor into the queue and moves the tail.
    pub fn submit(&self, descriptor: [u64; 2]) -> Actions {
        self.submit_raw([descriptor[0], descriptor[1], 0, 0])
    }

    /// The same with all four quadwords.
    pub fn submit_raw(&self, words: [u64; 4]) -> Actions {
        let size = if self.wide { 32 } else { 16 };
        let at = self.tail.get();
        for (i, word) in words.iter().take(size as usize / 8).enumerate() {
            self.put(QUEUE + at + 8 * i as u64, *word);
        }
        self.tail.set((at + size) % PAGE);
        self.set_register(Register::IQT, self.tail.get())
    }

    /// Submits a wait with status write, and says whether the status came.
    pub fn wait(&self) -> bool {
        self.ram
            .write_obj(0u32, GuestAddress(STATUS))
            .expect("memory");
        self.submit([u64::from(types::WAIT) | 1 << 5 | 0x1234 << 32, STATUS]);
        self.ram
            .read_obj::<u32>(GuestAddress(STATUS))
            .expect("memory")
            == 0x1234u32.to_le()
    }

    /// True in scalable mode.
    pub fn is_scalable(&self) -> bool {
        self.register(Register::RTADDR) >> 10 & 3 == 1
    }

    /// Invalidates the context cache, the PASID cache and the IOTLB, globally.
    pub fn invalidate_all(&self) {
        self.submit([u64::from(types::CONTEXT_CACHE) | 1 << 4, 0]);
        if self.is_scalable() {
            self.submit([u64::from(types::PASID_CACHE) | 3 << 4, 0]);
        }
        self.submit([u64::from(types::IOTLB) | 1 << 4, 0]);
        assert!(self.wait());
    }

    /// Address of the legacy context entry of a requester; makes the context table if there is none.
    pub fn context(&self, source: SourceId) -> u64 {
        self.table_at(ROOT + u64::from(source.0 >> 8) * 16) + u64::from(source.0 & 0xff) * 16
    }

    /// Address of the scalable-mode context entry of a requester; makes the context table if there is none.
    pub fn scalable_context(&self, source: SourceId) -> u64 {
        let half = u64::from(source.0 >> 7 & 1) * 8;
        self.table_at(ROOT + u64::from(source.0 >> 8) * 16 + half) + u64::from(source.0 & 0x7f) * 32
    }

    fn table_at(&self, root: u64) -> u64 {
        if self.get(root) & 1 == 0 {
            self.put(root, self.page() | 1);
        }
        self.get(root) & !0xfff
    }

    /// Writes a legacy context entry. `tt` and `aw` as in the entry.
    pub fn set_context(&self, source: SourceId, tt: u64, aw: u64, domain: u16, table: u64) {
        let at = self.context(source);
        self.put(at + 8, aw | u64::from(domain) << 8);
        self.put(at, table | tt << 2 | 1);
    }

    /// Writes a scalable-mode context entry with a fresh directory for all PASIDs that the unit has; `flags` are DTE, PASIDE, PRE.
    /// Returns the directory.
    pub fn set_scalable_context(&self, source: SourceId, flags: u64, rid_pasid: u32) -> u64 {
        let bits = self.unit.config().pasid_bits.max(13);
        let directory = self.pages((8u64 << (bits - 6)).div_ceil(PAGE));
        let at = self.scalable_context(source);
        self.put(at + 8, rid_pasid.into());
        self.put(at, directory | u64::from(bits - 13) << 9 | flags | 1);
        directory
    }

    /// Address of a PASID entry; makes the PASID table if there is none.
    pub fn pasid_entry(&self, source: SourceId, pasid: u32) -> u64 {
        let directory = self.get(self.scalable_context(source)) & !0xfff;
        self.table_at(directory + u64::from(pasid >> 6) * 8) + u64::from(pasid & 63) * 64
    }

    /// Writes a PASID entry; P is set.
    pub fn set_pasid(&self, source: SourceId, pasid: u32, words: [u64; 3]) {
        let at = self.pasid_entry(source, pasid);
        self.put(at + 16, words[2]);
        self.put(at + 8, words[1]);
        self.put(at, words[0] | 1);
    }

    /// Maps a second-stage page at `level` (1 is 4 KiB); tables are made as needed. Returns the address of the leaf entry.
    pub fn map_second(
        &self,
        root: u64,
        levels: u32,
        from: u64,
        to: u64,
        level: u32,
        flags: u64,
    ) -> u64 {
        let at = self.walk_to(root, levels, level, from, second::R | second::W);
        let large = if level > 1 { second::PS } else { 0 };
        self.put(at, to | flags | large);
        at
    }

    /// Maps a first-stage page at `level`; P is set. Returns the address of the leaf entry.
    pub fn map_first(
        &self,
        root: u64,
        levels: u32,
        from: u64,
        to: u64,
        level: u32,
        flags: u64,
    ) -> u64 {
        let at = self.walk_to(root, levels, level, from, first::P | first::RW | first::US);
        let large = if level > 1 { first::PS } else { 0 };
        self.put(at, to | flags | large | first::P);
        at
    }

    fn walk_to(&self, root: u64, levels: u32, level: u32, address: u64, upper: u64) -> u64 {
        let mut table = root;
        for l in (level + 1..=levels).rev() {
            let at = table + 8 * index(address, l);
            if self.get(at) & 3 == 0 {
                self.put(at, self.page() | upper);
            }
            table = self.get(at) & crate::vtd::spec::paging::ADDRESS;
        }
        table + 8 * index(address, level)
    }

    /// Addresses of the entries on the way to a page of `level`, from the root down.
    pub fn entries(&self, root: u64, levels: u32, address: u64, level: u32) -> Vec<u64> {
        let mut table = root;
        let mut list = Vec::new();
        for l in (level..=levels).rev() {
            let at = table + 8 * index(address, l);
            list.push(at);
            table = self.get(at) & crate::vtd::spec::paging::ADDRESS;
        }
        list
    }

    /// Maps all of memory, page for page, in a fresh second stage, with 2 MiB pages. Returns its root.
    pub fn identity_second(&self, levels: u32, flags: u64) -> u64 {
        let root = self.page();
        for at in (0..RAM).step_by(1 << shift(2)) {
            self.map_second(root, levels, at, at, 2, flags);
        }
        root
    }

    /// Fault records with F set, from FSTS.FRI on; clears them and the status.
    pub fn take_records(&self) -> Vec<Record> {
        let status = self.register(Register::FSTS);
        let count = self.unit.config().fault_records as u64;
        let mut list = Vec::new();
        for n in 0..count {
            let at = FRO + (((status >> 8 & 0xff) + n) % count) * 16;
            let record = Record([self.unit.read(at, 8), self.unit.read(at + 8, 8)]);
            if !record.is_set() {
                break;
            }
            list.push(record);
            self.unit.write(at + 12, 4, 1 << 31);
        }
        self.set_register(Register::FSTS, 0x7f);
        list
    }
}

/// Offset and size of a register.
pub fn place(register: Register) -> (u64, u64) {
    if let Register::FRCD(n, high) = register {
        return (FRO + u64::from(n) * 16 + u64::from(high) * 8, 8);
    }
    Register::MAP
        .iter()
        .find(|(_, _, r)| *r == register)
        .map(|(at, size, _)| (*at, *size))
        .expect("every register has a place")
}

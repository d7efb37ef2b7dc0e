//! The remapping unit as the guests use it: registers, tables in scalable mode, the queue. VT-d 4.1 §9, §11.4.

use viommu::pc::map;

use super::guest::{EDU_SOURCE, Guest};

/// The options that the guests need: one fault record, so that each fault is in the same place.
pub const OPTIONS: [&str; 2] = ["--iommu", "scalable,fault-records=1"];

/// Registers.
const GCMD: u64 = map::VTD + 0x18;
const GSTS: u64 = map::VTD + 0x1c;
const RTADDR: u64 = map::VTD + 0x20;
const FSTS: u64 = map::VTD + 0x34;
const IQT: u64 = map::VTD + 0x88;
const IQA: u64 = map::VTD + 0x90;
/// Page request queue: head, tail, address, status.
pub const PQH: u64 = map::VTD + 0xc0;
/// See [`PQH`].
pub const PQT: u64 = map::VTD + 0xc8;
/// See [`PQH`].
pub const PQA: u64 = map::VTD + 0xd0;
/// See [`PQH`].
pub const PRS: u64 = map::VTD + 0xdc;
/// The fault record, where CAP.FRO says.
const FRCD: u64 = map::VTD + viommu_devices::vtd::spec::registers::FRO;

/// GCMD and GSTS.
const TE: u32 = 1 << 31;
const SRTP: u32 = 1 << 30;
const QIE: u32 = 1 << 26;

/// Memory.
const ROOT: u64 = 0x100_0000;
const CONTEXT: u64 = 0x100_1000;
const DIRECTORY: u64 = 0x100_2000;
const QUEUE: u64 = 0x100_3000;
const STATUS: u64 = 0x100_4000;
/// The page request queue's page.
pub const PAGE_REQUESTS: u64 = 0x100_5000;
const PASID_TABLES: u64 = 0x101_0000;

/// A present entry of a table.
pub const PRESENT: u64 = 1;
/// Context entry: DTE, PASIDE, PRE.
pub const DTE: u64 = 1 << 2;
/// See [`DTE`].
pub const PASIDE: u64 = 1 << 3;
/// See [`DTE`].
pub const PRE: u64 = 1 << 4;
/// PASID entry: PGTT.
pub const FIRST_STAGE: u64 = 1 << 6;
/// See [`FIRST_STAGE`].
pub const SECOND_STAGE: u64 = 2 << 6;
/// See [`FIRST_STAGE`].
pub const NESTED: u64 = 3 << 6;
/// PASID entry: 39 bits of the second stage, three levels.
pub const AW_39: u64 = 1 << 2;
/// PASID entry: accessed and dirty bits in the second stage.
pub const SSADE: u64 = 1 << 9;
/// PASID entry, second quadword: page walks are snooped.
const PWSNP: u64 = 1 << 23;

/// Paging entries: second stage.
pub const R: u64 = 1;
/// See [`R`].
pub const W: u64 = 2;
/// Accessed and dirty bits of the second stage.
pub const SS_A: u64 = 1 << 8;
/// See [`SS_A`].
pub const SS_D: u64 = 1 << 9;
/// First stage: present, writable, user.
pub const P: u64 = 1;
/// See [`P`].
pub const RW: u64 = 2;
/// See [`P`].
pub const US: u64 = 4;
/// Accessed and dirty bits of the first stage.
pub const FS_A: u64 = 1 << 5;
/// See [`FS_A`].
pub const FS_D: u64 = 1 << 6;

/// The unit, and where its queue's tail is by now.
#[derive(Default)]
pub struct Unit {
    tail: u64,
    waits: u32,
}

impl Unit {
    /// Sets the context entry of the device; flags are [`DTE`] and so on. The directory has 128 entries.
    pub fn context(&self, g: &mut Guest, flags: u64) {
        g.store(ROOT, CONTEXT | PRESENT);
        g.store(
            CONTEXT + u64::from(EDU_SOURCE) * 32,
            DIRECTORY | flags | PRESENT,
        );
    }

    /// Sets a PASID entry: its first and third quadword, and the domain.
    pub fn pasid(&self, g: &mut Guest, pasid: u64, domain: u64, entry: [u64; 2]) {
        let table = PASID_TABLES + (pasid >> 6) * 0x1000;
        g.store(DIRECTORY + (pasid >> 6) * 8, table | PRESENT);
        let at = table + (pasid & 63) * 64;
        g.store(at + 8, domain | PWSNP);
        g.store(at + 16, entry[1]);
        g.store(at, entry[0] | PRESENT);
    }

    /// Turns on the tables in scalable mode, the queue with wide descriptors, and translation.
    pub fn enable(&self, g: &mut Guest) {
        g.store(RTADDR, ROOT | 1 << 10);
        self.global(g, SRTP, SRTP);
        g.store(IQA, QUEUE | 1 << 11);
        self.global(g, QIE, QIE);
        self.global(g, QIE | TE, TE);
    }

    fn global(&self, g: &mut Guest, value: u32, wanted: u32) {
        g.store32(GCMD, value);
        g.wait32(GSTS, wanted, wanted);
    }

    fn submit(&mut self, g: &mut Guest, low: u64, high: u64) {
        let at = QUEUE + self.tail;
        for (offset, word) in [(0, low), (8, high), (16, 0), (24, 0)] {
            g.store(at + offset, word);
        }
        self.tail = (self.tail + 32) % 0x1000;
        g.store32(IQT, self.tail as u32);
    }

    /// Waits until everything before is done.
    fn wait(&mut self, g: &mut Guest) {
        self.waits += 1;
        // SW and FN.
        let low = u64::from(self.waits) << 32 | 1 << 6 | 1 << 5 | 5;
        self.submit(g, low, STATUS);
        g.wait32(STATUS, u32::MAX, self.waits);
    }

    /// Invalidates a domain's IOTLB entries.
    pub fn flush_domain(&mut self, g: &mut Guest, domain: u64) {
        self.submit(g, domain << 16 | 2 << 4 | 2, 0);
        self.wait(g);
    }

    /// Invalidates a PASID's IOTLB entries.
    pub fn flush_pasid(&mut self, g: &mut Guest, pasid: u64, domain: u64) {
        self.submit(g, pasid << 32 | domain << 16 | 2 << 4 | 6, 0);
        self.wait(g);
    }

    /// Invalidates contexts, PASID entries and the IOTLB, after a table above the paging structures changed.
    pub fn flush_all(&mut self, g: &mut Guest) {
        self.submit(g, 1 << 4 | 1, 0);
        self.submit(g, 3 << 4 | 7, 0);
        self.submit(g, 1 << 4 | 2, 0);
        self.wait(g);
    }

    /// Answers a group of page requests.
    pub fn respond(&mut self, g: &mut Guest, pasid: u64, group: u64, code: u64) {
        let low = pasid << 32 | u64::from(EDU_SOURCE) << 16 | code << 12 | 1 << 4 | 9;
        self.submit(g, low, group << 3 | 1 << 2);
        self.wait(g);
    }

    /// Prints the fault record, as `name.at` and `name.why`, and clears it.
    pub fn show_fault(&self, g: &mut Guest, name: &str) {
        g.show(&format!("{name}.at"), FRCD);
        g.show(&format!("{name}.why"), FRCD + 8);
        g.store32(FRCD + 12, 1 << 31);
        g.store32(FSTS, 0x7f);
    }
}

/// The kinds of a fault record's second quadword.
#[derive(Clone, Copy)]
pub enum Kind {
    Read,
    Write,
    PageRequest,
    /// A translation request for a write.
    Translation,
}

/// The second quadword of a fault record of the device.
pub fn why(code: u64, kind: Kind, pasid: Option<u64>) -> u64 {
    let kind = match kind {
        Kind::Read => 1 << 62,
        Kind::Write => 0,
        Kind::PageRequest => 1 << 28,
        Kind::Translation => 1 << 60,
    };
    let pasid = pasid.map_or(0, |p| p << 40 | 1 << 31);
    1 << 63 | kind | pasid | code << 32 | u64::from(EDU_SOURCE)
}

/// A path through paging structures: from the top table on, one table of 4 KiB after the other at `tables` (as the unit finds them),
/// `seen` at the same tables as the processor does. Entries above the last level get `flags`.
pub struct Path {
    pub levels: u64,
    pub seen: u64,
    pub tables: u64,
    pub flags: u64,
}

impl Path {
    /// Sets the entries above the last level for the 2 MiB around an address.
    pub fn lay(&self, g: &mut Guest, address: u64) {
        for n in 0..self.levels - 1 {
            let level = self.levels - n;
            let index = address >> (12 + 9 * (level - 1)) & 511;
            let at = self.seen + n * 0x1000 + index * 8;
            g.store(at, (self.tables + (n + 1) * 0x1000) | self.flags);
        }
    }

    /// Where the last level's entry of an address is.
    pub fn leaf(&self, address: u64) -> u64 {
        self.seen + (self.levels - 1) * 0x1000 + (address >> 12 & 511) * 8
    }
}

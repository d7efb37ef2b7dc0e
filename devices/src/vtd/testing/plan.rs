//! Tables of every kind with some damage, and requests to them: what property tests and fuzz targets share.

use super::{DEVICE, Lab, RAM, ROOT};
use crate::dma::Pasid;
use crate::vtd::reference::{self, Code};
use crate::vtd::{AddressType, Blocked, Config, Operation, Request};

/// What the tables of a case look like before they are damaged.
#[derive(Clone, Debug)]
pub struct Plan {
    /// RTADDR.TTM.
    pub mode: u64,
    /// TT (legacy) or PGTT (scalable).
    pub kind: u64,
    /// AW.
    pub width: u64,
    /// FSPM: five levels.
    pub five_level: bool,
    /// Level of the first stage's leaves.
    pub first_leaf: u32,
    /// Level of the second stage's leaves.
    pub second_leaf: u32,
    /// Flags of the first stage's leaves.
    pub first_flags: u64,
    /// Flags of the second stage's leaves.
    pub second_flags: u64,
    /// Flags of quadword 2 of the PASID entry.
    pub pasid_flags: u64,
    /// SSADE.
    pub ad: bool,
    /// PWSNP.
    pub snooped: bool,
    /// Entry (counted from the root) and bit to flip.
    pub damage: Vec<(usize, u32)>,
    /// What is asked.
    pub requests: Vec<Asked>,
}

/// A request of a plan.
#[derive(Clone, Debug)]
pub struct Asked {
    /// One of [`PAGES`].
    pub page: u64,
    /// What is to be done.
    pub operation: Operation,
    /// PASID, if any.
    pub pasid: Option<u32>,
    /// PR.
    pub privileged: bool,
    /// ER.
    pub execute: bool,
    /// AT.
    pub address_type: AddressType,
}

/// Pages that are mapped and asked for: in each level of tables, in the interrupt range, and at the ends.
pub const PAGES: [u64; 8] = [
    0x1000,
    0x2000,
    0x20_0000,
    0x4000_0000,
    0x7f_c000_1000,
    0xfee0_0000,
    0xffff_8000_0000_0000,
    0xff_ffff_ffff_f000,
];

/// PASIDs and their domains.
pub const DOMAINS: [(u32, u64); 3] = [(0, 0x7), (5, 0x70), (70, 0x700)];

impl Plan {
    /// A request as the unit takes it.
    pub fn request(&self, asked: &Asked) -> Request {
        Request {
            source: DEVICE,
            pasid: asked.pasid.map(Pasid),
            privileged: asked.privileged,
            execute: asked.execute,
            address: asked.page | 0x123,
            operation: asked.operation,
            address_type: asked.address_type,
        }
    }

    /// Builds the tables and returns the addresses of their entries.
    fn build(&self, lab: &Lab) -> Vec<u64> {
        let mut entries = vec![ROOT, ROOT + 8];
        let levels = self.width as u32 + 2;
        let second = lab.identity_second(levels, self.second_flags | 3);
        let limit = (1u64 << (9 * levels + 12)) - 1;
        for page in PAGES {
            let size = 12 + 9 * (self.second_leaf - 1);
            let from = page & limit;
            if from > RAM {
                lab.map_second(
                    second,
                    levels,
                    from,
                    (0x200_0000 >> size) << size,
                    self.second_leaf,
                    self.second_flags,
                );
                entries.extend(lab.entries(second, levels, from, self.second_leaf));
            }
        }
        if self.mode == 0 {
            lab.set_context(DEVICE, self.kind.min(3), self.width, 7, second);
            entries.extend([lab.context(DEVICE), lab.context(DEVICE) + 8]);
            return entries;
        }
        let depth = 4 + u32::from(self.five_level);
        let first = lab.page();
        for page in PAGES {
            let size = 12 + 9 * (self.first_leaf - 1);
            let to = (page & 0xff_ffff) >> size << size;
            lab.map_first(first, depth, page, to, self.first_leaf, self.first_flags);
            entries.extend(lab.entries(first, depth, page, self.first_leaf));
        }
        lab.set_scalable_context(DEVICE, 0x1c, 5);
        for (pasid, domain) in DOMAINS {
            let words = [
                second | self.width << 2 | self.kind << 6 | u64::from(self.ad) << 9,
                domain | u64::from(self.snooped) << 23,
                first | u64::from(self.five_level) << 2 | self.pasid_flags,
            ];
            lab.set_pasid(DEVICE, pasid, words);
            let at = lab.pasid_entry(DEVICE, pasid);
            entries.extend([at, at + 8, at + 16, at + 24]);
        }
        let context = lab.scalable_context(DEVICE);
        entries.extend([
            context,
            context + 8,
            context + 16,
            lab.get(context) & !0xfff,
        ]);
        entries
    }

    /// A unit that is on, over these tables, and the addresses of their entries.
    pub fn lab(&self, config: Config) -> (Lab, Vec<u64>) {
        let lab = Lab::new(config);
        let entries = self.build(&lab);
        lab.enable(self.mode);
        (lab, entries)
    }

    /// Does the plan's damage.
    pub fn break_entries(&self, lab: &Lab, entries: &[u64]) {
        for (entry, bit) in &self.damage {
            let at = entries[entry % entries.len()];
            lab.put(at, lab.get(at) ^ 1 << bit);
        }
    }
}

/// The unit's answer is the reference model's; `rtaddr` is what SRTP set. For a unit without caches.
pub fn compare(lab: &Lab, rtaddr: u64, request: &Request) {
    let read = |at: u64| (at.is_multiple_of(8) && at < RAM).then(|| lab.get(at));
    let expected = reference::translate(&read, lab.unit.config(), rtaddr, request);
    let got = lab.unit.translate(request);
    match (expected, got) {
        (Ok(a), Ok(t)) => assert_eq!(
            (a.address, a.page_shift),
            (t.address, t.page_shift),
            "{request:?}"
        ),
        (Err(Code { code, hidden }), Err(Blocked::Fault(f))) => {
            assert_eq!(
                code,
                f.reason.code(),
                "{request:x?} expected {code:#x}, got {f:x?}"
            );
            assert_eq!(
                hidden && f.reason.qualified(),
                !f.is_recorded(),
                "{request:?}"
            );
        }
        (e, g) => panic!(
            "{request:x?}: expected {e:x?}, got {g:x?}\n{}",
            lab.unit.explain(request)
        ),
    }
}

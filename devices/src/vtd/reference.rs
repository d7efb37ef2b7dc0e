//! A second implementation of the walk, to compare with: slow, without caches, written from the tables of the specification bit by bit.
//!
//! It shares no code with [`super::walk`]: entries are cut by [`bits`], addresses are computed anew for each access, and nothing is
//! changed in memory, so that it says what the unit must answer, not what it does to accessed and dirty bits.

use super::config::Config;
use super::request::{AddressType, Operation, Request};

/// What a request becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Physical address.
    pub address: u64,
    /// Log2 of the page, or of what of it can be reached without meeting the interrupt range; the host address width where no table was
    /// used.
    pub page_shift: u32,
}

/// A fault code, and whether FPD hides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// FR.
    pub code: u8,
    /// An FPD bit was set on the way (as far as it was readable).
    pub hidden: bool,
}

/// Bits `high..=low` of a value.
pub const fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

/// Memory: 8 bytes at an aligned address, if there are any.
pub type Read<'a> = &'a dyn Fn(u64) -> Option<u64>;

struct Model<'a> {
    read: Read<'a>,
    c: &'a Config,
    r: &'a Request,
    scalable: bool,
    user: bool,
    /// PASID entry: quadwords 0 to 2.
    entry: [u64; 3],
}

type Outcome<T> = Result<T, u8>;

/// Translates a request; `rtaddr` is what SRTP set. The answer holds if no accessed or dirty bit has to be set without permission: the
/// codes 0x7c, 0x7d, 0x90 and 0x91 are given where a bit is clear that the request has to set.
///
/// # Errors
/// The fault.
pub fn translate(read: Read<'_>, c: &Config, rtaddr: u64, r: &Request) -> Result<Answer, Code> {
    let visible = |code| Code {
        code,
        hidden: false,
    };
    match bits(rtaddr, 11, 10) {
        0 => legacy(read, c, rtaddr, r),
        1 if c.scalable => scalable(read, c, rtaddr, r),
        3 if c.abort_dma => Err(visible(0x33)),
        _ => Err(visible(0x30)),
    }
}

fn legacy(read: Read<'_>, c: &Config, rtaddr: u64, r: &Request) -> Result<Answer, Code> {
    let fault = |code, hidden| Err(Code { code, hidden });
    if r.pasid.is_some() {
        return fault(0x31, false);
    }
    let bus = u64::from(r.source.0 >> 8);
    let root = bits(rtaddr, 63, 12) * 4096 + bus * 16;
    let (Some(low), Some(high)) = (read(root), read(root + 8)) else {
        return fault(0x8, false);
    };
    if bits(low, 0, 0) == 0 {
        return fault(0x1, false);
    }
    if bits(low, 11, 1) != 0 || low >> c.host_address_width != 0 || high != 0 {
        return fault(0xa, false);
    }
    let context = bits(low, 63, 12) * 4096 + u64::from(r.source.0 & 0xff) * 16;
    let (Some(low), Some(high)) = (read(context), read(context + 8)) else {
        return fault(0x9, false);
    };
    let hidden = bits(low, 1, 1) == 1;
    if bits(low, 0, 0) == 0 {
        return fault(0x2, hidden);
    }
    let domain = bits(high, 23, 8);
    if bits(low, 11, 4) != 0
        || bits(high, 7, 7) != 0
        || bits(high, 63, 24) != 0
        || domain >> c.domain_bits != 0
    {
        return fault(0xb, hidden);
    }
    let (tt, aw) = (bits(low, 3, 2), bits(high, 2, 0));
    let known = tt == 0 || tt == 1 && c.device_tlb || tt == 2 && c.pass_through;
    if !known || !c.second_stage_levels.contains(&(aw as u32 + 2)) {
        return fault(0x3, hidden);
    }
    if tt != 2 && low >> c.host_address_width != 0 {
        return fault(0xb, hidden);
    }
    if r.address_type != AddressType::Untranslated && tt != 1 {
        return fault(0xd, hidden);
    }
    let m = Model {
        read,
        c,
        r,
        scalable: false,
        user: true,
        entry: [0; 3],
    };
    let result = if r.address_type == AddressType::Translated {
        m.unchanged().and_then(|a| m.not_interrupt(a))
    } else if (0xfee0_0000..=0xfeef_ffff).contains(&r.address) {
        Err(0x29)
    } else if tt == 2 {
        m.unchanged().and_then(|a| m.not_interrupt(a))
    } else {
        m.second(
            bits(low, 63, 12) * 4096,
            aw as u32 + 2,
            r.address,
            m.wanted(),
            false,
        )
        .and_then(|(address, page_shift)| {
            m.not_interrupt(Answer {
                address,
                page_shift,
            })
        })
    };
    // A request that is no DMA is not the context entry's business.
    result.map_err(|code| Code {
        code,
        hidden: hidden && code != 0x29,
    })
}

fn scalable(read: Read<'_>, c: &Config, rtaddr: u64, r: &Request) -> Result<Answer, Code> {
    let fault = |code, hidden| Err(Code { code, hidden });
    let (bus, devfn) = (u64::from(r.source.0 >> 8), u64::from(r.source.0 & 0xff));
    let root = bits(rtaddr, 63, 12) * 4096 + bus * 16 + (devfn >> 7) * 8;
    let Some(half) = read(root) else {
        return fault(0x38, false);
    };
    if half & 1 == 0 {
        return fault(0x39, false);
    }
    if bits(half, 11, 1) != 0 || half >> c.host_address_width != 0 {
        return fault(0x3a, false);
    }
    let context = bits(half, 63, 12) * 4096 + (devfn & 127) * 32;
    let [Some(c0), Some(c1), Some(c2), Some(c3)] = [0, 8, 16, 24].map(|n| read(context + n)) else {
        return fault(0x40, false);
    };
    let mut hidden = c0 & 2 != 0;
    if c0 & 1 == 0 {
        return fault(0x41, hidden);
    }
    let stray = bits(c0, 8, 5) != 0
        || c0 >> c.host_address_width != 0
        || bits(c0, 2, 2) != 0 && !c.device_tlb
        || bits(c0, 3, 3) != 0 && c.pasid_bits == 0
        || bits(c0, 4, 4) != 0 && !c.page_requests
        || bits(c1, 19, 0) != 0 && !c.rid_pasid
        || bits(c1, 20, 20) != 0 && !c.rid_priv
        || bits(c1, 63, 21) != 0
        || c2 != 0
        || c3 != 0;
    if stray {
        return fault(0x42, hidden);
    }
    let width = bits(c0, 11, 9) as u32 + 13;
    let without = bits(c1, 19, 0);
    if width > c.pasid_bits.max(13) || without >= 1 << width || bits(c0, 4, 4) > bits(c0, 2, 2) {
        return fault(0x43, hidden);
    }
    if r.address_type != AddressType::Untranslated && bits(c0, 2, 2) == 0 {
        return fault(0x44, hidden);
    }
    let pasid = match r.pasid {
        Some(_) if bits(c0, 3, 3) == 0 => return fault(0x45, hidden),
        Some(p) if u64::from(p.0) >= 1 << width => return fault(0x46, hidden),
        Some(p) if u64::from(p.0) == without => return fault(0x48, hidden),
        Some(p) => u64::from(p.0),
        None => without,
    };
    let privileged = if r.pasid.is_some() {
        r.privileged
    } else {
        bits(c1, 20, 20) == 1
    };
    let directory = bits(c0, 63, 12) * 4096 + pasid / 64 * 8;
    let Some(d) = read(directory) else {
        return fault(0x50, hidden);
    };
    hidden |= d & 2 != 0;
    if d & 1 == 0 {
        return fault(0x51, hidden);
    }
    if bits(d, 11, 2) != 0 || d >> c.host_address_width != 0 {
        return fault(0x52, hidden);
    }
    let table = bits(d, 63, 12) * 4096 + pasid % 64 * 64;
    let mut entry = [0; 8];
    for (i, word) in entry.iter_mut().enumerate() {
        match read(table + 8 * i as u64) {
            Some(w) => *word = w,
            None => return fault(0x58, hidden),
        }
    }
    hidden |= entry[0] & 2 != 0;
    let m = Model {
        read,
        c,
        r,
        scalable: true,
        user: !privileged,
        entry: [entry[0], entry[1], entry[2]],
    };
    m.pasid_entry(&entry).map_err(|code| Code {
        code,
        hidden: hidden && code != 0x29,
    })
}

impl Model<'_> {
    fn pasid_entry(&self, e: &[u64; 8]) -> Outcome<Answer> {
        let c = self.c;
        if e[0] & 1 == 0 {
            return Err(0x59);
        }
        let stray = bits(e[0], 5, 5) != 0
            || bits(e[0], 11, 10) != 0
            || bits(e[0], 9, 9) != 0 && !c.second_stage_ad
            || e[0] >> c.host_address_width != 0
            || bits(e[1], 15, 0) >> c.domain_bits != 0
            || bits(e[1], 22, 16) != 0
            || bits(e[1], 23, 23) != 0 && !c.scalable_coherent
            || bits(e[1], 24, 24) != 0 && !c.snoop_control
            || bits(e[1], 63, 25) != 0 && !c.memory_type
            || bits(e[2], 11, 8) != 0
            || (bits(e[2], 0, 0) | bits(e[2], 4, 4) | bits(e[2], 6, 6)) != 0
                && !c.supervisor_requests
            || bits(e[2], 1, 1) != 0 && !c.execute_requests
            || bits(e[2], 7, 7) != 0 && !c.extended_accessed
            || e[2] >> c.host_address_width != 0
            || e[3..].iter().any(|w| *w != 0);
        if stray {
            return Err(0x5a);
        }
        let levels = bits(e[0], 4, 2) as u32 + 2;
        let second = c.second_stage_levels.contains(&levels);
        let mode = bits(e[2], 3, 2);
        let first = mode == 0 || mode == 1 && c.first_stage_5_level;
        let pgtt = bits(e[0], 8, 6);
        let valid = match pgtt {
            1 => c.first_stage && first,
            2 => c.second_stage && second,
            3 => {
                let width = (9 * levels + 12).min(c.guest_address_width);
                c.nested && first && second && bits(e[2], 63, 12) << 12 >> width == 0
            }
            4 => c.pass_through,
            _ => false,
        };
        if !valid {
            return Err(0x5b);
        }
        if pgtt & 1 == 1 {
            if self.r.execute && bits(e[2], 1, 1) == 0 {
                return Err(0x5c);
            }
            if !self.user && bits(e[2], 0, 0) == 0 {
                return Err(0x5d);
            }
        }
        if self.r.address_type == AddressType::Translated {
            return self.not_interrupt(self.unchanged()?);
        }
        if self.r.pasid.is_none() && (0xfee0_0000..=0xfeef_ffff).contains(&self.r.address) {
            return Err(0x29);
        }
        let answer = match pgtt {
            4 => self.unchanged()?,
            2 => {
                let table = bits(e[0], 63, 12) * 4096;
                let (address, page_shift) =
                    self.second(table, levels, self.r.address, self.wanted(), false)?;
                Answer {
                    address,
                    page_shift,
                }
            }
            _ => self.first(mode as u32 + 4, (pgtt == 3).then_some(levels))?,
        };
        self.not_interrupt(answer)
    }

    fn unchanged(&self) -> Outcome<Answer> {
        if self.r.address >> self.c.host_address_width != 0 {
            return Err(if self.scalable { 0x83 } else { 0x4 });
        }
        Ok(Answer {
            address: self.r.address,
            page_shift: self.c.host_address_width,
        })
    }

    /// The interrupt range is nobody's, and ends what follows an address.
    fn not_interrupt(&self, mut a: Answer) -> Outcome<Answer> {
        if (0xfee0_0000..=0xfeef_ffff).contains(&a.address) {
            return Err(if self.scalable { 0x87 } else { 0xe });
        }
        let meets = |shift: u32| {
            let first = a.address >> shift << shift;
            first <= 0xfeef_ffff && first + (1 << shift) > 0xfee0_0000
        };
        while meets(a.page_shift) {
            a.page_shift -= 1;
        }
        Ok(a)
    }

    /// (read, write, either will do), with the codes of a denial.
    fn wanted(&self) -> (bool, bool, bool, u8, u8) {
        let (read, write) = if self.scalable {
            (0x86, 0x85)
        } else {
            (0x6, 0x5)
        };
        let any = self.r.operation == Operation::ZeroLengthRead && self.c.zero_length_read;
        (
            self.r.operation.reads(),
            self.r.operation.writes(),
            any,
            read,
            write,
        )
    }

    fn second(
        &self,
        root: u64,
        levels: u32,
        input: u64,
        (read, write, any, no_read, no_write): (bool, bool, bool, u8, u8),
        nested: bool,
    ) -> Outcome<(u64, u32)> {
        let width = (9 * levels + 12).min(self.c.guest_address_width);
        if input >> width != 0 {
            return Err(match (self.scalable, nested) {
                (false, _) => 0x4,
                (true, _) => 0x84,
            });
        }
        let (mut table, mut r, mut w) = (root, true, true);
        for level in (1..=levels).rev() {
            let low = 12 + 9 * (level - 1);
            let at = table + 8 * bits(input, low + 8, low);
            let top = level == levels;
            let e = (self.read)(at).ok_or(match (self.scalable, top) {
                (false, true) => 0x3,
                (false, false) => 0x7,
                (true, true) => 0x7b,
                (true, false) => 0x78,
            })?;
            if bits(e, 1, 0) == 0 {
                return Err(if self.scalable {
                    0x79
                } else if write {
                    0x5
                } else {
                    0x6
                });
            }
            let large = (level == 2 || level == 3) && bits(e, 7, 7) == 1;
            if self.second_reserved(e, level, large) {
                return Err(if self.scalable { 0x7a } else { 0xc });
            }
            r &= bits(e, 0, 0) == 1;
            w &= bits(e, 1, 1) == 1;
            if self.scalable && !r && !w {
                return Err(0x79);
            }
            if write && !w {
                return Err(no_write);
            }
            if read && !r && !(any && w) {
                return Err(no_read);
            }
            let leaf = level == 1 || large;
            let kept = self.scalable && bits(self.entry[0], 9, 9) == 1;
            let clear = bits(e, 8, 8) == 0 || leaf && write && bits(e, 9, 9) == 0;
            if kept && clear && bits(self.entry[1], 23, 23) == 0 {
                return Err(0x7c);
            }
            if leaf {
                let page = bits(e, 51, low) << low;
                return Ok((page + bits(input, low - 1, 0), low));
            }
            table = bits(e, 51, 12) << 12;
        }
        unreachable!("level 1 is a leaf")
    }

    fn second_reserved(&self, e: u64, level: u32, large: bool) -> bool {
        let c = self.c;
        let high = c.host_address_width < 52 && bits(e, 51, c.host_address_width) != 0;
        if level > 1 && !large {
            return high || bits(e, 7, 7) == 1 || bits(e, 11, 11) == 1 || bits(e, 62, 62) == 1;
        }
        high || bits(e, 11, 11) == 1 && !c.snoop_control
            || bits(e, 62, 62) == 1 && !c.device_tlb
            || level == 2 && (bits(e, 20, 12) != 0 || !c.second_stage_2m)
            || level == 3 && (bits(e, 29, 12) != 0 || !c.second_stage_1g)
    }

    /// Where the second stage puts a first-stage entry.
    fn place(
        &self,
        nested: Option<u32>,
        at: u64,
        need: (bool, bool, bool, u8, u8),
    ) -> Outcome<u64> {
        let Some(levels) = nested else {
            return Ok(at);
        };
        if at >> (9 * levels + 12).min(self.c.guest_address_width) != 0 {
            return Err(0x74);
        }
        let root = bits(self.entry[0], 63, 12) * 4096;
        self.second(root, levels, at, need, true).map(|(a, _)| a)
    }

    fn first(&self, levels: u32, nested: Option<u32>) -> Outcome<Answer> {
        let (c, e2, address) = (self.c, self.entry[2], self.r.address);
        let top = 9 * levels + 11;
        let upper = address >> top;
        if upper != 0 && upper != u64::MAX >> top {
            return Err(0x80);
        }
        let (wpe, nxe, smep, eafe) = (
            bits(e2, 4, 4),
            bits(e2, 5, 5),
            bits(e2, 6, 6),
            bits(e2, 7, 7),
        );
        let (mut table, mut rw, mut us, mut xd) = (bits(e2, 63, 12) * 4096, true, true, false);
        for level in (1..=levels).rev() {
            let low = 12 + 9 * (level - 1);
            let guest = table + 8 * bits(address, low + 8, low);
            let root = level == levels;
            let denied = if root { 0x75 } else { 0x76 };
            let at = self.place(nested, guest, (true, false, false, denied, denied))?;
            let e = (self.read)(at).ok_or(if root { 0x73 } else { 0x70 })?;
            if e & 1 == 0 {
                return Err(0x71);
            }
            let large = (level == 2 || level == 3) && bits(e, 7, 7) == 1;
            let leaf = level == 1 || large;
            let high = nested.is_none()
                && c.host_address_width < 52
                && bits(e, 51, c.host_address_width) != 0;
            let bad = high
                || bits(e, 63, 63) == 1 && nxe == 0
                || !leaf && bits(e, 7, 7) == 1
                || level == 2 && large && bits(e, 20, 13) != 0
                || level == 3 && large && (bits(e, 29, 13) != 0 || !c.first_stage_1g);
            if bad {
                return Err(0x72);
            }
            if let Some(n) = nested
                && bits(e, 51, 12) << 12 >> (9 * n + 12).min(c.guest_address_width) != 0
            {
                return Err(0x74);
            }
            rw &= bits(e, 1, 1) == 1;
            us &= bits(e, 2, 2) == 1;
            xd |= bits(e, 63, 63) == 1;
            let write = self.r.operation.writes();
            let mut page = Answer {
                address: bits(e, 51, 12) << 12,
                page_shift: low,
            };
            if leaf {
                page.address = (bits(e, 51, low) << low) + bits(address, low - 1, 0);
                if self.user && !us {
                    return Err(0x81);
                }
                if write && !rw && (self.user || wpe == 1) {
                    return Err(0x85);
                }
                if self.r.execute && (xd || !self.user && us && smep == 1) {
                    return Err(0x82);
                }
                if let Some(n) = nested {
                    if page.address >> (9 * n + 12).min(c.guest_address_width) != 0 {
                        return Err(0x84);
                    }
                    let second = bits(self.entry[0], 63, 12) * 4096;
                    let (a, s) = self.second(second, n, page.address, self.wanted(), true)?;
                    page = Answer {
                        address: a,
                        page_shift: low.min(s),
                    };
                }
            }
            let clear = bits(e, 5, 5) == 0
                || eafe == 1 && bits(e, 10, 10) == 0
                || leaf && write && bits(e, 6, 6) == 0;
            if clear {
                if bits(self.entry[1], 23, 23) == 0 {
                    return Err(0x90);
                }
                self.place(nested, guest, (true, true, false, 0x76, 0x77))?;
            }
            if leaf {
                return Ok(page);
            }
            table = bits(e, 51, 12) << 12;
        }
        unreachable!("level 1 is a leaf")
    }
}

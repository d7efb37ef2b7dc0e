//! Paging: 32-bit, PAE, four and five levels (Intel SDM vol. 3 §4).

use super::Cpu;
use super::contexts::Rights;
use super::exception::{Exception, vector};
use super::regs::*;
use crate::engine::Shared;
use crate::engine::exec::{Access, Fault, Translation};

/// Width of physical addresses, in bits.
pub(super) const PHYSICAL_BITS: u32 = 46;
/// The bits of a 64-bit entry that hold an address, whether or not this CPU has them.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Of those, the ones that this CPU does not have.
pub(super) const ADDRESS_RESERVED: u64 = ADDRESS & !((1 << PHYSICAL_BITS) - 1);

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;

/// Error code: the page is there.
const PRESENT: u32 = 1;
/// A write.
const WRITE: u32 = 2;
/// A user access.
const USER: u32 = 4;
/// A reserved bit is set.
const RESERVED: u32 = 8;
/// An instruction fetch.
const FETCH: u32 = 16;

/// Times a walk starts again because an entry changed under it.
const MAX_RETRIES: u32 = 8;

/// What the entries of a walk allow, all together.
#[derive(Clone, Copy)]
struct Allowed {
    write: bool,
    user: bool,
    no_execute: bool,
}

impl Allowed {
    fn all() -> Allowed {
        Allowed {
            write: true,
            user: true,
            no_execute: false,
        }
    }

    fn restrict(&mut self, entry: u64) {
        self.write &= entry & W != 0;
        self.user &= entry & U != 0;
        self.no_execute |= entry & NX != 0;
    }
}

/// A page that a walk found.
struct Leaf {
    gpa: u64,
    user: bool,
    global: bool,
    /// log2 of its size.
    shift: u32,
}

/// How a walk ended without a page.
enum Stopped {
    /// A page fault, with the bits of its error code that the access does not give.
    Fault(u32),
    /// An entry changed under it.
    Again,
}

/// Where an entry lies, its size in bytes, and its value.
#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    wide: bool,
    value: u64,
}

impl Entry {
    /// Outside RAM there are ones.
    fn read(shared: &Shared, at: u64, wide: bool) -> Entry {
        let value = if wide {
            shared.ram.read(at).map(u64::from_le_bytes)
        } else {
            shared
                .ram
                .read(at)
                .map(|b| u64::from(u32::from_le_bytes(b)))
        };
        let ones = if wide { u64::MAX } else { 0xffff_ffff };
        Entry {
            at,
            wide,
            value: value.unwrap_or(ones),
        }
    }

    /// Sets bits of it, if it is still what was read.
    fn set(self, shared: &Shared, bits: u64) -> Result<(), Stopped> {
        let new = self.value | bits;
        if new == self.value {
            return Ok(());
        }
        let done = if self.wide {
            shared.ram.compare_exchange_le64(self.at, self.value, new)
        } else {
            shared
                .ram
                .compare_exchange_le32(self.at, self.value as u32, new as u32)
        };
        if done { Ok(()) } else { Err(Stopped::Again) }
    }
}

impl Cpu {
    /// Translates; on failure records the exception.
    pub(super) fn translate_address(
        &mut self,
        shared: &Shared,
        ea: u64,
        access: Access,
    ) -> Result<Translation, Fault> {
        if self.cr0 & CR0_PG == 0 {
            return Ok(Translation {
                gpa: ea & 0xffff_ffff,
                cacheable: ea >> 32 == 0,
            });
        }
        let long = self.efer & EFER_LMA != 0;
        if long && !self.is_canonical(ea) {
            return Err(self.raise(Exception {
                address: Some(ea),
                ..Exception::general_protection()
            }));
        }
        let linear = if long { ea } else { ea & 0xffff_ffff };
        for _ in 0..MAX_RETRIES {
            let walked = if self.cr4 & CR4_PAE == 0 {
                self.walk_32(shared, linear, access)
            } else {
                self.walk_64(shared, linear, access)
            };
            match walked {
                Ok(leaf) => return Ok(self.found(&leaf, ea, linear, access)),
                Err(Stopped::Again) => {}
                Err(Stopped::Fault(error)) => return Err(self.page_fault(linear, access, error)),
            }
        }
        // Something changes the tables all the time: the guest may try again.
        Err(self.page_fault(linear, access, 0))
    }

    fn found(&mut self, leaf: &Leaf, ea: u64, linear: u64, access: Access) -> Translation {
        // In the upper half the soft TLB's tag does not name EFLAGS.AC.
        let depends = leaf.user && ea >> 63 != 0 && self.rights != Rights::User;
        let cacheable = ea == linear && (!depends || access == Access::Fetch);
        if cacheable {
            let global = leaf.global && self.cr4 & CR4_PGE != 0;
            self.note_cached(linear, leaf.shift, global);
        }
        Translation {
            gpa: leaf.gpa,
            cacheable,
        }
    }

    /// Whether bits above the linear address width are copies of its top bit.
    pub(crate) fn is_canonical(&self, address: u64) -> bool {
        let unused = if self.cr4 & CR4_LA57 != 0 { 7 } else { 16 };
        ((address << unused) as i64 >> unused) as u64 == address
    }

    fn page_fault(&mut self, linear: u64, access: Access, error: u32) -> Fault {
        let mut error = error;
        if access == Access::Write {
            error |= WRITE;
        }
        if self.rights == Rights::User {
            error |= USER;
        }
        let tells_fetches =
            self.cr4 & CR4_SMEP != 0 || self.cr4 & CR4_PAE != 0 && self.efer & EFER_NXE != 0;
        if access == Access::Fetch && tells_fetches {
            error |= FETCH;
        }
        self.raise(Exception {
            address: Some(linear),
            ..Exception::with_code(vector::PF, error)
        })
    }

    fn permits(&self, allowed: Allowed, access: Access) -> bool {
        let nxe = self.efer & EFER_NXE != 0;
        match (self.rights, access) {
            (Rights::User, _) if !allowed.user => false,
            (Rights::User, Access::Write) => allowed.write,
            (_, Access::Fetch) if nxe && allowed.no_execute => false,
            (Rights::User, _) => true,
            (_, Access::Fetch) => !allowed.user || self.cr4 & CR4_SMEP == 0,
            (Rights::Supervisor, _) if allowed.user && self.cr4 & CR4_SMAP != 0 => false,
            (_, Access::Write) => allowed.write || self.cr0 & CR0_WP == 0,
            (_, Access::Read) => true,
        }
    }

    /// The last entry of a walk: checks, accessed and dirty bits.
    fn leaf(
        &self,
        shared: &Shared,
        entry: Entry,
        allowed: Allowed,
        access: Access,
    ) -> Result<(), Stopped> {
        if !self.permits(allowed, access) {
            return Err(Stopped::Fault(PRESENT));
        }
        let dirty = if access == Access::Write { D } else { 0 };
        entry.set(shared, A | dirty)
    }

    fn walk_32(&self, shared: &Shared, linear: u64, access: Access) -> Result<Leaf, Stopped> {
        let mut allowed = Allowed::all();
        let directory = Entry::read(shared, (self.cr3 & 0xffff_f000) + (linear >> 22) * 4, false);
        let pde = directory.value;
        if pde & P == 0 {
            return Err(Stopped::Fault(0));
        }
        allowed.restrict(pde);
        if pde & PS != 0 && self.cr4 & CR4_PSE != 0 {
            if pde >> 21 & 1 != 0 {
                return Err(Stopped::Fault(PRESENT | RESERVED));
            }
            self.leaf(shared, directory, allowed, access)?;
            return Ok(Leaf {
                gpa: (pde >> 13 & 0xff) << 32 | pde & 0xffc0_0000 | linear & 0x3f_ffff,
                user: allowed.user,
                global: pde & G != 0,
                shift: 22,
            });
        }
        directory.set(shared, A)?;
        let table = Entry::read(
            shared,
            (pde & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4,
            false,
        );
        let pte = table.value;
        if pte & P == 0 {
            return Err(Stopped::Fault(0));
        }
        allowed.restrict(pte);
        self.leaf(shared, table, allowed, access)?;
        Ok(Leaf {
            gpa: pte & 0xffff_f000 | linear & 0xfff,
            user: allowed.user,
            global: pte & G != 0,
            shift: 12,
        })
    }

    fn walk_64(&self, shared: &Shared, linear: u64, access: Access) -> Result<Leaf, Stopped> {
        let long = self.efer & EFER_LMA != 0;
        let mut reserved = ADDRESS_RESERVED;
        if self.efer & EFER_NXE == 0 {
            reserved |= NX;
        }
        let (mut table, levels) = if !long {
            reserved |= 0x7ff << 52;
            let pdpte = self.pdpte[(linear >> 30 & 3) as usize];
            if pdpte & P == 0 {
                return Err(Stopped::Fault(0));
            }
            (pdpte & ADDRESS, 2)
        } else if self.cr4 & CR4_LA57 != 0 {
            (self.cr3 & ADDRESS, 5)
        } else {
            (self.cr3 & ADDRESS, 4)
        };
        let mut allowed = Allowed::all();
        for level in (1..=levels).rev() {
            let shift = 12 + 9 * (level - 1);
            let entry = Entry::read(shared, table + (linear >> shift & 0x1ff) * 8, true);
            let value = entry.value;
            if value & P == 0 {
                return Err(Stopped::Fault(0));
            }
            let large = value & PS != 0 && level > 1;
            let wrong = match level {
                _ if !large => 0,
                2 => 0x1f_e000,
                3 => 0x3fff_e000,
                _ => PS,
            };
            if value & (reserved | wrong) != 0 {
                return Err(Stopped::Fault(PRESENT | RESERVED));
            }
            allowed.restrict(value);
            if level == 1 || large {
                self.leaf(shared, entry, allowed, access)?;
                let low = (1_u64 << shift) - 1;
                return Ok(Leaf {
                    gpa: value & ADDRESS & !low | linear & low,
                    user: allowed.user,
                    global: value & G != 0,
                    shift,
                });
            }
            entry.set(shared, A)?;
            table = value & ADDRESS;
        }
        Err(Stopped::Fault(0))
    }

    /// Loads the four entries of PAE paging for a value of CR3. False, and nothing changed, if a reserved bit is set (§4.4.1).
    #[must_use]
    pub(super) fn load_pdptes(&mut self, shared: &Shared, cr3: u64) -> bool {
        let mut new = [0; 4];
        for (i, entry) in new.iter_mut().enumerate() {
            let at = (cr3 & 0xffff_ffe0) + 8 * i as u64;
            *entry = Entry::read(shared, at, true).value;
            let reserved = 0x1e6 | ADDRESS_RESERVED | 0xfff << 52;
            if *entry & P != 0 && *entry & reserved != 0 {
                return false;
            }
        }
        self.pdpte = new;
        true
    }
}

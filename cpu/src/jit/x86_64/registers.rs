//! Which registers of the flat file are in which host registers, within a block.

use crate::engine::uop::Reg;

/// Host registers that hold registers of the flat file: rsi, rdi, r8 to r12.
pub(super) const HOSTS: [u8; 7] = [6, 7, 8, 9, 10, 11, 12];

/// The assignment at one point of a block.
#[derive(Debug)]
pub(super) struct Registers {
    guest: [Option<Reg>; HOSTS.len()],
    slot: [u8; 256],
    dirty: u8,
    locked: u8,
    /// When each was last needed, by `now`.
    used: [u32; HOSTS.len()],
    now: u32,
}

const NONE: u8 = u8::MAX;

impl Default for Registers {
    fn default() -> Self {
        Registers {
            guest: [None; HOSTS.len()],
            slot: [NONE; 256],
            dirty: 0,
            locked: 0,
            used: [0; HOSTS.len()],
            now: 0,
        }
    }
}

impl Registers {
    /// The host register that holds `r`; it is kept until [`Registers::unlock`].
    pub(super) fn find(&mut self, r: Reg) -> Option<u8> {
        let slot = self.slot[r as usize];
        if slot == NONE {
            return None;
        }
        self.touch(slot as usize);
        Some(HOSTS[slot as usize])
    }

    /// The host register that holds `r`, which may be given away.
    pub(super) fn peek(&self, r: Reg) -> Option<u8> {
        let slot = self.slot[r as usize];
        (slot != NONE).then(|| HOSTS[slot as usize])
    }

    fn touch(&mut self, slot: usize) {
        self.locked |= 1 << slot;
        self.now += 1;
        self.used[slot] = self.now;
    }

    /// No host register holds `r` any more; says which did, if its value is not in the file.
    pub(super) fn release(&mut self, r: Reg) -> Option<u8> {
        let slot = self.slot[r as usize];
        if slot == NONE {
            return None;
        }
        let (index, bit) = (slot as usize, 1 << slot);
        let dirty = self.dirty & bit != 0;
        self.slot[r as usize] = NONE;
        self.guest[index] = None;
        self.dirty &= !bit;
        dirty.then(|| HOSTS[index])
    }

    /// Gives `r`, which has none, a host register, and says which register must be written back to the file before.
    pub(super) fn assign(&mut self, r: Reg) -> (u8, Option<(u8, Reg)>) {
        // At most four are locked: three operands and a destination. The one that was not needed for longest goes; at first those that
        // hold nothing.
        let slot = (0..HOSTS.len())
            .filter(|s| self.locked >> s & 1 == 0)
            .min_by_key(|s| self.used[*s])
            .unwrap_or(0);
        self.touch(slot);
        let bit = 1 << slot;
        let old = self.guest[slot].take();
        let write_back = old
            .filter(|_| self.dirty & bit != 0)
            .map(|old| (HOSTS[slot], old));
        if let Some(old) = old {
            self.slot[old as usize] = NONE;
        }
        self.guest[slot] = Some(r);
        self.slot[r as usize] = slot as u8;
        self.dirty &= !bit;
        (HOSTS[slot], write_back)
    }

    /// The host register of `r` will hold a value that the file does not.
    pub(super) fn mark_dirty(&mut self, r: Reg) {
        let slot = self.slot[r as usize];
        if slot != NONE {
            self.dirty |= 1 << slot;
        }
    }

    /// Operands of the micro-operation are no longer needed.
    pub(super) fn unlock(&mut self) {
        self.locked = 0;
    }

    /// Host registers whose values the file does not have.
    pub(super) fn dirty(&self) -> impl Iterator<Item = (u8, Reg)> + use<> {
        let (guest, dirty) = (self.guest, self.dirty);
        guest
            .into_iter()
            .enumerate()
            .filter_map(move |(slot, r)| Some((HOSTS[slot], r.filter(|_| dirty >> slot & 1 != 0)?)))
    }

    /// The file has all values now.
    pub(super) fn clean(&mut self) {
        self.dirty = 0;
    }

    /// Host registers hold nothing.
    pub(super) fn forget(&mut self) {
        *self = Registers::default();
    }
}

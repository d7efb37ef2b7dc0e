use proptest::prelude::*;

use super::*;
use crate::x86_64::exception::vector;

const AT: u64 = 0x40_0000_0000;
const PAGE: u64 = 0x9000;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const LEVELS: [u32; 4] = [4, 3, 2, 1];

/// A rig whose page at [`AT`] is mapped; the entries of all levels allow everything.
fn mapped(leaf: u64) -> Rig {
    let mut rig = Rig::long();
    rig.map(AT, leaf);
    rig
}

impl Rig {
    /// Translates with given rights: the physical address, or the error code of a page fault.
    fn translate(&mut self, linear: u64, access: Access, rights: Rights) -> Result<u64, u32> {
        self.cpu.set_rights(rights);
        match self.cpu.translate_address(&self.shared, linear, access) {
            Ok(t) => Ok(t.gpa),
            Err(Fault) => {
                let e = self.cpu.pending.take().unwrap();
                assert_eq!((e.vector, e.address), (vector::PF, Some(linear)));
                Err(e.error.unwrap())
            }
        }
    }

    /// Adds bits to and takes bits from the entry of a level for [`AT`].
    fn change(&mut self, level: u32, set: u64, clear: u64) {
        let at = self.entry(AT, level);
        let value = self.get64(at);
        self.put64(at, value & !clear | set);
    }
}

/// A row: bits cleared and set in the entry of one level, and the outcome for user read, user write, user fetch, supervisor read, write, fetch:
/// `None` if allowed, else the error code.
type Row = (u64, u64, [Option<u32>; 6]);

const KINDS: [(Access, Rights); 6] = [
    (Access::Read, Rights::User),
    (Access::Write, Rights::User),
    (Access::Fetch, Rights::User),
    (Access::Read, Rights::Supervisor),
    (Access::Write, Rights::Supervisor),
    (Access::Fetch, Rights::Supervisor),
];

fn check(rows: &[Row], prepare: impl Fn(&mut Cpu)) {
    for level in LEVELS {
        for (clear, set, expected) in rows {
            let mut rig = mapped(PAGE | P | W | U);
            prepare(&mut rig.cpu);
            rig.change(level, *set, *clear);
            for ((access, rights), expected) in KINDS.into_iter().zip(expected) {
                let found = rig.translate(AT + 0x123, access, rights);
                let expected = expected.map_or(Ok(PAGE + 0x123), Err);
                assert_eq!(
                    found, expected,
                    "level {level}, -{clear:#x} +{set:#x}, {access:?} {rights:?}"
                );
            }
        }
    }
}

#[test]
fn each_permission_bit_counts_at_each_level() {
    const OK: Option<u32> = None;
    check(
        &[
            (0, 0, [OK; 6]),
            (
                P,
                0,
                [Some(4), Some(6), Some(20), Some(0), Some(2), Some(16)],
            ),
            (U, 0, [Some(5), Some(7), Some(21), OK, OK, OK]),
            (W, 0, [OK, Some(7), OK, OK, Some(3), OK]),
            (0, NX, [OK, OK, Some(21), OK, OK, Some(17)]),
            (U | W, 0, [Some(5), Some(7), Some(21), OK, Some(3), OK]),
        ],
        |_| {},
    );
}

#[test]
fn without_write_protection_the_supervisor_writes_anywhere() {
    check(&[(W, 0, [None, Some(7), None, None, None, None])], |cpu| {
        cpu.cr0 &= !CR0_WP;
    });
}

#[test]
fn smep_and_smap_keep_the_supervisor_from_user_pages() {
    let all = |smap| {
        [
            None,
            None,
            None,
            if smap { Some(1) } else { None },
            if smap { Some(3) } else { None },
            if smap { None } else { Some(17) },
        ]
    };
    check(&[(0, 0, all(false))], |cpu| cpu.cr4 |= CR4_SMEP);
    check(&[(0, 0, all(true))], |cpu| cpu.cr4 |= CR4_SMAP);
    // Pages that are not the user's are not concerned.
    let supervisor = [Some(5), Some(7), Some(21), None, None, None];
    check(&[(U, 0, supervisor)], |cpu| cpu.cr4 |= CR4_SMAP | CR4_SMEP);
    let mut rig = mapped(PAGE | P | W | U);
    rig.cpu.cr4 |= CR4_SMAP;
    assert_eq!(
        rig.translate(AT, Access::Write, Rights::SupervisorAc),
        Ok(PAGE)
    );
}

#[test]
fn reserved_bits_are_told_apart() {
    for level in LEVELS {
        for bit in [46, 51] {
            let mut rig = mapped(PAGE | P | W | U);
            rig.change(level, 1 << bit, 0);
            assert_eq!(
                rig.translate(AT, Access::Write, Rights::User),
                Err(0xf),
                "bit {bit} at level {level}"
            );
        }
        // Without NXE the bit is reserved, and fetches are not told.
        let mut rig = mapped(PAGE | P | W | U);
        rig.cpu.efer &= !EFER_NXE;
        rig.change(level, NX, 0);
        assert_eq!(rig.translate(AT, Access::Read, Rights::Supervisor), Err(9));
        assert_eq!(rig.translate(AT, Access::Fetch, Rights::Supervisor), Err(9));
    }
    for (level, bit, expected) in [
        (4, PS, Err(9)),
        (3, PS | 1 << 13, Err(9)),
        (2, PS | 1 << 20, Err(9)),
        (3, 1 << 62, Ok(PAGE)),
        (1, 1 << 58, Ok(PAGE)),
    ] {
        let mut rig = mapped(PAGE | P | W | U);
        rig.change(level, bit, 0);
        let found = rig.translate(AT, Access::Read, Rights::Supervisor);
        assert_eq!(found, expected, "{bit:#x} at level {level}");
    }
}

#[test]
fn large_pages_give_the_low_bits() {
    for (level, size) in [(2, 2 << 20), (3, 1 << 30)] {
        let mut rig = Rig::long();
        let at = rig.entry(AT, level);
        rig.put64(at, size | P | W | PS);
        let inside = size / 2 + 0x345;
        let found = rig.translate(AT + inside, Access::Write, Rights::Supervisor);
        assert_eq!(found, Ok(size + inside));
        assert_eq!(rig.get64(at), size | P | W | PS | A | D);
    }
}

#[test]
fn accessed_and_dirty_bits_follow_the_walk() {
    let mut rig = mapped(PAGE | P | U);
    let state = |rig: &mut Rig| {
        LEVELS.map(|level| {
            let at = rig.entry(AT, level);
            rig.get64(at) & (A | D)
        })
    };
    assert_eq!(state(&mut rig), [0; 4]);
    // A refused access marks the tables on the way, not the page.
    assert!(rig.translate(AT, Access::Write, Rights::User).is_err());
    assert_eq!(state(&mut rig), [A, A, A, 0]);
    assert!(rig.translate(AT, Access::Fetch, Rights::User).is_ok());
    assert_eq!(state(&mut rig), [A, A, A, A]);
    rig.change(1, W, 0);
    assert!(rig.translate(AT, Access::Write, Rights::User).is_ok());
    assert_eq!(state(&mut rig), [A, A, A, A | D]);
}

#[test]
fn tables_outside_ram_read_as_ones() {
    let mut rig = Rig::long();
    let at = rig.entry(AT, 2);
    rig.put64(at, (RAM + 0x1000) | P | W | U);
    assert_eq!(rig.translate(AT, Access::Read, Rights::User), Err(0xd));
}

#[test]
fn five_levels_and_their_canonical_addresses() {
    let mut rig = Rig::long();
    let top = rig.next_table;
    let linear = 0x00ff_0000_0000_5000_u64;
    let not_canonical = |rig: &mut Rig| {
        let done = rig.cpu.translate_address(&rig.shared, linear, Access::Read);
        done.is_err() && rig.cpu.pending.take().unwrap().vector == vector::GP
    };
    assert!(not_canonical(&mut rig));
    // The four levels that map the first pages, below a fifth.
    rig.put64(top + (linear >> 48 & 0x1ff) * 8, TABLES | P | W);
    rig.cpu.cr4 |= CR4_LA57;
    rig.cpu.cr3 = top;
    let found = rig.translate(linear, Access::Read, Rights::Supervisor);
    assert_eq!(found, Ok(0x5000));
    rig.put64(top + (linear >> 48 & 0x1ff) * 8, TABLES | P | W | PS);
    let found = rig.translate(linear, Access::Read, Rights::Supervisor);
    assert_eq!(found, Err(9));
    rig.cpu.cr4 &= !CR4_LA57;
    assert!(not_canonical(&mut rig));
}

#[test]
fn two_levels_of_32_bits() {
    let mut rig = Rig::long();
    rig.cpu.efer = 0;
    rig.cpu.cr4 = CR4_PSE;
    rig.cpu.cr3 = TABLES + 0x8_0000;
    let (dir, table) = (TABLES + 0x8_0000, TABLES + 0x8_1000);
    let linear = 0xc040_3123_u64;
    rig.put32(dir + (linear >> 22) * 4, (table | P | W | U) as u32);
    rig.put32(table + (linear >> 12 & 0x3ff) * 4, (PAGE | P | U) as u32);
    assert_eq!(
        rig.translate(linear, Access::Read, Rights::User),
        Ok(PAGE + 0x123)
    );
    assert_eq!(rig.translate(linear, Access::Write, Rights::User), Err(7));
    // Without PAE nothing tells a fetch.
    assert_eq!(
        rig.translate(linear + 0x1000, Access::Fetch, Rights::User),
        Err(4)
    );
    // 4 MiB, with bits 39:32 of the address in bits 20:13.
    rig.put32(dir + 4, 0x0080_0000 | 0x5 << 13 | (P | W | PS) as u32);
    assert_eq!(
        rig.translate(0x0045_6789, Access::Write, Rights::Supervisor),
        Ok(0x5_0085_6789)
    );
    assert_eq!(u64::from(rig.get32(dir + 4)) & (A | D), A | D);
    rig.put32(dir + 4, 0x0080_0000 | 1 << 21 | (P | W | PS) as u32);
    assert_eq!(
        rig.translate(0x0045_6789, Access::Write, Rights::Supervisor),
        Err(0xb)
    );
}

#[test]
fn pae_uses_the_entries_that_cr3_led_to() {
    let mut rig = Rig::long();
    rig.cpu.efer = EFER_NXE;
    let (pointers, dir, table) = (TABLES + 0x8_0020, TABLES + 0x8_1000, TABLES + 0x8_2000);
    rig.put64(pointers + 8, dir | P);
    rig.put64(dir + 8, table | P | W | U);
    rig.put64(table, PAGE | P | W | NX);
    assert!(rig.cpu.load_pdptes(&rig.shared, pointers));
    rig.put64(pointers + 8, 0);
    let linear = 0x4020_0000;
    assert_eq!(
        rig.translate(linear, Access::Write, Rights::Supervisor),
        Ok(PAGE)
    );
    assert_eq!(
        rig.translate(linear, Access::Fetch, Rights::Supervisor),
        Err(17)
    );
    assert_eq!(rig.translate(0, Access::Read, Rights::User), Err(4));
    // Bits that long mode ignores are reserved.
    rig.put64(table, PAGE | P | 1 << 55);
    assert_eq!(
        rig.translate(linear, Access::Read, Rights::Supervisor),
        Err(9)
    );
    for reserved in [1 << 1, 1 << 5, 1 << 46, 1 << 63] {
        rig.put64(pointers, dir | P | reserved);
        assert!(!rig.cpu.load_pdptes(&rig.shared, pointers), "{reserved:#x}");
    }
}

/// What the manual says in §4.6.1 and §4.7, as one sentence each.
fn allowed(
    user_page: bool,
    writable: bool,
    execute: bool,
    how: (Access, Rights),
    c: Controls,
) -> bool {
    let (access, rights) = how;
    let user = rights == Rights::User;
    match access {
        _ if user && !user_page => false,
        Access::Fetch => execute && (user || !user_page || !c.smep),
        _ if !user && user_page && c.smap && rights != Rights::SupervisorAc => false,
        Access::Read => true,
        Access::Write => writable || !user && !c.wp,
    }
}

#[derive(Clone, Copy, Debug)]
struct Controls {
    wp: bool,
    smep: bool,
    smap: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_mix_of_bits_in_four_levels(
        bits in proptest::array::uniform4(0_u64..8),
        wp in any::<bool>(), smep in any::<bool>(), smap in any::<bool>(),
    ) {
        let c = Controls { wp, smep, smap };
        let mut rig = mapped(PAGE | P | W | U);
        rig.cpu.cr0 = rig.cpu.cr0 & !CR0_WP | if wp { CR0_WP } else { 0 };
        rig.cpu.cr4 |= if smep { CR4_SMEP } else { 0 } | if smap { CR4_SMAP } else { 0 };
        for (level, bits) in LEVELS.into_iter().zip(bits) {
            let set = if bits & 4 != 0 { NX } else { 0 };
            let clear = (!bits & 3) << 1;
            rig.change(level, set, clear);
        }
        let all = bits.iter().fold(7, |all, b| all & (b ^ 4));
        let (writable, user, execute) = (all & 1 != 0, all & 2 != 0, all & 4 != 0);
        for access in [Access::Read, Access::Write, Access::Fetch] {
            for rights in [Rights::User, Rights::Supervisor, Rights::SupervisorAc] {
                let found = rig.translate(AT, access, rights);
                let code = 1
                    | if access == Access::Write { 2 } else { 0 }
                    | if rights == Rights::User { 4 } else { 0 }
                    | if access == Access::Fetch { 16 } else { 0 };
                let expected = if allowed(user, writable, execute, (access, rights), c) {
                    Ok(PAGE)
                } else {
                    Err(code)
                };
                prop_assert_eq!(found, expected, "{:?} {:?}", access, rights);
            }
        }
    }
}

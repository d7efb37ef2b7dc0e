use iced_x86::code_asm::*;

use super::*;
use crate::x86_64::exception::vector;

#[test]
fn control_registers_refuse_what_makes_no_sense() {
    type Change = (AsmRegisterCr, u64, u64);
    let rows: [Change; 12] = [
        // (register, bits set, bits cleared)
        (cr0, 1 << 32, 0),
        (cr0, 0, CR0_PE),
        (cr0, CR0_NW, 0),
        // Not out of 64-bit mode.
        (cr0, 0, CR0_PG),
        (cr3, 1 << 46, 0),
        (cr3, 1 << 63, 0),
        (cr4, CR4_VME, 0),
        (cr4, CR4_LA57, 0),
        (cr4, 1 << 13, 0),
        (cr4, 1 << 40, 0),
        (cr4, 0, CR4_PAE),
        (cr8, 16, 0),
    ];
    for (register, set, clear) in rows {
        let mut rig = Rig::long();
        let found = rig.fault(|a| {
            asm!(a:
                mov(rax, register),
                mov(rbx, set),
                or(rax, rbx),
                mov(rbx, !clear),
                and(rax, rbx),
                mov(register, rax),
            );
        });
        assert_eq!(found, (vector::GP, 0), "+{set:#x} -{clear:#x}");
    }
    // PCIDs only if the one in use is 0.
    let mut rig = Rig::long();
    let pcide = CR4_PCIDE as i32;
    let found = rig.fault(|a| {
        asm!(a: mov(rax, cr3), or(rax, 1), mov(cr3, rax), mov(rax, cr4), or(rax, pcide), mov(cr4, rax));
    });
    assert_eq!(found, (vector::GP, 0));
    for n in [1, 5, 9, 15] {
        let mut rig = Rig::long();
        // MOV CRn, RAX.
        rig.run(|a| asm!(a: db(&[0x40 | (n >> 3) << 2, 0x0f, 0x22, 0xc0 | (n & 7) << 3])));
        assert_eq!(rig.vector(), vector::UD, "CR{n}");
    }
}

#[test]
fn the_task_priority_goes_to_the_local_apic() {
    let mut rig = Rig::long();
    rig.run(|a| asm!(a: mov(eax, 9), mov(cr8, rax), mov(rbx, cr8), hlt()));
    assert_eq!((rig.bus.priority, rig.cpu.gpr(3)), (9, 9));
}

#[test]
fn debug_registers_hold_and_check() {
    let mut rig = Rig::long();
    rig.run(|a| {
        asm!(a:
            mov(rax, 0x1234_5678_9abcu64), mov(dr3, rax), mov(rbx, dr3),
            mov(eax, 0), mov(dr6, rax), mov(rcx, dr4), mov(dr7, rax), mov(rdx, dr7), hlt(),
        );
    });
    let found = [3, 1, 2].map(|n| rig.cpu.gpr(n));
    assert_eq!(found, [0x1234_5678_9abc, 0xffff_0ff0, 0x400]);
    let mut rig = Rig::long();
    let found = rig.fault(|a| asm!(a: mov(rax, 1u64 << 32), mov(dr7, rax)));
    assert_eq!(found, (vector::GP, 0));
    let mut rig = Rig::long();
    rig.cpu.cr4 |= CR4_DE;
    rig.run(|a| asm!(a: mov(rax, dr5)));
    assert_eq!(rig.vector(), vector::UD);
    // General detect: the access is a fault, and the bit is off in the handler.
    let mut rig = Rig::long();
    rig.run(|a| asm!(a: mov(eax, 1 << 13), mov(dr7, rax), mov(rbx, dr0)));
    assert_eq!((rig.vector(), rig.frame(false).rip), (vector::DB, CODE + 8));
    assert_eq!((rig.cpu.dr[6] >> 13 & 1, rig.cpu.dr[7]), (1, 0x400));
}

/// WRMSR of a value, RDMSR back to RAX.
fn store_and_load(a: &mut CodeAssembler, msr: u32, value: u64) {
    asm!(a:
        mov(ecx, msr), mov(eax, value as u32), mov(edx, (value >> 32) as u32), wrmsr(),
        rdmsr(), shl(rdx, 32), or(rax, rdx), hlt(),
    );
}

#[test]
fn model_specific_registers_keep_or_refuse() {
    const HIGH: u64 = 0xffff_8000_0000_1000;
    const WILD: u64 = 1 << 47;
    let rows: [(u32, u64, Option<u64>); 26] = [
        (
            0xc000_0081,
            0x1234_5678_9abc_def0,
            Some(0x1234_5678_9abc_def0),
        ),
        (0xc000_0082, HIGH, Some(HIGH)),
        (0xc000_0082, WILD, None),
        (0xc000_0084, u64::MAX, Some(0xffff_ffff)),
        (0xc000_0100, HIGH, Some(HIGH)),
        (0xc000_0101, WILD, None),
        (0xc000_0102, HIGH, Some(HIGH)),
        (0xc000_0103, 5, Some(5)),
        (0xc000_0103, 1 << 32, None),
        (
            0xc000_0080,
            EFER_LME | EFER_SCE,
            Some(EFER_LME | EFER_LMA | EFER_SCE),
        ),
        (0xc000_0080, EFER_SCE, None),
        (0xc000_0080, EFER_LME | 1 << 12, None),
        (0x174, 0x10, Some(0x10)),
        (0x175, WILD, None),
        (0x176, HIGH, Some(HIGH)),
        (0x277, 0x0007_0406_0007_0401, Some(0x0007_0406_0007_0401)),
        (0x277, 2, None),
        (0x200, 0xf000_0006, Some(0xf000_0006)),
        (0x201, 0x3fff_f000_0800, Some(0x3fff_f000_0800)),
        (0x201, 1 << 46, None),
        (0x2ff, 0xc06, Some(0xc06)),
        (0x250, 0x0606_0606_0606_0603, None),
        (0x3b, 77, Some(77)),
        (0x48, 1, Some(1)),
        (0xfe, 0, None),
        (0x1234_5678, 0, None),
    ];
    for (msr, value, expected) in rows {
        let mut rig = Rig::long();
        rig.run(|a| store_and_load(a, msr, value));
        match expected {
            Some(expected) => assert_eq!(rig.cpu.gpr(0), expected, "{msr:#x} = {value:#x}"),
            None => assert_eq!(
                (rig.vector(), rig.frame(true).error),
                (vector::GP, Some(0)),
                "{msr:#x} = {value:#x}"
            ),
        }
    }
}

#[test]
fn registers_of_the_local_apic_are_asked_of_the_machine() {
    let mut rig = Rig::long();
    rig.bus.msrs.insert(0x80b, 0);
    rig.run(|a| store_and_load(a, 0x80b, 0x1_0000_0002));
    assert_eq!(rig.cpu.gpr(0), 0x1_0000_0002);
    assert_eq!(rig.bus.msrs[&0x80b], 0x1_0000_0002);
    let mut rig = Rig::long();
    assert_eq!(
        rig.fault(|a| asm!(a: mov(ecx, 0x802), rdmsr())),
        (vector::GP, 0)
    );
}

#[test]
fn the_time_stamp_counts_instructions_exactly() {
    let mut rig = Rig::long();
    rig.program(CODE, 64, |a| {
        asm!(a:
            rdtsc(), mov(ebx, eax), nop(), nop(), rdtsc(), mov(esi, eax),
            mov(ecx, 0x10), mov(eax, 1_000_000), mov(edx, 0), wrmsr(), rdtsc(), mov(edi, eax),
            mov(ecx, 0x3b), rdmsr(), mov(r8d, eax), hlt(),
        );
    });
    let mut now = 5000;
    for _ in 0..2 {
        now += rig.cpu.run(&mut rig.shared, &mut rig.bus, now, 6).executed;
    }
    rig.cpu.run(&mut rig.shared, &mut rig.bus, now, 100);
    let found = [3, 6, 7, 8].map(|n| rig.cpu.gpr(n));
    // The counter is set at 5009.
    assert_eq!(found, [5000, 5004, 1_000_001, 1_000_000 - 5009]);
    let mut rig = Rig::long();
    rig.cpu.cr4 |= CR4_TSD;
    assert_eq!(rig.user_fault(|a| asm!(a: rdtscp())), (vector::GP, 0));
}

impl Rig {
    fn cpuid(&mut self, leaf: u32, sub: u32) -> [u64; 4] {
        self.run(|a| asm!(a: mov(eax, leaf), mov(ecx, sub), cpuid(), hlt()));
        [0, 3, 1, 2].map(|n| self.cpu.gpr(n))
    }
}

#[test]
fn cpuid_names_what_is_there() {
    let mut rig = Rig::long();
    let [max, b, c, d] = rig.cpuid(0, 0);
    let name: Vec<u8> = [b, d, c]
        .iter()
        .flat_map(|w| (*w as u32).to_le_bytes())
        .collect();
    assert_eq!((max, name.as_slice()), (0x16, b"GenuineIntel".as_slice()));
    assert_eq!(rig.cpuid(0x15, 0), [1, 1, 1_000_000_000, 0]);
    let [_, _, c, _] = rig.cpuid(1, 0);
    // Neither a hypervisor nor MONITOR nor VMX nor AVX; OSXSAVE follows CR4.
    assert_eq!(c & (1 << 31 | 1 << 3 | 1 << 5 | 1 << 27 | 1 << 28), 0);
    rig.cpu.cr4 |= CR4_OSXSAVE;
    assert_eq!(rig.cpuid(1, 0)[2] >> 27 & 1, 1);
    assert_eq!(rig.cpuid(0xd, 0), [3, 576, 576, 0]);
    // Beyond the last leaf there is the last one.
    assert_eq!(rig.cpuid(0x4000_0000, 0), rig.cpuid(0x16, 0));
    let brand: Vec<u8> = (2..5)
        .flat_map(|n| rig.cpuid(0x8000_0000 + n, 0))
        .flat_map(|w| (w as u32).to_le_bytes())
        .collect();
    assert!(brand.starts_with(b"viommu-v1 "), "{brand:?}");
    let model = Model {
        la57: true,
        x2apic: false,
        ..Model::default()
    };
    assert_eq!(rig.cpuid(1, 0)[2] >> 21 & 1, 1);
    rig.cpu.model = model;
    assert_eq!(rig.cpuid(1, 0)[2] >> 21 & 1, 0);
    assert_eq!(rig.cpuid(7, 0)[2] >> 16 & 1, 1);
    assert_eq!(rig.cpuid(0x8000_0008, 0)[0], 57 << 8 | 46);
}

#[test]
fn cpuid_numbers_the_processors() {
    for (cpus, bits) in [(1, 0), (2, 1), (3, 2), (4, 2), (8, 3)] {
        let mut rig = Rig::long();
        (rig.cpu.model.cpus, rig.cpu.index) = (cpus, cpus - 1);
        let (id, n) = (u64::from(cpus - 1), u64::from(cpus));
        let [_, b, _, d] = rig.cpuid(1, 0);
        assert_eq!((b >> 24, b >> 16 & 0xff), (id, 1 << bits));
        assert_eq!(d >> 28 & 1, u64::from(cpus > 1));
        assert_eq!(rig.cpuid(0xb, 0), [0, 1, 0x100, id]);
        assert_eq!(rig.cpuid(0xb, 1), [bits, n, 0x201, id]);
        assert_eq!(rig.cpuid(0xb, 2), [0, 0, 2, id]);
        let [a, ..] = rig.cpuid(4, 3);
        assert_eq!(
            (a & 31, a >> 14 & 0xfff, a >> 26),
            (3, (1 << bits) - 1, (1 << bits) - 1)
        );
    }
}

const SPOT: u64 = 0x4000_0000;
/// Two pages with different contents.
const ONE: u64 = USER_DATA;
const TWO: u64 = USER_DATA + 0x1000;

/// A rig in which [`SPOT`] leads to [`ONE`], and in another tree of tables (the second value, for CR3) to [`TWO`].
fn two_spaces(leaf: u64) -> (Rig, u64) {
    let mut rig = Rig::long();
    rig.put64(ONE, 1);
    rig.put64(TWO, 2);
    rig.map(SPOT, ONE | leaf);
    let other = RAM - 0x4000;
    let first = rig.get64(TABLES) & !0xfff;
    let low = rig.get64(first & 0xf_ffff_f000);
    rig.put64(other, (other + 0x1000) | P | W | U);
    rig.put64(other + 0x1000, low);
    rig.put64(other + 0x1000 + 8, (other + 0x2000) | P | W | U);
    rig.put64(other + 0x2000, (other + 0x3000) | P | W | U);
    rig.put64(other + 0x3000, TWO | leaf);
    (rig, other)
}

#[test]
fn a_load_of_cr3_drops_translations_unless_it_is_told_not_to() {
    // (PCID bits of the value for CR3, whether PCIDs are on, what is read after the page has changed in the tables)
    let keep = 1_u64 << 63;
    for (pcide, value, expected) in [(false, 0, 2), (true, 0, 2), (true, keep, 1)] {
        let (mut rig, _) = two_spaces(P | W);
        let at = rig.entry(SPOT, 1);
        rig.cpu.cr4 |= if pcide { CR4_PCIDE } else { 0 };
        assert_eq!(rig.spot(), 1);
        rig.put64(at, TWO | P);
        rig.step(|a| asm!(a: mov(rax, TABLES | value), mov(cr3, rax)));
        assert_eq!(rig.spot(), expected, "{value:#x}");
    }
}

impl Rig {
    /// `None` if a program has halted by itself.
    fn vector_or_halt(&self) -> Option<u8> {
        let at = self.cpu.rip().wrapping_sub(HANDLERS);
        (at < 0x1000).then_some((at / 16) as u8)
    }

    /// Reads [`SPOT`] as the program would.
    fn spot(&mut self) -> u64 {
        self.run(|a| asm!(a: mov(rax, qword_ptr(SPOT)), hlt()));
        assert_eq!(self.vector_or_halt(), None);
        self.cpu.gpr(0)
    }

    /// Carries out one instruction.
    fn step(&mut self, write: impl FnOnce(&mut CodeAssembler)) {
        self.run(|a| {
            write(a);
            asm!(a: hlt());
        });
        assert_eq!(self.vector_or_halt(), None);
    }
}

#[test]
fn pcids_keep_their_translations_apart() {
    let (mut rig, other) = two_spaces(P | W);
    rig.cpu.cr4 |= CR4_PCIDE;
    let load = |value: u64| move |a: &mut CodeAssembler| asm!(a: mov(rax, value), mov(cr3, rax));
    let keep = 1 << 63;
    assert_eq!(rig.spot(), 1);
    // Another PCID and back: the translation is still there, though it is stale.
    rig.step(load(other | 5));
    let at = rig.entry(SPOT, 1);
    rig.put64(at, TWO | P);
    rig.step(load(TABLES | keep));
    assert_eq!(rig.spot(), 1);
    rig.step(load(other | 5 | keep));
    assert_eq!(rig.spot(), 2);
    rig.put64(other + 0x3000, ONE | P);
    rig.step(load(other | 6 | keep));
    assert_eq!(rig.spot(), 1);
    // A load without the bit drops those of its own PCID only.
    rig.put64(other + 0x3000, TWO | P);
    rig.step(load(TABLES));
    rig.step(load(other | 6 | keep));
    assert_eq!(rig.spot(), 1);
    rig.step(load(other | 6));
    assert_eq!(rig.spot(), 2);
    // INVLPG drops the page.
    rig.put64(other + 0x3000, ONE | P);
    rig.step(|a| asm!(a: invlpg(ptr(SPOT))));
    assert_eq!(rig.spot(), 1);
}

/// INVPCID of a type, with a descriptor.
fn invpcid(kind: u32, pcid: u64, linear: u64) -> impl FnOnce(&mut CodeAssembler) {
    move |a| {
        asm!(a:
            mov(rax, pcid), mov(qword_ptr(STACK - 64), rax),
            mov(rax, linear), mov(qword_ptr(STACK - 56), rax),
            mov(eax, kind), invpcid(rax, xmmword_ptr(STACK - 64)),
        );
    }
}

#[test]
fn invpcid_drops_what_its_type_says() {
    // (type, PCID, address, whether an own page is dropped)
    for (kind, pcid, linear, dropped) in [
        (0, 0, SPOT, true),
        (0, 0, SPOT + 0x20_0000, false),
        (1, 0, 0, true),
        (1, 7, 0, false),
        (2, 0, 0, true),
        (3, 0, 0, true),
    ] {
        let (mut rig, _) = two_spaces(P | W);
        rig.cpu.cr4 |= CR4_PCIDE;
        assert_eq!(rig.spot(), 1);
        let at = rig.entry(SPOT, 1);
        rig.put64(at, TWO | P);
        rig.step(invpcid(kind, pcid, linear));
        assert_eq!(rig.spot() == 2, dropped, "type {kind}, PCID {pcid}");
    }
    for (kind, pcid, linear) in [(4, 0, 0), (1, 1 << 12, 0), (1, 7, 0), (0, 0, 1 << 47)] {
        let mut rig = Rig::long();
        let found = rig.fault(invpcid(kind, pcid, linear));
        assert_eq!(found, (vector::GP, 0), "type {kind}, PCID {pcid:#x}");
    }
}

#[test]
fn global_pages_of_the_upper_half_outlive_a_load_of_cr3() {
    const HIGH: u64 = 0xffff_8000_0000_0000;
    for (leaf, kept) in [(P | W | G, true), (P | W, false)] {
        let mut rig = Rig::long();
        rig.put64(ONE, 1);
        rig.put64(TWO, 2);
        rig.map(HIGH, ONE | leaf);
        let read = |rig: &mut Rig| {
            rig.step(|a| asm!(a: mov(rbx, HIGH), mov(rcx, ptr(rbx))));
            rig.cpu.gpr(1)
        };
        assert_eq!(read(&mut rig), 1);
        let at = rig.entry(HIGH, 1);
        rig.put64(at, TWO | leaf);
        rig.step(|a| asm!(a: mov(rax, cr3), mov(cr3, rax)));
        assert_eq!(read(&mut rig) == 1, kept);
        rig.step(|a| asm!(a: mov(rax, HIGH), invlpg(ptr(rax))));
        assert_eq!(read(&mut rig), 2);
    }
}

#[test]
fn invlpg_drops_every_piece_of_a_large_page() {
    let mut rig = Rig::long();
    let at = rig.entry(SPOT, 2);
    rig.put64(at, P | W | PS);
    rig.put64(ONE, 1);
    let read = |rig: &mut Rig| {
        rig.step(|a| asm!(a: mov(rcx, qword_ptr(SPOT + ONE))));
        rig.cpu.gpr(1)
    };
    assert_eq!(read(&mut rig), 1);
    rig.put64(at, 0x20_0000 | P | W | PS);
    rig.put64(0x20_0000 + ONE, 3);
    rig.step(|a| asm!(a: invlpg(ptr(SPOT + 0x1f_f000))));
    assert_eq!(read(&mut rig), 3);
}

#[test]
fn extended_state_is_saved_and_restored() {
    let mut rig = Rig::long();
    rig.cpu.cr4 |= CR4_OSXSAVE;
    rig.cpu.change_vectors(|v| {
        v.ymm[3] = [0x1111, 0x2222, 0, 0];
        v.ymm[9] = [0x3333, 0x4444, 0, 0];
        v.mxcsr = 0x1f9f;
    });
    let area = USER_DATA;
    rig.run(|a| {
        asm!(a:
            mov(ecx, 0), mov(eax, 3), mov(edx, 0), xsetbv(), xgetbv(), mov(ebx, eax),
            fxsave64(ptr(area + 0x1000)),
            mov(eax, 2), xsave64(ptr(area)), mov(eax, 3), xsavec64(ptr(area + 0x800)), hlt(),
        );
    });
    assert_eq!(rig.vector_or_halt(), None);
    assert_eq!(rig.cpu.gpr(3), 3);
    for base in [area, area + 0x800, area + 0x1000] {
        assert_eq!(rig.get32(base + 24), 0x1f9f, "{base:#x}");
        assert_eq!(rig.get64(base + 160 + 3 * 16), 0x1111);
        assert_eq!(rig.get64(base + 160 + 9 * 16 + 8), 0x4444);
    }
    assert_eq!(rig.get64(area + 512), 2);
    assert_eq!(rig.get64(area + 0x800 + 512), 2);
    assert_eq!(rig.get64(area + 0x800 + 520), 1 << 63 | 3);
    rig.cpu.change_vectors(|v| *v = simd::Vectors::default());
    rig.step(|a| asm!(a: mov(eax, 3), mov(edx, 0), xrstor64(ptr(area + 0x800))));
    assert_eq!(rig.cpu.vectors().ymm[9][1], 0x4444);
    assert_eq!(rig.cpu.vectors().mxcsr, 0x1f9f);
    // What is not present goes to its initial state.
    rig.put64(area + 512, 0);
    rig.step(|a| asm!(a: mov(eax, 3), mov(edx, 0), xrstor64(ptr(area))));
    assert_eq!(rig.cpu.vectors().ymm[9], [0; 4]);
}

#[test]
fn extended_state_refuses() {
    type Prepare = fn(&mut Rig);
    let area = USER_DATA;
    let rows: [(Prepare, u64, u8); 7] = [
        (|_| {}, area, vector::UD),
        (|r| r.cpu.cr4 |= CR4_OSXSAVE, area + 16, vector::GP),
        (
            |r| {
                r.cpu.cr4 |= CR4_OSXSAVE;
                r.cpu.cr0 |= CR0_TS;
            },
            area,
            vector::NM,
        ),
        // A component that XCR0 does not have.
        (
            |r| {
                r.cpu.cr4 |= CR4_OSXSAVE;
                r.put64(USER_DATA + 512, 4);
            },
            area,
            vector::GP,
        ),
        (
            |r| {
                r.cpu.cr4 |= CR4_OSXSAVE;
                r.put64(USER_DATA + 520, 1);
            },
            area,
            vector::GP,
        ),
        // A reserved bit of MXCSR.
        (
            |r| {
                r.cpu.cr4 |= CR4_OSXSAVE;
                r.cpu.xcr0 = 3;
                r.put32(USER_DATA + 24, 1 << 16);
            },
            area,
            vector::GP,
        ),
        (|r| r.cpu.cr4 |= CR4_OSXSAVE, UNMAPPED, vector::PF),
    ];
    for (i, (prepare, at, vector)) in rows.into_iter().enumerate() {
        let mut rig = Rig::long();
        prepare(&mut rig);
        rig.run(|a| asm!(a: mov(eax, 3), mov(edx, 0), mov(ebx, at as u32), xrstor(ptr(rbx))));
        assert_eq!(rig.vector(), vector, "row {i}");
    }
    for value in [2_u32, 4, 7] {
        let mut rig = Rig::long();
        rig.cpu.cr4 |= CR4_OSXSAVE;
        let found = rig.fault(|a| asm!(a: mov(ecx, 0), mov(eax, value), mov(edx, 0), xsetbv()));
        assert_eq!(found, (vector::GP, 0), "XCR0 = {value}");
    }
}

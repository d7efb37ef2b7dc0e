use super::estimate::{exp2, log2};
use super::*;
use crate::softfloat as soft;

/// Registers without storage.
struct Alone {
    regs: [u64; 256],
}

impl VecEnv for Alone {
    fn regs(&self) -> &[u64; 256] {
        &self.regs
    }
    fn regs_mut(&mut self) -> &mut [u64; 256] {
        &mut self.regs
    }
    fn load(&mut self, _: u64, _: u8) -> Result<u64, MemFault> {
        Err(MemFault)
    }
    fn store(&mut self, _: u64, _: u8, _: u64) -> Result<(), MemFault> {
        Err(MemFault)
    }
}

/// What an instruction leaves.
struct After {
    vsr: [u128; 64],
    fpscr: u64,
}

fn run(insn: u32, set: &[(usize, u128)], fpscr: u64) -> (After, bool) {
    let mut vec = VecState { fpscr, vscr: 0 };
    let mut env = Alone { regs: [0; 256] };
    let op = decode(insn).expect("a known instruction");
    let mut ctx = VecCtx {
        insn,
        vec: &mut vec,
        little_endian: true,
        sixty_four: true,
        fp_exceptions: true,
        env: &mut env,
    };
    for &(n, v) in set {
        ctx.set_vsr(n, v);
    }
    let ok = (op.run)(&mut ctx).is_ok();
    let after = After {
        vsr: std::array::from_fn(|n| ctx.vsr(n)),
        fpscr: ctx.vec.fpscr,
    };
    (after, ok)
}

fn dp(x: f64) -> u128 {
    u128::from(x.to_bits()) << 64
}

#[test]
fn every_row_decodes_to_itself() {
    for op in OPS {
        let found = decode(op.value).expect(op.mnemonic);
        assert_eq!(found.mnemonic, op.mnemonic);
        assert_eq!(op.value & !op.mask, 0, "{}", op.mnemonic);
    }
}

#[test]
fn no_row_panics_on_odd_values() {
    let values = [0, u128::MAX, 1, 1 << 127, 0x7ff0 << 112, 0x7ff8 << 112 | 1];
    for op in OPS {
        for v in values {
            for fill in [0, u32::MAX] {
                let insn = op.value | fill & !op.mask;
                if decode(insn).is_some() {
                    let all: Vec<_> = (0..64).map(|n| (n, v ^ (n as u128))).collect();
                    run(insn, &all, 0xfb);
                    run(insn, &all, 0);
                }
            }
        }
    }
}

#[test]
fn fadd_rounds_and_reports() {
    // fadd f1,f2,f3
    let (s, ok) = run(0xfc22_182a, &[(2, dp(1.0)), (3, dp(1e-30))], 0);
    assert!(ok);
    assert_eq!(s.vsr[1], dp(1.0));
    assert_eq!(s.fpscr, 0x8202_4000);
}

#[test]
fn enabled_zero_divide_keeps_the_target() {
    // fdiv f1,f2,f3 with ZE
    let set = [(1, dp(5.0)), (2, dp(1.0)), (3, 0)];
    let (s, ok) = run(0xfc22_1824, &set, 0x10);
    assert!(!ok);
    assert_eq!(s.vsr[1], dp(5.0));
    assert_eq!(s.fpscr, 0xc400_0010);
}

#[test]
fn storage_forms_report_the_fault() {
    // lvx v1,0,r0
    assert!(!run(0x7c20_00ce, &[], 0).1);
}

fn estimate(f: fn(&soft::Num) -> soft::Num, x: f32) -> f32 {
    let n = soft::Num::unpack(u128::from(x.to_bits()), soft::SINGLE);
    f32::from_bits(soft::round(&f(&n), soft::SINGLE, soft::NEAREST, 0).bits as u32)
}

#[test]
fn estimates_of_whole_powers_are_exact() {
    for n in -149_i32..128 {
        let power = (n as f64).exp2() as f32;
        assert_eq!(estimate(exp2, n as f32), power, "2^{n}");
        assert_eq!(estimate(log2, power), n as f32, "log2 of 2^{n}");
    }
}

#[test]
fn estimates_of_specials_follow_the_isa() {
    assert_eq!(estimate(exp2, f32::INFINITY), f32::INFINITY);
    assert_eq!(estimate(exp2, f32::NEG_INFINITY).to_bits(), 0);
    assert_eq!(estimate(exp2, -0.0), 1.0);
    assert_eq!(estimate(exp2, 1e30), f32::INFINITY);
    assert_eq!(estimate(exp2, -1e30).to_bits(), 0);
    assert_eq!(estimate(log2, -0.0), f32::NEG_INFINITY);
    assert_eq!(estimate(log2, f32::INFINITY), f32::INFINITY);
    assert_eq!(estimate(log2, -1.0).to_bits(), 0x7fc0_0000);
    assert_eq!(estimate(log2, f32::NEG_INFINITY).to_bits(), 0x7fc0_0000);
}

#[test]
fn estimates_between_are_near() {
    // The reference is double precision, so half a unit in the last place of single precision is all that may differ.
    for i in 1..20_000_u32 {
        let x = f32::from_bits(i.wrapping_mul(214_013) & 0x7fff_ffff);
        if !x.is_finite() {
            continue;
        }
        if x > 0.0 {
            let want = f64::from(x).log2();
            let got = f64::from(estimate(log2, x));
            assert!(
                (got - want).abs() <= want.abs() * 6e-8,
                "log2 {x}: {got}, {want}"
            );
        }
        for x in [x, -x] {
            let want = f64::from(x).exp2();
            if (-126.0..128.0).contains(&f64::from(x)) {
                let got = f64::from(estimate(exp2, x));
                assert!((got - want).abs() <= want * 6.1e-8, "2^{x}: {got}, {want}");
            }
        }
    }
}

/// Doubles of every kind, from a fixed sequence.
fn doubles() -> impl Iterator<Item = u64> {
    let mut x = 1_u64;
    std::iter::repeat_with(move || {
        x = x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let v = x ^ x >> 33;
        match x >> 60 {
            0 => 0x7ff0_0000_0000_0000,
            1 => 0x7ff8_0000_0000_0001,
            2 => 0x000f_ffff_ffff_ffff,
            3 => v & 1 << 63,
            4 => v & 0x800f_ffff_ffff_ffff,
            5..=9 => v & 0x83ff_ffff_ffff_ffff | 0x3c00_0000_0000_0000,
            _ => v,
        }
    })
}

const FR: u64 = 0x4_0000;
const FI: u64 = 0x2_0000;

#[test]
fn fr_tells_that_the_magnitude_was_rounded_up() {
    // fadd, fsub, fmul, fdiv, fmadd, fnmsub and their single forms: f1 of f2, f3 and f4
    let (b, c) = (3 << 11, 4 << 6);
    let forms = [
        0x2a | b,
        0x28 | b,
        0x32 | c,
        0x24 | b,
        0x3a | b | c,
        0x3c | b | c,
    ];
    let mut values = doubles();
    let mut rounded_up = 0;
    for _ in 0..20_000 {
        let set = [2, 3, 4].map(|n| (n, u128::from(values.next().unwrap_or(0)) << 64));
        for primary in [59, 63] {
            for form in forms {
                let insn = primary << 26 | 0x0022_0000 | form;
                let (cut, _) = run(insn, &set, 1);
                for rn in [0, 2, 3] {
                    let (got, _) = run(insn, &set, rn);
                    let magnitude = |s: &After| s.vsr[1] << 1;
                    let up = magnitude(&got) > magnitude(&cut);
                    assert_eq!(got.fpscr & FR != 0, up, "{insn:#x} {set:x?} RN {rn}");
                    // Overflow is inexact in every mode.
                    assert_eq!(got.fpscr & FI, cut.fpscr & FI, "{insn:#x} {set:x?} RN {rn}");
                    rounded_up += u32::from(up);
                }
            }
        }
    }
    assert!(rounded_up > 10_000);
}

#[test]
fn negated_multiply_adds_are_the_others_negated_after_rounding() {
    // fmadd and fnmadd, fmsub and fnmsub, in double and single
    let mut values = doubles();
    for _ in 0..20_000 {
        let set = [2, 3, 4].map(|n| (n, u128::from(values.next().unwrap_or(0)) << 64));
        for primary in [59, 63] {
            for (plain, negated) in [(0x3a, 0x3e), (0x38, 0x3c)] {
                let insn = |xo: u32| primary << 26 | 0x0022_0000 | 3 << 11 | 4 << 6 | xo;
                for rn in 0..4 {
                    let (a, _) = run(insn(plain), &set, rn);
                    let (b, _) = run(insn(negated), &set, rn);
                    let nan = a.vsr[1] << 1 > 0x7ff << 117;
                    let sign = if nan { 0 } else { 1 << 127 };
                    assert_eq!(a.vsr[1] ^ sign, b.vsr[1], "{set:x?} RN {rn}");
                }
            }
        }
    }
}

#[test]
fn quad_negated_multiply_add_rounds_to_odd() {
    // xsmsubqpo and xsnmsubqpo v1,v2,v3
    let mut values = doubles();
    let mut quad = move || {
        let (a, b) = (values.next().unwrap_or(0), values.next().unwrap_or(0));
        u128::from(a & 0x83ff_ffff_ffff_ffff | 0x3c00_0000_0000_0000) << 64 | u128::from(b)
    };
    for _ in 0..1000 {
        let set = [(33, quad()), (34, quad()), (35, quad())];
        let (a, _) = run(0xfc22_1b49, &set, 0);
        let (b, _) = run(0xfc22_1bc9, &set, 0);
        assert_eq!(a.vsr[33] ^ 1 << 127, b.vsr[33]);
        assert!(a.fpscr & FI == 0 || a.vsr[33] & 1 == 1);
    }
}

#[test]
fn rounding_a_quad_to_an_integer_follows_rn_when_asked() {
    // xsrqpi 0,v1,v2,3 against xsrqpi 1,v1,v2,RN
    for value in [
        0x4000_4000 << 96,
        0x4000_c000 << 96,
        0xc000_4000 << 96,
        0xbffd << 112,
        0x3ffe_8000 << 96,
    ] {
        for rn in 0..4_u32 {
            let set = [(34, value)];
            let (a, _) = run(0xfc20_160a, &set, u64::from(rn));
            let (b, _) = run(0xfc21_100a | rn << 9, &set, 0);
            assert_eq!(a.vsr[33], b.vsr[33], "{value:x} {rn}");
        }
    }
}

#[test]
fn an_enabled_overflow_adjusts_the_exponent() {
    // fmuls f1,f2,f4: 2^100 * 2^100 with OE is 2^(200 - 192)
    let big = dp(2.0_f64.powi(100));
    let (s, ok) = run(0xec22_0132, &[(2, big), (4, big)], 0x40);
    assert!(!ok);
    assert_eq!(s.vsr[1], dp(256.0));
    // frsp f1,f2 of 2^1000: 2^808 is no single
    let (s, ok) = run(0xfc20_1018, &[(2, dp(2.0_f64.powi(1000)))], 0x40);
    assert!(!ok);
    assert_eq!(s.vsr[1], dp(2.0_f64.powi(808)));
}

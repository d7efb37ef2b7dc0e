use super::estimate::{exp2, log2};
use super::*;

struct NoMem;

impl VecMem for NoMem {
    fn load(&mut self, _: u64, _: u8) -> Result<u64, MemFault> {
        Err(MemFault)
    }
    fn store(&mut self, _: u64, _: u8, _: u64) -> Result<(), MemFault> {
        Err(MemFault)
    }
}

fn run(insn: u32, set: &[(usize, u128)], fpscr: u64) -> (VecState, bool) {
    let mut vec = VecState {
        vsr: [0; 64],
        fpscr,
        vscr: 0,
    };
    for &(n, v) in set {
        vec.vsr[n] = v;
    }
    let (mut gpr, mut cr) = ([0; 32], [0; 8]);
    let op = decode(insn).expect("a known instruction");
    let mut ctx = VecCtx {
        insn,
        vec: &mut vec,
        gpr: &mut gpr,
        cr: &mut cr,
        little_endian: true,
        sixty_four: true,
        fp_exceptions: true,
        mem: &mut NoMem,
    };
    let ok = (op.run)(&mut ctx).is_ok();
    (vec, ok)
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

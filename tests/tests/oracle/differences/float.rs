//! Excuses of floating-point forms. The list says why.

use super::Case;
use super::parts::*;
use crate::record::Record;

/// FPSCR[FR].
pub fn fraction_rounded(case: &Case, ours: &Record, theirs: &mut Record) {
    if !case.is_vector() && matches!(theirs.fpscr & FR, f if f == 0 || f == case.before.fpscr & FR)
    {
        copy(FR, ours.fpscr, &mut theirs.fpscr);
    }
}

/// CR field 1 of a form with Rc that interrupts.
pub fn condition_of_interrupted(case: &Case, ours: &Record, theirs: &mut Record) {
    let rc =
        matches!(case.word >> 26, 59 | 63) && case.mnemonic.starts_with('f') && case.word & 1 == 1;
    if rc && ours.signal == SIGFPE && (theirs.cr ^ case.before.cr) & 0x0f00_0000 == 0 {
        copy_cr(1, ours, theirs);
    }
}

/// Bits of FPSCR that a signal frame does not hold.
pub fn high_of_fpscr(_: &Case, ours: &Record, theirs: &mut Record) {
    if theirs.signal != 0 && theirs.fpscr >> 32 == 0 {
        copy(!0xffff_ffff, ours.fpscr, &mut theirs.fpscr);
    }
}

pub fn single_class(_: &Case, ours: &Record, theirs: &mut Record) {
    if matches!(ours.fpscr >> 12 & 31, 0x14 | 0x18) {
        copy(C, ours.fpscr, &mut theirs.fpscr);
    }
}

pub fn class_not_set(case: &Case, ours: &Record, theirs: &mut Record) {
    if (theirs.fpscr ^ case.before.fpscr) & FPRF == 0 {
        copy(FPRF, ours.fpscr, &mut theirs.fpscr);
    }
}

pub fn class_undefined(_: &Case, ours: &Record, theirs: &mut Record) {
    copy(FPRF, ours.fpscr, &mut theirs.fpscr);
}

pub fn class_bit(_: &Case, ours: &Record, theirs: &mut Record) {
    copy(C, ours.fpscr, &mut theirs.fpscr);
}

/// With an interrupt: exceptions that QEMU does not reach.
pub fn first_exception_only(case: &Case, ours: &Record, theirs: &mut Record) {
    let new = theirs.fpscr & STICKY & !case.before.fpscr;
    let both = ours.signal == SIGFPE && theirs.signal == SIGFPE;
    if both && new != 0 && theirs.fpscr & STICKY & !ours.fpscr == 0 {
        copy(STICKY | SUMMARY, ours.fpscr, &mut theirs.fpscr);
    }
}

/// Underflow beside overflow in another element.
pub fn overflow_hides_underflow(case: &Case, ours: &Record, theirs: &mut Record) {
    if ours.fpscr & OX != 0 && theirs.fpscr & UX == 0 {
        copy(UX | SUMMARY, ours.fpscr, &mut theirs.fpscr);
        if case.enabled(0x20) && ours.signal == SIGFPE {
            (theirs.signal, theirs.nip) = (ours.signal, ours.nip);
            high_of_fpscr(case, ours, theirs);
            target_written(case, ours, theirs);
        }
    }
}

/// Infinity times zero plus a signalling NaN.
pub fn snan_after_zero_times_infinity(_: &Case, ours: &Record, theirs: &mut Record) {
    if ours.fpscr & VXIMZ != 0 {
        copy(VXSNAN, ours.fpscr, &mut theirs.fpscr);
    }
}

pub fn ordered_with_snan(case: &Case, ours: &Record, theirs: &mut Record) {
    if case.enabled(VE) && ours.fpscr & VXSNAN != 0 && ours.fpscr & VXVC == 0 {
        copy(VXVC, ours.fpscr, &mut theirs.fpscr);
    }
}

/// QEMU takes the interrupt of VXVC too late, or not at all.
pub fn compare_with_vxvc(case: &Case, ours: &Record, theirs: &mut Record) {
    if case.enabled(VE) && ours.signal == SIGFPE && ours.fpscr & VXVC != 0 {
        theirs.vsr[case.xt()] = ours.vsr[case.xt()];
        if case.is_vector() {
            (theirs.signal, theirs.nip) = (ours.signal, ours.nip);
            copy_cr(6, ours, theirs);
            high_of_fpscr(case, ours, theirs);
        }
    }
}

/// Operands that are not singles: QEMU rounds to double and then to single.
pub fn rounded_twice(case: &Case, ours: &Record, theirs: &mut Record) {
    let single = |v: u128| {
        let v = (v >> 64) as u64;
        let range = matches!(v >> 52 & 0x7ff, 897..=1150 | 0x7ff) || v << 1 == 0;
        range && v & 0x1fff_ffff == 0
    };
    if !(single(case.xa()) && single(case.xb())) {
        let at = case.xt();
        let (a, b) = ((ours.vsr[at] >> 64) as u64, (theirs.vsr[at] >> 64) as u64);
        if near(a, b, 52, 64, 22) || ours.fpscr & UX != 0 {
            theirs.vsr[at] = ours.vsr[at];
            copy(FPRF | FI | XX | UX, ours.fpscr, &mut theirs.fpscr);
        }
    }
}

pub fn integer_rounded_twice(case: &Case, ours: &Record, theirs: &mut Record) {
    let at = case.xt();
    copy_near(64, true, 22, ours.vsr[at], &mut theirs.vsr[at]);
}

/// Estimates: the value within the ISA's precision, and what a division reports.
pub fn estimate(case: &Case, ours: &Record, theirs: &mut Record) {
    let at = case.target();
    let width = if case.is_vector() && case.is_single() {
        32
    } else {
        64
    };
    let b = if case.word >> 26 == 60 {
        case.xb()
    } else {
        case.before.vsr[case.field(11)]
    };
    let value = theirs.vsr[at];
    if !case.is_vector() && b << 1 >> 65 == 0 {
        // QEMU gives 1/2 for 1/0.
        theirs.vsr[at] = ours.vsr[at];
    }
    copy_near(
        width,
        !case.is_vector(),
        14,
        ours.vsr[at],
        &mut theirs.vsr[at],
    );
    if !case.is_vector() && ours.fpscr & theirs.fpscr & (OX | UX) != 0 {
        // Rounded to infinity or not, or with few bits left.
        theirs.vsr[at] = ours.vsr[at];
    }
    if theirs.vsr[at] != value {
        copy(FPRF, ours.fpscr, &mut theirs.fpscr);
    }
    copy(FI | XX, ours.fpscr, &mut theirs.fpscr);
    if theirs.fpscr & ZX == 0 {
        copy(ZX, ours.fpscr, &mut theirs.fpscr);
    }
    copy(FX, ours.fpscr, &mut theirs.fpscr);
    if case.word >> 26 != 60 && case.word & 1 == 1 {
        copy_cr_bits(0x0800_0000, ours, theirs);
    }
}

pub fn vmx_estimate(case: &Case, ours: &Record, theirs: &mut Record) {
    let at = case.target();
    copy_near(32, false, 12, ours.vsr[at], &mut theirs.vsr[at]);
}

/// 2^x for |x| of 4 and more.
pub fn large_power(case: &Case, ours: &Record, theirs: &mut Record) {
    let (at, b) = (case.target(), case.before.vsr[32 + case.field(11)]);
    for shift in [0, 32, 64, 96] {
        let mask = 0xffff_ffff << shift;
        if (0x4080_0000..0x7f80_0000).contains(&(b >> shift & 0x7fff_ffff)) {
            theirs.vsr[at] = theirs.vsr[at] & !mask | ours.vsr[at] & mask;
        }
    }
}

/// An enabled overflow, underflow or inexact exception: a scalar form writes its target before the interrupt.
pub fn target_not_written(case: &Case, ours: &Record, theirs: &mut Record) {
    let at = match case.mnemonic {
        name if name.ends_with("qp")
            || name.ends_with("qpi")
            || name.ends_with("qpxp")
            || name == "xscvqpdp" =>
        {
            32 + case.field(21)
        }
        _ => case.target(),
    };
    if case.enabled(0x68) && ours.signal == SIGFPE && theirs.vsr[at] == case.before.vsr[at] {
        theirs.vsr[at] = ours.vsr[at];
        copy(FPRF, ours.fpscr, &mut theirs.fpscr);
    }
}

/// The same: a vector form writes nothing.
pub fn target_written(case: &Case, ours: &Record, theirs: &mut Record) {
    let at = case.xt();
    if case.enabled(0x68) && ours.signal == SIGFPE && ours.vsr[at] == case.before.vsr[at] {
        theirs.vsr[at] = ours.vsr[at];
    }
}

/// Elements after one that is out of range or a NaN.
pub fn elements_after_invalid(case: &Case, ours: &Record, theirs: &mut Record) {
    let bytes = case.mnemonic.as_bytes();
    let to = if bytes[bytes.len() - 2] == b'd' {
        64
    } else {
        32
    };
    let signed = bytes[bytes.len() - 4] == b's';
    let ones = u128::MAX >> (128 - to);
    let edges = if signed {
        [1 << (to - 1), ones >> 1]
    } else {
        [0, ones]
    };
    let at = case.xt();
    let mut invalid = false;
    for i in (0..128 / to).rev() {
        let mask = ones << (i * to);
        if invalid {
            theirs.vsr[at] = theirs.vsr[at] & !mask | ours.vsr[at] & mask;
        }
        invalid |= edges.contains(&((ours.vsr[at] & mask) >> (i * to)));
    }
}

pub fn second_snan(case: &Case, ours: &Record, theirs: &mut Record) {
    let (a, b) = ((case.xa() >> 64) as u64, (case.xb() >> 64) as u64);
    if is_nan(a) && !is_snan(a) && is_snan(b) {
        copy(VXSNAN | SUMMARY | FX, ours.fpscr, &mut theirs.fpscr);
        if case.enabled(VE) {
            (theirs.signal, theirs.nip) = (ours.signal, ours.nip);
            theirs.vsr[case.xt()] = ours.vsr[case.xt()];
            high_of_fpscr(case, ours, theirs);
        }
    }
}

pub fn equal_operands(case: &Case, ours: &Record, theirs: &mut Record) {
    if (case.xa() | case.xb()) << 1 >> 65 == 0 {
        theirs.vsr[case.xt()] = ours.vsr[case.xt()];
    }
}

/// Every double below the range of single precision counts as any class in QEMU.
pub fn class_of_tiny(case: &Case, ours: &Record, theirs: &mut Record) {
    if matches!(case.xb() >> 116 & 0x7ff, 1..0x381) {
        copy(0x2000, ours.fpscr, &mut theirs.fpscr);
        copy_cr_bits(0x2000_0000 >> (4 * (case.word >> 23 & 7)), ours, theirs);
    }
}

pub fn extended_nan(case: &Case, ours: &Record, theirs: &mut Record) {
    let at = 32 + case.field(21);
    if ours.vsr[at] << 1 > 0xfffe << 112 {
        let mask = (1 << 49) - 1;
        theirs.vsr[at] = theirs.vsr[at] & !mask | ours.vsr[at] & mask;
    }
}

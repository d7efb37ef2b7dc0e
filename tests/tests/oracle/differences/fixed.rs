//! Excuses of fixed-point, decimal and storage forms. The list says why.

use super::Case;
use super::parts::*;
use crate::record::Record;

/// A bit set by mtfsb1 sets FX; QEMU sets just the bit, and never NI.
pub fn set_bit(case: &Case, ours: &Record, theirs: &mut Record) {
    let bit = 0x8000_0000_u64 >> case.field(21);
    if bit & STICKY & !case.before.fpscr != 0 {
        copy(FX, ours.fpscr, &mut theirs.fpscr);
        if case.word & 1 == 1 {
            copy_cr_bits(0x0800_0000, ours, theirs);
        }
    }
    if bit == 4 {
        copy(4, ours.fpscr, &mut theirs.fpscr);
    }
}

/// RT, and with Rc what CR field 0 says of it.
pub fn copy_quotient(case: &Case, ours: &Record, theirs: &mut Record) {
    let rt = case.field(21);
    theirs.gpr[rt] = ours.gpr[rt];
    if case.word & 1 == 1 {
        copy_cr_bits(0xe000_0000, ours, theirs);
    }
}

/// Operands without a quotient.
pub fn no_quotient(case: &Case, ours: &Record, theirs: &mut Record) {
    let (a, b) = (
        case.before.gpr[case.field(16)],
        case.before.gpr[case.field(11)],
    );
    let (sa, sb) = (i128::from(a as i64), i128::from(b as i64));
    let (wa, wb) = (i64::from(a as i32), i64::from(b as i32));
    let (ua, ub) = (a & 0xffff_ffff, b & 0xffff_ffff);
    let long = |n: i128, d: i128| {
        n.checked_div(d)
            .and_then(|q| i64::try_from(q).ok())
            .is_none()
    };
    let word = |n: i64, d: i64| {
        n.checked_div(d)
            .and_then(|q| i32::try_from(q).ok())
            .is_none()
    };
    let none = match case.mnemonic {
        "divd" | "modsd" => long(sa, sb),
        "divde" => long(sa << 64, sb),
        "divw" | "modsw" => word(wa, wb),
        "divwe" => word(wa << 32, wb),
        "divdu" | "modud" => b == 0,
        "divdeu" => b <= a,
        "divwu" | "moduw" => ub == 0,
        "divweu" => ub <= ua,
        _ => false,
    };
    if none {
        copy_quotient(case, ours, theirs);
        if case.mnemonic == "divde" {
            // QEMU sees overflow only in |a| >= |b|.
            theirs.xer = ours.xer;
            if case.word & 1 == 1 {
                copy_cr(0, ours, theirs);
            }
        }
    }
}

pub fn low_half(case: &Case, ours: &Record, theirs: &mut Record) {
    let mask = u128::from(u64::MAX);
    let at = case.xt();
    theirs.vsr[at] = theirs.vsr[at] & !mask | ours.vsr[at] & mask;
}

/// Bits outside of the mask of vrldmi, which keep the target's values.
pub fn kept_bits(case: &Case, ours: &Record, theirs: &mut Record) {
    let (b, at) = (case.before.vsr[32 + case.field(11)], 32 + case.field(21));
    for shift in [0, 64] {
        let b = (b >> shift) as u64;
        let (first, last) = ((b >> 16 & 63) as u32, (b >> 8 & 63) as u32);
        let (head, tail) = (u64::MAX >> first, u64::MAX << (63 - last));
        let mask = if first <= last {
            head & tail
        } else {
            head | tail
        };
        let keep = u128::from(!mask) << shift;
        theirs.vsr[at] = theirs.vsr[at] & !keep | ours.vsr[at] & keep;
    }
}

/// Operands that are no decimals: CR field 6 is SO alone, and the target undefined.
pub fn not_decimal(case: &Case, ours: &Record, theirs: &mut Record) {
    if ours.cr >> 4 & 15 == 1 {
        copy_cr(6, ours, theirs);
        theirs.vsr[case.target()] = ours.vsr[case.target()];
    }
}

pub fn decimal_overflow(case: &Case, ours: &Record, theirs: &mut Record) {
    if ours.cr >> 4 & 1 == 1 {
        theirs.vsr[case.target()] = ours.vsr[case.target()];
    }
}

/// CR field 6, of which SO is compared only for shifts by fewer than 32 digits.
pub fn unsigned_code(case: &Case, ours: &Record, theirs: &mut Record) {
    if ours.cr & 0xf0 != 0x10 {
        let far = (case.before.vsr[32 + case.field(16)] >> 64) as i8 > 31;
        let mask = if far { 0xf0 } else { 0xe0 };
        theirs.cr = theirs.cr & !mask | ours.cr & mask;
    }
}

/// A zero sum is positive, and EQ.
pub fn zero_sum(case: &Case, ours: &Record, theirs: &mut Record) {
    if ours.cr & theirs.cr & 0x20 != 0 {
        copy_cr(6, ours, theirs);
        if theirs.vsr[case.target()] == 0xd {
            theirs.vsr[case.target()] = ours.vsr[case.target()];
        }
    }
}

/// Digits other than 0 in the operand, and in the result none.
pub fn code_of_result(_: &Case, ours: &Record, theirs: &mut Record) {
    if theirs.cr & 0x20 != 0 {
        copy_cr_bits(0xe0, ours, theirs);
    }
}

/// The high half of RT, and what CR field 0 says of it.
pub fn high_word(case: &Case, ours: &Record, theirs: &mut Record) {
    let rt = case.field(21);
    copy(!0xffff_ffff, ours.gpr[rt], &mut theirs.gpr[rt]);
    if case.word & 1 == 1 {
        copy_cr_bits(0xe000_0000, ours, theirs);
    }
}

pub fn smallest_number(case: &Case, ours: &Record, theirs: &mut Record) {
    let rt = case.field(21);
    let bounded = matches!(case.field(11), 24 | 25 | 28);
    if bounded && theirs.gpr[rt] == 0xffff_ffff_8000_0000 {
        theirs.gpr[rt] = ours.gpr[rt];
    }
}

pub fn bound_below(case: &Case, ours: &Record, theirs: &mut Record) {
    if case.field(11) == 28 {
        theirs.mem = ours.mem;
        theirs.gpr[case.field(21)] = ours.gpr[case.field(21)];
    }
}

pub fn signed_words(case: &Case, ours: &Record, theirs: &mut Record) {
    if matches!(case.field(11), 5 | 7) {
        theirs.mem = ours.mem;
    }
}

/// QEMU's store never succeeds; then it must have done nothing.
pub fn quad_conditional(case: &Case, ours: &Record, theirs: &mut Record) {
    if theirs.mem == case.before.mem && theirs.cr >> 29 & 1 == 0 {
        theirs.mem = ours.mem;
        copy_cr(0, ours, theirs);
    }
}

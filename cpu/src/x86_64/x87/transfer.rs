//! Loads, stores and moves. SDM volume 1 §8.3.2.
use iced_x86::{MemorySize, Mnemonic as M};

use super::number::{F80, INDEFINITE, ONE};
use super::transcendental::constants;
use super::{C1, DE, IE, OE, Outcome, PE, UE, X87};
use crate::softfloat::{self as soft, Class, DOUBLE, Format, Num, SINGLE};
use crate::x86_64::simd::{Effect, MEMORY, Operands, Src};

impl X87 {
    /// Pushes; onto a full register the indefinite NaN, if that is masked.
    pub(super) fn push_checked(&mut self, value: F80) {
        if self.is_empty(7) {
            self.push(value);
        } else if !self.overflow() {
            self.push(INDEFINITE);
        }
    }
}

fn memory(o: &Operands) -> u128 {
    match o.src {
        Src::Mem(m) => u128::from(m[0]) | u128::from(m[1]) << 64,
        _ => 0,
    }
}

/// FLD.
pub(super) fn load(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let m = memory(o);
    let value = match (o.src, o.op.op_code().memory_size()) {
        (Src::Mem(_), MemorySize::Float80) => F80 {
            mantissa: m as u64,
            head: (m >> 64) as u16,
        },
        (Src::Mem(_), size) => {
            let (bits, f) = if size == MemorySize::Float32 {
                (m as u32 as u64, SINGLE)
            } else {
                (m as u64, DOUBLE)
            };
            return load_number(x, bits, f);
        }
        _ if x.is_empty(o.dst) => {
            if !x.underflow() {
                x.push(INDEFINITE);
            }
            return Ok(Effect::None);
        }
        _ => x.st(o.dst),
    };
    x.push_checked(value);
    Ok(Effect::None)
}

fn load_number(x: &mut X87, bits: u64, f: Format) -> Outcome {
    let (value, denormal) = F80::from_bits(bits, f);
    if !x.is_empty(7) {
        x.push_checked(INDEFINITE);
        return Ok(Effect::None);
    }
    if value.is_signalling() && x.signal(IE) {
        return Ok(Effect::None);
    }
    if denormal {
        // Loaded also if that is unmasked.
        x.signal(DE);
    }
    x.push(if value.is_nan() { value.quiet() } else { value });
    Ok(Effect::None)
}

/// FILD.
pub(super) fn load_integer(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let m = memory(o) as u64;
    let value = match o.op.op_code().memory_size() {
        MemorySize::Int16 => (m as i16).into(),
        MemorySize::Int32 => (m as i32).into(),
        _ => m as i64,
    };
    x.push_checked(F80::integer(value));
    Ok(Effect::None)
}

/// FBLD: 18 digits and a sign. Digits above 9 count as what they are.
pub(super) fn load_decimal(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let m = memory(o);
    let magnitude = (0..18).rev().fold(0, |r, i| r * 10 + (m >> (4 * i) & 15));
    let value = Num::integer(m >> 79 & 1 != 0, magnitude);
    x.push_checked(F80::exact(&value));
    Ok(Effect::None)
}

/// FST and FSTP.
pub(super) fn store(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let m = o.op.mnemonic();
    let size = o.op.op_code().memory_size();
    let empty = x.is_empty(0);
    if m == M::Fstpnce && empty {
        // The form without exceptions.
        x.pop();
        return Ok(Effect::None);
    }
    if empty && x.underflow() {
        return Ok(Effect::None);
    }
    let a = if empty { INDEFINITE } else { x.st(0) };
    let effect = if o.dst != MEMORY {
        x.write(o.dst, a);
        Effect::None
    } else if size == MemorySize::Float80 {
        Effect::Store([a.mantissa, a.head.into(), 0, 0], 10)
    } else {
        let (f, bytes) = if size == MemorySize::Float32 {
            (SINGLE, 4)
        } else {
            (DOUBLE, 8)
        };
        match narrow(x, a, f) {
            Some(bits) => Effect::Store([bits, 0, 0, 0], bytes),
            None => return Ok(Effect::None),
        }
    };
    if m != M::Fst {
        x.pop();
    }
    Ok(effect)
}

/// To a single or double; `None` if an exception other than inexact is unmasked.
fn narrow(x: &mut X87, a: F80, f: Format) -> Option<u64> {
    let r = match x.special(&[a]) {
        Some(r) => r?.num(),
        None => a.num(),
    };
    if r.is_nan() {
        return Some(soft::round(&r, f, soft::NEAREST, 0).bits as u64);
    }
    let (out, flags) = x.round_quietly(&r, f);
    let stops = flags & (OE | UE) as u16 & x.unmasked();
    if stops != 0 {
        x.status &= !C1;
        x.signal(stops);
        return None;
    }
    x.signal(flags);
    Some(out.bits as u64)
}

/// ST(0) as an integer below the limit; `None` if the operation is invalid.
fn integer(x: &mut X87, rm: u8, limit: impl Fn(bool) -> u128) -> Option<(bool, u128)> {
    let a = x.st(0);
    if a.is_unsupported() || a.is_nan() || a.is_infinity() {
        return None;
    }
    let n = a.num();
    let (magnitude, up, inexact) = if n.class == Class::Zero {
        (Some(0), false, false)
    } else {
        soft::to_integer(&n, rm)
    };
    let magnitude = magnitude.filter(|m| *m <= limit(n.sign))?;
    if inexact {
        if up {
            x.status |= C1;
        }
        x.signal(PE as u16);
    }
    Some((n.sign, magnitude))
}

/// FIST, FISTP and FISTTP.
pub(super) fn store_integer(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let m = o.op.mnemonic();
    let bits = match o.op.op_code().memory_size() {
        MemorySize::Int16 => 16,
        MemorySize::Int32 => 32,
        _ => 64,
    };
    let rm = if m == M::Fisttp {
        soft::TO_ZERO
    } else {
        x.rounding()
    };
    let indefinite = 1_u64 << (bits - 1);
    let value = if x.is_empty(0) {
        if x.underflow() {
            return Ok(Effect::None);
        }
        indefinite
    } else {
        let limit = |negative: bool| u128::from(indefinite) - u128::from(!negative);
        match integer(x, rm, limit) {
            Some((true, magnitude)) => (magnitude as u64).wrapping_neg(),
            Some((false, magnitude)) => magnitude as u64,
            None if x.signal(IE) => return Ok(Effect::None),
            None => indefinite,
        }
    };
    if m != M::Fist {
        x.pop();
    }
    Ok(Effect::Store([value, 0, 0, 0], (bits / 8) as u8))
}

/// FBSTP.
pub(super) fn store_decimal(x: &mut X87, _: &Operands) -> Outcome {
    x.begin()?;
    const INDEFINITE_DECIMAL: u128 = 0xffff_c000_0000_0000_0000;
    let rm = x.rounding();
    let value = if x.is_empty(0) {
        if x.underflow() {
            return Ok(Effect::None);
        }
        INDEFINITE_DECIMAL
    } else {
        match integer(x, rm, |_| 999_999_999_999_999_999) {
            Some((negative, magnitude)) => decimal(negative, magnitude),
            None if x.signal(IE) => return Ok(Effect::None),
            None => INDEFINITE_DECIMAL,
        }
    };
    x.pop();
    Ok(Effect::Store(
        [value as u64, (value >> 64) as u64, 0, 0],
        10,
    ))
}

fn decimal(negative: bool, mut magnitude: u128) -> u128 {
    let mut r = u128::from(negative) << 79;
    for i in 0..18 {
        r |= (magnitude % 10) << (4 * i);
        magnitude /= 10;
    }
    r
}

/// FXCH.
pub(super) fn exchange(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let Src::Reg(i) = o.src else {
        return Ok(Effect::None);
    };
    if x.is_empty(0) || x.is_empty(i) {
        if x.underflow() {
            return Ok(Effect::None);
        }
        for n in [0, i] {
            if x.is_empty(n) {
                x.write(n, INDEFINITE);
            }
        }
    }
    let (a, b) = (x.st(0), x.st(i));
    x.write(0, b);
    x.write(i, a);
    Ok(Effect::None)
}

/// FCMOVcc, by the low byte of RFLAGS. C1 stays.
pub(super) fn conditional(x: &mut X87, o: &Operands) -> Outcome {
    x.check_pending()?;
    let Src::Reg(i) = o.src else {
        return Ok(Effect::None);
    };
    let (bits, wanted) = match o.op.mnemonic() {
        M::Fcmovb => (1, true),
        M::Fcmove => (0x40, true),
        M::Fcmovbe => (0x41, true),
        M::Fcmovu => (4, true),
        M::Fcmovnb => (1, false),
        M::Fcmovne => (0x40, false),
        M::Fcmovnbe => (0x41, false),
        _ => (4, false),
    };
    if x.is_empty(0) || x.is_empty(i) {
        if !x.underflow() {
            x.write(0, INDEFINITE);
        }
    } else if (o.imm & bits != 0) == wanted {
        let b = x.st(i);
        x.write(0, b);
    }
    Ok(Effect::None)
}

/// Constants, rounded as RC says, without exceptions.
pub(super) fn constant(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    let value = match o.op.mnemonic() {
        M::Fld1 => ONE,
        M::Fldz => F80::default(),
        m => {
            let n = match m {
                M::Fldpi => constants::pi(),
                M::Fldl2t => constants::log2_10(),
                M::Fldl2e => constants::log2_e(),
                M::Fldlg2 => constants::log10_2(),
                _ => constants::ln_2(),
            };
            let f = super::number::EXTENDED;
            F80::from_format(soft::round(&n, f, x.rounding(), 0).bits, f)
        }
    };
    x.push_checked(value);
    Ok(Effect::None)
}

//! Packed integer arithmetic, comparison, logic and shifts. SDM volume 1 §9.4, §10.4.6 to §10.6 and §12.
use iced_x86::Mnemonic as M;

use super::form::Run::{self, One, Pack, Shift, Special, Two, TwoImm};
use super::form::Width;
use super::lanes::{Lane, build, compare, el, map1, map2};
use super::{Cx, Outcome};

/// The operation of a mnemonic of this file.
#[rustfmt::skip]
pub(super) fn run(m: M) -> Option<Run> {
    logic(m).or_else(|| min_max(m)).or_else(|| shifts(m)).or_else(|| arithmetic(m))
}

#[rustfmt::skip]
fn arithmetic(m: M) -> Option<Run> {
    Some(match m {
        M::Paddb | M::Vpaddb => Two(|a, b| map2(a, b, u8::wrapping_add)),
        M::Paddw | M::Vpaddw => Two(|a, b| map2(a, b, u16::wrapping_add)),
        M::Paddd | M::Vpaddd => Two(|a, b| map2(a, b, u32::wrapping_add)),
        M::Paddq | M::Vpaddq => Two(|a, b| map2(a, b, u64::wrapping_add)),
        M::Psubb | M::Vpsubb => Two(|a, b| map2(a, b, u8::wrapping_sub)),
        M::Psubw | M::Vpsubw => Two(|a, b| map2(a, b, u16::wrapping_sub)),
        M::Psubd | M::Vpsubd => Two(|a, b| map2(a, b, u32::wrapping_sub)),
        M::Psubq | M::Vpsubq => Two(|a, b| map2(a, b, u64::wrapping_sub)),
        M::Paddsb | M::Vpaddsb => Two(|a, b| map2(a, b, i8::saturating_add)),
        M::Paddsw | M::Vpaddsw => Two(|a, b| map2(a, b, i16::saturating_add)),
        M::Paddusb | M::Vpaddusb => Two(|a, b| map2(a, b, u8::saturating_add)),
        M::Paddusw | M::Vpaddusw => Two(|a, b| map2(a, b, u16::saturating_add)),
        M::Psubsb | M::Vpsubsb => Two(|a, b| map2(a, b, i8::saturating_sub)),
        M::Psubsw | M::Vpsubsw => Two(|a, b| map2(a, b, i16::saturating_sub)),
        M::Psubusb | M::Vpsubusb => Two(|a, b| map2(a, b, u8::saturating_sub)),
        M::Psubusw | M::Vpsubusw => Two(|a, b| map2(a, b, u16::saturating_sub)),
        M::Pmullw | M::Vpmullw => Two(|a, b| map2(a, b, u16::wrapping_mul)),
        M::Pmulld | M::Vpmulld => Two(|a, b| map2(a, b, u32::wrapping_mul)),
        M::Pmulhw | M::Vpmulhw => Two(|a, b| map2(a, b, |x: i16, y: i16| ((i32::from(x) * i32::from(y)) >> 16) as i16)),
        M::Pmulhuw | M::Vpmulhuw => Two(|a, b| map2(a, b, |x: u16, y: u16| ((u32::from(x) * u32::from(y)) >> 16) as u16)),
        M::Pmulhrsw | M::Vpmulhrsw => Two(|a, b| map2(a, b, |x: i16, y: i16| ((((i32::from(x) * i32::from(y)) >> 14) + 1) >> 1) as i16)),
        M::Pmuludq | M::Vpmuludq => Two(|a, b| map2(a, b, |x: u64, y: u64| u64::from(x as u32) * u64::from(y as u32))),
        M::Pmuldq | M::Vpmuldq => Two(|a, b| map2(a, b, |x: i64, y: i64| i64::from(x as i32) * i64::from(y as i32))),
        M::Pmaddwd | M::Vpmaddwd => Two(multiply_add),
        M::Pmaddubsw | M::Vpmaddubsw => Two(multiply_add_bytes),
        M::Pavgb | M::Vpavgb => Two(|a, b| map2(a, b, |x: u8, y: u8| ((u16::from(x) + u16::from(y) + 1) >> 1) as u8)),
        M::Pavgw | M::Vpavgw => Two(|a, b| map2(a, b, |x: u16, y: u16| ((u32::from(x) + u32::from(y) + 1) >> 1) as u16)),
        M::Psadbw | M::Vpsadbw => Two(sum_of_differences),
        M::Mpsadbw | M::Vmpsadbw => Special(mpsadbw),
        M::Pabsb | M::Vpabsb => One(|b| map1(b, |x: i8| x.unsigned_abs())),
        M::Pabsw | M::Vpabsw => One(|b| map1(b, |x: i16| x.unsigned_abs())),
        M::Pabsd | M::Vpabsd => One(|b| map1(b, |x: i32| x.unsigned_abs())),
        M::Psignb | M::Vpsignb => Two(|a, b| map2(a, b, |x: i8, y: i8| x.wrapping_mul(y.signum()))),
        M::Psignw | M::Vpsignw => Two(|a, b| map2(a, b, |x: i16, y: i16| x.wrapping_mul(y.signum()))),
        M::Psignd | M::Vpsignd => Two(|a, b| map2(a, b, |x: i32, y: i32| x.wrapping_mul(y.signum()))),
        M::Phaddw | M::Vphaddw => Pack(|a, b| horizontal(a, b, i16::wrapping_add)),
        M::Phaddd | M::Vphaddd => Pack(|a, b| horizontal(a, b, i32::wrapping_add)),
        M::Phaddsw | M::Vphaddsw => Pack(|a, b| horizontal(a, b, i16::saturating_add)),
        M::Phsubw | M::Vphsubw => Pack(|a, b| horizontal(a, b, i16::wrapping_sub)),
        M::Phsubd | M::Vphsubd => Pack(|a, b| horizontal(a, b, i32::wrapping_sub)),
        M::Phsubsw | M::Vphsubsw => Pack(|a, b| horizontal(a, b, i16::saturating_sub)),
        M::Phminposuw | M::Vphminposuw => One(minimum_position),
        M::Pclmulqdq | M::Vpclmulqdq => TwoImm(carryless_multiply),
        _ => return None,
    })
}

#[rustfmt::skip]
fn logic(m: M) -> Option<Run> {
    Some(match m {
        M::Pand | M::Vpand | M::Andps | M::Vandps | M::Andpd | M::Vandpd => Two(|a, b| a & b),
        M::Pandn | M::Vpandn | M::Andnps | M::Vandnps | M::Andnpd | M::Vandnpd => Two(|a, b| !a & b),
        M::Por | M::Vpor | M::Orps | M::Vorps | M::Orpd | M::Vorpd => Two(|a, b| a | b),
        M::Pxor | M::Vpxor | M::Xorps | M::Vxorps | M::Xorpd | M::Vxorpd => Two(|a, b| a ^ b),
        M::Pcmpeqb | M::Vpcmpeqb => Two(|a, b| compare(a, b, |x: u8, y: u8| x == y)),
        M::Pcmpeqw | M::Vpcmpeqw => Two(|a, b| compare(a, b, |x: u16, y: u16| x == y)),
        M::Pcmpeqd | M::Vpcmpeqd => Two(|a, b| compare(a, b, |x: u32, y: u32| x == y)),
        M::Pcmpeqq | M::Vpcmpeqq => Two(|a, b| compare(a, b, |x: u64, y: u64| x == y)),
        M::Pcmpgtb | M::Vpcmpgtb => Two(|a, b| compare(a, b, |x: i8, y: i8| x > y)),
        M::Pcmpgtw | M::Vpcmpgtw => Two(|a, b| compare(a, b, |x: i16, y: i16| x > y)),
        M::Pcmpgtd | M::Vpcmpgtd => Two(|a, b| compare(a, b, |x: i32, y: i32| x > y)),
        M::Pcmpgtq | M::Vpcmpgtq => Two(|a, b| compare(a, b, |x: i64, y: i64| x > y)),
        _ => return None,
    })
}

fn min_max(m: M) -> Option<Run> {
    Some(match m {
        M::Pminub | M::Vpminub => Two(|a, b| map2(a, b, u8::min)),
        M::Pminuw | M::Vpminuw => Two(|a, b| map2(a, b, u16::min)),
        M::Pminud | M::Vpminud => Two(|a, b| map2(a, b, u32::min)),
        M::Pminsb | M::Vpminsb => Two(|a, b| map2(a, b, i8::min)),
        M::Pminsw | M::Vpminsw => Two(|a, b| map2(a, b, i16::min)),
        M::Pminsd | M::Vpminsd => Two(|a, b| map2(a, b, i32::min)),
        M::Pmaxub | M::Vpmaxub => Two(|a, b| map2(a, b, u8::max)),
        M::Pmaxuw | M::Vpmaxuw => Two(|a, b| map2(a, b, u16::max)),
        M::Pmaxud | M::Vpmaxud => Two(|a, b| map2(a, b, u32::max)),
        M::Pmaxsb | M::Vpmaxsb => Two(|a, b| map2(a, b, i8::max)),
        M::Pmaxsw | M::Vpmaxsw => Two(|a, b| map2(a, b, i16::max)),
        M::Pmaxsd | M::Vpmaxsd => Two(|a, b| map2(a, b, i32::max)),
        _ => return None,
    })
}

fn shifts(m: M) -> Option<Run> {
    Some(match m {
        M::Psllw | M::Vpsllw => Shift(|a, n| logical::<u16>(a, n, |x, n| x << n)),
        M::Pslld | M::Vpslld => Shift(|a, n| logical::<u32>(a, n, |x, n| x << n)),
        M::Psllq | M::Vpsllq => Shift(|a, n| logical::<u64>(a, n, |x, n| x << n)),
        M::Psrlw | M::Vpsrlw => Shift(|a, n| logical::<u16>(a, n, |x, n| x >> n)),
        M::Psrld | M::Vpsrld => Shift(|a, n| logical::<u32>(a, n, |x, n| x >> n)),
        M::Psrlq | M::Vpsrlq => Shift(|a, n| logical::<u64>(a, n, |x, n| x >> n)),
        M::Psraw | M::Vpsraw => Shift(|a, n| map1(a, |x: i16| x >> n.min(15))),
        M::Psrad | M::Vpsrad => Shift(|a, n| map1(a, |x: i32| x >> n.min(31))),
        M::Pslldq | M::Vpslldq => Shift(|a, n| a.checked_shl(bytes(n)).unwrap_or(0)),
        M::Psrldq | M::Vpsrldq => Shift(|a, n| a.checked_shr(bytes(n)).unwrap_or(0)),
        M::Vpsllvd => Two(|a, b| map2(a, b, |x: u32, n: u32| x.checked_shl(n).unwrap_or(0))),
        M::Vpsrlvd => Two(|a, b| map2(a, b, |x: u32, n: u32| x.checked_shr(n).unwrap_or(0))),
        M::Vpsravd => Two(|a, b| map2(a, b, |x: i32, n: i32| x >> (n as u32).min(31))),
        M::Vpsllvq => Two(|a, b| map2(a, b, |x: u64, n: u64| if n < 64 { x << n } else { 0 })),
        M::Vpsrlvq => Two(|a, b| map2(a, b, |x: u64, n: u64| if n < 64 { x >> n } else { 0 })),
        _ => return None,
    })
}

/// Bits of a byte count, where all counts above 15 are alike.
fn bytes(n: u64) -> u32 {
    n.min(16) as u32 * 8
}

/// Shifts by element; a count that reaches the width gives 0.
fn logical<L: Lane>(a: u128, n: u64, f: impl Fn(u128, u32) -> u128) -> u128 {
    if n >= u64::from(L::BITS) {
        return 0;
    }
    map1(a, |x: L| L::low(f(x.wide(), n as u32)))
}

fn multiply_add(a: u128, b: u128) -> u128 {
    build(|i| {
        let product = |k| i32::from(el::<i16>(a, k)) * i32::from(el::<i16>(b, k));
        product(2 * i).wrapping_add(product(2 * i + 1))
    })
}

/// Unsigned bytes of `a` times signed bytes of `b`, pairs added with saturation.
fn multiply_add_bytes(a: u128, b: u128) -> u128 {
    build(|i| {
        let product = |k| i16::from(el::<u8>(a, k)) * i16::from(el::<i8>(b, k));
        product(2 * i).saturating_add(product(2 * i + 1))
    })
}

fn sum_of_differences(a: u128, b: u128) -> u128 {
    build(|i| {
        (8 * i..8 * i + 8)
            .map(|k| u64::from(el::<u8>(a, k).abs_diff(el::<u8>(b, k))))
            .sum::<u64>()
    })
}

/// Eight sums of four differences: of the bytes of `a` from a multiple of 4 on, and of one dword of `b`.
fn block_differences(a: u128, b: u128, control: u8) -> u128 {
    let (from, block) = (
        usize::from(control >> 2 & 1) * 4,
        usize::from(control & 3) * 4,
    );
    build(|i| {
        (0..4)
            .map(|k| u16::from(el::<u8>(a, from + i + k).abs_diff(el::<u8>(b, block + k))))
            .sum::<u16>()
    })
}

fn mpsadbw(c: &mut Cx) -> Outcome {
    let imm = c.o.imm;
    let low = block_differences(c.a(), c.b(), imm);
    let high = match c.form.width {
        Width::Ymm => block_differences(c.a_upper(), c.b_upper(), imm >> 3),
        _ => 0,
    };
    c.put_wide(low, high)
}

/// f over neighbours: those of `a`, then those of `b`.
fn horizontal<L: Lane>(a: u128, b: u128, f: fn(L, L) -> L) -> u128 {
    let half = 64 / L::BITS as usize;
    build(|i| {
        let from = if i < half { a } else { b };
        f(el(from, 2 * i), el(from, 2 * i + 1))
    })
}

fn minimum_position(b: u128) -> u128 {
    let (value, index) = (0..8)
        .map(|i| (el::<u16>(b, i), i as u128))
        .min()
        .unwrap_or_default();
    u128::from(value) | index << 16
}

fn carryless_multiply(a: u128, b: u128, imm: u8) -> u128 {
    let x = u128::from(el::<u64>(a, usize::from(imm & 1)));
    let y = el::<u64>(b, usize::from(imm >> 4 & 1));
    (0..64)
        .filter(|i| y >> i & 1 != 0)
        .fold(0, |r, i| r ^ x << i)
}

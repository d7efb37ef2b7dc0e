//! Packing, unpacking, shuffling, blending, insertion and extraction.
use iced_x86::Mnemonic as M;

use super::form::Run::{self, Blend, High, One, OneImm, Pack, Special, Two, TwoImm, Widen};
use super::form::Width;
use super::lanes::{Lane, build, el, map1, select, with};
use super::{Cx, Outcome, Src};

/// The operation of a mnemonic of this file.
#[rustfmt::skip]
pub(super) fn run(m: M, width: Width) -> Option<Run> {
    extend(m).or_else(|| wide(m)).or_else(|| rest(m, width))
}

#[rustfmt::skip]
fn rest(m: M, width: Width) -> Option<Run> {
    Some(match m {
        M::Packsswb | M::Vpacksswb => Pack(|a, b| pack::<i16, i8>(a, b, |x| x.clamp(-128, 127) as i8)),
        M::Packuswb | M::Vpackuswb => Pack(|a, b| pack::<i16, u8>(a, b, |x| x.clamp(0, 255) as u8)),
        M::Packssdw | M::Vpackssdw => Pack(|a, b| pack::<i32, i16>(a, b, |x| x.clamp(-0x8000, 0x7fff) as i16)),
        M::Packusdw | M::Vpackusdw => Pack(|a, b| pack::<i32, u16>(a, b, |x| x.clamp(0, 0xffff) as u16)),
        M::Punpcklbw | M::Vpunpcklbw => Two(interleave::<u8>),
        M::Punpcklwd | M::Vpunpcklwd => Two(interleave::<u16>),
        M::Punpckldq | M::Vpunpckldq | M::Unpcklps | M::Vunpcklps => Two(interleave::<u32>),
        M::Punpcklqdq | M::Vpunpcklqdq | M::Unpcklpd | M::Vunpcklpd => Two(interleave::<u64>),
        M::Punpckhbw | M::Vpunpckhbw => High(interleave::<u8>),
        M::Punpckhwd | M::Vpunpckhwd => High(interleave::<u16>),
        M::Punpckhdq | M::Vpunpckhdq | M::Unpckhps | M::Vunpckhps => High(interleave::<u32>),
        M::Punpckhqdq | M::Vpunpckhqdq | M::Unpckhpd | M::Vunpckhpd => High(interleave::<u64>),
        M::Pshufd | M::Vpshufd => OneImm(|b, n| build(|i| el::<u32>(b, field(n, i)))),
        M::Pshuflw | M::Vpshuflw | M::Pshufw => OneImm(|b, n| {
            build(|i| el::<u16>(b, if i < 4 { field(n, i) } else { i }))
        }),
        M::Pshufhw | M::Vpshufhw => OneImm(|b, n| {
            build(|i| el::<u16>(b, if i < 4 { i } else { 4 + field(n, i - 4) }))
        }),
        M::Shufps | M::Vshufps => TwoImm(|a, b, n| {
            build(|i| el::<u32>(if i < 2 { a } else { b }, field(n, i)))
        }),
        M::Shufpd | M::Vshufpd => Special(shufpd),
        M::Pshufb | M::Vpshufb => if width == Width::Mmx {
            Two(|a, b| shuffle_bytes(a, b, 7))
        } else {
            Two(|a, b| shuffle_bytes(a, b, 15))
        },
        M::Palignr | M::Vpalignr => if width == Width::Mmx {
            TwoImm(|a, b, n| (a << 64 | b).checked_shr(u32::from(n) * 8).unwrap_or(0))
        } else {
            TwoImm(align_right)
        },
        M::Movsldup | M::Vmovsldup => One(|b| build(|i| el::<u32>(b, i & !1))),
        M::Movshdup | M::Vmovshdup => One(|b| build(|i| el::<u32>(b, i | 1))),
        M::Movddup | M::Vmovddup => One(|b| build(|_| el::<u64>(b, 0))),
        M::Blendps | M::Vblendps | M::Vpblendd => Special(|c| blend_immediate::<u32>(c, 4)),
        M::Blendpd | M::Vblendpd => Special(|c| blend_immediate::<u64>(c, 2)),
        M::Pblendw | M::Vpblendw => TwoImm(|a, b, n| {
            build(|i| el::<u16>(if n >> i & 1 != 0 { b } else { a }, i))
        }),
        M::Pblendvb | M::Vpblendvb => Blend(select::<u8>),
        M::Blendvps | M::Vblendvps => Blend(select::<u32>),
        M::Blendvpd | M::Vblendvpd => Blend(select::<u64>),
        M::Insertps | M::Vinsertps => Special(insertps),
        M::Extractps | M::Vextractps => Special(|c| extract::<u32>(c, 4)),
        M::Pinsrb | M::Vpinsrb => Special(insert::<u8>),
        M::Pinsrw | M::Vpinsrw => if width == Width::Mmx {
            Special(|c| { let r = with(c.a(), usize::from(c.o.imm & 3), c.b_gpr() as u16); c.put(r) })
        } else {
            Special(insert::<u16>)
        },
        M::Pinsrd | M::Vpinsrd => Special(insert::<u32>),
        M::Pinsrq | M::Vpinsrq => Special(insert::<u64>),
        M::Pextrb | M::Vpextrb => Special(|c| extract::<u8>(c, 1)),
        M::Pextrw | M::Vpextrw => if width == Width::Mmx {
            Special(|c| c.put_gpr(u64::from(el::<u16>(c.b(), usize::from(c.o.imm & 3))), 2))
        } else {
            Special(|c| extract::<u16>(c, 2))
        },
        M::Pextrd | M::Vpextrd => Special(|c| extract::<u32>(c, 4)),
        M::Pextrq | M::Vpextrq => Special(|c| extract::<u64>(c, 8)),
        _ => return None,
    })
}

#[rustfmt::skip]
fn extend(m: M) -> Option<Run> {
    Some(match m {
        M::Pmovsxbw | M::Vpmovsxbw => Widen(|b| build(|i| i16::from(el::<i8>(b, i))), 2),
        M::Pmovsxbd | M::Vpmovsxbd => Widen(|b| build(|i| i32::from(el::<i8>(b, i))), 4),
        M::Pmovsxbq | M::Vpmovsxbq => Widen(|b| build(|i| i64::from(el::<i8>(b, i))), 8),
        M::Pmovsxwd | M::Vpmovsxwd => Widen(|b| build(|i| i32::from(el::<i16>(b, i))), 2),
        M::Pmovsxwq | M::Vpmovsxwq => Widen(|b| build(|i| i64::from(el::<i16>(b, i))), 4),
        M::Pmovsxdq | M::Vpmovsxdq => Widen(|b| build(|i| i64::from(el::<i32>(b, i))), 2),
        M::Pmovzxbw | M::Vpmovzxbw => Widen(|b| build(|i| u16::from(el::<u8>(b, i))), 2),
        M::Pmovzxbd | M::Vpmovzxbd => Widen(|b| build(|i| u32::from(el::<u8>(b, i))), 4),
        M::Pmovzxbq | M::Vpmovzxbq => Widen(|b| build(|i| u64::from(el::<u8>(b, i))), 8),
        M::Pmovzxwd | M::Vpmovzxwd => Widen(|b| build(|i| u32::from(el::<u16>(b, i))), 2),
        M::Pmovzxwq | M::Vpmovzxwq => Widen(|b| build(|i| u64::from(el::<u16>(b, i))), 4),
        M::Pmovzxdq | M::Vpmovzxdq => Widen(|b| build(|i| u64::from(el::<u32>(b, i))), 2),
        _ => return None,
    })
}

/// AVX: broadcasts and permutations across 128-bit lanes.
fn wide(m: M) -> Option<Run> {
    Some(match m {
        M::Vbroadcastss | M::Vpbroadcastd => Special(broadcast::<u32>),
        M::Vbroadcastsd | M::Vpbroadcastq => Special(broadcast::<u64>),
        M::Vpbroadcastb => Special(broadcast::<u8>),
        M::Vpbroadcastw => Special(broadcast::<u16>),
        M::Vbroadcastf128 | M::Vbroadcasti128 => Special(|c| {
            let b = c.b();
            c.put_wide(b, b)
        }),
        M::Vextractf128 | M::Vextracti128 => Special(|c| {
            let r = if c.o.imm & 1 != 0 { c.b_upper() } else { c.b() };
            c.put_or_store(r, 16)
        }),
        M::Vinsertf128 | M::Vinserti128 => Special(|c| {
            let (low, high, b) = (c.a(), c.a_upper(), c.b());
            if c.o.imm & 1 != 0 {
                c.put_wide(low, b)
            } else {
                c.put_wide(b, high)
            }
        }),
        M::Vperm2f128 | M::Vperm2i128 => Special(|c| {
            let from = [c.a(), c.a_upper(), c.b(), c.b_upper()];
            let pick = |n: u8| {
                if n & 8 != 0 {
                    0
                } else {
                    from[usize::from(n & 3)]
                }
            };
            let (low, high) = (pick(c.o.imm), pick(c.o.imm >> 4));
            c.put_wide(low, high)
        }),
        M::Vpermq | M::Vpermpd => Special(|c| {
            let from = [c.b(), c.b_upper()];
            let n = c.o.imm;
            let pick = |i| {
                let k = field(n, i);
                el::<u64>(from[k >> 1], k & 1)
            };
            c.put_wide(build(pick), build(|i| pick(i + 2)))
        }),
        M::Vpermd | M::Vpermps => Special(|c| {
            let from = [c.b(), c.b_upper()];
            let pick = |k: u32| el::<u32>(from[(k >> 2 & 1) as usize], (k & 3) as usize);
            let (low, high) = (map1(c.a(), pick), map1(c.a_upper(), pick));
            c.put_wide(low, high)
        }),
        M::Vpermilps => Special(|c| {
            if c.form.immediate {
                let n = c.o.imm;
                c.one(|b| build(|i| el::<u32>(b, field(n, i))))
            } else {
                c.two(|a, b| build(|i| el::<u32>(a, (el::<u32>(b, i) & 3) as usize)))
            }
        }),
        M::Vpermilpd => Special(vpermilpd),
        _ => return None,
    })
}

/// Two-bit field `i` of an immediate.
fn field(n: u8, i: usize) -> usize {
    usize::from(n >> (2 * (i & 3)) & 3)
}

fn pack<W: Lane, N: Lane>(a: u128, b: u128, f: impl Fn(W) -> N) -> u128 {
    let half = 64 / N::BITS as usize;
    build(|i| f(el(if i < half { a } else { b }, i)))
}

/// Elements of the low halves, by turns.
fn interleave<L: Lane>(a: u128, b: u128) -> u128 {
    build(|i| el::<L>(if i & 1 == 0 { a } else { b }, i / 2))
}

fn shuffle_bytes(a: u128, b: u128, mask: u8) -> u128 {
    map1(b, |x: u8| {
        if x & 0x80 != 0 {
            0
        } else {
            el::<u8>(a, usize::from(x & mask))
        }
    })
}

fn align_right(a: u128, b: u128, n: u8) -> u128 {
    let bits = u32::from(n) * 8;
    match n {
        0 => b,
        1..=15 => b >> bits | a << (128 - bits),
        _ => a.checked_shr(bits - 128).unwrap_or(0),
    }
}

/// The upper lane goes by the bits of the immediate above those of the lower.
fn shufpd(c: &mut Cx) -> Outcome {
    let n = c.o.imm;
    let f = |a, b, n: u8| {
        u128::from(el::<u64>(a, usize::from(n & 1)))
            | u128::from(el::<u64>(b, usize::from(n >> 1 & 1))) << 64
    };
    let (low, high) = (f(c.a(), c.b(), n), f(c.a_upper(), c.b_upper(), n >> 2));
    c.put_wide(low, high)
}

fn vpermilpd(c: &mut Cx) -> Outcome {
    if !c.form.immediate {
        return c.two(|a, b| build(|i| el::<u64>(a, (el::<u64>(b, i) >> 1 & 1) as usize)));
    }
    let n = usize::from(c.o.imm);
    let (b, upper) = (c.b(), c.b_upper());
    c.put_wide(
        build(|i| el::<u64>(b, n >> i & 1)),
        build(|i| el::<u64>(upper, n >> (i + 2) & 1)),
    )
}

fn blend_immediate<L: Lane>(c: &mut Cx, lanes: u32) -> Outcome {
    let n = c.o.imm;
    let f = |a, b, n: u8| build(|i| el::<L>(if n >> i & 1 != 0 { b } else { a }, i));
    let low = f(c.a(), c.b(), n);
    let high = f(c.a_upper(), c.b_upper(), n >> lanes);
    c.put_wide(low, high)
}

fn insertps(c: &mut Cx) -> Outcome {
    let n = c.o.imm;
    // A memory operand has only one element.
    let from = match c.o.src {
        Src::Mem(_) => 0,
        _ => usize::from(n >> 6),
    };
    let r = with(c.a(), usize::from(n >> 4 & 3), el::<u32>(c.b(), from));
    c.put(build(|i| if n >> i & 1 != 0 { 0 } else { el::<u32>(r, i) }))
}

fn insert<L: Lane>(c: &mut Cx) -> Outcome {
    let r = with(c.a(), usize::from(c.o.imm), L::low(c.b_gpr().into()));
    c.put(r)
}

fn extract<L: Lane>(c: &mut Cx, size: u8) -> Outcome {
    let x = el::<L>(c.b(), usize::from(c.o.imm)).wide() as u64;
    c.put_gpr(x, size)
}

fn broadcast<L: Lane>(c: &mut Cx) -> Outcome {
    let x = el::<L>(c.b(), 0);
    let r = build(|_| x);
    c.put_wide(r, r)
}

//! Moves, masks of sign bits, and the control registers. SDM volume 1 §10.4.1.1, §10.4.6, §11.4.1.1 and §11.4.2.
use iced_x86::{Code, Mnemonic as M};

use super::form::Run::{self, Special};
use super::form::Width;
use super::lanes::{Lane, el, with};
use super::{Cx, Effect, MEMORY, MXCSR_MASK, Outcome, Src, Trap};

/// The operation of a form of this file.
#[rustfmt::skip]
pub(super) fn run(code: Code) -> Option<Run> {
    use Code as C;
    Some(match code.mnemonic() {
        M::Movups | M::Movupd | M::Movaps | M::Movapd | M::Movdqa | M::Movdqu | M::Lddqu | M::Movntdqa
        | M::Movntps | M::Movntpd | M::Movntdq | M::Movntq
        | M::Vmovups | M::Vmovupd | M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovdqu | M::Vlddqu | M::Vmovntdqa
        | M::Vmovntps | M::Vmovntpd | M::Vmovntdq => Special(copy),
        M::Movss | M::Vmovss => Special(scalar::<u32>),
        M::Movsd | M::Vmovsd => Special(scalar::<u64>),
        M::Movhlps | M::Vmovhlps => Special(|c| { let r = with(c.a(), 0, el::<u64>(c.b(), 1)); c.put(r) }),
        M::Movlhps | M::Vmovlhps => Special(|c| { let r = with(c.a(), 1, el::<u64>(c.b(), 0)); c.put(r) }),
        M::Movlps | M::Movlpd | M::Vmovlps | M::Vmovlpd => Special(|c| half(c, 0)),
        M::Movhps | M::Movhpd | M::Vmovhps | M::Vmovhpd => Special(|c| half(c, 1)),
        M::Movmskps | M::Vmovmskps => Special(sign_mask::<u32>),
        M::Movmskpd | M::Vmovmskpd => Special(sign_mask::<u64>),
        M::Pmovmskb | M::Vpmovmskb => Special(sign_mask::<u8>),
        M::Movq2dq => Special(|c| { let x = c.b_mm(); c.put_xmm(x.into()) }),
        M::Movdq2q => Special(|c| { let x = c.b_xmm(); c.put(x) }),
        M::Maskmovq | M::Maskmovdqu | M::Vmaskmovdqu => Special(masked_bytes),
        M::Vmaskmovps | M::Vpmaskmovd => Special(masked::<u32>),
        M::Vmaskmovpd | M::Vpmaskmovq => Special(masked::<u64>),
        M::Ldmxcsr | M::Vldmxcsr => Special(load_mxcsr),
        M::Stmxcsr | M::Vstmxcsr => Special(|c| Ok(Effect::Store([c.v.mxcsr.into(), 0, 0, 0], 4))),
        M::Emms => Special(|c| { c.v.x87.check_pending()?; c.v.x87.emms(); Ok(Effect::None) }),
        M::Ptest | M::Vptest => Special(|c| test(c, !0)),
        M::Vtestps => Special(|c| test(c, 0x8000_0000_8000_0000_8000_0000_8000_0000)),
        M::Vtestpd => Special(|c| test(c, 1 << 127 | 1 << 63)),
        M::Vzeroupper => Special(|c| zero(c, false)),
        M::Vzeroall => Special(|c| zero(c, true)),
        _ => match code {
            C::Movd_mm_rm32 | C::Movd_xmm_rm32 | C::VEX_Vmovd_xmm_rm32 => Special(|c| { let x = c.b_gpr() as u32; c.put(x.into()) }),
            C::Movq_mm_rm64 | C::Movq_xmm_rm64 | C::VEX_Vmovq_xmm_rm64 => Special(|c| { let x = c.b_gpr(); c.put(x.into()) }),
            C::Movd_rm32_mm | C::Movd_rm32_xmm | C::VEX_Vmovd_rm32_xmm => Special(|c| c.put_gpr(el::<u32>(c.b(), 0).into(), 4)),
            C::Movq_rm64_mm | C::Movq_rm64_xmm | C::VEX_Vmovq_rm64_xmm => Special(|c| c.put_gpr(el(c.b(), 0), 8)),
            C::Movq_xmm_xmmm64 | C::Movq_xmmm64_xmm | C::Movq_mm_mmm64 | C::Movq_mmm64_mm
            | C::VEX_Vmovq_xmm_xmmm64 | C::VEX_Vmovq_xmmm64_xmm => Special(|c| {
                let x = el::<u64>(c.b(), 0);
                c.put_or_store(x.into(), 8)
            }),
            _ => return None,
        },
    })
}

impl Cx<'_> {
    /// A result of at most 128 bits to the first operand.
    pub(super) fn put_or_store(&mut self, value: u128, size: u8) -> Outcome {
        if self.o.dst == MEMORY {
            Ok(Effect::Store(
                [value as u64, (value >> 64) as u64, 0, 0],
                size,
            ))
        } else {
            self.put(value)
        }
    }
}

fn copy(c: &mut Cx) -> Outcome {
    let (low, high) = (c.b(), c.b_upper());
    if c.o.dst != MEMORY {
        return c.put_wide(low, high);
    }
    let (low, high) = (low as u64, (low >> 64) as u64);
    Ok(match c.form.width {
        Width::Mmx => Effect::Store([low, 0, 0, 0], 8),
        Width::Xmm => Effect::Store([low, high, 0, 0], 16),
        Width::Ymm => {
            let upper = c.b_upper();
            Effect::Store([low, high, upper as u64, (upper >> 64) as u64], 32)
        }
    })
}

/// Between registers the other elements stay; a load clears them.
fn scalar<L: Lane>(c: &mut Cx) -> Outcome {
    let x = el::<L>(c.b(), 0);
    match c.o.src {
        _ if c.o.dst == MEMORY => c.put_or_store(x.wide(), (L::BITS / 8) as u8),
        Src::Reg(_) => {
            let r = with(c.a(), 0, x);
            c.put(r)
        }
        _ => c.put(x.wide()),
    }
}

/// Loads or stores quadword `i`.
fn half(c: &mut Cx, i: usize) -> Outcome {
    if c.o.dst == MEMORY {
        return Ok(Effect::Store([el(c.b(), i), 0, 0, 0], 8));
    }
    let r = with(c.a(), i, el::<u64>(c.b(), 0));
    c.put(r)
}

pub(super) fn signs<L: Lane>(v: u128) -> u64 {
    (0..128 / L::BITS).fold(0, |r, i| {
        r | ((v >> (i * L::BITS + L::BITS - 1) & 1) as u64 * (1 << i))
    })
}

fn sign_mask<L: Lane>(c: &mut Cx) -> Outcome {
    let low = signs::<L>(c.b());
    Ok(Effect::Gpr(match c.form.width {
        Width::Ymm => low | signs::<L>(c.b_upper()) << (128 / L::BITS),
        _ => low,
    }))
}

/// Stores the bytes whose mask byte has its top bit set.
fn masked_bytes(c: &mut Cx) -> Outcome {
    let (data, mask) = match c.form.width {
        Width::Mmx => (c.v.x87.mm(c.o.src2).into(), c.b()),
        _ => (c.v.xmm(c.o.src2), c.b()),
    };
    let data = [data as u64, (data >> 64) as u64, 0, 0];
    Ok(Effect::MaskedStore(data, signs::<u8>(mask) as u32))
}

/// Loads or stores the elements whose mask element has its top bit set; others load as zero.
fn masked<L: Lane>(c: &mut Cx) -> Outcome {
    let (mask, upper_mask) = (c.a(), c.a_upper());
    let (low, high) = (c.b(), c.b_upper());
    if c.o.dst != MEMORY {
        let pick = super::lanes::select::<L>;
        return c.put_wide(pick(0, low, mask), pick(0, high, upper_mask));
    }
    let n = L::BITS / 8;
    let lane = |m: u128| {
        (0..16).fold(0_u32, |r, i| {
            let top = (i / n + 1) * L::BITS - 1;
            r | ((m >> top & 1) as u32) << i
        })
    };
    let mut bytes = lane(mask);
    if c.is_wide() {
        bytes |= lane(upper_mask) << 16;
    }
    let data = [
        low as u64,
        (low >> 64) as u64,
        high as u64,
        (high >> 64) as u64,
    ];
    Ok(Effect::MaskedStore(data, bytes))
}

fn load_mxcsr(c: &mut Cx) -> Outcome {
    let value = c.b() as u32;
    if value & !MXCSR_MASK != 0 {
        return Err(Trap::GeneralProtection);
    }
    c.v.mxcsr = value;
    Ok(Effect::None)
}

/// ZF: no common bit of `bits`. CF: all of the source's are in the destination.
fn test(c: &mut Cx, bits: u128) -> Outcome {
    let (a, b) = (c.dst() & bits, c.b() & bits);
    let (mut both, mut rest) = (a & b, !a & b);
    if c.is_wide() {
        let (a, b) = (c.v.upper(c.o.dst) & bits, c.b_upper() & bits);
        both |= a & b;
        rest |= !a & b;
    }
    let zf = if both == 0 { 0x40 } else { 0 };
    Ok(Effect::Flags(zf | u64::from(rest == 0)))
}

fn zero(c: &mut Cx, all: bool) -> Outcome {
    for n in 0..16 {
        c.v.set_upper(n, 0);
        if all {
            c.v.set_xmm(n, 0);
        }
    }
    Ok(Effect::None)
}

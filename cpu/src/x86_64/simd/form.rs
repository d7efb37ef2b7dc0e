//! What is known of every instruction form before it runs.
use std::sync::LazyLock;

use iced_x86::{Code, EncodingKind, Mnemonic, OpCodeInfo, OpCodeOperandKind as Kind};

use super::{Cx, Memory, Operands, Outcome};
use super::{aes, arithmetic, convert, integer, moves, sha, shuffle, strings};
use crate::x86_64::x87::{self, X87};

/// Registers that a form works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Mmx,
    Xmm,
    Ymm,
}

/// The operation of a form, by the shape of its operands. Functions see one 128-bit lane.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// dst = f(a, b).
    Two(fn(u128, u128) -> u128),
    /// dst = f(a, b) where each operand's results fill one half.
    Pack(fn(u128, u128) -> u128),
    /// dst = f(a, b) of the high halves, given as low ones.
    High(fn(u128, u128) -> u128),
    /// dst = f(a, b, imm).
    TwoImm(fn(u128, u128, u8) -> u128),
    /// dst = f(b).
    One(fn(u128) -> u128),
    /// dst = f(b, imm).
    OneImm(fn(u128, u8) -> u128),
    /// dst = f(a, count).
    Shift(fn(u128, u64) -> u128),
    /// dst = f(a, b, mask).
    Blend(fn(u128, u128, u128) -> u128),
    /// dst = f(low part of b), where the part is the given fraction of the result.
    Widen(fn(u128) -> u128, u32),
    /// All else.
    Special(fn(&mut Cx) -> Outcome),
    /// x87.
    X87(fn(&mut X87, &Operands) -> Outcome),
}

/// What [`of`] knows of a form.
pub(super) struct Form {
    pub run: Run,
    pub width: Width,
    /// VEX-encoded: bits above the result are cleared.
    pub vex: bool,
    /// The first source is the middle operand.
    pub three: bool,
    /// The last operand is an immediate byte.
    pub immediate: bool,
    /// An operand is an MMX register.
    pub mmx: bool,
    /// 64-bit general register or integer operand.
    pub quad: bool,
    pub memory: Option<Memory>,
}

static FORMS: LazyLock<Vec<Option<Form>>> = LazyLock::new(|| Code::values().map(build).collect());

/// The form of a code, if this module runs it.
pub(super) fn of(code: Code) -> Option<&'static Form> {
    FORMS.get(code as usize).and_then(Option::as_ref)
}

fn build(code: Code) -> Option<Form> {
    let info = code.op_code();
    let vex = match info.encoding() {
        EncodingKind::Legacy => false,
        EncodingKind::VEX => true,
        _ => return None,
    };
    if !info.mode64() {
        return None;
    }
    let kinds: Vec<Kind> = (0..info.op_count()).map(|i| info.op_kind(i)).collect();
    let width = width(&kinds);
    let m = code.mnemonic();
    let vector = kinds.iter().any(|k| is_mm(*k) || is_xmm(*k) || is_ymm(*k));
    if !vector && !alone(m) && x87::run(code).is_none() {
        return None;
    }
    let run = x87::run(code)
        .map(Run::X87)
        .or_else(|| integer::run(m))
        .or_else(|| shuffle::run(m, width))
        .or_else(|| moves::run(code))
        .or_else(|| arithmetic::run(m))
        .or_else(|| convert::run(code))
        .or_else(|| strings::run(m))
        .or_else(|| aes::run(m))
        .or_else(|| sha::run(m))?;
    Some(Form {
        run,
        width,
        vex,
        three: vex && matches!(kinds.get(1), Some(Kind::xmm_vvvv | Kind::ymm_vvvv)),
        immediate: kinds.last() == Some(&Kind::imm8),
        mmx: kinds.iter().any(|k| is_mm(*k)),
        quad: kinds
            .iter()
            .any(|k| matches!(k, Kind::r64_reg | Kind::r64_or_mem | Kind::r64_rm)),
        memory: memory(info, m, &kinds, vex),
    })
}

/// Mnemonics of this module without vector operands; others share their names with string instructions.
fn alone(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Emms | M::Ldmxcsr | M::Stmxcsr | M::Vldmxcsr | M::Vstmxcsr | M::Vzeroupper | M::Vzeroall
    )
}

fn is_mm(k: Kind) -> bool {
    matches!(k, Kind::mm_reg | Kind::mm_rm | Kind::mm_or_mem)
}

fn is_xmm(k: Kind) -> bool {
    matches!(
        k,
        Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_or_mem | Kind::xmm_vvvv | Kind::xmm_is4
    )
}

fn is_ymm(k: Kind) -> bool {
    matches!(
        k,
        Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_or_mem | Kind::ymm_vvvv | Kind::ymm_is4
    )
}

fn width(kinds: &[Kind]) -> Width {
    if kinds.iter().any(|k| is_ymm(*k)) {
        return Width::Ymm;
    }
    let vector = kinds.iter().find(|k| is_mm(**k) || is_xmm(**k));
    match vector {
        Some(k) if is_mm(*k) => Width::Mmx,
        _ => Width::Xmm,
    }
}

fn memory(info: &OpCodeInfo, m: Mnemonic, kinds: &[Kind], vex: bool) -> Option<Memory> {
    use Mnemonic as M;
    let at = kinds.iter().position(|k| {
        matches!(
            k,
            Kind::mem
                | Kind::xmm_or_mem
                | Kind::ymm_or_mem
                | Kind::mm_or_mem
                | Kind::r32_or_mem
                | Kind::r64_or_mem
                | Kind::seg_rDI
        )
    })?;
    let size = u16::try_from(info.memory_size().size()).ok()?;
    let stores = at == 0 && !matches!(m, M::Ldmxcsr | M::Vldmxcsr) && !x87::loads(m);
    let aligned = if vex {
        matches!(
            m,
            M::Vmovaps
                | M::Vmovapd
                | M::Vmovdqa
                | M::Vmovntps
                | M::Vmovntpd
                | M::Vmovntdq
                | M::Vmovntdqa
        )
    } else {
        let free = matches!(
            m,
            M::Movups | M::Movupd | M::Movdqu | M::Lddqu | M::Maskmovdqu
        );
        size == 16 && !free && !strings::is_string(m)
    };
    Some(Memory {
        load: if stores { 0 } else { size },
        store: if stores { size } else { 0 },
        align: if aligned { size as u8 } else { 1 },
    })
}

//! Which function runs which form.
use iced_x86::{Code, Mnemonic as M};

use super::arithmetic as a;
use super::transcendental as t;
use super::{Outcome, X87, compare, control, remainder, transfer};
use crate::x86_64::simd::Operands;

/// The operation of an x87 form. FNSAVE, FRSTOR, FXSAVE and FXRSTOR are the caller's, by the functions on images.
#[rustfmt::skip]
pub(in crate::x86_64) fn run(code: Code) -> Option<fn(&mut X87, &Operands) -> Outcome> {
    let m = code.mnemonic();
    Some(match m {
        M::Fadd | M::Faddp | M::Fiadd | M::Fsub | M::Fsubp | M::Fisub | M::Fsubr | M::Fsubrp | M::Fisubr
        | M::Fmul | M::Fmulp | M::Fimul | M::Fdiv | M::Fdivp | M::Fidiv | M::Fdivr | M::Fdivrp | M::Fidivr => a::binary,
        M::Fsqrt => a::square_root,
        M::Frndint => a::round_to_integer,
        M::Fscale => a::scale,
        M::Fxtract => a::extract,
        M::Fabs => |x, _| a::sign(x, |h| h & 0x7fff),
        M::Fchs => |x, _| a::sign(x, |h| h ^ 0x8000),
        M::Fprem => |x, _| remainder::remainder(x, false),
        M::Fprem1 => |x, _| remainder::remainder(x, true),
        M::Fcom | M::Fcomp | M::Fcompp | M::Ficom | M::Ficomp | M::Fucom | M::Fucomp | M::Fucompp => compare::compare,
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => compare::compare_flags,
        M::Ftst => compare::test,
        M::Fxam => compare::examine,
        M::Fld => transfer::load,
        M::Fild => transfer::load_integer,
        M::Fbld => transfer::load_decimal,
        M::Fst | M::Fstp | M::Fstpnce => transfer::store,
        M::Fist | M::Fistp | M::Fisttp => transfer::store_integer,
        M::Fbstp => transfer::store_decimal,
        M::Fxch => transfer::exchange,
        M::Fcmovb | M::Fcmove | M::Fcmovbe | M::Fcmovu | M::Fcmovnb | M::Fcmovne | M::Fcmovnbe | M::Fcmovnu => transfer::conditional,
        M::Fld1 | M::Fldz | M::Fldpi | M::Fldl2t | M::Fldl2e | M::Fldlg2 | M::Fldln2 => transfer::constant,
        M::Ffree | M::Ffreep => control::free,
        M::Fincstp => |x, _| control::rotate(x, 1),
        M::Fdecstp => |x, _| control::rotate(x, 7),
        M::Fnop | M::Wait => |x, _| control::wait(x),
        M::Fneni | M::Fndisi | M::Fnsetpm => control::ignore,
        M::Feni | M::Fdisi | M::Fsetpm => |x, _| control::wait(x),
        M::Fldcw => control::load_control,
        M::Fnstcw | M::Fstcw => control::store_control,
        M::Fnstsw | M::Fstsw => control::store_status,
        M::Fnclex | M::Fclex => control::clear,
        M::Fninit | M::Finit => control::initialize,
        M::Fnstenv | M::Fstenv => control::store_environment,
        M::Fldenv => control::load_environment,
        M::F2xm1 => t::exponential,
        M::Fyl2x => t::logarithm,
        M::Fyl2xp1 => t::logarithm_plus_1,
        M::Fsin => t::sine,
        M::Fcos => t::cosine,
        M::Fsincos => t::sine_and_cosine,
        M::Fptan => t::tangent,
        M::Fpatan => t::arctangent,
        _ => return None,
    })
}

/// Whether the memory operand of a mnemonic, its only one, is loaded rather than stored.
pub(in crate::x86_64) fn loads(m: M) -> bool {
    matches!(
        m,
        M::Fadd
            | M::Fiadd
            | M::Fsub
            | M::Fisub
            | M::Fsubr
            | M::Fisubr
            | M::Fmul
            | M::Fimul
            | M::Fdiv
            | M::Fidiv
            | M::Fdivr
            | M::Fidivr
            | M::Fcom
            | M::Fcomp
            | M::Ficom
            | M::Ficomp
            | M::Fld
            | M::Fild
            | M::Fbld
            | M::Fldcw
            | M::Fldenv
    )
}

//! Fused multiply-add. SDM volume 1 §14.5.
use iced_x86::Mnemonic as M;

use super::arithmetic::Float;
use super::env::Env;
use super::form::Run::{self, Special};
use super::lanes::{build, el, with};
use super::{Cx, Outcome};

/// Which operands are multiplied: 132 is first * third + second.
#[derive(Clone, Copy)]
enum Order {
    O132,
    O213,
    O231,
}

/// Signs of product and addend by element number; the flag tells odd elements.
type Signs = fn(bool) -> (bool, bool);

macro_rules! forms {
    ($m:ident, $signs:expr, $($order:ident $ps:ident $pd:ident $($ss:ident $sd:ident)?;)*) => {
        match $m {
            $(M::$ps => return Some(Special(|c| packed::<u32>(c, Order::$order, $signs))),
            M::$pd => return Some(Special(|c| packed::<u64>(c, Order::$order, $signs))),
            $(M::$ss => return Some(Special(|c| scalar::<u32>(c, Order::$order, $signs))),
            M::$sd => return Some(Special(|c| scalar::<u64>(c, Order::$order, $signs))),)?)*
            _ => (),
        }
    };
}

/// The operation of a mnemonic of this file.
#[rustfmt::skip]
pub(super) fn run(m: M) -> Option<Run> {
    forms!(m, |_| (false, false),
        O132 Vfmadd132ps Vfmadd132pd Vfmadd132ss Vfmadd132sd;
        O213 Vfmadd213ps Vfmadd213pd Vfmadd213ss Vfmadd213sd;
        O231 Vfmadd231ps Vfmadd231pd Vfmadd231ss Vfmadd231sd;);
    forms!(m, |_| (false, true),
        O132 Vfmsub132ps Vfmsub132pd Vfmsub132ss Vfmsub132sd;
        O213 Vfmsub213ps Vfmsub213pd Vfmsub213ss Vfmsub213sd;
        O231 Vfmsub231ps Vfmsub231pd Vfmsub231ss Vfmsub231sd;);
    forms!(m, |_| (true, false),
        O132 Vfnmadd132ps Vfnmadd132pd Vfnmadd132ss Vfnmadd132sd;
        O213 Vfnmadd213ps Vfnmadd213pd Vfnmadd213ss Vfnmadd213sd;
        O231 Vfnmadd231ps Vfnmadd231pd Vfnmadd231ss Vfnmadd231sd;);
    forms!(m, |_| (true, true),
        O132 Vfnmsub132ps Vfnmsub132pd Vfnmsub132ss Vfnmsub132sd;
        O213 Vfnmsub213ps Vfnmsub213pd Vfnmsub213ss Vfnmsub213sd;
        O231 Vfnmsub231ps Vfnmsub231pd Vfnmsub231ss Vfnmsub231sd;);
    forms!(m, |odd| (false, !odd),
        O132 Vfmaddsub132ps Vfmaddsub132pd;
        O213 Vfmaddsub213ps Vfmaddsub213pd;
        O231 Vfmaddsub231ps Vfmaddsub231pd;);
    forms!(m, |odd| (false, odd),
        O132 Vfmsubadd132ps Vfmsubadd132pd;
        O213 Vfmsubadd213ps Vfmsubadd213pd;
        O231 Vfmsubadd231ps Vfmsubadd231pd;);
    None
}

fn element<F: Float>(e: &mut Env, order: Order, [x, y, z]: [u128; 3], i: usize, s: Signs) -> u64 {
    let [x, y, z] = [x, y, z].map(|v| el::<F>(v, i).bits());
    // The factors, the addend, and the operands of the sum in the order in which NaNs count.
    let (operands, nans) = match order {
        Order::O132 => ([x, z, y], [0, 1, 2]),
        Order::O213 => ([y, x, z], [0, 1, 2]),
        Order::O231 => ([y, z, x], [0, 1, 2]),
    };
    e.multiply_add(F::FORMAT, operands, nans, s(i & 1 == 1))
}

fn packed<F: Float>(c: &mut Cx, order: Order, signs: Signs) -> Outcome {
    let mut e = Env::new(c.v);
    let mut lane = |v: [u128; 3]| build(|i| F::of(element::<F>(&mut e, order, v, i, signs)));
    let low = lane([c.dst(), c.a(), c.b()]);
    let high = if c.is_wide() {
        lane([c.v.upper(c.o.dst), c.a_upper(), c.b_upper()])
    } else {
        0
    };
    e.finish(c.v)?;
    c.put_wide(low, high)
}

fn scalar<F: Float>(c: &mut Cx, order: Order, signs: Signs) -> Outcome {
    let mut e = Env::new(c.v);
    let dst = c.dst();
    let x = element::<F>(&mut e, order, [dst, c.a(), c.b()], 0, signs);
    e.finish(c.v)?;
    c.put(with(dst, 0, F::of(x)))
}

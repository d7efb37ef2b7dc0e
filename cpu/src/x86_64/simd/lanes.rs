//! Elements of a 128-bit register; number 0 is the least significant one.

/// An element type.
pub(super) trait Lane: Copy {
    /// Width in bits.
    const BITS: u32;
    /// The element in the least significant bits.
    fn low(v: u128) -> Self;
    /// The element zero-extended.
    fn wide(self) -> u128;
}

macro_rules! lane {
    ($($t:ty: $u:ty),*) => {$(
        impl Lane for $t {
            const BITS: u32 = <$t>::BITS;
            fn low(v: u128) -> Self { v as $t }
            fn wide(self) -> u128 { self as $u as u128 }
        }
    )*};
}
lane!(u8: u8, i8: u8, u16: u16, i16: u16, u32: u32, i32: u32, u64: u64, i64: u64);

/// Element `i`, modulo the number of elements.
pub(super) fn el<L: Lane>(v: u128, i: usize) -> L {
    let n = 128 / L::BITS as usize;
    L::low(v >> ((i % n) as u32 * L::BITS))
}

/// `v` with element `i`, modulo the number of elements, replaced.
pub(super) fn with<L: Lane>(v: u128, i: usize, x: L) -> u128 {
    let n = 128 / L::BITS as usize;
    let shift = (i % n) as u32 * L::BITS;
    let mask = L::low(u128::MAX).wide();
    v & !(mask << shift) | x.wide() << shift
}

/// Builds a vector from the function of the element number.
pub(super) fn build<L: Lane>(mut f: impl FnMut(usize) -> L) -> u128 {
    let mut out = 0;
    for i in 0..128 / L::BITS {
        out |= f(i as usize).wide() << (i * L::BITS);
    }
    out
}

/// f by element.
pub(super) fn map1<A: Lane, R: Lane>(a: u128, f: impl Fn(A) -> R) -> u128 {
    build(|i| f(el(a, i)))
}

/// f by pairs of elements.
pub(super) fn map2<A: Lane, R: Lane>(a: u128, b: u128, f: impl Fn(A, A) -> R) -> u128 {
    build(|i| f(el(a, i), el(b, i)))
}

/// All ones where `f` holds.
pub(super) fn compare<A: Lane>(a: u128, b: u128, f: impl Fn(A, A) -> bool) -> u128 {
    build(|i| A::low(if f(el(a, i), el(b, i)) { u128::MAX } else { 0 }))
}

/// Elements from `a`, or from `b` where the most significant bit of the mask's element is set.
pub(super) fn select<A: Lane>(a: u128, b: u128, mask: u128) -> u128 {
    build(|i| {
        let top = el::<A>(mask, i).wide() >> (A::BITS - 1) & 1 != 0;
        el::<A>(if top { b } else { a }, i)
    })
}

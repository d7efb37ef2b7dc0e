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
            #[inline(always)]
            fn low(v: u128) -> Self { v as $t }
            #[inline(always)]
            fn wide(self) -> u128 { self as $u as u128 }
        }
    )*};
}
lane!(u8: u8, i8: u8, u16: u16, i16: u16, u32: u32, i32: u32, u64: u64, i64: u64);

/// Element `i`, modulo the number of elements.
#[inline(always)]
pub(super) fn el<L: Lane>(v: u128, i: usize) -> L {
    let n = 64 / L::BITS as usize;
    let half = if (i / n) & 1 == 0 { v } else { v >> 64 } as u64;
    L::low((half >> ((i % n) as u32 * L::BITS)).into())
}

/// `v` with element `i`, modulo the number of elements, replaced.
#[inline(always)]
pub(super) fn with<L: Lane>(v: u128, i: usize, x: L) -> u128 {
    let n = 128 / L::BITS as usize;
    let shift = (i % n) as u32 * L::BITS;
    let mask = L::low(u128::MAX).wide();
    v & !(mask << shift) | x.wide() << shift
}

/// Builds a vector from the function of the element number.
#[inline(always)]
pub(super) fn build<L: Lane>(mut f: impl FnMut(usize) -> L) -> u128 {
    // By halves: shifts of 64 bits are cheaper than those of 128, and the compiler unrolls loops this short.
    let n = 64 / L::BITS;
    let mut half = |from: u32| {
        let mut out = 0_u64;
        for i in 0..n {
            out |= (f((from + i) as usize).wide() as u64) << (i * L::BITS);
        }
        u128::from(out)
    };
    let low = half(0);
    low | half(n) << 64
}

/// f by element.
#[inline(always)]
pub(super) fn map1<A: Lane, R: Lane>(a: u128, f: impl Fn(A) -> R) -> u128 {
    build(|i| f(el(a, i)))
}

/// f by pairs of elements.
#[inline(always)]
pub(super) fn map2<A: Lane, R: Lane>(a: u128, b: u128, f: impl Fn(A, A) -> R) -> u128 {
    build(|i| f(el(a, i), el(b, i)))
}

/// All ones where `f` holds.
#[inline(always)]
pub(super) fn compare<A: Lane>(a: u128, b: u128, f: impl Fn(A, A) -> bool) -> u128 {
    build(|i| A::low(if f(el(a, i), el(b, i)) { u128::MAX } else { 0 }))
}

/// Elements from `a`, or from `b` where the most significant bit of the mask's element is set.
#[inline(always)]
pub(super) fn select<A: Lane>(a: u128, b: u128, mask: u128) -> u128 {
    build(|i| {
        let top = el::<A>(mask, i).wide() >> (A::BITS - 1) & 1 != 0;
        el::<A>(if top { b } else { a }, i)
    })
}

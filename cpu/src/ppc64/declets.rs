//! Densely packed decimals, ten bits for three digits: the BCD assist instructions. Power ISA 3.0B, Book I §3.3.

/// The twelve bits of digits of a declet.
fn digits(declet: u64) -> u64 {
    let bit = |n: u32| declet >> (9 - n) & 1;
    let [p, q, r, s, t, u, v, w, x, y] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(bit);
    let small = |a: u64, b: u64, c: u64| a << 2 | b << 1 | c;
    let large = |c: u64| 8 | c;
    let (a, b, c) = match (v, w, x, s, t) {
        (0, ..) => (small(p, q, r), small(s, t, u), small(w, x, y)),
        (_, 0, 0, ..) => (small(p, q, r), small(s, t, u), large(y)),
        (_, 0, ..) => (small(p, q, r), large(u), small(s, t, y)),
        (_, _, 0, ..) => (large(r), small(s, t, u), small(p, q, y)),
        (.., 0, 0) => (large(r), large(u), small(p, q, y)),
        (.., 0, _) => (large(r), small(p, q, u), large(y)),
        (.., 0) => (small(p, q, r), large(u), large(y)),
        _ => (large(r), large(u), large(y)),
    };
    a << 8 | b << 4 | c
}

/// The declet of twelve bits of digits.
fn declet(digits: u64) -> u64 {
    let [a, b, c] = [8, 4, 0].map(|shift| digits >> shift & 15);
    // The low bit of each digit stands where it is; the other two bits of small digits fill what is left.
    let (pq, st, vwx) = match (a >> 3, b >> 3, c >> 3) {
        (0, 0, 0) => (a >> 1, b >> 1, c >> 1),
        (0, 0, _) => (a >> 1, b >> 1, 4),
        (0, _, 0) => (a >> 1, c >> 1, 5),
        (_, 0, 0) => (c >> 1, b >> 1, 6),
        (_, _, 0) => (c >> 1, 0, 7),
        (_, 0, _) => (b >> 1, 1, 7),
        (0, _, _) => (a >> 1, 2, 7),
        _ => (0, 3, 7),
    };
    pq << 8 | (a & 1) << 7 | st << 5 | (b & 1) << 4 | vwx << 1 | c & 1
}

/// `cdtbcd`: two declets of each word to six digits.
pub fn to_digits(v: u64) -> u64 {
    let word = |w: u64| digits(w >> 10) << 12 | digits(w);
    word(v >> 32 & 0xf_ffff) << 32 | word(v & 0xf_ffff)
}

/// `cbcdtd`: six digits of each word to two declets.
pub fn to_declets(v: u64) -> u64 {
    let word = |w: u64| declet(w >> 12 & 0xfff) << 10 | declet(w & 0xfff);
    word(v >> 32 & 0xff_ffff) << 32 | word(v & 0xff_ffff)
}

/// `addg6s`: six in each four bits of which the sum carries nothing into the four bits above.
pub fn sixes(a: u64, b: u64) -> u64 {
    (0..16).fold(0, |r, i| {
        let kept = u64::MAX >> (60 - 4 * i);
        let carry = u128::from(a & kept) + u128::from(b & kept) > u128::from(kept);
        if carry { r } else { r | 6 << (4 * i) }
    })
}

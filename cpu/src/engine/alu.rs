//! The rarer operations on registers with the flags of an x86 CPU (Intel SDM vol. 2): [`Op::AluF`](super::uop::Op::AluF).
//!
//! `aux` is a [`Kind`] in bits 0 to 7, the logarithm of the size in bytes in bits 8 and 9, and [`BY_CL`]. The operands are `a` and
//! y = `b` + `imm`; results of 8 and 16 bits replace the low bits of `d`, those of 32 bits clear its upper half.
//!
//! Flags that the manual leaves undefined: shifts by more than one set OF as shifts by one do, what counts bits clears them, BSF and BSR
//! set them by the source, and multiplications by the low half of the product.

use super::flags::{self, AF, CF, Kind as Flags, OF, PF, Regs, SF, ZF};
use super::uop::{R_FLAG_CARRY, R_FLAG_OP, R_FLAG_OPERAND, R_FLAG_RESULT, Reg, Uop};

/// SHLD and SHRD: the count is in register 1, not `imm`.
pub const BY_CL: u32 = 1 << 10;

/// What to do. `x` is a.
#[allow(missing_docs, reason = "the instructions of the same names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    Cmp,
    Test,
    Inc,
    Dec,
    /// Shifts and rotates by the low bits of y.
    Rol,
    Ror,
    Rcl,
    Rcr,
    Shl,
    Shr,
    Sar,
    /// b fills x; the count is `imm` or [`BY_CL`].
    Shld,
    Shrd,
    /// Product of x and y, signed.
    Imul,
    /// Registers 2 and 0 = product of x and y, twice as wide; of 8 bits it is in register 0 alone.
    MulU,
    /// Likewise, signed.
    MulS,
    /// Bit y of x.
    Bt,
    Bts,
    Btr,
    Btc,
    /// Of y. If that is 0, d keeps its value.
    Bsf,
    Bsr,
    /// Of y.
    Tzcnt,
    Lzcnt,
    Popcnt,
    /// Not x, and y.
    Andn,
    /// Of y.
    Blsr,
    Blsmsk,
    Blsi,
    /// Of x, by y.
    Bextr,
    Bzhi,
    Pdep,
    Pext,
    /// Of x.
    Bswap,
    /// x continued by y, whose size is the operation's; the result has 32 bits.
    Crc32,
    Adcx,
    Adox,
    Clc,
    Stc,
    Cmc,
    /// Flags to bits 8 to 15 of d.
    Lahf,
    /// Flags from bits 8 to 15 of x.
    Sahf,
}

/// In the order of their numbers.
const KINDS: [Kind; 49] = {
    use Kind::*;
    [
        Add, Or, Adc, Sbb, And, Sub, Xor, Cmp, Test, Inc, Dec, Rol, Ror, Rcl, Rcr, Shl, Shr, Sar,
        Shld, Shrd, Imul, MulU, MulS, Bt, Bts, Btr, Btc, Bsf, Bsr, Tzcnt, Lzcnt, Popcnt, Andn,
        Blsr, Blsmsk, Blsi, Bextr, Bzhi, Pdep, Pext, Bswap, Crc32, Adcx, Adox, Clc, Stc, Cmc, Lahf,
        Sahf,
    ]
};

impl Kind {
    /// As `aux` has it, with the logarithm of the size in bytes.
    pub const fn at(self, log: u8) -> u32 {
        self as u32 | (log as u32) << 8
    }

    /// From `aux`, with the logarithm.
    pub fn of(aux: u32) -> (Kind, u8) {
        let kind = KINDS.get((aux & 0xff) as usize).copied();
        (kind.unwrap_or(Kind::Test), (aux >> 8 & 3) as u8)
    }

    /// The operation depends on flags, or leaves some of them as they were, perhaps.
    pub fn reads_flags(self) -> bool {
        use Kind::*;
        !matches!(
            self,
            Add | Or
                | And
                | Sub
                | Xor
                | Cmp
                | Test
                | Imul
                | MulU
                | MulS
                | Bsf
                | Bsr
                | Tzcnt
                | Lzcnt
                | Popcnt
                | Andn
                | Blsr
                | Blsmsk
                | Blsi
                | Bextr
                | Bzhi
                | Pdep
                | Pext
                | Bswap
                | Crc32
        )
    }

    /// The operation changes flags, perhaps.
    pub fn writes_flags(self) -> bool {
        !matches!(
            self,
            Kind::Pdep | Kind::Pext | Kind::Bswap | Kind::Crc32 | Kind::Lahf
        )
    }
}

struct Alu<'a> {
    regs: &'a mut Regs,
    log: u8,
    bits: u32,
    d: Reg,
}

impl Alu<'_> {
    fn low(&self, v: u64) -> u64 {
        v & u64::MAX >> (64 - self.bits)
    }

    fn signed(&self, v: u64) -> i64 {
        (v << (64 - self.bits)) as i64 >> (64 - self.bits)
    }

    fn put(&mut self, v: u64) {
        let d = &mut self.regs[self.d as usize];
        *d = match self.log {
            0 => *d & !0xff | v & 0xff,
            1 => *d & !0xffff | v & 0xffff,
            2 => v & 0xffff_ffff,
            _ => v,
        };
    }

    fn lazy(&mut self, kind: Flags, result: u64, operand: u64) {
        self.regs[R_FLAG_OP as usize] = kind.at(self.log);
        self.regs[R_FLAG_RESULT as usize] = result;
        self.regs[R_FLAG_OPERAND as usize] = operand;
    }

    /// d = result, and its flags. What the flags follow from is the whole of d.
    fn set(&mut self, kind: Flags, result: u64, operand: u64) {
        self.put(result);
        self.lazy(kind, self.regs[self.d as usize], operand);
    }

    /// Flags of a result without carry and overflow. The register of operands stays as it is.
    fn logic(&mut self, result: u64) {
        self.regs[R_FLAG_OP as usize] = Flags::Logic.at(self.log);
        self.regs[R_FLAG_RESULT as usize] = result;
    }

    /// d = result of INC or DEC, and its flags; the register of operands stays too.
    fn set_counted(&mut self, kind: Flags, result: u64) {
        self.put(result);
        self.regs[R_FLAG_OP as usize] = kind.at(self.log);
        self.regs[R_FLAG_RESULT as usize] = self.regs[self.d as usize];
    }

    fn set_logic(&mut self, result: u64) {
        self.put(result);
        self.logic(self.regs[self.d as usize]);
    }

    /// Changes the flags of a mask.
    fn change(&mut self, mask: u64, to: u64) {
        let old = flags::arithmetic(self.regs);
        flags::set_arithmetic(self.regs, old & !mask | to & mask);
    }

    /// Sets those of ZF and SF that `mask` has by a result, and `others`.
    fn eager(&mut self, result: u64, mask: u64, others: u64) {
        let f = flags::of_result(self.low(result), self.bits) & mask | others;
        flags::set_arithmetic(self.regs, f);
    }

    fn msb(&self, v: u64) -> u64 {
        v >> (self.bits - 1) & 1
    }

    fn shift(&mut self, kind: Kind, x: u64, y: u64) {
        let n = (y & if self.log == 3 { 63 } else { 31 }) as u32;
        let x = self.low(x);
        if n == 0 {
            return self.put(x);
        }
        let s = self.signed(x);
        let step = |n: u32| match kind {
            Kind::Shl => x << n,
            Kind::Shr => x >> n,
            _ => (s >> n) as u64,
        };
        let (before, result) = (step(n - 1), step(n));
        let kind = if kind == Kind::Shl {
            Flags::Shl
        } else {
            Flags::Shr
        };
        self.set(kind, result, before);
    }

    fn rotate(&mut self, kind: Kind, x: u64, y: u64) {
        let count = (y & if self.log == 3 { 63 } else { 31 }) as u32;
        let x = self.low(x);
        let n = count % self.bits;
        let back = (self.bits - n) % self.bits;
        let (left, right) = if kind == Kind::Rol {
            (n, back)
        } else {
            (back, n)
        };
        let result = if n == 0 {
            x
        } else {
            self.low(x << left | x >> right)
        };
        self.put(result);
        if count == 0 {
            return;
        }
        let (carry, other) = if kind == Kind::Rol {
            (result & 1, self.msb(result))
        } else {
            (self.msb(result), result >> (self.bits - 2) & 1)
        };
        self.carry_and_overflow(carry, carry ^ other);
    }

    fn carry_and_overflow(&mut self, carry: u64, overflow: u64) {
        let overflow = if overflow & 1 != 0 { OF } else { 0 };
        self.change(CF | OF, carry & 1 | overflow);
    }

    fn rotate_through_carry(&mut self, kind: Kind, x: u64, y: u64) {
        let width = self.bits + 1;
        let n = (y & if self.log == 3 { 63 } else { 31 }) as u32 % width;
        let x = self.low(x);
        if n == 0 {
            return self.put(x);
        }
        let wide = u128::from(x) | u128::from(flags::carry(self.regs)) << self.bits;
        let turned = if kind == Kind::Rcl {
            wide << n | wide >> (width - n)
        } else {
            wide >> n | wide << (width - n)
        };
        let result = self.low(turned as u64);
        let carry = (turned >> self.bits) as u64 & 1;
        self.put(result);
        let overflow = if kind == Kind::Rcl {
            self.msb(result) ^ carry
        } else {
            self.msb(result) ^ result >> (self.bits - 2) & 1
        };
        self.carry_and_overflow(carry, overflow);
    }

    fn shift_double(&mut self, kind: Kind, x: u64, fill: u64, count: u64) {
        let n = (count & if self.log == 3 { 63 } else { 31 }) as u32;
        let (x, fill) = (self.low(x), self.low(fill));
        if n == 0 {
            return self.put(x);
        }
        let (before, result) = if kind == Kind::Shld {
            // 16 bits: more than that many shift the operand in again.
            let wide = match self.log {
                1 => u128::from(x) << 32 | u128::from(fill) << 16 | u128::from(x),
                _ => u128::from(x) << self.bits | u128::from(fill),
            };
            let from = if self.log == 1 { 32 } else { self.bits };
            ((wide << (n - 1) >> from) as u64, (wide << n >> from) as u64)
        } else {
            let wide = match self.log {
                1 => u128::from(x) << 32 | u128::from(fill) << 16 | u128::from(x),
                _ => u128::from(fill) << self.bits | u128::from(x),
            };
            ((wide >> (n - 1)) as u64, (wide >> n) as u64)
        };
        let kind = if kind == Kind::Shld {
            Flags::Shl
        } else {
            Flags::Shr
        };
        self.set(kind, result, self.low(before));
    }

    fn multiply(&mut self, kind: Kind, x: u64, y: u64) {
        let (product, lost) = if kind == Kind::MulU {
            let product = u128::from(self.low(x)) * u128::from(self.low(y));
            (product, product >> self.bits != 0)
        } else {
            let product = i128::from(self.signed(x)) * i128::from(self.signed(y));
            let fits = i128::from(self.signed(product as u64)) == product;
            (product as u128, !fits)
        };
        let low = self.low(product as u64);
        if self.log == 0 {
            self.regs[0] = self.regs[0] & !0xffff | product as u64 & 0xffff;
        } else {
            for (d, half) in [(0, low), (2, (product >> self.bits) as u64)] {
                self.d = d;
                self.put(half);
            }
        }
        self.lazy(Flags::Mul, low, u64::from(lost));
    }

    fn bit(&mut self, kind: Kind, x: u64, y: u64) {
        let mask = 1 << (y & u64::from(self.bits - 1));
        let carry = u64::from(x & mask != 0);
        match kind {
            Kind::Bts => self.put(x | mask),
            Kind::Btr => self.put(x & !mask),
            Kind::Btc => self.put(x ^ mask),
            _ => {}
        }
        self.change(CF, carry);
    }

    fn scan(&mut self, kind: Kind, y: u64) {
        let y = self.low(y);
        let zeros = |v: u64| (u64::from(y == 0) * CF) | if v == 0 { ZF } else { 0 };
        match kind {
            Kind::Bsf | Kind::Bsr => {
                self.logic(y);
                if y != 0 {
                    let n = match kind {
                        Kind::Bsf => y.trailing_zeros(),
                        _ => 63 - y.leading_zeros(),
                    };
                    self.put(u64::from(n));
                }
            }
            Kind::Tzcnt => {
                let n = u64::from(y.trailing_zeros().min(self.bits));
                self.put(n);
                flags::set_arithmetic(self.regs, zeros(n));
            }
            Kind::Lzcnt => {
                let n = u64::from(y.leading_zeros() - (64 - self.bits));
                self.put(n);
                flags::set_arithmetic(self.regs, zeros(n));
            }
            _ => {
                self.put(u64::from(y.count_ones()));
                self.eager(y, ZF, 0);
            }
        }
    }

    fn lowest_bit(&mut self, kind: Kind, y: u64) {
        let y = self.low(y);
        let result = match kind {
            Kind::Blsr => y & y.wrapping_sub(1),
            Kind::Blsmsk => y ^ y.wrapping_sub(1),
            _ => y & y.wrapping_neg(),
        };
        self.put(result);
        let carry = u64::from((y == 0) != (kind == Kind::Blsi));
        self.eager(result, ZF | SF, carry);
    }

    fn bit_field(&mut self, kind: Kind, x: u64, y: u64) {
        let x = self.low(x);
        match kind {
            Kind::Bextr => {
                let (start, len) = (y as u32 & 0xff, (y >> 8) as u32 & 0xff);
                let v = x.checked_shr(start).unwrap_or(0);
                let result = v & mask(len);
                self.put(result);
                self.eager(result, ZF, 0);
            }
            Kind::Bzhi => {
                let n = y as u32 & 0xff;
                let result = x & mask(n);
                self.put(result);
                self.eager(result, ZF | SF, u64::from(n >= self.bits));
            }
            Kind::Pdep => {
                let m = self.low(y);
                self.put(deposit(x, m));
            }
            _ => {
                let m = self.low(y);
                self.put(extract(x, m));
            }
        }
    }

    fn add_with(&mut self, flag: u64, x: u64, y: u64) {
        let c = u64::from(flags::arithmetic(self.regs) & flag != 0);
        let (x, y) = (self.low(x), self.low(y));
        let sum = u128::from(x) + u128::from(y) + u128::from(c);
        self.put(sum as u64);
        let carry = if sum >> self.bits != 0 { flag } else { 0 };
        self.change(flag, carry);
    }
}

/// The low `n` bits; all if there are not as many.
fn mask(n: u32) -> u64 {
    1_u64
        .checked_shl(n)
        .map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}

fn deposit(mut x: u64, mut m: u64) -> u64 {
    let mut out = 0;
    while m != 0 {
        let bit = m & m.wrapping_neg();
        if x & 1 != 0 {
            out |= bit;
        }
        x >>= 1;
        m ^= bit;
    }
    out
}

fn extract(x: u64, mut m: u64) -> u64 {
    let (mut out, mut at) = (0, 0);
    while m != 0 {
        let bit = m & m.wrapping_neg();
        out |= u64::from(x & bit != 0) << at;
        at += 1;
        m ^= bit;
    }
    out
}

/// CRC-32C, the low bit first.
fn crc32c(crc: u64, data: u64, bits: u32) -> u64 {
    let mut crc = crc as u32;
    for i in 0..bits {
        let bit = crc ^ (data >> i) as u32;
        crc >>= 1;
        if bit & 1 != 0 {
            crc ^= 0x82f6_3b78;
        }
    }
    u64::from(crc)
}

/// Carries a micro-operation out.
#[inline(never)]
pub fn carry_out(regs: &mut Regs, u: &Uop) {
    let (kind, log) = Kind::of(u.aux);
    let x = regs[u.a as usize];
    let y = regs[u.b as usize].wrapping_add(u.imm);
    let fill = regs[u.b as usize];
    let count = if u.aux & BY_CL != 0 { regs[1] } else { u.imm };
    let mut alu = Alu {
        regs,
        log,
        bits: 8 << log,
        d: u.d,
    };
    match kind {
        Kind::Add => alu.set(Flags::Add, x.wrapping_add(y), y),
        Kind::Sub => alu.set(Flags::Sub, x.wrapping_sub(y), y),
        Kind::And => alu.set_logic(x & y),
        Kind::Or => alu.set_logic(x | y),
        Kind::Xor => alu.set_logic(x ^ y),
        Kind::Cmp => alu.lazy(Flags::Cmp, x, y),
        Kind::Test => alu.logic(x & y),
        Kind::Adc | Kind::Sbb | Kind::Inc | Kind::Dec => {
            let c = flags::carry(alu.regs);
            alu.regs[R_FLAG_CARRY as usize] = c;
            match kind {
                Kind::Adc => alu.set(Flags::Adc, x.wrapping_add(y).wrapping_add(c), y),
                Kind::Sbb => alu.set(Flags::Sbb, x.wrapping_sub(y).wrapping_sub(c), y),
                Kind::Inc => alu.set_counted(Flags::Inc, x.wrapping_add(1)),
                _ => alu.set_counted(Flags::Dec, x.wrapping_sub(1)),
            }
        }
        Kind::Rol | Kind::Ror => alu.rotate(kind, x, y),
        Kind::Rcl | Kind::Rcr => alu.rotate_through_carry(kind, x, y),
        Kind::Shl | Kind::Shr | Kind::Sar => alu.shift(kind, x, y),
        Kind::Shld | Kind::Shrd => alu.shift_double(kind, x, fill, count),
        Kind::Imul => {
            let product = i128::from(alu.signed(x)) * i128::from(alu.signed(y));
            let lost = u64::from(i128::from(alu.signed(product as u64)) != product);
            alu.set(Flags::Mul, product as u64, lost);
        }
        Kind::MulU | Kind::MulS => alu.multiply(kind, x, y),
        Kind::Bt | Kind::Bts | Kind::Btr | Kind::Btc => alu.bit(kind, x, y),
        Kind::Bsf | Kind::Bsr | Kind::Tzcnt | Kind::Lzcnt | Kind::Popcnt => alu.scan(kind, y),
        Kind::Andn => alu.set_logic(!x & y),
        Kind::Blsr | Kind::Blsmsk | Kind::Blsi => alu.lowest_bit(kind, y),
        Kind::Bextr | Kind::Bzhi | Kind::Pdep | Kind::Pext => alu.bit_field(kind, x, y),
        Kind::Bswap => {
            let result = match log {
                3 => x.swap_bytes(),
                2 => u64::from((x as u32).swap_bytes()),
                // Undefined: processors clear the register.
                _ => 0,
            };
            alu.put(result);
        }
        Kind::Crc32 => {
            let crc = crc32c(x, y, alu.bits);
            alu.regs[u.d as usize] = crc;
        }
        Kind::Adcx => alu.add_with(CF, x, y),
        Kind::Adox => alu.add_with(OF, x, y),
        Kind::Clc => alu.change(CF, 0),
        Kind::Stc => alu.change(CF, CF),
        Kind::Cmc => {
            let carry = flags::carry(alu.regs) ^ 1;
            alu.change(CF, carry);
        }
        Kind::Lahf => {
            let f = flags::arithmetic(alu.regs) & 0xff | 2;
            let d = &mut alu.regs[u.d as usize];
            *d = *d & !0xff00 | f << 8;
        }
        Kind::Sahf => {
            let mask = SF | ZF | AF | PF | CF;
            alu.change(mask, x >> 8);
        }
    }
}

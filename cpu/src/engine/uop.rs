//! Micro-operations: what front ends decode to, what the interpreter runs and what a compiled tier will compile.
//!
//! All state that micro-operations name is a flat file of 64-bit registers; the front end says which number means what. One guest
//! instruction becomes zero or more micro-operations. Addresses of memory operations are `r[a] + r[b] + imm`.

/// Number of a register in the flat file.
pub type Reg = u8;

/// Lazy flags (see [`super::flags`]): how the flags follow from the other three.
pub const R_FLAG_OP: Reg = 22;
/// Lazy flags: the result, or the first operand of a comparison.
pub const R_FLAG_RESULT: Reg = 23;
/// Lazy flags: the second operand, or what else the operation needs.
pub const R_FLAG_OPERAND: Reg = 24;
/// Lazy flags: the carry that came in.
pub const R_FLAG_CARRY: Reg = 25;
/// Always zero.
pub const R_ZERO: Reg = 34;
/// Carry, 0 or 1.
pub const R_CA: Reg = 36;
/// Carry out of the low 32 bits.
pub const R_CA32: Reg = 37;
/// Summary overflow, 0 or 1: or-ed into every condition field that a compare sets.
pub const R_SO: Reg = 40;
/// For front ends: values that do not outlive a guest instruction.
pub const R_T0: Reg = 41;
/// As [`R_T0`].
pub const R_T1: Reg = 42;
/// Condition field 0; the others follow. A field is 8 (less), 4 (greater), 2 (equal) and 1 (summary overflow).
pub const R_CR0: Reg = 48;

/// One micro-operation, 16 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Uop {
    /// What to do.
    pub op: Op,
    /// Destination, or stored register.
    pub d: Reg,
    /// First source.
    pub a: Reg,
    /// Second source.
    pub b: Reg,
    /// Second immediate: shift count, instruction word, offset of the next instruction.
    pub aux: u32,
    /// First immediate.
    pub imm: u64,
}

/// What a micro-operation does. `d`, `a`, `b` are registers, `imm` and `aux` immediates. All wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// d = imm.
    MovI,
    /// d = a.
    Mov,
    /// d = address of the block + imm.
    MovPc,
    /// d = a + b.
    Add,
    /// d = a + imm.
    AddI,
    /// d = a - b.
    Sub,
    /// d = imm - a.
    SubI,
    /// d = a * b.
    Mul,
    /// d = a * imm.
    MulI,
    /// d = low 32 bits of a, signed, times those of b.
    MulW,
    /// d = upper half of the unsigned product of a and b.
    MulHigh,
    /// d = upper half of the signed product of a and b.
    MulHighS,
    /// d = a / b, unsigned; 0 if b is 0.
    Div64,
    /// d = low 32 bits of a / those of b, unsigned; 0 if the latter are 0.
    Div32,
    /// d = all ones in each byte in which a and b are the same, zero in the others.
    SameBytes,
    /// d = -a.
    Neg,
    /// d = a & b.
    And,
    /// d = a & imm.
    AndI,
    /// d = a & !b.
    Andc,
    /// d = a | b.
    Or,
    /// d = a | imm.
    OrI,
    /// d = a | !b.
    Orc,
    /// d = a ^ b.
    Xor,
    /// d = a ^ imm.
    XorI,
    /// d = !(a & b).
    Nand,
    /// d = !(a | b).
    Nor,
    /// d = !(a ^ b).
    Eqv,
    /// d = a sign-extended from 8 bits.
    Ext8,
    /// d = a sign-extended from 16 bits.
    Ext16,
    /// d = a sign-extended from 32 bits.
    Ext32,
    /// d = leading zeros of a.
    Clz64,
    /// d = leading zeros of the low 32 bits of a.
    Clz32,
    /// d = a << b (7 bits of b; 64 and more give 0).
    Shl64,
    /// d = a >> b (7 bits of b).
    Shr64,
    /// d = low 32 bits of a << b (6 bits of b), zero-extended.
    Shl32,
    /// d = low 32 bits of a >> b (6 bits of b).
    Shr32,
    /// d = a >> aux, arithmetic; carry as Power ISA's srad.
    Sra64I,
    /// As Sra64I, by 7 bits of b.
    Sra64,
    /// d = low 32 bits of a >> aux, arithmetic, sign-extended; carry as Power ISA's sraw.
    Sra32I,
    /// As Sra32I, by 6 bits of b.
    Sra32,
    /// d = rotl64(a, aux) & imm.
    RotMask,
    /// d = rotl64(a, b) & imm.
    RotMaskV,
    /// d = (rotl64(a, aux) & imm) | (d & !imm).
    RotIns,
    /// d = (rotl32(a, aux) twice) & imm.
    RotMask32,
    /// d = (rotl32(a, b) twice) & imm.
    RotMask32V,
    /// d = ((rotl32(a, aux) twice) & imm) | (d & !imm).
    RotIns32,
    /// `d = PURE[aux](a, b)`.
    Pure,
    /// d = a + b + (register carry if aux & 1, else aux >> 1 & 1); carry out.
    AddCarry,
    /// d = !a + b + (register carry if aux & 1, else aux >> 1 & 1); carry out.
    SubCarry,
    /// d = a + imm; carry out.
    AddICarry,
    /// d = !a + imm + 1; carry out.
    SubICarry,
    /// Condition field d = compare signed 64 bits of a and b.
    CmpS64,
    /// Condition field d = compare unsigned 64 bits of a and b.
    CmpU64,
    /// Condition field d = compare signed 32 bits of a and b.
    CmpS32,
    /// Condition field d = compare unsigned 32 bits of a and b.
    CmpU32,
    /// As CmpS64 with imm.
    CmpS64I,
    /// As CmpU64 with imm.
    CmpU64I,
    /// As CmpS32 with imm.
    CmpS32I,
    /// As CmpU32 with imm.
    CmpU32I,
    /// d = low 32 bits of (a + b + imm): an address in 32-bit mode.
    Ea32,
    /// d = 1 byte.
    Ld8,
    /// d = 2 bytes, host order.
    Ld16,
    /// d = 4 bytes.
    Ld32,
    /// d = 8 bytes.
    Ld64,
    /// d = 2 bytes, sign-extended.
    Ld16S,
    /// d = 4 bytes, sign-extended.
    Ld32S,
    /// d = 2 bytes, reversed.
    Ld16R,
    /// d = 4 bytes, reversed.
    Ld32R,
    /// d = 8 bytes, reversed.
    Ld64R,
    /// d = 2 bytes, reversed, sign-extended.
    Ld16RS,
    /// d = 4 bytes, reversed, sign-extended.
    Ld32RS,
    /// Store 1 byte of d.
    St8,
    /// Store 2 bytes.
    St16,
    /// Store 4 bytes.
    St32,
    /// Store 8 bytes.
    St64,
    /// Store 2 bytes, reversed.
    St16R,
    /// Store 4 bytes, reversed.
    St32R,
    /// Store 8 bytes, reversed.
    St64R,
    /// The front end does it: helper d, instruction word aux, imm as the front end likes.
    Call,
    /// If register a has no bit of mask b: as Call, and the front end records an exception.
    Demand,
    /// As Call, and then the block ends at the next instruction, with everything (interrupts, context) checked again.
    CallEnd,
    /// Go to block address + imm.
    Jmp,
    /// Go to `r[a] & imm`.
    JmpReg,
    /// If (field a has a bit of mask b) == (d != 0) go to block address + imm, else + aux.
    Bc,
    /// As Bc, to register `imm` with the low two bits clear.
    BcReg,
    /// Decrement `r[a]`; if (result != 0) == (d != 0) go to block address + imm, else + aux.
    Bdnz,
    /// As Bdnz on the low 32 bits.
    Bdnz32,
    /// d = a + (b << aux) + imm.
    Lea,
    /// d = low 32 bits of a + y, zero-extended. In this operation and the following, y = b + imm.
    Add32,
    /// d = low 32 bits of a - y.
    Sub32,
    /// d = low 32 bits of a & y.
    And32,
    /// d = low 32 bits of a | y.
    Or32,
    /// d = low 32 bits of a ^ y.
    Xor32,
    /// d = a + y, with lazy flags (see [`super::flags`]).
    AddF64,
    /// d = a - y, with flags.
    SubF64,
    /// d = a & y, with flags.
    AndF64,
    /// d = a | y, with flags.
    OrF64,
    /// d = a ^ y, with flags.
    XorF64,
    /// Flags of a - y.
    CmpF64,
    /// Flags of a & y.
    TestF64,
    /// d = low 32 bits of a + y, with flags.
    AddF32,
    /// d = low 32 bits of a - y, with flags.
    SubF32,
    /// d = low 32 bits of a & y, with flags.
    AndF32,
    /// d = low 32 bits of a | y, with flags.
    OrF32,
    /// d = low 32 bits of a ^ y, with flags.
    XorF32,
    /// Flags of a - y, 32 bits.
    CmpF32,
    /// Flags of a & y, 32 bits.
    TestF32,
    /// Another operation with flags: see [`super::alu`], of which `aux` is the kind and size.
    AluF,
    /// d = a << y, 32 bits; this and the following take the count modulo the width.
    ShlN32,
    /// d = a >> y, 32 bits.
    ShrN32,
    /// d = a >> y, arithmetic, 32 bits, zero-extended.
    SarN32,
    /// d = a << y.
    ShlN64,
    /// d = a >> y.
    ShrN64,
    /// d = a >> y, arithmetic.
    SarN64,
    /// The low byte of d = condition a holds (as encoded in Jcc).
    SetCc,
    /// If condition a holds, d = b.
    Cmov64,
    /// d = low 32 bits of: b if condition a holds, else d.
    Cmov32,
    /// If condition a holds, the low 16 bits of d = those of b.
    Cmov16,
    /// If condition d holds go to block address + imm, else + aux.
    Jcc,
    /// If condition d holds go to `r[a]`, else to block address + aux.
    JccReg,
    /// If (`r[a]` == 0) == (d != 0) go to block address + imm, else + aux.
    Bz,
    /// d = 1 byte that will be stored to: it is an error if it cannot be.
    LdM8,
    /// d = 2 bytes, likewise.
    LdM16,
    /// d = 4 bytes, likewise.
    LdM32,
    /// d = 8 bytes, likewise.
    LdM64,
    /// d, d + 1 = 16 bytes. With aux 1 the address is a multiple of 16, or the front end's [`super::FrontEnd::call`] fails.
    Ld128,
    /// Store 16 bytes of d and d + 1, likewise.
    St128,
    /// The front end's [`super::FrontEnd::vector`] on registers: d, d + 1 = operation aux of d, d + 1 and b, b + 1, with imm. An operation
    /// with a third operand has it in a, a + 1; of others a is d.
    Vec,
    /// Likewise, of b, b + 1 to register d alone.
    VecMask,
}

/// An identity operation does not exist: instructions without effect make no micro-operation.
pub const fn uop(op: Op, d: Reg, a: Reg, b: Reg, aux: u32, imm: u64) -> Uop {
    Uop {
        op,
        d,
        a,
        b,
        aux,
        imm,
    }
}

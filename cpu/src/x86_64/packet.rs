//! How an instruction that is not made of other micro-operations travels to its helper: in one `Op::Call` or `Op::CallEnd`.

use iced_x86::Code;

use crate::engine::uop::{Op, R_T0, Reg, Uop, uop};

/// Register that holds the linear address of the memory operand while the helper runs.
pub const R_ADDRESS: Reg = R_T0;
/// [`Packet::rm`] of a memory operand.
pub const MEMORY: u8 = 0xff;

/// Which helper carries an instruction out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unit {
    /// Integer instructions without templates: `integer`.
    Integer,
    /// System instructions, far transfers, I/O: `system`.
    System,
    /// MMX, SSE and AVX: `simd`; and x87.
    Vector,
    /// The bytes are no instruction: #UD, or #GP for one that is too long.
    Invalid,
}

/// An instruction with its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who carries it out.
    pub unit: Unit,
    /// Which instruction, in which form.
    pub code: Code,
    /// The register operand of ModRM.reg or of the opcode, by its number in its class (RAX 0, XMM3 3, CR4 4, DS 3); for 8-bit registers
    /// 16 to 19 are AH, CH, DH and BH.
    pub reg: u8,
    /// The operand of ModRM.rm, likewise; or [`MEMORY`], whose linear address is in [`R_ADDRESS`].
    pub rm: u8,
    /// VEX.vvvv, or the prefixes of a string instruction (1: REPE/REP, 2: REPNE) and its segment (in bits 2 to 4), or 0.
    pub extra: u8,
    /// Address size: 0 16 bits, 1 32 bits, 2 64 bits.
    pub address_size: u8,
    /// The memory operand's segment is SS: its faults are #SS.
    pub stack: bool,
    /// The immediate, sign-extended; of a far pointer, the selector in bits 32 to 47.
    pub imm: u64,
}

impl Packet {
    /// As a micro-operation; `ends` if the block has to end after it.
    pub fn encode(self, ends: bool) -> Uop {
        let aux = self.code as u32
            | u32::from(self.extra & 31) << 13
            | u32::from(self.address_size & 3) << 18
            | u32::from(self.stack) << 20;
        let op = if ends { Op::CallEnd } else { Op::Call };
        uop(op, self.unit as u8, self.reg, self.rm, aux, self.imm)
    }

    /// Of a micro-operation that [`Packet::encode`] made.
    pub fn decode(u: Uop) -> Packet {
        Packet {
            unit: match u.d {
                0 => Unit::Integer,
                1 => Unit::System,
                2 => Unit::Vector,
                _ => Unit::Invalid,
            },
            code: Code::try_from((u.aux & 0x1fff) as usize).unwrap_or(Code::INVALID),
            reg: u.a,
            rm: u.b,
            extra: (u.aux >> 13 & 31) as u8,
            address_size: (u.aux >> 18 & 3) as u8,
            stack: u.aux >> 20 & 1 != 0,
            imm: u.imm,
        }
    }
}

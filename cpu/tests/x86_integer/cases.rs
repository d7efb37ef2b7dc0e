//! Instructions with random operands, and what the manual leaves undefined of their flags.
use iced_x86::{
    Code, CodeSize, Encoder, EncodingKind, Instruction, MemoryOperand, Mnemonic,
    OpCodeOperandKind as K, Register,
};

use crate::host::{SCRATCH, SCRATCH_LEN, State};

pub const CF: u64 = 1;
pub const PF: u64 = 4;
pub const AF: u64 = 16;
pub const ZF: u64 = 64;
pub const SF: u64 = 128;
pub const OF: u64 = 0x800;
pub const ALL: u64 = CF | PF | AF | ZF | SF | OF;

/// A generator of numbers (xorshift), so that a case is its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 20) % n
    }

    /// Any number, a small one, or one at an edge of some size.
    pub fn value(&mut self) -> u64 {
        let v = self.next();
        match self.below(8) {
            0..=2 => v,
            3 => v & 0xff,
            4 => v as i16 as u64,
            5 => v as i32 as u64,
            6 => [0, 1, u64::MAX, 1 << 63, i64::MAX as u64][self.below(5) as usize],
            _ => {
                let edge = [
                    0x7f,
                    0x80,
                    0xff,
                    0x7fff,
                    0x8000,
                    0xffff,
                    0x7fff_ffff,
                    1 << 31,
                ][self.below(8) as usize];
                edge ^ if v & 1 != 0 { 0 } else { v << 32 }
            }
        }
    }
}

fn register(r: &mut Random, base: Register, high: bool) -> (Register, usize) {
    // The stack pointer stays what it is.
    let n = loop {
        let n = r.below(16) as u32;
        if n != 4 {
            break n;
        }
    };
    if base == Register::AL {
        const HIGH: [Register; 4] = [Register::AH, Register::CH, Register::DH, Register::BH];
        if high && n < 4 && r.below(2) == 0 {
            return (HIGH[n as usize], n as usize);
        }
        const LOW: [Register; 16] = [
            Register::AL,
            Register::CL,
            Register::DL,
            Register::BL,
            Register::SPL,
            Register::BPL,
            Register::SIL,
            Register::DIL,
            Register::R8L,
            Register::R9L,
            Register::R10L,
            Register::R11L,
            Register::R12L,
            Register::R13L,
            Register::R14L,
            Register::R15L,
        ];
        return (LOW[n as usize], n as usize);
    }
    (base + n, n as usize)
}

/// A case: the instruction, and the state to begin with.
pub struct Case {
    pub instruction: Instruction,
    pub bytes: Vec<u8>,
    pub state: State,
    pub scratch: Vec<u8>,
}

/// Bytes at the end and the beginning of the scratch area that operands do not reach.
const MARGIN: u64 = 512;

/// A random case of a form; `memory` is whether memory operands are wanted. None if it has an operand that this does not know, or cannot be
/// encoded with these.
pub fn case(code: Code, r: &mut Random, memory: bool) -> Option<Case> {
    let info = code.op_code();
    let mut i = Instruction::default();
    i.set_code(code);
    let mut state = State::default();
    for g in &mut state.gpr {
        *g = r.value();
    }
    state.gpr[4] = SCRATCH + 2048 + 8 * r.below(16);
    state.flags = 2 | r.next() & ALL;
    let mut scratch = vec![0; SCRATCH_LEN];
    for b in scratch.chunks_exact_mut(8) {
        b.copy_from_slice(&r.value().to_le_bytes());
    }
    let vex = info.encoding() != EncodingKind::Legacy;
    let mut any_memory = false;
    for n in 0..info.op_count() {
        let kind = info.op_kind(n);
        let base = match kind {
            K::r8_reg | K::r8_opcode | K::r8_or_mem => Register::AL,
            K::r16_reg | K::r16_opcode | K::r16_or_mem | K::r16_rm | K::r16_reg_mem => Register::AX,
            K::r32_reg
            | K::r32_opcode
            | K::r32_or_mem
            | K::r32_rm
            | K::r32_vvvv
            | K::r32_reg_mem => Register::EAX,
            K::r64_reg
            | K::r64_opcode
            | K::r64_or_mem
            | K::r64_rm
            | K::r64_vvvv
            | K::r64_reg_mem => Register::RAX,
            _ => Register::None,
        };
        let wants_memory = match kind {
            K::mem | K::mem_offs => true,
            K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem => memory,
            _ => false,
        };
        if wants_memory {
            if kind == K::mem_offs {
                return None;
            }
            any_memory = true;
            memory_operand(&mut i, n, r, &mut state, code);
        } else if base != Register::None {
            i.set_op_register(n, register(r, base, !vex).0);
        } else {
            match kind {
                K::al => i.set_op_register(n, Register::AL),
                K::cl => i.set_op_register(n, Register::CL),
                K::ax => i.set_op_register(n, Register::AX),
                K::eax => i.set_op_register(n, Register::EAX),
                K::rax => i.set_op_register(n, Register::RAX),
                K::imm8_const_1 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate8);
                    i.set_immediate8(1);
                }
                K::imm8 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate8);
                    i.set_immediate8(r.value() as u8);
                }
                K::imm8sex16 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate8to16);
                    i.set_immediate8to16(r.value() as i8 as i16);
                }
                K::imm8sex32 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate8to32);
                    i.set_immediate8to32(r.value() as i8 as i32);
                }
                K::imm8sex64 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate8to64);
                    i.set_immediate8to64(r.value() as i8 as i64);
                }
                K::imm16 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate16);
                    i.set_immediate16(r.value() as u16);
                }
                K::imm32 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate32);
                    i.set_immediate32(r.value() as u32);
                }
                K::imm32sex64 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate32to64);
                    i.set_immediate32to64(i64::from(r.value() as i32));
                }
                K::imm64 => {
                    i.set_op_kind(n, iced_x86::OpKind::Immediate64);
                    i.set_immediate64(r.value());
                }
                _ => return None,
            }
        }
    }
    if memory != any_memory {
        return None;
    }
    i.set_code_size(CodeSize::Code64);
    let mut encoder = Encoder::new(64);
    // High bytes and REX do not go together: another try then.
    encoder.encode(&i, 0).ok()?;
    Some(Case {
        instruction: i,
        bytes: encoder.take_buffer(),
        state,
        scratch,
    })
}

fn memory_operand(i: &mut Instruction, n: u32, r: &mut Random, state: &mut State, code: Code) {
    // Aligned now and then, and always for CMPXCHG16B; an operand may lie in two cache lines.
    let mut at = SCRATCH + MARGIN + r.below(SCRATCH_LEN as u64 - 2 * MARGIN);
    if code.mnemonic() == Mnemonic::Cmpxchg16b || r.below(2) == 0 {
        at &= !15;
    }
    let (base, b) = register(r, Register::RAX, false);
    let disp = [0, r.next() as i8 as i64, i64::from(r.next() as i32)][r.below(3) as usize];
    let scale = 1 << r.below(4);
    let (index, x) = register(r, Register::RAX, false);
    let indexed = r.below(2) == 0 && x != b;
    let mut left = at.wrapping_sub(disp as u64);
    if indexed {
        state.gpr[x] = r.value() >> r.below(40);
        left = left.wrapping_sub(state.gpr[x].wrapping_mul(scale));
    }
    state.gpr[b] = left;
    let index = if indexed { index } else { Register::None };
    let operand = MemoryOperand::new(base, index, scale as u32, disp, 8, false, Register::None);
    i.set_op_kind(n, iced_x86::OpKind::Memory);
    i.set_memory_base(operand.base);
    i.set_memory_index(operand.index);
    i.set_memory_index_scale(if indexed { operand.scale } else { 1 });
    i.set_memory_displ_size(if disp == 0 {
        0
    } else if i8::try_from(disp).is_ok() {
        1
    } else {
        8
    });
    i.set_memory_displacement64(disp as u64);
}

/// Makes the index of a bit string small enough, or gives the case up: false.
pub fn tame_bit_index(case: &mut Case, r: &mut Random) -> bool {
    let i = &case.instruction;
    let index = i.op1_register();
    if index == Register::None {
        return true;
    }
    let full = index.full_register();
    if full == i.memory_base() || full == i.memory_index() {
        return false;
    }
    case.state.gpr[full.number()] = (r.below(MARGIN * 8 - 256) as i64 - (MARGIN as i64 * 4)) as u64;
    true
}

/// Flags that are undefined after an instruction in a state.
pub fn undefined(i: &Instruction, state: &State) -> u64 {
    use Mnemonic as M;
    let bits = match i.op_kind(0) {
        iced_x86::OpKind::Register => i.op_register(0).size() as u64 * 8,
        _ => i.memory_size().size() as u64 * 8,
    };
    let count = || {
        let last = i.op_count() - 1;
        let n = i.try_immediate(last).unwrap_or(state.gpr[1]);
        n & if bits == 64 { 63 } else { 31 }
    };
    match i.mnemonic() {
        M::And | M::Or | M::Xor | M::Test => AF,
        M::Shl | M::Shr | M::Sar | M::Shld | M::Shrd => match count() {
            0 => 0,
            1 => AF,
            n if n >= bits && i.mnemonic() != M::Sar => ALL & !(SF | ZF | PF),
            _ => AF | OF,
        },
        M::Rol | M::Ror | M::Rcl | M::Rcr => match count() {
            0 | 1 => 0,
            _ => OF,
        },
        M::Mul | M::Imul => SF | ZF | AF | PF,
        M::Div | M::Idiv => ALL,
        M::Bsf | M::Bsr => ALL & !ZF,
        M::Bt | M::Bts | M::Btr | M::Btc => OF | SF | AF | PF,
        M::Tzcnt | M::Lzcnt => OF | SF | AF | PF,
        M::Andn | M::Blsr | M::Blsi | M::Blsmsk | M::Bzhi => AF | PF,
        M::Bextr => AF | SF | PF,
        _ => 0,
    }
}

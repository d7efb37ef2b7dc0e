//! Random operands for a form, and what a caller of the library makes of them.
use iced_x86::{Code, Instruction, OpCodeOperandKind as Kind, OpKind, Register};
use viommu_cpu::x86_64::simd::{self, MEMORY, Operands, Src, memory_size};

use crate::cases::Random;
use crate::host::Context;

/// An instruction and where its memory operand is.
#[derive(Clone)]
pub struct Form {
    pub instruction: Instruction,
    /// Offset in the context's memory.
    pub memory_at: usize,
    /// The memory operand is at RDI, not at R15.
    rdi: bool,
}

fn register(kind: Kind, r: &mut Random) -> Option<Register> {
    let sixteen = r.below(16) as u32;
    // RSP is the stack, R15 points to the memory operand.
    let general = r.pick(&[0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    Some(match kind {
        Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_or_mem | Kind::xmm_vvvv | Kind::xmm_is4 => {
            Register::XMM0 + sixteen
        }
        Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_or_mem | Kind::ymm_vvvv | Kind::ymm_is4 => {
            Register::YMM0 + sixteen
        }
        Kind::mm_reg | Kind::mm_rm | Kind::mm_or_mem => Register::MM0 + sixteen % 8,
        Kind::r32_reg | Kind::r32_rm | Kind::r32_or_mem => Register::EAX + general,
        Kind::r64_reg | Kind::r64_rm | Kind::r64_or_mem => Register::RAX + general,
        Kind::st0 => Register::ST0,
        Kind::sti_opcode => Register::ST0 + sixteen % 8,
        Kind::ax => Register::AX,
        _ => return None,
    })
}

impl Form {
    pub fn random(code: Code, r: &mut Random) -> Option<Form> {
        let info = code.op_code();
        let memory = memory_size(code);
        let align = memory.map_or(1, |m| u64::from(m.align.max(1)));
        let memory_at = (r.below(64) / align * align) as usize;
        let in_memory = r.below(2) == 0;
        let mut i = Instruction::new();
        i.set_code(code);
        let mut rdi = false;
        for n in 0..info.op_count() {
            let kind = info.op_kind(n);
            let may = matches!(
                kind,
                Kind::xmm_or_mem
                    | Kind::ymm_or_mem
                    | Kind::mm_or_mem
                    | Kind::r32_or_mem
                    | Kind::r64_or_mem
            );
            if kind == Kind::mem || may && in_memory {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(Register::R15);
            } else if kind == Kind::seg_rDI {
                i.set_op_kind(n, OpKind::MemorySegRDI);
                rdi = true;
            } else if kind == Kind::imm8 {
                i.set_op_kind(n, OpKind::Immediate8);
                let imm = match r.below(3) {
                    0 => r.below(20),
                    _ => r.next(),
                };
                i.set_immediate8(imm as u8);
            } else {
                i.set_op_kind(n, OpKind::Register);
                i.set_op_register(n, register(kind, r)?);
            }
        }
        Some(Form {
            instruction: i,
            memory_at,
            rdi,
        })
    }

    /// Makes R15, or RDI, the address of the memory operand.
    pub fn point(&self, c: &mut Context) {
        let address = c.memory.0.as_ptr() as u64 + self.memory_at as u64;
        c.gpr[15] = address;
        if self.rdi {
            c.gpr[7] = address;
        }
    }
}

/// The operands as the library wants them.
pub fn operands(form: &Form, c: &Context) -> Operands {
    let i = &form.instruction;
    let code = i.code();
    let info = code.op_code();
    let mut o = Operands {
        op: code,
        dst: 0,
        src: Src::None,
        src2: 0,
        imm: c.flags as u8,
    };
    let load = memory_size(code).map_or(0, |m| usize::from(m.load));
    let mut data = [0_u8; 32];
    if load <= 32 {
        data[..load].copy_from_slice(&c.memory.0[form.memory_at..form.memory_at + load]);
    }
    let quads = std::array::from_fn(|n| {
        u64::from_le_bytes(data[8 * n..8 * n + 8].try_into().expect("8 bytes"))
    });
    let mut sources = Vec::new();
    for n in 0..info.op_count() {
        match i.op_kind(n) {
            OpKind::Memory if load == 0 => o.dst = MEMORY,
            OpKind::Memory => sources.push(Src::Mem(quads)),
            OpKind::MemorySegRDI => o.dst = MEMORY,
            OpKind::Immediate8 => o.imm = i.immediate8(),
            _ if info.op_kind(n) == Kind::xmm_is4 || info.op_kind(n) == Kind::ymm_is4 => {
                o.imm = (i.op_register(n).number() as u8) << 4;
            }
            _ if n == 0 => o.dst = i.op_register(n).number() as u8,
            _ => sources.push(Src::Reg(i.op_register(n).number() as u8)),
        }
    }
    if let [Src::Reg(first), _] = sources[..] {
        o.src2 = first;
    }
    o.src = sources.last().copied().unwrap_or(Src::None);
    assert!(simd::handles(code));
    o
}

//! Instructions that helpers carry out: which unit's they are, and their operands.

use iced_x86::{Code, Mnemonic, OpCodeOperandKind as K, OpKind, Register};

use super::Emitter;
use super::operand::{Address, Use, is_high, number};
use crate::engine::uop::{Op, R_T0, R_ZERO, uop};
use crate::x86_64::packet::{MEMORY, Packet, Unit};
use crate::x86_64::simd;

/// Instructions without effect here.
pub(super) fn is_nothing(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Nop
            | M::Reservednop
            | M::Endbr32
            | M::Endbr64
            | M::Pause
            | M::Prefetch
            | M::Prefetchw
            | M::Prefetchwt1
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Prefetchit0
            | M::Prefetchit1
            | M::Lfence
            | M::Mfence
            | M::Sfence
    )
}

/// String instructions of the integer unit. MOVSD and CMPSD are such, or SSE, by their code.
pub(super) fn is_string(code: Code, m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Movsb
            | M::Movsw
            | M::Movsq
            | M::Stosb
            | M::Stosw
            | M::Stosd
            | M::Stosq
            | M::Lodsb
            | M::Lodsw
            | M::Lodsd
            | M::Lodsq
            | M::Scasb
            | M::Scasw
            | M::Scasd
            | M::Scasq
            | M::Cmpsb
            | M::Cmpsw
            | M::Cmpsq
    ) || matches!(code, Code::Movsd_m32_m32 | Code::Cmpsd_m32_m32)
}

/// Instructions of [`Unit::Integer`].
pub(super) fn is_integer(code: Code, m: Mnemonic) -> bool {
    use Mnemonic as M;
    is_string(code, m)
        || matches!(
            m,
            M::Div
                | M::Idiv
                | M::Mulx
                | M::Cld
                | M::Std
                | M::Cmpxchg8b
                | M::Cmpxchg16b
                | M::Enter
                | M::Leave
                | M::Pusha
                | M::Pushad
                | M::Popa
                | M::Popad
                | M::Daa
                | M::Das
                | M::Aaa
                | M::Aas
                | M::Aam
                | M::Aad
                | M::Bound
                | M::Salc
                | M::Rdrand
                | M::Rdseed
        )
}

/// Instructions of [`Unit::System`]: whether the block ends after them.
pub(super) fn system(code: Code, m: Mnemonic) -> Option<bool> {
    use Mnemonic as M;
    Some(match m {
        M::Rdtsc
        | M::Rdtscp
        | M::Cpuid
        | M::Rdpid
        | M::Sldt
        | M::Str
        | M::Sgdt
        | M::Sidt
        | M::Smsw
        | M::Lar
        | M::Lsl
        | M::Verr
        | M::Verw
        | M::Arpl
        | M::Clflush
        | M::Clflushopt
        | M::Clwb
        | M::Cldemote
        | M::Rdfsbase
        | M::Rdgsbase
        | M::Xgetbv
        | M::Push
        | M::Pushf
        | M::Pushfd
        | M::Pushfq => false,
        M::Mov => !matches!(
            code,
            Code::Mov_rm16_Sreg
                | Code::Mov_r32m16_Sreg
                | Code::Mov_r64m16_Sreg
                | Code::Mov_r32_cr
                | Code::Mov_r64_cr
                | Code::Mov_r32_dr
                | Code::Mov_r64_dr
        ),
        M::Pop
        | M::Lds
        | M::Les
        | M::Lss
        | M::Lfs
        | M::Lgs
        | M::Popf
        | M::Popfd
        | M::Popfq
        | M::Cli
        | M::Sti
        | M::Clac
        | M::Stac
        | M::Hlt
        | M::In
        | M::Out
        | M::Insb
        | M::Insw
        | M::Insd
        | M::Outsb
        | M::Outsw
        | M::Outsd
        | M::Int
        | M::Int3
        | M::Into
        | M::Int1
        | M::Iret
        | M::Iretd
        | M::Iretq
        | M::Jmp
        | M::Call
        | M::Retf
        | M::Syscall
        | M::Sysret
        | M::Sysretq
        | M::Sysenter
        | M::Sysexit
        | M::Sysexitq
        | M::Swapgs
        | M::Wrfsbase
        | M::Wrgsbase
        | M::Lgdt
        | M::Lidt
        | M::Lldt
        | M::Ltr
        | M::Lmsw
        | M::Clts
        | M::Rdpmc
        | M::Rdmsr
        | M::Wrmsr
        | M::Xsetbv
        | M::Xsave
        | M::Xsave64
        | M::Xsavec
        | M::Xsavec64
        | M::Xsaveopt
        | M::Xsaveopt64
        | M::Xsaves
        | M::Xsaves64
        | M::Xrstor
        | M::Xrstor64
        | M::Xrstors
        | M::Xrstors64
        | M::Fxsave
        | M::Fxsave64
        | M::Fxrstor
        | M::Fxrstor64
        | M::Invlpg
        | M::Invpcid
        | M::Invd
        | M::Wbinvd
        | M::Wbnoinvd
        | M::Monitor
        | M::Mwait
        | M::Monitorx
        | M::Mwaitx
        | M::Umonitor
        | M::Umwait
        | M::Tpause
        | M::Rsm
        | M::Vmcall
        | M::Vmlaunch
        | M::Vmresume
        | M::Vmxoff
        | M::Vmxon
        | M::Vmclear
        | M::Vmptrld
        | M::Vmptrst
        | M::Vmread
        | M::Vmwrite
        | M::Vmfunc
        | M::Vmmcall
        | M::Vmrun
        | M::Vmload
        | M::Vmsave
        | M::Stgi
        | M::Clgi
        | M::Skinit
        | M::Invlpga
        | M::Invept
        | M::Invvpid
        | M::Encls
        | M::Enclu
        | M::Enclv
        | M::Getsec
        | M::Xbegin
        | M::Xend
        | M::Xabort
        | M::Xtest
        | M::Rdpkru
        | M::Wrpkru => true,
        _ => return None,
    })
}

/// Where an operand is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::x86_64) enum Field {
    Reg,
    Rm,
    Vvvv,
    Is4,
    /// In the opcode.
    None,
}

pub(in crate::x86_64) fn field(kind: K) -> Field {
    match kind {
        K::r8_reg
        | K::r8_opcode
        | K::r16_reg
        | K::r16_reg_mem
        | K::r16_opcode
        | K::r32_reg
        | K::r32_reg_mem
        | K::r32_opcode
        | K::r64_reg
        | K::r64_reg_mem
        | K::r64_opcode
        | K::seg_reg
        | K::k_reg
        | K::kp1_reg
        | K::mm_reg
        | K::xmm_reg
        | K::ymm_reg
        | K::zmm_reg
        | K::cr_reg
        | K::dr_reg
        | K::tr_reg
        | K::bnd_reg
        | K::tmm_reg
        | K::es
        | K::cs
        | K::ss
        | K::ds
        | K::fs
        | K::gs => Field::Reg,
        K::mem
        | K::r8_or_mem
        | K::r16_or_mem
        | K::r32_or_mem
        | K::r32_or_mem_mpx
        | K::r64_or_mem
        | K::r64_or_mem_mpx
        | K::mm_or_mem
        | K::xmm_or_mem
        | K::ymm_or_mem
        | K::zmm_or_mem
        | K::bnd_or_mem_mpx
        | K::k_or_mem
        | K::r16_rm
        | K::r32_rm
        | K::r64_rm
        | K::k_rm
        | K::mm_rm
        | K::xmm_rm
        | K::ymm_rm
        | K::zmm_rm
        | K::tmm_rm
        | K::sti_opcode => Field::Rm,
        K::r32_vvvv
        | K::r64_vvvv
        | K::k_vvvv
        | K::xmm_vvvv
        | K::xmmp3_vvvv
        | K::ymm_vvvv
        | K::zmm_vvvv
        | K::zmmp3_vvvv
        | K::tmm_vvvv => Field::Vvvv,
        K::xmm_is4 | K::xmm_is5 | K::ymm_is4 | K::ymm_is5 => Field::Is4,
        _ => Field::None,
    }
}

/// Number of a register in its class; 16 to 19 for AH, CH, DH and BH.
fn in_class(r: Register) -> u8 {
    if is_high(r) {
        return 16 + (number(r) & 3);
    }
    if r.is_gpr() {
        return number(r);
    }
    r.number() as u8
}

impl Emitter<'_> {
    /// The packet of the instruction; before it, micro-operations that put its address into place.
    pub(super) fn make_packet(&mut self, unit: Unit) -> Packet {
        let code = self.i.code();
        let op_code = code.op_code();
        let mut p = Packet {
            unit,
            code,
            reg: 0,
            rm: 0,
            extra: 0,
            address_size: self.packet_address_size(),
            stack: false,
            imm: 0,
        };
        let mut immediates = 0;
        for n in 0..self.i.op_count() {
            match self.i.op_kind(n) {
                OpKind::Register => {
                    let r = in_class(self.i.op_register(n));
                    match field(op_code.op_kind(n)) {
                        Field::Reg => p.reg = r,
                        Field::Rm => p.rm = r,
                        Field::Vvvv => p.extra = r & 31,
                        Field::Is4 => p.imm |= u64::from(r) << 4,
                        Field::None => {}
                    }
                }
                OpKind::Memory => self.packet_memory(&mut p),
                OpKind::FarBranch16 | OpKind::FarBranch32 => {
                    let offset = match self.i.op_kind(n) {
                        OpKind::FarBranch16 => u32::from(self.i.far_branch16()),
                        _ => self.i.far_branch32(),
                    };
                    p.imm = u64::from(offset) | u64::from(self.i.far_branch_selector()) << 32;
                }
                OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                    p.imm = self.short_displacement();
                }
                _ => {
                    if let Ok(v) = self.i.try_immediate(n) {
                        // ENTER has two, and so have a few of SSE4a.
                        p.imm |= match (immediates, code) {
                            (0, _) => v,
                            (_, Code::Enterw_imm16_imm8)
                            | (_, Code::Enterd_imm16_imm8)
                            | (_, Code::Enterq_imm16_imm8) => v << 16,
                            _ => v << 8,
                        };
                        immediates += 1;
                    }
                }
            }
        }
        let masked = matches!(self.i.mnemonic(), Mnemonic::Maskmovq | Mnemonic::Maskmovdqu);
        if self.i.is_string_instruction() || masked {
            p.extra = u8::from(self.i.has_rep_prefix())
                | u8::from(self.i.has_repne_prefix()) << 1
                | (self.i.memory_segment().number() as u8 % 6) << 2;
        }
        p
    }

    fn packet_memory(&mut self, p: &mut Packet) {
        p.rm = MEMORY;
        p.stack = self.i.memory_segment() == Register::SS;
        let stores =
            p.unit == Unit::Vector && simd::memory_size(p.code).is_some_and(|m| m.store != 0);
        let x = self.address(if stores { Use::Store } else { Use::Load });
        match x {
            Address {
                a: R_T0,
                b: R_ZERO,
                imm: 0,
            } => {}
            Address { a, b, imm } => self.push(uop(Op::Lea, R_T0, a, b, 0, imm)),
        }
        let index = self.i.memory_index();
        if index.is_vector_register() {
            // A gather: the index register, and the logarithm of the scale.
            let scale = u64::from(self.i.memory_index_scale().trailing_zeros());
            p.imm = index.number() as u64 | scale << 8;
        }
    }

    fn packet_address_size(&self) -> u8 {
        let string = (0..self.i.op_count()).find_map(|n| match self.i.op_kind(n) {
            OpKind::MemorySegSI | OpKind::MemoryESDI | OpKind::MemorySegDI => Some(0),
            OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI => Some(1),
            OpKind::MemorySegRSI | OpKind::MemoryESRDI | OpKind::MemorySegRDI => Some(2),
            _ => None,
        });
        if let Some(size) = string {
            return size;
        }
        let bits = match self.i.mnemonic() {
            Mnemonic::Loope | Mnemonic::Loopne => self.count_bits(),
            _ => self.address_bits(),
        };
        (bits / 32) as u8
    }
}

//! System instructions, far transfers, input and output (Intel SDM vol. 2; vol. 3 §2.8).

mod cache;
mod control;
mod descriptors;
mod far;
mod fast;
mod flags;
mod io;
mod iret;
mod operands;
mod segments;
mod tables;
pub(super) mod task;
mod xsave;

use iced_x86::Mnemonic;

use super::Cpu;
use super::exception::{Exception, vector};
use super::memory::Env;
use super::packet::Packet;
use super::regs::*;
use super::segment::SegmentRegister;
use crate::bus::Bus;
use crate::engine::Shared;
use crate::engine::exec::Fault;
use xsave::Saves;

impl Cpu {
    /// Carries out an instruction of [`super::packet::Unit::System`].
    pub(super) fn system_call(
        &mut self,
        shared: &mut Shared,
        bus: &mut dyn Bus,
        packet: Packet,
    ) -> Result<(), Fault> {
        let env = &mut Env { shared, bus };
        let p = &packet;
        match p.code.mnemonic() {
            Mnemonic::Rdtsc => self.read_time(false),
            Mnemonic::Rdtscp => self.read_time(true),
            Mnemonic::Cpuid => {
                self.identify();
                Ok(())
            }
            Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => self.push_flags(env, p),
            Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => self.pop_flags(env, p),
            Mnemonic::Cli => self.set_interrupts(false),
            Mnemonic::Sti => self.set_interrupts(true),
            Mnemonic::Clac => self.set_alignment(false),
            Mnemonic::Stac => self.set_alignment(true),
            Mnemonic::Hlt => self.halt(),
            Mnemonic::In | Mnemonic::Out => self.port(env, p),
            Mnemonic::Insb
            | Mnemonic::Insw
            | Mnemonic::Insd
            | Mnemonic::Outsb
            | Mnemonic::Outsw
            | Mnemonic::Outsd => self.port_string(env, p),
            Mnemonic::Int | Mnemonic::Int3 | Mnemonic::Into | Mnemonic::Int1 => {
                self.software_interrupt(p)
            }
            Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => self.iret(env, p),
            Mnemonic::Syscall => self.syscall(),
            Mnemonic::Sysret | Mnemonic::Sysretq => self.sysret(p),
            Mnemonic::Sysenter => self.sysenter(),
            Mnemonic::Sysexit | Mnemonic::Sysexitq => self.sysexit(p),
            Mnemonic::Swapgs => self.swapgs(),
            Mnemonic::Rdfsbase | Mnemonic::Rdgsbase | Mnemonic::Wrfsbase | Mnemonic::Wrgsbase => {
                self.segment_base(p)
            }
            Mnemonic::Mov => self.mov(env, p),
            Mnemonic::Push => self.push_segment(env, p),
            Mnemonic::Pop => self.pop_segment(env, p),
            Mnemonic::Lds | Mnemonic::Les | Mnemonic::Lss | Mnemonic::Lfs | Mnemonic::Lgs => {
                self.load_far_pointer(env, p)
            }
            Mnemonic::Jmp | Mnemonic::Call => self.far_transfer(env, p),
            Mnemonic::Retf => self.far_return(env, p),
            Mnemonic::Lgdt | Mnemonic::Lidt => self.load_table(env, p),
            Mnemonic::Sgdt | Mnemonic::Sidt => self.store_table(env, p),
            Mnemonic::Lldt => self.load_ldtr(env, p),
            Mnemonic::Ltr => self.load_tr(env, p),
            Mnemonic::Sldt | Mnemonic::Str => self.store_selector(env, p),
            Mnemonic::Smsw => self.store_status(env, p),
            Mnemonic::Lmsw => self.load_status(env, p),
            Mnemonic::Clts => self.clear_task_switched(),
            Mnemonic::Lar | Mnemonic::Lsl => self.load_descriptor_part(env, p),
            Mnemonic::Verr | Mnemonic::Verw => self.verify_segment(env, p),
            Mnemonic::Arpl => self.adjust_rpl(env, p),
            Mnemonic::Rdmsr => self.rdmsr(env),
            Mnemonic::Wrmsr => self.wrmsr(env),
            Mnemonic::Xgetbv => self.xgetbv(),
            Mnemonic::Xsetbv => self.xsetbv(),
            Mnemonic::Fxsave | Mnemonic::Fxsave64 => self.fxsave(env),
            Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => self.fxrstor(env),
            Mnemonic::Xsave | Mnemonic::Xsave64 => self.xsave(env, Saves::All),
            Mnemonic::Xsaveopt | Mnemonic::Xsaveopt64 => self.xsave(env, Saves::Changed),
            Mnemonic::Xsavec | Mnemonic::Xsavec64 => self.xsave(env, Saves::Compacted),
            Mnemonic::Xrstor | Mnemonic::Xrstor64 => self.xrstor(env),
            Mnemonic::Rdpid => self.rdpid(p),
            Mnemonic::Rdpmc => Err(self.raise(Exception::general_protection())),
            Mnemonic::Invlpg => self.invlpg(),
            Mnemonic::Invpcid => self.invpcid(env, p),
            Mnemonic::Invd | Mnemonic::Wbinvd | Mnemonic::Wbnoinvd => self.privileged(),
            Mnemonic::Clflush | Mnemonic::Clflushopt | Mnemonic::Clwb | Mnemonic::Cldemote => {
                self.flush_line(env, p)
            }
            // Virtual machines, enclaves, MONITOR and the like: CPUID does not have them.
            _ => Err(self.raise(Exception::invalid_opcode())),
        }
    }

    /// Nothing at CPL 0; #GP(0) elsewhere.
    fn privileged(&mut self) -> Result<(), Fault> {
        if self.cpl() == 0 {
            Ok(())
        } else {
            Err(self.raise(Exception::general_protection()))
        }
    }

    /// Raises #GP(0).
    fn refuse<T>(&mut self) -> Result<T, Fault> {
        self.refuse_with(vector::GP, 0)
    }

    /// Raises an exception with an error code.
    fn refuse_with<T>(&mut self, vector: u8, error: u32) -> Result<T, Fault> {
        Err(self.raise(Exception::with_code(vector, error)))
    }

    /// Raises #UD.
    fn undefined<T>(&mut self) -> Result<T, Fault> {
        Err(self.raise(Exception::invalid_opcode()))
    }

    fn halt(&mut self) -> Result<(), Fault> {
        self.privileged()?;
        self.activity = super::Activity::Halted;
        Ok(())
    }

    fn software_interrupt(&mut self, p: &Packet) -> Result<(), Fault> {
        let (vector, software) = match p.code.mnemonic() {
            Mnemonic::Int3 => (vector::BP, true),
            Mnemonic::Int1 => (vector::DB, false),
            Mnemonic::Into if self.arithmetic_flags() & FLAG_OF == 0 => return Ok(()),
            Mnemonic::Into => (vector::OF, true),
            _ => (p.imm as u8, true),
        };
        Err(self.raise(Exception {
            trap: true,
            software,
            ..Exception::plain(vector)
        }))
    }

    fn mov(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        use iced_x86::Code::*;
        match p.code {
            Mov_r32_cr | Mov_r64_cr => self.read_control(env, p),
            Mov_cr_r32 | Mov_cr_r64 => self.write_control(env, p),
            Mov_r32_dr | Mov_r64_dr => self.read_debug(p),
            Mov_dr_r32 | Mov_dr_r64 => self.write_debug(p),
            Mov_rm16_Sreg | Mov_r32m16_Sreg | Mov_r64m16_Sreg => self.store_segment(env, p),
            Mov_Sreg_rm16 | Mov_Sreg_r32m16 | Mov_Sreg_r64m16 => self.load_segment_from(env, p),
            _ => self.undefined(),
        }
    }
}

/// A segment register by its number in an instruction.
fn segment_register(n: u8) -> Option<SegmentRegister> {
    Some(match n {
        0 => SegmentRegister::Es,
        1 => SegmentRegister::Cs,
        2 => SegmentRegister::Ss,
        3 => SegmentRegister::Ds,
        4 => SegmentRegister::Fs,
        5 => SegmentRegister::Gs,
        _ => return None,
    })
}

//! Operands of packets.

use super::*;
use crate::x86_64::memory::truncate;
use crate::x86_64::packet::{MEMORY, R_ADDRESS};

impl Cpu {
    /// A general register's low `size` bytes.
    pub(super) fn register(&self, n: u8, size: u8) -> u64 {
        truncate(self.core.regs[usize::from(n & 15)], size)
    }

    /// Writes a general register: 4 bytes clear the upper half, 2 or 1 leave the rest.
    pub(super) fn set_register(&mut self, n: u8, size: u8, value: u64) {
        let r = &mut self.core.regs[usize::from(n & 15)];
        *r = match size {
            1 => *r & !0xff | value & 0xff,
            2 => *r & !0xffff | value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        };
    }

    /// The linear address of a packet's memory operand, `offset` bytes on.
    pub(super) fn operand_address(&self, offset: u64) -> u64 {
        self.wrap_linear(self.core.regs[R_ADDRESS as usize].wrapping_add(offset))
    }

    /// Reads a packet's ModRM.rm operand.
    pub(super) fn read_rm(
        &mut self,
        env: &mut Env<'_>,
        p: &Packet,
        size: u8,
    ) -> Result<u64, Fault> {
        if p.rm == MEMORY {
            let at = self.operand_address(0);
            self.read(env, at, size)
        } else {
            Ok(self.register(p.rm, size))
        }
    }

    /// Writes a packet's ModRM.rm operand.
    pub(super) fn write_rm(
        &mut self,
        env: &mut Env<'_>,
        p: &Packet,
        size: u8,
        value: u64,
    ) -> Result<(), Fault> {
        if p.rm == MEMORY {
            let at = self.operand_address(0);
            self.write(env, at, size, value)
        } else {
            self.set_register(p.rm, size, value);
            Ok(())
        }
    }

    /// A register's value for the two halves of EDX:EAX.
    pub(super) fn edx_eax(&self) -> u64 {
        self.register(2, 4) << 32 | self.register(0, 4)
    }

    /// Sets EDX:EAX.
    pub(super) fn set_edx_eax(&mut self, value: u64) {
        self.set_register(0, 4, value);
        self.set_register(2, 4, value >> 32);
    }
}

//! Decimal adjustments, which 64-bit code does not have.

use iced_x86::Mnemonic;

use crate::engine::exec::Fault;
use crate::engine::flags::{AF, CF, PF, SF, ZF, of_result};
use crate::x86_64::Cpu;
use crate::x86_64::exception::{Exception, vector};
use crate::x86_64::packet::Packet;

impl Cpu {
    /// DAA and DAS.
    pub(super) fn decimal_adjust(&mut self, p: &Packet) -> Result<(), Fault> {
        let old = self.arithmetic_flags();
        let al = self.general(0, 1) as u8;
        let adds = p.code.mnemonic() == Mnemonic::Daa;
        let mut result = al;
        let mut adjust = |by: u8| {
            result = if adds {
                result.wrapping_add(by)
            } else {
                result.wrapping_sub(by)
            };
        };
        let (mut half, mut carry) = (0, 0);
        if al & 15 > 9 || old & AF != 0 {
            adjust(6);
            half = AF;
            // DAS borrows from the byte.
            if old & CF != 0 || !adds && al < 6 {
                carry = CF;
            }
        }
        if al > 0x99 || old & CF != 0 {
            adjust(0x60);
            carry = CF;
        }
        self.set_general(0, 1, u64::from(result));
        self.set_arithmetic_flags(of_result(u64::from(result), 8) | half | carry);
        Ok(())
    }

    /// AAA and AAS.
    pub(super) fn ascii_adjust(&mut self, p: &Packet) -> Result<(), Fault> {
        let old = self.arithmetic_flags();
        let ax = self.general(0, 2);
        let adjusts = ax & 15 > 9 || old & AF != 0;
        let ax = match (adjusts, p.code.mnemonic() == Mnemonic::Aaa) {
            (false, _) => ax,
            (true, true) => ax.wrapping_add(0x106),
            (true, false) => ax.wrapping_sub(0x106),
        };
        let ax = ax & 0xff0f;
        self.set_general(0, 2, ax);
        let carries = if adjusts { AF | CF } else { 0 };
        self.set_arithmetic_flags(of_result(ax, 8) & (ZF | PF) | carries);
        Ok(())
    }

    /// AAM.
    pub(super) fn ascii_multiply(&mut self, p: &Packet) -> Result<(), Fault> {
        let (al, base) = (self.general(0, 1), p.imm & 0xff);
        let Some(tens) = al.checked_div(base) else {
            return Err(self.raise(Exception::plain(vector::DE)));
        };
        let ones = al % base;
        self.set_general(0, 2, tens << 8 | ones);
        self.set_arithmetic_flags(of_result(ones, 8) & (SF | ZF | PF));
        Ok(())
    }

    /// AAD.
    pub(super) fn ascii_divide(&mut self, p: &Packet) -> Result<(), Fault> {
        let (ax, base) = (self.general(0, 2), p.imm & 0xff);
        let al = (ax & 0xff).wrapping_add((ax >> 8).wrapping_mul(base)) & 0xff;
        self.set_general(0, 2, al);
        self.set_arithmetic_flags(of_result(al, 8) & (SF | ZF | PF));
        Ok(())
    }
}

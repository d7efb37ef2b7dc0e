//! Multiplication and division with operands twice as wide as a register.

use iced_x86::{Code, Mnemonic};

use crate::engine::exec::Fault;
use crate::x86_64::Cpu;
use crate::x86_64::exception::{Exception, vector};
use crate::x86_64::memory::Env;
use crate::x86_64::packet::Packet;

/// Bytes of the operand.
fn size(code: Code) -> u8 {
    match code {
        Code::Div_rm8 | Code::Idiv_rm8 => 1,
        Code::Div_rm16 | Code::Idiv_rm16 => 2,
        Code::Div_rm32 | Code::Idiv_rm32 | Code::VEX_Mulx_r32_r32_rm32 => 4,
        _ => 8,
    }
}

/// Sign-extended from a size.
fn signed(v: u64, size: u8) -> i128 {
    let unused = 64 - 8 * u32::from(size);
    i128::from((v << unused) as i64 >> unused)
}

impl Cpu {
    pub(super) fn multiply_without_flags(
        &mut self,
        env: &mut Env<'_>,
        p: &Packet,
    ) -> Result<(), Fault> {
        let size = size(p.code);
        let product = u128::from(self.general(2, size)) * u128::from(self.rm(env, p, size)?);
        // If both are the same register, it gets the high half.
        self.set_general(p.extra, size, product as u64);
        self.set_general(p.reg, size, (product >> (8 * u32::from(size))) as u64);
        Ok(())
    }

    pub(super) fn divide(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let size = size(p.code);
        let bits = 8 * u32::from(size);
        let divisor = self.rm(env, p, size)?;
        let (high, low) = if size == 1 {
            (self.general(16, 1), self.general(0, 1))
        } else {
            (self.general(2, size), self.general(0, size))
        };
        let dividend = u128::from(high) << bits | u128::from(low);
        let done = if p.code.mnemonic() == Mnemonic::Div {
            unsigned_quotient(dividend, divisor, bits)
        } else {
            let dividend = (dividend << (128 - 2 * bits)) as i128 >> (128 - 2 * bits);
            signed_quotient(dividend, signed(divisor, size), bits)
        };
        let Some((quotient, remainder)) = done else {
            return Err(self.raise(Exception::plain(vector::DE)));
        };
        self.set_general(0, size, quotient);
        self.set_general(if size == 1 { 16 } else { 2 }, size, remainder);
        Ok(())
    }
}

fn unsigned_quotient(dividend: u128, divisor: u64, bits: u32) -> Option<(u64, u64)> {
    if dividend >> 64 == 0 {
        // What programs divide, nearly always.
        let dividend = dividend as u64;
        let quotient = dividend.checked_div(divisor)?;
        return (bits == 64 || quotient >> bits == 0).then_some((quotient, dividend % divisor));
    }
    let quotient = dividend.checked_div(u128::from(divisor))?;
    (quotient >> bits == 0).then_some((quotient as u64, (dividend % u128::from(divisor)) as u64))
}

fn signed_quotient(dividend: i128, divisor: i128, bits: u32) -> Option<(u64, u64)> {
    let quotient = dividend.checked_div(divisor)?;
    let limit = 1_i128 << (bits - 1);
    (-limit..limit)
        .contains(&quotient)
        .then_some((quotient as u64, (dividend % divisor) as u64))
}

//! Control of the unit. SDM volume 1 §8.3.8 to §8.3.11 and §8.1.10.
use iced_x86::Mnemonic as M;

use super::{EXCEPTIONS, F80, Outcome, STACK_FAULT, SUMMARY, X87};
use crate::x86_64::simd::{Effect, MEMORY, Operands, Src};

/// Bytes of the environment in 32-bit format.
const ENVIRONMENT: usize = 28;
/// Bytes of an FSAVE image in 32-bit format.
pub const FSAVE_BYTES: usize = 108;

/// FFREE and FFREEP.
pub(super) fn free(x: &mut X87, o: &Operands) -> Outcome {
    x.begin()?;
    x.free(o.dst);
    if o.op.mnemonic() == M::Ffreep {
        x.pop();
    }
    Ok(Effect::None)
}

/// FINCSTP and FDECSTP.
pub(super) fn rotate(x: &mut X87, by: u16) -> Outcome {
    x.begin()?;
    x.rotate(by);
    Ok(Effect::None)
}

/// FWAIT, FNOP.
pub(super) fn wait(x: &mut X87) -> Outcome {
    x.check_pending()?;
    Ok(Effect::None)
}

/// Instructions of older units.
pub(super) fn ignore(_: &mut X87, _: &Operands) -> Outcome {
    Ok(Effect::None)
}

fn bytes(o: &Operands) -> [u8; 32] {
    let mut b = [0; 32];
    if let Src::Mem(m) = o.src {
        for (to, q) in b.chunks_exact_mut(8).zip(m) {
            to.copy_from_slice(&q.to_le_bytes());
        }
    }
    b
}

/// Forms with "F" wait first, those with "FN" do not.
fn wait_unless(x: &X87, o: &Operands, m: M) -> Result<(), crate::x86_64::simd::Trap> {
    if o.op.mnemonic() == m {
        return Ok(());
    }
    x.check_pending()
}

pub(super) fn load_control(x: &mut X87, o: &Operands) -> Outcome {
    x.check_pending()?;
    let b = bytes(o);
    x.set_control(u16::from_le_bytes([b[0], b[1]]));
    Ok(Effect::None)
}

pub(super) fn store_control(x: &mut X87, o: &Operands) -> Outcome {
    wait_unless(x, o, M::Fnstcw)?;
    Ok(Effect::Store([x.control.into(), 0, 0, 0], 2))
}

pub(super) fn store_status(x: &mut X87, o: &Operands) -> Outcome {
    wait_unless(x, o, M::Fnstsw)?;
    Ok(if o.dst == MEMORY {
        Effect::Store([x.status.into(), 0, 0, 0], 2)
    } else {
        Effect::Gpr(x.status.into())
    })
}

pub(super) fn clear(x: &mut X87, o: &Operands) -> Outcome {
    wait_unless(x, o, M::Fnclex)?;
    x.status &= !(EXCEPTIONS | STACK_FAULT | SUMMARY);
    Ok(Effect::None)
}

pub(super) fn initialize(x: &mut X87, o: &Operands) -> Outcome {
    wait_unless(x, o, M::Fninit)?;
    x.initialize();
    Ok(Effect::None)
}

/// FNSTENV: all exceptions are masked then.
pub(super) fn store_environment(x: &mut X87, o: &Operands) -> Outcome {
    wait_unless(x, o, M::Fnstenv)?;
    let size = o.op.op_code().memory_size().size();
    let b = x.environment(size);
    let mut quads = [0; 4];
    for (q, b) in quads.iter_mut().zip(b.chunks_exact(8)) {
        *q = b.iter().rev().fold(0, |r, b| r << 8 | u64::from(*b));
    }
    x.set_control(x.control | EXCEPTIONS);
    Ok(Effect::Store(quads, size as u8))
}

pub(super) fn load_environment(x: &mut X87, o: &Operands) -> Outcome {
    x.check_pending()?;
    x.set_environment(&bytes(o), o.op.op_code().memory_size().size());
    Ok(Effect::None)
}

impl X87 {
    /// As FNINIT: the registers keep their values.
    pub fn initialize(&mut self) {
        *self = X87 {
            registers: self.registers,
            ..X87::default()
        };
    }

    /// The tag word: 0 valid, 1 zero, 2 special, 3 empty, by physical register.
    fn tag_word(&self) -> u16 {
        let tag = |n: usize| {
            let r: F80 = self.registers[n];
            if self.full >> n & 1 == 0 {
                3
            } else if r.is_zero() {
                1
            } else if r.is_unsupported() || r.exponent() == 0x7fff || r.is_denormal() {
                2
            } else {
                0
            }
        };
        (0..8).rev().fold(0, |r, n| r << 2 | tag(n))
    }

    /// The environment in the format of protected mode, of 14 or 28 bytes; the rest is zero. Selectors are zero, as in 64-bit mode.
    fn environment(&self, size: usize) -> [u8; 32] {
        let mut b = [0; 32];
        let wide = size == ENVIRONMENT;
        let step = if wide { 4 } else { 2 };
        let fields = [
            u32::from(self.control),
            self.status.into(),
            self.tag_word().into(),
            self.instruction as u32,
            if wide {
                u32::from(self.opcode) << 16
            } else {
                0
            },
            self.data as u32,
            0,
        ];
        for (i, field) in fields.iter().enumerate() {
            // The upper halves of words read as ones.
            let field = if i < 3 || i == 6 {
                field | 0xffff_0000
            } else {
                *field
            };
            for (k, byte) in field.to_le_bytes().iter().take(step).enumerate() {
                b[i * step + k] = *byte;
            }
        }
        b
    }

    /// Loads an environment of 14 or 28 bytes.
    fn set_environment(&mut self, b: &[u8; 32], size: usize) {
        let wide = size == ENVIRONMENT;
        let step = if wide { 4 } else { 2 };
        let word = |i: usize| u16::from_le_bytes([b[i * step], b[i * step + 1]]);
        let long = |i: usize| {
            let high = if wide {
                u16::from_le_bytes([b[i * step + 2], b[i * step + 3]])
            } else {
                0
            };
            u64::from(word(i)) | u64::from(high) << 16
        };
        let tags = word(2);
        self.full = (0..8).fold(0, |r, n| r | u8::from(tags >> (2 * n) & 3 != 3) << n);
        self.control = word(0);
        self.set_status(word(1));
        self.set_control(word(0));
        self.instruction = long(3);
        self.opcode = (long(4) >> 16) as u16 & 0x7ff;
        self.data = long(5);
    }

    /// The image of FNSAVE, after which the unit is initialized. It has words of 32 bits if it is `wide`, else of 16; the rest is zero then.
    pub fn fnsave(&mut self, wide: bool) -> [u8; FSAVE_BYTES] {
        let mut b = [0; FSAVE_BYTES];
        let head = if wide { ENVIRONMENT } else { ENVIRONMENT / 2 };
        b[..head].copy_from_slice(&self.environment(head)[..head]);
        for (i, to) in b[head..].chunks_exact_mut(10).take(8).enumerate() {
            let r = self.st(i as u8);
            to[..8].copy_from_slice(&r.mantissa.to_le_bytes());
            to[8..].copy_from_slice(&r.head.to_le_bytes());
        }
        self.initialize();
        b
    }

    /// Loads the image of FRSTOR, with words as in [`X87::fnsave`].
    pub fn frstor(&mut self, b: &[u8; FSAVE_BYTES], wide: bool) {
        let mut environment = [0; 32];
        let head = if wide { ENVIRONMENT } else { ENVIRONMENT / 2 };
        environment[..head].copy_from_slice(&b[..head]);
        self.set_environment(&environment, head);
        for (i, from) in b[head..].chunks_exact(10).take(8).enumerate() {
            let byte = |k: usize| u64::from(from[k]);
            self.put_st(
                i as u8,
                F80 {
                    mantissa: (0..8).rev().fold(0, |r, k| r << 8 | byte(k)),
                    head: (byte(8) | byte(9) << 8) as u16,
                },
            );
        }
    }
}

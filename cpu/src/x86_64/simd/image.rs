//! The state as FXSAVE and XSAVE keep it. SDM volume 1 §10.5 and §13.4.
use super::{MXCSR_MASK, Trap, Vectors};
use crate::x86_64::x87::{F80, X87};

/// Bytes of an FXSAVE image, also the legacy region of an XSAVE area.
pub const FXSAVE_BYTES: usize = 512;
/// Bytes of the x87 component: the header without MXCSR, and the registers.
pub const X87_BYTES: usize = 160;
/// Bytes of the SSE component: the XMM registers.
pub const SSE_BYTES: usize = 256;
/// Bytes of the AVX component: the upper halves of the YMM registers.
pub const AVX_BYTES: usize = 256;
/// Offset of the XMM registers in the legacy region.
const XMM: usize = 160;

fn word(b: &[u8], at: usize) -> u16 {
    let mut w = [0; 2];
    copy(&mut w, b, at);
    u16::from_le_bytes(w)
}

fn quad(b: &[u8], at: usize) -> u64 {
    let mut w = [0; 8];
    copy(&mut w, b, at);
    u64::from_le_bytes(w)
}

/// Bytes that the source does not have stay.
fn copy(to: &mut [u8], from: &[u8], at: usize) {
    for (t, f) in to.iter_mut().zip(from.iter().skip(at)) {
        *t = *f;
    }
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    for (t, b) in to.iter_mut().skip(at).zip(bytes) {
        *t = *b;
    }
}

impl X87 {
    /// The x87 component; bytes 24 to 31 belong to MXCSR and are zero.
    pub fn to_bytes(&self) -> [u8; X87_BYTES] {
        let mut b = [0; X87_BYTES];
        put(&mut b, 0, &self.control.to_le_bytes());
        put(&mut b, 2, &self.status.to_le_bytes());
        b[4] = self.full;
        put(&mut b, 6, &self.opcode.to_le_bytes());
        put(&mut b, 8, &self.instruction.to_le_bytes());
        put(&mut b, 16, &self.data.to_le_bytes());
        for i in 0..8_u8 {
            let r = self.st(i);
            let at = 32 + 16 * usize::from(i);
            put(&mut b, at, &r.mantissa.to_le_bytes());
            put(&mut b, at + 8, &r.head.to_le_bytes());
        }
        b
    }

    /// From the x87 component; missing bytes count as zero.
    pub fn from_bytes(b: &[u8]) -> X87 {
        let mut x = X87 {
            full: b.get(4).copied().unwrap_or(0),
            opcode: word(b, 6) & 0x7ff,
            instruction: quad(b, 8),
            data: quad(b, 16),
            ..X87::default()
        };
        x.set_control(word(b, 0));
        x.set_status(word(b, 2));
        for i in 0..8_u8 {
            let at = 32 + 16 * usize::from(i);
            x.put_st(
                i,
                F80 {
                    mantissa: quad(b, at),
                    head: word(b, at + 8),
                },
            );
        }
        x
    }
}

impl Vectors {
    /// The SSE component.
    pub fn sse_to_bytes(&self) -> [u8; SSE_BYTES] {
        let mut b = [0; SSE_BYTES];
        for n in 0..16_u8 {
            put(&mut b, 16 * usize::from(n), &self.xmm(n).to_le_bytes());
        }
        b
    }

    /// Takes the SSE component; missing bytes count as zero.
    pub fn sse_from_bytes(&mut self, b: &[u8]) {
        for n in 0..16_u8 {
            let at = 16 * usize::from(n);
            self.set_xmm(n, quad(b, at).into());
            self.set_xmm(n, self.xmm(n) | u128::from(quad(b, at + 8)) << 64);
        }
    }

    /// The AVX component.
    pub fn avx_to_bytes(&self) -> [u8; AVX_BYTES] {
        let mut b = [0; AVX_BYTES];
        for n in 0..16_u8 {
            put(&mut b, 16 * usize::from(n), &self.upper(n).to_le_bytes());
        }
        b
    }

    /// Takes the AVX component; missing bytes count as zero.
    pub fn avx_from_bytes(&mut self, b: &[u8]) {
        for (n, r) in self.ymm.iter_mut().enumerate() {
            (r[2], r[3]) = (quad(b, 16 * n), quad(b, 16 * n + 8));
        }
    }

    /// Sets MXCSR.
    ///
    /// # Errors
    /// #GP if a reserved bit is set.
    pub fn set_mxcsr(&mut self, value: u32) -> Result<(), Trap> {
        if value & !MXCSR_MASK != 0 {
            return Err(Trap::GeneralProtection);
        }
        self.mxcsr = value;
        Ok(())
    }

    /// The image of FXSAVE64; the form with 32-bit pointers differs in bytes 12 to 15 and 20 to 23, which are zero here while
    /// pointers fit 32 bits. The last 96 bytes are zero: FXSAVE leaves the last 48 of them in memory as they are.
    pub fn to_fxsave(&self) -> [u8; FXSAVE_BYTES] {
        let mut b = [0; FXSAVE_BYTES];
        put(&mut b, 0, &self.x87.to_bytes());
        put(&mut b, 24, &self.mxcsr.to_le_bytes());
        put(&mut b, 28, &MXCSR_MASK.to_le_bytes());
        put(&mut b, XMM, &self.sse_to_bytes());
        b
    }

    /// Loads the image of FXRSTOR64.
    ///
    /// # Errors
    /// #GP if a reserved bit of MXCSR is set; nothing is loaded then.
    pub fn from_fxsave(&mut self, b: &[u8; FXSAVE_BYTES]) -> Result<(), Trap> {
        self.set_mxcsr(quad(b, 24) as u32)?;
        self.x87 = X87::from_bytes(&b[..X87_BYTES]);
        self.sse_from_bytes(&b[XMM..]);
        Ok(())
    }
}

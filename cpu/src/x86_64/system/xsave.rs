//! FXSAVE and XSAVE areas (Intel SDM vol. 1 §10.5, §13).

use super::*;
use crate::x86_64::cpuid::area_bytes;
use crate::x86_64::simd::image::FXSAVE_BYTES;
use crate::x86_64::simd::{MXCSR_RESET, Vectors};
use crate::x86_64::x87::X87;

const X87_STATE: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
/// XCOMP_BV: the area is compacted.
const COMPACTED: u64 = 1 << 63;
/// Offset of the header of an XSAVE area, and of the AVX component.
const HEADER: usize = 512;
const UPPER: usize = 576;
/// Largest area.
const AREA: usize = 832;
/// Bytes of an FXSAVE image that FXSAVE writes.
const FXSAVE_WRITTEN: usize = 464;

/// What an instruction of the XSAVE family leaves out, and where it puts the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saves {
    /// XSAVE: nothing.
    All,
    /// XSAVEOPT: components in their initial state.
    Changed,
    /// XSAVEC: likewise, and the area is compacted.
    Compacted,
}

impl Cpu {
    /// The components that are not in their initial state.
    fn components_in_use(&mut self) -> u64 {
        let v = self.vectors();
        let mut used = 0;
        if v.x87 != X87::default() {
            used |= X87_STATE;
        }
        if v.ymm.iter().any(|r| r[0] | r[1] != 0) {
            used |= SSE;
        }
        if v.ymm.iter().any(|r| r[2] | r[3] != 0) {
            used |= AVX;
        }
        used
    }

    /// Address of the area, with the checks that all forms share.
    fn state_area(&mut self, align: u64) -> Result<u64, Fault> {
        let at = self.operand_address(0);
        if self.cr0 & CR0_TS != 0 || align == 16 && self.cr0 & CR0_EM != 0 {
            return Err(self.raise(Exception::plain(vector::NM)));
        }
        if !at.is_multiple_of(align) {
            return self.refuse();
        }
        Ok(at)
    }

    /// End of the XMM registers in the legacy region: there are eight of them outside 64-bit mode.
    fn xmm_end(&self) -> usize {
        if self.is_long() { 416 } else { 288 }
    }

    /// Writes bytes `range` of an area at `at`; the range begins and ends at multiples of 8.
    fn put_area(
        &mut self,
        env: &mut Env<'_>,
        at: u64,
        area: &[u8],
        range: std::ops::Range<usize>,
    ) -> Result<(), Fault> {
        let start = range.start as u64;
        let bytes = area.get(range).unwrap_or_default();
        for (i, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let at = at.wrapping_add(start + 8 * i as u64);
            self.write(env, at, 8, u64::from_le_bytes(*word))?;
        }
        Ok(())
    }

    fn get_area(&mut self, env: &mut Env<'_>, at: u64, area: &mut [u8]) -> Result<(), Fault> {
        for (i, word) in area.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = self
                .read(env, at.wrapping_add(8 * i as u64), 8)?
                .to_le_bytes();
        }
        Ok(())
    }

    /// FXSAVE.
    pub(super) fn fxsave(&mut self, env: &mut Env<'_>) -> Result<(), Fault> {
        let at = self.state_area(16)?;
        self.check_write(env, at, FXSAVE_WRITTEN as u64)?;
        let image = self.vectors().to_fxsave();
        let end = self.xmm_end();
        self.put_area(env, at, &image, 0..end)?;
        if end == 416 {
            self.put_area(env, at, &image, end..FXSAVE_WRITTEN)?;
        }
        Ok(())
    }

    /// FXRSTOR.
    pub(super) fn fxrstor(&mut self, env: &mut Env<'_>) -> Result<(), Fault> {
        let at = self.state_area(16)?;
        let mut image = self.vectors().to_fxsave();
        let end = self.xmm_end();
        self.get_area(env, at, &mut image[..end])?;
        let loaded = self.change_vectors(|v| v.from_fxsave(&image));
        loaded.or_else(|_| self.refuse())
    }

    /// The components that EDX:EAX asks for.
    fn requested(&mut self) -> Result<u64, Fault> {
        if self.cr4 & CR4_OSXSAVE == 0 {
            return self.undefined();
        }
        Ok(self.edx_eax() & self.xcr0)
    }

    /// XSAVE, XSAVEOPT and XSAVEC.
    pub(super) fn xsave(&mut self, env: &mut Env<'_>, how: Saves) -> Result<(), Fault> {
        let asked = self.requested()?;
        let at = self.state_area(64)?;
        self.check_write(env, at, u64::from(area_bytes(asked)))?;
        let mut used = self.components_in_use();
        if how == Saves::Compacted && self.vectors.mxcsr != MXCSR_RESET {
            used |= SSE;
        }
        let header = at.wrapping_add(HEADER as u64);
        let before = if how == Saves::Compacted {
            0
        } else {
            self.read(env, header, 8)?
        };
        let saved = if how == Saves::All {
            asked
        } else {
            asked & used
        };
        let mut area = [0; AREA];
        area[..FXSAVE_BYTES].copy_from_slice(&self.vectors().to_fxsave());
        area[UPPER..].copy_from_slice(&self.vectors().avx_to_bytes());
        if saved & X87_STATE != 0 {
            self.put_area(env, at, &area, 0..24)?;
            self.put_area(env, at, &area, 32..160)?;
        }
        let mxcsr = if how == Saves::Compacted {
            saved & SSE
        } else {
            asked & (SSE | AVX)
        };
        if mxcsr != 0 {
            self.put_area(env, at, &area, 24..32)?;
        }
        if saved & SSE != 0 {
            let end = self.xmm_end();
            self.put_area(env, at, &area, 160..end)?;
        }
        if saved & AVX != 0 {
            let end = UPPER + if self.is_long() { 256 } else { 128 };
            self.put_area(env, at, &area, UPPER..end)?;
        }
        self.write(env, header, 8, before & !asked | used & asked)?;
        if how == Saves::Compacted {
            self.write(env, header.wrapping_add(8), 8, COMPACTED | asked)?;
            for i in 2..8 {
                self.write(env, header.wrapping_add(8 * i), 8, 0)?;
            }
        }
        Ok(())
    }

    /// XRSTOR.
    pub(super) fn xrstor(&mut self, env: &mut Env<'_>) -> Result<(), Fault> {
        let asked = self.requested()?;
        let at = self.state_area(64)?;
        let mut area = [0; AREA];
        self.get_area(env, at, &mut area[..UPPER])?;
        let word = |i: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&area[HEADER + 8 * i..][..8]);
            u64::from_le_bytes(bytes)
        };
        let (present, form) = (word(0), word(1));
        let compacted = form & COMPACTED != 0;
        let allowed = if compacted {
            form & !COMPACTED
        } else {
            self.xcr0
        };
        let wrong = allowed & !self.xcr0 != 0
            || present & !allowed != 0
            || !compacted && form != 0
            || (2..if compacted { 8 } else { 3 }).any(|i| word(i) != 0);
        if wrong {
            return self.refuse();
        }
        if asked & present & AVX != 0 {
            let end = UPPER + if self.is_long() { 256 } else { 128 };
            let upper = at.wrapping_add(UPPER as u64);
            self.get_area(env, upper, &mut area[UPPER..end])?;
        }
        self.restore(asked, present, compacted, &area)
    }

    fn restore(
        &mut self,
        asked: u64,
        present: u64,
        compacted: bool,
        area: &[u8; AREA],
    ) -> Result<(), Fault> {
        let initial = Vectors::default().to_fxsave();
        let mut image = self.vectors().to_fxsave();
        let mut take = |from: &[u8], range: std::ops::Range<usize>| {
            image[range.clone()].copy_from_slice(&from[range]);
        };
        let end = self.xmm_end();
        if asked & X87_STATE != 0 {
            let from: &[u8] = if present & X87_STATE != 0 {
                area
            } else {
                &initial
            };
            take(from, 0..24);
            take(from, 32..160);
        }
        if asked & SSE != 0 {
            let from: &[u8] = if present & SSE != 0 { area } else { &initial };
            take(from, 160..end);
        }
        if compacted && asked & SSE != 0 {
            let from: &[u8] = if present & SSE != 0 { area } else { &initial };
            take(from, 24..28);
        } else if !compacted && asked & (SSE | AVX) != 0 {
            take(area, 24..28);
        }
        if self.change_vectors(|v| v.from_fxsave(&image)).is_err() {
            return self.refuse();
        }
        if asked & AVX != 0 {
            // What is not present is zero in the area.
            let end = UPPER + if self.is_long() { 256 } else { 128 };
            let mut upper = self.vectors().avx_to_bytes();
            upper[..end - UPPER].copy_from_slice(&area[UPPER..end]);
            self.change_vectors(|v| v.avx_from_bytes(&upper));
        }
        Ok(())
    }
}

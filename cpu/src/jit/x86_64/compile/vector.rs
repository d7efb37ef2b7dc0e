//! Templates for 16-byte accesses and vector operations of an x86 CPU. Vectors are in the file, and go through host registers xmm0 to xmm2.

use iced_x86::{Code, CpuidFeature, MandatoryPrefix, OpCodeTableKind};

use super::{Cold, Compiler};
use crate::engine::uop::{Op, Reg, Uop};
use crate::jit::host::helpers::Place;
use crate::jit::host::thunks::{READ, WRITE, register};
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

/// The second part of a vector.
fn high(r: Reg) -> Reg {
    r.wrapping_add(1)
}

fn is_on_host(feature: &CpuidFeature) -> bool {
    match feature {
        CpuidFeature::SSE | CpuidFeature::SSE2 => true,
        CpuidFeature::SSSE3 => std::arch::is_x86_feature_detected!("ssse3"),
        CpuidFeature::SSE4_1 => std::arch::is_x86_feature_detected!("sse4.1"),
        CpuidFeature::SSE4_2 => std::arch::is_x86_feature_detected!("sse4.2"),
        CpuidFeature::SHA => std::arch::is_x86_feature_detected!("sha"),
        CpuidFeature::AES => std::arch::is_x86_feature_detected!("aes"),
        CpuidFeature::PCLMULQDQ => std::arch::is_x86_feature_detected!("pclmulqdq"),
        _ => false,
    }
}

/// The host's instruction for a form, from register xmm`from` and an immediate byte to xmm`to`.
fn encoding(code: Code, to: u8, from: u8, imm: u8) -> Option<Vec<u8>> {
    let info = code.op_code();
    if !code.cpuid_features().iter().all(is_on_host) || info.op_code_len() != 1 {
        return None;
    }
    let mut out = Vec::with_capacity(8);
    match info.mandatory_prefix() {
        MandatoryPrefix::None | MandatoryPrefix::PNP => {}
        MandatoryPrefix::P66 => out.push(0x66),
        MandatoryPrefix::PF3 => out.push(0xf3),
        MandatoryPrefix::PF2 => out.push(0xf2),
    }
    match info.table() {
        OpCodeTableKind::T0F => out.push(0x0f),
        OpCodeTableKind::T0F38 => out.extend([0x0f, 0x38]),
        OpCodeTableKind::T0F3A => out.extend([0x0f, 0x3a]),
        _ => return None,
    }
    out.push(info.op_code() as u8);
    // Of the groups, which shift by a number, the register is in ModRM.rm.
    out.push(match u8::try_from(info.group_index()) {
        Ok(group) => 0xc0 | group << 3 | to,
        Err(_) => 0xc0 | to << 3 | from,
    });
    if info.op_kind(info.op_count().saturating_sub(1)) == iced_x86::OpCodeOperandKind::imm8 {
        out.push(imm);
    }
    Some(out)
}

impl Compiler<'_> {
    /// A micro-operation of this file; false if it is another one.
    pub(super) fn vector_uop(&mut self, u: &Uop, number: u32, place: Place) -> bool {
        match u.op {
            Op::Ld128 => self.load_vector(u, number, place),
            Op::St128 => self.store_vector(u, number, place),
            Op::Vec => self.vector(u, number),
            Op::VecMask => self.vector_mask(u, number),
            _ => return false,
        }
        true
    }

    /// Both parts of a vector are in the file, and nowhere else.
    fn settle_vector(&mut self, r: Reg) {
        for r in [r, high(r)] {
            if let Some(host) = self.regs.release(r) {
                self.store_register(host, r);
            }
        }
    }

    /// To the front end if rax is no multiple of 16.
    fn check_alignment(&mut self, u: &Uop, number: u32, place: Place) {
        if u.aux & 1 == 0 {
            return;
        }
        let label = self.ops.new_dynamic_label();
        x!(self ; test al, BYTE 15 ; jnz =>label);
        self.refer();
        self.cold.push(Cold::Refuse {
            label,
            number,
            place,
            dirty: self.regs.dirty().collect(),
            flags: self.late_flags(),
        });
    }

    fn load_vector(&mut self, u: &Uop, number: u32, place: Place) {
        self.effective_address(u);
        self.check_alignment(u, number, place);
        let (label, back) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        let dirty = self.regs.dirty().collect();
        let flags = self.late_flags();
        self.regs.release(u.d);
        self.regs.release(high(u.d));
        self.translate(READ, 16, label);
        x!(self ; =>back ; movups xmm0, [rax] ; movups [rbp + register(u.d)], xmm0);
        self.cold.push(Cold::Access {
            label,
            back,
            thunk: self.thunks.load_wide,
            place,
            dirty,
            flags,
            value: None,
        });
    }

    fn store_vector(&mut self, u: &Uop, number: u32, place: Place) {
        // A vector of two parts that just were computed is stored in two parts.
        let pair = self.regs.find(u.d).zip(self.regs.find(high(u.d)));
        if pair.is_none() {
            self.settle_vector(u.d);
        }
        self.effective_address(u);
        self.check_alignment(u, number, place);
        let (label, back) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        let dirty = self.regs.dirty().collect();
        let flags = self.late_flags();
        self.translate(WRITE, 16, label);
        match pair {
            Some((low, high)) => x!(self ; mov [rax], Rq(low) ; mov [rax + 8], Rq(high)),
            None => x!(self ; movups xmm0, [rbp + register(u.d)] ; movups [rax], xmm0),
        }
        x!(self ; =>back);
        self.cold.push(Cold::StoreVector {
            label,
            back,
            place,
            dirty,
            flags,
            pair,
            from: u.d,
        });
    }

    fn vector(&mut self, u: &Uop, number: u32) {
        self.settle_vector(u.b);
        self.settle_vector(u.d);
        let code = Code::try_from((u.aux & 0x1fff) as usize).unwrap_or(Code::INVALID);
        if u.b == u.d && matches!(code, Code::Pxor_xmm_xmmm128 | Code::Xorps_xmm_xmmm128) {
            return x!(self ; xorps xmm0, xmm0 ; movups [rbp + register(u.d)], xmm0);
        }
        // The third operand of a form, if it has one, is in xmm0.
        let third = u.a != u.d;
        self.settle_vector(u.a);
        let (to, from) = if third { (1, 2) } else { (0, 1) };
        match encoding(code, to, from, u.imm as u8) {
            Some(bytes) => {
                if third {
                    x!(self ; movups xmm0, [rbp + register(u.a)]);
                }
                x!(self
                    ; movups Rx(to), [rbp + register(u.d)]
                    ; movups Rx(from), [rbp + register(u.b)]
                );
                self.ops.extend(&bytes);
                x!(self ; movups [rbp + register(u.d)], Rx(to));
            }
            None => x!(self ; mov ecx, number as i32 ; call extern self.thunks.vector),
        }
    }

    fn vector_mask(&mut self, u: &Uop, number: u32) {
        self.settle_vector(u.b);
        let code = Code::try_from((u.aux & 0x1fff) as usize).unwrap_or(Code::INVALID);
        let bytes: &[u8] = match code {
            Code::Pmovmskb_r32_xmm | Code::Pmovmskb_r64_xmm => &[0x66, 0x0f, 0xd7, 0xc0],
            Code::Movmskps_r32_xmm | Code::Movmskps_r64_xmm => &[0x0f, 0x50, 0xc0],
            Code::Movmskpd_r32_xmm | Code::Movmskpd_r64_xmm => &[0x66, 0x0f, 0x50, 0xc0],
            _ => {
                // Its result is in the file alone.
                self.dst(u.d);
                self.regs.release(u.d);
                return x!(self ; mov ecx, number as i32 ; call extern self.thunks.vector);
            }
        };
        x!(self ; movups xmm0, [rbp + register(u.b)]);
        self.ops.extend(bytes);
        self.result(u.d);
    }
}

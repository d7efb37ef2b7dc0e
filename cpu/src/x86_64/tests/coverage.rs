//! Every instruction form of the features that CPUID announces is an instruction: none of them ends with #UD.

use std::collections::BTreeSet;

use iced_x86::{Code, CpuidFeature as F, Decoder, DecoderOptions, Mnemonic as M};

use super::*;
use crate::x86_64::exception::vector;

fn is_announced(f: &F) -> bool {
    matches!(
        f,
        F::INTEL8086
            | F::INTEL186
            | F::INTEL286
            | F::INTEL386
            | F::INTEL486
            | F::X64
            | F::FPU
            | F::FPU287
            | F::FPU387
            | F::FPU387SL_ONLY
            | F::TSC
            | F::MSR
            | F::CX8
            | F::CMPXCHG16B
            | F::SEP
            | F::SYSCALL
            | F::CMOV
            | F::CLFSH
            | F::CLFLUSHOPT
            | F::CLWB
            | F::MULTIBYTENOP
            | F::PAUSE
            | F::CPUID
            | F::MMX
            | F::FXSR
            | F::SSE
            | F::SSE2
            | F::SSE3
            | F::SSSE3
            | F::SSE4_1
            | F::SSE4_2
            | F::POPCNT
            | F::LZCNT
            | F::BMI1
            | F::BMI2
            | F::ADX
            | F::AES
            | F::PCLMULQDQ
            | F::SHA
            | F::MOVBE
            | F::XSAVE
            | F::XSAVEOPT
            | F::XSAVEC
            | F::RDRAND
            | F::RDSEED
            | F::FSGSBASE
            | F::SMAP
            | F::INVPCID
            | F::RDTSCP
            | F::RDPID
            | F::PREFETCHW
    )
}

/// Those that are #UD on purpose, or need what the test does not set up.
fn is_refused(code: Code) -> bool {
    use Code as C;
    matches!(code.mnemonic(), M::Ud0 | M::Ud1 | M::Ud2)
        // No other mode of the processor is there, nor are test registers and the instructions of long ago.
        || matches!(code.mnemonic(), M::Rsm | M::Loadall | M::Umov | M::Xbts | M::Ibts)
        || matches!(
            code,
            C::Mov_r32_tr | C::Mov_tr_r32 | C::Storeall
        )
        // MOV CS, and the control registers that do not exist, are among the encodings of these.
        || matches!(code, C::Mov_Sreg_rm16 | C::Mov_Sreg_r32m16 | C::Mov_Sreg_r64m16)
}

/// An encoding of each form: opcodes of all maps, with a register and with a memory operand.
fn encodings(bits: u32) -> Vec<(Code, Vec<u8>)> {
    let maps: [&[u8]; 4] = [&[], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]];
    let mut heads: Vec<Vec<u8>> = Vec::new();
    for prefix in [&[][..], &[0x66], &[0xf2], &[0xf3], &[0x66, 0xf2], &[0x67]] {
        for rex in [&[][..], &[0x48]] {
            for map in maps {
                if bits == 64 || rex.is_empty() {
                    heads.push([prefix, rex, map].concat());
                }
            }
        }
    }
    for w in [0, 0x80] {
        for pp in 0..4 {
            for map in [2, 3] {
                heads.push(vec![0xc4, 0xe0 | map, 0x78 | w | pp]);
            }
        }
    }
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for head in heads {
        for opcode in 0..=255 {
            for mod_rm in (0..=0x3f_u8).map(|n| n >> 3 << 3 | if n & 1 != 0 { 0xc1 } else { 0x03 })
            {
                let mut bytes = [head.as_slice(), &[opcode, mod_rm]].concat();
                bytes.resize(15, 0);
                let i = Decoder::with_ip(bits, &bytes, CODE, DecoderOptions::NONE).decode();
                let wanted = i.code() != Code::INVALID
                    && i.code().cpuid_features().iter().all(is_announced)
                    && !is_refused(i.code());
                if wanted && seen.insert((i.code() as u32, mod_rm >= 0xc0)) {
                    bytes.truncate(i.len());
                    out.push((i.code(), bytes));
                }
            }
        }
    }
    out
}

fn undefined(rig: &mut Rig, at: u64, bytes: &[u8]) -> bool {
    rig.put(at, bytes);
    rig.cpu.cr4 |= CR4_OSXSAVE | CR4_FSGSBASE | CR4_OSFXSR | CR4_SMAP;
    let _ = rig.cpu.run(&mut rig.shared, &mut rig.bus, 0, 1);
    rig.cpu.counters().exceptions.contains_key(&vector::UD)
}

#[test]
fn announced_forms_are_instructions() {
    let mut missing = Vec::new();
    let mut tested = 0;
    for (code, bytes) in encodings(64) {
        let mut rig = Rig::long();
        rig.cpu.set_gpr(3, USER_DATA);
        tested += 1;
        if undefined(&mut rig, CODE, &bytes) {
            missing.push(format!("{code:?} {bytes:02x?}"));
        }
    }
    for (code, bytes) in encodings(32) {
        if code.op_code().mode64() {
            continue;
        }
        let mut rig = modes::protected();
        rig.cpu.set_gpr(3, USER_DATA);
        tested += 1;
        if undefined(&mut rig, modes::FLAT, &bytes) {
            missing.push(format!("32 bits: {code:?} {bytes:02x?}"));
        }
    }
    assert!(
        missing.is_empty(),
        "{} of {tested}: {missing:#?}",
        missing.len()
    );
    assert!(tested > 1500, "{tested}");
}

use iced_x86::{Code, CpuidFeature as F, EncodingKind, Mnemonic as M};

use super::handles;

/// Everything that CPUID announces has a function here, but for what the other units carry out.
#[test]
fn announced_forms_are_handled() {
    let announced = |f: &F| {
        matches!(
            f,
            F::MMX
                | F::SSE
                | F::SSE2
                | F::SSE3
                | F::SSSE3
                | F::SSE4_1
                | F::SSE4_2
                | F::AES
                | F::PCLMULQDQ
                | F::SHA
        )
    };
    let elsewhere = |m: M| {
        matches!(
            m,
            M::Prefetchnta
                | M::Prefetcht0
                | M::Prefetcht1
                | M::Prefetcht2
                | M::Sfence
                | M::Lfence
                | M::Mfence
                | M::Movnti
                | M::Crc32
                | M::Pause
        )
    };
    let missing: Vec<Code> = Code::values()
        .filter(|code| {
            let info = code.op_code();
            info.encoding() == EncodingKind::Legacy && info.mode64()
        })
        .filter(|code| code.cpuid_features().iter().all(announced))
        .filter(|code| !elsewhere(code.mnemonic()) && !handles(*code))
        .collect();
    assert_eq!(missing, []);
}

//! QEMU's user mode in the place of the host's processor: `tests/run oracle` runs these tests under `qemu-x86_64` too, and says so by
//! the variable `VIOMMU_ORACLE=qemu`.

use iced_x86::{Code, Mnemonic};

/// True if QEMU stands in for the host.
pub fn stands_in() -> bool {
    std::env::var_os("VIOMMU_ORACLE").is_some_and(|v| v == "qemu")
}

/// Cases of each form, if QEMU stands in and `ORACLE_CASES` says how many.
pub fn cases() -> Option<u32> {
    let cases = std::env::var("ORACLE_CASES").ok();
    cases.filter(|_| stands_in())?.parse().ok()
}

/// MXCSR for a case: QEMU raises no vector exception and flushes otherwise, so only the rounding mode stays.
pub fn tame(mxcsr: u32) -> u32 {
    if stands_in() {
        0x1f80 | mxcsr & 0x6000
    } else {
        mxcsr
    }
}

/// Bits of MXCSR that are compared: QEMU's flags of exceptions are not those of a processor.
pub fn mxcsr_mask() -> u32 {
    if stands_in() { !0x3f } else { !0 }
}

/// Equal registers. Under QEMU, two elements that are no numbers are equal: it chooses the other of two such operands.
pub fn same(one: &[[u64; 4]; 16], other: &[[u64; 4]; 16]) -> bool {
    let single = |v: u64| f32::from_bits(v as u32).is_nan();
    let halves = |a: u64, b: u64| {
        let pairs = [(a & 0xffff_ffff, b & 0xffff_ffff), (a >> 32, b >> 32)];
        pairs
            .iter()
            .all(|(a, b)| a == b || single(*a) && single(*b))
    };
    let nans = |a: u64, b: u64| f64::from_bits(a).is_nan() && f64::from_bits(b).is_nan();
    let pairs = one.iter().flatten().zip(other.iter().flatten());
    pairs
        .map(|(a, b)| (*a, *b))
        .all(|(a, b)| a == b || stands_in() && (nans(a, b) || halves(a, b)))
}

/// True if QEMU stands in and carries out this form otherwise than processors do. docs/cpu-differences.md has the reasons.
pub fn excuses(code: Code) -> bool {
    use Code as C;
    use Mnemonic as M;
    stands_in()
        && (matches!(
            code.mnemonic(),
            M::Cvtpi2pd
                | M::Cvtpi2ps
                | M::Emms
                | M::Ldmxcsr
                | M::Movdq2q
                | M::Rcpps
                | M::Rcpss
                | M::Rsqrtps
                | M::Rsqrtss
                | M::Vldmxcsr
                | M::Vrcpps
                | M::Vrcpss
                | M::Vrsqrtps
                | M::Vrsqrtss
        ) || matches!(
            code,
            C::Adcx_r32_rm32
                | C::Adox_r32_rm32
                | C::Bsf_r32_rm32
                | C::Bsr_r32_rm32
                | C::Bswap_r16
                | C::Pcmpestri64_xmm_xmmm128_imm8
                | C::Pcmpestrm64_xmm_xmmm128_imm8
                | C::Test_rm16_imm16_F7r1
                | C::Test_rm32_imm32_F7r1
                | C::Test_rm64_imm32_F7r1
                | C::Test_rm8_imm8_F6r1
                | C::VEX_Blsi_r32_rm32
                | C::VEX_Blsi_r64_rm64
                | C::VEX_Vaesdec_ymm_ymm_ymmm256
                | C::VEX_Vaesenc_ymm_ymm_ymmm256
                | C::VEX_Vpcmpestri64_xmm_xmmm128_imm8
                | C::VEX_Vpcmpestrm64_xmm_xmmm128_imm8
        ))
}

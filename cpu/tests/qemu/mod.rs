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

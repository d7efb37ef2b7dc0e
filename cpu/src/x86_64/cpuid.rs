//! CPUID of the model `viommu-v1`: like a client Skylake, without what is not implemented (Intel SDM vol. 2, CPUID).
//!
//! No hypervisor is announced. Leaves 15h and 16h tell the frequencies of the TSC and of the APIC timer, so that nothing has to measure
//! them; leaf 7 and `IA32_ARCH_CAPABILITIES` tell that none of the known side channels exists.

/// Frequency of the APIC timer before its divider, and of the TSC: a tick is a nanosecond of virtual time.
pub const CRYSTAL_HZ: u32 = 1_000_000_000;
/// Family 6, model 5Eh, stepping 3: EAX of leaf 1, and EDX after a reset.
pub const SIGNATURE: u32 = 0x0005_06e3;
/// Revision of the microcode: that of a processor whose TSC deadline timer works.
pub(super) const MICROCODE: u64 = 0xf0;
/// Most processors that the topology leaves can tell.
pub const MAX_CPUS: u32 = 128;
/// Highest basic leaf.
const MAX_LEAF: u32 = 0x16;
const BRAND: &[u8; 48] = b"viommu-v1 virtual processor\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// What CPUID tells that is not the same in all machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Five-level paging.
    pub la57: bool,
    /// Processors of the machine, 1 to [`MAX_CPUS`].
    pub cpus: u32,
    /// Their local APICs have x2APIC mode.
    pub x2apic: bool,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            la57: false,
            cpus: 1,
            x2apic: true,
        }
    }
}

/// What CPUID tells of the CPU's state.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// APIC id.
    pub index: u32,
    /// CR4.OSXSAVE.
    pub osxsave: bool,
    /// XCR0.
    pub xcr0: u64,
}

/// A word with these bits set.
const fn bits(set: &[u32]) -> u32 {
    let (mut word, mut i) = (0, 0);
    while i < set.len() {
        word |= 1 << set[i];
        i += 1;
    }
    word
}

/// Leaf 1 ECX: SSE3, PCLMULQDQ, SSSE3, CX16, PCID, SSE4.1, SSE4.2, x2APIC, MOVBE, POPCNT, TSC deadline, AES, XSAVE, RDRAND.
const FEATURES_1C: u32 = bits(&[0, 1, 9, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 30]);
/// Leaf 1 ECX: x2APIC.
const X2APIC: u32 = 1 << 21;
/// CR4.OSXSAVE is set.
const OSXSAVE: u32 = 1 << 27;
/// Leaf 1 EDX: FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, CLFLUSH, MMX, FXSR, SSE, SSE2, self-snoop.
const FEATURES_1D: u32 = bits(&[
    0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26, 27,
]);
/// Several logical processors may be in the package.
const HTT: u32 = 1 << 28;
/// Leaf 7 EBX: FSGSBASE, TSC_ADJUST, BMI1, no FDP updates but on errors, SMEP, BMI2, ERMS, INVPCID, no FCS and FDS, RDSEED, ADX, SMAP,
/// CLFLUSHOPT, CLWB, SHA.
const FEATURES_7B: u32 = bits(&[0, 1, 3, 7, 8, 9, 10, 13, 18, 19, 20, 23, 24, 29]);
/// Leaf 7 ECX: UMIP, RDPID.
const FEATURES_7C: u32 = bits(&[2, 22]);
const LA57: u32 = 1 << 16;
/// Leaf 7 EDX: MD_CLEAR, IBRS and IBPB, STIBP, ARCH_CAPABILITIES, SSBD.
const FEATURES_7D: u32 = bits(&[10, 26, 27, 29, 31]);
/// Leaf 80000001h ECX: LAHF in 64-bit mode, LZCNT, PREFETCHW.
const FEATURES_81C: u32 = bits(&[0, 5, 8]);
/// Leaf 80000001h EDX: SYSCALL, NX, pages of 1 GiB, RDTSCP, long mode.
const FEATURES_81D: u32 = bits(&[11, 20, 26, 27, 29]);

/// A cache: level, type (1 data, 2 instructions, 3 both), ways, sets, and whether all processors share it. Lines have 64 bytes.
const CACHES: [(u32, u32, u32, u32, bool); 4] = [
    (1, 1, 8, 64, false),
    (1, 2, 8, 64, false),
    (2, 3, 4, 1024, false),
    (3, 3, 16, 8192, true),
];

impl Model {
    /// Bits that XCR0 may have: x87 and SSE.
    pub(super) fn xcr0(self) -> u64 {
        3
    }

    /// Bits of an APIC id that number processors.
    fn id_bits(self) -> u32 {
        self.cpus.clamp(1, MAX_CPUS).next_power_of_two().ilog2()
    }

    /// EAX, EBX, ECX and EDX of a leaf.
    pub(super) fn leaf(self, leaf: u32, sub: u32, state: State) -> [u32; 4] {
        match leaf {
            0x8000_0000..=0xffff_ffff => self.extended(leaf),
            // A basic leaf that does not exist is the last one; 40000000h is no hypervisor's.
            _ => self.basic(leaf.min(MAX_LEAF), sub, state),
        }
    }

    fn basic(self, leaf: u32, sub: u32, state: State) -> [u32; 4] {
        match leaf {
            0 => {
                let [b, d, c] = [*b"Genu", *b"ineI", *b"ntel"].map(u32::from_le_bytes);
                [MAX_LEAF, b, c, d]
            }
            1 => {
                let logical = 1 << self.id_bits();
                let b = state.index << 24 | logical << 16 | 8 << 8;
                let osxsave = if state.osxsave { OSXSAVE } else { 0 };
                let htt = if self.cpus > 1 { HTT } else { 0 };
                let x2apic = if self.x2apic { 0 } else { X2APIC };
                let c = FEATURES_1C & !x2apic | osxsave;
                [SIGNATURE, b, c, FEATURES_1D | htt]
            }
            // See leaf 4; 64-byte prefetches.
            2 => [0x00fe_ff01, 0xf0, 0, 0],
            4 => self.cache(sub),
            // The APIC timer does not stop.
            6 => [1 << 2, 0, 0, 0],
            7 if sub == 0 => {
                let la57 = if self.la57 { LA57 } else { 0 };
                [0, FEATURES_7B, FEATURES_7C | la57, FEATURES_7D]
            }
            0xb => self.topology(sub, state.index),
            0xd => self.saved_state(sub, state),
            0x15 => [1, 1, CRYSTAL_HZ, 0],
            // MHz: base, highest, bus.
            0x16 => [1000, 1000, 100, 0],
            _ => [0; 4],
        }
    }

    fn cache(self, sub: u32) -> [u32; 4] {
        let Some((level, kind, ways, sets, shared)) = CACHES.get(sub as usize) else {
            return [0; 4];
        };
        let ids = (1 << self.id_bits()) - 1;
        let sharing = if *shared { ids } else { 0 };
        [
            kind | level << 5 | 1 << 8 | sharing << 14 | ids << 26,
            63 | (ways - 1) << 22,
            sets - 1,
            0,
        ]
    }

    fn topology(self, sub: u32, index: u32) -> [u32; 4] {
        match sub {
            0 => [0, 1, 1 << 8, index],
            1 => [self.id_bits(), self.cpus, 1 | 2 << 8, index],
            _ => [0, 0, sub & 0xff, index],
        }
    }

    fn saved_state(self, sub: u32, state: State) -> [u32; 4] {
        let [now, most] = [state.xcr0, self.xcr0()].map(area_bytes);
        match sub {
            0 => [self.xcr0() as u32, now, most, 0],
            // XSAVEOPT, XSAVEC, XGETBV with ECX 1.
            1 => [7, now, 0, 0],
            _ => [0; 4],
        }
    }

    fn extended(self, leaf: u32) -> [u32; 4] {
        match leaf {
            0x8000_0000 => [0x8000_0008, 0, 0, 0],
            0x8000_0001 => [0, 0, FEATURES_81C, FEATURES_81D],
            0x8000_0002..=0x8000_0004 => {
                let start = (leaf - 0x8000_0002) as usize * 16;
                let word = |i: usize| {
                    let at = start + 4 * i;
                    u32::from_le_bytes([BRAND[at], BRAND[at + 1], BRAND[at + 2], BRAND[at + 3]])
                };
                [word(0), word(1), word(2), word(3)]
            }
            // Level 2 cache: 256 KiB, 4 ways, lines of 64 bytes.
            0x8000_0006 => [0, 0, 256 << 16 | 4 << 12 | 64, 0],
            // The TSC never stops or changes its speed.
            0x8000_0007 => [0, 0, 0, 1 << 8],
            0x8000_0008 => {
                let linear = if self.la57 { 57 } else { 48 };
                [linear << 8 | super::paging::PHYSICAL_BITS, 0, 0, 0]
            }
            _ => [0; 4],
        }
    }
}

/// Bytes of an XSAVE area with the components of a mask.
pub(super) fn area_bytes(xcr0: u64) -> u32 {
    if xcr0 & 4 != 0 { 832 } else { 576 }
}

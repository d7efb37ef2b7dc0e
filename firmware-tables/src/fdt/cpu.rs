//! Processor nodes.

use super::description::{CpuModel, PseriesDescription};
use super::tree::Node;

/// Features of a POWER9 that the machine has, as (byte, bits, what), bytes counted after the two header bytes, bit 0 the most significant
/// one. LoPAR §B.6.2.1 (`ibm,pa-features`).
///
/// Absent, as a POWER9 partition may have it: transactional memory (byte 22), decimal floating point (bytes 4 and 54), Freescale-only
/// bits, and everything after ISA 3.0B.
const POWER9: &[(usize, u8, &str)] = &[
    (0, 0x80, "MMU on in problem state"),
    (0, 0x40, "floating point"),
    (0, 0x20, "segment lookaside buffer"),
    (0, 0x10, "RUN bit in CTRL"),
    (0, 0x04, "data address breakpoint"),
    (0, 0x02, "no-execute pages"),
    (1, 0x10, "fri[nzpm]"),
    (1, 0x08, "DABRX"),
    (1, 0x04, "SPRG3 readable in problem state"),
    (1, 0x02, "SLB entry 0 as others"),
    (1, 0x01, "PP = 110"),
    (2, 0x80, "virtualized partition memory"),
    (2, 0x40, "multi-threading priority (2.05)"),
    (2, 0x04, "PPR"),
    (2, 0x02, "data stream 2.02"),
    (2, 0x01, "data stream 2.06"),
    (3, 0x80, "load/store doubleword pair hints"),
    (3, 0x40, "unaligned little-endian"),
    (5, 0x80, "little-endian"),
    (5, 0x40, "CFAR"),
    (5, 0x20, "elemental barriers"),
    (5, 0x10, "load/store quadword"),
    (6, 0x80, "data stream 2.07"),
    (16, 0x80, "vector (VMX)"),
    (18, 0x80, "vector-scalar (VSX)"),
    (20, 0x80, "vector exclusive-or and 2.07 vector forms"),
    (24, 0x80, "large decrementer"),
    (26, 0x80, "64-bit fixed-point features of 2.06"),
    (28, 0x80, "performance monitor of 2.07"),
    (32, 0x80, "little-endian atomics"),
    (34, 0xc0, "event-based branches"),
    (40, 0x80, "radix MMU"),
    (42, 0x80, "performance monitor of 3.0"),
    (44, 0x80, "PC-relative addressing by addpcis"),
    (46, 0x80, "scv"),
    (48, 0x80, "SIMD of 3.0"),
    (50, 0x80, "quad-precision binary floating point"),
    (52, 0x80, "string operations of 3.0"),
    (56, 0x80, "decimal integer"),
    (58, 0x80, "SHA"),
    (60, 0x80, "near-memory atomics"),
    (62, 0x80, "random numbers (darn)"),
];

/// `ibm,pa-features` of the POWER9: length of the attribute, its type 0, then the attribute bytes.
pub fn pa_features_power9() -> Vec<u8> {
    let mut bytes = vec![0; 68];
    bytes[0] = 66;
    for (byte, bits, _) in POWER9 {
        bytes[2 + byte] |= bits;
    }
    bytes
}

/// Pages of the radix MMU as (actual page size encoding, shift): 4 KiB, 64 KiB, 2 MiB, 1 GiB. Power ISA 3.0B Book III §5.7.10.
const RADIX_PAGES: [(u32, u32); 4] = [(0, 12), (5, 16), (1, 21), (2, 30)];

/// `/cpus`. LoPAR §B.6.2.
pub(super) fn node(description: &PseriesDescription) -> Node {
    let mut cpus = Node::new("cpus");
    cpus.u32("#address-cells", 1).u32("#size-cells", 0);
    for cpu in &description.cpus {
        let (name, features) = match description.cpu_model {
            CpuModel::Power9 => ("PowerPC,POWER9", pa_features_power9()),
        };
        let mut node = Node::new(format!("{name}@{:x}", cpu.reg));
        node.str("device_type", "cpu")
            .u32("reg", cpu.reg)
            .str("status", "okay")
            .u32("cpu-version", description.cpu_model.pvr())
            .u32("ibm,ppc-interrupt-server#s", cpu.reg)
            .cells("ibm,ppc-interrupt-gserver#s", &[cpu.reg, 0])
            .u32("timebase-frequency", description.timebase_frequency)
            .set("clock-frequency", frequency(description.clock_frequency))
            .flag("64-bit");
        for (side, size) in [("d", 32 << 10), ("i", 32 << 10)] {
            node.u32(&format!("{side}-cache-block-size"), 128)
                .u32(&format!("{side}-cache-line-size"), 128)
                .u32(&format!("{side}-cache-size"), size)
                .u32(&format!("{side}-cache-sets"), size / 128 / 8);
        }
        node.u32("reservation-granule-size", 128)
            .cells(
                "ibm,processor-radix-AP-encodings",
                &RADIX_PAGES.map(|(ap, shift)| ap << 29 | shift),
            )
            .set("ibm,pa-features", features)
            .u32("ibm,vmx", 2)
            .u32("ibm,dfp", 0)
            .u32("ibm,dec-bits", 56)
            .flag("ibm,purr")
            .flag("ibm,spurr");
        cpus.add(node);
    }
    cpus
}

/// One cell where it fits, as most readers expect; two where not.
fn frequency(hz: u64) -> Vec<u8> {
    u32::try_from(hz).map_or_else(
        |_| hz.to_be_bytes().to_vec(),
        |hz| hz.to_be_bytes().to_vec(),
    )
}

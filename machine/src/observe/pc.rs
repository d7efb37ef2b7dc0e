//! What only a PC's report has: its remapping units and its ports.

use std::fmt::{Result, Write};

use serde::Serialize;
use viommu_devices::vtd::Counters;
use viommu_devices::vtd::spec::registers::global;

use super::iommu::Hex;
use super::text::{grouped, seconds};
use crate::pc::faults::Refused;

/// The part of a report that only a PC has.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PcSummary {
    /// Remapping units.
    pub vtd: VtdSummary,
    /// Accesses to ports.
    pub ports: PortSummary,
}

/// The remapping units of a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VtdSummary {
    /// By number.
    pub units: Vec<UnitSummary>,
    /// The last requests and interrupts that they refused, oldest first.
    pub refused: Vec<Refused>,
}

/// A remapping unit.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UnitSummary {
    /// Address of its registers.
    pub address: Hex,
    /// What it offers: CAP.
    pub cap: Hex,
    /// What it offers: ECAP.
    pub ecap: Hex,
    /// What is on at the end: GSTS.
    pub gsts: Hex,
    /// The root table that the guest gave it: RTADDR.
    pub rtaddr: Hex,
    /// What happened.
    #[serde(flatten)]
    pub counters: Counters,
}

/// Accesses to ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortSummary {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Accesses that nothing answered.
    pub errors: u64,
}

/// Bits of GSTS. VT-d 4.1 §11.4.4.2.
const STATUS: [(u32, &str); 4] = [
    (global::TE, "DMA remapping"),
    (global::IRE, "interrupt remapping"),
    (global::QIE, "queued invalidation"),
    (global::CFI, "compatibility-format interrupts"),
];

/// RTADDR's translation table mode. VT-d 4.1 §11.4.5.
const MODES: [&str; 4] = ["legacy", "scalable", "reserved", "abort-DMA"];

impl UnitSummary {
    /// What is on, in words.
    fn status(&self) -> String {
        let on = STATUS
            .iter()
            .filter(|(bit, _)| self.gsts.0 & u64::from(*bit) != 0);
        let words: Vec<_> = on.map(|(_, words)| *words).collect();
        if words.is_empty() {
            return "off".to_owned();
        }
        let mode = MODES.get((self.rtaddr.0 >> 10 & 3) as usize);
        format!("{} ({} mode)", words.join(", "), mode.unwrap_or(&""))
    }
}

/// Writes the remapping units as text.
pub(super) fn write(out: &mut String, pc: &PcSummary) -> Result {
    if pc.vtd.units.is_empty() {
        writeln!(out, "\nVT-d: no remapping units")?;
    }
    for (index, u) in pc.vtd.units.iter().enumerate() {
        unit(out, index, u)?;
    }
    let faults: u64 = pc.vtd.units.iter().map(|u| u.counters.faults).sum();
    writeln!(out, "\nDMA and interrupt faults: {}", grouped(faults))?;
    for r in &pc.vtd.refused {
        writeln!(
            out,
            "  {:>12}  unit {}: {} {} at {}: {:#x} {} ({})",
            seconds(r.at_ns),
            r.unit,
            r.source,
            r.what,
            r.address,
            r.code,
            r.condition,
            r.reason
        )?;
    }
    let left_out = faults.saturating_sub(pc.vtd.refused.len() as u64);
    if left_out != 0 {
        writeln!(out, "  ({} earlier ones are not listed)", grouped(left_out))?;
    }
    Ok(())
}

fn unit(out: &mut String, index: usize, u: &UnitSummary) -> Result {
    let c = &u.counters;
    writeln!(
        out,
        "\nVT-d unit {index} at {}, CAP {}, ECAP {}",
        u.address, u.cap, u.ecap
    )?;
    writeln!(out, "  on at the end: {}", u.status())?;
    let lines = [
        ("requests, found in the IOTLB", c.iotlb_hits),
        ("requests, walked", c.iotlb_misses),
        ("requests, passed through", c.pass_through),
        ("requests, remapping off", c.untranslated),
        ("interrupts, remapped", c.interrupts.remapped),
        ("interrupts, posted", c.interrupts.posted),
        ("interrupts, unchanged", c.interrupts.unchanged),
        ("interrupts, blocked", c.interrupts.blocked),
        ("faults not recorded (FPD)", c.suppressed_faults),
        ("faults not recorded (no room)", c.lost_faults),
        ("missing flushes (caching mode)", c.caching_mode_violations),
    ];
    for (what, n) in lines.into_iter().filter(|(_, n)| *n != 0) {
        writeln!(out, "  {what:<34}{:>14}", grouped(n))?;
    }
    for (kind, n) in &c.invalidations {
        let what = format!("invalidation {kind:?}");
        writeln!(out, "  {what:<34}{:>14}", grouped(*n))?;
    }
    if !c.domains.is_empty() {
        let domains: Vec<_> = c.domains.iter().take(16).map(u16::to_string).collect();
        let more = if c.domains.len() > 16 { ", ..." } else { "" };
        writeln!(out, "  domains: {}{more}", domains.join(", "))?;
    }
    Ok(())
}

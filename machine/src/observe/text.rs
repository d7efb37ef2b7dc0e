//! The report as text for a terminal.

use std::collections::BTreeMap;
use std::fmt::{Result, Write};

use super::cost::CostSummary;
use super::counters::Calls;
use super::iommu::{DdwSummary, IommuSummary, WindowSummary};
use super::pc;
use super::profile::{EngineSummary, Profile};
use super::report::{EehSummary, PartitionSummary, Report};

/// Renders a report. Lines end with `\n`.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, report);
    out
}

fn write_all(out: &mut String, report: &Report) -> Result {
    summary(out, report)?;
    phases(out, report)?;
    if let Some(p) = &report.partition {
        iommu(out, &p.iommu, &report.host.window_translations)?;
        calls(out, "hypercalls", &p.hypercalls, &report.host.hypercalls)?;
        calls(out, "RTAS calls", &p.rtas, &report.host.rtas)?;
    }
    if let Some(p) = &report.pc {
        pc::write(out, p)?;
    }
    devices(out, report)?;
    if let Some(p) = &report.partition {
        partition(out, p)?;
    }
    interrupts(out, report)?;
    if let Some(p) = &report.profile {
        profile(out, p)?;
    }
    if let Some(e) = &report.host.engine {
        engine(out, e)?;
    }
    checks(out, report)
}

fn summary(out: &mut String, r: &Report) -> Result {
    let (cpus, memory) = (r.machine.cpus, bytes(r.machine.memory));
    let (time, idle) = (seconds(r.virtual_ns), seconds(r.idle_ns));
    writeln!(out, "== report ==")?;
    writeln!(
        out,
        "machine       {}, {cpus} vCPU(s), {memory} memory",
        r.machine.kind
    )?;
    write!(out, "end           {}", r.end)?;
    match r.reboots {
        0 => writeln!(out)?,
        n => writeln!(out, ", after {n} reboot(s)")?,
    }
    writeln!(out, "instructions  {}", grouped(r.instructions))?;
    writeln!(out, "virtual time  {time} ({idle} of it idle, skipped)")?;
    writeln!(
        out,
        "host time     {:.2} s, {:.0} MIPS",
        r.host.seconds, r.host.mips
    )
}

fn phases(out: &mut String, r: &Report) -> Result {
    writeln!(
        out,
        "\nphases                        virtual time      instructions   host s"
    )?;
    for (i, p) in r.phases.iter().enumerate() {
        let host = r.host.phase_seconds.get(i).copied().unwrap_or_default();
        let (at, instructions) = (seconds(p.at_ns), grouped(p.instructions));
        writeln!(
            out,
            "  {:<26}  {at:>12}  {instructions:>16}  {host:>7.2}",
            p.name
        )?;
    }
    Ok(())
}

fn iommu(out: &mut String, r: &IommuSummary, costs: &BTreeMap<u64, CostSummary>) -> Result {
    writeln!(out, "\nDMA windows (rules: {})", r.personality)?;
    for w in &r.windows {
        window(out, w)?;
        if let Some(cost) = costs.get(&w.number) {
            writeln!(out, "    translations took {:.0} ns each", cost.mean_ns)?;
        }
    }
    left_out(out, r.windows_dropped, "removed windows")?;
    writeln!(out, "\nDDW calls")?;
    for call in &r.ddw_calls {
        ddw_call(out, call)?;
    }
    left_out(out, r.ddw_calls_dropped, "later calls")?;
    if !r.hcall_errors.is_empty() {
        writeln!(out, "\nrefused TCE hypercalls, with their status")?;
    }
    for (what, count) in &r.hcall_errors {
        writeln!(out, "  {what:<30}{:>14}", grouped(*count))?;
    }
    writeln!(out, "\nDMA faults: {}", grouped(r.faults_total))?;
    for fault in &r.faults {
        writeln!(out, "  {fault}")?;
    }
    left_out(
        out,
        r.faults_total.saturating_sub(r.faults.len() as u64),
        "earlier faults",
    )
}

fn window(out: &mut String, w: &WindowSummary) -> Result {
    let (size, page) = (bytes(w.size), bytes(w.page_size));
    let (peak, entries) = (grouped(w.entries_peak), grouped(w.entries));
    let (read, written) = (bytes(w.bytes_read), bytes(w.bytes_written));
    writeln!(
        out,
        "  LIOBN {}  {}: {size} at {}, {page} pages",
        w.liobn, w.kind, w.bus_address
    )?;
    write!(out, "    from {}", seconds(w.created_ns))?;
    match w.removed_ns {
        None => writeln!(
            out,
            " to the end, {} entries still in use",
            grouped(w.entries_now)
        )?,
        Some(at) => writeln!(
            out,
            " to {}, {} entries not cleared",
            seconds(at),
            grouped(w.entries_at_removal)
        )?,
    }
    writeln!(
        out,
        "    at most {peak} of {entries} entries in use; devices read {read}, wrote {written}, {} fault(s)",
        grouped(w.faults)
    )
}

fn ddw_call(out: &mut String, call: &DdwSummary) -> Result {
    writeln!(
        out,
        "  {:>12}  {} ({})",
        seconds(call.at_ns),
        call.name,
        call.arguments
    )?;
    write!(
        out,
        "{:17}returned {} ({})",
        "", call.status, call.status_name
    )?;
    if call.status == 0 && !call.outputs.0.is_empty() {
        write!(out, ": {}", call.outputs)?;
    }
    writeln!(out)
}

fn left_out(out: &mut String, n: u64, what: &str) -> Result {
    if n == 0 {
        return Ok(());
    }
    writeln!(out, "  ({} {what} are not listed)", grouped(n))
}

fn calls(
    out: &mut String,
    title: &str,
    calls: &BTreeMap<String, Calls>,
    costs: &BTreeMap<String, CostSummary>,
) -> Result {
    writeln!(out, "\n{title}")?;
    for (name, c) in calls {
        let cost = costs.get(name).map_or(String::new(), each);
        let (count, failed) = (grouped(c.calls), failed(c.failed));
        writeln!(out, "  {name:<34}{count:>10}{cost}{failed}")?;
    }
    Ok(())
}

/// The mean of what was measured, if anything was.
fn each(cost: &CostSummary) -> String {
    match cost.measured {
        0 => String::new(),
        _ => format!("{:>9} ns each", grouped(cost.mean_ns as u64)),
    }
}

fn devices(out: &mut String, r: &Report) -> Result {
    writeln!(out, "\ndevices")?;
    for d in &r.devices {
        let (read, written) = (bytes(d.bytes_read), bytes(d.bytes_written));
        writeln!(
            out,
            "  {} {:<12} read {read}, wrote {written} by DMA; {} fault(s)",
            d.address, d.name, d.faults
        )?;
    }
    let (count, cost) = (grouped(r.translations), each(&r.host.translations));
    let what = "translations of their requests";
    writeln!(out, "  {what:<34}{count:>10}{cost}")
}

fn partition(out: &mut String, r: &PartitionSummary) -> Result {
    if !r.slots.is_empty() {
        writeln!(out, "\nconnectors")?;
        for s in &r.slots {
            let how = if s.attached { "attached" } else { "detached" };
            let seconds = s.at_ns as f64 / 1e9;
            writeln!(out, "  {seconds:>10.3} s  {} {how}", s.what)?;
        }
    }
    if r.eeh != EehSummary::default() {
        let e = r.eeh;
        writeln!(
            out,
            "\nPE errors (EEH): {} freeze(s), {} reset(s) by the guest; {} load(s) got all ones, {} store(s) were dropped",
            e.freezes, e.resets, e.loads_refused, e.stores_dropped
        )?;
    }
    Ok(())
}

fn interrupts(out: &mut String, r: &Report) -> Result {
    writeln!(out, "\ninterrupts")?;
    for (source, count) in &r.interrupts {
        writeln!(out, "  {source:<34}{:>10}", grouped(*count))?;
    }
    writeln!(
        out,
        "  device memory: {} loads, {} stores, {} errors",
        r.mmio.reads, r.mmio.writes, r.mmio.errors
    )?;
    let Some(pc) = &r.pc else { return Ok(()) };
    writeln!(
        out,
        "  ports: {} reads, {} writes, {} errors",
        pc.ports.reads, pc.ports.writes, pc.ports.errors
    )
}

/// Functions that the text has; the JSON has more.
const FUNCTIONS: usize = 30;

fn profile(out: &mut String, p: &Profile) -> Result {
    let (every, samples) = (grouped(p.every), grouped(p.samples));
    writeln!(
        out,
        "\nprofile: {samples} samples, one each {every} instructions"
    )?;
    for f in p.functions.iter().take(FUNCTIONS) {
        let percent = 100.0 * f.samples as f64 / p.samples.max(1) as f64;
        writeln!(out, "  {percent:>6.2} %  {}", f.name)?;
    }
    writeln!(out, "interrupts of vCPUs by vector")?;
    for (vector, n) in &p.vectors {
        writeln!(out, "  {vector:<32}  {:>10}", grouped(*n))?;
    }
    writeln!(out, "exits of vCPUs")?;
    let lines = [
        ("hypercalls, but for RTAS and TCEs", p.exits.hypercalls),
        ("RTAS", p.exits.rtas),
        ("device memory", p.exits.mmio),
        ("end of a turn", p.exits.turns),
        ("idle: time skipped", p.exits.idle),
    ];
    for (what, n) in lines {
        writeln!(out, "  {what:<32}  {:>10}", grouped(n))?;
    }
    Ok(())
}

fn engine(out: &mut String, e: &EngineSummary) -> Result {
    writeln!(out, "engine")?;
    let lines = [
        ("blocks decoded", e.blocks_decoded),
        ("instructions decoded", e.instructions_decoded),
        ("blocks compiled", e.blocks_compiled),
        ("pages of code invalidated", e.pages_invalidated),
        ("code caches emptied", e.resets),
        ("entries of compiled code", e.entries),
        ("jump cache misses", e.jump_misses),
        ("soft TLB misses", e.tlb_misses),
    ];
    for (what, n) in lines {
        writeln!(out, "  {what:<32}  {:>10}", grouped(n))?;
    }
    let what = "host seconds for translation";
    writeln!(out, "  {what:<32}  {:>10.3}", e.translation_seconds)
}

fn checks(out: &mut String, r: &Report) -> Result {
    if !r.checks.is_empty() {
        writeln!(out, "\nchecks")?;
    }
    for c in &r.checks {
        let word = if c.ok { "ok  " } else { "FAIL" };
        writeln!(out, "  {word} {}: {}", c.name, c.detail)?;
    }
    Ok(())
}

fn failed(n: u64) -> String {
    if n == 0 {
        String::new()
    } else {
        format!("  ({} failed)", grouped(n))
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i != 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Nanoseconds as seconds.
pub fn seconds(ns: u64) -> String {
    format!("{}.{:06} s", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
}

/// A size with a binary unit, exact where the unit divides it.
pub fn bytes(n: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let size = 1_u64 << shift;
        if n >= size {
            return if n.is_multiple_of(size) {
                format!("{} {unit}", n >> shift)
            } else {
                format!("{:.1} {unit}", n as f64 / size as f64)
            };
        }
    }
    format!("{n} B")
}

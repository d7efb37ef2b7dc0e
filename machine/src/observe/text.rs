//! The report as text for a terminal.

use std::fmt::Write;

use serde_json::Value;

use super::report::Report;

/// Renders a report. Lines end with `\n`.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, report);
    out
}

fn write_all(out: &mut String, r: &Report) -> std::fmt::Result {
    writeln!(out, "== report ==")?;
    writeln!(out, "machine       {}, {} vCPU(s), {} memory", r.machine.kind, r.machine.cpus, bytes(r.machine.memory))?;
    writeln!(out, "end           {}", r.end)?;
    writeln!(out, "instructions  {}", grouped(r.instructions))?;
    writeln!(out, "virtual time  {} ({} of it idle, skipped)", seconds(r.virtual_ns), seconds(r.idle_ns))?;
    writeln!(out, "host time     {:.2} s, {:.0} MIPS", r.host.seconds, r.host.mips)?;
    writeln!(out, "\nphases                        virtual time      instructions   host s")?;
    for (i, p) in r.phases.iter().enumerate() {
        let host = r.host.phase_seconds.get(i).copied().unwrap_or_default();
        writeln!(out, "  {:<26}  {:>12}  {:>16}  {host:>7.2}", p.name, seconds(p.at_ns), grouped(p.instructions))?;
    }
    if !r.iommu.is_null() {
        writeln!(out, "\nDMA windows and DDW calls")?;
        value(out, &r.iommu, 1)?;
    }
    writeln!(out, "\nhypercalls")?;
    for (name, c) in &r.hypercalls {
        writeln!(out, "  {name:<30}{:>14}{}", grouped(c.calls), failed(c.failed))?;
    }
    writeln!(out, "\nRTAS calls")?;
    for (name, c) in &r.rtas {
        writeln!(out, "  {name:<34}{:>10}{}", grouped(c.calls), failed(c.failed))?;
    }
    writeln!(out, "\ndevices")?;
    for d in &r.devices {
        let (read, written) = (bytes(d.bytes_read), bytes(d.bytes_written));
        writeln!(out, "  {} {:<12} read {read}, wrote {written} by DMA; {} fault(s)", d.address, d.name, d.faults)?;
    }
    writeln!(out, "\ninterrupts")?;
    for (source, count) in &r.interrupts {
        writeln!(out, "  {source:<34}{:>10}", grouped(*count))?;
    }
    writeln!(out, "  device memory: {} loads, {} stores, {} errors", r.mmio.reads, r.mmio.writes, r.mmio.errors)?;
    if !r.checks.is_empty() {
        writeln!(out, "\nchecks")?;
    }
    for c in &r.checks {
        writeln!(out, "  {} {}: {}", if c.ok { "ok  " } else { "FAIL" }, c.name, c.detail)?;
    }
    Ok(())
}

/// Any JSON value as indented lines: scalars after their key, an object of scalars on one line.
fn value(out: &mut String, v: &Value, depth: usize) -> std::fmt::Result {
    let pad = "  ".repeat(depth);
    match v {
        Value::Object(map) if depth > 1 && map.values().all(is_scalar) => writeln!(out, "{pad}{}", pairs(map)),
        Value::Object(map) => {
            for (key, v) in map {
                if is_scalar(v) {
                    writeln!(out, "{pad}{key} {}", scalar(key, v))?;
                } else if !is_empty(v) {
                    writeln!(out, "{pad}{key}")?;
                    value(out, v, depth + 1)?;
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| value(out, item, depth)),
        other => writeln!(out, "{pad}{}", scalar("", other)),
    }
}

fn pairs(map: &serde_json::Map<String, Value>) -> String {
    map.iter().map(|(k, v)| format!("{k} {}", scalar(k, v))).collect::<Vec<_>>().join(", ")
}

fn is_scalar(v: &Value) -> bool {
    !v.is_object() && !v.is_array()
}

fn is_empty(v: &Value) -> bool {
    v.as_array().is_some_and(Vec::is_empty) || v.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Keys whose numbers are addresses or identifiers are shown in hexadecimal.
fn scalar(key: &str, v: &Value) -> String {
    let hex = ["liobn", "start", "base", "addr", "iova", "gpa", "tce", "buid", "window_size"].iter().any(|k| key.contains(k));
    match v {
        Value::String(s) => s.clone(),
        Value::Number(n) => match n.as_u64() {
            Some(n) if hex => format!("{n:#x}"),
            Some(n) => grouped(n),
            None => n.to_string(),
        },
        other => other.to_string(),
    }
}

fn failed(n: u64) -> String {
    if n == 0 { String::new() } else { format!("  ({} failed)", grouped(n)) }
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
            return if n.is_multiple_of(size) { format!("{} {unit}", n >> shift) } else { format!("{:.1} {unit}", n as f64 / size as f64) };
        }
    }
    format!("{n} B")
}

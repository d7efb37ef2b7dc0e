//! Medians as Markdown.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::commands::READ_MIB;
use super::loops::Order;
use super::measure::{
    CPU, ENTRY, INIT, MIPS_INIT, MIPS_OFF, OFF, PC_CPU, PC_INIT, PC_OFF, PC_PEAK, PC_READ,
    PC_READ_LEGACY, PC_TOTAL, PEAK, READ_DDW, READ_DEFAULT, TOTAL,
};
use super::program::{PIECES, Piece, Work};
use super::samples::Emulator::{Interpreter, Qemu, QemuVof, Viommu};
use super::samples::{Emulator, Samples};

const BEGIN: &str = "<!-- tests/peers/bench writes from here -->";
const END: &str = "<!-- to here -->";

/// Replaces what stands between the two marks of a document.
///
/// # Errors
/// The marks are missing.
pub fn insert(document: &str, tables: &str) -> Result<String> {
    let missing = || format!("the document has no lines {BEGIN:?} and {END:?}");
    let (before, rest) = document.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    let tables = tables.trim_end();
    Ok(format!("{before}{BEGIN}\n\n{tables}\n\n{END}{after}"))
}

/// Every table for which there are values.
///
/// # Errors
/// Of a table, some values are there and some are missing.
pub fn all(samples: &Samples, by_cpu: &Samples) -> Result<String> {
    let mut out = String::new();
    if !samples.lacks(TOTAL) {
        boots(samples, &mut out)?;
    }
    if !samples.lacks(PIECES[1].name) {
        loops(samples, by_cpu, &mut out)?;
        hypercalls(samples, by_cpu, &mut out)?;
    }
    if !samples.lacks(READ_DDW) {
        reads(samples, by_cpu, &mut out)?;
    }
    if !samples.lacks(PC_TOTAL) {
        pc(samples, by_cpu, &mut out)?;
    }
    targets(samples, &mut out)?;
    if let Some((name, spread)) = samples.widest() {
        let percent = spread * 100.0;
        writeln!(
            out,
            "The widest spread of the runs of one figure (largest less smallest, over the median) is {percent:.0} %: {name}."
        )?;
    }
    Ok(out)
}

/// A number with three digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn boots(s: &Samples, out: &mut String) -> Result<()> {
    out.push_str("### Boot\n\n");
    out.push_str("| | viommu | viommu, interpreter | QEMU | QEMU, x-vof=on | viommu / QEMU | viommu / x-vof=on |\n");
    out.push_str("|---|---|---|---|---|---|---|\n");
    for what in [ENTRY, INIT, OFF, TOTAL, CPU, PEAK] {
        write!(out, "| {what} |")?;
        for who in [Viommu, Interpreter, Qemu, QemuVof] {
            write!(out, " {} |", number(s.median(what, who)?))?;
        }
        for peer in [Qemu, QemuVof] {
            write!(out, " {:.2} |", s.ratio(what, Viommu, peer)?)?;
        }
        out.push('\n');
    }
    for what in [MIPS_INIT, MIPS_OFF] {
        let of = |who| s.median(what, who).map(number);
        writeln!(
            out,
            "| {what} | {} | {} | | | | |",
            of(Viommu)?,
            of(Interpreter)?
        )?;
    }
    out.push('\n');
    Ok(())
}

fn loop_name(piece: &Piece) -> Option<String> {
    let Work::Loop(blocks, order) = piece.work else {
        return None;
    };
    let scattered = match order {
        Order::Straight => "",
        Order::Scattered => ", each in another page than the one before",
    };
    Some(format!("{blocks} blocks{scattered}"))
}

fn loops(s: &Samples, by_cpu: &Samples, out: &mut String) -> Result<()> {
    out.push_str("### Bare-metal loops, MIPS\n\n");
    out.push_str(COMPARED);
    for (piece, name) in PIECES.iter().filter_map(|p| Some((p, loop_name(p)?))) {
        compare(s, by_cpu, out, piece.name, &name, QemuVof)?;
    }
    out.push('\n');
    Ok(())
}

const COMPARED: &str =
    "| | viommu | QEMU | viommu / QEMU | the same by CPU time |\n|---|---|---|---|---|\n";

/// A row of a table with the head [`COMPARED`].
fn compare(
    s: &Samples,
    by_cpu: &Samples,
    out: &mut String,
    what: &'static str,
    name: &str,
    peer: Emulator,
) -> Result<()> {
    let (ours, theirs) = (s.median(what, Viommu)?, s.median(what, peer)?);
    let (ours, theirs) = (number(ours), number(theirs));
    let ratio = s.ratio(what, Viommu, peer)?;
    let cpu_ratio = by_cpu.ratio(what, Viommu, peer)?;
    writeln!(
        out,
        "| {name} | {ours} | {theirs} | {ratio:.2} | {cpu_ratio:.2} |"
    )?;
    Ok(())
}

fn call_name(piece: &Piece) -> Option<&'static str> {
    match piece.work {
        Work::Nothing | Work::Loop(..) => None,
        Work::PutTce => Some("H_PUT_TCE"),
        Work::GetTce => Some("H_GET_TCE"),
        Work::PutTceIndirect => Some("H_PUT_TCE_INDIRECT x512"),
        Work::StuffTce => Some("H_STUFF_TCE x512"),
        Work::Rejected => Some("an unknown hypercall"),
    }
}

fn hypercalls(s: &Samples, by_cpu: &Samples, out: &mut String) -> Result<()> {
    out.push_str("### Hypercalls as a guest sees them, ns each\n\n");
    out.push_str(COMPARED);
    for (piece, name) in PIECES.iter().filter_map(|p| Some((p, call_name(p)?))) {
        compare(s, by_cpu, out, piece.name, name, QemuVof)?;
    }
    out.push('\n');
    Ok(())
}

fn reads(s: &Samples, by_cpu: &Samples, out: &mut String) -> Result<()> {
    writeln!(out, "### NVMe: {READ_MIB} MiB in direct reads of 128 KiB\n")?;
    out.push_str(COMPARED);
    for what in [READ_DDW, READ_DEFAULT] {
        compare(s, by_cpu, out, what, what, QemuVof)?;
    }
    out.push('\n');
    Ok(())
}

fn pc(s: &Samples, by_cpu: &Samples, out: &mut String) -> Result<()> {
    out.push_str("### The PC behind its VT-d unit\n\n");
    out.push_str("| | viommu | viommu, interpreter | QEMU | viommu / QEMU |\n");
    out.push_str("|---|---|---|---|---|\n");
    let short = |what: &'static str| what.trim_start_matches("PC: ");
    for what in [PC_INIT, PC_OFF, PC_TOTAL, PC_CPU, PC_PEAK] {
        write!(out, "| {} |", short(what))?;
        for who in [Viommu, Interpreter, Qemu] {
            write!(out, " {} |", number(s.median(what, who)?))?;
        }
        writeln!(out, " {:.2} |", s.ratio(what, Viommu, Qemu)?)?;
    }
    writeln!(
        out,
        "\n{READ_MIB} MiB of NVMe in direct reads of 128 KiB:\n"
    )?;
    out.push_str(COMPARED);
    for what in [PC_READ, PC_READ_LEGACY] {
        compare(s, by_cpu, out, what, short(what), Qemu)?;
    }
    out.push('\n');
    Ok(())
}

/// What is wanted of a ratio of viommu's value to QEMU's.
#[derive(Clone, Copy)]
enum Wanted {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

impl Wanted {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Wanted::AtMost(limit) => ratio <= limit,
            Wanted::Below(limit) => ratio < limit,
            Wanted::AtLeast(limit) => ratio >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Wanted::AtMost(limit) => format!("at most {limit}"),
            Wanted::Below(limit) => format!("below {limit}"),
            Wanted::AtLeast(limit) => format!("at least {limit}"),
        }
    }
}

/// A target: its text, the value, the peer and what is wanted of the ratio.
type Target = (&'static str, &'static str, Emulator, Wanted);

const TARGETS: [Target; 17] = [
    ("kernel entry to init", INIT, Qemu, Wanted::AtMost(0.8)),
    ("start to power-off", TOTAL, Qemu, Wanted::AtMost(0.5)),
    (
        "start to power-off, x-vof=on",
        TOTAL,
        QemuVof,
        Wanted::AtMost(0.9),
    ),
    ("peak memory", PEAK, Qemu, Wanted::AtMost(1.0)),
    (
        "rate of 20000 blocks",
        "blocks-20000",
        QemuVof,
        Wanted::AtLeast(3.0),
    ),
    (
        "rate of 64 blocks",
        "blocks-64",
        QemuVof,
        Wanted::AtLeast(0.9),
    ),
    ("H_PUT_TCE", "put-tce", QemuVof, Wanted::AtMost(0.5)),
    ("H_GET_TCE", "get-tce", QemuVof, Wanted::AtMost(0.5)),
    (
        "H_PUT_TCE_INDIRECT x512",
        "put-tce-indirect",
        QemuVof,
        Wanted::AtMost(0.5),
    ),
    (
        "H_STUFF_TCE x512",
        "stuff-tce",
        QemuVof,
        Wanted::AtMost(0.5),
    ),
    (
        "an unknown hypercall",
        "rejected",
        QemuVof,
        Wanted::AtMost(0.5),
    ),
    (
        "NVMe read through a dynamic window",
        READ_DDW,
        QemuVof,
        Wanted::Below(1.0),
    ),
    (
        "NVMe read with disable_ddw",
        READ_DEFAULT,
        QemuVof,
        Wanted::Below(1.0),
    ),
    (
        "PC: start to power-off",
        PC_TOTAL,
        Qemu,
        Wanted::AtMost(1.0),
    ),
    ("PC: CPU time", PC_CPU, Qemu, Wanted::AtMost(1.0)),
    (
        "PC: NVMe read through the unit",
        PC_READ,
        Qemu,
        Wanted::AtMost(1.0),
    ),
    (
        "PC: NVMe read, both in legacy mode",
        PC_READ_LEGACY,
        Qemu,
        Wanted::AtMost(1.0),
    ),
];

fn targets(s: &Samples, out: &mut String) -> Result<()> {
    out.push_str("### Targets\n\n| viommu / QEMU | wanted | measured | met |\n|---|---|---|---|\n");
    for (text, what, peer, wanted) in TARGETS.iter().filter(|t| !s.lacks(t.1)) {
        let ratio = s.ratio(what, Viommu, *peer)?;
        let met = if wanted.holds(ratio) { "yes" } else { "**no**" };
        writeln!(out, "| {text} | {} | {ratio:.2} | {met} |", wanted.text())?;
    }
    out.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests;

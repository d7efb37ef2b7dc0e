//! Runs viommu and QEMU in turn on the same inputs and compares them. `tests/peers/bench` builds and starts it; `--help` says how.

mod child;
mod commands;
#[path = "../../../../machine/benches/common/loops.rs"]
mod loops;
mod measure;
mod program;
mod samples;
mod tables;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use commands::Inputs;
use measure::Results;
use samples::Emulator::{self, Interpreter, Qemu, QemuVof, Viommu};

const USAGE: &str = "tests/peers/bench [RUNS] [--print] [--only boot|bare|nvme|pc]

Runs viommu and QEMU in turn on the same inputs, RUNS times (1 to 100, 5 unless told), and writes the medians into
docs/performance.md.

  --print       print the tables instead
  --only PART   only the boots, the bare-metal kernel or the reads of a disk on pseries, or the PC's boots and reads;
                prints the tables

VIOMMU, QEMU and QEMU_X86 name other programs than target/release/viommu and the qemu-system-ppc64 and qemu-system-x86_64 that
tests/peers/qemu finds.
Exit status: 0 measured (whether or not the targets are met), 1 a run did not finish, 2 bad arguments or something is missing.";

const DOCUMENT: &str = "docs/performance.md";

/// What is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Boot,
    Bare,
    Nvme,
    Pc,
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    runs: u32,
    print: bool,
    only: Option<Part>,
}

/// None: help is wanted.
fn options(mut args: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let mut options = Options {
        runs: 5,
        print: false,
        only: None,
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--print" => options.print = true,
            "--only" => {
                options.only = Some(match args.next().as_deref() {
                    Some("boot") => Part::Boot,
                    Some("bare") => Part::Bare,
                    Some("nvme") => Part::Nvme,
                    Some("pc") => Part::Pc,
                    _ => bail!("--only takes boot, bare, nvme or pc"),
                });
            }
            runs => {
                let runs = runs.parse().ok().filter(|n| (1..=100).contains(n));
                options.runs = runs.with_context(|| {
                    format!("{arg:?} is neither an option nor a number of runs from 1 to 100; see --help")
                })?;
            }
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let fail = |status: u8, error: anyhow::Error| {
        eprintln!("error: {error:#}");
        ExitCode::from(status)
    };
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(2, error),
    };
    let inputs = match Inputs::prepare() {
        Ok(inputs) => inputs,
        Err(error) => return fail(2, error),
    };
    match run(&options, &inputs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, error),
    }
}

fn run(options: &Options, inputs: &Inputs) -> Result<()> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut results = Results::default();
    let start = Instant::now();
    for round in 1..=options.runs {
        measure(options.only, inputs, &mut results, |what| {
            let seconds = start.elapsed().as_secs();
            eprintln!("{seconds:4} s, run {round} of {}: {what}", options.runs);
        })?;
    }
    let mut text = conditions(inputs, options.runs, &results, &load)?;
    text += &tables::all(&results.samples, &results.by_cpu)?;
    if options.print || options.only.is_some() {
        print!("{text}");
        return Ok(());
    }
    let document = std::fs::read_to_string(DOCUMENT).context(DOCUMENT)?;
    let document = tables::insert(&document, &text).context(DOCUMENT)?;
    std::fs::write(DOCUMENT, document).context(DOCUMENT)?;
    eprintln!("{DOCUMENT} has the tables");
    Ok(())
}

/// Each emulator's run of each part, once.
fn measure(
    only: Option<Part>,
    inputs: &Inputs,
    results: &mut Results,
    mut say: impl FnMut(&str),
) -> Result<()> {
    let wanted = |part| only.is_none_or(|o| o == part);
    let mut step = |what: &str, who: Emulator, outcome: &mut dyn FnMut() -> Result<()>| {
        let name = format!("{what}, {}", who.name());
        say(&name);
        outcome().with_context(|| format!("{name}: this run did not finish"))
    };
    if wanted(Part::Boot) {
        for who in [Viommu, Qemu, QemuVof, Interpreter] {
            step("boot", who, &mut || results.boot(inputs, who))?;
        }
    }
    if wanted(Part::Bare) {
        for who in [Viommu, QemuVof] {
            step("bare-metal kernel", who, &mut || results.bare(inputs, who))?;
        }
    }
    if wanted(Part::Nvme) {
        for (ddw, what) in [(true, "NVMe read"), (false, "NVMe read, disable_ddw")] {
            for who in [Viommu, QemuVof] {
                step(what, who, &mut || results.read(inputs, who, ddw))?;
            }
        }
    }
    if wanted(Part::Pc) {
        for who in [Viommu, Qemu, Interpreter] {
            step("boot of the PC", who, &mut || results.boot_pc(inputs, who))?;
        }
        for (legacy, what) in [(false, "NVMe read, PC"), (true, "NVMe read, PC, legacy")] {
            for who in [Viommu, Qemu] {
                step(what, who, &mut || results.read_pc(inputs, who, legacy))?;
            }
        }
    }
    Ok(())
}

/// Where and with what it was measured.
fn conditions(inputs: &Inputs, runs: u32, results: &Results, load: &str) -> Result<String> {
    let (viommu, peers) = inputs.versions()?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |m| m.1);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let runs = match runs {
        1 => "One run each.".to_owned(),
        n => format!("Medians of {n} runs each, in turn."),
    };
    let mut out = String::new();
    writeln!(out, "{runs}\n")?;
    writeln!(out, "| | |\n|---|---|")?;
    writeln!(out, "| host | {model}, {cores} processors |")?;
    if let Some(load) = load.split(' ').next() {
        writeln!(out, "| load of the host before | {load} |")?;
    }
    writeln!(out, "| viommu | {viommu} |")?;
    for (peer, machine) in peers.iter().zip(["pseries", "PC"]) {
        writeln!(out, "| peer, {machine} | {peer} |")?;
    }
    for (kernel, machine) in [(&results.kernel, "pseries"), (&results.kernel_pc, "PC")] {
        if !kernel.is_empty() {
            writeln!(out, "| guest, {machine} | Debian, Linux {kernel} |")?;
        }
    }
    out.push('\n');
    Ok(out)
}

#[cfg(test)]
mod tests;

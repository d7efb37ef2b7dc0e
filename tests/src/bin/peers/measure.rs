//! Single measurements: one run of one emulator each.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::child::{self, Line, Run, Until};
use super::commands::{Inputs, Machine, READ_BEGINS, READ_ENDS, READ_GOOD};
use super::program::{self, PIECES, Work};
use super::samples::{Emulator, Samples};

/// Start of the program to the first line of the kernel, in seconds.
pub const ENTRY: &str = "start to kernel entry, s";
/// From there to the line with which the kernel starts the first process.
pub const INIT: &str = "kernel entry to init, s";
/// From there to the end of the program.
pub const OFF: &str = "init to power-off, s";
/// Start to end.
pub const TOTAL: &str = "start to power-off, s";
/// Processor time.
pub const CPU: &str = "CPU time, s";
/// Largest resident set.
pub const PEAK: &str = "peak memory, MiB";
/// Guest instructions per microsecond from kernel entry to init; only viommu counts them.
pub const MIPS_INIT: &str = "MIPS, kernel entry to init";
/// The same from init to power-off.
pub const MIPS_OFF: &str = "MIPS, init to power-off";
/// Read of the disk through a dynamic window.
pub const READ_DDW: &str = "through a dynamic window, s";
/// Read of the disk with `disable_ddw`.
pub const READ_DEFAULT: &str = "disable_ddw, s";

/// The same figures of the PC: start of the program to the first process. The console's first line comes late there.
pub const PC_INIT: &str = "PC: start to init, s";
/// From there to the end.
pub const PC_OFF: &str = "PC: init to power-off, s";
/// Start to end.
pub const PC_TOTAL: &str = "PC: start to power-off, s";
/// Processor time.
pub const PC_CPU: &str = "PC: CPU time, s";
/// Largest resident set.
pub const PC_PEAK: &str = "PC: peak memory, MiB";
/// Read of the disk through the unit as it is by default: viommu's scalable, QEMU's legacy.
pub const PC_READ: &str = "PC: through the unit, s";
/// Read of the disk with both units in legacy mode.
pub const PC_READ_LEGACY: &str = "PC: through the unit in legacy mode, s";

/// Longest boot, and longest run of the bare-metal kernel.
const LIMIT: Duration = Duration::from_secs(400);

/// The kernel starts the first process.
const INIT_LINE: &str = "Run /init as init process";
/// The kernel has set up the remapping unit.
const UNIT_LINE: &str = "DMAR: Intel(R) Virtualization Technology for Directed I/O";

/// Release of the kernel that ran.
fn version(run: &Run) -> String {
    let line = run.lines.iter();
    let line = line
        .filter_map(|l| l.text.split_once("Linux version "))
        .next();
    let release = line.and_then(|(_, version)| version.split(' ').next());
    release.unwrap_or_default().to_owned()
}

/// A line of the kernel's log.
fn is_kernel_line(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|l| l.split_once(']'));
    stamp.is_some_and(|(s, _)| s.trim().parse::<f64>().is_ok())
}

/// What was measured so far, and what the guests said.
#[derive(Debug, Default)]
pub struct Results {
    /// Values.
    pub samples: Samples,
    /// Those of pieces and reads once more, by the processor time of the emulator: they suffer less from other work of the host.
    pub by_cpu: Samples,
    /// `Linux version ...` of the guest.
    pub kernel: String,
    /// The same of the PC's guest.
    pub kernel_pc: String,
    hashes: Option<Vec<String>>,
    loops: Vec<Option<String>>,
}

impl Results {
    /// A boot with the disk check.
    ///
    /// # Errors
    /// It did not do all that it should.
    pub fn boot(&mut self, inputs: &Inputs, who: Emulator) -> Result<()> {
        let run = self.checked_boot(inputs, Machine::Pseries, who)?;
        let entry = run.line_where("kernel line", is_kernel_line)?.at;
        let init = run.time_of(INIT_LINE)?;
        self.kernel = version(&run);
        let phases = [
            (ENTRY, entry),
            (INIT, init - entry),
            (OFF, run.total - init),
            (TOTAL, run.total),
        ];
        self.push_run(who, &run, &phases, CPU, PEAK);
        if matches!(who, Emulator::Viommu | Emulator::Interpreter) {
            let count = instructions(inputs)?;
            let mips = |count: u64, time: Duration| count as f64 / time.as_secs_f64() / 1e6;
            self.samples
                .push(MIPS_INIT, who, mips(count.init - count.entry, init - entry));
            self.samples.push(
                MIPS_OFF,
                who,
                mips(count.end - count.init, run.total - init),
            );
        }
        Ok(())
    }

    /// The same on the PC, behind its unit.
    ///
    /// # Errors
    /// It did not do all that it should.
    pub fn boot_pc(&mut self, inputs: &Inputs, who: Emulator) -> Result<()> {
        let run = self.checked_boot(inputs, Machine::Pc, who)?;
        run.line(UNIT_LINE)?;
        let init = run.time_of(INIT_LINE)?;
        self.kernel_pc = version(&run);
        let phases = [
            (PC_INIT, init),
            (PC_OFF, run.total - init),
            (PC_TOTAL, run.total),
        ];
        self.push_run(who, &run, &phases, PC_CPU, PC_PEAK);
        Ok(())
    }

    fn checked_boot(&mut self, inputs: &Inputs, machine: Machine, who: Emulator) -> Result<Run> {
        let run = child::run(inputs.boot(machine, who), Until::Exit, LIMIT)?;
        run.line("viommu-init: done")?;
        self.same_hashes(&run)?;
        Ok(run)
    }

    /// Phases, processor time and peak memory of a boot.
    fn push_run(
        &mut self,
        who: Emulator,
        run: &Run,
        phases: &[(&'static str, Duration)],
        cpu: &'static str,
        peak: &'static str,
    ) {
        for (what, time) in phases.iter().copied().chain([(cpu, run.cpu)]) {
            self.samples.push(what, who, time.as_secs_f64());
        }
        self.samples
            .push(peak, who, run.peak as f64 / f64::from(1 << 20));
    }

    /// Every run has read the same bytes from the disk.
    fn same_hashes(&mut self, run: &Run) -> Result<()> {
        let is_hash =
            |l: &&str| l.starts_with("viommu-init: read ") || l.starts_with("viommu-init: reread ");
        let lines = run.lines.iter().map(|l| l.text.as_str());
        let hashes: Vec<String> = lines.filter(is_hash).map(str::to_owned).collect();
        ensure!(hashes.len() == 2, "the disk was not checked: {hashes:?}");
        let expected = self.hashes.get_or_insert_with(|| hashes.clone());
        ensure!(
            *expected == hashes,
            "the guest read {hashes:?}, an earlier run {expected:?}"
        );
        Ok(())
    }

    /// The bare-metal kernel: MIPS of loops, nanoseconds of hypercalls.
    ///
    /// # Errors
    /// It did not get through, or a piece had another result than it should.
    pub fn bare(&mut self, inputs: &Inputs, who: Emulator) -> Result<()> {
        let run = child::run(inputs.bare(who), Until::Line(program::DONE), LIMIT)?;
        self.loops.resize(PIECES.len(), None);
        let mut overhead = Span::default();
        for (index, piece) in PIECES.iter().enumerate() {
            let (begin, end) = (program::begin(piece.name), program::end(piece.name));
            let (first, last) = (run.line(&begin)?, run.line(&end)?);
            let span = Span::between(first, last, overhead);
            let (_, result) = last.text.split_once(&end).context("no result")?;
            let times = piece.times as f64;
            match piece.work {
                Work::Nothing => overhead = span,
                Work::Loop(..) => {
                    let expected = self.loops[index].get_or_insert_with(|| result.to_owned());
                    ensure!(
                        expected == result,
                        "{} gave {result}, in an earlier run {expected}",
                        piece.name
                    );
                    let count = inputs.instructions[index] as f64 * times;
                    self.push(piece.name, who, span, |seconds| count / seconds / 1e6);
                }
                _ => {
                    ensure!(
                        result == "0000000000000000",
                        "a hypercall of {} had another status than it should ({result})",
                        piece.name
                    );
                    self.push(piece.name, who, span, |seconds| seconds * 1e9 / times);
                }
            }
        }
        Ok(())
    }

    /// Linux reads a disk.
    ///
    /// # Errors
    /// It did not, or not through the window that it should.
    pub fn read(&mut self, inputs: &Inputs, who: Emulator, ddw: bool) -> Result<()> {
        let run = child::run(inputs.read(who, ddw), Until::Exit, LIMIT)?;
        run.time_of(READ_GOOD)?;
        let made = run
            .lines
            .iter()
            .any(|l| l.text.contains("ibm,create-pe-dma-window") && l.text.contains("returned 0 "));
        ensure!(
            made == ddw,
            "the guest has {} dynamic window",
            if made { "a" } else { "no" }
        );
        let (first, last) = (run.line(READ_BEGINS)?, run.line(READ_ENDS)?);
        let what = if ddw { READ_DDW } else { READ_DEFAULT };
        self.push(
            what,
            who,
            Span::between(first, last, Span::default()),
            |s| s,
        );
        Ok(())
    }

    /// Linux reads a disk of the PC.
    ///
    /// # Errors
    /// It did not, or not through the unit.
    pub fn read_pc(&mut self, inputs: &Inputs, who: Emulator, legacy: bool) -> Result<()> {
        let run = child::run(inputs.read_pc(who, legacy), Until::Exit, LIMIT)?;
        run.line(READ_GOOD)?;
        run.line(UNIT_LINE)?;
        let span = Span::between(
            run.line(READ_BEGINS)?,
            run.line(READ_ENDS)?,
            Span::default(),
        );
        let what = if legacy { PC_READ_LEGACY } else { PC_READ };
        self.push(what, who, span, |s| s);
        Ok(())
    }

    /// Adds a value that is computed from seconds.
    fn push(&mut self, what: &'static str, who: Emulator, span: Span, value: impl Fn(f64) -> f64) {
        self.samples.push(what, who, value(span.time));
        self.by_cpu.push(what, who, value(span.cpu));
    }
}

/// Seconds between two lines.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    time: f64,
    /// Of the processor; at least a tick, so that nothing is divided by zero.
    cpu: f64,
}

impl Span {
    fn between(first: &Line, last: &Line, overhead: Span) -> Span {
        let seconds = |to: Duration, from: Duration| to.saturating_sub(from).as_secs_f64();
        Span {
            time: (seconds(last.at, first.at) - overhead.time).max(1e-6),
            cpu: (seconds(last.cpu, first.cpu) - overhead.cpu).max(0.01),
        }
    }
}

/// Instructions at the landmarks of the last run of viommu.
struct Count {
    entry: u64,
    init: u64,
    end: u64,
}

fn instructions(inputs: &Inputs) -> Result<Count> {
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(inputs.report())?)?;
    let at = |name: &str| {
        let phases = report["phases"].as_array().into_iter().flatten();
        phases
            .filter(|p| p["name"] == name)
            .find_map(|p| p["instructions"].as_u64())
            .with_context(|| format!("the report has no phase {name:?}"))
    };
    Ok(Count {
        entry: at("kernel: first line")?,
        init: at("kernel: starts userspace")?,
        end: at("end")?,
    })
}

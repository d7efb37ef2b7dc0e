//! Scenarios as data: `scenario MODE NAME`, where MODE is `legacy`, `scalable` (second stage), `first` (scalable, first stage), or
//! `interrupts` or `x2apic` (interrupt remapping, without and with EIM); then one step a line:
//!
//! | step | meaning |
//! |---|---|
//! | `block NAME` ... `end`, `use NAME` | steps to be repeated |
//! | `put ADDRESS VALUE...` | quadwords into guest memory |
//! | `start MODE` | RTADDR, SRTP, the queue, TE |
//! | `inv LOW [HIGH]` | a descriptor and a wait with status; *observes* whether the status came |
//! | `raw LOW [HIGH]` | a descriptor only |
//! | `write BUS GPA` | the device writes 8 bytes; *observes* whether they arrived at GPA |
//! | `copy BUS TO GPA` | the device reads 8 bytes at BUS and writes them to TO; *observes* what is at GPA |
//! | `read BUS` | the device reads 8 bytes |
//! | `msi ADDRESS DATA` | the device sends a message; *observes* which vectors arrived at local APIC 0 that had not before |
//! | `pin ENTRY` | a pin of the I/O APIC with this redirection table entry; *observes* the same |
//! | `irq` | *observes* the same |
//! | `fault` | *observes* the first fault record and FSTS, then clears both |
//! | `reg NAME`, `see ADDRESS` | *observes* a register, a quadword |
//! | `set NAME VALUE` | writes a register |
//! | `differs OURS / QEMU: WHY` | the next difference, in order |

use anyhow::{Context, Result, bail};
use viommu_devices::vtd::spec::registers::Register;

pub const ROOT: u64 = 0x100_0000;
pub const QUEUE: u64 = 0x100_8000;
pub const STATUS: u64 = 0x100_9000;
/// Physical page that the device's buffer is loaded from before anything else, while translation is off.
const LOADER: u64 = 0x80_0000;
/// Quadwords loaded: each write sends another, and the last is for copies.
const SLOTS: u64 = 64;

fn pattern(slot: u64) -> u64 {
    0x1122_3344_0000_0000 + slot
}

/// What the unit is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Legacy,
    Second,
    First,
    /// Interrupt remapping, legacy mode.
    Interrupts,
    /// The same with x2APIC destinations.
    X2apic,
}

impl Mode {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "legacy" => Mode::Legacy,
            "scalable" => Mode::Second,
            "first" => Mode::First,
            "interrupts" => Mode::Interrupts,
            "x2apic" => Mode::X2apic,
            _ => bail!("no mode {name}"),
        })
    }

    /// True if the unit has interrupt remapping.
    pub fn remaps_interrupts(self) -> bool {
        matches!(self, Mode::Interrupts | Mode::X2apic)
    }

    fn is_scalable(self) -> bool {
        matches!(self, Mode::Second | Mode::First)
    }
}

/// What a local APIC holds of its 256 vectors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    /// IRR.
    pub requested: [u32; 8],
    /// TMR: the last one was level triggered.
    pub level: [u32; 8],
}

/// A unit and a device behind it.
pub trait Target {
    fn read_memory(&mut self, at: u64) -> Result<u64>;
    fn write_memory(&mut self, at: u64, value: u64) -> Result<()>;
    fn read_register(&mut self, offset: u64, size: u8) -> Result<u64>;
    fn write_register(&mut self, offset: u64, size: u8, value: u64) -> Result<()>;
    /// Moves bytes between the device's buffer, from `offset` on, and the bus.
    fn dma(&mut self, bus: u64, offset: u64, len: u64, from_device: bool) -> Result<()>;
    /// Sends a message from the device.
    fn message(&mut self, address: u32, data: u32) -> Result<()>;
    /// Raises and lowers a pin of the I/O APIC.
    fn pin(&mut self, entry: u64) -> Result<()>;
    /// What arrived at local APIC 0; it takes no interrupt.
    fn pending(&mut self) -> Result<Pending>;
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, Vec<u64>),
    Start(bool),
    Invalidate(u64, u64),
    Raw(u64, u64),
    Write(u64, u64),
    Copy(u64, u64, u64),
    Read(u64),
    Message(u32, u32),
    Pin(u64),
    Arrived,
    Fault,
    Register(Register),
    See(u64),
    Set(Register, u64),
}

pub struct Difference {
    pub ours: String,
    pub qemu: String,
}

pub struct Scenario {
    pub name: String,
    pub mode: Mode,
    steps: Vec<(usize, Step)>,
    pub differences: Vec<Difference>,
}

fn number(word: &str) -> Result<u64> {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(&hex.replace('_', ""), 16),
        None => word.parse(),
    };
    parsed.with_context(|| format!("{word} is not a number"))
}

fn register(name: &str) -> Result<Register> {
    Register::MAP
        .iter()
        .map(|(_, _, r)| *r)
        .find(|r| format!("{r:?}") == name)
        .with_context(|| format!("no register {name}"))
}

fn step(words: &[&str]) -> Result<Step> {
    let n = |i: usize| number(words.get(i).context("a number is missing")?);
    let or_zero = |i: usize| words.get(i).map_or(Ok(0), |w| number(w));
    let name = || register(words.get(1).context("a name is missing")?);
    Ok(match words[0] {
        "put" => Step::Put(
            n(1)?,
            words[2..]
                .iter()
                .map(|w| number(w))
                .collect::<Result<_>>()?,
        ),
        "start" => Step::Start(words.get(1) != Some(&"legacy")),
        "inv" => Step::Invalidate(n(1)?, or_zero(2)?),
        "raw" => Step::Raw(n(1)?, or_zero(2)?),
        "write" => Step::Write(n(1)?, n(2)?),
        "copy" => Step::Copy(n(1)?, n(2)?, n(3)?),
        "read" => Step::Read(n(1)?),
        "msi" => Step::Message(n(1)?.try_into()?, n(2)?.try_into()?),
        "pin" => Step::Pin(n(1)?),
        "irq" => Step::Arrived,
        "fault" => Step::Fault,
        "reg" => Step::Register(name()?),
        "see" => Step::See(n(1)?),
        "set" => Step::Set(name()?, n(2)?),
        other => bail!("no step {other}"),
    })
}

/// Reads a file of scenarios.
pub fn parse(text: &str) -> Result<Vec<Scenario>> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut blocks: Vec<(String, Vec<(usize, Step)>)> = Vec::new();
    let mut in_block = false;
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = || format!("line {}: {line}", n + 1);
        match words[..] {
            [] => {}
            ["block", name] => {
                blocks.push((name.to_owned(), Vec::new()));
                in_block = true;
            }
            ["end"] => in_block = false,
            ["scenario", mode, name] => scenarios.push(Scenario {
                name: name.to_owned(),
                mode: Mode::parse(mode).with_context(at)?,
                steps: Vec::new(),
                differences: Vec::new(),
            }),
            ["differs", ..] => {
                let (pair, why) = line["differs".len()..].split_once(": ").with_context(at)?;
                let (ours, qemu) = pair.split_once(" / ").with_context(at)?;
                if why.trim().is_empty() {
                    bail!("{}: who is right?", at());
                }
                let s = scenarios.last_mut().with_context(at)?;
                s.differences.push(Difference {
                    ours: ours.trim().to_owned(),
                    qemu: qemu.trim().to_owned(),
                });
            }
            ["use", name] => {
                let steps = blocks
                    .iter()
                    .find(|(b, _)| b == name)
                    .with_context(at)?
                    .1
                    .clone();
                let s = scenarios.last_mut().with_context(at)?;
                s.steps.extend(steps);
            }
            _ => {
                let step = (n + 1, step(&words).with_context(at)?);
                match (in_block, blocks.last_mut()) {
                    (true, Some(block)) => block.1.push(step),
                    _ => scenarios.last_mut().with_context(at)?.steps.push(step),
                }
            }
        }
    }
    Ok(scenarios)
}

/// State of a run.
struct Run<'a> {
    target: &'a mut dyn Target,
    scalable: bool,
    tail: u64,
    /// Quadwords of the device's buffer sent so far.
    sent: u64,
    /// Vectors that had arrived before.
    arrived: [u32; 8],
}

impl Scenario {
    /// How many observations a run gives.
    pub fn observations(&self) -> usize {
        self.steps
            .iter()
            .filter(|(_, s)| {
                !matches!(
                    s,
                    Step::Put(..) | Step::Start(_) | Step::Raw(..) | Step::Read(_) | Step::Set(..)
                )
            })
            .count()
    }

    /// Carries out the steps; what was observed, with its line.
    pub fn run(&self, target: &mut dyn Target) -> Result<Vec<(usize, String)>> {
        let mut run = Run {
            target,
            scalable: self.mode.is_scalable(),
            tail: 0,
            sent: 0,
            arrived: [0; 8],
        };
        for slot in 0..SLOTS {
            run.target.write_memory(LOADER + 8 * slot, pattern(slot))?;
        }
        run.target.dma(LOADER, 0, 8 * SLOTS, false)?;
        let mut seen = Vec::new();
        for (line, step) in &self.steps {
            let observed = run.step(step).with_context(|| format!("line {line}"))?;
            seen.extend(observed.map(|o| (*line, o)));
        }
        Ok(seen)
    }
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<Option<String>> {
        match step {
            Step::Put(at, values) => {
                for (i, v) in values.iter().enumerate() {
                    self.target.write_memory(at + 8 * i as u64, *v)?;
                }
            }
            Step::Start(scalable) => self.start(*scalable)?,
            Step::Raw(low, high) => self.submit(*low, *high)?,
            Step::Invalidate(low, high) => {
                self.target.write_memory(STATUS, 0)?;
                self.submit(*low, *high)?;
                self.submit(0x25 | 0x77 << 32, STATUS)?;
                let done = self.target.read_memory(STATUS)? == 0x77;
                return Ok(Some(if done { "done" } else { "not done" }.to_owned()));
            }
            Step::Write(bus, gpa) => {
                self.target.dma(*bus, 8 * self.sent, 8, true)?;
                let arrived = self.target.read_memory(*gpa)? == pattern(self.sent);
                self.sent = (self.sent + 1) % (SLOTS - 1);
                return Ok(Some(if arrived { "arrived" } else { "nothing" }.to_owned()));
            }
            Step::Copy(bus, to, gpa) => {
                let slot = 8 * (SLOTS - 1);
                self.target.dma(*bus, slot, 8, false)?;
                self.target.dma(*to, slot, 8, true)?;
                return Ok(Some(format!("{:#x}", self.target.read_memory(*gpa)?)));
            }
            Step::Read(bus) => self.target.dma(*bus, 8 * (SLOTS - 1), 8, false)?,
            Step::Message(address, data) => {
                self.target.message(*address, *data)?;
                return self.arrived().map(Some);
            }
            Step::Pin(entry) => {
                self.target.pin(*entry)?;
                return self.arrived().map(Some);
            }
            Step::Arrived => return self.arrived().map(Some),
            Step::Fault => return self.fault().map(Some),
            Step::Register(r) => return Ok(Some(format!("{:#x}", self.register(*r)?))),
            Step::See(at) => return Ok(Some(format!("{:#x}", self.target.read_memory(*at)?))),
            Step::Set(r, value) => self.set(*r, *value)?,
        }
        Ok(None)
    }

    /// Vectors that have arrived since the last look.
    fn arrived(&mut self) -> Result<String> {
        let now = self.target.pending()?;
        let mut new = Vec::new();
        for vector in 0..256 {
            let (word, bit) = (vector / 32, 1 << (vector % 32));
            if now.requested[word] & !self.arrived[word] & bit != 0 {
                let level = now.level[word] & bit != 0;
                new.push(format!("{vector:#x}{}", if level { " level" } else { "" }));
            }
        }
        self.arrived = now.requested;
        if new.is_empty() {
            return Ok("none".to_owned());
        }
        Ok(new.join(" "))
    }

    /// Where a register is in this unit.
    fn place(&mut self, r: Register) -> Result<(u64, u8)> {
        let iro = (self.target.read_register(0x10, 8)? >> 8 & 0x3ff) * 16;
        let place = match r {
            Register::IVA => (iro, 8),
            Register::IOTLB => (iro + 8, 8),
            _ => {
                let found = Register::MAP.iter().find(|(_, _, m)| *m == r);
                let (at, size, _) = found.context("a register of fixed place")?;
                (*at, *size as u8)
            }
        };
        Ok(place)
    }

    fn register(&mut self, r: Register) -> Result<u64> {
        let (at, size) = self.place(r)?;
        self.target.read_register(at, size)
    }

    fn set(&mut self, r: Register, value: u64) -> Result<()> {
        let (at, size) = self.place(r)?;
        self.target.write_register(at, size, value)
    }

    fn start(&mut self, scalable: bool) -> Result<()> {
        self.set(Register::RTADDR, ROOT | u64::from(scalable) << 10)?;
        self.set(Register::GCMD, 1 << 30)?;
        self.tail = 0;
        self.set(Register::IQT, 0)?;
        self.set(Register::IQA, QUEUE | u64::from(self.scalable) << 11)?;
        self.set(Register::GCMD, 1 << 26)?;
        self.set(Register::GCMD, 1 << 26 | 1 << 31)
    }

    fn submit(&mut self, low: u64, high: u64) -> Result<()> {
        let size = if self.scalable { 32 } else { 16 };
        for (i, word) in [low, high, 0, 0]
            .into_iter()
            .take(size as usize / 8)
            .enumerate()
        {
            self.target
                .write_memory(QUEUE + self.tail + 8 * i as u64, word)?;
        }
        self.tail = (self.tail + size) % 4096;
        self.set(Register::IQT, self.tail)
    }

    /// The record that FSTS.FRI points to, in words, and FSTS without FRI.
    fn fault(&mut self) -> Result<String> {
        let cap = self.target.read_register(8, 8)?;
        let fsts = self.target.read_register(0x34, 4)?;
        let at = (cap >> 24 & 0x3ff) * 16 + (fsts >> 8 & 0xff) * 16;
        let low = self.target.read_register(at, 8)?;
        let high = self.target.read_register(at + 8, 8)?;
        let text = if high >> 63 == 0 {
            format!("none, FSTS {:#x}", fsts & 0xff)
        } else {
            let kind = if high & 1 << 62 != 0 { "read" } else { "write" };
            format!(
                "{:#x} {kind} by {:#x} at {:#x}, FSTS {:#x}",
                high >> 32 & 0xff,
                high & 0xffff,
                low & !0xfff,
                fsts & 0xff
            )
        };
        self.target.write_register(at + 12, 4, 1 << 31)?;
        self.target.write_register(0x34, 4, 0x7f)?;
        Ok(text)
    }
}

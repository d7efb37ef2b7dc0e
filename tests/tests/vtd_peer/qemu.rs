//! QEMU's unit and its `edu`, through the qtest protocol: no CPU runs, each access is a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::scenario::Target;

const UNIT: u64 = 0xfed9_0000;
const BAR: u64 = 0xe000_0000;
const BUFFER: u64 = 0x40000;
/// Physical page that the device's buffer is loaded from.
const LOADER: u64 = 0x80_0000;

pub struct Qemu {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Qemu {
    pub fn start(scalable: bool) -> Result<Self> {
        let mode = if scalable { "on" } else { "off" };
        let program = std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".to_owned());
        let mut command = Command::new(&program);
        if let Ok(data) = std::env::var("QEMU_DATA") {
            command.args(["-L", &data]);
        }
        let mut child = command
            .args(["-machine", "q35", "-accel", "qtest", "-m", "64M", "-nodefaults", "-display", "none"])
            .args(["-qtest", "stdio", "-qtest-log", "/dev/null"])
            .arg("-device")
            .arg(format!("intel-iommu,intremap=off,aw-bits=48,x-scalable-mode={mode}"))
            .args(["-device", "edu,addr=02.0,dma_mask=0xffffffffffffffff"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{program} does not start: tests/run vtd-peer installs it"))?;
        let input = child.stdin.take().context("stdin")?;
        let output = BufReader::new(child.stdout.take().context("stdout")?);
        let mut qemu = Qemu {
            child,
            input,
            output,
        };
        // BAR 0 and the command register of 00:02.0.
        for (register, value) in [(0x10u64, BAR), (0x04, 6)] {
            qemu.ask(&format!("outl 0xcf8 {:#x}", 0x8000_0000 | 2 << 11 | register))?;
            qemu.ask(&format!("outl 0xcfc {value:#x}"))?;
        }
        Ok(qemu)
    }

    /// Sends a line and returns the rest of its answer.
    fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        loop {
            let mut answer = String::new();
            if self.output.read_line(&mut answer)? == 0 {
                bail!("QEMU ended at: {line}");
            }
            // Interrupts are told in between.
            if answer.starts_with("IRQ") {
                continue;
            }
            return match answer.trim().strip_prefix("OK") {
                Some(rest) => Ok(rest.trim().to_owned()),
                None => bail!("QEMU answers {} to: {line}", answer.trim()),
            };
        }
    }

    fn read(&mut self, at: u64, size: u8) -> Result<u64> {
        let verb = if size == 8 { "readq" } else { "readl" };
        let answer = self.ask(&format!("{verb} {at:#x}"))?;
        u64::from_str_radix(answer.trim_start_matches("0x"), 16).context(answer)
    }

    fn write(&mut self, at: u64, size: u8, value: u64) -> Result<()> {
        let verb = if size == 8 { "writeq" } else { "writel" };
        self.ask(&format!("{verb} {at:#x} {value:#x}")).map(|_| ())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target for Qemu {
    fn read_memory(&mut self, at: u64) -> Result<u64> {
        self.read(at, 8)
    }

    fn write_memory(&mut self, at: u64, value: u64) -> Result<()> {
        self.write(at, 8, value)
    }

    fn read_register(&mut self, offset: u64, size: u8) -> Result<u64> {
        self.read(UNIT + offset, size)
    }

    fn write_register(&mut self, offset: u64, size: u8, value: u64) -> Result<()> {
        self.write(UNIT + offset, size, value)
    }

    fn dma(&mut self, bus: u64, from_device: bool) -> Result<()> {
        let (source, destination) = if from_device { (BUFFER, bus) } else { (bus, BUFFER) };
        self.write(BAR + 0x80, 8, source)?;
        self.write(BAR + 0x88, 8, destination)?;
        self.write(BAR + 0x90, 8, 8)?;
        self.write(BAR + 0x98, 8, 1 | u64::from(from_device) << 1)?;
        // The device starts after 100 ms of virtual time.
        self.ask("clock_step 200000000").map(|_| ())
    }

    fn load_buffer(&mut self, value: u64) -> Result<()> {
        self.write_memory(LOADER, value)?;
        let gsts = self.read_register(0x1c, 4)?;
        self.write_register(0x18, 4, gsts & 0x0780_0000)?;
        self.dma(LOADER, false)?;
        self.write_register(0x18, 4, gsts & 0x8780_0000)
    }
}

//! QEMU's unit and its `edu`, through the qtest protocol: each access is a line.
//!
//! Debian's QEMU has the protocol but not the `qtest` accelerator, so a CPU is there; its firmware is one `hlt`. Virtual time skips to
//! the next timer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::scenario::{Mode, Target};

const UNIT: u64 = 0xfed9_0000;
const BAR: u64 = 0xe000_0000;
const BUFFER: u64 = 0x40000;
/// Times, a millisecond apart, that the device is asked whether it is done.
const LOOKS: u32 = 10_000;

pub struct Qemu {
    child: Child,
    /// Kept as long as QEMU may read it.
    _firmware: tempfile::NamedTempFile,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Qemu {
    pub fn start(mode: Mode) -> Result<Self> {
        let options = match mode {
            Mode::Legacy => "x-scalable-mode=off",
            Mode::Second => "x-scalable-mode=on",
            Mode::First => "x-scalable-mode=on,x-flts=on",
        };
        // At the reset vector, 16 bytes before the end: hlt, and back to it.
        let mut image = vec![0xf4u8; 64 << 10];
        let vector = image.len() - 16;
        image[vector..vector + 3].copy_from_slice(&[0xf4, 0xeb, 0xfd]);
        let mut firmware = tempfile::NamedTempFile::new()?;
        firmware.write_all(&image)?;
        let program = std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".to_owned());
        let mut command = Command::new(&program);
        if let Ok(data) = std::env::var("QEMU_DATA") {
            command.args(["-L", &data]);
        }
        let mut child = command
            .args([
                "-machine",
                "q35",
                "-accel",
                "tcg",
                "-m",
                "64M",
                "-nodefaults",
                "-display",
                "none",
            ])
            .args([
                "-qtest",
                "stdio",
                "-qtest-log",
                "/dev/null",
                "-icount",
                "shift=0,sleep=off",
            ])
            .arg("-bios")
            .arg(firmware.path())
            .arg("-device")
            .arg(format!("intel-iommu,intremap=off,aw-bits=48,{options}"))
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
            _firmware: firmware,
            input,
            output,
        };
        // BAR 0 and the command register of 00:02.0.
        for (register, value) in [(0x10u64, BAR), (0x04, 6)] {
            qemu.ask(&format!(
                "outl 0xcf8 {:#x}",
                0x8000_0000 | 2 << 11 | register
            ))?;
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

    fn dma(&mut self, bus: u64, offset: u64, len: u64, from_device: bool) -> Result<()> {
        let local = BUFFER + offset;
        let (source, destination) = if from_device {
            (local, bus)
        } else {
            (bus, local)
        };
        self.write(BAR + 0x80, 8, source)?;
        self.write(BAR + 0x88, 8, destination)?;
        self.write(BAR + 0x90, 8, len)?;
        self.write(BAR + 0x98, 8, 1 | u64::from(from_device) << 1)?;
        // The device runs after 100 ms of virtual time, and then clears the bit.
        for _ in 0..LOOKS {
            if self.read(BAR + 0x98, 8)? & 1 == 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("the device does not end its DMA")
    }
}

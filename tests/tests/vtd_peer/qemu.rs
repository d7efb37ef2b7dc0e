//! QEMU's unit and its `edu`, through the qtest protocol: each access is a line.
//!
//! Debian's QEMU has the protocol but not the `qtest` accelerator, so a CPU is there; see `firmware` for what it does. While it halts,
//! virtual time skips to the next timer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::firmware;
use crate::scenario::{Mode, Pending, Target};

const UNIT: u64 = 0xfed9_0000;
const BAR: u64 = 0xe000_0000;
const BUFFER: u64 = 0x40000;
/// Where the device is, for configuration mechanism 1: 00:02.0.
const DEVICE: u64 = 0x8000_0000 | 2 << 11;
/// Registers of the device: raise and lower an interrupt.
const RAISE: u64 = BAR + 0x60;
const LOWER: u64 = BAR + 0x64;
/// A word for messages that are sent by DMA.
const WORD: u64 = 0x71_0000;
/// The I/O APIC: register number, register.
const IO_APIC: [u64; 2] = [0xfec0_0000, 0xfec0_0010];
/// Its pin for the device's INTA.
const PIN: u64 = 22;
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
            Mode::Interrupts => "intremap=on,eim=off",
            Mode::X2apic => "intremap=on,eim=on",
        };
        let remapping = if mode.remaps_interrupts() {
            ""
        } else {
            "intremap=off,"
        };
        let interrupts = mode.remaps_interrupts();
        let mut firmware = tempfile::NamedTempFile::new()?;
        firmware.write_all(&firmware::image(interrupts))?;
        let program = std::env::var("QEMU_X86").unwrap_or_else(|_| "qemu-system-x86_64".to_owned());
        let mut command = Command::new(&program);
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
            .args(["-qtest", "stdio", "-qtest-log", "/dev/null", "-icount"])
            // Nanoseconds of an instruction, as a power of two: a CPU that does not halt has to get through the device's 100 ms.
            .arg(if interrupts {
                "shift=10,sleep=off"
            } else {
                "shift=0,sleep=off"
            })
            .arg("-bios")
            .arg(firmware.path())
            .arg("-device")
            .arg(format!("intel-iommu,{remapping}aw-bits=48,{options}"))
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
        // BAR 0 and the command register.
        qemu.configure(0x10, BAR)?;
        qemu.configure(0x04, 6)?;
        Ok(qemu)
    }

    /// Writes four bytes of the device's configuration space.
    fn configure(&mut self, register: u64, value: u64) -> Result<()> {
        self.ask(&format!("outl 0xcf8 {:#x}", DEVICE | register))?;
        self.ask(&format!("outl 0xcfc {value:#x}")).map(|_| ())
    }

    /// The device's MSI capability.
    fn msi(&mut self) -> Result<u64> {
        let mut at = 0x34;
        for _ in 0..16 {
            self.ask(&format!("outl 0xcf8 {:#x}", DEVICE | at & !3))?;
            let word = u64::from_str_radix(self.ask("inl 0xcfc")?.trim_start_matches("0x"), 16)?;
            if at != 0x34 && word & 0xff == 5 {
                return Ok(at);
            }
            at = if at == 0x34 { word } else { word >> 8 } & 0xfc;
        }
        bail!("the device has no MSI capability")
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

    fn message(&mut self, address: u32, data: u32) -> Result<()> {
        if data > 0xffff {
            // The capability's data has 16 bits; a DMA of 4 bytes is a message just as well.
            self.write(WORD, 4, data.into())?;
            self.dma(WORD, 0, 4, false)?;
            return self.dma(address.into(), 0, 4, true);
        }
        let msi = self.msi()?;
        self.configure(msi + 4, address.into())?;
        self.configure(msi + 8, 0)?;
        self.configure(msi + 12, data.into())?;
        self.configure(msi, 1 << 16)?;
        self.write(RAISE, 4, 1)?;
        self.write(LOWER, 4, 1)
    }

    fn pin(&mut self, entry: u64) -> Result<()> {
        let msi = self.msi()?;
        self.configure(msi, 0)?;
        for (register, value) in [(1, entry >> 32), (0, entry & 0xffff_ffff)] {
            self.write(IO_APIC[0], 4, 0x10 + 2 * PIN + register)?;
            self.write(IO_APIC[1], 4, value)?;
        }
        self.write(RAISE, 4, 1)?;
        self.write(LOWER, 4, 1)
    }

    fn pending(&mut self) -> Result<Pending> {
        let number = self.read(firmware::ANSWERED, 4)? + 1;
        self.write(firmware::ASKED, 4, number)?;
        for _ in 0..LOOKS {
            if self.read(firmware::ANSWERED, 4)? == number {
                let mut pending = Pending::default();
                for n in 0..8 {
                    let at = 4 * n as u64;
                    pending.requested[n] = self.read(firmware::REQUESTED + at, 4)? as u32;
                    pending.level[n] = self.read(firmware::LEVEL + at, 4)? as u32;
                }
                return Ok(pending);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("the firmware does not answer")
    }
}

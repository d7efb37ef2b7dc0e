//! What every emulator is given, and how each is called.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use viommu::guest::initramfs::Initramfs;

use super::samples::Emulator;

/// Bytes that the guest reads from the disk in [`Inputs::read`].
pub const READ_MIB: u64 = 256;
/// Printed by the guest before it reads the disk.
pub const READ_BEGINS: &str = "bench: read begins";
/// Printed by the guest after it has read the disk.
pub const READ_ENDS: &str = "bench: read ends";
/// Printed by the first process when all of it was read.
pub const READ_GOOD: &str = "viommu-init: run /bench-read status 0";

const BOOT_DISK_MIB: u64 = 64;

/// Reads the disk in pieces of 128 KiB and prints a line before and after.
const READ_SCRIPT: &str = r#"#!/bin/busybox sh
tries=0
until [ -b /dev/nvme0n1 ]; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || { echo "bench: no disk"; exit 1; }
  usleep 100000
done
echo "bench: read begins"
dd if=/dev/nvme0n1 of=/dev/null bs=128k count=2048 iflag=direct 2>/tmp/dd || { cat /tmp/dd; exit 1; }
echo "bench: read ends"
read -r records _ < /tmp/dd
[ "$records" = 2048+0 ]
"#;

/// A machine that Linux is booted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `-M pseries`.
    Pseries,
    /// `-M q35 -device intel-iommu`.
    Pc,
}

impl Machine {
    fn name(self) -> &'static str {
        match self {
            Machine::Pseries => "pseries",
            Machine::Pc => "pc",
        }
    }

    fn guest(self) -> &'static str {
        match self {
            Machine::Pseries => "debian-6.12",
            Machine::Pc => "debian-6.12-amd64",
        }
    }

    /// Command line that every boot on this machine begins with.
    fn append(self) -> &'static str {
        match self {
            Machine::Pseries => "console=hvc0 panic=-1",
            Machine::Pc => "console=ttyS0 intel_iommu=on panic=-1",
        }
    }

    /// Debian's package of the peer, the program in it, and the variable that names another.
    fn peer(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Machine::Pseries => ("qemu-system-ppc", "qemu-system-ppc64", "QEMU"),
            Machine::Pc => ("qemu-system-x86", "qemu-system-x86_64", "QEMU_X86"),
        }
    }
}

/// A peer and the guest that both boot.
#[derive(Debug)]
struct Pair {
    qemu: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
    /// The same with the script that reads a disk.
    reader: PathBuf,
}

/// Programs and files.
#[derive(Debug)]
pub struct Inputs {
    viommu: PathBuf,
    pseries: Pair,
    pc: Pair,
    folder: tempfile::TempDir,
    /// Instructions of a pass of each piece of the bare-metal kernel.
    pub instructions: Vec<u64>,
}

fn program(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

impl Pair {
    fn prepare(machine: Machine, viommu: &Path, folder: &Path) -> Result<Pair> {
        let (package, name, variable) = machine.peer();
        let qemu = program(variable, name);
        version(&qemu).with_context(|| {
            format!(
                "{} is needed as the peer: as root, apt-get install {package}; or name the program with {variable}",
                qemu.display()
            )
        })?;
        let (kernel, initrd) = fetch(viommu, machine.guest())?;
        let reader = folder.join(format!("initrd-{}", machine.name()));
        let mut archive = File::open(&initrd).and_then(Initramfs::read)?;
        archive.add_file("bench-read", 0o755, READ_SCRIPT.as_bytes().to_vec());
        archive.write(File::create(&reader)?)?;
        Ok(Pair {
            qemu,
            kernel,
            initrd,
            reader,
        })
    }
}

impl Inputs {
    /// Looks for the programs, fetches the guests and writes the files.
    ///
    /// # Errors
    /// Something is missing; the message says how to get it.
    pub fn prepare() -> Result<Inputs> {
        let viommu = program("VIOMMU", "target/release/viommu");
        version(&viommu).with_context(|| {
            format!(
                "{} is needed: cargo build --release; or name the program with VIOMMU",
                viommu.display()
            )
        })?;
        let folder = tempfile::tempdir().context("a folder for temporary files")?;
        let pair = |machine| Pair::prepare(machine, &viommu, folder.path());
        let (pseries, pc) = (pair(Machine::Pseries)?, pair(Machine::Pc)?);
        let bare = super::program::kernel()?;
        std::fs::write(folder.path().join("bare"), &bare.elf)?;
        noise(&folder.path().join("disk"), BOOT_DISK_MIB)?;
        noise(&folder.path().join("large"), READ_MIB)?;
        Ok(Inputs {
            viommu,
            pseries,
            pc,
            folder,
            instructions: bare.instructions,
        })
    }

    /// First line of the version of viommu and of the peers.
    ///
    /// # Errors
    /// A program is gone.
    pub fn versions(&self) -> Result<(String, [String; 2])> {
        let peers = [version(&self.pseries.qemu)?, version(&self.pc.qemu)?];
        Ok((version(&self.viommu)?, peers))
    }

    fn pair(&self, machine: Machine) -> &Pair {
        match machine {
            Machine::Pseries => &self.pseries,
            Machine::Pc => &self.pc,
        }
    }

    /// The file to which viommu writes its report.
    pub fn report(&self) -> PathBuf {
        self.file("report.json")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The disk check: the same kernel, initial RAM disk, disk and command line for all.
    pub fn boot(&self, machine: Machine, who: Emulator) -> Command {
        let initrd = &self.pair(machine).initrd;
        self.linux(machine, who, initrd, "disk", "viommu.check=disk")
    }

    /// Linux reads [`READ_MIB`] of a disk on pseries.
    pub fn read(&self, who: Emulator, ddw: bool) -> Command {
        let ddw = if ddw { "" } else { " disable_ddw" };
        self.reading(Machine::Pseries, who, ddw)
    }

    /// Linux reads [`READ_MIB`] of a disk on the PC. With `legacy`, viommu's unit offers what QEMU's does.
    pub fn read_pc(&self, who: Emulator, legacy: bool) -> Command {
        let mut command = self.reading(Machine::Pc, who, "");
        if legacy && is_ours(who) {
            command.args(["--iommu", "legacy"]);
        }
        command
    }

    fn reading(&self, machine: Machine, who: Emulator, append: &str) -> Command {
        let append = format!("viommu.check=none viommu.run=/bench-read{append}");
        self.linux(machine, who, &self.pair(machine).reader, "large", &append)
    }

    fn linux(
        &self,
        machine: Machine,
        who: Emulator,
        initrd: &Path,
        disk: &str,
        append: &str,
    ) -> Command {
        let append = &format!("{} {append}", machine.append());
        let disk = self.file(disk);
        let disk = disk.display();
        let mut command = self.machine(machine, who);
        if is_ours(who) {
            command.args(["--guest", machine.guest(), "--initrd"]);
            command.arg(initrd).args(["--append", append]);
            command.args(["--disk", &format!("{disk},snapshot")]);
            command.arg("--report").arg(self.report());
        } else {
            command.arg("-kernel").arg(&self.pair(machine).kernel);
            command.arg("-initrd").arg(initrd).args(["-append", append]);
            let drive = format!("file={disk},if=none,id=d,format=raw,snapshot=on");
            command.args(["-drive", &drive, "-device", "nvme,drive=d,serial=viommu"]);
        }
        command
    }

    /// The bare-metal kernel.
    pub fn bare(&self, who: Emulator) -> Command {
        let mut command = self.machine(Machine::Pseries, who);
        command.arg(if is_ours(who) { "--kernel" } else { "-kernel" });
        command.arg(self.file("bare"));
        command
    }

    /// A machine with 1 GiB and one processor.
    fn machine(&self, machine: Machine, who: Emulator) -> Command {
        if is_ours(who) {
            let engine = match who {
                Emulator::Interpreter => "interpreter",
                _ => "compiled",
            };
            let mut command = Command::new(&self.viommu);
            command.args(["boot", machine.name(), "--memory", "1G"]);
            command.args(["--engine", engine]);
            return command;
        }
        let mut command = Command::new(&self.pair(machine).qemu);
        match machine {
            Machine::Pseries => {
                let vof = who == Emulator::QemuVof;
                command.args(["-M", if vof { "pseries,x-vof=on" } else { "pseries" }]);
                // Without slots and maxmem, QEMU 7.2 tells Linux that there is no memory to map, and Linux makes no dynamic window.
                command.args(["-cpu", "power9", "-m", "1G,slots=4,maxmem=2G"]);
            }
            Machine::Pc => {
                command.args(["-accel", "tcg", "-M", "q35", "-cpu", "Nehalem", "-m", "1G"]);
                command.args(["-nic", "none", "-device", "intel-iommu,intremap=on"]);
            }
        }
        command.args(["-vga", "none", "-nographic"]);
        command
    }
}

fn is_ours(who: Emulator) -> bool {
    matches!(who, Emulator::Viommu | Emulator::Interpreter)
}

/// A guest's kernel and initial RAM disk, fetched if they are not there.
fn fetch(viommu: &Path, guest: &str) -> Result<(PathBuf, PathBuf)> {
    let output = Command::new(viommu)
        .args(["guest", "fetch", guest])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().collect::<Vec<_>>().as_slice() {
        [kernel, initrd] if output.status.success() => Ok((kernel.into(), initrd.into())),
        _ => bail!(
            "`viommu guest fetch {guest}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        ),
    }
}

fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    if !output.status.success() {
        bail!("--version failed ({})", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Fills a file with bytes that are the same in every run and not compressible.
fn noise(path: &Path, mib: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..mib {
        for cell in buffer.as_chunks_mut::<8>().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *cell = state.to_le_bytes();
        }
        file.write_all(&buffer)
            .with_context(|| format!("{} MiB for {}", mib, path.display()))?;
    }
    Ok(())
}

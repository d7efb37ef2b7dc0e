//! What every emulator is given, and how each is called.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use viommu::guest::initramfs::Initramfs;

use super::program;
use super::samples::Emulator;

/// Bytes that the guest reads from the disk in [`Inputs::read`].
pub const READ_MIB: u64 = 256;
/// Printed by the guest before it reads the disk.
pub const READ_BEGINS: &str = "bench: read begins";
/// Printed by the guest after it has read the disk.
pub const READ_ENDS: &str = "bench: read ends";
/// Printed by the first process when all of it was read.
pub const READ_GOOD: &str = "viommu-init: run /bench-read status 0";

const GUEST: &str = "debian-6.12";
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

/// Programs and files.
#[derive(Debug)]
pub struct Inputs {
    viommu: PathBuf,
    qemu: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
    folder: tempfile::TempDir,
    /// Instructions of a pass of each piece of the bare-metal kernel.
    pub instructions: Vec<u64>,
}

impl Inputs {
    /// Looks for the programs, fetches the guest and writes the files.
    ///
    /// # Errors
    /// Something is missing; the message says how to get it.
    pub fn prepare() -> Result<Inputs> {
        let program = |name: &str, default: &str| {
            std::env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        let (viommu, qemu) = (
            program("VIOMMU", "target/release/viommu"),
            program("QEMU", "qemu-system-ppc64"),
        );
        version(&qemu).with_context(|| {
            format!(
                "{} is needed as the peer: as root, apt-get install qemu-system-ppc; or name the program with QEMU",
                qemu.display()
            )
        })?;
        version(&viommu).with_context(|| {
            format!(
                "{} is needed: cargo build --release; or name the program with VIOMMU",
                viommu.display()
            )
        })?;
        let (kernel, initrd) = fetch(&viommu)?;
        let folder = tempfile::tempdir().context("a folder for temporary files")?;
        let mut archive = File::open(&initrd).and_then(Initramfs::read)?;
        archive.add_file("bench-read", 0o755, READ_SCRIPT.as_bytes().to_vec());
        archive.write(File::create(folder.path().join("initrd"))?)?;
        let bare = program::kernel()?;
        std::fs::write(folder.path().join("bare"), &bare.elf)?;
        noise(&folder.path().join("disk"), BOOT_DISK_MIB)?;
        noise(&folder.path().join("large"), READ_MIB)?;
        Ok(Inputs {
            viommu,
            qemu,
            kernel,
            initrd,
            folder,
            instructions: bare.instructions,
        })
    }

    /// First line of each program's version.
    ///
    /// # Errors
    /// A program is gone.
    pub fn versions(&self) -> Result<(String, String)> {
        Ok((version(&self.viommu)?, version(&self.qemu)?))
    }

    /// The file to which viommu writes its report.
    pub fn report(&self) -> PathBuf {
        self.file("report.json")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The disk check: the same kernel, initial RAM disk, disk and command line for all.
    pub fn boot(&self, who: Emulator) -> Command {
        let append = "console=hvc0 panic=-1 viommu.check=disk";
        self.linux(who, &self.initrd, "disk", append)
    }

    /// Linux reads [`READ_MIB`] of a disk.
    pub fn read(&self, who: Emulator, ddw: bool) -> Command {
        let mut append =
            "console=hvc0 panic=-1 viommu.check=none viommu.run=/bench-read".to_owned();
        if !ddw {
            append += " disable_ddw";
        }
        self.linux(who, &self.file("initrd"), "large", &append)
    }

    fn linux(&self, who: Emulator, initrd: &Path, disk: &str, append: &str) -> Command {
        let disk = self.file(disk);
        let disk = disk.display();
        let mut command = self.machine(who);
        if is_ours(who) {
            command.args(["--guest", GUEST, "--initrd"]).arg(initrd);
            command.args(["--append", append, "--disk", &format!("{disk},snapshot")]);
            command.arg("--report").arg(self.report());
        } else {
            command.arg("-kernel").arg(&self.kernel);
            command.arg("-initrd").arg(initrd).args(["-append", append]);
            let drive = format!("file={disk},if=none,id=d,format=raw,snapshot=on");
            command.args(["-drive", &drive, "-device", "nvme,drive=d,serial=viommu"]);
        }
        command
    }

    /// The bare-metal kernel.
    pub fn bare(&self, who: Emulator) -> Command {
        let mut command = self.machine(who);
        command.arg(if is_ours(who) { "--kernel" } else { "-kernel" });
        command.arg(self.file("bare"));
        command
    }

    /// A machine with 1 GiB and one processor.
    fn machine(&self, who: Emulator) -> Command {
        if is_ours(who) {
            let engine = match who {
                Emulator::Interpreter => "interpreter",
                _ => "compiled",
            };
            let mut command = Command::new(&self.viommu);
            command.args(["boot", "pseries", "--memory", "1G", "--engine", engine]);
            return command;
        }
        let machine = match who {
            Emulator::QemuVof => "pseries,x-vof=on",
            _ => "pseries",
        };
        let mut command = Command::new(&self.qemu);
        command.args(["-M", machine, "-cpu", "power9"]);
        // Without slots and maxmem, QEMU 7.2 tells Linux that there is no memory to map, and Linux makes no dynamic window.
        command.args(["-m", "1G,slots=4,maxmem=2G", "-vga", "none", "-nographic"]);
        command
    }
}

fn is_ours(who: Emulator) -> bool {
    matches!(who, Emulator::Viommu | Emulator::Interpreter)
}

/// The guest's kernel and initial RAM disk, fetched if they are not there.
fn fetch(viommu: &Path) -> Result<(PathBuf, PathBuf)> {
    let output = Command::new(viommu)
        .args(["guest", "fetch", GUEST])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().collect::<Vec<_>>().as_slice() {
        [kernel, initrd] if output.status.success() => Ok((kernel.into(), initrd.into())),
        _ => bail!(
            "`viommu guest fetch {GUEST}` failed: {}",
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

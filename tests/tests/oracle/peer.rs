//! The other side: `guest/oracle.c` under QEMU's user mode.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::record::{Record, SIZE};

const QEMU: [&str; 2] = ["qemu-ppc64le-static", "qemu-ppc64le"];

/// A running guest program.
pub struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

/// Compiles the guest program.
fn compile(into: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/oracle.c");
    let binary = into.join("oracle");
    let status = Command::new("powerpc64le-linux-gnu-gcc")
        .args(["-O2", "-static", "-no-pie", "-mcpu=power9", "-fno-stack-protector"])
        .args(["-Wl,-Ttext-segment=0x05000000", "-o"])
        .args([&binary, &source])
        .status()
        .context("powerpc64le-linux-gnu-gcc is needed (Debian: gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross)")?;
    ensure!(status.success(), "the guest program does not compile");
    Ok(binary)
}

impl Peer {
    pub fn start(directory: &Path) -> Result<Self> {
        let binary = compile(directory)?;
        for qemu in QEMU {
            let child = Command::new(qemu)
                .args(["-cpu", "power9"])
                .arg(&binary)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            if let Ok(mut child) = child {
                return Ok(Peer {
                    stdin: child.stdin.take(),
                    stdout: child.stdout.take().context("no pipe")?,
                    child,
                });
            }
        }
        anyhow::bail!("{} is needed (Debian: qemu-user-static)", QEMU[0])
    }

    /// Runs a batch while `meanwhile` runs here.
    pub fn run<T>(
        &mut self,
        batch: &[Record],
        meanwhile: impl FnOnce() -> T,
    ) -> Result<(Vec<Record>, T)> {
        let mut bytes = (batch.len() as u32).to_le_bytes().to_vec();
        batch.iter().for_each(|r| r.put(&mut bytes));
        self.stdin
            .as_mut()
            .context("closed")?
            .write_all(&bytes)
            .context("QEMU ended early")?;
        let here = meanwhile();
        bytes.resize(batch.len() * SIZE, 0);
        self.stdout
            .read_exact(&mut bytes)
            .context("QEMU ended early")?;
        Ok((bytes.chunks_exact(SIZE).map(Record::get).collect(), here))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

//! The other side: `guest/oracle.c` under QEMU's user mode.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::record::{Order, Record, SIZE};

/// What a byte order needs: compiler, its Debian packages, and the names that QEMU may have.
fn tools(order: Order) -> (&'static str, &'static str, [&'static str; 2]) {
    match order {
        Order::Little => (
            "powerpc64le-linux-gnu-gcc",
            "gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross",
            ["qemu-ppc64le-static", "qemu-ppc64le"],
        ),
        Order::Big => (
            "powerpc64-linux-gnu-gcc",
            "gcc-powerpc64-linux-gnu libc6-dev-ppc64-cross",
            ["qemu-ppc64-static", "qemu-ppc64"],
        ),
    }
}

/// A running guest program.
pub struct Peer {
    order: Order,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

/// Compiles the guest program.
pub fn compile(order: Order, into: &Path) -> Result<PathBuf> {
    let (compiler, packages, _) = tools(order);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/oracle.c");
    let binary = into.join(format!("oracle-{}", order.name()));
    let status = Command::new(compiler)
        .args([
            "-O2",
            "-static",
            "-no-pie",
            "-mcpu=power9",
            "-fno-stack-protector",
        ])
        .args(["-Wl,-Ttext-segment=0x05000000", "-o"])
        .args([&binary, &source])
        .status()
        .with_context(|| format!("{compiler} is needed (Debian: {packages})"))?;
    ensure!(status.success(), "the guest program does not compile");
    Ok(binary)
}

impl Peer {
    pub fn start(order: Order, binary: &Path) -> Result<Self> {
        let (_, _, names) = tools(order);
        for qemu in names {
            let child = Command::new(qemu)
                .args(["-cpu", "power9"])
                .arg(binary)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            if let Ok(mut child) = child {
                return Ok(Peer {
                    order,
                    stdin: child.stdin.take(),
                    stdout: child.stdout.take().context("no pipe")?,
                    child,
                });
            }
        }
        anyhow::bail!("{} is needed (Debian: qemu-user-static)", names[0])
    }

    /// Runs a batch while `meanwhile` runs here.
    pub fn run<T>(
        &mut self,
        batch: &[Record],
        meanwhile: impl FnOnce() -> T,
    ) -> Result<(Vec<Record>, T)> {
        let mut bytes = Vec::with_capacity(4 + batch.len() * SIZE);
        self.order.u32(&mut bytes, batch.len() as u32);
        batch.iter().for_each(|r| r.put(self.order, &mut bytes));
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
        let read = |record| Record::get(self.order, record);
        Ok((bytes.chunks_exact(SIZE).map(read).collect(), here))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

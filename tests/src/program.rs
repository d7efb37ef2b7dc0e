//! Programs for guests, in C.

use std::path::Path;
use std::process::Command;

use viommu::guest::catalogue::Arch;

/// Compiles `tests/guest/NAME.c` for a guest: a program that needs no library.
///
/// # Panics
/// If there is no compiler, or it complains.
pub fn compile(arch: Arch, name: &str) -> Vec<u8> {
    let compiler = match arch {
        Arch::Ppc64el => "powerpc64le-linux-gnu-gcc",
        Arch::Amd64 => "x86_64-linux-gnu-gcc",
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let status = Command::new(compiler)
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
        .arg(&out)
        .arg(source.join(format!("{name}.c")))
        .status()
        .unwrap_or_else(|e| panic!("{compiler}: {e}; tests/run boots installs it"));
    assert!(status.success(), "{name}.c does not compile");
    std::fs::read(out).unwrap()
}

//! What the whole-machine tests share.

pub mod bare;
pub mod boot;
pub mod program;
pub mod pty;
pub mod scripted;

use std::path::{Path, PathBuf};

/// The `viommu` binary: `VIOMMU`, or the one built with the tests.
///
/// # Panics
/// If there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("VIOMMU") {
        return path.into();
    }
    // The tests are in target/PROFILE/deps, the binary in target/PROFILE.
    let test = std::env::current_exe().expect("a path");
    let path = test
        .ancestors()
        .nth(2)
        .expect("a target folder")
        .join("viommu");
    assert!(
        path.exists(),
        "no {}: build it first (cargo build), or name it with VIOMMU",
        path.display()
    );
    path
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes a file of a test and gives its path as an argument.
///
/// # Panics
/// If it cannot be written.
pub fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file");
    path.to_str().expect("a path of characters").to_owned()
}

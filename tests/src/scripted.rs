//! The default guest with a script of the test's in it.

use std::path::Path;

use crate::file;
use viommu::guest::catalogue::{self, Arch, Guest};
use viommu::guest::initramfs::{Initramfs, Node};

/// Options that boot a guest with a script.
pub struct Scripted {
    folder: tempfile::TempDir,
    args: Vec<String>,
}

/// What every script begins with. `wait_for` waits until a disk is there.
pub const PRELUDE: &str = "#!/usr/bin/sh
say() { echo \"test: $*\"; }
wait_for() { for try in 1 2 3 4 5 6 7 8 9; do [ -b /dev/$1 ] && return; sleep 1; done; say \"no $1\"; }
";

/// The default guest, from the cache or fetched.
///
/// # Panics
/// If it cannot be had.
pub fn guest() -> Guest {
    named(catalogue::DEFAULT)
}

/// A guest, from the cache or fetched.
///
/// # Panics
/// If it cannot be had.
pub fn named(name: &str) -> Guest {
    catalogue::fetch(name, &mut |_, _, _| ()).expect("a guest")
}

impl Scripted {
    /// The default guest, which runs `script` in busybox's shell and then powers off. `say` prints a line that begins with `test:`.
    ///
    /// # Panics
    /// If there is no guest or no room for files.
    pub fn new(script: &str) -> Scripted {
        Scripted::on(catalogue::DEFAULT, script)
    }

    /// As [`Scripted::new`] with another guest.
    ///
    /// # Panics
    /// If there is no such guest or no room for files.
    pub fn on(name: &str, script: &str) -> Scripted {
        let guest = named(name);
        let initrd = std::fs::File::open(&guest.initrd).expect("an initramfs");
        let archive = Initramfs::read(std::io::BufReader::new(initrd)).expect("an initramfs");
        Scripted::with(&guest, archive, &(PRELUDE.to_owned() + script), &[])
    }

    /// A guest with this initramfs, to which the script and files below `/data` are added.
    ///
    /// # Panics
    /// If there is no room for files.
    pub fn with(
        guest: &Guest,
        mut archive: Initramfs,
        script: &str,
        data: &[(&str, &[u8])],
    ) -> Scripted {
        archive.add_file("test", 0o755, script.as_bytes().to_vec());
        archive.add("data", Node::Dir { mode: 0o755 });
        for (name, bytes) in data {
            archive.add_file(&format!("data/{name}"), 0o644, bytes.to_vec());
        }
        let folder = tempfile::tempdir().unwrap();
        let initrd = archive.write(Vec::new()).unwrap();
        let initrd = file(folder.path(), "initrd", &initrd);
        let kernel = guest.kernel.to_str().unwrap();
        let entry = catalogue::entry(&guest.name).expect("a guest of the catalogue");
        let words = match entry.arch {
            Arch::Ppc64el => "console=hvc0 viommu.run=/test",
            Arch::Amd64 => "console=ttyS0 viommu.run=/test",
        };
        let args = ["--kernel", kernel, "--initrd", &initrd, "--append", words];
        Scripted {
            args: args.map(str::to_owned).to_vec(),
            folder,
        }
    }

    /// Where the test may put files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts more words at the end of the kernel's command line.
    pub fn add_words(&mut self, words: &str) {
        let line = self.args.last_mut().expect("a command line");
        *line = format!("{line} {words}");
    }

    /// The options of the guest and more.
    pub fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let own = self.args.iter().map(String::as_str);
        own.chain(more.iter().copied()).collect()
    }
}

/// Bytes that look random and are the same in every run (xorshift).
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(bytes);
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

//! Writes initramfs archives: cpio in the "newc" form (kernel documentation, `driver-api/early-userspace/buffer-format`).
//!
//! Equal contents give equal bytes: entries are sorted, all times are 0, everything belongs to root.

use std::collections::BTreeMap;
use std::io::{self, Write};

/// The first process of the check guest; its header lists the words of the kernel command line that steer it.
pub const INIT: &str = include_str!("init.sh");

/// What a name in the archive stands for. Modes are permission bits only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A file and its bytes.
    File {
        /// Permission bits.
        mode: u32,
        /// The contents.
        data: Vec<u8>,
    },
    /// A symbolic link to `target`.
    Symlink {
        /// What the link says.
        target: String,
    },
    /// A character device.
    Char {
        /// Permission bits.
        mode: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// Folders at the top which are links into `/usr`, as on an installed Debian.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// busybox's programs that the init script and tests call by name.
const APPLETS: &[&str] = &[
    "[",
    "awk",
    "cat",
    "chmod",
    "cmp",
    "cp",
    "cttyhack",
    "cut",
    "dd",
    "dmesg",
    "echo",
    "env",
    "find",
    "free",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "hexdump",
    "insmod",
    "kill",
    "ln",
    "ls",
    "lsmod",
    "mkdir",
    "mknod",
    "mount",
    "mv",
    "poweroff",
    "printf",
    "ps",
    "reboot",
    "rm",
    "rmmod",
    "sed",
    "seq",
    "setsid",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "test",
    "time",
    "top",
    "tr",
    "umount",
    "uname",
    "usleep",
    "vi",
    "wc",
    "xargs",
];

/// An initramfs in the making: names (without a slash in front) and what they stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initramfs {
    nodes: BTreeMap<String, Node>,
}

impl Initramfs {
    /// An archive with the usual folders, `/usr` merged, and the console and null devices.
    pub fn new() -> Initramfs {
        let mut nodes = BTreeMap::new();
        for dir in [
            "dev",
            "etc",
            "modules",
            "mnt",
            "proc",
            "root",
            "run",
            "sys",
            "usr",
            "usr/bin",
            "usr/lib",
            "usr/lib64",
            "usr/sbin",
            "var",
        ] {
            nodes.insert(dir.to_string(), Node::Dir { mode: 0o755 });
        }
        nodes.insert("tmp".to_string(), Node::Dir { mode: 0o1777 });
        for dir in MERGED {
            let target = format!("usr/{dir}");
            nodes.insert(dir.to_string(), Node::Symlink { target });
        }
        for (name, mode, minor, major) in [("dev/console", 0o600, 1, 5), ("dev/null", 0o666, 3, 1)]
        {
            nodes.insert(name.to_string(), Node::Char { mode, major, minor });
        }
        Initramfs { nodes }
    }

    /// The archive of a check guest: busybox with its links, the init script and the modules, in loading order.
    pub fn check_guest(busybox: &[u8], modules: &[(String, Vec<u8>)]) -> Initramfs {
        let mut archive = Initramfs::new();
        archive.add_file("bin/busybox", 0o755, busybox.to_vec());
        for applet in APPLETS {
            let target = "busybox".to_string();
            archive.add(&format!("bin/{applet}"), Node::Symlink { target });
        }
        archive.add_file("init", 0o755, INIT.as_bytes().to_vec());
        for (index, (name, data)) in modules.iter().enumerate() {
            archive.add_file(
                &format!("modules/{index:02}-{name}.ko"),
                0o644,
                data.clone(),
            );
        }
        archive
    }

    /// Adds or replaces an entry; folders above it are made as needed. `/bin`, `/sbin`, `/lib` and `/lib64` lead into `/usr`. Names with
    /// `..` and folders in place of the merged links are ignored.
    pub fn add(&mut self, name: &str, node: Node) {
        let mut parts: Vec<&str> = name
            .split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .collect();
        let Some(first) = parts.first() else { return };
        if parts.contains(&"..") || (parts.len() == 1 && MERGED.contains(first)) {
            return;
        }
        if MERGED.contains(first) {
            parts.insert(0, "usr");
        }
        for end in 1..parts.len() {
            self.nodes
                .entry(parts[..end].join("/"))
                .or_insert(Node::Dir { mode: 0o755 });
        }
        self.nodes.insert(parts.join("/"), node);
    }

    /// Adds or replaces a file.
    pub fn add_file(&mut self, name: &str, mode: u32, data: Vec<u8>) {
        self.add(name, Node::File { mode, data });
    }

    /// Adds all of `tree`, for example an unpacked package (see [`super::deb::tree`]). What is there already wins over a folder of the
    /// same name; otherwise the new entry wins.
    pub fn merge(&mut self, tree: BTreeMap<String, Node>) {
        for (name, node) in tree {
            let kept = matches!(node, Node::Dir { .. }) && self.nodes.contains_key(&name);
            if !kept {
                self.add(&name, node);
            }
        }
    }

    /// The entries, sorted by name.
    pub fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    /// Writes the archive, trailer included.
    ///
    /// # Errors
    /// Those of `out`, and a file of 4 GiB or more, which the form cannot hold.
    pub fn write<W: Write>(&self, mut out: W) -> io::Result<W> {
        for (index, (name, node)) in self.nodes.iter().enumerate() {
            let (kind, mode, data): (u32, u32, &[u8]) = match node {
                Node::Dir { mode } => (0o040_000, *mode, &[]),
                Node::File { mode, data } => (0o100_000, *mode, data),
                Node::Symlink { target } => (0o120_000, 0o777, target.as_bytes()),
                Node::Char { mode, .. } => (0o020_000, *mode, &[]),
            };
            let ino = u32::try_from(index + 1).map_err(io::Error::other)?;
            let size = u32::try_from(data.len()).map_err(io::Error::other)?;
            let mut entry = cpio::newc::Builder::new(name)
                .ino(ino)
                .mode(kind | mode & 0o7777)
                .nlink(if kind == 0o040_000 { 2 } else { 1 });
            if let Node::Char { major, minor, .. } = node {
                entry = entry.rdev_major(*major).rdev_minor(*minor);
            }
            let mut writer = entry.write(out, size);
            writer.write_all(data)?;
            out = writer.finish()?;
        }
        cpio::newc::trailer(out)
    }
}

impl Initramfs {
    /// Reads an uncompressed archive. Entries of other kinds than [`Node`]'s are left out, and so are hard links' other names.
    ///
    /// # Errors
    /// The input cannot be read or is no newc archive.
    pub fn read<R: io::Read>(mut input: R) -> io::Result<Initramfs> {
        let mut nodes = BTreeMap::new();
        loop {
            let mut reader = cpio::newc::Reader::new(input)?;
            if reader.entry().is_trailer() {
                return Ok(Initramfs { nodes });
            }
            let mut data = Vec::new();
            io::Read::read_to_end(&mut reader, &mut data)?;
            let entry = reader.entry();
            let mode = entry.mode() & 0o7777;
            let node = match entry.mode() & 0o170_000 {
                0o040_000 => Some(Node::Dir { mode }),
                0o100_000 => Some(Node::File { mode, data }),
                0o120_000 => Some(Node::Symlink {
                    target: String::from_utf8_lossy(&data).into_owned(),
                }),
                0o020_000 => Some(Node::Char {
                    mode,
                    major: entry.rdev_major(),
                    minor: entry.rdev_minor(),
                }),
                _ => None,
            };
            if let Some(node) = node {
                nodes.insert(entry.name().to_string(), node);
            }
            input = reader.finish()?;
        }
    }
}

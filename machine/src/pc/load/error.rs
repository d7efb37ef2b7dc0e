//! Why a kernel cannot be loaded.

use super::payload::MAX;

/// What is wrong with a kernel, or with the room for it. Each is the user's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Of no kind that is known.
    #[error(
        "not a kernel for this machine; give an x86-64 bzImage (vmlinuz), a vmlinux, or a multiboot kernel"
    )]
    NotAKernel,
    /// The whole file is compressed.
    #[error("the file is compressed ({0}); unpack it first")]
    CompressedFile(&'static str),
    /// For another processor.
    #[error("wrong architecture: {0}; this machine runs x86-64")]
    WrongArchitecture(String),
    /// A bzImage without a 64-bit entry.
    #[error(
        "a 32-bit kernel (its boot header says no 64-bit entry); this machine runs x86-64 kernels"
    )]
    Kernel32,
    /// A bzImage from before Linux 3.8.
    #[error("boot protocol {major}.{minor:02} is too old: 2.12 (Linux 3.8) has the 64-bit entry")]
    OldProtocol {
        /// Version.
        major: u8,
        /// Version.
        minor: u8,
    },
    /// Ends too early.
    #[error("the file is truncated: {what} needs {need} bytes, the file has {have}")]
    Truncated {
        /// Which part.
        what: &'static str,
        /// End of the part in the file.
        need: u64,
        /// Size of the file.
        have: u64,
    },
    /// Fields that contradict each other.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// The bzImage holds no packed kernel.
    #[error("the boot image names no packed kernel; try --no-unpack")]
    NoPayload,
    /// The packed kernel is of a kind that is not unpacked here.
    #[error(
        "the boot image's kernel is packed with {0}, which is not unpacked here; try --no-unpack"
    )]
    UnknownPayload(&'static str),
    /// The packed kernel cannot be unpacked.
    #[error("the boot image's kernel ({kind}) cannot be unpacked: {reason}")]
    Payload {
        /// How it is packed.
        kind: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// It becomes too large.
    #[error("the boot image's kernel ({kind}) is larger than {} MiB unpacked", MAX >> 20)]
    PayloadTooLarge {
        /// How it is packed.
        kind: &'static str,
    },
    /// Only one protocol may be asked for, and the kernel does not have it.
    #[error("the kernel has no {0} entry")]
    NoEntry(super::Protocol),
    /// An ELF file that nothing here can start.
    #[error(
        "a 32-bit ELF file without a multiboot header or PVH entry; this machine runs x86-64 kernels"
    )]
    Elf32,
    /// The multiboot header asks for something that is not there.
    #[error("the multiboot header {0}")]
    Multiboot(&'static str),
    /// The command line.
    #[error("the command line has {have} bytes; this kernel takes {most}")]
    CommandLine {
        /// Its length.
        have: usize,
        /// The kernel's limit.
        most: usize,
    },
    /// Something does not fit into RAM.
    #[error(
        "the {what} ({need:#x} bytes at {at:#x}) does not fit into the memory free for it; give more with --memory"
    )]
    DoesNotFit {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        need: u64,
        /// Where it has to be, or the lowest place.
        at: u64,
    },
    /// More ranges than a boot protocol can say.
    #[error("the memory map has {0} ranges; 128 can be told")]
    TooManyRanges(usize),
}

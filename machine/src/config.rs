//! What the machines' configurations have in common: devices, disks, how a run may end, what the host may not give.

use std::path::PathBuf;

/// What to do when a guest asks for a reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReboot {
    /// End the run.
    #[default]
    End,
    /// Start again from power-on.
    Restart,
}

/// One PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceConfig {
    /// An NVMe controller with a namespace for each disk.
    Nvme(Vec<DiskConfig>),
    /// The same, which drivers take for one with DMA addresses of 48 bits.
    NvmeOf48Bits(Vec<DiskConfig>),
    /// A modern virtio block device.
    VirtioBlk(DiskConfig),
    /// The educational device.
    Edu,
    /// A device whose slot is empty until the guest takes it by its connector.
    Unplugged(Box<DeviceConfig>),
}

/// A raw image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Its path.
    pub path: PathBuf,
    /// How guest writes are treated.
    pub mode: DiskMode,
}

/// How a guest's writes to a disk are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskMode {
    /// They reach the file.
    #[default]
    Writable,
    /// They are refused.
    ReadOnly,
    /// They stay in memory and are lost at the end.
    Snapshot,
}

/// What the host does not give. Each is the user's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The host does not give the RAM.
    #[error(
        "the host does not give {bytes} bytes of memory for the guest ({reason}); ask for less with --memory"
    )]
    HostMemory {
        /// How much was asked for.
        bytes: u64,
        /// The host's reason.
        reason: String,
    },
    /// A disk cannot be used.
    #[error("disk {path}: {reason}")]
    Disk {
        /// The image.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest switched the machine off.
    PowerOff,
    /// The guest asked for a reboot.
    Reboot,
    /// The guest reported its death (`ibm,os-term`, or a Linux kernel's words on the console); its words.
    Panic(String),
    /// The guest ended the run with a status by the port for that. A zero that it writes is status 1.
    Exit(u32),
    /// A fault while a CPU took the fault of a fault.
    TripleFault(usize),
    /// A console line contained the pattern of `--until`.
    Until(String),
    /// The instructions of `--max-instructions` are used up.
    MaxInstructions,
    /// Every vCPU waits and nothing will ever wake one.
    Deadlock,
    /// A vCPU cannot go on.
    CpuStopped {
        /// Which vCPU.
        cpu: usize,
        /// Why.
        reason: String,
    },
    /// The user left (Ctrl-A X).
    UserQuit,
}

impl End {
    /// True for an end that counts as success: the guest, the pattern or the user ended it.
    pub fn is_orderly(&self) -> bool {
        matches!(
            self,
            End::PowerOff | End::Reboot | End::Exit(1) | End::Until(_) | End::UserQuit
        )
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::PowerOff => f.write_str("the guest switched the machine off"),
            End::Reboot => f.write_str("the guest asked for a reboot"),
            End::Panic(words) => write!(f, "the guest panicked: {words}"),
            End::Exit(status) => write!(f, "the guest ended the run with status {status}"),
            End::TripleFault(cpu) => write!(f, "a triple fault of vCPU {cpu}"),
            End::Until(pattern) => write!(f, "the console showed \"{pattern}\""),
            End::MaxInstructions => {
                f.write_str("the instructions of --max-instructions are used up")
            }
            End::Deadlock => {
                f.write_str("every vCPU waits and no event is due: nothing would ever happen again")
            }
            End::CpuStopped { cpu, reason } => write!(f, "vCPU {cpu} cannot go on: {reason}"),
            End::UserQuit => f.write_str("left by the user"),
        }
    }
}

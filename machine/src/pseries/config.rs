//! What a machine is made of, and how a run may end.

use super::map;
use crate::config::{DeviceConfig, OnReboot, ResourceError};
use viommu_cpu::engine::Engine;
use viommu_devices::spapr::iommu::rules::{Personality, Refusal};

/// Everything that decides a run.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// RAM in bytes.
    pub memory: u64,
    /// RAM that the guest may grow to by adding blocks, in bytes; 0 for no more than `memory`.
    pub max_memory: u64,
    /// Number of vCPUs, 1 to [`map::CPUS_MAX`].
    pub cpus: u32,
    /// Kernel image: a whole ELF file.
    pub kernel: Option<Vec<u8>>,
    /// Initial RAM disk.
    pub initrd: Option<Vec<u8>>,
    /// Flat image for real address 0, entered at 0x100.
    pub bios: Option<Vec<u8>>,
    /// Kernel command line.
    pub append: String,
    /// Devices behind the first PCI host bridge, by slot.
    pub devices: Vec<DeviceConfig>,
    /// Devices behind further host bridges, bridge by bridge; at most [`map::BRIDGES_MAX`] - 1.
    pub more_bridges: Vec<Vec<DeviceConfig>>,
    /// What the hypervisor offers.
    pub features: Features,
    /// How it answers calls for DMA windows.
    pub personality: Personality,
    /// Calls that it refuses.
    pub refusals: Vec<Refusal>,
    /// End the run when a console line contains this.
    pub until: Option<String>,
    /// End the run after this many instructions.
    pub max_instructions: Option<u64>,
    /// What a guest's reboot does.
    pub on_reboot: OnReboot,
    /// Which tiers of the CPU run. The guest sees no difference.
    pub engine: Engine,
    /// Note where each so many instructions of a vCPU are executed, and count what the engine does; 0 for not.
    pub sample_every: u64,
}

impl MachineConfig {
    /// The same with the images, which are gone here.
    pub fn take_images(&mut self) -> MachineConfig {
        let (kernel, initrd, bios) = (self.kernel.take(), self.initrd.take(), self.bios.take());
        MachineConfig {
            kernel,
            initrd,
            bios,
            ..self.clone()
        }
    }

    /// RAM that there may be at most, in bytes.
    pub fn memory_end(&self) -> u64 {
        self.max_memory.max(self.memory)
    }

    /// Host bridges by number, with the devices behind each.
    ///
    /// # Errors
    /// [`ConfigError::TooManyBridges`].
    pub fn bridges(&self) -> Result<Vec<(map::Bridge, &[DeviceConfig])>, ConfigError> {
        let count = 1 + self.more_bridges.len();
        if count > map::BRIDGES_MAX as usize {
            return Err(ConfigError::TooManyBridges(count));
        }
        let more = self.more_bridges.iter().map(Vec::as_slice);
        let devices = std::iter::once(self.devices.as_slice()).chain(more);
        Ok((0..).map(map::bridge).zip(devices).collect())
    }
}

impl Default for MachineConfig {
    fn default() -> Self {
        MachineConfig {
            memory: 1 << 30,
            max_memory: 0,
            cpus: 1,
            kernel: None,
            initrd: None,
            bios: None,
            append: String::new(),
            devices: Vec::new(),
            more_bridges: Vec::new(),
            features: Features::default(),
            personality: Personality::KVM,
            refusals: Vec::new(),
            until: None,
            max_instructions: None,
            on_reboot: OnReboot::End,
            engine: Engine::default(),
            sample_every: 0,
        }
    }
}

/// Options of the hypervisor that a guest sees in `ibm,hypertas-functions` and in its hypercalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `hcall-multi-tce`: H_PUT_TCE_INDIRECT and H_STUFF_TCE.
    pub multi_tce: bool,
    /// The four dynamic DMA window calls.
    pub ddw: bool,
    /// The calls for error handling and injection.
    pub eeh: bool,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            multi_tce: true,
            ddw: true,
            eeh: false,
        }
    }
}

/// Why a machine cannot be built. Each is the user's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// RAM is not acceptable.
    #[error("memory of {0:#x} bytes: it must be a multiple of 16M, at least 64M and at most 1T")]
    Memory(u64),
    /// RAM that can grow is not acceptable.
    #[error(
        "memory of {memory:#x} that can grow to {max:#x} bytes: both must be multiples of 256M, the second at most 1T"
    )]
    MaxMemory {
        /// RAM in bytes.
        memory: u64,
        /// What it may grow to, in bytes.
        max: u64,
    },
    /// Number of vCPUs.
    #[error("{0} vCPUs: the machine has 1 to {max}", max = map::CPUS_MAX)]
    Cpus(u32),
    /// Neither kernel nor firmware.
    #[error("nothing to run: give a kernel or a firmware image")]
    NothingToRun,
    /// The kernel image is bad.
    #[error("kernel: {0}")]
    Kernel(#[from] super::elf::ElfError),
    /// Something does not fit into RAM.
    #[error(
        "the {what} ({need:#x} bytes) does not fit into the {room:#x} bytes of memory free for it; give more with --memory"
    )]
    DoesNotFit {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        need: u64,
        /// The room for it in bytes.
        room: u64,
    },
    /// More host bridges than there is room for.
    #[error("{0} host bridges: the machine has at most {max}", max = map::BRIDGES_MAX)]
    TooManyBridges(usize),
    /// More devices than slots.
    #[error("{0} devices: the host bridge has 31 slots")]
    TooManyDevices(usize),
    /// RAM or a disk.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// The device tree does not come together.
    #[error("device tree: {0}")]
    DeviceTree(String),
}

//! What a PC is made of.

use viommu_cpu::engine::Engine;
use viommu_devices::vtd;

use super::load::{LoadError, Protocol};
use super::map;
use crate::config::{DeviceConfig, OnReboot, ResourceError};

/// Everything that decides a run.
#[derive(Clone, Debug)]
pub struct PcConfig {
    /// RAM in bytes.
    pub memory: u64,
    /// Number of processors, 1 to [`map::CPUS_MAX`].
    pub cpus: u32,
    /// Kernel: a whole file, of any kind that [`super::load`] knows.
    pub kernel: Option<Vec<u8>>,
    /// Its name: a multiboot kernel finds it in front of its command line.
    pub kernel_name: String,
    /// Initial RAM disk.
    pub initrd: Option<Vec<u8>>,
    /// Kernel command line.
    pub append: String,
    /// A bzImage is unpacked before the start; otherwise it unpacks itself.
    pub unpack: bool,
    /// How to enter the kernel; `None` for what fits.
    pub protocol: Option<Protocol>,
    /// PCI functions, in the order of their slots.
    pub devices: Vec<PcDevice>,
    /// Remapping units, at most [`map::UNITS_MAX`]. The first covers the I/O APIC and everything that no other covers.
    pub units: Vec<vtd::Config>,
    /// Processors have x2APIC mode.
    pub x2apic: bool,
    /// The DMAR table asks the guest not to use x2APIC mode.
    pub x2apic_opt_out: bool,
    /// End the run when a console line contains this.
    pub until: Option<String>,
    /// End the run after this many instructions.
    pub max_instructions: Option<u64>,
    /// What a guest's reboot does.
    pub on_reboot: OnReboot,
    /// Which tiers of the CPU run. The guest sees no difference.
    pub engine: Engine,
    /// Note where each so many instructions of a processor are executed, and count what the engine does; 0 for not.
    pub sample_every: u64,
}

impl PcConfig {
    /// The same with the images, which are gone here.
    pub fn take_images(&mut self) -> PcConfig {
        let (kernel, initrd) = (self.kernel.take(), self.initrd.take());
        PcConfig {
            kernel,
            initrd,
            ..self.clone()
        }
    }
}

impl Default for PcConfig {
    fn default() -> Self {
        PcConfig {
            memory: 1 << 30,
            cpus: 1,
            kernel: None,
            kernel_name: String::new(),
            initrd: None,
            append: String::new(),
            unpack: true,
            protocol: None,
            devices: Vec::new(),
            units: Vec::new(),
            x2apic: true,
            x2apic_opt_out: false,
            until: None,
            max_instructions: None,
            on_reboot: OnReboot::End,
            engine: Engine::default(),
            sample_every: 0,
        }
    }
}

/// A PCI function and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcDevice {
    /// What it is.
    pub device: DeviceConfig,
    /// Alone behind a root port of its own; otherwise on bus 0.
    pub behind_port: bool,
    /// Number of the remapping unit that covers it, if there are units.
    pub unit: usize,
    /// Bytes of RAM that the device is said to use from power-on (RMRR); 0 for none.
    pub reserved: u64,
}

impl From<DeviceConfig> for PcDevice {
    /// On bus 0, under the first unit.
    fn from(device: DeviceConfig) -> Self {
        PcDevice {
            device,
            behind_port: false,
            unit: 0,
            reserved: 0,
        }
    }
}

impl PcConfig {
    /// Holds the configuration against what the machine can be. Disks and the kernel are not looked at.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.memory.is_multiple_of(map::MEMORY_STEP)
            || !(map::MEMORY_MIN..=map::MEMORY_MAX).contains(&self.memory)
        {
            return Err(ConfigError::Memory(self.memory));
        }
        if !(1..=map::CPUS_MAX).contains(&self.cpus) {
            return Err(ConfigError::Cpus(self.cpus));
        }
        if self.devices.len() > map::SLOTS {
            return Err(ConfigError::TooManyDevices(self.devices.len()));
        }
        if self.units.len() > map::UNITS_MAX {
            return Err(ConfigError::TooManyUnits(self.units.len()));
        }
        let top = map::mmio64(self.memory).1;
        for (index, unit) in self.units.iter().enumerate() {
            let reason = match unit.capabilities() {
                Err(e) => e.to_string(),
                Ok(_) if top > 1 << unit.host_address_width => format!(
                    "host_address_width of {} bits: the machine's addresses end at {top:#x}",
                    unit.host_address_width
                ),
                Ok(_) => continue,
            };
            return Err(ConfigError::Unit { index, reason });
        }
        self.devices.iter().try_for_each(|d| self.check_device(d))?;
        let reserved = self.devices.iter().map(|d| d.reserved);
        match reserved.fold(0, u64::saturating_add) {
            0 => Ok(()),
            _ if self.units.is_empty() => Err(ConfigError::ReservedWithoutUnit),
            all if all > map::RESERVED_MAX => Err(ConfigError::Reserved(all)),
            _ => Ok(()),
        }
    }

    fn check_device(&self, device: &PcDevice) -> Result<(), ConfigError> {
        let PcDevice {
            device,
            unit,
            reserved,
            ..
        } = device;
        if matches!(device, DeviceConfig::Unplugged(_)) {
            return Err(ConfigError::Unplugged);
        }
        // Without units the first one is the default and means nothing.
        if *unit >= self.units.len().max(1) {
            return Err(ConfigError::NoUnit {
                unit: *unit,
                units: self.units.len(),
            });
        }
        if !reserved.is_multiple_of(map::PAGE) {
            return Err(ConfigError::Reserved(*reserved));
        }
        Ok(())
    }
}

/// Why a PC cannot be built. Each is the user's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// RAM is not acceptable.
    #[error("memory of {0:#x} bytes: it must be a multiple of 2M, at least 64M and at most 1T")]
    Memory(u64),
    /// Number of processors.
    #[error("{0} processors: the machine has 1 to {max}", max = map::CPUS_MAX)]
    Cpus(u32),
    /// No kernel.
    #[error("nothing to run: give a kernel")]
    NothingToRun,
    /// The kernel cannot be loaded.
    #[error("kernel: {0}")]
    Kernel(#[from] LoadError),
    /// More devices than slots.
    #[error("{0} devices: the host bridge has {max} slots", max = map::SLOTS)]
    TooManyDevices(usize),
    /// A device that the guest would have to take.
    #[error("a device cannot be unplugged on this machine")]
    Unplugged,
    /// More remapping units than there is room for.
    #[error("{0} remapping units: the machine has at most {max}", max = map::UNITS_MAX)]
    TooManyUnits(usize),
    /// A unit contradicts itself, or the machine.
    #[error("remapping unit {index}: {reason}")]
    Unit {
        /// Its number.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// A device under a unit that is not there.
    #[error("a device under remapping unit {unit}: the machine has {units}")]
    NoUnit {
        /// The unit's number.
        unit: usize,
        /// How many there are.
        units: usize,
    },
    /// RAM for a device is not acceptable.
    #[error(
        "reserved memory of {0:#x} bytes: it must be a multiple of 4K, for all devices together at most 16M"
    )]
    Reserved(u64),
    /// RAM for a device, and nothing that could tell the guest.
    #[error("reserved memory for a device needs a remapping unit")]
    ReservedWithoutUnit,
    /// The ACPI tables do not come together.
    #[error("ACPI tables: {0}")]
    Tables(#[from] viommu_firmware_tables::acpi::BuildError),
    /// The devices' registers do not fit.
    #[error(transparent)]
    Pci(viommu_devices::pci::host::AssignError),
    /// RAM or a disk.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

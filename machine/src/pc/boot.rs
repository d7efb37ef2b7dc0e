//! Everything that firmware would have done before a kernel starts, as data.

use viommu_firmware_tables::acpi::Image;

use super::config::{ConfigError, PcConfig};
use super::load::{self, Loaded, MapEntry, Placement, Request};
use super::slots::{Slot, slots};
use super::{map, tables};

/// What a machine needs to know of its configuration to start.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The memory map that the guest is told.
    pub map: Vec<MapEntry>,
    /// Where the devices of the configuration are, in its order.
    pub slots: Vec<Slot>,
    /// ACPI tables.
    pub tables: Image,
    /// The kernel and how it is entered; `None` if the configuration has no kernel.
    pub loaded: Option<Loaded>,
}

impl Boot {
    /// Checks a configuration, builds its tables and loads its kernel.
    ///
    /// # Errors
    /// What the user has to mend.
    pub fn of(config: &PcConfig) -> Result<Boot, ConfigError> {
        config.check()?;
        let slots = slots(&config.devices, config.memory);
        let tables = tables::build(config, &slots)?;
        let reserved: Vec<_> = slots.iter().filter_map(|s| s.reserved).collect();
        let map = map::memory_map(config.memory, &reserved);
        let request = config.kernel.as_deref().map(|kernel| Request {
            kernel,
            name: &config.kernel_name,
            initrd: config.initrd.as_deref(),
            append: &config.append,
            map: &map,
            rsdp: tables.rsdp,
            unpack: config.unpack,
            protocol: config.protocol,
        });
        let loaded = request.map(|r| load::load(&r)).transpose()?;
        Ok(Boot {
            map,
            slots,
            tables,
            loaded,
        })
    }

    /// What goes into memory, which is zero elsewhere. Nothing overlaps, all of it is RAM.
    pub fn placements(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let tables = self.tables.pieces.iter().map(|p| (p.at, &p.bytes[..]));
        let loaded = self.loaded.iter().flat_map(|l| &l.placements);
        tables.chain(loaded.map(|Placement { at, bytes, .. }| (*at, &bytes[..])))
    }
}

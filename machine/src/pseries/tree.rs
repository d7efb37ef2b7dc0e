//! The machine's description for the device tree.

use viommu_devices::spapr::iommu::SpaprIommu;
use viommu_devices::spapr::nvram::NVRAM_SIZE;
use viommu_devices::spapr::phb::Phb;
use viommu_devices::spapr::rtas::RtasCall;
use viommu_devices::spapr::vty::VTY_UNIT;
use viommu_firmware_tables::fdt::{
    self, ConnectorDescription, ConsoleDescription, CpuDescription, DdwDescription,
    DmaWindowDescription, FunctionDescription, InterruptController, NvramDescription,
    PhbDescription, PseriesDescription, RangeDescription, RtasDescription,
};

use super::config::{ConfigError, MachineConfig};
use super::load::Layout;
use super::{map, random, rtas};
use crate::clock::TIMEBASE_HZ;

/// The device tree of a machine; of its functions, those that are there at boot.
///
/// # Errors
/// [`ConfigError::DeviceTree`] if the description does not hold together.
pub fn build(mut description: PseriesDescription, phbs: &[Phb]) -> Result<Vec<u8>, ConfigError> {
    for (described, phb) in description.phbs.iter_mut().zip(phbs) {
        described
            .functions
            .retain(|f| phb.device(f.devfn).is_some());
    }
    fdt::pseries(&description).map_err(|e| ConfigError::DeviceTree(e.to_string()))
}

/// The machine with all its functions, in the words of the device tree.
pub fn describe(
    config: &MachineConfig,
    layout: &Layout,
    iommu: &SpaprIommu,
    bridges: Vec<(map::Bridge, Vec<FunctionDescription>)>,
) -> PseriesDescription {
    let calls = RtasCall::ALL
        .iter()
        .filter(|&&call| rtas::is_offered(call, config.features));
    let mut hypertas: Vec<String> = PseriesDescription::HYPERTAS.map(str::to_owned).to_vec();
    if !config.features.multi_tce {
        hypertas.retain(|h| h != "hcall-multi-tce");
    }
    let mut seed = 0x7669_6f6d_6d75_0001;
    let rng_seed = (0..8)
        .flat_map(|_| random::next(&mut seed).to_be_bytes())
        .collect();
    PseriesDescription {
        memory_size: config.memory,
        max_memory: config.memory_end(),
        lmb_size: map::LMB_SIZE,
        lmb_drc_base: map::LMB_DRC,
        cpus: (0..config.cpus).map(|reg| CpuDescription { reg }).collect(),
        max_cpus: config.cpus,
        timebase_frequency: TIMEBASE_HZ as u32,
        bootargs: config.append.clone(),
        initrd: layout.initrd,
        rng_seed,
        rtas: RtasDescription {
            base: layout.rtas as u32,
            entry: layout.rtas as u32,
            size: map::RTAS_ROOM as u32,
            calls: calls.map(|c| (c.name().to_owned(), c.token())).collect(),
            errors: if config.features.eeh {
                rtas::ERRORS.map(|(name, n)| (name.to_owned(), n)).to_vec()
            } else {
                Vec::new()
            },
        },
        hypertas,
        interrupt_controller: InterruptController::Xics {
            servers: config.cpus,
        },
        console: Some(ConsoleDescription {
            reg: VTY_UNIT as u32,
            irq: map::VTY_IRQ,
        }),
        nvram: Some(NvramDescription {
            reg: map::NVRAM_UNIT,
            size: NVRAM_SIZE as u32,
        }),
        phbs: bridges
            .into_iter()
            .map(|(place, functions)| bridge(place, config, iommu, functions))
            .collect(),
        ..PseriesDescription::default()
    }
}

fn bridge(
    place: map::Bridge,
    config: &MachineConfig,
    iommu: &SpaprIommu,
    functions: Vec<FunctionDescription>,
) -> PhbDescription {
    let range = |(cpu, pci, size)| RangeDescription { cpu, pci, size };
    let window = iommu.dt_properties(place.buid);
    let ddw = config.features.ddw.then(|| DdwDescription {
        tokens: [
            RtasCall::IbmQueryPeDmaWindow,
            RtasCall::IbmCreatePeDmaWindow,
            RtasCall::IbmRemovePeDmaWindow,
        ]
        .map(RtasCall::token),
        reset: window
            .filter(|w| w.extensions > 0)
            .map(|_| RtasCall::IbmResetPeDmaWindows.token()),
        extensions: vec![1; window.map_or(0, |w| w.extensions.saturating_sub(1)) as usize],
    });
    PhbDescription {
        index: place.index,
        buid: place.buid,
        mmio32: range(place.mmio32),
        mmio64: Some(range(place.mmio64)),
        io: None,
        bus_range: (0, 0xff),
        lsi_base: place.lsi_base,
        dma_window: DmaWindowDescription {
            liobn: place.liobn,
            base: window.map_or(0, |w| w.base),
            size: window.map_or(1 << 30, |w| w.size),
        },
        ddw,
        total_msis: map::MSI_COUNT,
        connector: Some(ConnectorDescription {
            index: map::bridge_drc(place.index),
            name: bridge_connector_name(place.index),
        }),
        connectors: functions
            .iter()
            .map(|f| ConnectorDescription {
                index: map::function_drc(place.index, f.devfn),
                name: connector_name(place.index, f.devfn),
            })
            .collect(),
        functions,
    }
}

/// Name of the connector of a slot, as `ibm,drc-names` has it: `P0-C1` is slot 1 behind the first host bridge.
pub fn connector_name(bridge: u32, devfn: u8) -> String {
    format!("P{bridge}-C{}", devfn >> 3)
}

/// Name of the connector of a host bridge, as the root's `ibm,drc-names` has it.
pub fn bridge_connector_name(bridge: u32) -> String {
    format!("PHB {bridge}")
}

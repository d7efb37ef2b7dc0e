//! What a pseries machine is, in plain values: the input of the device tree.

use super::FdtError;

/// A pseries machine. Addresses are guest real addresses, sizes are bytes, frequencies are Hz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PseriesDescription {
    /// Property `model` of the root.
    pub model: String,
    /// Memory from address 0.
    pub memory_size: u64,
    /// Highest address that memory can ever have plus one: first number of `ibm,lrdr-capacity`. Linux takes the size of the window
    /// that it asks for from it. If it is more than `memory_size`, both are multiples of `lmb_size`, and the blocks between can be added.
    pub max_memory: u64,
    /// Size of a logical memory block.
    pub lmb_size: u64,
    /// Connector of the block at address 0; that of the next block is one higher.
    pub lmb_drc_base: u32,
    /// Processor model, the same for all.
    pub cpu_model: CpuModel,
    /// Processors; the first one boots.
    pub cpus: Vec<CpuDescription>,
    /// Highest number of processors, at least `cpus.len()`.
    pub max_cpus: u32,
    /// Ticks of the time base a second.
    pub timebase_frequency: u32,
    /// Processor clock.
    pub clock_frequency: u64,
    /// Kernel command line.
    pub bootargs: String,
    /// Initial RAM disk: start and end (first byte after it).
    pub initrd: Option<(u64, u64)>,
    /// `kaslr-seed` of `/chosen`; left out if `None`.
    pub kaslr_seed: Option<u64>,
    /// `rng-seed` of `/chosen`; left out if empty.
    pub rng_seed: Vec<u8>,
    /// Run-time abstraction services.
    pub rtas: RtasDescription,
    /// `ibm,hypertas-functions`; [`PseriesDescription::HYPERTAS`] has what Linux needs.
    pub hypertas: Vec<String>,
    /// Interrupt controller.
    pub interrupt_controller: InterruptController,
    /// Virtual terminal, also `stdout`.
    pub console: Option<ConsoleDescription>,
    /// NVRAM in `/vdevice`.
    pub nvram: Option<NvramDescription>,
    /// PCI host bridges.
    pub phbs: Vec<PhbDescription>,
}

impl PseriesDescription {
    /// Function sets of hypercalls that Linux looks for on such a machine. LoPAR Binding, `ibm,hypertas-functions`.
    pub const HYPERTAS: [&'static str; 7] = [
        "hcall-pft",
        "hcall-tce",
        "hcall-multi-tce",
        "hcall-term",
        "hcall-interrupt",
        "hcall-set-mode",
        "hcall-splpar",
    ];
}

impl Default for PseriesDescription {
    /// A machine with 1 GiB, one POWER9 processor, XICS and nothing else; RTAS without calls at 0x3000_0000.
    fn default() -> Self {
        PseriesDescription {
            model: "viommu pseries".to_owned(),
            memory_size: 1 << 30,
            max_memory: 1 << 30,
            lmb_size: 256 << 20,
            lmb_drc_base: 0x8000_0000,
            cpu_model: CpuModel::Power9,
            cpus: vec![CpuDescription { reg: 0 }],
            max_cpus: 1,
            timebase_frequency: 512_000_000,
            clock_frequency: 1_000_000_000,
            bootargs: String::new(),
            initrd: None,
            kaslr_seed: None,
            rng_seed: Vec::new(),
            rtas: RtasDescription {
                base: 0x3000_0000,
                entry: 0x3000_0000,
                size: 0x1000,
                calls: Vec::new(),
                errors: Vec::new(),
            },
            hypertas: Self::HYPERTAS.map(str::to_owned).to_vec(),
            interrupt_controller: InterruptController::Xics { servers: 1 },
            console: None,
            nvram: None,
            phbs: Vec::new(),
        }
    }
}

/// Processor models, each with its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuModel {
    /// POWER9 DD2.2 with radix, without transactional memory and decimal floating point.
    Power9,
}

impl CpuModel {
    /// Processor version register.
    pub fn pvr(self) -> u32 {
        match self {
            CpuModel::Power9 => 0x004e_1200,
        }
    }
}

/// A processor, of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuDescription {
    /// `reg`, which is also its interrupt server number.
    pub reg: u32,
}

/// RTAS: where the blob is and which calls it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtasDescription {
    /// Address of the blob.
    pub base: u32,
    /// Address to enter it at.
    pub entry: u32,
    /// Size of the blob and what it may write.
    pub size: u32,
    /// Calls and their tokens.
    pub calls: Vec<(String, u32)>,
    /// Errors that can be injected, and their numbers: `ibm,errinjct-tokens`. Left out if empty.
    pub errors: Vec<(String, u32)>,
}

impl RtasDescription {
    /// Token of a call.
    pub fn token(&self, name: &str) -> Option<u32> {
        self.calls.iter().find(|(n, _)| n == name).map(|(_, t)| *t)
    }
}

/// Interrupt presentation and sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterruptController {
    /// XICS by hypercalls and RTAS; `servers` is the number of interrupt servers from 0.
    Xics {
        /// Number of interrupt servers.
        servers: u32,
    },
}

/// A virtual terminal (`hvterm1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleDescription {
    /// Unit address: 0x7100_0000 on a machine with one.
    pub reg: u32,
    /// Interrupt source number.
    pub irq: u32,
}

/// NVRAM reached by RTAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvramDescription {
    /// Unit address.
    pub reg: u32,
    /// Size.
    pub size: u32,
}

/// A range of bus addresses and where the processor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeDescription {
    /// Guest real address.
    pub cpu: u64,
    /// Bus address.
    pub pci: u64,
    /// Size.
    pub size: u64,
}

/// The window that a partition has from the start. LoPAR Binding, `ibm,dma-window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaWindowDescription {
    /// Logical I/O bus number.
    pub liobn: u32,
    /// First bus address.
    pub base: u64,
    /// Size.
    pub size: u64,
}

/// Dynamic DMA windows. LoPAR §7.3.14.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdwDescription {
    /// Tokens of query, create, remove: `ibm,ddw-applicable`.
    pub tokens: [u32; 3],
    /// Token of `ibm,reset-pe-dma-window`: first of `ibm,ddw-extensions`; that property is left out if `None`.
    pub reset: Option<u32>,
    /// Values of `ibm,ddw-extensions` after the reset token.
    pub extensions: Vec<u32>,
}

/// A PCI host bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhbDescription {
    /// PCI domain.
    pub index: u32,
    /// Bus unit identifier.
    pub buid: u64,
    /// 32-bit memory range.
    pub mmio32: RangeDescription,
    /// 64-bit memory range.
    pub mmio64: Option<RangeDescription>,
    /// I/O port range.
    pub io: Option<RangeDescription>,
    /// First and last bus number.
    pub bus_range: (u8, u8),
    /// First of four level interrupt sources; see [`PhbDescription::lsi`].
    pub lsi_base: u32,
    /// Default window.
    pub dma_window: DmaWindowDescription,
    /// Dynamic windows.
    pub ddw: Option<DdwDescription>,
    /// MSIs that functions may have together: `ibm,pe-total-#msi`.
    pub total_msis: u32,
    /// Functions on bus `bus_range.0`.
    pub functions: Vec<FunctionDescription>,
    /// The bridge's own connector, of type `PHB`: `ibm,my-drc-index`, and an entry of the root's `ibm,drc-indexes`. LoPAR §13.5.2.
    pub connector: Option<ConnectorDescription>,
    /// Connectors below the bridge, of type `SLOT`, those of `functions` and those of functions that are not there yet. LoPAR §13.5.2.
    pub connectors: Vec<ConnectorDescription>,
}

/// A dynamic reconfiguration connector of a slot or of a host bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectorDescription {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

impl PhbDescription {
    /// Interrupt source of INTA (`pin` 1) to INTD (4) of a slot: the four sources are handed out in turn, each slot one further on.
    pub fn lsi(&self, slot: u8, pin: u8) -> u32 {
        self.lsi_base
            .wrapping_add((u32::from(slot) + u32::from(pin.max(1)) - 1) % 4)
    }
}

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarSpace {
    /// I/O ports.
    Io,
    /// 32-bit memory.
    Memory32,
    /// 64-bit memory; takes the next BAR too.
    Memory64,
}

/// A base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarDescription {
    /// 0 to 5.
    pub index: u8,
    /// What it decodes.
    pub space: BarSpace,
    /// Prefetchable memory.
    pub prefetchable: bool,
    /// Size, a power of two.
    pub size: u64,
}

/// A PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionDescription {
    /// Slot in bits 7:3, function in bits 2:0.
    pub devfn: u8,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code, 24 bits.
    pub class: u32,
    /// Subsystem vendor ID and subsystem ID.
    pub subsystem: (u16, u16),
    /// 1 to 4 for INTA to INTD, 0 for none.
    pub interrupt_pin: u8,
    /// BARs.
    pub bars: Vec<BarDescription>,
    /// MSI vectors, 0 for none.
    pub msi: u32,
    /// MSI-X vectors, 0 for none.
    pub msix: u32,
    /// Index of its connector: `ibm,my-drc-index`.
    pub connector: Option<u32>,
}

fn refuse(condition: bool, message: impl FnOnce() -> String) -> Result<(), FdtError> {
    if condition {
        Err(FdtError::Description(message()))
    } else {
        Ok(())
    }
}

impl PseriesDescription {
    /// Refuses what no tree can say; what a tree can say wrongly is [`crate::check`]'s matter.
    pub(super) fn validate(&self) -> Result<(), FdtError> {
        refuse(self.memory_size == 0, || "a machine needs memory".into())?;
        refuse(self.cpus.is_empty(), || {
            "a machine needs a processor".into()
        })?;
        refuse(self.max_memory < self.memory_size, || {
            format!(
                "max_memory {:#x} is less than memory_size {:#x}",
                self.max_memory, self.memory_size
            )
        })?;
        let blocks = |size: u64| self.lmb_size != 0 && size.is_multiple_of(self.lmb_size);
        let grows = self.max_memory > self.memory_size;
        refuse(
            grows && !(blocks(self.max_memory) && blocks(self.memory_size)),
            || {
                format!(
                    "memory that can grow comes in blocks of {:#x}",
                    self.lmb_size
                )
            },
        )?;
        for (name, value) in [("model", &self.model), ("bootargs", &self.bootargs)] {
            if value.contains('\0') {
                return Err(FdtError::String(name.to_owned()));
            }
        }
        if self.hypertas.iter().any(|h| h.contains('\0')) {
            return Err(FdtError::String("ibm,hypertas-functions".to_owned()));
        }
        for phb in &self.phbs {
            let mut connectors = phb.connectors.iter().chain(&phb.connector);
            if connectors.any(|c| c.name.contains('\0')) {
                return Err(FdtError::String("ibm,drc-names".to_owned()));
            }
            for function in &phb.functions {
                refuse(function.interrupt_pin > 4, || {
                    format!(
                        "interrupt pin {} of function {:#x}",
                        function.interrupt_pin, function.devfn
                    )
                })?;
                refuse(function.bars.iter().any(|b| b.index > 5), || {
                    format!(
                        "a BAR of function {:#x} has an index above 5",
                        function.devfn
                    )
                })?;
            }
        }
        Ok(())
    }
}

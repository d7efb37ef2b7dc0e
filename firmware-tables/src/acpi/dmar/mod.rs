//! The DMAR table: remapping hardware and what it covers. VT-d 4.1 §8.
//!
//! The types are both what is written and what is read. Order matters and is kept: software reads structures in order, and a checker
//! must see what is there.

mod read;
mod write;

pub use read::{ReadError, read};
pub use write::write;

/// The table's contents. VT-d 4.1 §8.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmar {
    /// Bits of the physical addresses that DMA can use, 1 to 256.
    pub host_address_width: u16,
    /// INTR_REMAP: the platform supports interrupt remapping.
    pub interrupt_remapping: bool,
    /// X2APIC_OPT_OUT: software is asked not to switch to x2APIC mode.
    pub x2apic_opt_out: bool,
    /// DMA_CTRL_PLATFORM_OPT_IN_FLAG: software should hold DMA to its tables against hostile devices.
    pub dma_control_opt_in: bool,
    /// Remapping structures.
    pub structures: Vec<Structure>,
}

/// One remapping structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Structure {
    /// A remapping unit.
    Drhd(Drhd),
    /// Memory that devices use from power-on.
    Rmrr(Rmrr),
    /// Root ports that carry address translation services.
    Atsr(Atsr),
    /// Where a unit is near.
    Rhsa(Rhsa),
    /// An ACPI device that masters the bus.
    Andd(Andd),
    /// Integrated devices with address translation caches.
    Satc(Satc),
    /// Properties of integrated devices.
    Sidp(Sidp),
    /// A structure of another type, by type and contents after the length.
    Unknown(u16, Vec<u8>),
}

impl Structure {
    /// Its type's number. VT-d 4.1 §8.2.
    pub fn kind(&self) -> u16 {
        match self {
            Structure::Drhd(_) => 0,
            Structure::Rmrr(_) => 1,
            Structure::Atsr(_) => 2,
            Structure::Rhsa(_) => 3,
            Structure::Andd(_) => 4,
            Structure::Satc(_) => 5,
            Structure::Sidp(_) => 6,
            Structure::Unknown(kind, _) => *kind,
        }
    }

    /// Its type's name.
    pub fn name(&self) -> &'static str {
        const NAMES: [&str; 7] = ["DRHD", "RMRR", "ATSR", "RHSA", "ANDD", "SATC", "SIDP"];
        match self {
            Structure::Unknown(..) => "unknown structure",
            known => NAMES
                .get(usize::from(known.kind()))
                .copied()
                .unwrap_or_default(),
        }
    }

    /// Segment and device scopes of those that have them.
    pub fn scopes(&self) -> Option<(u16, &[Scope])> {
        match self {
            Structure::Drhd(Drhd {
                segment, scopes, ..
            })
            | Structure::Rmrr(Rmrr {
                segment, scopes, ..
            })
            | Structure::Atsr(Atsr {
                segment, scopes, ..
            })
            | Structure::Satc(Satc {
                segment, scopes, ..
            })
            | Structure::Sidp(Sidp { segment, scopes }) => Some((*segment, scopes)),
            Structure::Rhsa(_) | Structure::Andd(_) | Structure::Unknown(..) => None,
        }
    }
}

/// DMA Remapping Hardware Unit Definition. VT-d 4.1 §8.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drhd {
    /// INCLUDE_PCI_ALL: covers every PCI device of the segment that no other unit covers.
    pub include_pci_all: bool,
    /// The register set is 2^`size` pages of 4 KiB, 0 to 15.
    pub size: u8,
    /// PCI segment.
    pub segment: u16,
    /// Address of the register set.
    pub address: u64,
    /// What it covers.
    pub scopes: Vec<Scope>,
}

/// Reserved Memory Region Reporting. VT-d 4.1 §8.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rmrr {
    /// PCI segment.
    pub segment: u16,
    /// First address, aligned to 4 KiB.
    pub base: u64,
    /// Last address.
    pub limit: u64,
    /// Devices that use it.
    pub scopes: Vec<Scope>,
}

/// Root Port ATS Capability Reporting. VT-d 4.1 §8.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atsr {
    /// ALL_PORTS: every root port of the segment; then there are no scopes.
    pub all_ports: bool,
    /// PCI segment.
    pub segment: u16,
    /// Root ports.
    pub scopes: Vec<Scope>,
}

/// Remapping Hardware Static Affinity. VT-d 4.1 §8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhsa {
    /// Address of the unit's register set, as its DRHD says it.
    pub address: u64,
    /// Proximity domain.
    pub proximity: u32,
}

/// ACPI Name-space Device Declaration. VT-d 4.1 §8.7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Andd {
    /// Number by which device scopes of type 5 name it.
    pub number: u8,
    /// Full path of the object.
    pub name: String,
}

/// SoC Integrated Address Translation Cache Reporting. VT-d 4.1 §8.8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Satc {
    /// ATC_REQUIRED: the devices need their translation caches to work.
    pub required: bool,
    /// PCI segment.
    pub segment: u16,
    /// Devices.
    pub scopes: Vec<Scope>,
}

/// SoC Integrated Device Property Reporting. VT-d 4.1 §8.9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidp {
    /// PCI segment.
    pub segment: u16,
    /// Devices, each with properties in its flags.
    pub scopes: Vec<Scope>,
}

/// What a device scope names. VT-d 4.1 §8.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// One PCI function.
    Endpoint,
    /// A bridge and all behind it.
    Bridge,
    /// An I/O APIC; the enumeration id is its id.
    IoApic,
    /// HPET timers that write messages; the enumeration id is the block's number.
    Hpet,
    /// A device of an ANDD structure; the enumeration id is its number.
    Namespace,
    /// Another type.
    Other(u8),
}

impl ScopeKind {
    /// As it is written.
    pub fn code(self) -> u8 {
        match self {
            ScopeKind::Endpoint => 1,
            ScopeKind::Bridge => 2,
            ScopeKind::IoApic => 3,
            ScopeKind::Hpet => 4,
            ScopeKind::Namespace => 5,
            ScopeKind::Other(code) => code,
        }
    }

    /// As it is read.
    pub fn of(code: u8) -> Self {
        match code {
            1 => ScopeKind::Endpoint,
            2 => ScopeKind::Bridge,
            3 => ScopeKind::IoApic,
            4 => ScopeKind::Hpet,
            5 => ScopeKind::Namespace,
            other => ScopeKind::Other(other),
        }
    }
}

/// A device scope. VT-d 4.1 §8.3.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What it names.
    pub kind: ScopeKind,
    /// Properties of the device; only those of SIDP have any.
    pub flags: u8,
    /// Id of an I/O APIC, HPET or namespace device; 0 for PCI devices.
    pub enumeration_id: u8,
    /// Bus on which the path starts.
    pub start_bus: u8,
    /// Device and function of each step.
    pub path: Vec<(u8, u8)>,
}

impl Scope {
    /// A scope of one step: a function on `bus`.
    pub fn new(kind: ScopeKind, enumeration_id: u8, bus: u8, device: u8, function: u8) -> Self {
        Scope {
            kind,
            flags: 0,
            enumeration_id,
            start_bus: bus,
            path: vec![(device, function)],
        }
    }
}

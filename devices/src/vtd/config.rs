//! What a unit can do: chosen by its maker, checked for consistency, and told to the guest in CAP and ECAP.

use serde::{Deserialize, Serialize};

use super::spec::mask;
use super::spec::registers::{Cap, Ecap, FRO, IRO, MAX_FAULT_RECORDS};
use crate::dma::SourceId;

/// Sizes and policies of the caches. A size of 0 switches a cache off. VT-d 4.1 §6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheConfig {
    /// IOTLB entries, a power of two up to [`CacheConfig::LARGEST`], or 0.
    pub iotlb: usize,
    /// Context-cache entries, likewise.
    pub context: usize,
    /// PASID-cache entries, likewise.
    pub pasid: usize,
    /// Paging-structure cache entries, likewise. With it, an invalidation with IH set leaves the upper levels cached.
    pub paging_structure: usize,
    /// Interrupt entry cache entries, likewise.
    pub interrupt: usize,
    /// Use cached entries as long as the rules allow: a request that lacks permission in a cached entry faults without a new walk.
    pub adversarial: bool,
    /// Fetch 128-bit and wider entries in pieces of 8 bytes, last piece first, without checking that they belong together.
    pub torn_fetch: bool,
}

impl CacheConfig {
    /// Most entries of a cache.
    pub const LARGEST: usize = 1 << 16;

    /// Nothing is cached.
    pub const OFF: CacheConfig = CacheConfig {
        iotlb: 0,
        context: 0,
        pasid: 0,
        paging_structure: 0,
        interrupt: 0,
        adversarial: false,
        torn_fetch: false,
    };

    /// Large caches of every kind, used as long as the rules allow; wide entries are fetched in pieces.
    pub const ADVERSARIAL: CacheConfig = CacheConfig {
        iotlb: 4096,
        context: 1024,
        pasid: 1024,
        paging_structure: 1024,
        interrupt: 1024,
        adversarial: true,
        torn_fetch: true,
    };
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig {
            iotlb: 1024,
            context: 256,
            pasid: 256,
            paging_structure: 0,
            interrupt: 256,
            adversarial: false,
            torn_fetch: false,
        }
    }
}

/// What a unit can do. Field names follow CAP and ECAP. VT-d 4.1 §11.4.2, §11.4.3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// VER: major and minor, 0 to 15.
    pub version: (u8, u8),
    /// Physical address bits, 32 to 52. Table and page addresses must fit.
    pub host_address_width: u32,
    /// Guest address bits (CAP.MGAW + 1), at most 57.
    pub guest_address_width: u32,
    /// Second-stage levels offered: any of 3 (39 bits), 4 (48), 5 (57).
    pub second_stage_levels: Vec<u32>,
    /// Second-stage 2 MiB pages.
    pub second_stage_2m: bool,
    /// Second-stage 1 GiB pages.
    pub second_stage_1g: bool,
    /// Domain-id bits: 4, 6, 8, 10, 12, 14 or 16.
    pub domain_bits: u32,
    /// Fault recording registers, 1 to 128.
    pub fault_records: usize,
    /// Page-selective invalidation, with address masks up to `mamv`.
    pub psi: bool,
    /// CAP.MAMV, 0 to 63.
    pub mamv: u8,
    /// Caching mode: entries that are not present may be cached.
    pub caching_mode: bool,
    /// Write buffers must be flushed.
    pub rwbf: bool,
    /// Protected memory regions.
    pub protected_memory: bool,
    /// Zero length reads.
    pub zero_length_read: bool,
    /// SRTP invalidates.
    pub esrtps: bool,
    /// SIRTP invalidates.
    pub esirtps: bool,
    /// Legacy page walks are coherent.
    pub coherent: bool,
    /// Queued invalidation.
    pub queued_invalidation: bool,
    /// Device TLBs.
    pub device_tlb: bool,
    /// Interrupt remapping.
    pub interrupt_remapping: bool,
    /// x2APIC destinations.
    pub eim: bool,
    /// Posted interrupts.
    pub posted_interrupts: bool,
    /// Pass-through.
    pub pass_through: bool,
    /// Snoop control.
    pub snoop_control: bool,
    /// ECAP.MHMV: largest index mask of an interrupt entry cache invalidation, 0 to 15.
    pub mhmv: u8,
    /// Scalable mode.
    pub scalable: bool,
    /// First stage, 4-level.
    pub first_stage: bool,
    /// First stage, 5-level.
    pub first_stage_5_level: bool,
    /// First-stage 1 GiB pages.
    pub first_stage_1g: bool,
    /// Second stage in scalable mode.
    pub second_stage: bool,
    /// Nested translation.
    pub nested: bool,
    /// Memory types.
    pub memory_type: bool,
    /// Requests with PASID; value is the PASID bits (13 to 20), 0 for none.
    pub pasid_bits: u32,
    /// RID_PASID.
    pub rid_pasid: bool,
    /// RID_PRIV.
    pub rid_priv: bool,
    /// Page requests.
    pub page_requests: bool,
    /// Page request drain.
    pub page_request_drain: bool,
    /// Execute requests.
    pub execute_requests: bool,
    /// Supervisor requests.
    pub supervisor_requests: bool,
    /// Extended accessed flags.
    pub extended_accessed: bool,
    /// Second-stage accessed and dirty bits.
    pub second_stage_ad: bool,
    /// Scalable-mode page walks are coherent.
    pub scalable_coherent: bool,
    /// Abort-DMA mode.
    pub abort_dma: bool,
    /// Caches.
    pub caches: CacheConfig,
    /// This requester (an I/O APIC) is not held to its source-id: QEMU behaves so, and kvm-unit-tests depend on it.
    pub unverified_requester: Option<SourceId>,
}

impl Config {
    /// Everything the model can do, 48-bit guest addresses and 4 fault records.
    pub fn full() -> Self {
        Config {
            version: (5, 0),
            host_address_width: 46,
            guest_address_width: 57,
            second_stage_levels: vec![3, 4, 5],
            second_stage_2m: true,
            second_stage_1g: true,
            domain_bits: 16,
            fault_records: 4,
            psi: true,
            mamv: 18,
            caching_mode: false,
            rwbf: false,
            protected_memory: true,
            zero_length_read: true,
            esrtps: true,
            esirtps: true,
            coherent: true,
            queued_invalidation: true,
            device_tlb: true,
            interrupt_remapping: true,
            eim: true,
            posted_interrupts: true,
            pass_through: true,
            snoop_control: true,
            mhmv: 15,
            scalable: true,
            first_stage: true,
            first_stage_5_level: true,
            first_stage_1g: true,
            second_stage: true,
            nested: true,
            memory_type: false,
            pasid_bits: 20,
            rid_pasid: true,
            rid_priv: true,
            page_requests: true,
            page_request_drain: true,
            execute_requests: true,
            supervisor_requests: true,
            extended_accessed: true,
            second_stage_ad: true,
            scalable_coherent: true,
            abort_dma: true,
            caches: CacheConfig::default(),
            unverified_requester: None,
        }
    }

    /// A unit before scalable mode: legacy tables with 39 and 48 bits, queued invalidation, interrupt remapping.
    pub fn legacy() -> Self {
        Config {
            version: (1, 0),
            guest_address_width: 48,
            second_stage_levels: vec![3, 4],
            posted_interrupts: false,
            scalable: false,
            first_stage: false,
            first_stage_5_level: false,
            first_stage_1g: false,
            second_stage: false,
            nested: false,
            pasid_bits: 0,
            rid_pasid: false,
            rid_priv: false,
            page_requests: false,
            page_request_drain: false,
            execute_requests: false,
            supervisor_requests: false,
            extended_accessed: false,
            second_stage_ad: false,
            scalable_coherent: false,
            abort_dma: false,
            ..Config::full()
        }
    }

    /// The registers that follow.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn capabilities(&self) -> Result<Capabilities, ConfigError> {
        self.check()?;
        let mut sagaw = 0;
        for &levels in &self.second_stage_levels {
            sagaw |= 1 << (levels - 2);
        }
        let cap = Cap::new()
            .with_nd(((self.domain_bits - 4) / 2) as u8)
            .with_rwbf(self.rwbf)
            .with_plmr(self.protected_memory)
            .with_phmr(self.protected_memory)
            .with_cm(self.caching_mode)
            .with_sagaw(sagaw)
            .with_mgaw((self.guest_address_width - 1) as u8)
            .with_zlr(self.zero_length_read)
            .with_fro((FRO / 16) as u16)
            .with_sslps(u8::from(self.second_stage_2m) | u8::from(self.second_stage_1g) << 1)
            .with_psi(self.psi)
            .with_nfr((self.fault_records - 1) as u8)
            .with_mamv(self.mamv)
            .with_dwd(true)
            .with_drd(true)
            .with_fs1gp(self.first_stage_1g)
            .with_pi(self.posted_interrupts)
            .with_fs5lp(self.first_stage_5_level)
            .with_esirtps(self.esirtps)
            .with_esrtps(self.esrtps);
        let ecap = Ecap::new()
            .with_c(self.coherent)
            .with_qi(self.queued_invalidation)
            .with_dt(self.device_tlb)
            .with_ir(self.interrupt_remapping)
            .with_eim(self.eim)
            .with_pt(self.pass_through)
            .with_sc(self.snoop_control)
            .with_iro((IRO / 16) as u16)
            .with_mhmv(if self.interrupt_remapping {
                self.mhmv
            } else {
                0
            })
            .with_mts(self.memory_type)
            .with_nest(self.nested)
            .with_prs(self.page_requests)
            .with_ers(self.execute_requests)
            .with_srs(self.supervisor_requests)
            .with_nwfs(self.device_tlb)
            .with_eafs(self.extended_accessed)
            .with_pss(self.pasid_bits.saturating_sub(1) as u8)
            .with_pasid(self.pasid_bits != 0)
            .with_pds(self.page_request_drain)
            .with_smts(self.scalable)
            .with_ssads(self.second_stage_ad)
            .with_ssts(self.second_stage)
            .with_fsts(self.first_stage)
            .with_smpwcs(self.scalable_coherent)
            .with_rps(self.rid_pasid)
            .with_adms(self.abort_dma)
            .with_rprivs(self.rid_priv);
        Ok(Capabilities { cap, ecap })
    }

    fn check(&self) -> Result<(), ConfigError> {
        let range = |name, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::Range {
                    name,
                    value,
                    low,
                    high,
                })
            }
        };
        range("version (major)", self.version.0.into(), 0, 15)?;
        range("version (minor)", self.version.1.into(), 0, 15)?;
        range(
            "host_address_width",
            self.host_address_width as usize,
            32,
            52,
        )?;
        range(
            "guest_address_width",
            self.guest_address_width as usize,
            30,
            57,
        )?;
        range("fault_records", self.fault_records, 1, MAX_FAULT_RECORDS)?;
        range("mamv", self.mamv.into(), 0, 63)?;
        range("mhmv", self.mhmv.into(), 0, 15)?;
        range("domain_bits", self.domain_bits as usize, 4, 16)?;
        if !self.domain_bits.is_multiple_of(2) {
            return Err(ConfigError::Contradiction("domain_bits must be even"));
        }
        for &levels in &self.second_stage_levels {
            range("second_stage_levels", levels as usize, 3, 5)?;
        }
        if self.pasid_bits != 0 {
            range("pasid_bits", self.pasid_bits as usize, 13, 20)?;
        }
        let c = &self.caches;
        for (name, size) in [
            ("caches.iotlb", c.iotlb),
            ("caches.context", c.context),
            ("caches.pasid", c.pasid),
            ("caches.paging_structure", c.paging_structure),
            ("caches.interrupt", c.interrupt),
        ] {
            range(name, size, 0, CacheConfig::LARGEST)?;
            if size != 0 && !size.is_power_of_two() {
                return Err(ConfigError::NotPowerOfTwo { name, value: size });
            }
        }
        self.check_dependencies()
    }

    fn check_dependencies(&self) -> Result<(), ConfigError> {
        let has_second_stage = !self.scalable || self.second_stage || self.nested;
        let rules = [
            (
                has_second_stage && self.second_stage_levels.is_empty(),
                "second-stage translation needs at least one of second_stage_levels",
            ),
            (
                self.second_stage_1g && !self.second_stage_2m,
                "second_stage_1g needs second_stage_2m",
            ),
            (
                self.scalable && !(self.first_stage || self.second_stage || self.pass_through),
                "scalable mode needs a first stage, a second stage or pass-through",
            ),
            (
                self.scalable && !self.queued_invalidation,
                "scalable mode needs queued invalidation",
            ),
            (
                !self.scalable
                    && (self.first_stage
                        || self.second_stage
                        || self.nested
                        || self.pasid_bits != 0
                        || self.rid_pasid
                        || self.rid_priv
                        || self.second_stage_ad
                        || self.scalable_coherent
                        || self.page_requests
                        || self.execute_requests
                        || self.supervisor_requests
                        || self.extended_accessed),
                "a feature of scalable mode is asked for without scalable mode",
            ),
            (
                self.nested && !(self.first_stage && self.second_stage),
                "nested translation needs both stages",
            ),
            (
                !self.first_stage
                    && (self.first_stage_5_level
                        || self.first_stage_1g
                        || self.execute_requests
                        || self.supervisor_requests
                        || self.extended_accessed),
                "a feature of the first stage is asked for without it",
            ),
            (
                self.second_stage_ad && !(self.second_stage && self.scalable_coherent),
                "second_stage_ad needs second_stage and scalable_coherent",
            ),
            (
                self.extended_accessed && !self.scalable_coherent,
                "extended_accessed needs scalable_coherent",
            ),
            (
                self.scalable && self.rwbf,
                "in scalable mode write buffers need no flushing: rwbf must be off",
            ),
            (
                self.memory_type && !self.scalable,
                "memory_type needs scalable mode",
            ),
            (
                self.rid_priv && !self.supervisor_requests,
                "rid_priv needs supervisor_requests",
            ),
            (
                self.page_requests && !self.device_tlb,
                "page requests need device TLBs",
            ),
            (
                self.page_request_drain && !self.page_requests,
                "page_request_drain needs page_requests",
            ),
            (
                self.device_tlb && !self.queued_invalidation,
                "device TLBs need queued invalidation",
            ),
            (
                self.interrupt_remapping && !self.queued_invalidation,
                "interrupt remapping needs queued invalidation",
            ),
            (
                (self.eim || self.posted_interrupts || self.esirtps) && !self.interrupt_remapping,
                "eim, posted_interrupts and esirtps need interrupt_remapping",
            ),
        ];
        match rules.iter().find(|(bad, _)| *bad) {
            Some((_, why)) => Err(ConfigError::Contradiction(why)),
            None => Ok(()),
        }
    }

    /// The domain-id in the low bits of a field; bits beyond `domain_bits` are ignored. VT-d 4.1 §6.5.2.
    pub(super) fn domain(&self, field: u64) -> u16 {
        (field & mask(self.domain_bits - 1, 0)) as u16
    }

    /// The second quadword of an IOTLB invalidation, or IVA; address bits beyond MGAW are ignored. VT-d 4.1 §6.5.2.3.
    pub(super) fn pages(&self, high: u64) -> u64 {
        high & mask(self.guest_address_width - 1, 0)
    }

    /// True if protected memory is protected from remapped requests as well. VT-d 4.1 §11.4.8.1.
    pub(super) const fn protects_from_all(&self) -> bool {
        self.version.0 >= 2
    }

    /// True if a second-stage AW (1 is 3 levels) is offered.
    pub(super) fn supports_width(&self, aw: u8) -> bool {
        self.second_stage_levels.contains(&(u32::from(aw) + 2))
    }
}

/// CAP and ECAP of a checked configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// CAP.
    pub cap: Cap,
    /// ECAP.
    pub ecap: Ecap,
}

/// A configuration that no unit can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number out of its range.
    #[error("{name} is {value}, but must be {low} to {high}")]
    Range {
        /// Which field.
        name: &'static str,
        /// Its value.
        value: usize,
        /// Smallest that is allowed.
        low: usize,
        /// Largest that is allowed.
        high: usize,
    },
    /// The size of a cache.
    #[error("{name} is {value}, but must be 0 or a power of two")]
    NotPowerOfTwo {
        /// Which field.
        name: &'static str,
        /// Its value.
        value: usize,
    },
    /// Two fields that do not go together.
    #[error("{0}")]
    Contradiction(&'static str),
}

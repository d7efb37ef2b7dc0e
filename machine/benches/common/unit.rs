//! An IOMMU with one endpoint, and memory behind it.

use std::sync::Arc;

use viommu_devices::dma::{SourceId, Translator};
use viommu_devices::memory::GuestRam;
use viommu_devices::spapr::hcall::{H_PUT_TCE, H_SUCCESS};
use viommu_devices::spapr::iommu::rules::Personality;
use viommu_devices::spapr::iommu::spec::Liobn;
use viommu_devices::spapr::iommu::{Members, PeConfig, SpaprIommu};
use vm_memory::GuestAddress;

/// Bytes of memory.
pub const RAM: u64 = 64 << 20;
/// Table of the default window.
pub const DEFAULT: u64 = 0x8000_0000;
/// The function that masters the bus.
pub const SOURCE: SourceId = SourceId(8);
/// May be read and written.
pub const RW: u64 = 3;

const BUID: u64 = 0x0800_0000_2000_0000;

/// The IOMMU and memory.
pub struct Unit {
    /// With one endpoint and its default window.
    pub iommu: SpaprIommu,
    /// [`RAM`] bytes from address 0.
    pub ram: GuestRam,
}

impl Unit {
    /// With nothing mapped.
    pub fn new() -> Unit {
        let iommu = SpaprIommu::new(RAM, Personality::KVM);
        let pe = PeConfig {
            buid: BUID,
            config_addr: 0,
            liobn: Liobn(DEFAULT as u32),
            members: Members::All,
        };
        iommu.add_pe(pe).expect("the first endpoint");
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).expect("memory");
        Unit { iommu, ram }
    }

    /// What devices below the host bridge ask.
    pub fn translator(&self) -> Arc<dyn Translator> {
        Arc::new(self.iommu.for_phb(BUID))
    }

    /// A hypercall that has to succeed.
    pub fn call(&self, number: u64, args: &[u64]) {
        let reply = self.iommu.hcall(number, args, &self.ram);
        assert_eq!(reply.map(|r| r.status), Some(H_SUCCESS), "{args:x?}");
    }

    /// Creates a dynamic window: its table and first bus address.
    pub fn create(&self, page_shift: u32, window_shift: u32) -> (u64, u64) {
        let (high, low) = ((BUID >> 32) as u32, BUID as u32);
        let mut out = [0; 4];
        self.iommu
            .create_pe_dma_window(&[0, high, low, page_shift, window_shift], &mut out);
        assert_eq!(out[0], 0, "a window of 2^{window_shift} bytes");
        (out[1].into(), u64::from(out[2]) << 32 | u64::from(out[3]))
    }

    /// Creates a dynamic window and maps all of it to memory, over and over. Returns its first bus address.
    pub fn mapped(&self, page_shift: u32, window_shift: u32) -> u64 {
        let (liobn, base) = self.create(page_shift, window_shift);
        for entry in 0..1 << (window_shift - page_shift) {
            let offset = entry << page_shift;
            self.call(H_PUT_TCE, &[liobn, base + offset, (offset % RAM) | RW]);
        }
        base
    }
}

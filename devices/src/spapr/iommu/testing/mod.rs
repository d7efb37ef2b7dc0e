//! A unit to call and a plain model of it, for property tests and fuzz targets. Not part of the library: feature `testing`.
//!
//! Everything here panics on a disagreement; that is what it is for.

mod model;

use vm_memory::{Bytes, GuestAddress};

use super::rules::Personality;
use super::spec::{Liobn, Tce};
use super::store::Budget;
use super::window::Kind;
use super::{Members, PeConfig, SpaprIommu};
use crate::dma::{Access, DmaRequest, FaultReason, Iova, SourceId, Translator};
use crate::memory::GuestRam;
use crate::spapr::hcall::*;

pub use model::{Model, Op, step};

/// Bytes of RAM of [`Unit::new`].
pub const RAM: u64 = 16 << 20;
/// The host bridge of the only PE.
pub const BUID: u64 = 0x0800_0000_2000_0000;
/// The PE's configuration address.
pub const CONFIG: u32 = 0x0100;
/// Table of its default window.
pub const DEFAULT: u32 = 0x8000_0000;
/// Table of a virtual device.
pub const VIO: u32 = 0x7100_0000;
/// Bytes of its window, which begins at 0.
pub const VIO_SIZE: u64 = 0x1000_0000;
/// The function in the PE.
pub const SOURCE: SourceId = SourceId(8);

/// A unit with one PE and one virtual device, and its calls as functions.
pub struct Unit {
    /// The unit.
    pub iommu: SpaprIommu,
    /// The partition's RAM.
    pub ram: GuestRam,
}

/// Everything that calls can change, apart from counters.
pub type Snapshot = Vec<(Liobn, u64, u64, u32, Vec<(u64, Tce)>)>;

/// The input cells that name the PE.
pub fn pe_args() -> [u32; 3] {
    [CONFIG, (BUID >> 32) as u32, BUID as u32]
}

impl Unit {
    /// A unit with [`RAM`] bytes and the personality `kvm`.
    pub fn new() -> Self {
        Self::with(RAM, Personality::KVM)
    }

    /// A unit for a partition with `ram_size` bytes.
    pub fn with(ram_size: u64, personality: Personality) -> Self {
        let iommu = SpaprIommu::new(ram_size, personality);
        iommu
            .add_pe(PeConfig {
                buid: BUID,
                config_addr: CONFIG,
                liobn: Liobn(DEFAULT),
                members: Members::Only(vec![SOURCE]),
            })
            .expect("a free LIOBN");
        iommu
            .add_vio_window(Liobn(VIO), 0, VIO_SIZE)
            .expect("a free LIOBN");
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), ram_size as usize)]).expect("RAM");
        Unit { iommu, ram }
    }

    /// Sets other caps of table chunks, so that few calls reach them.
    pub fn set_caps(&self, per_table: usize, per_unit: usize) {
        let budget = &mut self.iommu.lock().chunks.budget;
        (budget.per_table, budget.per_unit) = (per_table, per_unit);
    }

    /// The caps of table chunks, and the chunks in use.
    pub fn budget(&self) -> Budget {
        self.iommu.lock().chunks.budget
    }

    /// Status of a hypercall.
    pub fn status(&self, nr: u64, args: &[u64]) -> Status {
        let reply = self.iommu.hcall(nr, args, &self.ram);
        reply.expect("a TCE hypercall").status
    }

    /// H_PUT_TCE.
    pub fn put(&self, liobn: impl Into<u64>, ioba: u64, tce: u64) -> Status {
        self.status(H_PUT_TCE, &[liobn.into(), ioba, tce])
    }

    /// H_GET_TCE.
    pub fn get(&self, liobn: impl Into<u64>, ioba: u64) -> Result<u64, Status> {
        let args = [liobn.into(), ioba];
        let r = self
            .iommu
            .hcall(H_GET_TCE, &args, &self.ram)
            .expect("a TCE hypercall");
        if r.status == H_SUCCESS {
            Ok(r.tce.expect("H_GET_TCE gives the entry").0)
        } else {
            Err(r.status)
        }
    }

    /// H_STUFF_TCE.
    pub fn stuff(&self, liobn: impl Into<u64>, ioba: u64, tce: u64, n: u64) -> Status {
        self.status(H_STUFF_TCE, &[liobn.into(), ioba, tce, n])
    }

    /// H_PUT_TCE_INDIRECT.
    pub fn indirect(&self, liobn: u64, ioba: u64, list: u64, n: u64) -> Status {
        self.status(H_PUT_TCE_INDIRECT, &[liobn, ioba, list, n])
    }

    /// Writes a list for [`Unit::indirect`].
    pub fn list(&self, at: u64, tces: &[u64]) {
        let bytes: Vec<u8> = tces.iter().flat_map(|t| t.to_be_bytes()).collect();
        self.ram
            .write_slice(&bytes, GuestAddress(at))
            .expect("a list in RAM");
    }

    /// ibm,query-pe-dma-window with five outputs.
    pub fn query(&self) -> [u32; 5] {
        let mut rets = [0; 5];
        self.iommu.query_pe_dma_window(&pe_args(), &mut rets);
        rets
    }

    /// ibm,query-pe-dma-window with six outputs.
    pub fn query_six(&self) -> [u32; 6] {
        let mut rets = [0; 6];
        self.iommu.query_pe_dma_window(&pe_args(), &mut rets);
        rets
    }

    /// ibm,create-pe-dma-window: LIOBN and bus address, or the status.
    pub fn create(&self, page_shift: u32, window_shift: u32) -> Result<(u32, u64), i32> {
        let [a, b, c] = pe_args();
        let mut rets = [0xdead; 4];
        self.iommu
            .create_pe_dma_window(&[a, b, c, page_shift, window_shift], &mut rets);
        if rets[0] != 0 {
            assert_eq!(rets[1..], [0, 0, 0]);
            return Err(rets[0] as i32);
        }
        Ok((rets[1], u64::from(rets[2]) << 32 | u64::from(rets[3])))
    }

    /// ibm,remove-pe-dma-window.
    pub fn remove(&self, liobn: u32) -> i32 {
        let mut rets = [0xdead];
        self.iommu.remove_pe_dma_window(&[liobn], &mut rets);
        rets[0] as i32
    }

    /// ibm,reset-pe-dma-window.
    pub fn reset_windows(&self) -> i32 {
        let mut rets = [0xdead];
        self.iommu.reset_pe_dma_windows(&pe_args(), &mut rets);
        rets[0] as i32
    }

    /// ibm,reset-pe-dma-window with a fourth argument.
    pub fn reset_mode(&self, mode: u32) -> i32 {
        let [a, b, c] = pe_args();
        let mut rets = [0xdead];
        self.iommu.reset_pe_dma_windows(&[a, b, c, mode], &mut rets);
        rets[0] as i32
    }

    /// Injects refusals, as the command line writes them.
    pub fn refuse(&self, refusals: &[&str]) {
        let refusals = refusals.iter().map(|r| r.parse().expect("a refusal"));
        self.iommu.refuse(refusals.collect());
    }

    /// Another unit with [`RAM`] bytes that are this one's, with its caps, and with its state by way of a snapshot.
    pub fn restored(&self) -> Self {
        let personality = self.iommu.lock().personality;
        let budget = self.budget();
        let copy = Self::with(RAM, personality);
        let saved = self.iommu.save().expect("a state to save");
        copy.iommu.restore(&saved).expect("a saved state");
        assert_eq!(copy.iommu.save().expect("a state to save"), saved);
        copy.set_caps(budget.per_table, budget.per_unit);
        Unit {
            iommu: copy.iommu,
            ram: self.ram.clone(),
        }
    }

    /// The state, after checks that need nothing to compare it with.
    pub fn snapshot(&self) -> Snapshot {
        let s = self.iommu.lock();
        let refs: usize = s.pes.iter().map(|pe| pe.windows.len()).sum();
        let of_pes = s.windows.values().filter(|w| w.kind != Kind::Vio).count();
        assert_eq!(refs, of_pes, "every window is in its PE's list once");
        // Translations see the PE's windows and no others.
        for pe in &s.pes {
            for window in pe.windows.iter().filter_map(|l| s.windows.get(l)) {
                assert!(window.is_shown_by(&pe.endpoint), "{window:?}");
            }
            assert_eq!(pe.endpoint.shown(), pe.windows.len());
        }
        assert_eq!(
            s.chunks.budget.used,
            s.windows.values().map(|w| w.table.chunks()).sum::<usize>()
        );
        s.windows
            .values()
            .map(|w| {
                let entries = w.table.entries(s.chunks.store()).collect();
                (w.liobn, w.base, w.size, w.page_shift, entries)
            })
            .collect()
    }

    /// LIOBN, base, size and page shift of the PE's windows.
    pub fn places(&self) -> Vec<(u32, u64, u64, u32)> {
        self.snapshot()
            .into_iter()
            .filter(|w| w.0.0 != VIO)
            .map(|w| (w.0.0, w.1, w.2, w.3))
            .collect()
    }

    /// Translates for the function in the PE.
    pub fn translate(
        &self,
        iova: u64,
        len: u64,
        access: Access,
    ) -> Result<(u64, u64), FaultReason> {
        let r = DmaRequest {
            source: SOURCE,
            pasid: None,
            iova: Iova(iova),
            len,
            access,
        };
        self.iommu
            .translate(&r)
            .map(|p| (p.gpa.0, p.len))
            .map_err(|f| f.reason)
    }

    /// Runs `f` and checks that it changed nothing.
    pub fn unchanged<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.snapshot();
        let result = f();
        assert_eq!(before, self.snapshot());
        result
    }
}

impl Default for Unit {
    fn default() -> Self {
        Self::new()
    }
}

//! A unit to call; the tests by subject are below.

mod ddw;
mod dma;
mod hcalls;
mod model;
mod personalities;
mod races;
mod snapshot;

use vm_memory::{Bytes, GuestAddress};

use super::rules::{Laxities, MAX_BLOCK, Personality, Reserved};
use super::spec::*;
use super::table::{Budget, TableFull, TceTable};
use super::window::{TCE_INVALID, TCE_NO_READ, TCE_NO_WRITE, place};
use super::*;
use crate::dma::{Access, DmaPort, Gpa, Iova, NOT_MEMORY};
use crate::spapr::hcall::*;

const RAM: u64 = 16 << 20;
const BUID: u64 = 0x0800_0000_2000_0000;
const CONFIG: u32 = 0x0100;
const DEFAULT: u32 = 0x8000_0000;
const VIO: u32 = 0x7100_0000;
const DYNAMIC: u64 = 0x0800_0000_0000_0000;
const RW: u64 = 3;
const SOURCE: SourceId = SourceId(8);

struct Unit {
    iommu: SpaprIommu,
    ram: GuestRam,
}

fn unit_with(ram_size: u64, personality: Personality) -> Unit {
    let iommu = SpaprIommu::new(ram_size, personality);
    iommu
        .add_pe(PeConfig {
            buid: BUID,
            config_addr: CONFIG,
            liobn: Liobn(DEFAULT),
            members: Members::Only(vec![SOURCE]),
        })
        .unwrap();
    iommu.add_vio_window(Liobn(VIO), 0, 0x1000_0000).unwrap();
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), ram_size as usize)]).unwrap();
    Unit { iommu, ram }
}

fn unit() -> Unit {
    unit_with(RAM, Personality::KVM)
}

/// Everything that calls can change, apart from counters.
type Snapshot = Vec<(Liobn, u64, u64, u32, Vec<(u64, Tce)>)>;

impl Unit {
    fn status(&self, nr: u64, args: &[u64]) -> Status {
        self.iommu.hcall(nr, args, &self.ram).unwrap().status
    }
    fn put(&self, liobn: u32, ioba: u64, tce: u64) -> Status {
        self.status(H_PUT_TCE, &[liobn.into(), ioba, tce])
    }
    fn get(&self, liobn: u32, ioba: u64) -> Result<u64, Status> {
        let r = self
            .iommu
            .hcall(H_GET_TCE, &[liobn.into(), ioba], &self.ram)
            .unwrap();
        if r.status == H_SUCCESS {
            assert_eq!(r.count, 1);
            Ok(r.values[0])
        } else {
            Err(r.status)
        }
    }
    fn stuff(&self, liobn: u32, ioba: u64, tce: u64, n: u64) -> Status {
        self.status(H_STUFF_TCE, &[liobn.into(), ioba, tce, n])
    }
    fn indirect(&self, liobn: u64, ioba: u64, list: u64, n: u64) -> Status {
        self.status(H_PUT_TCE_INDIRECT, &[liobn, ioba, list, n])
    }
    fn list(&self, at: u64, tces: &[u64]) {
        for (i, t) in tces.iter().enumerate() {
            self.ram
                .write_slice(&t.to_be_bytes(), GuestAddress(at + 8 * i as u64))
                .unwrap();
        }
    }
    fn query(&self) -> [u32; 5] {
        let mut rets = [0; 5];
        self.iommu.query_pe_dma_window(&pe_args(), &mut rets);
        rets
    }
    fn create(&self, page_shift: u32, window_shift: u32) -> Result<(u32, u64), i32> {
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
    fn remove(&self, liobn: u32) -> i32 {
        let mut rets = [0xdead];
        self.iommu.remove_pe_dma_window(&[liobn], &mut rets);
        rets[0] as i32
    }
    fn reset_windows(&self) -> i32 {
        let mut rets = [0xdead];
        self.iommu.reset_pe_dma_windows(&pe_args(), &mut rets);
        rets[0] as i32
    }
    /// The four-argument form.
    fn reset_mode(&self, mode: u32) -> i32 {
        let [a, b, c] = pe_args();
        let mut rets = [0xdead];
        self.iommu.reset_pe_dma_windows(&[a, b, c, mode], &mut rets);
        rets[0] as i32
    }
    fn query_six(&self) -> [u32; 6] {
        let mut rets = [0; 6];
        self.iommu.query_pe_dma_window(&pe_args(), &mut rets);
        rets
    }
    fn refuse(&self, refusals: &[&str]) {
        let refusals = refusals.iter().map(|r| r.parse().unwrap());
        self.iommu.refuse(refusals.collect());
    }
    fn snapshot(&self) -> Snapshot {
        let s = self.iommu.read();
        let refs: usize = s.pes.iter().map(|pe| pe.windows.len()).sum();
        let of_pes = s.windows.values().filter(|w| w.kind != Kind::Vio).count();
        assert_eq!(refs, of_pes, "every window is in its PE's list once");
        assert_eq!(
            s.budget.used,
            s.windows.values().map(|w| w.table.chunks()).sum::<usize>()
        );
        s.windows
            .values()
            .map(|w| {
                (
                    w.liobn,
                    w.base,
                    w.size,
                    w.page_shift,
                    w.table.entries().collect(),
                )
            })
            .collect()
    }
    fn places(&self) -> Vec<(u32, u64, u64, u32)> {
        self.snapshot()
            .into_iter()
            .filter(|w| w.0.0 != VIO)
            .map(|w| (w.0.0, w.1, w.2, w.3))
            .collect()
    }
    fn translate(&self, iova: u64, len: u64, access: Access) -> Result<(u64, u64), FaultReason> {
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
    fn unchanged<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.snapshot();
        let result = f();
        assert_eq!(before, self.snapshot());
        result
    }
}

fn pe_args() -> [u32; 3] {
    [CONFIG, (BUID >> 32) as u32, BUID as u32]
}

const BOOT: (u32, u64, u64, u32) = (DEFAULT, 0, 1 << 30, 12);

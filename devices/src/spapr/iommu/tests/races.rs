//! Tables and windows that change while something walks them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

/// Does something once, between the first and the second piece of a DMA.
struct Between<F> {
    iommu: SpaprIommu,
    act: F,
    pieces: AtomicU64,
}

impl<F> std::fmt::Debug for Between<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Between")
    }
}

impl<F: Fn() + Send + Sync> Translator for Between<F> {
    fn translate(&self, request: &DmaRequest) -> Result<Piece, DmaFault> {
        self.iommu.translate(request)
    }
    fn completed(&self, request: &DmaRequest, piece: &Piece) {
        if self.pieces.fetch_add(1, Ordering::Relaxed) == 0 {
            (self.act)();
        }
        self.iommu.completed(request, piece);
    }
}

/// Writes three pages of ones at `base`, whose entries are not contiguous; `act` comes after the first. Gives the fault, if any.
fn write_three(u: &Unit, base: u64, act: impl Fn() + Send + Sync + 'static) -> Option<DmaFault> {
    let between = Between {
        iommu: u.iommu.clone(),
        act,
        pieces: AtomicU64::new(0),
    };
    let port = DmaPort::new(SOURCE, Arc::new(between), u.ram.clone());
    port.write(Iova(base), &[1; 0x3000]).err()
}

fn byte(u: &Unit, at: u64) -> u8 {
    u.ram.read_obj(GuestAddress(at)).unwrap()
}

/// A unit with a window of three pages at 0x1000, 0x3000, 0x5000.
fn three() -> (Unit, u32, u64) {
    let u = unit();
    let (liobn, base) = u.create(12, 20).unwrap();
    for i in 0..3 {
        u.put(liobn, base + 0x1000 * i, (0x1000 + 0x2000 * i) | RW);
    }
    (u, liobn, base)
}

#[test]
fn a_window_removed_under_a_dma_ends_it() {
    let (u, liobn, base) = three();
    let iommu = u.iommu.clone();
    let remove = move || {
        let mut rets = [7];
        iommu.remove_pe_dma_window(&[liobn], &mut rets);
        assert_eq!(rets, [0]);
    };
    let fault = write_three(&u, base, remove).unwrap();
    assert_eq!(
        (fault.reason, fault.request.iova),
        (NO_WINDOW, Iova(base + 0x1000))
    );
    assert_eq!([0x1fff, 0x3000, 0x5000].map(|at| byte(&u, at)), [1, 0, 0]);
    // Another window at the same address has none of the old entries.
    assert_eq!(u.create(12, 20), Ok((liobn, base)));
    assert_eq!(u.translate(base, 1, Access::Write), Err(TCE_INVALID));
}

#[test]
fn a_bridge_isolated_under_a_dma_ends_it() {
    let (u, liobn, base) = three();
    let iommu = u.iommu.clone();
    let fault = write_three(&u, base, move || iommu.reset_bridge(BUID)).unwrap();
    assert_eq!(
        (fault.reason, fault.request.iova),
        (NO_WINDOW, Iova(base + 0x1000))
    );
    assert_eq!([0x1fff, 0x3000, 0x5000].map(|at| byte(&u, at)), [1, 0, 0]);
    assert_eq!(u.create(12, 20), Ok((liobn, base)));
    assert_eq!(u.translate(base, 1, Access::Write), Err(TCE_INVALID));
    // The default window stays, and loses its entries.
    for i in 0..3 {
        u.put(DEFAULT, 0x1000 * i, (0x1000 + 0x2000 * i) | RW);
    }
    let iommu = u.iommu.clone();
    let fault = write_three(&u, 0, move || iommu.reset_bridge(BUID)).unwrap();
    assert_eq!(
        (fault.reason, fault.request.iova),
        (TCE_INVALID, Iova(0x1000))
    );
    assert_eq!([0x1fff, 0x3000, 0x5000].map(|at| byte(&u, at)), [1, 0, 0]);
}

#[test]
fn entries_changed_under_a_dma_count_from_then_on() {
    for (tce, wanted, end) in [
        (0x9003, [1, 0, 1, 1], None),
        (0, [1, 0, 0, 0], Some(TCE_INVALID)),
        (0x9001, [1, 0, 0, 0], Some(TCE_NO_WRITE)),
    ] {
        let (u, liobn, base) = three();
        let (iommu, ram) = (u.iommu.clone(), u.ram.clone());
        let change = move || {
            let put = iommu.hcall(H_PUT_TCE, &[liobn.into(), base + 0x1000, tce], &ram);
            assert_eq!(put.unwrap().status, H_SUCCESS);
        };
        let fault = write_three(&u, base, change);
        assert_eq!(fault.map(|f| f.reason), end, "{tce:#x}");
        assert_eq!(
            [0x1000, 0x3000, 0x9000, 0x5000].map(|at| byte(&u, at)),
            wanted,
            "{tce:#x}"
        );
    }
}

/// A reset of the bridge returns after the DMA that could use what it removed, by the calls' own rule.
#[test]
fn a_reset_of_the_bridge_waits_for_dma() {
    let (u, _, base) = three();
    let (waits, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|s| {
        let token = u.iommu.enter();
        let piece = u.translate(base, 8, Access::Read);
        assert_eq!(piece, Ok((0x1000, 8)));
        s.spawn(|| {
            waits.store(true, Ordering::SeqCst);
            u.iommu.reset_bridge(BUID);
            assert!(ended.load(Ordering::SeqCst), "it has not waited");
        });
        while !waits.load(Ordering::SeqCst) || u.translate(base, 8, Access::Read) == piece {
            thread::yield_now();
        }
        // The window is gone, and this DMA may still use its piece.
        assert_eq!(u.translate(base, 8, Access::Read), Err(NO_WINDOW));
        thread::sleep(std::time::Duration::from_millis(20));
        ended.store(true, Ordering::SeqCst);
        u.iommu.leave(token);
    });
}

/// One thread exchanges entries and removes and makes windows, another one translates: it sees one entry or the other or a fault, and
/// after a removal that has returned only faults.
#[test]
fn translations_while_tables_change() {
    let u = unit();
    let (liobn, base) = u.create(12, 30).unwrap();
    let (gone, end) = (AtomicBool::new(false), AtomicBool::new(false));
    let seen: AtomicU64 = AtomicU64::new(0);
    thread::scope(|s| {
        s.spawn(|| {
            while !end.load(Ordering::SeqCst) {
                let gone_before = gone.load(Ordering::SeqCst);
                let got = u.translate(base + 0x1000, 8, Access::Read);
                // Only if it was gone before and after the translation, it was gone all the time.
                if gone_before && gone.load(Ordering::SeqCst) && got.is_ok() {
                    assert_eq!(got, Err(NO_WINDOW));
                }
                if let Ok(piece) = got {
                    assert!([(0x5000, 8), (0x9000, 8)].contains(&piece), "{piece:?}");
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let mut rounds = 0;
        while rounds < 2000 || (seen.load(Ordering::SeqCst) == 0 && rounds < 2_000_000) {
            rounds += 1;
            for tce in [0x5003, 0x9001, 0] {
                assert_eq!(u.put(liobn, base + 0x1000, tce), H_SUCCESS);
            }
            u.stuff(liobn, base, 0x9001, 4);
        }
        assert_eq!(u.remove(liobn), 0);
        gone.store(true, Ordering::SeqCst);
        thread::yield_now();
        end.store(true, Ordering::SeqCst);
    });
    assert!(seen.load(Ordering::SeqCst) > 0, "both ran at once");
}

/// A call that takes away what a DMA has found returns after the end of that DMA: the page behind it is then the guest's.
#[test]
fn calls_wait_for_the_dma_that_found_what_they_take_away() {
    type Call = fn(&Unit, u32, u64);
    let calls: [(&str, Call); 5] = [
        ("H_PUT_TCE", |u, liobn, base| {
            assert_eq!(u.put(liobn, base, 0), H_SUCCESS);
        }),
        ("H_PUT_TCE_INDIRECT", |u, liobn, base| {
            u.list(0x8000, &[0x9003, 0]);
            assert_eq!(u.indirect(liobn.into(), base, 0x8000, 2), H_SUCCESS);
        }),
        ("H_STUFF_TCE", |u, liobn, base| {
            assert_eq!(u.stuff(liobn, base, 0, 16), H_SUCCESS);
        }),
        (REMOVE, |u, liobn, _| assert_eq!(u.remove(liobn), 0)),
        (RESET, |u, _, _| assert_eq!(u.reset_windows(), 0)),
    ];
    for (name, call) in calls {
        let u = unit();
        let (liobn, base) = u.create(12, 20).unwrap();
        assert_eq!(u.put(liobn, base, 0x1003), H_SUCCESS);
        let port = DmaPort::new(SOURCE, Arc::new(u.iommu.clone()), u.ram.clone());
        let found = AtomicBool::new(false);
        thread::scope(|s| {
            s.spawn(|| {
                let in_flight = port.in_flight();
                let piece = port.translate(Iova(base), 1, Access::Write).unwrap();
                found.store(true, Ordering::SeqCst);
                // A call that does not wait has returned by then.
                thread::sleep(Duration::from_millis(20));
                u.ram.write_obj(1u8, GuestAddress(piece.gpa.0)).unwrap();
                drop(in_flight);
            });
            while !found.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            call(&u, liobn, base);
            u.ram.write_obj(2u8, GuestAddress(0x1000)).unwrap();
        });
        assert_eq!(byte(&u, 0x1000), 2, "written after the end of {name}");
    }
}

/// A call that takes no access away goes on beside DMA in flight.
#[test]
fn calls_that_only_add_do_not_wait() {
    let (u, liobn, base) = three();
    u.list(0x8000, &[0x9003, 0xb003]);
    let token = u.iommu.enter();
    let (done, is_done) = mpsc::channel();
    thread::scope(|s| {
        s.spawn(|| {
            let next = base + 0x3000;
            assert_eq!(u.put(liobn, base, 0x1000 | RW), H_SUCCESS, "as it was");
            assert_eq!(u.put(liobn, next, 0x9003), H_SUCCESS);
            assert_eq!(u.put(liobn, next, 0x9103), H_PARAMETER);
            let two = next + 0x1000;
            assert_eq!(u.indirect(liobn.into(), two, 0x8000, 2), H_SUCCESS);
            assert_eq!(u.stuff(DEFAULT, 0, 0, 512), H_SUCCESS, "all clear");
            assert_eq!(u.stuff(DEFAULT, 0, 0x1003, 512), H_SUCCESS);
            let _ = done.send(());
        });
        let ended = is_done.recv_timeout(Duration::from_secs(20));
        u.iommu.leave(token);
        assert_eq!(ended, Ok(()), "none has waited");
    });
}

/// A driver's life: map a batch by H_PUT_TCE_INDIRECT, clear it by H_STUFF_TCE, use the pages. A device writes all the while.
#[test]
fn a_batch_is_the_guests_once_it_is_cleared() {
    const PAGES: u64 = 4;
    let u = unit();
    let (liobn, base) = u.create(12, 20).unwrap();
    let tces: Vec<u64> = (0..PAGES).map(|i| (0x1_0000 + 0x2000 * i) | RW).collect();
    u.list(0x8000, &tces);
    let port = DmaPort::new(SOURCE, Arc::new(u.iommu.clone()), u.ram.clone());
    let end = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            while !end.load(Ordering::SeqCst) {
                // Faults whenever nothing is mapped.
                let _ = port.write(Iova(base), &[1; (PAGES << 12) as usize]);
            }
        });
        let written = || port.counters().bytes_written.load(Ordering::SeqCst);
        let mut good = true;
        let mut rounds = 0;
        while good && (rounds < 1000 || (written() == 0 && rounds < 1_000_000)) {
            rounds += 1;
            assert_eq!(u.indirect(liobn.into(), base, 0x8000, PAGES), H_SUCCESS);
            if rounds % 8 == 0 {
                thread::yield_now();
            }
            assert_eq!(u.stuff(liobn, base, 0, PAGES), H_SUCCESS);
            for tce in &tces {
                u.ram
                    .write_slice(&[2; 4096], GuestAddress(tce & !RW))
                    .unwrap();
            }
            thread::yield_now();
            let mut page = [0; 4096];
            for tce in &tces {
                u.ram
                    .read_slice(&mut page, GuestAddress(tce & !RW))
                    .unwrap();
                good &= page == [2; 4096];
            }
        }
        end.store(true, Ordering::SeqCst);
        assert!(good, "a page was written after its entry was cleared");
        assert!(written() > 0, "both ran at once");
    });
}

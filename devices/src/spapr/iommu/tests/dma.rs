//! Translation, reports and set-up.

use super::*;
use crate::spapr::eeh::STOPPED;

#[test]
fn translation() {
    let u = unit();
    u.put(DEFAULT, 0x1000, 0x5000 | 1);
    u.put(DEFAULT, 0x2000, 0x6000 | 3);
    u.put(DEFAULT, 0x3000, 0x9000 | 2);
    assert_eq!(u.translate(0x1234, 0x10, Access::Read), Ok((0x5234, 0x10)));
    assert_eq!(
        u.translate(0x1ff0, 0x5000, Access::Read),
        Ok((0x5ff0, 0x1010)),
        "joined over one page border, ends at the gap"
    );
    assert_eq!(u.translate(0x1000, 1, Access::Write), Err(TCE_NO_WRITE));
    assert_eq!(
        u.translate(0x2000, 0x2000, Access::Write),
        Ok((0x6000, 0x1000))
    );
    assert_eq!(u.translate(0x3000, 1, Access::Read), Err(TCE_NO_READ));
    assert_eq!(u.translate(0x4000, 1, Access::Read), Err(TCE_INVALID));
    assert_eq!(u.translate(1 << 30, 1, Access::Read), Err(NO_WINDOW));
    assert_eq!(
        u.translate(u64::MAX, u64::MAX, Access::Read),
        Err(NO_WINDOW)
    );
    assert_eq!(
        u.translate(0x1000, u64::MAX, Access::Read),
        Ok((0x5000, 0x2000))
    );
    let stranger = DmaRequest {
        source: SourceId(9),
        pasid: None,
        iova: Iova(0x1000),
        len: 1,
        access: Access::Read,
    };
    assert_eq!(u.iommu.translate(&stranger).unwrap_err().reason, NO_PE);
    let mine = DmaRequest {
        source: SOURCE,
        ..stranger
    };
    assert_eq!(
        u.iommu.for_phb(BUID).translate(&mine),
        Ok(Piece {
            gpa: Gpa(0x5000),
            len: 1
        })
    );
    assert_eq!(
        u.iommu
            .for_phb(BUID + 1)
            .translate(&mine)
            .unwrap_err()
            .reason,
        NO_PE
    );
    let report = u.iommu.report();
    assert_eq!(report.faults_total, 7);
    assert!(
        report.faults[0].contains("TCE does not permit writing"),
        "{}",
        report.faults[0]
    );
    assert_eq!(report.windows[0].faults, 3);
}

/// Windows are told apart by when they came, also where one took another's place and name.
#[test]
fn the_window_of_a_request() {
    let u = unit();
    let phb = u.iommu.for_phb(BUID);
    let of = |iova| {
        phb.window_of(&DmaRequest {
            source: SOURCE,
            pasid: None,
            iova: Iova(iova),
            len: 1,
            access: Access::Read,
        })
    };
    let order = |liobn| {
        let windows = u.iommu.report().windows;
        let window = windows.iter().rfind(|w| w.liobn == Liobn(liobn));
        window.map(|w| w.order)
    };
    assert_eq!((of(0), of(1 << 30)), (order(DEFAULT), None));
    let (liobn, base) = u.create(12, 20).unwrap();
    let first = order(liobn);
    assert_eq!((of(base), of(base + (1 << 20))), (first, None));
    assert_eq!(u.remove(liobn), 0);
    assert_eq!(of(base), None);
    assert_eq!(u.create(12, 20), Ok((liobn, base)));
    assert_ne!(order(liobn), first);
    assert_eq!(of(base), order(liobn));
    assert_eq!((of(0), order(VIO) == of(0)), (order(DEFAULT), false));
}

#[test]
fn joined_pages_allow_the_same_access() {
    let u = unit();
    u.put(DEFAULT, 0x1000, 0x5000 | 3);
    u.put(DEFAULT, 0x2000, 0x6000 | 1);
    u.put(DEFAULT, 0x3000, 0x7000);
    assert_eq!(
        u.translate(0x1000, 0x3000, Access::Write),
        Ok((0x5000, 0x1000))
    );
    assert_eq!(
        u.translate(0x1000, 0x3000, Access::Read),
        Ok((0x5000, 0x2000))
    );
}

#[test]
fn joining_is_bounded() {
    let u = unit();
    for i in 0..1024 {
        u.put(DEFAULT, i << 12, i << 12 | RW);
    }
    assert_eq!(
        u.translate(8, 1024 << 12, Access::Read),
        Ok((8, (256 << 12) - 8))
    );
}

#[test]
fn a_last_page_with_a_full_window_ends_there() {
    let u = unit();
    u.stuff(DEFAULT, (1 << 30) - 0x1000, 0x1003, 1);
    assert_eq!(
        u.translate((1 << 30) - 8, 64, Access::Write),
        Ok((0x1ff8, 8))
    );
}

#[test]
fn bytes_faults_and_windows_are_reported() {
    let u = unit();
    let (liobn, base) = u.create(16, 24).unwrap();
    u.put(liobn, base, 0x40003);
    u.put(liobn, base + 0x10000, 0x80001);
    let port = DmaPort::new(SOURCE, Arc::new(u.iommu.clone()), u.ram.clone());
    port.write(Iova(base + 0xfff0), b"0123456789abcdef")
        .unwrap();
    let mut buf = [0; 32];
    port.read(Iova(base + 0xfff0), &mut buf).unwrap();
    assert_eq!(&buf[..16], b"0123456789abcdef");
    assert_eq!(
        port.write(Iova(base + 0xfff8), &buf).unwrap_err().reason,
        TCE_NO_WRITE
    );
    assert_ne!(port.read(Iova(0), &mut buf).unwrap_err().reason, NOT_MEMORY);
    u.put(liobn, base, 0);
    u.iommu.set_now(70);
    u.remove(liobn);
    let report = u.iommu.report();
    let w = &report.windows[2];
    assert_eq!(
        (
            w.order,
            w.dynamic,
            w.created_ns,
            w.removed_ns,
            w.bus_address
        ),
        (2, true, 0, Some(70), DYNAMIC)
    );
    assert_eq!(report.ddw_calls[1].at_ns, 70);
    assert_eq!((w.bytes_read, w.bytes_written, w.faults), (32, 24, 1));
    assert_eq!(
        (w.entries_now, w.entries_at_removal, w.entries_peak),
        (0, 1, 2)
    );
    assert_eq!(report.hcalls["H_PUT_TCE"], 3);
    assert_eq!(report.ddw_calls.len(), 2);
    assert_eq!(
        (report.ddw_calls[0].name, report.ddw_calls[0].status),
        (CREATE, RTAS_SUCCESS)
    );
    assert_eq!(report.ddw_calls[0].outputs, [liobn, 0x0800_0000, 0]);
}

#[test]
fn records_are_capped() {
    let u = unit();
    for _ in 0..1100 {
        let (liobn, _) = u.create(16, 20).unwrap();
        assert_eq!(u.remove(liobn), 0);
        let _ = u.translate(0, 1, Access::Read);
    }
    let report = u.iommu.report();
    assert_eq!(
        (report.ddw_calls.len(), report.ddw_calls_dropped),
        (1024, 2200 - 1024)
    );
    assert_eq!(
        (report.windows.len(), report.windows_dropped),
        (1024 + 2, 1100 - 1024)
    );
    assert_eq!((report.faults.len(), report.faults_total), (64, 1100));
}

#[test]
fn set_up_is_checked() {
    let u = unit();
    let pe = |liobn| PeConfig {
        buid: 1,
        config_addr: 0,
        liobn: Liobn(liobn),
        members: Members::All,
    };
    assert_eq!(
        u.iommu.add_pe(pe(DEFAULT)),
        Err(ConfigError::LiobnInUse(Liobn(DEFAULT)))
    );
    u.remove(DEFAULT);
    assert_eq!(
        u.iommu.add_pe(pe(DEFAULT)),
        Err(ConfigError::LiobnInUse(Liobn(DEFAULT)))
    );
    assert_eq!(
        u.iommu.add_vio_window(Liobn(5), 0, 0x800),
        Err(ConfigError::BadWindow {
            base: 0,
            size: 0x800
        })
    );
    assert_eq!(u.iommu.add_pe(pe(DEFAULT + 1)), Ok(()));
    assert_eq!(
        u.create(12, 30),
        Ok((DEFAULT + 2, DYNAMIC)),
        "the next PE's LIOBN is left alone"
    );
    let dt = u.iommu.dt_properties(BUID).unwrap();
    assert_eq!(
        (dt.liobn, dt.base, dt.size, dt.extensions),
        (Liobn(DEFAULT), 0, 1 << 30, 1)
    );
    assert_eq!(u.iommu.dt_properties(2), None);
}

#[test]
fn a_dma_error_stops_the_pe() {
    let u = unit();
    let health = PeHealth::default();
    u.iommu.watch(BUID, &health);
    u.put(DEFAULT, 0, 0x5003);
    assert_eq!(u.translate(0x1000, 1, Access::Read), Err(TCE_INVALID));
    assert_eq!(u.translate(0, 1, Access::Read), Ok((0x5000, 1)));
    health.enable(true);
    assert_eq!(u.translate(0x1000, 1, Access::Read), Err(TCE_INVALID));
    assert_eq!(u.translate(0, 1, Access::Read), Err(STOPPED));
    health.allow_dma();
    assert_eq!(u.translate(0, 1, Access::Read), Ok((0x5000, 1)));
    assert_eq!(u.translate(1 << 40, 1, Access::Write), Err(NO_WINDOW));
    assert_eq!(u.translate(0, 1, Access::Read), Err(STOPPED));
    assert_eq!(health.counters().freezes, 2);
    assert_eq!(
        u.put(DEFAULT, 0, 0),
        H_SUCCESS,
        "the tables are the guest's meanwhile"
    );
}

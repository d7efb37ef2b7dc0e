use super::*;

#[test]
fn an_error_stops_an_enabled_pe() {
    let pe = PeHealth::default();
    assert!(!pe.error(), "not enabled: nothing stops");
    assert_eq!(pe.state(), PeState::Normal);
    pe.enable(true);
    assert!(pe.error());
    assert!(!pe.error(), "it is stopped already");
    assert_eq!(pe.state(), PeState::Stopped);
    assert_eq!(pe.check_dma(Access::Read, 0), Err(STOPPED));
    assert!(!pe.check_mmio(false, 0) && !pe.check_mmio(true, 0));
    pe.allow_mmio();
    assert_eq!(pe.state(), PeState::DmaStopped);
    assert!(pe.check_mmio(false, 0) && pe.dma_stopped());
    assert!(pe.error(), "a new error stops loads and stores again");
    pe.allow_mmio();
    pe.allow_dma();
    assert_eq!(pe.state(), PeState::Normal);
    assert_eq!(pe.check_dma(Access::Write, 0), Ok(()));
    let counters = EehCounters {
        freezes: 2,
        resets: 0,
        loads_refused: 1,
        stores_dropped: 1,
    };
    assert_eq!(pe.counters(), counters);
}

#[test]
fn reset_mends() {
    let pe = PeHealth::default();
    pe.enable(true);
    pe.error();
    pe.release_reset();
    assert_eq!(pe.state(), PeState::Stopped, "no reset was active");
    pe.assert_reset();
    assert_eq!(pe.state(), PeState::Reset);
    assert!(!pe.check_mmio(false, 0) && pe.dma_stopped());
    pe.release_reset();
    assert_eq!(pe.state(), PeState::Normal);
    assert!(pe.error(), "still enabled");
    pe.power_on();
    assert_eq!(pe.state(), PeState::Normal);
    assert!(!pe.error(), "no longer enabled");
}

#[test]
fn injections_strike_once_and_where_they_should() {
    let pe = PeHealth::default();
    pe.enable(true);
    pe.arm(Some(Injection::Dma {
        access: Access::Read,
        address: 0x1000,
        mask: !0xfff,
    }));
    assert_eq!(pe.check_dma(Access::Read, 0x2000), Ok(()));
    assert_eq!(pe.check_dma(Access::Write, 0x1000), Ok(()));
    assert!(pe.check_mmio(false, 0x1000));
    assert_eq!(pe.check_dma(Access::Read, 0x1fff), Err(INJECTED));
    assert_eq!(pe.check_dma(Access::Read, 0x1fff), Err(STOPPED));
    pe.assert_reset();
    pe.release_reset();
    assert_eq!(pe.check_dma(Access::Read, 0x1fff), Ok(()));
    pe.arm(Some(Injection::Mmio {
        store: true,
        address: 0,
        mask: 0,
    }));
    assert!(pe.check_mmio(false, 0));
    assert!(!pe.check_mmio(true, 0x77));
    assert!(!pe.check_mmio(false, 0));
    assert_eq!(pe.state(), PeState::Stopped);
    pe.arm(Some(Injection::Mmio {
        store: true,
        address: 0,
        mask: 0,
    }));
    pe.power_on();
    assert!(pe.check_mmio(true, 0), "power-on forgets it");
}

//! Save, restore, continue.

use super::*;
use crate::spapr::eeh::{Injection, PeState};
use crate::spapr::iommu::snapshot::{RestoreError, VERSION};

/// A unit with something of everything in it.
fn busy() -> (Unit, PeHealth) {
    let u = Unit::with(RAM, "kvm,windows=3,extensions=3".parse().unwrap());
    let health = PeHealth::default();
    u.iommu.watch(BUID, &health);
    u.refuse(&["create:4=-1", "put:3=-44"]);
    u.reset_mode(1);
    u.iommu.set_now(77);
    u.create(16, 30).unwrap();
    let (b, at) = u.create(12, 50).unwrap();
    u.put(b, at + (1 << 49), 0x3003);
    u.put(VIO, 0x1000, 0x4001);
    u.stuff(DEFAULT, 0x1f_f000, 0x5002, 3);
    u.iommu.add_memory(2 * RAM, RAM);
    let port = DmaPort::new(SOURCE, Arc::new(u.iommu.clone()), u.ram.clone());
    port.write(Iova(0x1f_f000), &[1; 64]).unwrap();
    health.enable(true);
    health.error();
    health.allow_mmio();
    health.arm(Some(Injection::Dma {
        access: Access::Write,
        address: 7,
        mask: 9,
    }));
    (u, health)
}

/// A unit of the same arguments as [`busy`]'s.
fn fresh() -> (Unit, PeHealth) {
    let u = Unit::with(RAM, "kvm,windows=3,extensions=3".parse().unwrap());
    let health = PeHealth::default();
    u.iommu.watch(BUID, &health);
    (u, health)
}

#[test]
fn mutate_save_restore_save() {
    let (u, health) = busy();
    let saved = u.iommu.save().unwrap();
    let (copy, copied) = fresh();
    assert_ne!(copy.iommu.save().unwrap(), saved);
    copy.iommu.restore(&saved).unwrap();
    assert_eq!(copy.iommu.save().unwrap(), saved);
    assert_eq!(copy.snapshot(), u.snapshot());
    assert_eq!(copied.state(), PeState::DmaStopped);
    // Both go on alike.
    for (u, health) in [(&u, &health), (&copy, &copied)] {
        health.allow_dma();
        assert_eq!(u.put(VIO, 0, 1), H_NOT_ENOUGH_RESOURCES, "the third");
        assert_eq!(u.create(16, 30), Err(-1), "three windows are all");
        assert_eq!(u.remove(DEFAULT + 1), 0);
        assert_eq!(u.create(16, 30), Err(-1), "the fourth create");
        assert_eq!(u.create(16, 30), Ok((DEFAULT + 1, 1 << 32)), "limited");
        assert_eq!(
            u.translate(0x1f_f001, 8, Access::Write),
            Err(crate::spapr::eeh::INJECTED)
        );
        assert_eq!(u.put(DEFAULT, 0, (2 * RAM) | 3), H_SUCCESS, "added");
    }
    assert_eq!(copy.iommu.save().unwrap(), u.iommu.save().unwrap());
}

#[test]
fn another_machine_is_refused() {
    let saved = busy().0.iommu.save().unwrap();
    let refuse = |u: &Unit, what| {
        let before = u.iommu.save().unwrap();
        assert_eq!(
            u.iommu.restore(&saved),
            Err(RestoreError::OtherMachine(what))
        );
        assert_eq!(u.iommu.save().unwrap(), before);
    };
    refuse(&unit(), "rules");
    let other = Unit::with(RAM, "kvm,windows=3,extensions=3".parse().unwrap());
    refuse(&other, "PEs");
    let (more, _) = fresh();
    more.iommu.add_vio_window(Liobn(5), 0, 0x1000).unwrap();
    refuse(&more, "VIO windows");
    let mut newer = saved.clone();
    newer[0] = VERSION as u8 + 1;
    assert_eq!(
        fresh().0.iommu.restore(&newer),
        Err(RestoreError::Version(VERSION + 1))
    );
    let error = fresh().0.iommu.restore(&[]).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
}

/// Damage is found or gives a state that holds together; either way nothing panics and no half state is left.
#[test]
fn damaged_snapshots() {
    let saved = busy().0.iommu.save().unwrap();
    for len in 0..saved.len() {
        let (u, _) = fresh();
        u.unchanged(|| u.iommu.restore(&saved[..len]).unwrap_err());
    }
    for at in 0..saved.len() {
        for bit in 0..8 {
            let mut bad = saved.clone();
            bad[at] ^= 1 << bit;
            let (u, _) = fresh();
            let before = u.snapshot();
            if u.iommu.restore(&bad).is_err() {
                assert_eq!(u.snapshot(), before);
            } else {
                // The invariants that `snapshot` checks, and calls that walk everything.
                u.snapshot();
                u.query();
                let _ = u.translate(0x1f_f000, 1 << 20, Access::Read);
                assert_eq!(u.reset_windows(), 0);
                assert_eq!(u.places(), [BOOT]);
            }
        }
    }
}

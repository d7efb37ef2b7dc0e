//! The dynamic-window calls and the state they keep.

use super::*;

#[test]
fn query_is_true_to_the_state() {
    let u = unit();
    let sizes = 0x107;
    assert_eq!(u.query(), [0, 1, 1 << 31, sizes, 0]);
    let (first, _) = u.create(24, 30).unwrap();
    assert_eq!(
        u.query(),
        [0, 0, 0, sizes, 0],
        "nothing left: no block either"
    );
    assert_eq!(u.remove(DEFAULT), 0);
    assert_eq!(u.query()[..2], [0, 1]);
    assert_eq!(u.remove(first), 0);
    assert_eq!(u.query()[..2], [0, 1], "the default window is back");
}

#[test]
fn what_query_says_can_be_created() {
    for shift in [12, 16, 21, 24] {
        let u = unit();
        let block = u.query()[2];
        assert_eq!(
            u.create(shift, shift + block.ilog2()),
            Ok((DEFAULT + 1, DYNAMIC))
        );
    }
    let p = Personality {
        extensions: 2,
        ..Personality::KVM
    };
    for shift in [12, 16, 21, 24] {
        let u = Unit::with(RAM, p);
        let mut rets = [0; 6];
        u.iommu.query_pe_dma_window(&pe_args(), &mut rets);
        assert_eq!(rets, [0, 1, 1 << 6, 0, 0x107, 0]);
        let (liobn, base) = u.create(shift, shift + 38).unwrap();
        assert_eq!(base % (1 << (shift + 38)), 0);
        assert_eq!(
            u.put(liobn, base + (1 << (shift + 38)) - (1 << shift), 0),
            H_SUCCESS,
            "last entry"
        );
    }
}

#[test]
fn calls_check_their_cells() {
    let u = unit();
    let [c, hi, lo] = pe_args();
    let first = |call: fn(&SpaprIommu, &[u32], &mut [u32]), args: &[u32], outputs: usize| {
        let mut rets = vec![7; outputs];
        u.unchanged(|| call(&u.iommu, args, &mut rets));
        assert!(rets.iter().skip(1).all(|r| *r == 0));
        rets.first().map(|r| *r as i32)
    };
    type Call = fn(&SpaprIommu, &[u32], &mut [u32]);
    let query: Call = SpaprIommu::query_pe_dma_window;
    let create: Call = SpaprIommu::create_pe_dma_window;
    let remove: Call = SpaprIommu::remove_pe_dma_window;
    let reset: Call = SpaprIommu::reset_pe_dma_windows;
    for (call, args, outputs) in [
        (query, &[c, hi][..], 5),
        (query, &[c, hi, lo, 0], 5),
        (query, &[c, hi, lo], 4),
        (query, &[c, hi, lo], 6),
        (query, &[c, hi, lo], 7),
        (query, &[c + 0x100, hi, lo], 5),
        (query, &[0x0801, hi, lo], 5),
        (query, &[c, lo, hi], 5),
        (query, &[c, hi, lo + 1], 5),
        (create, &[c, hi, lo, 12], 4),
        (create, &[c, hi, lo, 12, 30], 3),
        (create, &[c, hi, lo, 12, 30], 5),
        (create, &[c, hi, lo + 1, 12, 30], 4),
        (create, &[c + 0x100, hi, lo, 12, 30], 4),
        (create, &[c, hi, lo, 13, 30], 4),
        (create, &[c, hi, lo, 25, 30], 4),
        (create, &[c, hi, lo, 34, 40], 4),
        (create, &[c, hi, lo, 16, 15], 4),
        (create, &[c, hi, lo, 12, 51], 4),
        (create, &[c, hi, lo, 24, 63], 4),
        (create, &[c, hi, lo, 24, 64], 4),
        (create, &[c, hi, lo, 24, u32::MAX], 4),
        (create, &[c, hi, lo, u32::MAX, u32::MAX], 4),
        (remove, &[], 1),
        (remove, &[DEFAULT, 0], 1),
        (remove, &[DEFAULT], 2),
        (remove, &[DEFAULT + 1], 1),
        (remove, &[VIO], 1),
        (reset, &[c, hi], 1),
        (reset, &[c, hi, lo, 1], 1),
        (reset, &[c, hi, lo], 2),
        (reset, &[c, hi, lo + 1], 1),
    ] {
        assert_eq!(first(call, args, outputs), Some(-3), "{args:x?} {outputs}");
    }
    for call in [query, create, remove, reset] {
        assert_eq!(
            first(call, &[c, hi, lo], 0),
            None,
            "no place for a status: nothing happens"
        );
    }
    let mut rets = [7; 5];
    u.iommu
        .query_pe_dma_window(&[u32::from(SOURCE.0) << 8, hi, lo], &mut rets);
    assert_eq!(rets[0], 0, "a member's address names the PE");
}

#[test]
fn create_beside_the_default_window() {
    let u = unit();
    assert_eq!(u.create(16, 31), Ok((DEFAULT + 1, DYNAMIC)));
    assert_eq!(u.places(), [BOOT, (DEFAULT + 1, DYNAMIC, 1 << 31, 16)]);
    assert_eq!(
        u.unchanged(|| u.create(16, 31)),
        Err(-1),
        "two windows are all"
    );
    assert_eq!(u.remove(DEFAULT + 1), 0);
    assert_eq!(u.places(), [BOOT]);
}

/// QEMU truncates the count of TCEs to 32 bits and leaves a broken window behind.
#[test]
fn defect_1_many_tces() {
    let u = unit();
    let (liobn, base) = u.create(12, 45).unwrap();
    assert_eq!(u.put(liobn, base + (1 << 45) - 0x1000, RW), H_SUCCESS);
    assert_eq!(
        u.translate(base + (1 << 45) - 0x1000, 0x2000, Access::Read),
        Ok((0, 0x1000))
    );
    assert_eq!(u.remove(liobn), 0);
    let small = Unit::with(
        RAM,
        Personality {
            largest_block: 1 << 32,
            ..Personality::KVM
        },
    );
    assert_eq!(small.unchanged(|| small.create(12, 45)), Err(-3));
    assert_eq!(small.create(12, 44), Ok((DEFAULT + 1, DYNAMIC)));
}

/// QEMU puts the second window at the first one's address.
#[test]
fn defect_2_two_dynamic_windows() {
    let u = unit();
    let (a, at_a) = u.create(16, 30).unwrap();
    assert_eq!(u.remove(DEFAULT), 0);
    let (b, at_b) = u.create(12, 40).unwrap();
    assert_eq!((at_a, at_b), (DYNAMIC, DYNAMIC + (1 << 40)));
    assert_eq!((a, b), (DEFAULT + 1, DEFAULT + 2));
    u.put(a, at_a, 0x10003);
    u.put(b, at_b, 0x20003);
    assert_eq!(u.translate(at_a, 1, Access::Read), Ok((0x10000, 1)));
    assert_eq!(u.translate(at_b, 1, Access::Read), Ok((0x20000, 1)));
    assert_eq!(u.translate(0, 1, Access::Read), Err(NO_WINDOW));
    assert_eq!(u.create(16, 30), Err(-1));
    assert_eq!(u.remove(a), 0);
    assert_eq!(
        u.places(),
        [(b, at_b, 1 << 40, 12)],
        "one dynamic window is left: no default yet"
    );
    assert_eq!(u.translate(at_a, 1, Access::Read), Err(NO_WINDOW));
    assert_eq!(u.remove(b), 0);
    assert_eq!(u.places(), [BOOT]);
}

/// QEMU leaves no window.
#[test]
fn defect_3_the_default_window_comes_back() {
    let u = unit();
    u.put(DEFAULT, 0, RW);
    assert_eq!(u.remove(DEFAULT), 0);
    assert_eq!(u.places(), []);
    assert_eq!(u.put(DEFAULT, 0, RW), H_PARAMETER);
    assert_eq!(u.remove(DEFAULT), -3);
    let (liobn, base) = u.create(21, 30).unwrap();
    assert_eq!(
        (liobn, base),
        (DEFAULT + 1, DYNAMIC),
        "the default's LIOBN stays reserved"
    );
    assert_eq!(u.remove(liobn), 0);
    assert_eq!(u.places(), [BOOT]);
    assert_eq!(u.get(DEFAULT, 0), Ok(0), "and is empty");
}

/// QEMU accepts a 2^50-byte window over the MSI window and allocates tables of 16 GiB.
#[test]
fn defect_4_big_windows() {
    let u = unit();
    assert_eq!(u.remove(DEFAULT), 0);
    let (liobn, base) = u.create(12, 50).unwrap();
    assert_eq!(u.iommu.report().chunks, 0);
    for r in Personality::KVM.reserved {
        assert!(base >= r.base + r.size || base + (1 << 50) <= r.base);
    }
    let (_, second) = u.create(24, 62).unwrap();
    assert_eq!(second, 1 << 62);
    assert_eq!(u.reset_windows(), 0);
    assert_eq!(u.places(), [BOOT]);
    assert_eq!(u.put(liobn, base, RW), H_PARAMETER);
}

#[test]
fn a_failed_create_after_removal_is_mended_by_reset() {
    let u = unit();
    assert_eq!(u.remove(DEFAULT), 0);
    assert_eq!(u.create(13, 30), Err(-3));
    assert_eq!(u.places(), []);
    assert_eq!(u.reset_windows(), 0);
    assert_eq!(u.places(), [BOOT]);
}

#[test]
fn resets_restore_the_state_at_boot() {
    let u = unit();
    let boot = u.snapshot();
    let (liobn, base) = u.create(12, 30).unwrap();
    u.put(liobn, base, RW);
    u.put(DEFAULT, 0, RW);
    assert_eq!(u.reset_windows(), 0);
    assert_eq!(u.snapshot(), boot);
    u.remove(DEFAULT);
    u.create(12, 30).unwrap();
    u.put(VIO, 0, RW);
    u.iommu.reset();
    assert_eq!(u.snapshot(), boot);
}

/// Every PE of the bridge is as at boot, in limited address mode or not, whatever windows it had; those of another bridge stay.
#[test]
fn an_isolated_bridge_is_as_at_boot() {
    let limited = "windows=3,extensions=3".parse().unwrap();
    for p in [Personality::KVM, Personality::QEMU_COMPAT, limited] {
        let u = Unit::with(RAM, p);
        let pe = |buid, liobn, source| PeConfig {
            buid,
            config_addr: liobn,
            liobn: Liobn(liobn),
            members: Members::Only(vec![SourceId(source)]),
        };
        let (sibling, other) = (DEFAULT + 0x100, DEFAULT + 0x200);
        u.iommu.add_pe(pe(BUID, sibling, 0x10)).unwrap();
        u.iommu.add_pe(pe(BUID + 1, other, 0x18)).unwrap();
        let boot = u.snapshot();
        let create = |buid: u64, config| {
            let args = [config, (buid >> 32) as u32, buid as u32, 16, 30];
            let mut rets = [7; 4];
            u.iommu.create_pe_dma_window(&args, &mut rets);
            assert_eq!(rets[0], 0);
            rets[1]
        };
        let windows_of = |buid| {
            let mut left = u.snapshot();
            left.retain(|w| (w.0.0 >= other && w.0 != Liobn(VIO)) == (buid == BUID + 1));
            left
        };
        if p.extensions >= 3 {
            assert_eq!(u.reset_mode(1), 0);
        }
        assert_eq!(u.remove(DEFAULT), 0);
        let (liobn, base) = u.create(16, 30).unwrap();
        assert_eq!(u.put(liobn, base, RW), H_SUCCESS);
        assert_eq!(u.put(sibling, 0, RW), H_SUCCESS);
        assert_eq!(u.put(other, 0, RW), H_SUCCESS);
        create(BUID, sibling);
        create(BUID + 1, other);
        let theirs = windows_of(BUID + 1);
        assert_eq!(theirs.len(), 2);
        u.unchanged(|| u.iommu.reset_bridge(BUID + 2));
        u.iommu.set_now(77);
        u.iommu.reset_bridge(BUID);
        assert_eq!(windows_of(BUID + 1), theirs, "another bridge");
        u.iommu.reset_bridge(BUID + 1);
        assert_eq!(u.snapshot(), boot);
        // Nothing is left of the window: neither its table nor its entries.
        assert_eq!(u.put(liobn, base, 0), H_PARAMETER);
        assert_eq!(u.translate(base, 1, Access::Read), Err(NO_WINDOW));
        assert_eq!(u.create(16, 30), Ok((DEFAULT + 1, DYNAMIC)), "not limited");
        assert_eq!(u.translate(DYNAMIC, 1, Access::Read), Err(TCE_INVALID));
        // The report has the default window twice: until its removal, and from the reset on.
        let report = u.iommu.report();
        let default = report.windows.iter().filter(|w| w.liobn.0 == DEFAULT);
        let times: Vec<_> = default.map(|w| (w.created_ns, w.removed_ns)).collect();
        assert_eq!(times, [(0, Some(0)), (77, None)]);
    }
}

#[test]
fn one_window_platforms_must_give_up_the_default_window_first() {
    let p = Personality {
        extensions: 1,
        ..Personality::POWERVM
    };
    let u = Unit::with(RAM, p);
    assert_eq!(u.query(), [0, 0, 0, 2, 0]);
    assert_eq!(u.create(16, 30), Err(-1));
    assert_eq!(u.remove(DEFAULT), 0);
    assert_eq!(u.query(), [0, 1, 1 << 31, 2, 0]);
    assert_eq!(u.create(12, 30), Err(-3));
    assert!(u.create(16, 30).is_ok());
}

#[test]
fn every_page_size() {
    let p: Personality = "pages=4K+64K+2M+16M+32M+64M+128M+256M+16G".parse().unwrap();
    let ram = 32 << 30;
    for (shift, bit) in [
        (12, 0x1),
        (16, 0x2),
        (24, 0x4),
        (25, 0x8),
        (26, 0x10),
        (27, 0x20),
        (28, 0x40),
        (34, 0x80),
        (21, 0x100),
    ] {
        // No RAM is touched, so the unit may believe in more than the test has.
        let u = Unit::with(RAM, p);
        u.iommu.set_ram_size(ram);
        assert_eq!(u.query()[3], 0x1ff);
        let page = 1u64 << shift;
        let (liobn, base) = u.create(shift, shift + 3).unwrap();
        assert_eq!(u.put(liobn, base + page, page | RW), H_SUCCESS);
        assert_eq!(
            u.translate(base + 2 * page - 8, 64, Access::Write),
            Ok((2 * page - 8, 8))
        );
        assert_eq!(u.put(liobn, base + page / 2, page | RW), H_PARAMETER);
        assert_eq!(u.put(liobn, base + page, (page / 2) | RW), H_PARAMETER);
        assert_eq!(u.put(liobn, base, ram | RW), H_PARAMETER);
        let only = Personality {
            page_sizes: PageSizes::from_bits_truncate(bit),
            ..p
        };
        let u = Unit::with(RAM, only);
        assert_eq!(u.query()[3], bit);
        for other in 0..64 {
            let got = u.create(other, other + 3);
            assert_eq!(got.is_ok(), other == shift, "{other} with only {shift}");
            if let Ok((liobn, _)) = got {
                assert_eq!(u.remove(liobn), 0);
            }
        }
    }
}

#[test]
fn half_of_the_bus() {
    let p = Personality {
        largest_block: MAX_BLOCK,
        ..Personality::KVM
    };
    for shift in [12, 16, 21, 24] {
        let u = Unit::with(RAM, p);
        let (liobn, base) = u.create(shift, 63).unwrap();
        assert_eq!(base, 1 << 63);
        let last = 0u64.wrapping_sub(1 << shift);
        assert_eq!(u.put(liobn, last, 0), H_SUCCESS);
        assert_eq!(u.stuff(liobn, last, 0, 2), H_PARAMETER);
        if shift < 24 {
            assert_eq!(u.put(liobn, last, RW), H_SUCCESS);
            assert_eq!(
                u.translate(u64::MAX, 2, Access::Read),
                Ok(((1 << shift) - 1, 1))
            );
        }
        assert_eq!(
            u.unchanged(|| u.create(shift, 63)),
            Err(-1),
            "two windows are all"
        );
        assert_eq!(u.remove(DEFAULT), 0);
        assert_eq!(u.unchanged(|| u.create(shift, 63)), Err(-1), "no room");
        assert_eq!(u.create(shift, 40), Ok((DEFAULT + 2, DYNAMIC)));
    }
}

#[test]
fn limited_address_mode() {
    let p = Personality {
        extensions: 3,
        windows: 3,
        ..Personality::KVM
    };
    let u = Unit::with(RAM, p);
    u.create(16, 30).unwrap();
    u.put(DEFAULT, 0, RW);
    assert_eq!(u.reset_mode(1), 0);
    assert_eq!(u.places(), [BOOT], "it is a reset too");
    assert_eq!(u.get(DEFAULT, 0), Ok(0));
    assert_eq!(u.create(16, 30), Ok((DEFAULT + 1, 1 << 32)));
    assert_eq!(
        u.create(16, 42),
        Ok((DEFAULT + 2, 2 << 42)),
        "clear of the message window"
    );
    assert_eq!(u.remove(DEFAULT + 1), 0);
    assert_eq!(u.remove(DEFAULT + 2), 0);
    assert_eq!(u.create(24, 40), Ok((DEFAULT + 1, 1 << 40)), "still");
    for back in [|u: &Unit| u.reset_mode(0), |u: &Unit| u.reset_windows()] {
        assert_eq!(u.reset_mode(1), 0);
        assert_eq!(back(&u), 0);
        assert_eq!(u.create(16, 30), Ok((DEFAULT + 1, DYNAMIC)));
    }
    assert_eq!(u.unchanged(|| u.reset_mode(2)), -3);
    u.reset_mode(1);
    u.iommu.reset();
    assert_eq!(u.create(16, 30), Ok((DEFAULT + 1, DYNAMIC)));
    for extensions in 0..3 {
        let u = Unit::with(RAM, Personality { extensions, ..p });
        assert_eq!(u.unchanged(|| u.reset_mode(1)), -3);
    }
}

#[test]
fn placing() {
    let r = |base, size| Reserved { base, size };
    assert_eq!(place(0, 0x1000, &[]), Some(0));
    assert_eq!(place(1, 0x1000, &[]), Some(0x1000));
    assert_eq!(
        place(0, 0x1000, &[r(0x1800, 1), r(0, 0x1000)]),
        Some(0x2000)
    );
    assert_eq!(
        place(0, 0x4000, &[r(0x4000, 0x4000), r(0x3fff, 1)]),
        Some(0x8000)
    );
    assert_eq!(place(1 << 63, 1 << 63, &[]), Some(1 << 63));
    assert_eq!(place(1 << 63, 1 << 63, &[r(u64::MAX, 1)]), None);
    assert_eq!(place((1 << 63) + 1, 1 << 63, &[]), None);
}

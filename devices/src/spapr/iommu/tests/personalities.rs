//! Laxities beside the right answers, and injected refusals.

use super::*;

fn lax() -> Unit {
    Unit::with(RAM, Personality::QEMU_COMPAT)
}

/// The right answer of `kvm`, which changes nothing, and the answer of `qemu-compat`.
fn both(call: impl Fn(&Unit) -> Status, right: Status, qemu: Status) -> Unit {
    let u = unit();
    assert_eq!(u.unchanged(|| call(&u)), right);
    let u = lax();
    assert_eq!(call(&u), qemu);
    u
}

#[test]
fn defect_5_an_ioba_inside_a_page() {
    let put = |u: &Unit| u.put(DEFAULT, 0x1800, 0x5003);
    let u = both(put, H_PARAMETER, H_SUCCESS);
    assert_eq!(u.get(DEFAULT, 0x1fff), Ok(0x5003));
    assert_eq!(u.stuff(DEFAULT, 0x1234, 0, 1), H_SUCCESS);
    assert_eq!(u.get(DEFAULT, 0x1000), Ok(0));
    assert_eq!(
        u.put(DEFAULT, 1 << 30, 0),
        H_PARAMETER,
        "a range is a range"
    );
}

#[test]
fn defect_5_any_entry() {
    for tce in [RAM | 3, 0x5007, 0xffff_ffff_ffff_ffff] {
        let u = both(|u| u.put(DEFAULT, 0, tce), H_PARAMETER, H_SUCCESS);
        assert_eq!(u.get(DEFAULT, 0), Ok(tce));
        let u = both(|u| u.stuff(DEFAULT, 0, tce, 2), H_PARAMETER, H_SUCCESS);
        assert_eq!(u.get(DEFAULT, 0x1000), Ok(tce));
    }
    let u = lax();
    u.put(DEFAULT, 0, RAM | 3);
    let port = DmaPort::new(SOURCE, Arc::new(u.iommu.clone()), u.ram.clone());
    let fault = port.read(Iova(0), &mut [0; 4]).unwrap_err();
    assert_eq!(fault.reason, NOT_MEMORY, "DMA still reaches RAM only");
}

#[test]
fn defect_5_a_list_outside_ram() {
    let d = u64::from(DEFAULT);
    for list in [RAM, 1 << 60] {
        let u = both(|u| u.indirect(d, 0, list, 4), H_PARAMETER, H_SUCCESS);
        assert_eq!(u.get(DEFAULT, 0), Ok(0));
    }
    let call = |u: &Unit| {
        u.list(0x4000, &[0x1003, RAM | 3, 0x2003]);
        u.indirect(d, 0, 0x4000, 3)
    };
    let u = both(call, H_PARAMETER, H_SUCCESS);
    assert_eq!(u.get(DEFAULT, 0x1000), Ok(RAM | 3));
    both(|u| u.indirect(d, 0, 0x4008, 1), H_PARAMETER, H_PARAMETER);
    both(|u| u.indirect(d, 0, 0x4000, 513), H_PARAMETER, H_PARAMETER);
}

#[test]
fn defect_5_overruns() {
    let d = u64::from(DEFAULT);
    let near = (1 << 30) - 0x2000;
    let call = |u: &Unit| {
        u.list(0x4000, &[0x1003; 4]);
        u.indirect(d, near, 0x4000, 4)
    };
    let u = both(call, H_PARAMETER, H_PARAMETER);
    assert_eq!(u.get(DEFAULT, near + 0x1000), Ok(0x1003), "half a state");
    let u = both(
        |u| u.stuff(DEFAULT, near, 0x1003, 3),
        H_PARAMETER,
        H_PARAMETER,
    );
    assert_eq!(u.get(DEFAULT, near), Ok(0x1003), "half a state");
}

#[test]
fn defect_5_more_than_512_entries() {
    let u = both(|u| u.stuff(DEFAULT, 0, 0x1003, 513), H_P4, H_SUCCESS);
    assert_eq!(u.get(DEFAULT, 512 << 12), Ok(0x1003));
    both(
        |u| u.stuff(DEFAULT, 0, 0x1003, MAX_LAX_STUFF + 1),
        H_P4,
        H_P4,
    );
    let u = lax();
    assert_eq!(u.stuff(DEFAULT, 0, 0, MAX_LAX_STUFF), H_PARAMETER);
    assert_eq!(u.get(DEFAULT, 0), Ok(0), "cleared up to the end");
}

#[test]
fn qemu_compat_windows() {
    let u = lax();
    let constant = [0, 2, 1 << 31, 0x107, 0];
    assert_eq!(u.query(), constant);
    let mut rets = [0; 5];
    let [_, hi, lo] = pe_args();
    u.iommu.query_pe_dma_window(&[0xffff, hi, lo], &mut rets);
    assert_eq!(rets, constant, "the configuration address is not looked at");
    u.iommu
        .query_pe_dma_window(&[CONFIG, hi, lo + 1], &mut rets);
    assert_eq!(rets[0] as i32, -3, "the unit id is");
    assert_eq!(
        u.unchanged(|| u.create(12, 45)),
        Err(-1),
        "a count of 2^33 is 0"
    );
    let (liobn, _) = u.create(16, 30).unwrap();
    assert_eq!(u.query(), constant);
    assert_eq!(u.create(16, 30), Err(-1));
    assert_eq!(u.remove(DEFAULT), 0);
    assert_eq!(u.remove(liobn), 0);
    assert_eq!(u.places(), [], "the default window stays away");
    assert_eq!(u.reset_mode(1), -3);
    assert_eq!(u.reset_windows(), 0);
    assert_eq!(u.places(), [BOOT]);
    assert_eq!(Personality::QEMU_COMPAT.laxities, Laxities::all());
}

#[test]
fn refused_rtas_calls_change_nothing() {
    let u = unit();
    u.refuse(&[
        "create:1=9901",
        "create:2=-2",
        "create:3=-1",
        "remove:2=-1",
        "reset:1=-1",
        "query:1=-3",
    ]);
    for status in [9901, -2, -1] {
        assert_eq!(u.unchanged(|| u.create(16, 30)), Err(status));
    }
    let (liobn, _) = u.create(16, 30).unwrap();
    assert_eq!(u.remove(DEFAULT), 0);
    assert_eq!(u.unchanged(|| u.remove(liobn)), -1);
    assert_eq!(u.unchanged(|| u.reset_windows()), -1);
    assert_eq!(u.query(), [-3i32 as u32, 0, 0, 0, 0]);
    assert_eq!(u.query()[0], 0);
    assert_eq!(u.remove(liobn), 0);
    let calls = u.iommu.report().ddw_calls;
    assert_eq!(calls[0].status, RtasStatus(9901), "the report shows them");
}

#[test]
fn refused_hypercalls_change_nothing() {
    let u = unit();
    u.refuse(&["put:2=-44", "get:1=-1", "indirect:1-=-44", "stuff:1-2=1"]);
    assert_eq!(u.put(DEFAULT, 0, 0x1003), H_SUCCESS);
    assert_eq!(
        u.unchanged(|| u.put(DEFAULT, 0, 0x2003)),
        H_NOT_ENOUGH_RESOURCES
    );
    assert_eq!(u.get(DEFAULT, 0), Err(H_HARDWARE));
    assert_eq!(u.get(DEFAULT, 0), Ok(0x1003));
    for _ in 0..3 {
        let refused = u.unchanged(|| u.indirect(DEFAULT.into(), 0, 0, 1));
        assert_eq!(refused, H_NOT_ENOUGH_RESOURCES);
    }
    assert_eq!(u.stuff(DEFAULT, 0, 0, 1), H_BUSY);
    assert_eq!(u.stuff(DEFAULT, 0, 0, 1), H_BUSY);
    assert_eq!(u.stuff(DEFAULT, 0, 0, 1), H_SUCCESS);
    assert_eq!(u.iommu.report().hcall_errors["H_STUFF_TCE 1"], 2);
}

#[test]
fn memory_that_comes_and_goes() {
    let u = unit();
    assert_eq!(u.put(DEFAULT, 0, RAM | 3), H_PARAMETER);
    u.iommu.set_ram_size(2 * RAM);
    assert_eq!(u.put(DEFAULT, 0, RAM | 3), H_SUCCESS);
    assert_eq!(u.get(DEFAULT, 0), Ok(RAM | 3));
    u.iommu.set_ram_size(RAM);
    let reply = u
        .iommu
        .hcall(H_GET_TCE, &[DEFAULT.into(), 0], &u.ram)
        .unwrap();
    assert_eq!((reply.status, reply.tce), (H_PARTIAL, Some(Tce(RAM | 3))));
    assert_eq!(u.put(DEFAULT, 0x1000, RAM | 3), H_PARAMETER);
    assert_eq!(u.put(DEFAULT, 0, 0), H_SUCCESS);
    assert_eq!(u.get(DEFAULT, 0), Ok(0));
}

/// A block apart from boot memory: entries may name it while it is there, and it stays while one does.
#[test]
fn a_block_of_memory() {
    let u = unit();
    let (start, size) = (4 * RAM, RAM);
    assert_eq!(u.put(DEFAULT, 0, start | 3), H_PARAMETER);
    u.iommu.add_memory(start, size);
    assert_eq!(u.put(DEFAULT, 0, (start - 0x1000) | 3), H_PARAMETER);
    assert_eq!(u.put(DEFAULT, 0, (start + size) | 3), H_PARAMETER);
    assert_eq!(u.put(DEFAULT, 0, start | 3), H_SUCCESS);
    assert_eq!(u.put(VIO, 0, (start + size - 0x1000) | 1), H_SUCCESS);
    assert!(!u.iommu.remove_memory(start, size), "two entries name it");
    assert_eq!(u.put(DEFAULT, 0, start), H_SUCCESS, "no access, no name");
    assert!(!u.iommu.remove_memory(start, size), "a virtual device's");
    assert!(u.iommu.remove_memory(start, size / 2), "its other half");
    assert_eq!(u.put(VIO, 0, 0), H_SUCCESS);
    assert!(u.iommu.remove_memory(start, size));
    assert_eq!(u.put(DEFAULT, 0, start | 3), H_PARAMETER);
    assert_eq!(u.put(DEFAULT, 0, 0x1003), H_SUCCESS, "boot memory stays");
}

/// A large page may lie across blocks that join, and nowhere else.
#[test]
fn a_page_across_blocks() {
    const M16: u64 = 16 << 20;
    let u = Unit::with(24 << 20, "pages=16M".parse().unwrap());
    let (liobn, base) = u.create(24, 30).unwrap();
    assert_eq!(u.put(liobn, base, M16 | 3), H_PARAMETER);
    u.iommu.add_memory(28 << 20, 4 << 20);
    assert_eq!(u.put(liobn, base, M16 | 3), H_PARAMETER, "a gap");
    u.iommu.add_memory(24 << 20, 4 << 20);
    assert_eq!(u.put(liobn, base, M16 | 3), H_SUCCESS);
    assert!(!u.iommu.remove_memory(31 << 20, 1 << 20));
}

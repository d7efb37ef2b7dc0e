//! vm-memory's traits over the unit.

use vm_memory::bitmap::NewBitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::*;
use crate::memory::WriteWatch;
use crate::vtd::embed::{Requester, memory};
use crate::vtd::spec::fault::Reason;
use crate::vtd::spec::paging::second;
use crate::vtd::spec::pasid::PasidEntry as Pe;
use crate::vtd::testing::{DEVICE, Lab};

#[test]
fn guest_memory_by_the_requesters_addresses() {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    let leaf = lab.map_second(root, 4, 0x1000, 0x50_0000, 1, 3);
    lab.map_second(root, 4, 0x2000, 0x40_0000, 1, 3);
    lab.map_second(root, 4, 0x3000, 0x60_0000, 1, second::R);
    lab.set_scalable_context(DEVICE, 8, 0);
    lab.set_pasid(
        DEVICE,
        9,
        [root | 2 << 2 | 2 << 6 | Pe::SSADE, 1 | Pe::PWSNP, 0],
    );
    lab.enable(1);
    let m = memory(
        lab.ram.clone(),
        Requester::new(lab.unit.clone(), DEVICE, Some(9)),
        WriteWatch::with_len(0),
    );
    m.write_slice(&[7; 16], GuestAddress(0x1ff8)).unwrap();
    assert_eq!(lab.get(0x50_0ff8), 0x0707_0707_0707_0707);
    assert_eq!(lab.get(0x40_0000), 0x0707_0707_0707_0707);
    assert_eq!(lab.get(leaf) & second::D, second::D);
    // Each access asks the unit: a dirty bit that software cleared and flushed is set again.
    lab.put(leaf, lab.get(leaf) & !second::D);
    lab.invalidate_all();
    m.write_obj(1u8, GuestAddress(0x1000)).unwrap();
    assert_eq!(lab.get(leaf) & second::D, second::D);
    assert!(m.check_range(GuestAddress(0x1000), 0x3000, Permissions::Read));
    assert!(!m.check_range(GuestAddress(0x1000), 0x3000, Permissions::ReadWrite));
    assert!(m.read_obj::<u64>(GuestAddress(u64::MAX - 3)).is_err());
    lab.take_records();
    assert!(m.write_obj(1u8, GuestAddress(0x3000)).is_err());
    let [record] = lab.take_records()[..] else {
        panic!()
    };
    assert_eq!(
        (record.code(), record.pasid()),
        (Reason::ScalableWrite.code(), Some(9))
    );
    let slices = m
        .get_slices(GuestAddress(0x1000), 8, Permissions::Read)
        .unwrap();
    assert!(!lab.wait(), "in flight while slices are handed out");
    drop(slices);
    lab.unit.run();
    assert!(lab.wait());
}

//! A device made of rust-vmm crates behind the VT-d unit: `cargo run -p viommu-devices --features testing --example vtd_virtio`.
//!
//! The device is a virtio-queue [`Queue`] that answers each request with its bytes in capitals. Its memory is vm-memory's
//! `IommuMemory` over the unit, so all it sees are bus addresses. The driver's part is played by this program: it builds the tables,
//! puts a request into the queue, and then takes a page away.

use std::sync::atomic::Ordering;

use viommu_devices::memory::WriteWatch;
use viommu_devices::vtd::embed::{Requester, memory};
use viommu_devices::vtd::testing::{DEVICE, Lab};
use viommu_devices::vtd::{Config, Operation, Request};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::bitmap::NewBitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemory};

/// Where the driver's pages are on the bus, and in memory.
const BUS: u64 = 0x1234_0000_0000;
const RAM: u64 = 0x20_0000;
/// Offsets of the queue's parts, of the request and of the answer.
const DESC: u64 = 0x0000;
const AVAIL: u64 = 0x1000;
const USED: u64 = 0x2000;
const REQUEST: u64 = 0x3000;
const ANSWER: u64 = 0x4000;

/// Handles the chains in the queue; the bytes answered, or why it could not go on.
fn run_device<M: GuestMemory>(
    queue: &mut Queue,
    memory: &M,
) -> Result<usize, Box<dyn std::error::Error>> {
    let mut answered = 0;
    while let Some(chain) = queue.iter(memory)?.next() {
        let head = chain.head_index();
        let mut text = Vec::new();
        for descriptor in chain {
            let len = descriptor.len() as usize;
            if !descriptor.is_write_only() {
                text.resize(len, 0);
                memory.read_slice(&mut text, descriptor.addr())?;
                text.make_ascii_uppercase();
            } else {
                let len = len.min(text.len());
                memory.write_slice(&text[..len], descriptor.addr())?;
                answered += len;
            }
        }
        queue.add_used(memory, head, answered as u32)?;
    }
    Ok(answered)
}

/// The driver puts a request into the queue, by its own (physical) addresses; descriptors hold bus addresses.
fn submit(lab: &Lab, text: &[u8], number: u16) {
    let ram = &lab.ram;
    let at = |offset: u64| GuestAddress(RAM + offset);
    ram.write_slice(text, at(REQUEST)).expect("memory");
    for (n, (page, flags)) in [(REQUEST, 1u16), (ANSWER, 2)].into_iter().enumerate() {
        let d = DESC + 16 * n as u64;
        ram.write_obj(BUS + page, at(d)).expect("memory");
        ram.write_obj(text.len() as u32, at(d + 8)).expect("memory");
        ram.write_obj(flags, at(d + 12)).expect("memory");
        ram.write_obj(1u16, at(d + 14)).expect("memory");
    }
    ram.write_obj(0u16, at(AVAIL + 4 + 2 * u64::from(number % 16)))
        .expect("memory");
    ram.store(number + 1, at(AVAIL + 2), Ordering::Release)
        .expect("memory");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lab = Lab::new(Config::full());
    let root = lab.page();
    let mut leaf = 0;
    for page in 0..5 {
        leaf = lab.map_second(root, 4, BUS + (page << 12), RAM + (page << 12), 1, 3);
    }
    lab.set_context(DEVICE, 0, 2, 1, root);
    lab.enable(0);

    let requester = Requester::new(lab.unit.clone(), DEVICE, None);
    let bus = memory(lab.ram.clone(), requester, WriteWatch::with_len(0));
    let mut queue = Queue::new(16)?;
    queue.try_set_desc_table_address(GuestAddress(BUS + DESC))?;
    queue.try_set_avail_ring_address(GuestAddress(BUS + AVAIL))?;
    queue.try_set_used_ring_address(GuestAddress(BUS + USED))?;
    queue.set_ready(true);

    let text = b"through the unit";
    submit(&lab, text, 0);
    let answered = run_device(&mut queue, &bus)?;
    let mut answer = vec![0; text.len()];
    lab.ram
        .read_slice(&mut answer, GuestAddress(RAM + ANSWER))?;
    println!(
        "answer of {answered} bytes: {}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(answer, b"THROUGH THE UNIT");

    // The driver unmaps the page of the answer, invalidates, and submits again: the device's write faults.
    lab.put(leaf, 0);
    lab.invalidate_all();
    submit(&lab, text, 1);
    let refused = run_device(&mut queue, &bus).expect_err("the page is gone");
    println!("the second request: {refused}");
    let records = lab.take_records();
    let [record] = records[..] else {
        return Err(format!("expected one fault record, not {records:x?}").into());
    };
    println!(
        "fault record: code {:#x}, page {:#x}",
        record.code(),
        record.info()
    );
    assert_eq!((record.code(), record.info()), (5, BUS + ANSWER));
    print!(
        "{}",
        lab.unit.explain(&Request::untranslated(
            DEVICE,
            BUS + ANSWER,
            Operation::Write
        ))
    );
    Ok(())
}

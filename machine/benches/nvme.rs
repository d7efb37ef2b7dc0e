//! What a read command costs, from the doorbell to the completion. `cargo bench -p viommu --bench nvme`

#[path = "common/unit.rs"]
mod unit;

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use viommu_devices::block::MemoryDisk;
use viommu_devices::dma::{DmaPort, Identity, Translator};
use viommu_devices::effects::Effects;
use viommu_devices::memory::GuestRam;
use viommu_devices::nvme::NvmeController;
use viommu_devices::pci::PciDevice;
use viommu_devices::spapr::hcall::H_PUT_TCE;
use vm_memory::{Bytes, GuestAddress};

use unit::{DEFAULT, RW, SOURCE, Unit};

const SIZE: u64 = 128 << 10;
const PAGE: u64 = 4096;
const DISK: u64 = 16 << 20;
/// Guest addresses: admin queues, I/O queues, list of pages, data.
const ADMIN: [u64; 2] = [0x1_0000, 0x1_1000];
const IO: [u64; 2] = [0x1_2000, 0x1_3000];
const LIST: u64 = 0x1_4000;
const DATA: u64 = 0x10_0000;
/// Entries of each queue.
const ENTRIES: u32 = 16;
const DOORBELLS: u64 = 0x1000;

/// A controller with one pair of I/O queues. `base` is what its bus addresses are above the guest's.
struct Rig {
    nvme: NvmeController,
    ram: GuestRam,
    base: u64,
    heads: [u32; 2],
}

impl Rig {
    fn new(ram: GuestRam, translator: Arc<dyn Translator>, base: u64) -> Rig {
        let port = DmaPort::new(SOURCE, translator, ram.clone());
        // No zeros: the disk does not keep those.
        let disk = MemoryDisk::from_bytes(&vec![0x5a; DISK as usize]).expect("a disk");
        let mut rig = Rig {
            nvme: NvmeController::new("nvme0", port, vec![Box::new(disk)], "bench"),
            ram,
            base,
            heads: [0; 2],
        };
        // Memory accesses and bus mastering; sizes and places of the admin queues; enable. NVMe 1.4 §3.1.
        rig.nvme.config_write(4, 2, 6, &mut Effects::default());
        rig.write(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
        for (register, queue) in [(0x28, ADMIN[0]), (0x30, ADMIN[1])] {
            let at = queue + base;
            rig.write(register, at as u32);
            rig.write(register + 4, (at >> 32) as u32);
        }
        rig.write(0x14, 0x0046_0001);
        let queue = (ENTRIES - 1) << 16 | 1;
        rig.submit(0, command(5, 0, [IO[1] + base, 0], [queue, 1, 0]));
        rig.submit(0, command(1, 0, [IO[0] + base, 0], [queue, 1 << 16 | 1, 0]));
        for i in 1..SIZE / PAGE {
            let entry = (DATA + base + i * PAGE).to_le_bytes();
            rig.ram
                .write_slice(&entry, GuestAddress(LIST + 8 * (i - 1)))
                .expect("memory");
        }
        rig
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.nvme
            .bar_write(0, offset, &value.to_le_bytes(), &mut Effects::default());
    }

    /// Carries out a command of queue 0 (admin) or 1; it has to succeed.
    fn submit(&mut self, queue: usize, command: [u8; 64]) {
        let ([submission, completion], head) = ([ADMIN, IO][queue], self.heads[queue]);
        let put = GuestAddress(submission + 64 * u64::from(head));
        self.ram.write_slice(&command, put).expect("memory");
        let next = (head + 1) % ENTRIES;
        self.heads[queue] = next;
        self.write(DOORBELLS + 8 * queue as u64, next);
        let mut status = [0; 2];
        let at = GuestAddress(completion + 16 * u64::from(head) + 14);
        self.ram.read_slice(&mut status, at).expect("memory");
        assert_eq!(u16::from_le_bytes(status) & !1, 0, "status");
        self.write(DOORBELLS + 8 * queue as u64 + 4, next);
    }

    fn read(&mut self, block: u32) {
        let (data, list) = (DATA + self.base, LIST + self.base);
        let last = (SIZE / 512 - 1) as u32;
        self.submit(1, command(2, 1, [data, list], [block, 0, last]));
    }
}

/// A submission queue entry: opcode, namespace, PRPs, CDW10 to 12. NVMe 1.4 §4.2.
fn command(opcode: u8, namespace: u32, prps: [u64; 2], words: [u32; 3]) -> [u8; 64] {
    let mut entry = [0; 64];
    entry[0] = opcode;
    entry[4..8].copy_from_slice(&namespace.to_le_bytes());
    for (cell, prp) in entry[24..40].as_chunks_mut::<8>().0.iter_mut().zip(prps) {
        *cell = prp.to_le_bytes();
    }
    for (cell, word) in entry[40..52].as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *cell = word.to_le_bytes();
    }
    entry
}

fn reads(c: &mut Criterion) {
    let window = Unit::new();
    let base = window.mapped(24, 26);
    let default = Unit::new();
    for page in (0..DATA + SIZE).step_by(PAGE as usize) {
        default.call(H_PUT_TCE, &[DEFAULT, page, page | RW]);
    }
    let rigs = [
        ("no IOMMU", Rig::new(Unit::new().ram, Arc::new(Identity), 0)),
        (
            "a window of 16 MiB pages",
            Rig::new(window.ram.clone(), window.translator(), base),
        ),
        (
            "the default window",
            Rig::new(default.ram.clone(), default.translator(), 0),
        ),
    ];
    let mut group = c.benchmark_group("NVMe read of 128 KiB");
    group.throughput(Throughput::Bytes(SIZE));
    for (name, mut rig) in rigs {
        let mut block = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                rig.read(block);
                block = (block + (SIZE / 512) as u32) % (DISK / 512) as u32;
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = reads
}
criterion_main!(benches);

//! How fast the CPU's two tiers run loops of many blocks, and what a block costs to decode and to compile.
//! `cargo bench -p viommu --bench engine`; guest instructions are criterion's "elements".

#[path = "common/loops.rs"]
mod loops;

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use viommu::run::turn_length;
use viommu::selftest::asm::Asm;
use viommu_cpu::bus::{Bus, BusError};
use viommu_cpu::engine::{Engine, Shared};
use viommu_cpu::ppc64::{Cpu, Exit};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use loops::Order;

const CODE: u64 = 0x1_0000;
const DATA: u64 = 0x40_0000;
const RAM: u64 = DATA + loops::DATA_SIZE;
/// Blocks of the program that is decoded and compiled.
const BLOCKS: u64 = 4096;
/// Passes after which every block of a loop is compiled.
const WARM: u64 = 40;

struct NoDevices;

impl Bus for NoDevices {
    fn mmio_read(&mut self, _: u64, _: &mut [u8]) -> Result<(), BusError> {
        Err(BusError)
    }
    fn mmio_write(&mut self, _: u64, _: &[u8]) -> Result<(), BusError> {
        Err(BusError)
    }
    fn watch_code(&mut self, _: u64) {}
}

/// A CPU with a loop in memory that ends in a hypercall.
struct Rig {
    cpu: Cpu,
    shared: Shared,
    /// Instructions of a pass.
    pass: u64,
}

impl Rig {
    fn new(engine: Engine, blocks: usize, order: Order) -> Rig {
        let mut asm = Asm::new(CODE as usize);
        let pass = loops::emit(&mut asm, blocks, order);
        asm.sc1();
        let code = asm.finish().expect("labels in reach");
        assert!(CODE + code.len() as u64 <= DATA);
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM as usize)]);
        let ram = ram.expect("memory");
        ram.write_slice(&code, GuestAddress(CODE)).expect("memory");
        let mut shared = Shared::new(&ram);
        shared.code.set_engine(engine);
        let mut cpu = Cpu::new(0);
        cpu.set_gpr(loops::DATA as usize, DATA + loops::DATA_SIZE / 2);
        Rig { cpu, shared, pass }
    }

    fn run(&mut self, passes: u64) -> Duration {
        self.cpu.set_pc(CODE);
        self.cpu.set_ctr(passes);
        let start = Instant::now();
        loop {
            let run = self
                .cpu
                .run(&mut self.shared, &mut NoDevices, 0, turn_length(1));
            match run.exit {
                Exit::Hypercall => return start.elapsed(),
                exit => assert_eq!(exit, Exit::Budget),
            }
        }
    }
}

fn speed(c: &mut Criterion) {
    for (engine, name) in [
        (Engine::Interpreter, "interpreter"),
        (Engine::Compiled, "compiled"),
    ] {
        let mut group = c.benchmark_group(name);
        for (blocks, order, what) in [
            (64, Order::Straight, "64 blocks"),
            (4096, Order::Straight, "4096 blocks"),
            (20_000, Order::Straight, "20000 blocks"),
            (20_000, Order::Scattered, "20000 blocks, scattered"),
        ] {
            let mut rig = Rig::new(engine, blocks, order);
            rig.run(WARM);
            let passes = 20_000 / blocks as u64;
            group.throughput(Throughput::Elements(rig.pass * passes));
            group.bench_function(what, |b| b.iter(|| rig.run(passes)));
        }
        group.finish();
    }
}

/// Runs `cost` on fresh machines and gives the time of one block.
fn per_block(c: &mut Criterion, name: &str, engine: Engine, cost: fn(&mut Rig) -> Duration) {
    let mut group = c.benchmark_group("one block");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.bench_function(name, |b| {
        b.iter_custom(|blocks| {
            let programs = blocks.div_ceil(BLOCKS);
            let total: Duration = (0..programs)
                .map(|_| cost(&mut Rig::new(engine, BLOCKS as usize, Order::Straight)))
                .sum();
            total.mul_f64(blocks as f64 / (programs * BLOCKS) as f64)
        });
    });
    group.finish();
}

/// The first pass decodes; the second does all else that the first does.
fn decoding(rig: &mut Rig) -> Duration {
    let first = rig.run(1);
    assert!(rig.shared.stats().blocks_decoded >= BLOCKS);
    first.saturating_sub(rig.run(1))
}

/// The pass in which the blocks are compiled, less a later one; it includes their way to each other.
fn compiling(rig: &mut Rig) -> Duration {
    for _ in 0..WARM {
        let before = rig.shared.stats().blocks_compiled;
        let time = rig.run(1);
        if rig.shared.stats().blocks_compiled - before >= BLOCKS {
            rig.run(1);
            return time.saturating_sub(rig.run(1));
        }
    }
    panic!("no pass compiled all blocks");
}

fn translation(c: &mut Criterion) {
    per_block(c, "decode", Engine::Interpreter, decoding);
    let mut probe = Rig::new(Engine::Compiled, 64, Order::Straight);
    probe.run(WARM);
    if probe.shared.stats().blocks_compiled == 0 {
        println!("one block/compile: this host has no compiled tier");
        return;
    }
    per_block(c, "compile", Engine::Compiled, compiling);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = speed, translation
}
criterion_main!(benches);

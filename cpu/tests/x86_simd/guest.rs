//! The same instructions in a CPU, in 64-bit mode: operands are fetched and results stored there.
use viommu_cpu::bus::{Bus, BusError};
use viommu_cpu::engine::{Engine, Shared};
use viommu_cpu::x86_64::cpuid::Model;
use viommu_cpu::x86_64::segment::Segment;
use viommu_cpu::x86_64::{Cpu, Exit, InitialState};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::host::{Context, MEMORY};

const TABLES: u64 = 0x1000;
const CODE: u64 = 0x1_0000;
const AREA: u64 = 0x2_0000;
/// Not at the start of a page, so that operands lie in two pages now and then.
const DATA: u64 = 0x3_0fc0;

struct Nothing;

impl Bus for Nothing {
    fn mmio_read(&mut self, _: u64, _: &mut [u8]) -> Result<(), BusError> {
        Err(BusError)
    }
    fn mmio_write(&mut self, _: u64, _: &[u8]) -> Result<(), BusError> {
        Err(BusError)
    }
    fn watch_code(&mut self, _: u64) {}
}

pub struct Guest {
    ram: GuestMemoryMmap,
    shared: Shared,
    cpu: Cpu,
    start: InitialState,
}

impl Guest {
    pub fn new(engine: Engine) -> Guest {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let mut shared = Shared::new(&ram);
        shared.code.set_engine(engine);
        let put = |at: u64, v: u64| ram.write_obj(v, GuestAddress(at)).unwrap();
        put(TABLES, (TABLES + 0x1000) | 3);
        put(TABLES + 0x1000, (TABLES + 0x2000) | 3);
        put(TABLES + 0x2000, 0x83);
        let data = Segment {
            selector: 16,
            base: 0,
            limit: u32::MAX,
            attributes: 0xc093,
        };
        let mut segments = [data; 6];
        segments[1] = Segment {
            selector: 8,
            attributes: 0xa09b,
            ..data
        };
        let start = InitialState {
            cr0: 0x8000_0033,
            cr3: TABLES,
            cr4: 0x620,
            efer: 0x500,
            segments,
            ..InitialState::default()
        };
        Guest {
            ram,
            shared,
            cpu: Cpu::new(0, Model::default()),
            start,
        }
    }

    /// Runs an instruction whose memory operand lies at `memory_at` of the context's memory. False: it raised an exception, and the
    /// context is as it was.
    pub fn run(&mut self, instruction: &[u8], c: &mut Context, memory_at: usize) -> bool {
        // fxrstor64 [AREA]; the instruction; fxsave64 [AREA]; jmp $
        let area = (AREA as u32).to_le_bytes();
        let mut code = vec![0x48, 0x0f, 0xae, 0x0c, 0x25];
        code.extend(area);
        code.extend(instruction);
        code.extend([0x48, 0x0f, 0xae, 0x04, 0x25]);
        code.extend(area);
        let end = CODE + code.len() as u64;
        code.extend([0xeb, 0xfe]);
        self.put(CODE, &code);
        self.put(AREA, &c.area[..512]);
        self.put(DATA, &c.memory.0);
        self.shared.invalidate_page(CODE);
        let cpu = &mut self.cpu;
        cpu.load(&self.start);
        let host = c.memory.0.as_ptr() as u64 + memory_at as u64;
        for (n, value) in c.gpr.into_iter().enumerate() {
            cpu.set_gpr(
                n,
                if value == host {
                    DATA + memory_at as u64
                } else {
                    value
                },
            );
        }
        cpu.set_rflags(c.flags);
        cpu.set_rip(CODE);
        let mut left = 4;
        while left > 0 {
            let run = cpu.run(&mut self.shared, &mut Nothing, 0, left);
            left -= run.executed.clamp(1, left);
            match run.exit {
                Exit::Budget => {}
                Exit::Shutdown => return false,
                exit => panic!("{exit:?}"),
            }
        }
        assert_eq!(cpu.rip(), end);
        let image = |at: u64, bytes: &mut [u8]| {
            self.ram.read_slice(bytes, GuestAddress(at)).unwrap();
        };
        image(AREA, &mut c.area[..464]);
        image(DATA, &mut c.memory.0[..MEMORY]);
        for (n, value) in c.gpr.iter_mut().enumerate() {
            let now = cpu.gpr(n);
            *value = if now == DATA + memory_at as u64 {
                host
            } else {
                now
            };
        }
        c.flags = cpu.rflags();
        true
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(at)).unwrap();
    }
}

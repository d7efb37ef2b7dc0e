//! The CPU under test: 64-bit mode, the first 32 MiB mapped to themselves.
use viommu_cpu::bus::{Bus, BusError};
use viommu_cpu::engine::{Engine, Shared};
use viommu_cpu::x86_64::cpuid::Model;
use viommu_cpu::x86_64::segment::Segment;
use viommu_cpu::x86_64::{Cpu, Exit, InitialState};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::host::{INSTRUCTION, SCRATCH, State};

const TABLES: u64 = 0x1000;

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
    pub cpu: Cpu,
    start: InitialState,
    at: u64,
}

impl Guest {
    pub fn new(engine: Engine) -> Guest {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 32 << 20)]).unwrap();
        let mut shared = Shared::new(&ram);
        shared.code.set_engine(engine);
        let put = |at: u64, v: u64| ram.write_obj(v, GuestAddress(at)).unwrap();
        put(TABLES, (TABLES + 0x1000) | 3);
        put(TABLES + 0x1000, (TABLES + 0x2000) | 3);
        for n in 0..16 {
            put(TABLES + 0x2000 + n * 8, n << 21 | 0x83);
        }
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
            cr0: 0x8000_0011,
            cr3: TABLES,
            cr4: 0x20,
            efer: 0x500,
            segments,
            ..InitialState::default()
        };
        let mut cpu = Cpu::new(0, Model::default());
        cpu.load(&start);
        Guest {
            ram,
            shared,
            cpu,
            start,
            at: INSTRUCTION,
        }
    }

    /// Runs code, of at most `most` instructions, on a state and a scratch area. False if an exception ended it.
    pub fn run(&mut self, code: &[u8], state: &mut State, scratch: &mut [u8], most: u64) -> bool {
        let mut bytes = code.to_vec();
        // Behind it: jmp $.
        bytes.extend([0xeb, 0xfe]);
        self.ram.write_slice(&bytes, GuestAddress(self.at)).unwrap();
        self.ram
            .write_slice(scratch, GuestAddress(SCRATCH))
            .unwrap();
        for page in (self.at & !0xfff..self.at + bytes.len() as u64).step_by(0x1000) {
            self.shared.invalidate_page(page);
        }
        for (n, value) in state.gpr.into_iter().enumerate() {
            self.cpu.set_gpr(n, value);
        }
        self.cpu.set_rip(self.at);
        self.cpu.set_rflags(state.flags);
        let mut left = most;
        let exit = loop {
            let run = self.cpu.run(&mut self.shared, &mut Nothing, 0, left);
            left -= run.executed.min(left);
            if run.exit != Exit::Budget || left == 0 {
                break run.exit;
            }
        };
        match &exit {
            Exit::Budget => {}
            Exit::Fatal(what) => panic!("{what}"),
            // There is no table of interrupts: an exception shuts the CPU down.
            _ => self.cpu.load(&self.start),
        }
        for (n, r) in state.gpr.iter_mut().enumerate() {
            *r = self.cpu.gpr(n);
        }
        state.flags = self.cpu.rflags();
        self.ram.read_slice(scratch, GuestAddress(SCRATCH)).unwrap();
        exit == Exit::Budget && self.cpu.rip() == self.at + code.len() as u64
    }

    pub fn verified(&self) -> u64 {
        self.shared.stats().blocks_verified
    }
}

//! Blocks of random instructions, from any state, on the ppc64 CPU.
//!
//! The same block runs at once, and again: one instruction at a time, each decoded anew or not, or with the budget split anywhere, or just
//! the same, or on both tiers. The end must be the same (registers, memory, device accesses, interrupts), every run executes as many
//! instructions as it was given or says why not, one instruction causes one interrupt at most, and nothing panics.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use viommu_cpu::bus::{Bus, BusError};
use viommu_cpu::engine::{Engine, Shared};
use viommu_cpu::ppc64::forms::FORMS;
use viommu_cpu::ppc64::interrupts::vector::{DECREMENTER, EXTERNAL};
use viommu_cpu::ppc64::regs::*;
use viommu_cpu::ppc64::vector::OPS;
use viommu_cpu::ppc64::{Counters, Cpu, Exit};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Words of a block, and instructions of a run.
const WORDS: usize = 24;
const RAM: u64 = 256 << 10;
const CODE: u64 = 0x1_8000;
const DATA: u64 = 0x2_0000;
const DATA_SIZE: u64 = 0x4000;
const STUB: u64 = 0x3_f000;
/// `sc 1`: the CPU returns.
const STOP: u32 = 0x4400_0022;
/// What `mfspr` reads at the end: DSCR, DSISR, DAR, DEC, SRR0, SRR1, PIDR, IAMR, CTRL, FSCR, UAMOR, VRSAVE, SPRG0 to 3, BESCR, EBBHR,
/// EBBRR, TAR, PPR, AMR.
const SPRS: [u32; 22] = [
    17, 18, 19, 22, 26, 27, 48, 61, 136, 153, 157, 256, 272, 273, 274, 275, 806, 804, 805, 815,
    896, 29,
];

#[derive(Arbitrary, Debug)]
struct Input {
    seed: u64,
    /// Bits of `modes`.
    modes: u16,
    /// Registers with a value of their own.
    gprs: Vec<(u8, u64)>,
    process_table: Option<u64>,
    decrementer: Option<u8>,
    external: bool,
    code: Vec<Instruction>,
    budget: u8,
    splits: u64,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Instruction {
    Word(u32),
    /// A form of the fixed-point table, with these variable bits.
    Fixed(u8, u32),
    /// A form of the vector and floating-point table.
    Vector(u16, u32),
}

impl Instruction {
    fn word(self) -> u32 {
        match self {
            Instruction::Word(word) => word,
            Instruction::Fixed(n, rest) => {
                let form = &FORMS[usize::from(n) % FORMS.len()];
                form.value | rest & !form.mask
            }
            Instruction::Vector(n, rest) => {
                let form = &OPS[usize::from(n) % OPS.len()];
                form.value | rest & !form.mask
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A register: mostly an address near the ends of a page of data, or an edge.
    fn value(&mut self) -> u64 {
        let n = self.next();
        match n % 8 {
            0..=3 => DATA + (n >> 8) % DATA_SIZE,
            4 => DATA + 0x1000 - 1 - (n >> 8) % 20,
            5 => [0, 1, u64::MAX, 1 << 63, 1 << 31, 0x7fff_ffff][(n >> 8) as usize % 6],
            6 => (n >> 8) % 256,
            _ => self.next(),
        }
    }

    /// A vector register: often a double that is special or small.
    fn vector(&mut self) -> u128 {
        let mut half = || match self.next() % 4 {
            0 => {
                [0, 1 << 63, 0x7ff0 << 48, 0x7ff8 << 48, 0x7ff4 << 48, 1][self.next() as usize % 6]
            }
            1 => ((self.next() % 4096) as f64 / 7.0).to_bits(),
            _ => self.next(),
        };
        u128::from(half()) << 64 | u128::from(half())
    }
}

/// Devices: everything that is not RAM up to some address; answers depend on the address only.
#[derive(Debug, Default, PartialEq)]
struct Devices {
    log: Vec<(u64, bool, Vec<u8>)>,
}

impl Bus for Devices {
    fn mmio_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.log.push((gpa, false, vec![0; data.len()]));
        if gpa >> 56 & 1 != 0 {
            return Err(BusError);
        }
        data.iter_mut()
            .zip(gpa..)
            .for_each(|(d, a)| *d = (a * 7) as u8);
        Ok(())
    }

    fn mmio_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), BusError> {
        self.log.push((gpa, true, data.to_vec()));
        if gpa >> 56 & 1 != 0 {
            return Err(BusError);
        }
        Ok(())
    }

    fn watch_code(&mut self, _: u64) {}
}

/// Everything that a guest could tell apart.
#[derive(Debug, PartialEq)]
struct End {
    exit: Exit,
    executed: u64,
    gprs: Vec<u64>,
    vsrs: Vec<u128>,
    /// CR, XER, LR, CTR, FPSCR, VSCR, MSR, address of the next instruction.
    others: [u64; 8],
    sprs: Vec<u64>,
    interrupts: Counters,
    devices: Devices,
    ram: Vec<u8>,
}

struct Machine {
    cpu: Cpu,
    shared: Shared,
    memory: GuestMemoryMmap,
}

fn put(memory: &GuestMemoryMmap, at: u64, word: u32, little: bool) {
    let bytes = if little {
        word.to_le_bytes()
    } else {
        word.to_be_bytes()
    };
    memory.write_slice(&bytes, GuestAddress(at)).unwrap();
}

impl Machine {
    fn new(input: &Input) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
        let bit = |n: u32| input.modes >> n & 1 != 0;
        let (little, little_interrupts) = (bit(0), bit(1));
        // Every interrupt makes the CPU return.
        for vector in (0x100..0x1000)
            .step_by(0x20)
            .chain((0x17000..0x18000).step_by(0x20))
        {
            put(&memory, vector, STOP, little_interrupts);
        }
        let mut random = Random(input.seed);
        let data: Vec<u8> = (0..DATA_SIZE / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        memory.write_slice(&data, GuestAddress(DATA)).unwrap();
        let words = input.code.iter().take(WORDS).map(|i| i.word());
        for (i, word) in (0..).zip(words.chain([STOP])) {
            put(&memory, CODE + 4 * i, word, little);
        }
        let mut shared = Shared::new(&memory);
        let mut cpu = Cpu::new(0);
        (0..32).for_each(|i| cpu.set_gpr(i, random.value()));
        (0..64).for_each(|i| cpu.set_vsr(i, random.vector()));
        for (n, value) in input.gprs.iter().take(8) {
            cpu.set_gpr((n % 32).into(), *value);
        }
        cpu.set_cr(random.next() as u32);
        cpu.set_xer(random.next());
        cpu.set_lr(CODE + random.next() % (4 * WORDS as u64));
        cpu.set_ctr(random.next() % 8);
        cpu.set_little_endian_interrupts(little_interrupts);
        cpu.set_ail([0, 0, 2, 3][usize::from(input.modes >> 2 & 3)]);
        if let Some(table) = input.process_table {
            cpu.set_process_table(table % RAM);
        }
        if let Some(ticks) = input.decrementer {
            // mtspr DEC, r0
            cpu.set_gpr(0, ticks.into());
            Self::stub(&mut cpu, &mut shared, &memory, &[0x7c00_03a6 | 22 << 16]);
        }
        cpu.set_external(input.external);
        let flags = [
            MSR_SF, MSR_PR, MSR_EE, MSR_FP, MSR_VEC, MSR_VSX, MSR_FE0, MSR_FE1,
        ];
        // Mostly as a kernel runs: what a set bit takes away or adds.
        let mut msr = MSR_SF | MSR_FP | MSR_VEC | MSR_VSX | MSR_ME | MSR_RI | u64::from(little);
        for (n, flag) in (4..).zip(flags) {
            msr ^= if bit(n) { flag } else { 0 };
        }
        if input.process_table.is_some() {
            msr |= if bit(12) { MSR_IR } else { 0 } | if bit(13) { MSR_DR } else { 0 };
        }
        cpu.set_msr(msr);
        cpu.set_pc(CODE);
        Machine {
            cpu,
            shared,
            memory,
        }
    }

    /// Runs a few instructions in supervisor state, real mode, big-endian.
    fn stub(cpu: &mut Cpu, shared: &mut Shared, memory: &GuestMemoryMmap, code: &[u32]) {
        for (i, word) in (0..).zip(code.iter().chain(&[STOP])) {
            put(memory, STUB + 4 * i, *word, false);
        }
        shared.invalidate_page(STUB);
        cpu.set_msr(MSR_SF | MSR_ME);
        cpu.set_pc(STUB);
        let budget = code.len() as u64 + 1;
        let run = cpu.run(shared, &mut Devices::default(), 0, budget);
        assert_eq!((run.exit, run.executed), (Exit::Hypercall, budget));
    }

    /// Interrupts that instructions caused: all but external and decrementer.
    fn caused(&self) -> u64 {
        let all = self.cpu.counters().interrupts.iter();
        all.filter(|(v, _)| ![EXTERNAL, DECREMENTER].contains(v))
            .map(|(_, n)| n)
            .sum()
    }

    /// Runs `budget` instructions in parts of at most `part()`, each with newly decoded code if `decode_again`; the end, and whether
    /// code was changed on the way.
    fn run(
        mut self,
        budget: u64,
        decode_again: bool,
        mut part: impl FnMut() -> u64,
    ) -> (End, bool) {
        let mut devices = Devices::default();
        let (mut executed, mut exit, mut changed) = (0, Exit::Budget, false);
        while executed < budget && exit == Exit::Budget {
            if decode_again {
                for page in (0..RAM).step_by(0x1000) {
                    self.shared.invalidate_page(page);
                }
            }
            let max = part().clamp(1, budget - executed);
            let accesses = devices.log.len();
            let invalidated = self.shared.stats().pages_invalidated;
            let caused = self.caused();
            let run = self.cpu.run(&mut self.shared, &mut devices, executed, max);
            assert!(run.executed >= 1 && run.executed <= max);
            // It stops early only for a device.
            if run.exit == Exit::Budget && run.executed < max {
                assert!(devices.log.len() > accesses);
            }
            // One instruction is one: either it causes an interrupt, or it is the hypercall.
            if max == 1 && run.exit == Exit::Hypercall {
                assert_eq!(self.caused(), caused);
            }
            assert!(self.caused() - caused <= run.executed);
            changed |= self.shared.stats().pages_invalidated > invalidated;
            executed += run.executed;
            exit = run.exit;
        }
        let mut ram = vec![0; RAM as usize];
        self.memory.read_slice(&mut ram, GuestAddress(0)).unwrap();
        let cpu = &mut self.cpu;
        let gprs = (0..32).map(|i| cpu.gpr(i)).collect();
        let vsrs = (0..64).map(|i| cpu.vsr(i)).collect();
        let others = [
            cpu.cr().into(),
            cpu.xer(),
            cpu.lr(),
            cpu.ctr(),
            cpu.fpscr(),
            cpu.vscr().into(),
            cpu.msr(),
            cpu.pc(),
        ];
        let interrupts = cpu.counters().clone();
        let mut code = Vec::new();
        for (register, spr) in (0..).zip(SPRS) {
            code.push(0x7c00_02a6 | register << 21 | (spr & 31) << 16 | spr >> 5 << 11);
        }
        Self::stub(cpu, &mut self.shared, &self.memory, &code);
        let sprs = (0..SPRS.len()).map(|i| cpu.gpr(i)).collect();
        let end = End {
            exit,
            executed,
            gprs,
            vsrs,
            others,
            sprs,
            interrupts,
            devices,
            ram,
        };
        (end, changed)
    }
}

impl End {
    fn hold_equal(&self, other: &End, how: &str) {
        let same = self.ram == other.ram;
        let differs = |e: &End| {
            (
                e.exit.clone(),
                e.executed,
                e.others,
                e.gprs.clone(),
                e.sprs.clone(),
            )
        };
        assert_eq!(differs(self), differs(other), "{how}");
        assert_eq!(self.vsrs, other.vsrs, "{how}: vector registers");
        assert_eq!(self.devices, other.devices, "{how}: device accesses");
        assert_eq!(self.interrupts, other.interrupts, "{how}: interrupts");
        assert!(same, "{how}: memory");
    }
}

fuzz_target!(|input: Input| {
    let budget = u64::from(input.budget) % (2 * WORDS as u64) + 1;
    let (whole, changed) = Machine::new(&input).run(budget, false, || budget);
    let mut splits = Random(input.splits);
    let how = input.splits % 5;
    let (other, changed_other) = match how {
        // The same again.
        0 => Machine::new(&input).run(budget, false, || budget),
        1 => Machine::new(&input).run(budget, false, || splits.next() % 7 + 1),
        2 => Machine::new(&input).run(budget, false, || 1),
        3 => Machine::new(&input).run(budget, true, || 1),
        _ => {
            // A difference between the tiers is a fatal exit, which differs too.
            let mut machine = Machine::new(&input);
            machine.shared.code.set_engine(Engine::Verify);
            machine.run(budget, false, || budget)
        }
    };
    // Code that changes itself without isync may run in its old form to the end of its block.
    if how == 0 || !(changed || changed_other) {
        let names = [
            "again",
            "in parts",
            "by steps",
            "by steps, decoded again",
            "on both tiers",
        ];
        whole.hold_equal(&other, names[how as usize]);
    }
});

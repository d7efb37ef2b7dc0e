use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::bus::{Bus, BusError};
use crate::engine::{Engine, Shared};
use crate::ppc64::forms::{Class, FORMS, Form, Kind};
use crate::ppc64::regs::{MSR_FP, MSR_LE, MSR_PR, MSR_SF, MSR_VEC, MSR_VSX};
use crate::ppc64::vector::{self, VecOp};
use crate::ppc64::{Cpu, Exit};

mod x86;

const RAM: u64 = 1 << 20;
const CODE: u64 = 0x1000;
const SC1: u32 = 0x4400_0022;
/// All facilities.
const VECTORS: u64 = MSR_FP | MSR_VEC | MSR_VSX;

/// A device register that reads as the number of accesses so far, at the first address behind RAM.
#[derive(Default)]
struct Counter(u64);

impl Bus for Counter {
    fn mmio_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), BusError> {
        if gpa != RAM {
            return Err(BusError);
        }
        self.0 += 1;
        data.fill(self.0 as u8);
        Ok(())
    }
    fn mmio_write(&mut self, _: u64, _: &[u8]) -> Result<(), BusError> {
        self.0 += 100;
        Ok(())
    }
    fn watch_code(&mut self, _: u64) {}
    /// Number 7 reads the counter.
    fn hypercall(&mut self, gprs: &mut [u64; 13]) -> bool {
        if gprs[3] != 7 {
            return false;
        }
        self.0 += 1;
        (gprs[3], gprs[4]) = (0, self.0);
        true
    }
}

struct Rig {
    ram: GuestMemoryMmap,
    shared: Shared,
    cpu: Cpu,
    bus: Counter,
}

impl Rig {
    fn new(engine: Engine, msr: u64) -> Rig {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
        let mut shared = Shared::new(&ram);
        shared.code.set_engine(engine);
        let mut cpu = Cpu::new(0);
        cpu.set_msr(cpu.msr() & !(MSR_SF | MSR_LE) | msr);
        Rig {
            ram,
            shared,
            cpu,
            bus: Counter::default(),
        }
    }

    fn put(&mut self, at: u64, word: u32) {
        let bytes = match self.cpu.msr() & MSR_LE {
            0 => word.to_be_bytes(),
            _ => word.to_le_bytes(),
        };
        self.ram.write_slice(&bytes, GuestAddress(at)).unwrap();
    }

    fn run(&mut self, now: u64, max: u64) -> (Exit, u64) {
        let run = self.cpu.run(&mut self.shared, &mut self.bus, now, max);
        (run.exit, run.executed)
    }

    /// Everything that a guest can see.
    fn state(&self) -> (Vec<u64>, Vec<u8>) {
        let mut regs: Vec<u64> = (0..32).map(|n| self.cpu.gpr(n)).collect();
        let (lr, ctr, cr) = (self.cpu.lr(), self.cpu.ctr(), u64::from(self.cpu.cr()));
        regs.extend([self.cpu.pc(), lr, ctr, cr, self.cpu.msr(), self.bus.0]);
        let vsrs = (0..64).map(|n| self.cpu.vsr(n));
        regs.extend(vsrs.flat_map(|v| [v as u64, (v >> 64) as u64]));
        regs.push(self.cpu.fpscr());
        let mut memory = vec![0; RAM as usize];
        self.ram.read_slice(&mut memory, GuestAddress(0)).unwrap();
        (regs, memory)
    }
}

/// A generator of numbers (xorshift), so that a case is its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A value such as programs have: any, small, at an edge, or an address in or just behind RAM.
    fn value(&mut self) -> u64 {
        let v = self.next();
        match v >> 61 {
            0 => v,
            1 => v & 0xff,
            2 => (v as i16) as u64,
            3 => u64::from(v as u32),
            4 => (v as i32) as u64,
            5 => [
                0,
                1,
                u64::MAX,
                1 << 63,
                i64::MAX as u64,
                1 << 31,
                0x7fff_ffff,
                63,
            ][v as usize % 8],
            _ => v % (RAM + 8),
        }
    }

    fn word(&mut self, form: &Form) -> u32 {
        let word = self.next() as u32 & !form.mask | form.value;
        // Addresses are to lie in RAM more often than a full displacement would let them.
        if form.class == Class::Memory && form.mask & 0xff00 == 0 {
            return word & !0xf800;
        }
        word
    }
}

fn randomize(rigs: &mut [&mut Rig], random: &mut Random) {
    for n in 0..32 {
        let v = random.value();
        rigs.iter_mut().for_each(|r| r.cpu.set_gpr(n, v));
    }
    for n in 0..64 {
        let v = u128::from(random.value()) << 64 | u128::from(random.value());
        rigs.iter_mut().for_each(|r| r.cpu.set_vsr(n, v));
    }
    let (cr, ctr, lr) = (random.next() as u32, random.value() % 64, random.value());
    for r in rigs {
        r.cpu.set_cr(cr);
        r.cpu.set_ctr(ctr);
        r.cpu.set_lr(lr);
    }
}

fn usable(form: &&Form) -> bool {
    matches!(form.class, Class::Register | Class::Memory)
}

/// An instruction alone in its block, `cases` times, in a mode. Returns how many blocks were compared.
fn verify(name: &str, msr: u64, cases: u64, mut word: impl FnMut(&mut Random) -> u32) -> u64 {
    let mut rig = Rig::new(Engine::Verify, msr);
    let seed = name
        .bytes()
        .fold(msr, |s, b| s << 7 ^ s >> 57 ^ u64::from(b));
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
    for case in 0..cases {
        let at = CODE + case * 8;
        let word = word(&mut random);
        rig.put(at, word);
        // b .+4
        rig.put(at + 4, 0x4800_0004);
        rig.shared.invalidate_page(at);
        randomize(&mut [&mut rig], &mut random);
        rig.cpu.set_pc(at);
        let (exit, _) = rig.run(0, 2);
        if let Exit::Fatal(what) = exit {
            panic!("{name} ({word:#010x}), case {case}: {what}");
        }
        rig.cpu
            .set_msr(rig.cpu.msr() & !(MSR_SF | MSR_LE | VECTORS) | msr);
    }
    rig.shared.stats().blocks_verified
}

/// Each form a thousand times, in both byte orders and both widths.
#[test]
fn each_form_does_the_same_on_both_tiers() {
    let mut verified = 0;
    for form in FORMS.iter().filter(usable) {
        for msr in [0, MSR_LE, MSR_SF, MSR_SF | MSR_LE] {
            verified += verify(form.mnemonic, msr, 250, |random| random.word(form));
        }
    }
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        // What is helpers' work, faults and devices aside, everything is compared.
        assert!(verified > 80_000, "{verified} blocks were compared");
    }
}

fn vector_word(random: &mut Random, op: &VecOp) -> u32 {
    random.next() as u32 & !op.mask | op.value
}

/// Vector and floating-point instructions, with their facility and without it.
#[test]
fn each_vector_form_does_the_same_on_both_tiers() {
    let mut verified = 0;
    for op in vector::OPS {
        for msr in [
            VECTORS,
            MSR_LE | VECTORS,
            MSR_SF | VECTORS,
            MSR_SF | MSR_LE | VECTORS,
        ] {
            verified += verify(op.mnemonic, msr, 40, |random| vector_word(random, op));
        }
        verified += verify(op.mnemonic, MSR_SF | MSR_LE, 10, |random| {
            vector_word(random, op)
        });
    }
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        // The others are helpers' work.
        assert!(verified > 3000, "{verified} blocks were compared");
    }
}

fn branch(random: &mut Random, at: u64, len: u64) -> u32 {
    let to = (random.next() % (len * 4 + 8)) & !3;
    let offset = to as i64 - (at - CODE) as i64;
    let bits = random.next();
    match bits % 6 {
        0 => 0x4800_0000 | offset as u32 & 0x03ff_fffc,
        1 => 0x4200_0000 | offset as u32 & 0xfffc,
        2 => 0x4240_0000 | offset as u32 & 0xfffc,
        _ => {
            let bo = if bits & 64 == 0 { 12 } else { 4 };
            0x4000_0000 | bo << 21 | ((bits >> 8) as u32 & 31) << 16 | offset as u32 & 0xfffc
        }
    }
}

/// Random programs with loops, on the interpreter and compiled.
fn compare(seed: u64, len: u64, msr: u64, step: u64) {
    let mut random = Random(seed | 1);
    let mut a = Rig::new(Engine::Interpreter, msr);
    let mut b = Rig::new(Engine::Compiled, msr);
    let forms: Vec<&Form> = FORMS
        .iter()
        .filter(usable)
        .filter(|f| !matches!(f.kind, Kind::Darn))
        .collect();
    for i in 0..len {
        let at = CODE + i * 4;
        let word = match random.next() % 5 {
            0 => branch(&mut random, at, len),
            1 => {
                let op = &vector::OPS[random.next() as usize % vector::OPS.len()];
                vector_word(&mut random, op)
            }
            _ => {
                let form = forms[random.next() as usize % forms.len()];
                random.word(form)
            }
        };
        a.put(at, word);
        b.put(at, word);
    }
    for r in [&mut a, &mut b] {
        r.put(CODE + len * 4, SC1);
        // Every exception ends the run too.
        for vector in (0x100..0x1000).step_by(4) {
            r.ram
                .write_slice(&SC1.to_be_bytes(), GuestAddress(vector))
                .unwrap();
        }
    }
    for round in 0..4 {
        randomize(&mut [&mut a, &mut b], &mut random);
        let mut now = 0;
        for r in [&mut a, &mut b] {
            r.cpu.set_pc(CODE);
            r.cpu
                .set_msr(r.cpu.msr() & !(MSR_SF | MSR_LE | VECTORS) | msr);
        }
        while now < 3000 {
            let (x, y) = (a.run(now, step), b.run(now, step));
            assert_eq!(x, y, "seed {seed:#x}, round {round}, at {now}");
            now += x.1.max(1);
            if x.0 != Exit::Budget {
                break;
            }
        }
        let (x, y) = (a.state(), b.state());
        assert_eq!(x.0, y.0, "registers, seed {seed:#x}, round {round}");
        assert!(x.1 == y.1, "memory, seed {seed:#x}, round {round}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn programs_do_the_same_on_both_tiers(
        seed: u64, len in 4_u64..200, le: bool, sf: bool, vectors: bool, step in prop::sample::select(vec![1, 3, 17, 100, 5000])
    ) {
        let bit = |wanted, bit| if wanted { bit } else { 0 };
        let msr = bit(le, MSR_LE) | bit(sf, MSR_SF) | bit(vectors, VECTORS);
        compare(seed, len, msr, step);
    }
}

/// Counts r3 up in a loop of `bdnz`; `addend` is in the instruction.
fn counting_loop(addend: u32) -> [u32; 3] {
    [0x3863_0000 | addend, 0x4200_fffc, SC1]
}

#[test]
fn compiled_code_that_a_device_overwrites_is_dropped() {
    let mut rig = Rig::new(Engine::Compiled, MSR_SF);
    for addend in 1..20 {
        for (i, word) in counting_loop(addend).into_iter().enumerate() {
            rig.put(CODE + i as u64 * 4, word);
        }
        rig.shared.invalidate_page(CODE);
        rig.cpu.set_gpr(3, 0);
        rig.cpu.set_ctr(1000);
        rig.cpu.set_pc(CODE);
        assert_eq!(rig.run(0, 1 << 20), (Exit::Hypercall, 2001));
        assert_eq!(rig.cpu.gpr(3), u64::from(addend) * 1000);
    }
}

#[test]
fn a_store_into_the_running_block_ends_with_that_block() {
    // The loop overwrites the addend behind its own store: stw r5,0(r6); addi r3,r3,1; bdnz -8
    let mut rig = Rig::new(Engine::Compiled, MSR_SF);
    for (i, word) in [0x90a6_0000, 0x3863_0001, 0x4200_fff8, SC1]
        .into_iter()
        .enumerate()
    {
        rig.put(CODE + i as u64 * 4, word);
    }
    // First far away, until the loop is compiled; then onto the addi, which becomes addi r3,r3,2.
    rig.cpu.set_gpr(5, 0x3863_0002);
    for (address, expected) in [(0x8000, 100), (CODE + 4, 1 + 99 * 2)] {
        rig.cpu.set_gpr(6, address);
        rig.cpu.set_gpr(3, 0);
        rig.cpu.set_ctr(100);
        rig.cpu.set_pc(CODE);
        rig.run(0, 1 << 20);
        assert_eq!(rig.cpu.gpr(3), expected);
    }
}

#[test]
fn a_device_access_ends_the_run_after_its_block() {
    for engine in [Engine::Interpreter, Engine::Compiled, Engine::Verify] {
        let mut rig = Rig::new(engine, MSR_SF);
        // lbz r7,0(r6); add r3,r3,r7; bdnz -8; sc 1
        for (i, word) in [0x88e6_0000, 0x7c63_3a14, 0x4200_fff8, SC1]
            .into_iter()
            .enumerate()
        {
            rig.put(CODE + i as u64 * 4, word);
        }
        rig.cpu.set_gpr(6, RAM);
        rig.cpu.set_ctr(20);
        rig.cpu.set_pc(CODE);
        for n in 1..=20 {
            assert_eq!(rig.run(0, 1000), (Exit::Budget, 3), "{engine:?}");
            assert_eq!(rig.bus.0, n, "{engine:?}");
        }
        assert_eq!(rig.run(0, 1000), (Exit::Hypercall, 1));
        assert_eq!(rig.cpu.gpr(3), (1..=20).sum::<u64>());
    }
}

#[test]
fn a_hypercall_that_is_answered_does_not_end_the_run() {
    // 1: li r3,7; sc 1; add r6,r6,r4; bdnz 1b; li r3,8; sc 1
    let code = [0x3860_0007, SC1, 0x7cc6_2214, 0x4200_fff4, 0x3860_0008, SC1];
    for engine in [Engine::Interpreter, Engine::Compiled, Engine::Verify] {
        for step in [1, 2, 3, 5, 7, 64, 1000] {
            let mut rig = Rig::new(engine, MSR_SF);
            for (i, word) in code.into_iter().enumerate() {
                rig.put(CODE + i as u64 * 4, word);
            }
            rig.cpu.set_ctr(100);
            rig.cpu.set_pc(CODE);
            let mut done = 0;
            while done + step < 402 {
                let case = format!("{engine:?}, {step} after {done}");
                assert_eq!(rig.run(done, step), (Exit::Budget, step), "{case}");
                done += step;
            }
            assert_eq!(rig.run(done, step), (Exit::Hypercall, 402 - done));
            let seen = [rig.cpu.gpr(3), rig.cpu.gpr(6), rig.cpu.pc(), rig.bus.0];
            assert_eq!(seen, [8, 5050, CODE + 24, 100], "{engine:?}, {step}");
        }
    }
}

#[test]
fn a_hypercall_in_problem_state_is_a_program_interrupt() {
    for engine in [Engine::Interpreter, Engine::Verify] {
        let mut rig = Rig::new(engine, MSR_SF | MSR_PR);
        rig.put(CODE, SC1);
        rig.cpu.set_gpr(3, 7);
        rig.cpu.set_pc(CODE);
        assert_eq!(rig.run(0, 1), (Exit::Budget, 1));
        assert_eq!((rig.cpu.pc(), rig.bus.0), (0x700, 0));
    }
}

#[test]
fn a_full_code_memory_is_emptied() {
    let mut rig = Rig::new(Engine::Compiled, MSR_SF);
    rig.shared.code.cap_compiled = 16 << 10;
    // Many small blocks: addi r3,r3,1; bdnz .+4 ...; sc 1
    let blocks = 2000;
    for i in 0..blocks {
        rig.put(CODE + i * 8, 0x3863_0001);
        rig.put(CODE + i * 8 + 4, 0x4200_0004);
    }
    rig.put(CODE + blocks * 8, SC1);
    rig.cpu.set_gpr(3, 0);
    for _ in 0..40 {
        rig.cpu.set_pc(CODE);
        assert_eq!(rig.run(0, 1 << 20), (Exit::Hypercall, blocks * 2 + 1));
    }
    assert_eq!(rig.cpu.gpr(3), 40 * blocks);
    assert!(rig.shared.stats().resets > 1);
}

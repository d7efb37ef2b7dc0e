//! Random programs for the x86-64 front end, on both tiers.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Counter, RAM, Random};
use crate::engine::{Engine, Shared};
use crate::x86_64::cpuid::Model;
use crate::x86_64::segment::{DescriptorTable, Segment};
use crate::x86_64::{Cpu, Exit, InitialState};

const GDT: u64 = 0x800;
const IDT: u64 = 0x1000;
const HANDLERS: u64 = 0x2000;
const TABLES: u64 = 0x3000;
const CODE: u64 = 0x8000;
const STACK: u64 = 0x4_0000;

struct Rig {
    ram: GuestMemoryMmap,
    shared: Shared,
    cpu: Cpu,
    bus: Counter,
    start: InitialState,
}

impl Rig {
    /// In 64-bit mode with the first 2 MiB mapped to themselves, or in protected mode without paging. Every exception ends at a HLT.
    fn new(engine: Engine, long: bool) -> Rig {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
        let mut shared = Shared::new(&ram);
        shared.code.set_engine(engine);
        let put = |at: u64, v: u64| ram.write_obj(v, GuestAddress(at)).unwrap();
        put(
            GDT + 8,
            if long {
                0x00af_9b00_0000_ffff
            } else {
                0x00cf_9b00_0000_ffff
            },
        );
        put(GDT + 16, 0x00cf_9300_0000_ffff);
        put(TABLES, (TABLES + 0x1000) | 3);
        put(TABLES + 0x1000, (TABLES + 0x2000) | 3);
        put(TABLES + 0x2000, 0x83);
        ram.write_slice(&[0xf4], GuestAddress(HANDLERS)).unwrap();
        let size = if long { 16 } else { 8 };
        for n in 0..256 {
            put(IDT + n * size, HANDLERS & 0xffff | 8 << 16 | 0x8e << 40);
        }
        let flat = |selector, attributes| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            attributes,
        };
        let data = flat(16, 0xc093);
        let mut segments = [data; 6];
        segments[1] = flat(8, if long { 0xa09b } else { 0xc09b });
        let start = InitialState {
            rip: CODE,
            cr0: if long { 0x8000_0033 } else { 0x33 },
            cr3: TABLES,
            cr4: 0x620,
            efer: if long { 0x500 } else { 0 },
            segments,
            gdtr: DescriptorTable {
                base: GDT,
                limit: 23,
            },
            idtr: DescriptorTable {
                base: IDT,
                limit: 0xfff,
            },
            ..InitialState::default()
        };
        Rig {
            ram,
            shared,
            cpu: Cpu::new(0, Model::default()),
            bus: Counter::default(),
            start,
        }
    }

    fn run(&mut self, now: u64, max: u64) -> (Exit, u64) {
        let run = self.cpu.run(&mut self.shared, &mut self.bus, now, max);
        (run.exit, run.executed)
    }

    fn begin(&mut self, gpr: [u64; 16], flags: u64) {
        let start = InitialState {
            gpr,
            rflags: flags,
            ..self.start.clone()
        };
        self.cpu.load(&start);
    }

    /// Everything that a guest can see.
    fn state(&mut self) -> (Vec<u64>, Vec<u8>) {
        let mut regs: Vec<u64> = (0..16).map(|n| self.cpu.gpr(n)).collect();
        let cr2 = self.cpu.control_register(2);
        regs.extend([self.cpu.rip(), self.cpu.rflags(), cr2, self.bus.0]);
        regs.extend_from_slice(&self.cpu.core.regs[64..96]);
        let mut memory = vec![0; RAM as usize];
        self.ram.read_slice(&mut memory, GuestAddress(0)).unwrap();
        (regs, memory)
    }
}

/// Bytes of instructions, without their prefixes: how many opcode bytes, and what follows.
#[derive(Clone, Copy)]
enum Form {
    /// An opcode alone.
    Plain(&'static [u8]),
    /// With ModRM.
    ModRm(&'static [u8]),
    /// With ModRM and a byte.
    ModRmByte(&'static [u8]),
    /// With ModRM and an immediate of the operand size.
    ModRmImm(&'static [u8]),
    /// With an immediate byte, or one of the operand size.
    Byte(&'static [u8]),
    Imm(&'static [u8]),
}

use Form::*;

/// What programs consist of, the more often named the more frequent.
const COMMON: &[Form] = &[
    ModRm(&[0x01]),
    ModRm(&[0x03]),
    ModRm(&[0x29]),
    ModRm(&[0x2b]),
    ModRm(&[0x31]),
    ModRm(&[0x21]),
    ModRm(&[0x09]),
    ModRm(&[0x39]),
    ModRm(&[0x3b]),
    ModRm(&[0x38]),
    ModRm(&[0x00]),
    ModRm(&[0x28]),
    ModRm(&[0x85]),
    ModRm(&[0x84]),
    ModRm(&[0x89]),
    ModRm(&[0x8b]),
    ModRm(&[0x88]),
    ModRm(&[0x8a]),
    ModRm(&[0x8d]),
    ModRm(&[0x63]),
    ModRmByte(&[0x83]),
    ModRmByte(&[0x83]),
    ModRmByte(&[0x80]),
    ModRmImm(&[0x81]),
    ModRmImm(&[0xc7]),
    ModRmByte(&[0xc6]),
    ModRmByte(&[0xc1]),
    ModRmByte(&[0xc0]),
    ModRm(&[0xd1]),
    ModRm(&[0xd3]),
    ModRm(&[0xfe]),
    ModRm(&[0x11]),
    ModRm(&[0x13]),
    ModRm(&[0x19]),
    ModRm(&[0x1b]),
    Byte(&[0xa8]),
    Imm(&[0x05]),
    Imm(&[0x3d]),
    Imm(&[0xb8]),
    Imm(&[0xba]),
    Plain(&[0x50]),
    Plain(&[0x53]),
    Plain(&[0x58]),
    Plain(&[0x5e]),
    Plain(&[0x98]),
    Plain(&[0x99]),
    ModRm(&[0x0f, 0xb6]),
    ModRm(&[0x0f, 0xb7]),
    ModRm(&[0x0f, 0xbe]),
    ModRm(&[0x0f, 0xaf]),
    ModRm(&[0x0f, 0x44]),
    ModRm(&[0x0f, 0x42]),
    ModRm(&[0x0f, 0x4f]),
    ModRm(&[0x0f, 0x94]),
    ModRm(&[0x0f, 0x9c]),
    ModRm(&[0x0f, 0x97]),
];

const RARE: &[Form] = &[
    ModRm(&[0x86]),
    ModRm(&[0x87]),
    ModRm(&[0xf7]),
    ModRm(&[0xf6]),
    ModRm(&[0xff]),
    ModRm(&[0xd0]),
    ModRm(&[0xd2]),
    ModRm(&[0x10]),
    ModRm(&[0x1a]),
    ModRmImm(&[0x69]),
    ModRmByte(&[0x6b]),
    Byte(&[0x6a]),
    Imm(&[0x68]),
    Plain(&[0x9c]),
    Plain(&[0x9d]),
    Plain(&[0x9e]),
    Plain(&[0x9f]),
    Plain(&[0xf5]),
    Plain(&[0xf8]),
    Plain(&[0xf9]),
    Plain(&[0xfc]),
    Plain(&[0xa4]),
    Plain(&[0xaa]),
    Plain(&[0xab]),
    Plain(&[0xa6]),
    Plain(&[0xc9]),
    Plain(&[0xd7]),
    Plain(&[0x0f, 0x31]),
    Plain(&[0x0f, 0xa2]),
    Plain(&[0x0f, 0xc9]),
    ModRm(&[0x0f, 0xa3]),
    ModRm(&[0x0f, 0xab]),
    ModRm(&[0x0f, 0xb3]),
    ModRm(&[0x0f, 0xbb]),
    ModRmByte(&[0x0f, 0xba]),
    ModRmByte(&[0x0f, 0xa4]),
    ModRm(&[0x0f, 0xa5]),
    ModRmByte(&[0x0f, 0xac]),
    ModRm(&[0x0f, 0xad]),
    ModRm(&[0x0f, 0xbc]),
    ModRm(&[0x0f, 0xbd]),
    ModRm(&[0x0f, 0xb0]),
    ModRm(&[0x0f, 0xb1]),
    ModRm(&[0x0f, 0xc0]),
    ModRm(&[0x0f, 0xc1]),
    ModRm(&[0x0f, 0xc7]),
    ModRm(&[0x0f, 0x90]),
    ModRm(&[0x0f, 0x9a]),
    ModRm(&[0x0f, 0x40]),
    ModRm(&[0x0f, 0x4a]),
    ModRm(&[0x0f, 0x10]),
    ModRm(&[0x0f, 0x11]),
    ModRm(&[0x0f, 0x28]),
    ModRm(&[0x0f, 0x29]),
    ModRm(&[0x0f, 0x6f]),
    ModRm(&[0x0f, 0x7f]),
    ModRm(&[0x0f, 0x6e]),
    ModRm(&[0x0f, 0x7e]),
    ModRm(&[0x0f, 0xd6]),
    ModRm(&[0x0f, 0xef]),
    ModRm(&[0x0f, 0xeb]),
    ModRm(&[0x0f, 0xdb]),
    ModRm(&[0x0f, 0x74]),
    ModRm(&[0x0f, 0xd7]),
    ModRm(&[0x0f, 0xfe]),
    ModRm(&[0x0f, 0xd4]),
    ModRm(&[0x0f, 0x6c]),
    ModRmByte(&[0x0f, 0x70]),
    ModRm(&[0x0f, 0x57]),
    ModRm(&[0x0f, 0x58]),
    ModRm(&[0x0f, 0x59]),
    ModRm(&[0x0f, 0x2a]),
    ModRm(&[0x0f, 0x2e]),
    ModRm(&[0x0f, 0x16]),
    ModRm(&[0x0f, 0x12]),
];

/// The low bits of registers that hold pointers into RAM, and so are seldom written to: RBX, RSI, R11, R14, and the stack pointer.
fn is_pointer(low: u8) -> bool {
    matches!(low & 7, 3 | 4 | 6)
}

fn mod_rm(random: &mut Random, out: &mut Vec<u8>) {
    let bits = random.next();
    let mode = [0, 1, 1, 2, 3, 3, 3, 3][bits as usize & 7] as u8;
    let (mut reg, mut rm) = ((bits >> 16) as u8 & 7, (bits >> 8) as u8 & 7);
    if bits >> 20 & 31 != 0 {
        if is_pointer(reg) {
            reg = 0;
        }
        rm = match mode {
            3 if is_pointer(rm) => 1,
            3 => rm,
            _ => [3, 6, 4][usize::from(rm) % 3],
        };
    }
    out.push(mode << 6 | reg << 3 | rm);
    if mode != 3 && rm == 4 {
        // A pointer, with nothing or with an index.
        let index = if bits >> 26 & 7 == 0 { 0x08 } else { 0x20 };
        out.push((bits >> 30) as u8 & 0xc0 | index | (3 + ((bits >> 25) as u8 & 1)));
    }
    if mode == 2 || mode == 0 && rm == 5 {
        out.extend(((bits >> 32) as u32 & 0x1fff).to_le_bytes());
    } else if mode == 1 {
        out.push((bits >> 32) as u8);
    }
}

/// An instruction that is no branch.
fn instruction(random: &mut Random, long: bool) -> Vec<u8> {
    loop {
        let bytes = bytes(random, long);
        let bits = if long { 64 } else { 32 };
        let i = Decoder::with_ip(bits, &bytes, CODE, DecoderOptions::NONE).decode();
        if i.len() == bytes.len() && i.flow_control() == FlowControl::Next {
            return bytes;
        }
    }
}

fn bytes(random: &mut Random, long: bool) -> Vec<u8> {
    let bits = random.next();
    let form = match bits & 3 {
        0 => RARE[(bits >> 8) as usize % RARE.len()],
        _ => COMMON[(bits >> 8) as usize % COMMON.len()],
    };
    let mut out = Vec::new();
    let short = bits >> 32 & 7 == 0;
    if short {
        out.push(0x66);
    }
    match bits >> 36 & 15 {
        0 => out.push(0xf3),
        1 => out.push(0xf2),
        2 if long => out.push(0x67),
        _ => {}
    }
    if long && bits >> 40 & 3 != 0 {
        let rex = 0x40 | (bits >> 44) as u8 & 15;
        // Values of 64 bits are the more frequent.
        out.push(rex | if bits >> 48 & 1 != 0 { 8 } else { 0 });
    }
    let wide = out.last().is_some_and(|rex| long && rex & 0xf8 == 0x48);
    let mut imm = |out: &mut Vec<u8>, full: bool| {
        let bytes = random.value().to_le_bytes();
        let len = match (full && wide, short) {
            (true, _) => 8,
            (_, true) if !wide => 2,
            _ => 4,
        };
        out.extend(&bytes[..len]);
    };
    match form {
        Plain(op) => out.extend(op),
        Byte(op) => {
            out.extend(op);
            imm(&mut out, false);
            out.truncate(out.len() - if short && !wide { 1 } else { 3 });
        }
        Imm(op) => {
            out.extend(op);
            imm(&mut out, op[0] & 0xf0 == 0xb0);
        }
        ModRm(op) | ModRmByte(op) | ModRmImm(op) => {
            out.extend(op);
            mod_rm(random, &mut out);
            match form {
                ModRmByte(_) => out.push(random.next() as u8),
                ModRmImm(_) => {
                    let bytes = random.value().to_le_bytes();
                    out.extend(&bytes[..if short && !wide { 2 } else { 4 }]);
                }
                _ => {}
            }
        }
    }
    out
}

/// A program of `len` instructions; a fifth of them are branches to others. A HLT is behind it.
fn program(random: &mut Random, len: usize, long: bool) -> Vec<u8> {
    let mut code: Vec<(Vec<u8>, Option<usize>)> = (0..len)
        .map(|_| {
            let bits = random.next();
            let to = Some((bits >> 16) as usize % (len + 1));
            match bits % 30 {
                0..4 => (vec![0x0f, 0x80 | (bits >> 8) as u8 & 15, 0, 0, 0, 0], to),
                4 => (vec![0xe9, 0, 0, 0, 0], to),
                5 => (vec![0xe8, 0, 0, 0, 0], to),
                6 if bits >> 8 & 3 == 0 => (vec![0xc3], None),
                _ => (instruction(random, long), None),
            }
        })
        .collect();
    code.push((vec![0xf4], None));
    let mut starts = vec![0];
    for (bytes, _) in &code {
        starts.push(starts[starts.len() - 1] + bytes.len());
    }
    let mut out = Vec::new();
    for (n, (mut bytes, to)) in code.into_iter().enumerate() {
        if let Some(to) = to {
            let displacement = (starts[to] as u32).wrapping_sub(starts[n + 1] as u32);
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&displacement.to_le_bytes());
        }
        out.extend(bytes);
    }
    out
}

/// Values to begin with.
fn registers(random: &mut Random) -> [u64; 16] {
    let mut gpr: [u64; 16] = std::array::from_fn(|_| random.value());
    for n in [3, 6, 7, 11, 14] {
        // Not over the tables and the program.
        gpr[n] = 2 * CODE + random.next() % (RAM - 3 * CODE);
    }
    if random.next().is_multiple_of(8) {
        // A device.
        gpr[6] = RAM;
    }
    gpr[1] %= 100;
    gpr[4] = STACK;
    gpr
}

/// Runs a program on the interpreter and compiled; `step` instructions at a time.
fn compare(seed: u64, len: usize, long: bool, step: u64) {
    let mut random = Random(seed | 1);
    let mut a = Rig::new(Engine::Interpreter, long);
    let mut b = Rig::new(Engine::Compiled, long);
    let code = program(&mut random, len, long);
    for r in [&mut a, &mut b] {
        r.ram.write_slice(&code, GuestAddress(CODE)).unwrap();
    }
    for round in 0..4 {
        let gpr = registers(&mut random);
        let flags = random.next() & 0x8d5;
        a.begin(gpr, flags);
        b.begin(gpr, flags);
        let mut now = 0;
        while now < 3000 {
            let (x, y) = (a.run(now, step), b.run(now, step));
            assert_eq!(x, y, "seed {seed:#x}, round {round}, at {now}: {code:02x?}");
            now += x.1.max(1);
            if x.0 != Exit::Budget {
                break;
            }
        }
        let (x, y) = (a.state(), b.state());
        assert_eq!(x.0, y.0, "seed {seed:#x}, round {round}: {code:02x?}");
        assert!(x.1 == y.1, "memory, seed {seed:#x}, round {round}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn programs_do_the_same_on_both_tiers(
        seed: u64, len in 4_usize..150, long: bool, step in prop::sample::select(vec![1, 3, 17, 100, 5000])
    ) {
        compare(seed, len, long, step);
    }
}

/// Each block of random programs on both tiers.
#[test]
fn blocks_of_programs_do_the_same_on_both_tiers() {
    let mut verified = 0;
    for n in 0..400_u64 {
        let long = n % 4 != 0;
        let mut random = Random(0x1234_5678_9abc_def1 ^ n << 20);
        let mut rig = Rig::new(Engine::Verify, long);
        let code = program(&mut random, 60, long);
        rig.ram.write_slice(&code, GuestAddress(CODE)).unwrap();
        for _ in 0..4 {
            let gpr = registers(&mut random);
            rig.begin(gpr, random.next() & 0x8d5);
            for _ in 0..20 {
                match rig.run(0, 100) {
                    (Exit::Fatal(what), _) => panic!("program {n}: {what}"),
                    (Exit::Budget, _) => {}
                    _ => break,
                }
            }
        }
        verified += rig.shared.stats().blocks_verified;
    }
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        assert!(verified > 5000, "{verified} blocks were compared");
    }
}

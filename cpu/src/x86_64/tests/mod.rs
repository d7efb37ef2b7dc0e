//! The system part as programs see it. Every handler of the IDT is one HLT, so that a program that faults ends at the handler of its vector,
//! and the frame lies on the stack.

/// Assembles instructions one after another: `asm!(a: nop(), mov(rax, rbx))`.
macro_rules! asm {
    ($a:ident: $($m:ident($($arg:expr),*)),* $(,)?) => {{
        $( $a.$m($($arg),*).unwrap(); )*
    }};
}

mod coverage;
mod delivery;
mod modes;
mod paging;
mod registers;
mod segments;
mod user;

use std::collections::{BTreeMap, VecDeque};

use iced_x86::code_asm::CodeAssembler;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::segment::{DescriptorTable, Segment, SegmentRegister};
use super::*;
use crate::bus::BusError;
use crate::engine::Engine;

/// Writes a part of a program.
type Write = fn(&mut CodeAssembler);
/// Vector and error code.
type Found = (u8, u64);

const RAM: u64 = 4 << 20;
const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
/// Handler of vector `n`: at this plus 16 `n`.
const HANDLERS: u64 = 0x8000;
const STACK: u64 = 0x6000;
/// Stack of CPL 0 for what comes from outside.
const STACK0: u64 = 0x7000;
/// First stack of the interrupt stack table.
const IST1: u64 = 0x7800;
const CODE: u64 = 0x1_0000;
/// The user's pages: code, data, stack.
const USER: u64 = 0x2_0000;
const USER_DATA: u64 = 0x2_8000;
const USER_STACK: u64 = 0x2_f000;
/// From here on no page is mapped.
const UNMAPPED: u64 = 0x10_0000;
const TABLES: u64 = 0x20_0000;

const CODE64: u16 = 0x08;
const DATA: u16 = 0x10;
const CODE32: u16 = 0x18;
const USER32: u16 = 0x23;
const USER_SS: u16 = 0x2b;
const USER64: u16 = 0x33;
const TSS64: u16 = 0x38;
/// First selector that tests may define.
const FREE: u16 = 0x50;

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;

/// Ports and a local APIC that remember.
#[derive(Default)]
struct Board {
    outs: Vec<(u16, Vec<u8>)>,
    ins: VecDeque<u8>,
    interrupt: Option<u8>,
    priority: u8,
    msrs: BTreeMap<u32, u64>,
}

impl Bus for Board {
    fn mmio_read(&mut self, _: u64, _: &mut [u8]) -> Result<(), BusError> {
        Err(BusError)
    }
    fn mmio_write(&mut self, _: u64, _: &[u8]) -> Result<(), BusError> {
        Err(BusError)
    }
    fn watch_code(&mut self, _: u64) {}
    fn port_read(&mut self, _: u16, data: &mut [u8]) {
        for b in data {
            *b = self.ins.pop_front().unwrap_or(0xff);
        }
    }
    fn port_write(&mut self, port: u16, data: &[u8]) {
        self.outs.push((port, data.to_vec()));
    }
    fn msr_read(&mut self, msr: u32) -> Option<u64> {
        self.msrs.get(&msr).copied()
    }
    fn msr_write(&mut self, msr: u32, value: u64) -> Option<()> {
        self.msrs.insert(msr, value).map(|_| ())
    }
    fn task_priority(&mut self) -> u8 {
        self.priority
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.priority = priority;
    }
    fn interrupt_waits(&mut self) -> bool {
        self.interrupt.is_some()
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        self.interrupt.take()
    }
}

struct Rig {
    ram: GuestMemoryMmap,
    shared: Shared,
    cpu: Cpu,
    bus: Board,
    next_table: u64,
}

impl Rig {
    /// A CPU after a reset.
    fn reset(model: Model) -> Rig {
        let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
        let mut shared = Shared::new(&ram);
        shared.code.set_engine(Engine::Interpreter);
        Rig {
            ram,
            shared,
            cpu: Cpu::new(0, model),
            bus: Board::default(),
            next_table: TABLES + 0x1000,
        }
    }

    /// In 64-bit mode at CPL 0, at [`CODE`], with tables; the first MiB is mapped to itself, the user's pages for the user too.
    fn long() -> Rig {
        let mut rig = Rig::reset(Model::default());
        for page in (0..UNMAPPED).step_by(4096) {
            let user = if (USER..USER + 0x1_0000).contains(&page) {
                U
            } else {
                0
            };
            rig.map(page, page | P | W | user);
        }
        rig.write_tables();
        let flat = |selector, attributes| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            attributes,
        };
        let data = flat(DATA, 0xc093);
        let mut gpr = [0; 16];
        gpr[4] = STACK;
        rig.cpu.load(&InitialState {
            gpr,
            rip: CODE,
            rflags: 0,
            cr0: CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_MP,
            cr3: TABLES,
            cr4: CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT,
            efer: EFER_LME | EFER_NXE | EFER_SCE,
            segments: [data, flat(CODE64, 0xa09b), data, data, data, data],
            tr: Segment {
                selector: TSS64,
                base: TSS,
                limit: 0x67,
                attributes: 0x8b,
            },
            gdtr: DescriptorTable {
                base: GDT,
                limit: 0xff,
            },
            idtr: DescriptorTable {
                base: IDT,
                limit: 0xfff,
            },
        });
        rig
    }

    fn write_tables(&mut self) {
        let gdt = [
            0,
            0x00af_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_9b00_0000_ffff,
            0x00cf_fb00_0000_ffff,
            0x00cf_f300_0000_ffff,
            0x00af_fb00_0000_ffff,
            0x0000_8b00_3000_0067,
            0,
        ];
        for (i, d) in gdt.into_iter().enumerate() {
            self.put64(GDT + 8 * i as u64, d);
        }
        for n in 0..=255 {
            self.gate(n, CODE64, 0, 0x8e, HANDLERS + 16 * u64::from(n));
            self.put(HANDLERS + 16 * u64::from(n), &[0xf4]);
        }
        self.put64(TSS + 4, STACK0);
        self.put64(TSS + 36, IST1);
        // No bitmap of ports.
        self.put16(TSS + 102, 0x68);
    }

    /// Writes a gate of the 64-bit IDT; `kind` is P, DPL and type.
    fn gate(&mut self, n: u8, selector: u16, ist: u64, kind: u64, offset: u64) {
        let at = IDT + 16 * u64::from(n);
        let low = offset & 0xffff
            | u64::from(selector) << 16
            | ist << 32
            | kind << 40
            | (offset & 0xffff_0000) << 32;
        self.put64(at, low);
        self.put64(at + 8, offset >> 32);
    }

    /// Maps the page at `linear` with a leaf entry, in tables that allow everything.
    fn map(&mut self, linear: u64, leaf: u64) {
        let at = self.entry(linear, 1);
        self.put64(at, leaf);
    }

    /// Address of the entry for `linear` in the table of a level; tables on the way are made.
    fn entry(&mut self, linear: u64, level: u32) -> u64 {
        let mut table = TABLES;
        for l in (level..=4).rev() {
            let at = table + (linear >> (12 + 9 * (l - 1)) & 0x1ff) * 8;
            if l == level {
                return at;
            }
            if self.get64(at) & P == 0 {
                let new = self.next_table;
                self.next_table += 0x1000;
                self.put64(at, new | P | W | U);
            }
            table = self.get64(at) & 0xf_ffff_f000;
        }
        table
    }

    fn put(&mut self, gpa: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(gpa)).unwrap();
        self.shared.invalidate_page(gpa);
    }
    fn put64(&mut self, gpa: u64, value: u64) {
        self.put(gpa, &value.to_le_bytes());
    }
    fn put32(&mut self, gpa: u64, value: u32) {
        self.put(gpa, &value.to_le_bytes());
    }
    fn put16(&mut self, gpa: u64, value: u16) {
        self.put(gpa, &value.to_le_bytes());
    }
    fn get64(&self, gpa: u64) -> u64 {
        self.ram.read_obj(GuestAddress(gpa)).unwrap()
    }
    fn get32(&self, gpa: u64) -> u32 {
        self.ram.read_obj(GuestAddress(gpa)).unwrap()
    }
    fn get16(&self, gpa: u64) -> u16 {
        self.ram.read_obj(GuestAddress(gpa)).unwrap()
    }

    /// Assembles code for `bits` to run at `at`, and puts it to the same physical address.
    fn program(&mut self, at: u64, bits: u32, write: impl FnOnce(&mut CodeAssembler)) -> u64 {
        let mut a = CodeAssembler::new(bits).unwrap();
        write(&mut a);
        let code = a.assemble(at).unwrap();
        self.put(at, &code);
        at + code.len() as u64
    }

    /// Runs until the CPU halts; at most 10,000 instructions.
    fn halt(&mut self) {
        for _ in 0..10_000 {
            let run = self.cpu.run(&mut self.shared, &mut self.bus, 0, 10_000);
            match run.exit {
                Exit::Budget => {}
                Exit::Halt => return,
                exit => panic!("{exit:?} at {:#x}", self.cpu.rip()),
            }
        }
        panic!("still running at {:#x}", self.cpu.rip());
    }

    /// Runs a program at CPL 0 until it halts.
    fn run(&mut self, write: impl FnOnce(&mut CodeAssembler)) {
        self.program(CODE, 64, write);
        self.cpu.activity = Activity::Active;
        self.cpu.set_rip(CODE);
        self.halt();
    }

    /// Runs a program at CPL 3, entered by IRETQ with interrupts enabled by `flags`.
    fn run_user(&mut self, flags: u64, write: impl FnOnce(&mut CodeAssembler)) {
        self.program(USER, 64, write);
        self.run(|a| enter_user(a, USER64, flags));
    }

    /// Runs a program at CPL 3 that ends with an exception which has an error code.
    fn user_fault(&mut self, write: impl FnOnce(&mut CodeAssembler)) -> (u8, u64) {
        self.run_user(0, write);
        (self.vector(), self.frame(true).error.unwrap_or(0))
    }

    /// The vector at whose handler the CPU has halted.
    fn vector(&self) -> u8 {
        let at = self.cpu.rip().wrapping_sub(HANDLERS);
        assert!(
            at < 0x1000 && at % 16 == 1,
            "halted at {:#x}",
            self.cpu.rip()
        );
        (at / 16) as u8
    }

    /// The frame that a handler of 64-bit mode found.
    fn frame(&self, has_error: bool) -> Frame {
        let mut at = self.cpu.gpr(4);
        let error = has_error.then(|| self.get64(at));
        if has_error {
            at += 8;
        }
        let word = |i: u64| self.get64(at + 8 * i);
        Frame {
            error,
            rip: word(0),
            cs: word(1),
            flags: word(2),
            rsp: word(3),
            ss: word(4),
        }
    }

    /// Runs a program that ends with an exception which has an error code: vector and code.
    fn fault(&mut self, write: impl FnOnce(&mut CodeAssembler)) -> (u8, u64) {
        self.run(write);
        (self.vector(), self.frame(true).error.unwrap_or(0))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    error: Option<u64>,
    rip: u64,
    cs: u64,
    flags: u64,
    rsp: u64,
    ss: u64,
}

/// IRETQ to the user's code in a code segment.
fn enter_user(a: &mut CodeAssembler, cs: u16, flags: u64) {
    asm!(a:
        push(i32::from(USER_SS)),
        push(USER_STACK as i32),
        push(flags as i32),
        push(i32::from(cs)),
        push(USER as i32),
        iretq(),
    );
}

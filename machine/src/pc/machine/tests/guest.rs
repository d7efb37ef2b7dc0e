//! Guests of a few instructions.

use iced_x86::code_asm::*;

use crate::pc::PcConfig;

/// Where programs are linked.
pub const BASE: u64 = 0x10_0000;
/// Interrupt descriptor table.
pub const IDT: u64 = 0x20_0000;
/// Free for data, as all that follows.
pub const DATA: u64 = 0x21_0000;
/// Registers of the local APIC.
pub const APIC: u64 = 0xfee0_0000;

/// A program in 64-bit mode, at its start with interrupts off. RAX, RBX and RDX are changed by every step.
pub struct Guest {
    /// For what has no method here.
    pub a: CodeAssembler,
}

impl Guest {
    /// Nothing yet.
    pub fn new() -> Guest {
        Guest {
            a: CodeAssembler::new(64).unwrap(),
        }
    }

    /// A byte to a port.
    pub fn out(&mut self, port: u16, value: u8) {
        self.a.mov(edx, u32::from(port)).unwrap();
        self.a.mov(eax, u32::from(value)).unwrap();
        self.a.out(dx, al).unwrap();
    }

    /// A text to the serial port.
    pub fn say(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.out(0x3f8, byte));
    }

    /// The end of the run.
    pub fn exit(&mut self, value: u8) {
        self.out(0xf4, value);
    }

    /// 4 bytes to an address.
    pub fn store(&mut self, at: u64, value: u32) {
        self.a.mov(rbx, at).unwrap();
        self.a.mov(dword_ptr(rbx), value as i32).unwrap();
    }

    /// 8 bytes to an address.
    pub fn store_quad(&mut self, at: u64, value: u64) {
        self.a.mov(rax, value).unwrap();
        self.a.mov(rbx, at).unwrap();
        self.a.mov(qword_ptr(rbx), rax).unwrap();
    }

    /// Loads 4 bytes into EAX.
    pub fn load(&mut self, at: u64) {
        self.a.mov(rbx, at).unwrap();
        self.a.mov(eax, dword_ptr(rbx)).unwrap();
    }

    /// Exits with this value unless EAX has that one.
    pub fn expect(&mut self, value: u32, otherwise: u8) {
        let mut right = self.a.create_label();
        self.a.cmp(eax, value as i32).unwrap();
        self.a.je(right).unwrap();
        self.exit(otherwise);
        self.a.set_label(&mut right).unwrap();
        self.a.nop().unwrap();
    }

    /// Writes a model-specific register.
    pub fn wrmsr(&mut self, msr: u32, value: u64) {
        self.a.mov(ecx, msr).unwrap();
        self.a.mov(eax, value as u32).unwrap();
        self.a.mov(edx, (value >> 32) as u32).unwrap();
        self.a.wrmsr().unwrap();
    }

    /// The table of interrupts, with the handler of one vector at a label.
    pub fn handler(&mut self, vector: u8, at: CodeLabel) {
        let entry = IDT + 16 * u64::from(vector);
        let a = &mut self.a;
        a.lea(rax, ptr(at)).unwrap();
        a.mov(rbx, entry).unwrap();
        a.mov(word_ptr(rbx), ax).unwrap();
        a.mov(dword_ptr(rbx + 2), 0x8e00_0010_u32 as i32).unwrap();
        a.shr(rax, 16).unwrap();
        a.mov(word_ptr(rbx + 6), ax).unwrap();
        a.shr(rax, 16).unwrap();
        a.mov(qword_ptr(rbx + 8), rax).unwrap();
        a.mov(rax, IDT << 16 | 0xfff).unwrap();
        a.mov(rbx, DATA).unwrap();
        a.mov(qword_ptr(rbx), rax).unwrap();
        a.mov(qword_ptr(rbx + 8), 0).unwrap();
        a.lidt(ptr(rbx)).unwrap();
    }

    /// The local APIC takes interrupts.
    pub fn enable_apic(&mut self) {
        self.store(APIC + 0xf0, 0x1ff);
    }

    /// The end of an interrupt.
    pub fn eoi(&mut self) {
        self.store(APIC + 0xb0, 0);
    }

    /// A redirection entry of the I/O APIC.
    pub fn pin(&mut self, pin: u32, entry: u64) {
        for (register, half) in [(0x11, entry >> 32), (0x10, entry)] {
            self.store(0xfec0_0000, register + 2 * pin);
            self.store(0xfec0_0010, half as u32);
        }
    }

    /// Waits with interrupts on until R15 has a value, then exits in good order.
    pub fn wait_for(&mut self, count: u32) {
        let mut again = self.a.create_label();
        self.a.sti().unwrap();
        self.a.set_label(&mut again).unwrap();
        self.a.hlt().unwrap();
        self.a.cmp(r15, count as i32).unwrap();
        self.a.jl(again).unwrap();
        self.exit(0);
    }

    /// The handler of an interrupt at a label: counts in R15.
    pub fn count(&mut self, label: &mut CodeLabel) {
        self.a.set_label(label).unwrap();
        self.a.inc(r15).unwrap();
        self.eoi();
        self.a.iretq().unwrap();
    }

    /// The code.
    pub fn code(mut self) -> Vec<u8> {
        self.a.assemble(BASE).unwrap()
    }

    /// A machine of 64 MiB with this guest.
    pub fn config(self) -> PcConfig {
        config(&self.code())
    }
}

/// A machine of 64 MiB with this code.
pub fn config(code: &[u8]) -> PcConfig {
    PcConfig {
        memory: 64 << 20,
        kernel: Some(elf(code)),
        max_instructions: Some(10_000_000),
        ..PcConfig::default()
    }
}

/// An ELF64 file of one segment with `code`, entered at its start in 64-bit mode.
fn elf(code: &[u8]) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    let size = code.len() as u64;
    let mut put = |values: &[(u64, usize)]| {
        for (value, bytes) in values {
            out.extend(&value.to_le_bytes()[..*bytes]);
        }
    };
    // Header: executable, x86-64, version, entry, program headers at 64, no sections.
    put(&[(2, 2), (62, 2), (1, 4), (BASE, 8), (64, 8), (0, 8), (0, 4)]);
    put(&[(64, 2), (56, 2), (1, 2), (0, 2), (0, 2), (0, 2)]);
    // One segment, all rights.
    put(&[(1, 4), (7, 4), (120, 8), (BASE, 8), (BASE, 8)]);
    put(&[(size, 8), (size, 8), (0x1000, 8)]);
    out.extend(code);
    out
}

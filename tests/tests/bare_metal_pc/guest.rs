//! A bare-metal guest in the making: 64-bit code without loops of its own that stores, waits, starts DMA of the edu device, and prints what
//! it finds, a line for each value. Every address is physical; the first 4 GiB are mapped to themselves.

use iced_x86::code_asm::*;
use viommu::pc::map;

use super::outcome::Outcome;

/// Where the code lies and starts.
const CODE: u64 = 0x10_0000;
/// Looks at a register before a guest gives up.
const PATIENCE: u32 = 100_000;
/// Port of the emulator's exit, and what makes it a failure.
const EXIT: (u32, u32) = (0xf4, 0x10);
const COM1: u32 = map::COM1 as u32;

/// The edu device's configuration space: slot 1 of bus 0.
pub const EDU_SOURCE: u16 = 1 << 3;
const EDU_CONFIG: u64 = map::ECAM + ((EDU_SOURCE as u64) << 12);
/// Extended capabilities of the edu device.
pub const PASID_CAPABILITY: u64 = 0x100;
/// See [`PASID_CAPABILITY`].
pub const ATS_CAPABILITY: u64 = 0x108;
/// See [`PASID_CAPABILITY`].
pub const PRI_CAPABILITY: u64 = 0x110;
/// The edu device's buffer, in its own addresses.
pub const BUFFER: u64 = 0x4_0000;

/// Bits of the edu device's DMA command.
pub mod command {
    pub const START: u64 = 1;
    pub const FROM_DEVICE: u64 = 2;
    pub const PASID: u64 = 8;
    pub const ATS: u64 = 0x10;
    pub const PRI: u64 = 0x20;
}

/// The guest.
pub struct Guest {
    pub asm: CodeAssembler,
    texts: Vec<(CodeLabel, String)>,
    put_text: CodeLabel,
    put_digits: CodeLabel,
    stuck: CodeLabel,
}

/// What assembling answers; labels and operands here are always right.
fn fine<T>(result: Result<T, iced_x86::IcedError>) -> T {
    result.expect("the guest can be assembled")
}

impl Guest {
    /// A guest that has found the device's registers, and made it a bus master.
    pub fn new() -> Guest {
        let mut asm = fine(CodeAssembler::new(64));
        let [put_text, put_digits, stuck] = [(); 3].map(|()| asm.create_label());
        let mut guest = Guest {
            asm,
            texts: Vec::new(),
            put_text,
            put_digits,
            stuck,
        };
        let a = &mut guest.asm;
        fine(a.mov(rbx, EDU_CONFIG));
        fine(a.mov(word_ptr(rbx + 4), 6));
        fine(a.mov(r12d, dword_ptr(rbx + 0x10)));
        fine(a.and(r12d, !15));
        guest
    }

    /// Stores 8 bytes.
    pub fn store(&mut self, at: u64, value: u64) {
        let a = &mut self.asm;
        fine(a.mov(rbx, at));
        fine(a.mov(rax, value));
        fine(a.mov(qword_ptr(rbx), rax));
    }

    /// Stores 4 bytes.
    pub fn store32(&mut self, at: u64, value: u32) {
        let a = &mut self.asm;
        fine(a.mov(rbx, at));
        fine(a.mov(dword_ptr(rbx), value));
    }

    /// Stores text, of 8 bytes at most.
    pub fn store_text(&mut self, at: u64, text: &str) {
        self.store(at, value_of(text));
    }

    /// Waits until some bits of 4 bytes have a value.
    pub fn wait32(&mut self, at: u64, mask: u32, value: u32) {
        let a = &mut self.asm;
        let (mut again, mut done) = (a.create_label(), a.create_label());
        fine(a.mov(rbx, at));
        fine(a.mov(ecx, PATIENCE));
        fine(a.set_label(&mut again));
        fine(a.mov(eax, dword_ptr(rbx)));
        fine(a.and(eax, mask));
        fine(a.cmp(eax, value));
        fine(a.je(done));
        fine(a.dec(ecx));
        fine(a.jnz(again));
        fine(a.jmp(self.stuck));
        fine(a.set_label(&mut done));
    }

    /// Prints 8 bytes as `name=` and 16 digits.
    pub fn show(&mut self, name: &str, at: u64) {
        self.say(&format!("{name}="));
        fine(self.asm.mov(rbx, at));
        fine(self.asm.mov(rdx, qword_ptr(rbx)));
        fine(self.asm.call(self.put_digits));
        self.say("\r\n");
    }

    /// Prints 4 bytes as `name=` and 16 digits.
    pub fn show32(&mut self, name: &str, at: u64) {
        self.say(&format!("{name}="));
        fine(self.asm.mov(rbx, at));
        fine(self.asm.mov(edx, dword_ptr(rbx)));
        fine(self.asm.call(self.put_digits));
        self.say("\r\n");
    }

    /// Prints text.
    pub fn say(&mut self, text: &str) {
        let known = self.texts.iter().find(|t| t.1 == text).map(|t| t.0);
        let label = known.unwrap_or_else(|| {
            let label = self.asm.create_label();
            self.texts.push((label, text.to_owned()));
            label
        });
        fine(self.asm.lea(rsi, ptr(label)));
        fine(self.asm.call(self.put_text));
    }

    /// Writes 2 bytes of the device's configuration space.
    pub fn configure16(&mut self, offset: u64, value: u32) {
        fine(self.asm.mov(rbx, EDU_CONFIG + offset));
        fine(self.asm.mov(word_ptr(rbx), value));
    }

    /// Writes 4 bytes of the device's configuration space.
    pub fn configure32(&mut self, offset: u64, value: u32) {
        self.store32(EDU_CONFIG + offset, value);
    }

    /// Prints 4 bytes of the device's configuration space.
    pub fn show_config(&mut self, name: &str, offset: u64) {
        self.show32(name, EDU_CONFIG + offset);
    }

    /// Sets the PASID of the device's register.
    pub fn choose_pasid(&mut self, pasid: u32) {
        self.device_store(0xb0, pasid.into());
    }

    /// The device writes bytes of its buffer to a bus address; prints what came of it.
    pub fn write(&mut self, name: &str, from: u64, to: u64, count: u64, command: u64) {
        self.dma(from, to, count, command | command::FROM_DEVICE);
        self.show_status(name);
    }

    /// The device reads a bus address into its buffer; prints what came of it.
    pub fn read(&mut self, name: &str, from: u64, to: u64, count: u64, command: u64) {
        self.dma(from, to, count, command);
        self.show_status(name);
    }

    /// Prints the status of the last DMA.
    pub fn show_status(&mut self, name: &str) {
        self.say(&format!("{name}="));
        fine(self.asm.mov(edx, dword_ptr(r12 + 0xa0)));
        fine(self.asm.call(self.put_digits));
        self.say("\r\n");
    }

    fn dma(&mut self, from: u64, to: u64, count: u64, command: u64) {
        self.device_store(0x80, from);
        self.device_store(0x88, to);
        self.device_store(0x90, count);
        self.device_store(0x98, command | command::START);
    }

    fn device_store(&mut self, offset: i32, value: u64) {
        fine(self.asm.mov(rax, value));
        fine(self.asm.mov(qword_ptr(r12 + offset), rax));
    }

    /// Ends the program by switching the machine off, runs it with these options, and demands that it gets there.
    pub fn run(mut self, options: &[&str]) -> Outcome {
        let a = &mut self.asm;
        // SLP_TYP, SLP_EN.
        fine(a.mov(dx, u32::from(map::PM1A_CONTROL)));
        fine(a.mov(eax, u32::from(map::SOFT_OFF) << 10 | 1 << 13));
        fine(a.out(dx, ax));
        fine(a.set_label(&mut self.stuck));
        let text = a.create_label();
        self.texts.push((text, "stuck\r\n".to_owned()));
        let a = &mut self.asm;
        fine(a.lea(rsi, ptr(text)));
        fine(a.call(self.put_text));
        fine(a.mov(dx, EXIT.0));
        fine(a.mov(eax, EXIT.1));
        fine(a.out(dx, eax));
        self.put_text();
        self.put_digits();
        for (mut label, text) in std::mem::take(&mut self.texts) {
            fine(self.asm.set_label(&mut label));
            fine(self.asm.db(text.as_bytes()));
            fine(self.asm.db(&[0]));
        }
        let code = fine(self.asm.assemble(CODE));
        Outcome::of(&elf(&code), options)
    }

    /// Subroutine: the text at RSI.
    fn put_text(&mut self) {
        let a = &mut self.asm;
        let mut done = a.create_label();
        fine(a.set_label(&mut self.put_text));
        fine(a.mov(al, byte_ptr(rsi)));
        fine(a.inc(rsi));
        fine(a.test(al, al));
        fine(a.jz(done));
        put_char(a);
        fine(a.jmp(self.put_text));
        fine(a.set_label(&mut done));
        fine(a.ret());
    }

    /// Subroutine: RDX as 16 digits.
    fn put_digits(&mut self) {
        let a = &mut self.asm;
        let (mut next, mut digit) = (a.create_label(), a.create_label());
        fine(a.set_label(&mut self.put_digits));
        fine(a.mov(rdi, rdx));
        fine(a.mov(ecx, 16));
        fine(a.set_label(&mut next));
        fine(a.rol(rdi, 4));
        fine(a.mov(eax, edi));
        fine(a.and(eax, 15));
        fine(a.add(eax, u32::from(b'0')));
        fine(a.cmp(eax, u32::from(b'9')));
        fine(a.jbe(digit));
        fine(a.add(eax, u32::from(b'a' - b'9' - 1)));
        fine(a.set_label(&mut digit));
        put_char(a);
        fine(a.dec(ecx));
        fine(a.jnz(next));
        fine(a.ret());
    }
}

/// The character in AL, once there is room for it. Changes RDX and R8.
fn put_char(a: &mut CodeAssembler) {
    let mut full = a.create_label();
    fine(a.mov(r8d, eax));
    fine(a.mov(dx, COM1 + 5));
    fine(a.set_label(&mut full));
    fine(a.in_(al, dx));
    fine(a.test(al, 0x20));
    fine(a.jz(full));
    fine(a.mov(dx, COM1));
    fine(a.mov(eax, r8d));
    fine(a.out(dx, al));
}

/// Text of 8 bytes at most as the number that it is in memory.
pub fn value_of(text: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    u64::from_le_bytes(bytes)
}

/// An ELF64 executable of one segment at [`CODE`], entered there.
fn elf(code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    out.resize(16, 0);
    let half = |out: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    };
    let word = |out: &mut Vec<u8>, values: &[u32]| {
        values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    };
    let double = |out: &mut Vec<u8>, values: &[u64]| {
        values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    };
    half(&mut out, &[2, 62]); // executable, x86-64
    word(&mut out, &[1]);
    double(&mut out, &[CODE, 64, 0]); // entry, program headers, no sections
    word(&mut out, &[0]);
    half(&mut out, &[64, 56, 1, 64, 0, 0]);
    word(&mut out, &[1, 7]); // load; readable, writable, executable
    let size = code.len() as u64;
    double(&mut out, &[HEADERS, CODE, CODE, size, size, 0x1000]);
    out.extend(code);
    out
}

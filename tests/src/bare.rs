//! Bare-metal guests of a few instructions, for tests of everything around a guest.

use viommu::selftest::asm::{Asm, Cond, Reg};
use viommu_devices::spapr::hcall;
use viommu_devices::spapr::rtas::RtasCall;
use viommu_devices::spapr::vty::VTY_UNIT;

/// RTAS argument block; a doubleword after it is free.
const ARGS: i16 = 0x6000;
/// A free address for data, below 32 KiB.
pub const DATA: u64 = 0x6200;

/// A guest in the making: big-endian, real mode. r3 to r13 are changed by every step, r14 to r31 by none.
pub struct Bare {
    /// For what has no method here.
    pub asm: Asm,
}

impl Default for Bare {
    fn default() -> Self {
        Bare { asm: Asm::new(0) }
    }
}

impl Bare {
    /// Prints a text by H_PUT_TERM_CHAR.
    pub fn say(&mut self, text: &str) {
        for part in text.as_bytes().chunks(16) {
            let mut chars = [0; 16];
            chars[..part.len()].copy_from_slice(part);
            let chars = u128::from_be_bytes(chars);
            self.hcall(
                hcall::H_PUT_TERM_CHAR,
                &[
                    VTY_UNIT,
                    part.len() as u64,
                    (chars >> 64) as u64,
                    chars as u64,
                ],
            );
        }
    }

    /// A hypercall; r3 has its status, r4 onwards what it returned.
    pub fn hcall(&mut self, number: u64, args: &[u64]) {
        for (register, arg) in (4..).zip(args) {
            self.asm.load(register, *arg);
        }
        self.asm.load(3, number);
        self.asm.sc1();
    }

    /// An RTAS call with room for the status only.
    pub fn rtas(&mut self, call: RtasCall, args: &[u32]) {
        let head = [call.token(), args.len() as u32, 1];
        self.asm.li(13, ARGS);
        for (at, cell) in (0..).step_by(4).zip(head.iter().chain(args)) {
            self.asm.load(12, u64::from(*cell));
            self.asm.stw(12, at, 13);
        }
        self.hcall(hcall::H_RTAS, &[ARGS as u64]);
    }

    /// Says `text` and powers off unless a register has this value.
    pub fn expect(&mut self, register: Reg, value: u64, text: &str) {
        let right = self.asm.label();
        self.asm.load(12, value);
        self.asm.cmpld(register, 12);
        self.asm.bc(Cond::Eq, right);
        self.say(text);
        self.power_off();
        self.asm.bind(right);
    }

    /// Switches the machine off.
    pub fn power_off(&mut self) {
        self.rtas(RtasCall::PowerOff, &[u32::MAX, u32::MAX]);
        self.for_ever();
    }

    /// Branches to itself.
    pub fn for_ever(&mut self) {
        let here = self.asm.here();
        self.asm.b(here);
    }

    /// The code.
    ///
    /// # Panics
    /// If it does not assemble.
    pub fn code(self) -> Vec<u8> {
        self.asm.finish().expect("it assembles")
    }

    /// A flat image for `--bios`: the code at 0x100.
    ///
    /// # Panics
    /// If it does not assemble.
    pub fn bios(self) -> Vec<u8> {
        let mut image = vec![0; 0x100];
        image.extend(self.code());
        image
    }

    /// An ELF file for `--kernel`, entered at the first instruction.
    ///
    /// # Panics
    /// If it does not assemble.
    pub fn kernel(self) -> Vec<u8> {
        elf(&self.code())
    }
}

/// An ELF64 file for PowerPC, big-endian, with one loadable segment at 0, entered at its start.
pub fn elf(code: &[u8]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0];
    let mut put = |value: u64, bytes: usize| elf.extend(&value.to_be_bytes()[8 - bytes..]);
    let size = code.len() as u64;
    put(0, 8); // rest of the identification
    put(2, 2); // executable
    put(21, 2); // PowerPC64
    put(1, 4); // version
    put(0, 8); // entry
    put(HEADER, 8); // segments' offset
    put(0, 8); // sections' offset
    put(0, 4); // flags
    put(HEADER, 2);
    put(SEGMENT, 2);
    put(1, 2); // segments
    put(64, 2); // size of a section header
    put(0, 2); // sections
    put(0, 2); // section of names
    put(1, 4); // load
    put(7, 4); // read, write, execute
    put(HEADER + SEGMENT, 8); // offset
    put(0, 8); // virtual address
    put(0, 8); // physical address
    put(size, 8);
    put(size, 8);
    put(4, 8); // alignment
    elf.extend(code);
    elf
}

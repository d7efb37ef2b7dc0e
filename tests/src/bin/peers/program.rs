//! The bare-metal guest of the comparison: one kernel that every emulator runs unchanged.
//!
//! It measures nothing itself, because a guest's clock need not be the host's: it prints a line before and after each piece of work, and
//! the host takes the time of the lines. It runs in big-endian real mode wherever it is loaded, from its first byte.

#[cfg(test)]
mod tests;

use viommu::selftest::asm::{Asm, AsmError, Cond, Label, Reg};
use viommu_devices::spapr::hcall;

use super::loops::{self, Order};

/// What a piece of work does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: what the lines themselves cost.
    Nothing,
    /// A loop of this many blocks.
    Loop(usize, Order),
    /// H_PUT_TCE of one page after the other.
    PutTce,
    /// H_GET_TCE of one page after the other.
    GetTce,
    /// H_PUT_TCE_INDIRECT of 512 pages.
    PutTceIndirect,
    /// H_STUFF_TCE of 512 entries, in turn with a page and with zero.
    StuffTce,
    /// A hypercall that does not exist.
    Rejected,
}

/// A piece of work, its name in the lines, and how often it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// One word.
    pub name: &'static str,
    /// What.
    pub work: Work,
    /// Passes of a loop, or hypercalls.
    pub times: u64,
}

const fn piece(name: &'static str, work: Work, times: u64) -> Piece {
    Piece { name, work, times }
}

/// All pieces, in the order in which they run. A fast emulator takes about half a second for each, a slow one about two.
pub const PIECES: [Piece; 10] = [
    piece("nothing", Work::Nothing, 0),
    piece("blocks-64", Work::Loop(64, Order::Straight), 2_000_000),
    piece("blocks-4096", Work::Loop(4096, Order::Straight), 16_000),
    piece("blocks-20000", Work::Loop(20_000, Order::Straight), 2_400),
    piece("scattered-20000", Work::Loop(20_000, Order::Scattered), 600),
    piece("put-tce", Work::PutTce, 2_000_000),
    piece("get-tce", Work::GetTce, 2_000_000),
    piece("put-tce-indirect", Work::PutTceIndirect, 80_000),
    piece("stuff-tce", Work::StuffTce, 80_000),
    piece("rejected", Work::Rejected, 2_000_000),
];

/// Line that follows the last piece.
pub const DONE: &str = "bench: done";

/// The line before a piece.
pub fn begin(name: &str) -> String {
    format!("bench: {name} begins")
}

/// The line after a piece, up to its result: 16 hexadecimal digits.
pub fn end(name: &str) -> String {
    format!("bench: {name} ends ")
}

/// The kernel, and for each piece the instructions of one pass (0 if it is no loop).
pub struct Kernel {
    /// An ELF64 file.
    pub elf: Vec<u8>,
    /// As [`PIECES`].
    pub instructions: Vec<u64>,
}

/// Console's unit address and table of the default window: the same on viommu and QEMU.
const VTY: u64 = 0x7100_0000;
const LIOBN: u64 = 0x8000_0000;
/// Number that no hypercall has.
const UNKNOWN: u64 = 0x3fff_fffc;
/// Offsets in memory, from the first byte: list of TCEs, data of the loops, end.
const LIST: u64 = 0x40_0000;
const LOOP_DATA: u64 = 0x41_0000;
const MEMORY: u64 = LOOP_DATA + loops::DATA_SIZE;
/// Passes of an empty loop after each line. viommu shows console output after at most 1.3 million instructions.
const PAUSE: u64 = 4_000_000;
/// TCEs of a call.
const BATCH: u64 = 512;
/// The part of the window that is used, as a power of two in bytes.
const SPAN_SHIFT: u32 = 28;
const PAGE: u64 = 4096;

/// Registers that hold state over hypercalls.
const IOBA: Reg = 14;
const TCE: Reg = 15;
const LEFT: Reg = 17;
const RESULT: Reg = 20;
const TEXT: Reg = 21;
const RETURN: Reg = 22;
const TABLE: Reg = 23;
const STEP: Reg = 24;
const NUMBER: Reg = 25;
const LIST_AT: Reg = 26;
const BASE: Reg = 31;

struct Program {
    asm: Asm,
    /// Texts and their offsets from the first byte.
    texts: Vec<(String, i16)>,
}

/// Assembles the kernel.
///
/// # Errors
/// A label out of reach; the test assembles it.
pub fn kernel() -> Result<Kernel, AsmError> {
    kernel_of(&PIECES)
}

fn kernel_of(pieces: &[Piece]) -> Result<Kernel, AsmError> {
    let mut p = Program {
        asm: Asm::new(0),
        texts: Vec::new(),
    };
    let text_end = p.texts(pieces);
    let puts = p.asm.label();
    let digits = p.asm.label();
    p.start(text_end);
    let mut instructions = Vec::new();
    for piece in pieces {
        p.say(puts, &format!("{}\r\n", begin(piece.name)));
        p.pause();
        instructions.push(p.work(piece));
        p.say(puts, &end(piece.name));
        p.asm.bl(digits);
        p.say(puts, "\r\n");
        p.pause();
    }
    p.say(puts, &format!("{DONE}\r\n"));
    let stop = p.asm.here();
    p.asm.b(stop);
    p.asm.bind(puts);
    p.put_string();
    p.asm.bind(digits);
    p.put_digits();
    let code = p.asm.finish()?;
    assert!((code.len() as u64) < LIST, "the code reaches into its data");
    Ok(Kernel {
        elf: elf(&code),
        instructions,
    })
}

impl Program {
    /// Emits a jump over all texts, and them. Returns their end.
    fn texts(&mut self, pieces: &[Piece]) -> i16 {
        let start = self.asm.label();
        self.asm.b(start);
        let mut at = 4;
        let fixed = ["\r\n".to_owned(), format!("{DONE}\r\n")];
        let of_pieces = pieces
            .iter()
            .flat_map(|p| [format!("{}\r\n", begin(p.name)), end(p.name)]);
        for text in fixed.into_iter().chain(of_pieces) {
            let bytes = format!("{text}\0");
            self.asm.data(bytes.as_bytes());
            self.texts.push((text, at));
            at += bytes.len().next_multiple_of(4) as i16;
        }
        self.asm.bind(start);
        at
    }

    /// Finds the place in memory, takes 64-bit real mode without interrupts, and prepares the registers.
    fn start(&mut self, at: i16) {
        let a = &mut self.asm;
        let next = a.label();
        a.bl(next);
        a.bind(next);
        a.mflr(BASE);
        a.addi(BASE, BASE, -(at + 4));
        a.load(3, 1 << 63 | 1 << 12);
        a.word(0x7c60_0164); // mtmsrd r3
        a.word(0x4c00_012c); // isync
        a.load(12, LOOP_DATA + loops::DATA_SIZE / 2);
        a.add(loops::DATA, BASE, 12);
        a.load(12, LIST);
        a.add(LIST_AT, BASE, 12);
        a.load(TABLE, LIOBN);
        // The list: the first pages of memory, to be read and written.
        a.load(12, BATCH);
        a.mtctr(12);
        a.mr(11, LIST_AT);
        a.li(10, 3);
        let next = a.here();
        a.std(10, 0, 11);
        a.addi(10, 10, PAGE as i16);
        a.addi(11, 11, 8);
        a.bc(Cond::Dnz, next);
    }

    fn say(&mut self, puts: Label, text: &str) {
        let offset = self.texts.iter().find(|t| t.0 == text).map_or(0, |t| t.1);
        self.asm.addi(3, BASE, offset);
        self.asm.bl(puts);
    }

    /// Lets the line get to the host.
    fn pause(&mut self) {
        self.asm.load(12, PAUSE);
        self.asm.mtctr(12);
        let here = self.asm.here();
        self.asm.bc(Cond::Dnz, here);
    }

    /// The piece itself; [`RESULT`] is 0 where every hypercall answered as it should, or the loop's result. Returns the instructions of
    /// a pass of a loop.
    fn work(&mut self, piece: &Piece) -> u64 {
        self.asm.li(RESULT, 0);
        let page = (5 * PAGE) | 3;
        match piece.work {
            Work::Nothing => {}
            Work::Loop(blocks, order) => return self.measured_loop(blocks, order, piece.times),
            Work::PutTce => self.calls(piece.times, PAGE, hcall::H_PUT_TCE, 0, |a| {
                a.load(6, page);
            }),
            Work::GetTce => self.calls(piece.times, PAGE, hcall::H_GET_TCE, 0, |_| {}),
            Work::PutTceIndirect => {
                let number = hcall::H_PUT_TCE_INDIRECT;
                self.calls(piece.times, BATCH * PAGE, number, 0, |a| {
                    a.mr(6, LIST_AT);
                    a.li(7, BATCH as i16);
                });
            }
            Work::StuffTce => {
                // Two calls for each 512 entries: one sets them, the next clears them.
                self.asm.li(TCE, 0);
                let number = hcall::H_STUFF_TCE;
                self.calls(piece.times, BATCH * PAGE / 2, number, 0, |a| {
                    a.srdi(5, IOBA, 21);
                    a.sldi(5, 5, 21);
                    a.load(12, page);
                    xor(a, TCE, TCE, 12);
                    a.mr(6, TCE);
                    a.li(7, BATCH as i16);
                });
            }
            Work::Rejected => {
                let expected = hcall::H_FUNCTION.0 as i16;
                self.calls(piece.times, PAGE, UNKNOWN, expected, |_| {});
            }
        }
        0
    }

    fn measured_loop(&mut self, blocks: usize, order: Order, passes: u64) -> u64 {
        let a = &mut self.asm;
        for (value, register) in (1..).zip(loops::WORK) {
            a.li(register, value);
        }
        a.load(4, passes);
        a.mtctr(4);
        let count = loops::emit(a, blocks, order);
        for register in loops::WORK {
            a.sldi(4, RESULT, 1);
            a.srdi(3, RESULT, 63);
            a.or(RESULT, 3, 4);
            xor(a, RESULT, RESULT, register);
        }
        count
    }

    /// `times` calls, at addresses that go up by `step` and round. `arguments` sets r6 onwards.
    fn calls(
        &mut self,
        times: u64,
        step: u64,
        number: u64,
        expected: i16,
        arguments: impl Fn(&mut Asm),
    ) {
        let a = &mut self.asm;
        a.load(LEFT, times);
        a.load(STEP, step);
        a.load(NUMBER, number);
        a.li(IOBA, 0);
        let next = a.here();
        a.mr(3, NUMBER);
        a.mr(4, TABLE);
        a.mr(5, IOBA);
        arguments(a);
        a.sc1();
        a.addi(3, 3, -expected);
        a.or(RESULT, RESULT, 3);
        a.add(IOBA, IOBA, STEP);
        low_bits(a, IOBA, IOBA, SPAN_SHIFT);
        a.addi(LEFT, LEFT, -1);
        a.cmpdi(LEFT, 0);
        a.bc(Cond::Ne, next);
    }

    /// Subroutine: the text at r3.
    fn put_string(&mut self) {
        let a = &mut self.asm;
        let (done, next) = (a.label(), a.label());
        a.mflr(RETURN);
        a.mr(TEXT, 3);
        a.bind(next);
        a.lbz(6, 0, TEXT);
        a.cmpdi(6, 0);
        a.bc(Cond::Eq, done);
        a.addi(TEXT, TEXT, 1);
        put_char(a);
        a.b(next);
        a.bind(done);
        a.mtlr(RETURN);
        a.blr();
    }

    /// Subroutine: [`RESULT`] as 16 hexadecimal digits.
    fn put_digits(&mut self) {
        let a = &mut self.asm;
        let digit = a.label();
        a.mflr(RETURN);
        a.li(LEFT, 16);
        let next = a.here();
        a.srdi(6, RESULT, 60);
        a.sldi(RESULT, RESULT, 4);
        a.cmpdi(6, 10);
        a.bc(Cond::Lt, digit);
        a.addi(6, 6, i16::from(b'a' - b'0' - 10));
        a.bind(digit);
        a.addi(6, 6, i16::from(b'0'));
        put_char(a);
        a.addi(LEFT, LEFT, -1);
        a.cmpdi(LEFT, 0);
        a.bc(Cond::Ne, next);
        a.mtlr(RETURN);
        a.blr();
    }
}

/// The character in r6, asked again while the console is full.
fn put_char(a: &mut Asm) {
    a.sldi(TCE, 6, 56);
    let again = a.here();
    a.load(3, hcall::H_PUT_TERM_CHAR);
    a.load(4, VTY);
    a.li(5, 1);
    a.mr(6, TCE);
    a.li(7, 0);
    a.sc1();
    a.cmpdi(3, hcall::H_BUSY.0 as i16);
    a.bc(Cond::Eq, again);
}

fn xor(a: &mut Asm, t: Reg, s: Reg, b: Reg) {
    a.word(31 << 26 | s << 21 | t << 16 | b << 11 | 316 << 1);
}

/// `clrldi`: keeps the low `bits` bits, 1 to 63.
fn low_bits(a: &mut Asm, t: Reg, s: Reg, bits: u32) {
    let first = 64 - bits;
    a.word(30 << 26 | s << 21 | t << 16 | (first & 31) << 6 | (first >> 5) << 5);
}

/// A big-endian ELF64 executable of one segment, linked at 0 and entered there.
fn elf(code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0];
    out.resize(16, 0);
    let half = |out: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|v| out.extend(v.to_be_bytes()));
    };
    let word = |out: &mut Vec<u8>, values: &[u32]| {
        values.iter().for_each(|v| out.extend(v.to_be_bytes()));
    };
    let double = |out: &mut Vec<u8>, values: &[u64]| {
        values.iter().for_each(|v| out.extend(v.to_be_bytes()));
    };
    half(&mut out, &[2, 21]); // executable, 64-bit PowerPC
    word(&mut out, &[1]);
    double(&mut out, &[0, 64, 0]); // entry, program headers, no sections
    word(&mut out, &[0]);
    half(&mut out, &[64, 56, 1, 64, 0, 0]);
    word(&mut out, &[1, 7]); // load; readable, writable, executable
    double(
        &mut out,
        &[HEADERS, 0, 0, code.len() as u64, MEMORY, 0x1_0000],
    );
    out.extend(code);
    out
}

//! From instructions to micro-operations.
//!
//! Addresses of memory operands are linear. Values of 8 and 16 bits lie in the low bits of a register, with anything above; those of 32
//! bits in general registers are zero-extended.

mod arithmetic;
mod branch;
mod dead;
mod moves;
mod operand;
mod packets;
mod stack;
mod vector;

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic};

pub(super) use packets::{Field, field};

use super::Cpu;
use super::packet::{Packet, Unit};
use super::regs::*;
use super::segment::Segment;
use crate::engine::code::{Decoded, Place};
use crate::engine::uop::{Op, R_T1, R_ZERO, Reg, Uop, uop};

/// Values within an instruction, besides the address in `R_T0` and the operand in [`R_T1`].
const R_T2: Reg = R_T1 + 1;
const R_T3: Reg = R_T1 + 2;
/// Longest instruction, in bytes.
const MAX_LEN: usize = 15;
/// Set in [`Packet::imm`] of [`Unit::Invalid`]: the instruction is too long, which is #GP.
pub(crate) const TOO_LONG: u64 = 1;

/// What decoding depends on besides the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub u8);

impl Mode {
    /// 64-bit code.
    pub(crate) const LONG: u8 = 1;
    /// 32-bit code.
    pub(crate) const BIG: u8 = 2;
    /// The stack pointer has 32 bits.
    pub(crate) const BIG_STACK: u8 = 4;
    /// ES, CS, SS and DS cover all addresses, from 0, and allow everything.
    pub(crate) const FLAT: u8 = 8;
    /// All data segments hold at least 64 KiB and allow everything: 16-bit addresses need no check.
    pub(crate) const ROOMY: u8 = 16;
    /// SSE instructions are enabled.
    pub(crate) const SSE: u8 = 32;

    /// Of a CPU.
    #[inline(always)]
    pub(crate) fn of(cpu: &Cpu) -> Mode {
        let on = cpu.cr0 & (CR0_EM | CR0_TS) == 0 && cpu.cr4 & CR4_OSFXSR != 0;
        let sse = if on { Mode::SSE } else { 0 };
        if cpu.efer & EFER_LMA != 0 && cpu.segments[1].is_long() {
            return Mode(Mode::LONG | sse);
        }
        Mode(Mode::of_segments(&cpu.segments).0 | sse)
    }

    fn of_segments(segments: &[Segment; 6]) -> Mode {
        let [es, cs, ss, ds, fs, gs] = segments;
        let mut bits = 0;
        if cs.is_big() {
            bits |= Mode::BIG;
        }
        if ss.is_big() {
            bits |= Mode::BIG_STACK;
        }
        let all = |s: &Segment| s.base == 0 && s.limit == u32::MAX;
        if all(cs) && cs.kind() & 10 == 10 && [es, ss, ds].iter().all(|s| all(s) && writable(s)) {
            bits |= Mode::FLAT;
        }
        if cs.kind() & 2 != 0
            && [es, ss, ds, fs, gs]
                .iter()
                .all(|s| s.limit >= 0xffff && writable(s))
        {
            bits |= Mode::ROOMY;
        }
        Mode(bits)
    }

    pub(crate) fn is_long(self) -> bool {
        self.0 & Mode::LONG != 0
    }
    fn has_sse(self) -> bool {
        self.0 & Mode::SSE != 0
    }
    fn is_flat(self) -> bool {
        self.0 & Mode::FLAT != 0
    }
    fn bitness(self) -> u32 {
        match self.0 & (Mode::LONG | Mode::BIG) {
            0 => 16,
            Mode::BIG => 32,
            _ => 64,
        }
    }
}

/// A usable, writable data segment that does not grow downwards.
fn writable(s: &Segment) -> bool {
    s.is_usable() && s.attributes & 0x1e == 0x12
}

/// Decodes one block. See `FrontEnd::decode`.
pub(crate) fn block(code: &[u8], max: u32, mode: Mode, out: &mut Decoded) {
    let mut decoder = Decoder::with_ip(mode.bitness(), code, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let (mut n, mut bytes) = (0_u32, 0_usize);
    let mut ended = false;
    while n < max && !ended {
        decoder.decode_out(&mut instruction);
        let rest = code.len() - bytes;
        let mut too_long = false;
        if decoder.last_error() == DecoderError::NoMoreBytes {
            if rest < MAX_LEN {
                break;
            }
            too_long = true;
        }
        let len = if too_long { MAX_LEN } else { instruction.len() };
        let mut e = Emitter {
            place: Place {
                index: n as u8,
                len: len as u8,
                offset: bytes as u16,
            },
            next: (bytes + len) as u64,
            i: instruction,
            mode,
            out,
        };
        ended = e.instruction(too_long);
        n += 1;
        bytes += len;
    }
    (out.instructions, out.bytes) = (n, bytes as u32);
    if n == 0 {
        return;
    }
    if !ended {
        let last = out.places.last().copied();
        out.uops.push(uop(Op::Jmp, 0, 0, 0, 0, bytes as u64));
        out.places.push(Place {
            index: (n - 1) as u8,
            ..last.unwrap_or_default()
        });
    }
    dead::flags(out);
}

struct Emitter<'a> {
    out: &'a mut Decoded,
    i: Instruction,
    place: Place,
    /// The next instruction, from the block's first byte.
    next: u64,
    mode: Mode,
}

impl Emitter<'_> {
    fn push(&mut self, u: Uop) {
        self.out.uops.push(u);
        self.out.places.push(self.place);
    }
    fn op(&mut self, op: Op, d: Reg, a: Reg, b: Reg) {
        self.push(uop(op, d, a, b, 0, 0));
    }
    fn imm(&mut self, op: Op, d: Reg, a: Reg, imm: u64) {
        self.push(uop(op, d, a, R_ZERO, 0, imm));
    }

    /// A helper does it.
    fn packet(&mut self, unit: Unit, ends: bool) -> bool {
        let packet = self.make_packet(unit);
        self.push(packet.encode(ends));
        ends
    }

    fn invalid(&mut self, imm: u64) -> bool {
        let packet = Packet {
            unit: Unit::Invalid,
            code: Code::INVALID,
            reg: 0,
            rm: 0,
            extra: 0,
            address_size: 0,
            stack: false,
            imm,
        };
        self.push(packet.encode(true));
        true
    }

    /// True if the block ends with it.
    fn instruction(&mut self, too_long: bool) -> bool {
        if too_long {
            return self.invalid(TOO_LONG);
        }
        if self.i.code() == Code::INVALID {
            return self.invalid(0);
        }
        if let Some(ends) = self.branch() {
            return ends;
        }
        if self.arithmetic() || self.moves() || self.stack() || self.vector() {
            return false;
        }
        match self.i.mnemonic() {
            Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 => self.invalid(0),
            m if packets::is_nothing(m) => false,
            m if packets::is_integer(self.i.code(), m) => self.integer(),
            m => match packets::system(self.i.code(), m) {
                Some(ends) => self.packet(Unit::System, ends),
                None => self.packet(Unit::Vector, false),
            },
        }
    }

    /// An instruction of the integer unit: those that repeat may come back to themselves.
    fn integer(&mut self) -> bool {
        let repeats = self.i.has_rep_prefix() || self.i.has_repne_prefix();
        let ends = repeats && packets::is_string(self.i.code(), self.i.mnemonic());
        self.packet(Unit::Integer, ends)
    }
}

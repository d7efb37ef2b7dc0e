//! String instructions: one step, or a bounded number of them, after which a repeated instruction comes back to itself.

use iced_x86::{Code, Mnemonic};

use crate::engine::exec::{Fault, NEXT_PC, copy_up, fill_up};
use crate::engine::flags::{self, Kind};
use crate::engine::uop::{R_FLAG_OP, R_FLAG_OPERAND, R_FLAG_RESULT};
use crate::x86_64::Cpu;
use crate::x86_64::memory::{Env, truncate};
use crate::x86_64::packet::Packet;
use crate::x86_64::regs::{FLAG_DF, R_RAX, R_RCX, R_RDI, R_RSI};

/// Most bytes moved or stored at memory speed in one call.
const MOST_BYTES: u64 = 64 << 10;
/// Most single steps in one call.
const MOST_STEPS: u32 = 512;
const ES: u8 = 0;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Move,
    Store,
    Load,
    Scan,
    Compare,
}

/// Kind and size of an instruction.
fn step(code: Code) -> (Step, u8) {
    use Mnemonic as M;
    match code.mnemonic() {
        M::Movsb => (Step::Move, 1),
        M::Movsw => (Step::Move, 2),
        M::Movsd => (Step::Move, 4),
        M::Movsq => (Step::Move, 8),
        M::Stosb => (Step::Store, 1),
        M::Stosw => (Step::Store, 2),
        M::Stosd => (Step::Store, 4),
        M::Stosq => (Step::Store, 8),
        M::Lodsb => (Step::Load, 1),
        M::Lodsw => (Step::Load, 2),
        M::Lodsd => (Step::Load, 4),
        M::Lodsq => (Step::Load, 8),
        M::Scasb => (Step::Scan, 1),
        M::Scasw => (Step::Scan, 2),
        M::Scasd => (Step::Scan, 4),
        M::Scasq => (Step::Scan, 8),
        M::Cmpsb => (Step::Compare, 1),
        M::Cmpsw => (Step::Compare, 2),
        M::Cmpsd => (Step::Compare, 4),
        _ => (Step::Compare, 8),
    }
}

struct Strings {
    step: Step,
    size: u8,
    /// Bytes of RSI, RDI and RCX that count.
    width: u8,
    segment: u8,
    down: bool,
}

impl Cpu {
    pub(super) fn string(&mut self, env: &mut Env<'_>, p: &Packet) -> Result<(), Fault> {
        let (step, size) = step(p.code);
        let s = Strings {
            step,
            size,
            width: 2 << p.address_size.min(2),
            segment: p.extra >> 2 & 7,
            down: self.system_flags & FLAG_DF != 0,
        };
        if p.extra & 3 == 0 {
            return self.string_step(env, &s);
        }
        let conditional = matches!(step, Step::Scan | Step::Compare);
        let mut bytes = MOST_BYTES;
        for _ in 0..MOST_STEPS {
            let count = self.general(R_RCX, s.width);
            if count == 0 {
                return Ok(());
            }
            let done = self.string_fast(&s, count, bytes)?;
            if done > 0 {
                self.set_general(R_RCX, s.width, count - done);
                bytes = bytes.saturating_sub(done * u64::from(size));
                if bytes < u64::from(size) {
                    break;
                }
                continue;
            }
            self.string_step(env, &s)?;
            self.set_general(R_RCX, s.width, count - 1);
            // REPE goes on while equal, REPNE while not.
            if conditional && flags::condition(&self.core.regs, 4) != (p.extra & 1 != 0) {
                return Ok(());
            }
            if self.core.left_for_device() {
                break;
            }
        }
        if self.general(R_RCX, s.width) != 0 {
            self.core.regs[NEXT_PC] = self.core.pc;
        }
        Ok(())
    }

    fn advance(&mut self, r: u8, s: &Strings, by: u64) {
        let by = if s.down { by.wrapping_neg() } else { by };
        let value = self.general(r, s.width).wrapping_add(by);
        self.set_general(r, s.width, value);
    }

    fn source(&mut self, s: &Strings, bytes: u64) -> Result<u64, Fault> {
        let offset = self.general(R_RSI, s.width);
        self.linear(s.segment, offset, bytes, false)
    }

    fn target(&mut self, s: &Strings, bytes: u64, store: bool) -> Result<u64, Fault> {
        let offset = self.general(R_RDI, s.width);
        self.linear(ES, offset, bytes, store)
    }

    fn string_step(&mut self, env: &mut Env<'_>, s: &Strings) -> Result<(), Fault> {
        let size = u64::from(s.size);
        match s.step {
            Step::Move => {
                let from = self.source(s, size)?;
                let to = self.target(s, size, true)?;
                let value = self.read(env, from, s.size)?;
                self.write(env, to, s.size, value)?;
            }
            Step::Store => {
                let to = self.target(s, size, true)?;
                let value = self.core.regs[usize::from(R_RAX)];
                self.write(env, to, s.size, value)?;
            }
            Step::Load => {
                let from = self.source(s, size)?;
                let value = self.read(env, from, s.size)?;
                self.set_general(R_RAX, s.size, value);
            }
            Step::Scan => {
                let at = self.target(s, size, false)?;
                let b = self.read(env, at, s.size)?;
                let a = self.general(R_RAX, s.size);
                self.compared(s, a, b);
            }
            Step::Compare => {
                let from = self.source(s, size)?;
                let to = self.target(s, size, false)?;
                let a = self.read(env, from, s.size)?;
                let b = self.read(env, to, s.size)?;
                self.compared(s, a, b);
            }
        }
        if matches!(s.step, Step::Move | Step::Load | Step::Compare) {
            self.advance(R_RSI, s, size);
        }
        if s.step != Step::Load {
            self.advance(R_RDI, s, size);
        }
        Ok(())
    }

    fn compared(&mut self, s: &Strings, a: u64, b: u64) {
        let regs = &mut self.core.regs;
        regs[usize::from(R_FLAG_OP)] = Kind::Cmp.at(s.size.trailing_zeros() as u8);
        regs[usize::from(R_FLAG_RESULT)] = a;
        regs[usize::from(R_FLAG_OPERAND)] = b;
    }

    /// Moves and stores upwards within pages that the soft TLB has: how many steps were done, perhaps none.
    fn string_fast(&mut self, s: &Strings, count: u64, most: u64) -> Result<u64, Fault> {
        if s.down || !matches!(s.step, Step::Move | Step::Store) {
            return Ok(0);
        }
        let unit = u64::from(s.size);
        let mut len = count.saturating_mul(unit).min(most);
        // The offsets do not wrap on the way, and stay in their segments.
        let room = |offset: u64| {
            truncate(u64::MAX, s.width)
                .wrapping_sub(offset)
                .saturating_add(1)
        };
        let (from, to) = (self.general(R_RSI, s.width), self.general(R_RDI, s.width));
        len = len.min(room(to));
        if s.step == Step::Move {
            len = len.min(room(from));
        }
        if !self.is_long() {
            let limit = |cpu: &Cpu, segment: u8, offset: u64| {
                let s = cpu.segments[usize::from(segment) % 6];
                // A segment that grows downwards is left to single steps.
                if s.kind() & 12 == 4 || offset > u64::from(s.limit) {
                    0
                } else {
                    u64::from(s.limit) - offset + 1
                }
            };
            len = len.min(limit(self, ES, to));
            if s.step == Step::Move {
                len = len.min(limit(self, s.segment, from));
            }
        }
        len -= len % unit;
        if len == 0 {
            return Ok(0);
        }
        let target = self.target(s, unit, true)?;
        let done = if s.step == Step::Move {
            let source = self.source(s, unit)?;
            copy_up(self, target, source, len, unit)
        } else {
            let value = self.core.regs[usize::from(R_RAX)];
            fill_up(self, target, value, len, unit)
        };
        if done > 0 {
            self.advance(R_RDI, s, done);
            if s.step == Step::Move {
                self.advance(R_RSI, s, done);
            }
        }
        Ok(done / unit)
    }
}

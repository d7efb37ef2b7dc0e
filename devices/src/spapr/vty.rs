//! The virtual terminal: H_PUT_TERM_CHAR and H_GET_TERM_CHAR, as LoPAR has them.

use std::collections::VecDeque;

use super::hcall::{H_FUNCTION, H_GET_TERM_CHAR, H_PARAMETER, H_PUT_TERM_CHAR, H_SUCCESS, Reply};

#[cfg(test)]
mod tests;

/// Unit address of the first terminal, and the `reg` of its node.
pub const VTY_UNIT: u64 = 0x7100_0000;

/// Most characters that wait for the guest.
pub const INPUT_CAP: usize = 64 << 10;

/// Where the guest's output goes.
pub trait CharSink: Send {
    /// Takes characters, in order.
    fn put(&mut self, chars: &[u8]);
}

impl CharSink for Vec<u8> {
    fn put(&mut self, chars: &[u8]) {
        self.extend_from_slice(chars);
    }
}

impl CharSink for std::sync::mpsc::Sender<Vec<u8>> {
    fn put(&mut self, chars: &[u8]) {
        // A receiver that went away no longer wants the output.
        let _ = self.send(chars.to_vec());
    }
}

/// One terminal.
pub struct Vty {
    unit: u64,
    source: u32,
    sink: Box<dyn CharSink>,
    input: VecDeque<u8>,
    interrupt: bool,
    written: u64,
}

impl std::fmt::Debug for Vty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vty")
            .field("unit", &self.unit)
            .field("waiting", &self.input.len())
            .finish_non_exhaustive()
    }
}

impl Vty {
    /// A terminal with this unit address and interrupt source; output goes to `sink`.
    pub fn new(unit: u64, source: u32, sink: Box<dyn CharSink>) -> Self {
        Vty {
            unit,
            source,
            sink,
            input: VecDeque::new(),
            interrupt: false,
            written: 0,
        }
    }

    /// Unit address.
    pub fn unit(&self) -> u64 {
        self.unit
    }

    /// Interrupt source number.
    pub fn source(&self) -> u32 {
        self.source
    }

    /// Characters the guest wrote so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Characters that wait for the guest.
    pub fn waiting(&self) -> usize {
        self.input.len()
    }

    /// Queues input for the guest. Returns how many characters fitted.
    pub fn input(&mut self, chars: &[u8]) -> usize {
        let fit = chars.len().min(INPUT_CAP - self.input.len());
        if self.input.is_empty() && fit > 0 {
            self.interrupt = true;
        }
        self.input.extend(chars.iter().take(fit));
        fit
    }

    /// The source to raise (an edge), once each time input arrived in an empty queue.
    pub fn take_irq(&mut self) -> Option<u32> {
        std::mem::take(&mut self.interrupt).then_some(self.source)
    }

    /// Forgets waiting input.
    pub fn reset(&mut self) {
        self.input.clear();
        self.interrupt = false;
    }

    /// H_PUT_TERM_CHAR (unit, length, 8 characters, 8 characters) and H_GET_TERM_CHAR (unit) -> length, 8, 8 characters. The first
    /// character is the most significant byte. `None` if `nr` is another hypercall or the unit is not this terminal.
    pub fn hcall(&mut self, nr: u64, args: &[u64]) -> Option<Reply> {
        let arg = |i: usize| args.get(i).copied().unwrap_or(0);
        if arg(0) != self.unit {
            return None;
        }
        match nr {
            H_PUT_TERM_CHAR => Some(self.put(arg(1), [arg(2), arg(3)])),
            H_GET_TERM_CHAR => Some(self.get()),
            _ => None,
        }
    }

    fn put(&mut self, len: u64, words: [u64; 2]) -> Reply {
        let mut chars = [0u8; 16];
        for (slot, word) in chars.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        let Some(chars) = usize::try_from(len).ok().and_then(|len| chars.get(..len)) else {
            return H_PARAMETER.into();
        };
        self.written += chars.len() as u64;
        self.sink.put(chars);
        H_SUCCESS.into()
    }

    fn get(&mut self) -> Reply {
        let len = self.input.len().min(16);
        let mut words = [0u64; 2];
        for (i, char) in self.input.drain(..len).enumerate() {
            words[i / 8] |= u64::from(char) << (56 - 8 * (i % 8));
        }
        Reply::with(&[len as u64, words[0], words[1]])
    }
}

/// Answer for a terminal that does not exist.
pub fn no_such_terminal(nr: u64) -> Reply {
    if matches!(nr, H_PUT_TERM_CHAR | H_GET_TERM_CHAR) {
        H_PARAMETER.into()
    } else {
        H_FUNCTION.into()
    }
}

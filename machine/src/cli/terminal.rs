//! The user's terminal as the guest's console.

use std::io::{IsTerminal, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::Failure;

const CTRL_A: u8 = 1;

/// Raw mode and a reader of standard input. Dropping it restores the terminal.
pub struct Terminal {
    input: Receiver<u8>,
    escape: Escape,
    early: Input,
}

/// What the terminal gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// For the guest.
    pub bytes: Vec<u8>,
    /// The user wants to leave.
    pub quit: bool,
}

/// Finds Ctrl-A X in what is typed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Escape {
    pending: bool,
}

impl Escape {
    /// One byte more.
    pub fn feed(&mut self, byte: u8, input: &mut Input) {
        match (std::mem::take(&mut self.pending), byte) {
            (false, CTRL_A) => self.pending = true,
            (true, b'x' | b'X') => input.quit = true,
            (true, CTRL_A) | (false, _) => input.bytes.push(byte),
            (true, _) => input.bytes.extend([CTRL_A, byte]),
        }
    }
}

/// Looks whether there is a terminal to take.
///
/// # Errors
/// Standard input is none.
pub fn check() -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        Ok(())
    } else {
        Err(Failure::user(
            "--interactive needs a terminal as standard input",
        ))
    }
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Standard input is no terminal, or it refuses raw mode.
    pub fn open() -> Result<Terminal, Failure> {
        check()?;
        crossterm::terminal::enable_raw_mode()
            .map_err(|e| Failure::user(format!("the terminal refuses raw mode: {e}")))?;
        let (to, input) = sync_channel(4096);
        // The thread ends with the process: a read of a terminal cannot be called off.
        std::thread::spawn(move || {
            for byte in std::io::stdin().lock().bytes() {
                let Ok(byte) = byte else { return };
                if to.send(byte).is_err() {
                    return;
                }
            }
        });
        Ok(Terminal {
            input,
            escape: Escape::default(),
            early: Input::default(),
        })
    }

    /// Waits until something is typed, but not longer than `time`.
    pub fn wait(&mut self, time: Duration) {
        match self.input.recv_timeout(time) {
            Ok(byte) => self.escape.feed(byte, &mut self.early),
            Err(RecvTimeoutError::Timeout) => {}
            // No more input will come; do not spin.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(time),
        }
    }

    /// What was typed since the last call, at most `room` bytes for the guest.
    pub fn poll(&mut self, room: usize) -> Input {
        let mut input = std::mem::take(&mut self.early);
        while input.bytes.len() + 1 < room.max(2) && !input.quit {
            let Ok(byte) = self.input.try_recv() else {
                break;
            };
            self.escape.feed(byte, &mut input);
        }
        input
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nothing better to do than to leave the terminal as it is.
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

//! Ports that end or restart the machine: reset control (0xcf9), system control A (0x92), the keyboard controller's pulse (0x64), and
//! the debug exit (0xf4) of emulators. The diagnostic port 0x80 takes anything. ICH9 data sheet §13.7; QEMU `isa-debug-exit`.

#[cfg(test)]
mod tests;

/// Reset control register.
pub const RESET_CONTROL: u16 = 0xcf9;
/// What to write to it for a full reset.
pub const RESET_VALUE: u8 = 0x06;
/// System control A: bit 0 resets, bit 1 is the A20 gate, which is always open.
pub const SYSTEM_CONTROL: u16 = 0x92;
/// Command port of the keyboard controller, of which only the reset line is there.
pub const KEYBOARD: u16 = 0x64;
/// Debug exit.
pub const EXIT: u16 = 0xf4;
/// Diagnostic codes, and the port for short delays.
pub const POST: u16 = 0x80;

/// Command of the keyboard controller: pulse the reset line.
const PULSE_RESET: u8 = 0xfe;
/// Reset control: reset when this bit rises.
const RESET_CPU: u8 = 1 << 2;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A reset of the machine.
    Reset,
    /// The end of the run, with an exit status: twice the value written, plus one.
    Exit(u32),
}

/// The ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Control {
    reset: u8,
    system: u8,
}

impl Control {
    /// Reads a byte. None if the port is not one of these, or has nothing to read.
    pub fn read(&self, port: u16) -> Option<u8> {
        match port {
            RESET_CONTROL => Some(self.reset),
            SYSTEM_CONTROL => Some(self.system | 2),
            _ => None,
        }
    }

    /// Writes bytes: what they ask for. None for the port if it is not one of these.
    pub fn write(&mut self, port: u16, data: &[u8]) -> Option<Option<Asked>> {
        let value = data
            .iter()
            .take(4)
            .rev()
            .fold(0, |v, &b| v << 8 | u32::from(b));
        let byte = value as u8;
        let asked = match port {
            RESET_CONTROL if data.len() == 1 => {
                let rises = byte & RESET_CPU != 0 && self.reset & RESET_CPU == 0;
                self.reset = byte & 0x0e;
                rises.then_some(Asked::Reset)
            }
            SYSTEM_CONTROL => {
                self.system = byte & 0xfe;
                (byte & 1 != 0).then_some(Asked::Reset)
            }
            KEYBOARD => (byte == PULSE_RESET).then_some(Asked::Reset),
            EXIT => Some(Asked::Exit(value << 1 | 1)),
            POST => None,
            _ => return None,
        };
        Some(asked)
    }
}

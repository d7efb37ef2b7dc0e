//! The serial port: a 16550 as vm-superio has it, its output collected, its interrupt a flag. Its interrupt is an edge (ISA).

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

/// Ports.
pub const SIZE: u16 = 8;

#[derive(Clone, Debug, Default)]
struct Raised(Arc<AtomicBool>);

impl Trigger for Raised {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// A serial port.
pub struct Uart {
    serial: Serial<Raised, NoEvents, Vec<u8>>,
    raised: Raised,
}

impl std::fmt::Debug for Uart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uart").finish_non_exhaustive()
    }
}

impl Default for Uart {
    fn default() -> Self {
        let raised = Raised::default();
        Uart {
            serial: Serial::new(raised.clone(), Vec::new()),
            raised,
        }
    }
}

impl Uart {
    /// Reads register `offset` (0 to 7).
    pub fn read(&mut self, offset: u8) -> u8 {
        self.serial.read(offset)
    }

    /// Writes register `offset` (0 to 7).
    pub fn write(&mut self, offset: u8, value: u8) {
        // In loopback mode a full queue refuses the byte, as an overrun would.
        let _ = self.serial.write(offset, value);
    }

    /// What was written since the last call.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(self.serial.writer_mut())
    }

    /// True if there is output to take.
    pub fn has_output(&self) -> bool {
        !self.serial.writer().is_empty()
    }

    /// Bytes of input that it takes now.
    pub fn room(&self) -> usize {
        self.serial.fifo_capacity()
    }

    /// Queues input for the guest. Returns how many bytes fitted.
    pub fn input(&mut self, bytes: &[u8]) -> usize {
        let fitting = &bytes[..bytes.len().min(self.room())];
        if fitting.is_empty() {
            return 0;
        }
        self.serial.enqueue_raw_bytes(fitting).unwrap_or(0)
    }

    /// True once for each edge of the interrupt.
    pub fn take_irq(&mut self) -> bool {
        self.raised.0.swap(false, Ordering::Relaxed)
    }
}

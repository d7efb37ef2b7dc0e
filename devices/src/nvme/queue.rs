//! Submission and completion queues. NVMe 1.4 §4.1.

use zerocopy::{FromZeros, IntoBytes};

use super::bits::{CQE_SIZE, Cqe, SQE_SIZE, Sqe};
use crate::dma::{DmaFault, DmaPort, Iova};

/// Why a doorbell was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorbellError {
    /// There is no such queue.
    Register,
    /// The value is not an index the queue can have.
    Value,
}

/// A submission queue.
#[derive(Clone, Debug)]
pub struct SubmissionQueue {
    /// Where its completions go.
    pub cqid: u16,
    base: Iova,
    size: u32,
    head: u32,
    tail: u32,
}

impl SubmissionQueue {
    /// An empty queue of `size` entries (2 to 65536).
    pub fn new(base: Iova, size: u32, cqid: u16) -> Self {
        SubmissionQueue {
            cqid,
            base,
            size: size.max(2),
            head: 0,
            tail: 0,
        }
    }

    /// Entries.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Index of the next command to fetch.
    pub fn head(&self) -> u16 {
        self.head as u16
    }

    /// True if there is nothing to fetch.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// The driver's new tail.
    ///
    /// # Errors
    /// The value is not below the size.
    pub fn set_tail(&mut self, value: u32) -> Result<(), DoorbellError> {
        if value >= self.size {
            return Err(DoorbellError::Value);
        }
        self.tail = value;
        Ok(())
    }

    /// Fetches the next command.
    ///
    /// # Errors
    /// The DMA fault; the head has not moved.
    pub fn fetch(&mut self, port: &DmaPort) -> Result<Sqe, DmaFault> {
        let mut sqe = Sqe::new_zeroed();
        port.read(
            Iova(self.base.0.wrapping_add(u64::from(self.head) * SQE_SIZE)),
            sqe.as_mut_bytes(),
        )?;
        self.head = (self.head + 1) % self.size;
        Ok(sqe)
    }
}

/// A completion queue.
#[derive(Clone, Debug)]
pub struct CompletionQueue {
    /// Interrupt vector, if it interrupts.
    pub vector: Option<u16>,
    base: Iova,
    size: u32,
    head: u32,
    tail: u32,
    phase: bool,
}

impl CompletionQueue {
    /// An empty queue of `size` entries (2 to 65536).
    pub fn new(base: Iova, size: u32, vector: Option<u16>) -> Self {
        CompletionQueue {
            vector,
            base,
            size: size.max(2),
            head: 0,
            tail: 0,
            phase: true,
        }
    }

    /// True if there is no room for another completion.
    pub fn is_full(&self) -> bool {
        (self.tail + 1) % self.size == self.head
    }

    /// True if the driver has taken every completion.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// The driver's new head.
    ///
    /// # Errors
    /// The value is not below the size, or passes the tail.
    pub fn set_head(&mut self, value: u32) -> Result<(), DoorbellError> {
        let ahead = |from: u32, to: u32| (to + self.size - from) % self.size;
        if value >= self.size || ahead(self.head, value) > ahead(self.head, self.tail) {
            return Err(DoorbellError::Value);
        }
        self.head = value;
        Ok(())
    }

    /// Posts a completion; its phase is filled in.
    ///
    /// # Errors
    /// The DMA fault; the tail has not moved.
    pub fn post(&mut self, port: &DmaPort, mut cqe: Cqe) -> Result<(), DmaFault> {
        cqe.status
            .set(cqe.status.get() << 1 | u16::from(self.phase));
        port.write(
            Iova(self.base.0.wrapping_add(u64::from(self.tail) * CQE_SIZE)),
            cqe.as_bytes(),
        )?;
        self.tail = (self.tail + 1) % self.size;
        if self.tail == 0 {
            self.phase = !self.phase;
        }
        Ok(())
    }
}

//! What a CPU needs from the machine around it.

/// Nothing answers at this address: the CPU takes its architecture's machine check, or reads all-ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError;

/// The machine as a CPU sees it besides RAM.
pub trait Bus {
    /// Reads 1, 2, 4 or 8 bytes of device memory at `gpa`, in address order.
    ///
    /// # Errors
    /// [`BusError`] if nothing is there.
    fn mmio_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), BusError>;

    /// Writes 1, 2, 4 or 8 bytes of device memory at `gpa`, in address order.
    ///
    /// # Errors
    /// [`BusError`] if nothing is there.
    fn mmio_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), BusError>;

    /// The 4 KiB page of RAM at `gpa` now has cached code: the machine reports device writes to it with
    /// [`crate::engine::CodeCache::invalidate_page`] before the next run of any CPU.
    fn watch_code(&mut self, gpa: u64);

    /// ppc64: `sc 1` in privileged state. `gprs` are r0 to r12: r3 has the number and r4 onwards the arguments, and then the answer. False
    /// if it was not answered: the CPU stops with [`crate::ppc64::Exit::Hypercall`], and `gprs` are as they were.
    fn hypercall(&mut self, gprs: &mut [u64; 13]) -> bool {
        let _ = gprs;
        false
    }

    /// x86: reads 1, 2 or 4 bytes of I/O port `port`, in address order. Where nothing answers, ones.
    fn port_read(&mut self, port: u16, data: &mut [u8]) {
        let _ = port;
        data.fill(0xff);
    }

    /// x86: writes 1, 2 or 4 bytes to I/O port `port`, in address order.
    fn port_write(&mut self, port: u16, data: &[u8]) {
        let _ = (port, data);
    }

    /// x86: reads a model-specific register that lies outside the CPU that runs: its local APIC's. None if there is no such register, or it
    /// cannot be read now.
    fn msr_read(&mut self, msr: u32) -> Option<u64> {
        let _ = msr;
        None
    }

    /// x86: writes such a register. None if there is no such register, or the value is refused.
    fn msr_write(&mut self, msr: u32, value: u64) -> Option<()> {
        let _ = (msr, value);
        None
    }

    /// x86: task priority of the local APIC of the CPU that runs (CR8), 0 to 15.
    fn task_priority(&mut self) -> u8 {
        0
    }

    /// x86: sets that task priority.
    fn set_task_priority(&mut self, priority: u8) {
        let _ = priority;
    }

    /// x86: true if the local APIC of the CPU that runs (or the PIC through it) has an interrupt that EFLAGS.IF alone holds back.
    fn interrupt_waits(&mut self) -> bool {
        false
    }

    /// x86: the CPU that runs takes that interrupt: its vector. None if it has gone away.
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
}

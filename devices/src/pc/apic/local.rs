//! One local APIC: its registers, priorities and what it accepts. Intel SDM volume 3, chapter "Advanced Programmable Interrupt
//! Controller (APIC)".

use super::Signals;
use super::regs::*;
use super::timer::Timer;
use super::vectors::Vectors;

/// Where the page of registers is after reset.
pub const BASE: u64 = 0xfee0_0000;

/// Version 0x14, the greatest entry of the local vector table; no directed EOI.
const VERSION_VALUE: u32 = (LVT_ENTRIES as u32 - 1) << 16 | 0x14;

/// Delivery modes.
pub mod mode {
    /// To all destinations.
    pub const FIXED: u8 = 0;
    /// To the destination with the lowest priority.
    pub const LOWEST: u8 = 1;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 4;
    /// INIT.
    pub const INIT: u8 = 5;
    /// Start-up.
    pub const STARTUP: u8 = 6;
    /// From an external controller (8259).
    pub const EXT_INT: u8 = 7;
}

/// What a write to a register asks of the other APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// An interrupt between processors, as in the interrupt command register.
    Ipi(u64),
    /// The end of a level-triggered interrupt: I/O APICs are told the vector.
    Eoi(u8),
    /// There is no such register, it cannot be written, or the value is refused.
    Refused,
}

/// One local APIC.
#[derive(Clone, Debug)]
pub struct Local {
    id: u32,
    /// It has x2APIC mode.
    can_x2apic: bool,
    base: u64,
    tpr: u8,
    ldr: u32,
    dfr: u32,
    svr: u32,
    irr: Vectors,
    isr: Vectors,
    tmr: Vectors,
    /// What software reads, and what has happened since it last wrote the register.
    errors: (u32, u32),
    icr: u64,
    lvt: [u32; LVT_ENTRIES],
    timer: Timer,
    lint: [bool; 2],
    /// An ExtINT message came.
    external: bool,
    pub(super) signals: Signals,
}

impl Local {
    /// The APIC of processor `id` after power-on; processor 0 boots. `x2apic`: it has that mode.
    pub fn new(id: u32, x2apic: bool) -> Self {
        let bsp = if id == 0 { BASE_BSP } else { 0 };
        let mut local = Local {
            id,
            can_x2apic: x2apic,
            base: BASE | BASE_EN | bsp,
            tpr: 0,
            ldr: 0,
            dfr: 0,
            svr: 0,
            irr: Vectors::default(),
            isr: Vectors::default(),
            tmr: Vectors::default(),
            errors: (0, 0),
            icr: 0,
            lvt: [0; LVT_ENTRIES],
            timer: Timer::default(),
            lint: [false; 2],
            external: false,
            signals: Signals::default(),
        };
        local.clear();
        local
    }

    /// Registers after power-on or INIT. The id, the base register, the pins and what waits for the processor stay.
    pub fn clear(&mut self) {
        *self = Local {
            id: self.id,
            can_x2apic: self.can_x2apic,
            base: self.base,
            tpr: 0,
            ldr: if self.x2apic() {
                (self.id >> 4) << 16 | 1 << (self.id & 15)
            } else {
                0
            },
            dfr: u32::MAX,
            svr: 0xff,
            irr: Vectors::default(),
            isr: Vectors::default(),
            tmr: Vectors::default(),
            errors: (0, 0),
            icr: 0,
            lvt: [LVT_MASKED; LVT_ENTRIES],
            timer: Timer::default(),
            lint: self.lint,
            external: false,
            signals: self.signals,
        };
    }

    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Writes IA32_APIC_BASE. None for a reserved bit or a change of mode that does not exist.
    pub fn set_base(&mut self, value: u64) -> Option<()> {
        const RESERVED: u64 = !0xff_ffff_ffff & !0xfff | 0x2ff;
        let mode = |v: u64| (v & BASE_EN != 0, v & BASE_EXTD != 0);
        let forbidden = matches!(
            (mode(self.base), mode(value)),
            (_, (false, true)) | ((true, true), (true, false)) | ((false, _), (true, true))
        );
        let known = self.can_x2apic || value & BASE_EXTD == 0;
        if value & RESERVED != 0 || forbidden || !known {
            return None;
        }
        let changed = mode(self.base) != mode(value);
        self.base = value & !BASE_BSP | self.base & BASE_BSP;
        if changed {
            if self.enabled() {
                // xAPIC to x2APIC keeps all but what has another form.
                self.icr &= 0xffff_ffff;
                if self.x2apic() {
                    self.ldr = (self.id >> 4) << 16 | 1 << (self.id & 15);
                }
            } else {
                self.clear();
            }
        }
        Some(())
    }

    /// Enabled by IA32_APIC_BASE.
    pub fn enabled(&self) -> bool {
        self.base & BASE_EN != 0
    }

    /// In x2APIC mode.
    pub fn x2apic(&self) -> bool {
        self.base & BASE_EXTD != 0
    }

    /// Accepts fixed interrupts: enabled by software as well.
    fn accepts(&self) -> bool {
        self.enabled() && self.svr & SVR_ENABLE != 0
    }

    /// Task priority, 8 bits.
    pub fn tpr(&self) -> u8 {
        self.tpr
    }

    /// Sets the task priority.
    pub fn set_tpr(&mut self, value: u8) {
        self.tpr = value;
    }

    /// Processor priority.
    pub fn ppr(&self) -> u8 {
        let serving = self.isr.highest().unwrap_or(0);
        if self.tpr >> 4 >= serving >> 4 {
            self.tpr
        } else {
            serving & 0xf0
        }
    }

    /// The vector that the processor would take.
    pub fn pending(&self) -> Option<u8> {
        if !self.enabled() {
            return None;
        }
        self.irr
            .highest()
            .filter(|vector| vector >> 4 > self.ppr() >> 4)
    }

    /// The external controller (or an ExtINT message) interrupts through this APIC, or past it if it is disabled.
    pub fn external(&self) -> bool {
        let lint0 = self.lvt[LVT_LINT0];
        let ext = lint0 & LVT_MASKED == 0 && lint0 >> 8 & 7 == u32::from(mode::EXT_INT);
        let bypass = !self.enabled() && self.base & BASE_BSP != 0;
        self.external || self.lint[0] && (ext || bypass)
    }

    /// The processor takes the external interrupt.
    pub fn acknowledge_external(&mut self) {
        self.external = false;
    }

    /// The processor takes the interrupt.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        self.irr.set(vector, false);
        self.isr.set(vector, true);
        Some(vector)
    }

    /// True if a message to `destination` is for this APIC.
    pub fn is_destination(&self, destination: u32, logical: bool) -> bool {
        if !self.enabled() {
            return false;
        }
        match (self.x2apic(), logical) {
            (true, _) if destination == u32::MAX => true,
            (true, false) => destination == self.id,
            (true, true) => {
                destination >> 16 == self.ldr >> 16 && destination & self.ldr & 0xffff != 0
            }
            (false, false) => destination == self.id || matches!(destination, 0xff | u32::MAX),
            (false, true) => {
                let (mda, id) = (destination as u8, (self.ldr >> 24) as u8);
                if self.dfr >> 28 == 15 {
                    mda & id != 0
                } else {
                    (mda >> 4 == id >> 4 || mda >> 4 == 15) && mda & id & 15 != 0
                }
            }
        }
    }

    /// An interrupt with this delivery mode comes.
    pub fn accept(&mut self, delivery: u8, vector: u8, level: bool) {
        match delivery {
            mode::FIXED | mode::LOWEST => self.accept_fixed(vector, level),
            mode::NMI => self.signals.nmi = true,
            mode::INIT => {
                self.clear();
                self.signals = Signals {
                    init: true,
                    ..Signals::default()
                };
            }
            mode::STARTUP => self.signals.startup = Some(vector),
            mode::EXT_INT => self.external = true,
            // SMI: there is no system management mode. 3: reserved.
            _ => {}
        }
    }

    fn accept_fixed(&mut self, vector: u8, level: bool) {
        if !self.accepts() {
            return;
        }
        if vector < 16 {
            return self.error(ESR_RECEIVE_VECTOR);
        }
        self.irr.set(vector, true);
        self.tmr.set(vector, level);
    }

    fn error(&mut self, bit: u32) {
        let fresh = self.errors.1 & bit == 0;
        self.errors.1 |= bit;
        let entry = self.lvt[LVT_ERROR];
        // An entry with a bad vector would be an error again: once is enough.
        if fresh && entry & LVT_MASKED == 0 {
            self.accept_fixed(entry as u8, false);
        }
    }

    /// A pin of the processor changes: 0 is LINT0 (the external controller), 1 is LINT1.
    pub fn set_lint(&mut self, pin: usize, level: bool) {
        let (Some(line), Some(&entry)) = (self.lint.get_mut(pin), self.lvt.get(LVT_LINT0 + pin))
        else {
            return;
        };
        let rises = level && !*line;
        *line = level;
        if rises {
            self.local_interrupt(pin, entry);
        }
    }

    /// What a pin does by its entry. ExtINT is asked for when the processor looks.
    fn local_interrupt(&mut self, pin: usize, entry: u32) {
        if entry & LVT_MASKED != 0 || !self.enabled() {
            return;
        }
        match (entry >> 8 & 7) as u8 {
            mode::FIXED => {
                let level = entry & LVT_LEVEL != 0;
                if level && entry & LVT_REMOTE_IRR != 0 {
                    return;
                }
                if level && let Some(entry) = self.lvt.get_mut(LVT_LINT0 + pin) {
                    *entry |= LVT_REMOTE_IRR;
                }
                self.accept_fixed(entry as u8, level);
            }
            mode::NMI => self.signals.nmi = true,
            _ => {}
        }
    }

    /// When the timer needs [`Local::run`]: a masked one does not.
    pub fn deadline(&self) -> Option<u64> {
        self.timer
            .expiry()
            .filter(|_| self.lvt[LVT_TIMER] & LVT_MASKED == 0)
    }

    /// Lets the timer's time pass.
    pub fn run(&mut self, now_ns: u64) {
        let entry = self.lvt[LVT_TIMER];
        if self.timer.run(entry, now_ns) && entry & LVT_MASKED == 0 {
            self.accept_fixed(entry as u8, false);
        }
    }

    /// IA32_TSC_DEADLINE.
    pub fn tsc_deadline(&self) -> u64 {
        self.timer.deadline(self.lvt[LVT_TIMER])
    }

    /// Writes IA32_TSC_DEADLINE.
    pub fn set_tsc_deadline(&mut self, value: u64, now_ns: u64) {
        self.timer.set_deadline(self.lvt[LVT_TIMER], value);
        self.run(now_ns);
    }

    /// A register, if it exists and can be read.
    pub fn read(&mut self, offset: u16, now_ns: u64) -> Option<u64> {
        let x2 = self.x2apic();
        let value = match offset {
            ID if x2 => self.id,
            ID => self.id << 24,
            VERSION => VERSION_VALUE,
            TPR => self.tpr.into(),
            APR if !x2 => self.ppr().into(),
            PPR => self.ppr().into(),
            LDR => self.ldr,
            DFR if !x2 => self.dfr,
            SVR => self.svr,
            0x100..=0x170 => self.isr.register((offset - ISR) >> 4),
            0x180..=0x1f0 => self.tmr.register((offset - TMR) >> 4),
            0x200..=0x270 => self.irr.register((offset - IRR) >> 4),
            ESR => self.errors.0,
            ICR if x2 => return Some(self.icr),
            ICR => self.icr as u32,
            ICR_HIGH if !x2 => (self.icr >> 32) as u32,
            0x320..=0x370 => self.lvt[usize::from((offset - LVT) >> 4)],
            TIMER_INITIAL => self.timer.initial(),
            TIMER_CURRENT => {
                self.run(now_ns);
                self.timer.current(self.lvt[LVT_TIMER], now_ns)
            }
            TIMER_DIVIDE => self.timer.divide(),
            _ => {
                if !x2 && offset != EOI {
                    self.error(ESR_REGISTER);
                }
                return None;
            }
        };
        Some(value.into())
    }

    /// Writes a register: 32 bits, or 64 for the interrupt command in x2APIC mode.
    pub fn write(&mut self, offset: u16, value: u64, now_ns: u64) -> Sent {
        let x2 = self.x2apic();
        // In x2APIC mode a reserved bit is refused, not ignored.
        let writable: u64 = match offset {
            TPR => 0xff,
            EOI | ESR if x2 => 0,
            SVR => 0x1ff,
            ICR if x2 => 0xffff_ffff_000c_cfff,
            0x320..=0x370 => self.lvt_writable(offset).into(),
            TIMER_DIVIDE => 0xb,
            SELF_IPI => 0xff,
            _ => 0xffff_ffff,
        };
        // Status bits of a local vector table entry can be written, and stay as they are.
        let status = match offset {
            0x320..=0x370 => u64::from(LVT_STATUS | LVT_REMOTE_IRR),
            _ => 0,
        };
        if x2 && value & !(writable | status) != 0 {
            return Sent::Refused;
        }
        let v = value as u32 & writable as u32;
        match offset {
            TPR => self.tpr = v as u8,
            EOI => return self.end_of_interrupt(),
            ID if !x2 => {} // read-only in this implementation
            LDR if !x2 => self.ldr = v & 0xff00_0000,
            DFR if !x2 => self.dfr = v | 0x0fff_ffff,
            SVR => {
                self.svr = v;
                if v & SVR_ENABLE == 0 {
                    self.lvt.iter_mut().for_each(|entry| *entry |= LVT_MASKED);
                }
            }
            ESR => self.errors = (self.errors.1, 0),
            ICR => return self.command(value, x2),
            ICR_HIGH if !x2 => self.icr = self.icr & 0xffff_ffff | u64::from(v) << 32,
            0x320..=0x370 => self.write_lvt(offset, v, now_ns),
            TIMER_INITIAL => {
                self.run(now_ns);
                self.timer.start(self.lvt[LVT_TIMER], v, now_ns);
            }
            TIMER_DIVIDE => {
                self.run(now_ns);
                self.timer.set_divide(v);
            }
            SELF_IPI if x2 => return Sent::Ipi(u64::from(v) | 1 << 18),
            _ => {
                if !x2 {
                    self.error(ESR_REGISTER);
                }
                return Sent::Refused;
            }
        }
        Sent::Nothing
    }

    fn end_of_interrupt(&mut self) -> Sent {
        let Some(vector) = self.isr.highest() else {
            return Sent::Nothing;
        };
        self.isr.set(vector, false);
        if !self.tmr.has(vector) {
            return Sent::Nothing;
        }
        for pin in 0..2 {
            let entry = self.lvt[LVT_LINT0 + pin];
            if entry & LVT_REMOTE_IRR != 0 && entry as u8 == vector {
                self.lvt[LVT_LINT0 + pin] = entry & !LVT_REMOTE_IRR;
                if self.lint[pin] {
                    self.local_interrupt(pin, entry & !LVT_REMOTE_IRR);
                }
            }
        }
        Sent::Eoi(vector)
    }

    fn command(&mut self, value: u64, x2: bool) -> Sent {
        self.icr = if x2 {
            value
        } else {
            self.icr & !0xffff_ffff | value & 0xc_cfff
        };
        let (vector, delivery) = (self.icr as u8, (self.icr >> 8 & 7) as u8);
        if vector < 16 && matches!(delivery, mode::FIXED | mode::LOWEST) {
            self.error(ESR_SEND_VECTOR);
            return Sent::Nothing;
        }
        Sent::Ipi(self.icr)
    }

    fn lvt_writable(&self, offset: u16) -> u32 {
        match usize::from((offset - LVT) >> 4) {
            LVT_TIMER => 0x7_00ff,
            1 | 2 => 0x1_07ff,
            LVT_ERROR => 0x1_00ff,
            _ => 0x1_a7ff,
        }
    }

    fn write_lvt(&mut self, offset: u16, value: u32, now_ns: u64) {
        let index = usize::from((offset - LVT) >> 4);
        // What expired until now did so under the old entry.
        self.run(now_ns);
        let old = self.lvt[index];
        let masked = if self.svr & SVR_ENABLE == 0 {
            LVT_MASKED
        } else {
            0
        };
        let mut new = value | masked;
        if new & LVT_LEVEL != 0 {
            new |= old & LVT_REMOTE_IRR;
        }
        self.lvt[index] = new;
        match index {
            LVT_TIMER => self.timer.lvt_written(old, new),
            3 | 4 if new & LVT_LEVEL != 0 && self.lint[index - LVT_LINT0] => {
                self.local_interrupt(index - LVT_LINT0, new);
            }
            _ => {}
        }
    }
}

//! The pair of 8259A interrupt controllers of a PC. Intel 8259A data sheet; ICH9 data sheet §5.8 (edge/level registers 0x4d0, 0x4d1).

#[cfg(test)]
mod tests;

/// Commands and data of the first controller.
pub const FIRST: u16 = 0x20;
/// Commands and data of the second.
pub const SECOND: u16 = 0xa0;
/// Edge/level registers of both.
pub const EDGE_LEVEL: u16 = 0x4d0;

/// Input of the first to which the second is connected.
const CASCADE: u8 = 2;

/// Which initialisation word comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Nothing,
    Icw2,
    Icw3,
    Icw4,
}

#[derive(Clone, Copy, Debug, Default)]
struct Chip {
    irr: u8,
    isr: u8,
    imr: u8,
    lines: u8,
    level: u8,
    base: u8,
    /// Input with the lowest priority.
    lowest: u8,
    expect: Expect,
    wants_icw4: bool,
    single: bool,
    auto_eoi: bool,
    rotate_auto: bool,
    read_isr: bool,
    poll: bool,
    special_mask: bool,
    special_nested: bool,
}

impl Chip {
    fn set_line(&mut self, input: u8, level: bool) {
        let bit = 1 << (input & 7);
        if self.level & bit != 0 {
            self.irr = if level {
                self.irr | bit
            } else {
                self.irr & !bit
            };
        } else if level && self.lines & bit == 0 {
            self.irr |= bit;
        } else if !level {
            // A request must stay until it is acknowledged.
            self.irr &= !bit;
        }
        self.lines = if level {
            self.lines | bit
        } else {
            self.lines & !bit
        };
    }

    /// Inputs by falling priority.
    fn inputs(&self) -> impl Iterator<Item = u8> + use<> {
        let first = self.lowest + 1;
        (0..8).map(move |n| (first + n) & 7)
    }

    /// The input that interrupts, if one does. The second controller's input of the first may interrupt itself in special fully nested
    /// mode.
    fn request(&self, is_first: bool) -> Option<u8> {
        let waiting = self.irr & !self.imr;
        for input in self.inputs() {
            let bit = 1 << input;
            if self.isr & bit != 0
                && !self.special_mask
                && !(is_first && self.special_nested && input == CASCADE && waiting & bit != 0)
            {
                return None;
            }
            if waiting & bit != 0 && (!self.special_mask || self.isr & bit == 0) {
                return Some(input);
            }
        }
        None
    }

    fn acknowledge(&mut self, input: u8) {
        let bit = 1 << (input & 7);
        if self.level & bit == 0 {
            self.irr &= !bit;
        }
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_auto {
            self.lowest = input & 7;
        }
    }

    fn command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            *self = Chip {
                lines: self.lines,
                level: self.level,
                // Edges are forgotten, levels are not.
                irr: self.lines & self.level,
                lowest: 7,
                expect: Expect::Icw2,
                wants_icw4: value & 1 != 0,
                single: value & 2 != 0,
                ..Chip::default()
            };
        } else if value & 0x08 != 0 {
            self.poll = value & 4 != 0;
            if value & 2 != 0 {
                self.read_isr = value & 1 != 0;
            }
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
        } else {
            self.operation(value >> 5, value & 7);
        }
    }

    /// Operation control word 2.
    fn operation(&mut self, operation: u8, level: u8) {
        let highest = self.inputs().find(|&i| self.isr >> i & 1 != 0);
        match operation {
            0 => self.rotate_auto = false,
            4 => self.rotate_auto = true,
            1 | 5 => {
                if let Some(input) = highest {
                    self.isr &= !(1 << input);
                    if operation == 5 {
                        self.lowest = input;
                    }
                }
            }
            3 | 7 => {
                self.isr &= !(1 << level);
                if operation == 7 {
                    self.lowest = level;
                }
            }
            6 => self.lowest = level,
            _ => {}
        }
    }

    fn data(&mut self, value: u8) {
        match self.expect {
            Expect::Nothing => self.imr = value,
            Expect::Icw2 => {
                self.base = value & 0xf8;
                self.expect = match (self.single, self.wants_icw4) {
                    (false, _) => Expect::Icw3,
                    (true, true) => Expect::Icw4,
                    (true, false) => Expect::Nothing,
                };
            }
            Expect::Icw3 => {
                self.expect = if self.wants_icw4 {
                    Expect::Icw4
                } else {
                    Expect::Nothing
                };
            }
            Expect::Icw4 => {
                self.auto_eoi = value & 2 != 0;
                self.special_nested = value & 0x10 != 0;
                self.expect = Expect::Nothing;
            }
        }
    }
}

/// Both controllers: inputs 0 to 7 are the first's, 8 to 15 the second's.
#[derive(Clone, Copy, Debug)]
pub struct Pic {
    chips: [Chip; 2],
}

impl Default for Pic {
    fn default() -> Self {
        // As firmware leaves them: nothing comes through.
        let chip = Chip {
            imr: 0xff,
            lowest: 7,
            ..Chip::default()
        };
        Pic { chips: [chip; 2] }
    }
}

impl Pic {
    /// An input has this level now. Input 2 is the cascade, and ignored.
    pub fn set_line(&mut self, irq: u8, level: bool) {
        match irq {
            CASCADE => return,
            0..=7 => self.chips[0].set_line(irq, level),
            8..=15 => self.chips[1].set_line(irq - 8, level),
            _ => return,
        }
        self.cascade();
    }

    fn cascade(&mut self) {
        let level = self.chips[1].request(false).is_some();
        let first = &mut self.chips[0];
        // The second's output falls for a moment with each acknowledgement, so that every request is an edge.
        first.set_line(CASCADE, false);
        first.set_line(CASCADE, level);
    }

    /// True if the pair interrupts the processor.
    pub fn output(&self) -> bool {
        self.chips[0].request(true).is_some()
    }

    /// The processor acknowledges: the vector. If the request has gone, that of input 7.
    pub fn acknowledge(&mut self) -> u8 {
        let [first, second] = &mut self.chips;
        let Some(input) = first.request(true) else {
            return first.base + 7;
        };
        first.acknowledge(input);
        let vector = if input != CASCADE {
            first.base + input
        } else if let Some(input) = second.request(false) {
            second.acknowledge(input);
            second.base + input
        } else {
            second.base + 7
        };
        self.cascade();
        vector
    }

    fn place(port: u16) -> Option<(usize, bool)> {
        match port {
            0x20 => Some((0, false)),
            0x21 => Some((0, true)),
            0xa0 => Some((1, false)),
            0xa1 => Some((1, true)),
            _ => None,
        }
    }

    /// Reads a byte. None if the port is not one of theirs.
    pub fn read(&mut self, port: u16) -> Option<u8> {
        if let Some(n) = port.checked_sub(EDGE_LEVEL).filter(|&n| n < 2) {
            return Some(self.chips[usize::from(n)].level);
        }
        let (n, is_data) = Self::place(port)?;
        let chip = &mut self.chips[n];
        if std::mem::take(&mut chip.poll) {
            let Some(input) = chip.request(n == 0) else {
                return Some(0);
            };
            chip.acknowledge(input);
            self.cascade();
            return Some(0x80 | input);
        }
        Some(match (is_data, chip.read_isr) {
            (true, _) => chip.imr,
            (false, true) => chip.isr,
            (false, false) => chip.irr,
        })
    }

    /// Writes a byte. False if the port is not one of theirs.
    pub fn write(&mut self, port: u16, value: u8) -> bool {
        if let Some(n) = port.checked_sub(EDGE_LEVEL).filter(|&n| n < 2) {
            // Inputs 0, 1, 2, 8 and 13 are always edges.
            let allowed = if n == 0 { 0xf8 } else { 0xde };
            self.chips[usize::from(n)].level = value & allowed;
            return true;
        }
        let Some((n, is_data)) = Self::place(port) else {
            return false;
        };
        if is_data {
            self.chips[n].data(value);
        } else {
            self.chips[n].command(value);
        }
        self.cascade();
        true
    }
}

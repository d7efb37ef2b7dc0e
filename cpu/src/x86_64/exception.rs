//! Exceptions as values (Intel SDM vol. 3 §6.15).

/// Vectors of the exceptions.
pub mod vector {
    /// Divide error.
    pub const DE: u8 = 0;
    /// Debug.
    pub const DB: u8 = 1;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// Breakpoint: INT3.
    pub const BP: u8 = 3;
    /// Overflow: INTO.
    pub const OF: u8 = 4;
    /// BOUND.
    pub const BR: u8 = 5;
    /// Invalid opcode.
    pub const UD: u8 = 6;
    /// No x87 or SSE now.
    pub const NM: u8 = 7;
    /// Double fault.
    pub const DF: u8 = 8;
    /// Invalid TSS.
    pub const TS: u8 = 10;
    /// Segment not present.
    pub const NP: u8 = 11;
    /// Stack segment.
    pub const SS: u8 = 12;
    /// General protection.
    pub const GP: u8 = 13;
    /// Page fault.
    pub const PF: u8 = 14;
    /// x87 error.
    pub const MF: u8 = 16;
    /// Alignment check.
    pub const AC: u8 = 17;
    /// Machine check.
    pub const MC: u8 = 18;
    /// SIMD floating-point error.
    pub const XM: u8 = 19;
}

/// An exception that an instruction raised and that is not delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// The error code that is pushed, if it has one.
    pub error: Option<u32>,
    /// #PF: the address for CR2.
    pub address: Option<u64>,
    /// It is delivered after the instruction, not at it: a trap (#BP, #OF, #DB after a step), or INT n.
    pub trap: bool,
    /// It came by INT n, INT3 or INTO: the gate's privilege level is checked.
    pub software: bool,
}

impl Exception {
    /// A fault without an error code.
    pub fn plain(vector: u8) -> Exception {
        Exception {
            vector,
            error: None,
            address: None,
            trap: false,
            software: false,
        }
    }

    /// A fault with an error code.
    pub fn with_code(vector: u8, error: u32) -> Exception {
        Exception {
            error: Some(error),
            ..Exception::plain(vector)
        }
    }

    /// #GP(0).
    pub fn general_protection() -> Exception {
        Exception::with_code(vector::GP, 0)
    }

    /// #UD.
    pub fn invalid_opcode() -> Exception {
        Exception::plain(vector::UD)
    }
}

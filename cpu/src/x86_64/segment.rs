//! Segment registers and descriptor tables as the CPU holds them (Intel SDM vol. 3 §3.4).

/// Number of a segment register, in the order of its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentRegister {
    /// Extra.
    Es,
    /// Code.
    Cs,
    /// Stack.
    Ss,
    /// Data.
    Ds,
    /// FS.
    Fs,
    /// GS.
    Gs,
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The visible part.
    pub selector: u16,
    /// First byte, a linear address.
    pub base: u64,
    /// Last valid offset, in bytes.
    pub limit: u32,
    /// Bits 8 to 23 of a descriptor's upper half, shifted to 0: type (3:0), S (4), DPL (6:5), P (7), AVL (12), L (13), D/B (14), G (15).
    /// 0 for an unusable segment.
    pub attributes: u16,
}

impl Segment {
    /// Type of the descriptor, four bits.
    pub fn kind(self) -> u8 {
        (self.attributes & 15) as u8
    }
    /// Descriptor privilege level.
    pub fn dpl(self) -> u8 {
        (self.attributes >> 5 & 3) as u8
    }
    /// 64-bit code.
    pub fn is_long(self) -> bool {
        self.attributes >> 13 & 1 != 0
    }
    /// 32-bit code, or a 32-bit stack.
    pub fn is_big(self) -> bool {
        self.attributes >> 14 & 1 != 0
    }
    /// Not loaded with a null selector.
    pub fn is_usable(self) -> bool {
        self.attributes >> 7 & 1 != 0
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorTable {
    /// First byte, a linear address.
    pub base: u64,
    /// Last valid offset.
    pub limit: u16,
}

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

/// A descriptor of the GDT or LDT as it is in memory (Intel SDM vol. 3 §3.4.5), its upper eight bytes for a system descriptor of long mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// The first eight bytes.
    pub low: u64,
    /// The next eight bytes, or 0.
    pub high: u64,
}

impl Descriptor {
    /// As a segment register holds it.
    pub fn segment(self, selector: u16) -> Segment {
        let d = self.low;
        let attributes = (d >> 40) as u16 & 0xf0ff;
        let limit = (d & 0xffff | d >> 32 & 0xf_0000) as u32;
        Segment {
            selector,
            base: d >> 16 & 0xff_ffff | d >> 32 & 0xff00_0000 | self.high << 32,
            limit: if attributes >> 15 != 0 {
                limit << 12 | 0xfff
            } else {
                limit
            },
            attributes,
        }
    }
    /// Type, four bits.
    pub fn kind(self) -> u8 {
        (self.low >> 40 & 15) as u8
    }
    /// Of code or data.
    pub fn is_user(self) -> bool {
        self.low >> 44 & 1 != 0
    }
    /// Of code.
    pub fn is_code(self) -> bool {
        self.is_user() && self.kind() & 8 != 0
    }
    /// Of conforming code.
    pub fn is_conforming(self) -> bool {
        self.is_code() && self.kind() & 4 != 0
    }
    /// Of data that can be written.
    pub fn is_writable(self) -> bool {
        self.is_user() && self.kind() & 0xa == 2
    }
    /// Of data, or of code that can be read.
    pub fn is_readable(self) -> bool {
        self.is_user() && self.kind() & 0xa != 8
    }
    /// Descriptor privilege level.
    pub fn dpl(self) -> u8 {
        (self.low >> 45 & 3) as u8
    }
    /// P.
    pub fn is_present(self) -> bool {
        self.low >> 47 & 1 != 0
    }
    /// L: 64-bit code.
    pub fn is_long(self) -> bool {
        self.low >> 53 & 1 != 0
    }
    /// D: 32-bit code.
    pub fn is_big(self) -> bool {
        self.low >> 54 & 1 != 0
    }
}

impl Segment {
    /// Whether `size` bytes at `offset` lie within the limit; of a segment that expands down, outside it.
    pub fn contains(self, offset: u64, size: u64) -> bool {
        let last = offset.wrapping_add(size.wrapping_sub(1));
        let limit = u64::from(self.limit);
        let is_data = self.attributes & 0x18 == 0x10;
        if is_data && self.attributes & 4 != 0 {
            let top = if self.is_big() { 0xffff_ffff } else { 0xffff };
            offset > limit && last <= top && offset <= last
        } else {
            last <= limit && offset <= last
        }
    }
}

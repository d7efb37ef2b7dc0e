//! Tables in memory, and the way from the root pointer to each.

/// Bytes at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Physical address.
    pub at: u64,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// Everything that firmware leaves for ACPI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Pieces of memory, which do not overlap.
    pub pieces: Vec<Piece>,
    /// Address of the root pointer.
    pub rsdp: u64,
}

impl Image {
    /// `length` bytes at `at`, if one piece has them.
    pub fn get(&self, at: u64, length: usize) -> Option<&[u8]> {
        self.pieces.iter().find_map(|piece| {
            let start = usize::try_from(at.checked_sub(piece.at)?).ok()?;
            piece.bytes.get(start..start.checked_add(length)?)
        })
    }

    /// The table at `at` with all the bytes that its header says.
    ///
    /// # Errors
    /// [`Fault`] if they are not there.
    pub fn table(&self, at: u64) -> Result<Table, Fault> {
        let length = self
            .get(at, 8)
            .and_then(|head| get_u32(head, 4))
            .ok_or(Fault::Nowhere(at))?;
        let bytes = self
            .get(at, length as usize)
            .filter(|b| b.len() >= 8)
            .ok_or(Fault::Cut { at, length })?;
        Ok(Table {
            at,
            bytes: bytes.to_vec(),
        })
    }
}

/// Why a table cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No memory at an address.
    #[error("there is nothing at {0:#x}")]
    Nowhere(u64),
    /// Less memory than the length says.
    #[error("the table at {at:#x} says that it has {length} bytes, which are not there")]
    Cut {
        /// Its address.
        at: u64,
        /// Its length.
        length: u32,
    },
    /// No root pointer.
    #[error("there is no root pointer at {0:#x}")]
    NoRoot(u64),
}

/// A table's header. ACPI 6.5 §5.2.6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Signature; what is not printable is a question mark.
    pub signature: String,
    /// Revision.
    pub revision: u8,
    /// Maker of the machine.
    pub oem: String,
    /// Its name for the table.
    pub oem_table: String,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Physical address.
    pub at: u64,
    /// All of it, at least 8 bytes.
    pub bytes: Vec<u8>,
}

impl Table {
    /// Its signature; what is not printable is a question mark.
    pub fn signature(&self) -> String {
        printable(&self.bytes, 0, 4)
    }

    /// Its header, if it is long enough to have one.
    pub fn header(&self) -> Option<Header> {
        (self.bytes.len() >= 36).then(|| Header {
            signature: self.signature(),
            revision: self.bytes[8],
            oem: printable(&self.bytes, 10, 6),
            oem_table: printable(&self.bytes, 16, 8),
        })
    }
}

fn printable(bytes: &[u8], at: usize, length: usize) -> String {
    let part = bytes.get(at..at + length).unwrap_or_default();
    let char = |&b: &u8| {
        if b == b' ' || b.is_ascii_graphic() {
            char::from(b)
        } else {
            '?'
        }
    };
    part.iter().map(char).collect()
}

/// The tables of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Root pointer: 36 bytes.
    pub rsdp: Vec<u8>,
    /// The list of tables.
    pub xsdt: Option<Table>,
    /// The tables it lists, then FACS and DSDT where a FADT names them.
    pub tables: Vec<Table>,
    /// What could not be followed.
    pub faults: Vec<Fault>,
}

impl Set {
    /// Most tables that are looked at.
    pub const MOST: usize = 256;

    /// Follows the pointers of an image: root pointer, XSDT, its tables, and what its FADT names. What cannot be followed is a fault.
    pub fn read(image: &Image) -> Set {
        let mut set = Set::default();
        let Some(rsdp) = image
            .get(image.rsdp, 36)
            .filter(|r| r.starts_with(b"RSD PTR "))
        else {
            set.faults.push(Fault::NoRoot(image.rsdp));
            return set;
        };
        set.rsdp = rsdp.to_vec();
        let xsdt = match image.table(get_u64(rsdp, 24).unwrap_or_default()) {
            Ok(xsdt) => xsdt,
            Err(fault) => {
                set.faults.push(fault);
                return set;
            }
        };
        let list = xsdt.bytes.get(36..).unwrap_or_default().as_chunks::<8>().0;
        for entry in list.iter().take(Set::MOST) {
            set.add(image, u64::from_le_bytes(*entry));
        }
        set.xsdt = Some(xsdt);
        if let Some(fadt) = set.find("FACP").cloned() {
            // The wide field of a pair counts if it is not 0. ACPI 6.5 §5.2.9.
            let pointer = |narrow, wide| {
                let wide = get_u64(&fadt.bytes, wide).filter(|p| *p != 0);
                wide.or(get_u32(&fadt.bytes, narrow).map(u64::from))
            };
            for at in [pointer(36, 132), pointer(40, 140)].into_iter().flatten() {
                if at != 0 {
                    set.add(image, at);
                }
            }
        }
        set
    }

    fn add(&mut self, image: &Image, at: u64) {
        match image.table(at) {
            Ok(table) => self.tables.push(table),
            Err(fault) => self.faults.push(fault),
        }
    }

    /// The first table with this signature.
    pub fn find(&self, signature: &str) -> Option<&Table> {
        self.tables.iter().find(|t| t.signature() == signature)
    }
}

/// Sum of all bytes, which is 0 in a good table.
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, b| sum.wrapping_add(*b))
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The byte at an offset.
pub fn get_u8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}
/// The little-endian number of 2 bytes at an offset.
pub fn get_u16(bytes: &[u8], at: usize) -> Option<u16> {
    get(bytes, at).map(u16::from_le_bytes)
}
/// The little-endian number of 4 bytes at an offset.
pub fn get_u32(bytes: &[u8], at: usize) -> Option<u32> {
    get(bytes, at).map(u32::from_le_bytes)
}
/// The little-endian number of 8 bytes at an offset.
pub fn get_u64(bytes: &[u8], at: usize) -> Option<u64> {
    get(bytes, at).map(u64::from_le_bytes)
}

//! The MADT: local and I/O APICs. ACPI 6.5 §5.2.12.

use super::image::{get_u8, get_u16, get_u32};
use super::{BuildError, Description, IoApic, Override, sdt};

/// One interrupt controller structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A processor's local APIC (type 0).
    LocalApic {
        /// UID of the processor's object.
        uid: u8,
        /// APIC id.
        id: u8,
        /// It can be used.
        enabled: bool,
    },
    /// An I/O APIC (type 1).
    IoApic(IoApic),
    /// An interrupt source override (type 2).
    Override(Override),
    /// The pin of all local APICs at which NMI arrives (type 4 with UID 255).
    LocalNmi {
        /// LINT number.
        pin: u8,
    },
    /// A processor's local x2APIC (type 9).
    LocalX2Apic {
        /// UID of the processor's object.
        uid: u32,
        /// APIC id.
        id: u32,
        /// It can be used.
        enabled: bool,
    },
    /// The same as `LocalNmi` for x2APICs (type 0xa).
    LocalX2Nmi {
        /// LINT number.
        pin: u8,
    },
    /// Another structure: type and content.
    Unknown(u8, Vec<u8>),
}

/// Polarity and trigger mode of NMI pins: as the bus says.
const CONFORMS: u16 = 0;

/// The MADT of a description.
pub(super) fn write(d: &Description) -> Result<Vec<u8>, BuildError> {
    const PCAT_COMPAT: u32 = 1;
    let mut body = Vec::new();
    body.extend(d.local_apic.to_le_bytes());
    // Legacy interrupt controllers are there and must be masked.
    body.extend(PCAT_COMPAT.to_le_bytes());
    let mut wide = false;
    for (uid, &id) in (0..).zip(&d.cpus) {
        let narrow = u8::try_from(id).ok().filter(|id| *id < 255);
        let entry = match (narrow, u8::try_from(uid)) {
            (Some(id), Ok(uid)) if !d.x2apic => Entry::LocalApic {
                uid,
                id,
                enabled: true,
            },
            _ => Entry::LocalX2Apic {
                uid,
                id,
                enabled: true,
            },
        };
        wide |= matches!(entry, Entry::LocalX2Apic { .. });
        put(&mut body, &entry)?;
    }
    for &io_apic in &d.io_apics {
        put(&mut body, &Entry::IoApic(io_apic))?;
    }
    for &o in &d.overrides {
        put(&mut body, &Entry::Override(o))?;
    }
    put(&mut body, &Entry::LocalNmi { pin: 1 })?;
    if wide {
        put(&mut body, &Entry::LocalX2Nmi { pin: 1 })?;
    }
    Ok(sdt(*b"APIC", 5, &body))
}

fn put(out: &mut Vec<u8>, entry: &Entry) -> Result<(), BuildError> {
    let mut c = Vec::new();
    let kind = match entry {
        Entry::LocalApic { uid, id, enabled } => {
            c.extend([*uid, *id]);
            c.extend(u32::from(*enabled).to_le_bytes());
            0
        }
        Entry::IoApic(io) => {
            c.extend([io.id, 0]);
            c.extend(io.address.to_le_bytes());
            c.extend(io.gsi_base.to_le_bytes());
            1
        }
        Entry::Override(o) => {
            let polarity = if o.active_low { 3 } else { 1 };
            let trigger = if o.level { 3 } else { 1 };
            c.extend([0, o.irq]);
            c.extend(o.gsi.to_le_bytes());
            c.extend(u16::to_le_bytes(polarity | trigger << 2));
            2
        }
        Entry::LocalNmi { pin } => {
            c.push(255);
            c.extend(CONFORMS.to_le_bytes());
            c.push(*pin);
            4
        }
        Entry::LocalX2Apic { uid, id, enabled } => {
            c.extend([0; 2]);
            c.extend(id.to_le_bytes());
            c.extend(u32::from(*enabled).to_le_bytes());
            c.extend(uid.to_le_bytes());
            9
        }
        Entry::LocalX2Nmi { pin } => {
            c.extend(CONFORMS.to_le_bytes());
            c.extend(u32::MAX.to_le_bytes());
            c.extend([*pin, 0, 0, 0]);
            10
        }
        Entry::Unknown(kind, bytes) => {
            c.extend(bytes);
            *kind
        }
    };
    let length = u8::try_from(c.len() + 2)
        .map_err(|_| BuildError("MADT: a structure is longer than 255 bytes"))?;
    out.extend([kind, length]);
    out.extend(c);
    Ok(())
}

/// The structures of a whole table; `None` if a length leads nowhere.
pub fn read(table: &[u8]) -> Option<Vec<Entry>> {
    let mut out = Vec::new();
    let mut rest = table.get(44..)?;
    while !rest.is_empty() {
        let length = usize::from(get_u8(rest, 1)?);
        let (entry, after) = rest.split_at_checked(length)?;
        out.push(entry_of(*entry.first()?, entry.get(2..)?)?);
        rest = after;
    }
    Some(out)
}

fn entry_of(kind: u8, c: &[u8]) -> Option<Entry> {
    Some(match kind {
        0 => Entry::LocalApic {
            uid: get_u8(c, 0)?,
            id: get_u8(c, 1)?,
            enabled: get_u32(c, 2)? & 1 != 0,
        },
        1 => Entry::IoApic(IoApic {
            id: get_u8(c, 0)?,
            address: get_u32(c, 2)?,
            gsi_base: get_u32(c, 6)?,
        }),
        2 => {
            let flags = get_u16(c, 6)?;
            Entry::Override(Override {
                irq: get_u8(c, 1)?,
                gsi: get_u32(c, 2)?,
                level: flags >> 2 & 3 == 3,
                active_low: flags & 3 == 3,
            })
        }
        4 if get_u8(c, 0)? == 255 => Entry::LocalNmi { pin: get_u8(c, 3)? },
        9 => Entry::LocalX2Apic {
            id: get_u32(c, 2)?,
            enabled: get_u32(c, 6)? & 1 != 0,
            uid: get_u32(c, 10)?,
        },
        10 if get_u32(c, 2)? == u32::MAX => Entry::LocalX2Nmi { pin: get_u8(c, 6)? },
        other => Entry::Unknown(other, c.to_vec()),
    })
}

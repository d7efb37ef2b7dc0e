//! Reads a DMAR table that anybody may have written.

use super::{Andd, Atsr, Dmar, Drhd, Rhsa, Rmrr, Satc, Scope, ScopeKind, Sidp, Structure};
use crate::acpi::image::{get_u8, get_u16, get_u32, get_u64};

/// Why a table cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It ends inside of something.
    #[error("it ends inside of {0}")]
    Cut(&'static str),
    /// A structure's length does not hold what it must, or reaches out of the table.
    #[error("the structure at {at:#x} (type {kind}) has a length of {length}")]
    Length {
        /// Where it starts, in bytes from the table's start.
        at: usize,
        /// Its type.
        kind: u16,
        /// What it says.
        length: u16,
    },
    /// The same for a device scope.
    #[error("a device scope of the structure at {at:#x} has a length of {length}")]
    ScopeLength {
        /// Where the structure starts.
        at: usize,
        /// What the scope says.
        length: u8,
    },
}

/// The contents of a whole table, header included. Reserved fields are not looked at.
///
/// # Errors
/// [`ReadError`] for a length that leads nowhere.
pub fn read(table: &[u8]) -> Result<Dmar, ReadError> {
    let (Some(width), Some(flags)) = (get_u8(table, 36), get_u8(table, 37)) else {
        return Err(ReadError::Cut("its header"));
    };
    let mut structures = Vec::new();
    let mut at = 48;
    while at < table.len() {
        let (Some(kind), Some(length)) = (get_u16(table, at), get_u16(table, at + 2)) else {
            return Err(ReadError::Cut("a structure's type and length"));
        };
        let bad = ReadError::Length { at, kind, length };
        let content = (length >= 4)
            .then(|| table.get(at + 4..at + usize::from(length)))
            .flatten()
            .ok_or(bad.clone())?;
        structures.push(structure(at, kind, content, bad)?);
        at += usize::from(length);
    }
    Ok(Dmar {
        host_address_width: u16::from(width) + 1,
        interrupt_remapping: flags & 1 != 0,
        x2apic_opt_out: flags & 2 != 0,
        dma_control_opt_in: flags & 4 != 0,
        structures,
    })
}

/// Gives `short` if `c`, the content after type and length, does not hold the fixed fields.
fn structure(at: usize, kind: u16, c: &[u8], short: ReadError) -> Result<Structure, ReadError> {
    let fixed = [12, 20, 4, 16, 4, 4, 4];
    let Some(&fixed) = fixed.get(usize::from(kind)) else {
        return Ok(Structure::Unknown(kind, c.to_vec()));
    };
    let Some((f, rest)) = c.split_at_checked(fixed) else {
        return Err(short);
    };
    // `f` has the length that every access below needs; the defaults are never taken.
    let byte = |i| get_u8(f, i).unwrap_or_default();
    let segment = get_u16(f, 2).unwrap_or_default();
    let long = |i| get_u64(f, i).unwrap_or_default();
    Ok(match kind {
        0 => Structure::Drhd(Drhd {
            include_pci_all: byte(0) & 1 != 0,
            size: byte(1) & 15,
            segment,
            address: long(4),
            scopes: scopes(at, rest)?,
        }),
        1 => Structure::Rmrr(Rmrr {
            segment,
            base: long(4),
            limit: long(12),
            scopes: scopes(at, rest)?,
        }),
        2 => Structure::Atsr(Atsr {
            all_ports: byte(0) & 1 != 0,
            segment,
            scopes: scopes(at, rest)?,
        }),
        3 => Structure::Rhsa(Rhsa {
            address: long(4),
            proximity: get_u32(f, 12).unwrap_or_default(),
        }),
        4 => Structure::Andd(Andd {
            number: byte(3),
            name: rest
                .split(|b| *b == 0)
                .next()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .unwrap_or_default(),
        }),
        5 => Structure::Satc(Satc {
            required: byte(0) & 1 != 0,
            segment,
            scopes: scopes(at, rest)?,
        }),
        _ => Structure::Sidp(Sidp {
            segment,
            scopes: scopes(at, rest)?,
        }),
    })
}

fn scopes(at: usize, mut rest: &[u8]) -> Result<Vec<Scope>, ReadError> {
    let mut out = Vec::new();
    while !rest.is_empty() {
        let length = get_u8(rest, 1).ok_or(ReadError::Cut("a device scope"))?;
        let bad = ReadError::ScopeLength { at, length };
        let Some((scope, after)) = rest.split_at_checked(usize::from(length)) else {
            return Err(bad);
        };
        let [kind, _, flags, _, enumeration_id, start_bus, path @ ..] = scope else {
            return Err(bad);
        };
        let (steps, odd) = path.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(bad);
        }
        out.push(Scope {
            kind: ScopeKind::of(*kind),
            flags: *flags,
            enumeration_id: *enumeration_id,
            start_bus: *start_bus,
            path: steps.iter().map(|&[d, f]| (d, f)).collect(),
        });
        rest = after;
    }
    Ok(out)
}

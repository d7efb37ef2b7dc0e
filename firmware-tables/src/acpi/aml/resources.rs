//! Resource descriptors, the contents of `_CRS`. ACPI 6.5 §6.4.

use crate::acpi::image::{get_u8, get_u16, get_u32, get_u64};

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory: first and last address.
    Memory(u64, u64),
    /// Ports: first and last.
    Io(u64, u64),
    /// Buses: first and last.
    Bus(u64, u64),
    /// Interrupts by number.
    Interrupts(Vec<u32>),
    /// A descriptor of another kind, by its tag.
    Other(u8),
}

/// The descriptors of a buffer up to its end tag; those that lead nowhere end the list.
pub fn resources(buffer: &[u8]) -> Vec<Resource> {
    let mut out = Vec::new();
    let mut rest = buffer;
    while let Some(&tag) = rest.first() {
        // Large descriptors have two bytes of length, small ones three bits.
        let (start, length) = if tag & 0x80 != 0 {
            (3, get_u16(rest, 1).map(usize::from))
        } else {
            (1, Some(usize::from(tag & 7)))
        };
        let body = length.and_then(|n| rest.get(start..start + n));
        let (Some(body), false) = (body, tag & 0xf8 == 0x78) else {
            break;
        };
        out.push(resource(tag, body).unwrap_or(Resource::Other(tag)));
        rest = rest.get(start + body.len()..).unwrap_or_default();
    }
    out
}

fn range(first: u64, length: u64) -> Option<(u64, u64)> {
    Some((first, first.checked_add(length.checked_sub(1)?)?))
}

fn resource(tag: u8, body: &[u8]) -> Option<Resource> {
    let memory = |(first, last)| Resource::Memory(first, last);
    let io = |(first, last)| Resource::Io(first, last);
    match tag {
        0x22 | 0x23 => {
            let mask = get_u16(body, 0)?;
            Some(Resource::Interrupts(
                (0..16).filter(|i| mask >> i & 1 != 0).collect(),
            ))
        }
        0x47 => range(get_u16(body, 1)?.into(), get_u8(body, 6)?.into()).map(io),
        0x86 => range(get_u32(body, 1)?.into(), get_u32(body, 5)?.into()).map(memory),
        0x89 => {
            let count = usize::from(get_u8(body, 1)?);
            let numbers = (0..count).map(|i| get_u32(body, 2 + 4 * i));
            numbers.collect::<Option<_>>().map(Resource::Interrupts)
        }
        0x87 | 0x88 | 0x8a => {
            let field = |i: usize| match tag {
                0x87 => get_u32(body, 3 + 4 * i).map(u64::from),
                0x88 => get_u16(body, 3 + 2 * i).map(u64::from),
                _ => get_u64(body, 3 + 8 * i),
            };
            let (first, last) = (field(1)?, field(2)?);
            match get_u8(body, 0)? {
                0 => Some(Resource::Memory(first, last)),
                1 => Some(Resource::Io(first, last)),
                2 => Some(Resource::Bus(first, last)),
                _ => None,
            }
        }
        _ => None,
    }
}

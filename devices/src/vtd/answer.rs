//! A translation and the requests that it answers, as the words of [`super::caches::front`].

use super::request::{AddressType, Operation, Request, Translation};
use super::spec::mask;
use super::spec::paging::ADDRESS;

/// The requester's word is never 0.
const VALID: u64 = 1 << 63;
const HAS_PASID: u64 = 1 << 48;
const PASID_SHIFT: u32 = 16;
const SIZE_SHIFT: u32 = 52;

/// Writes are answered; reads are if READ is set.
const MAY_WRITE: u64 = 1;
/// Fields of the translation.
const READ: u64 = 1 << 2;
const WRITE: u64 = 1 << 3;
const EXECUTE: u64 = 1 << 4;
const SNOOP: u64 = 1 << 5;
const GLOBAL: u64 = 1 << 6;

/// Requester and page of a request of the usual kind: untranslated, not privileged, no instruction fetch.
#[inline]
pub(super) fn key(r: &Request) -> Option<[u64; 2]> {
    if r.address_type != AddressType::Untranslated || r.privileged || r.execute {
        return None;
    }
    let pasid = match r.pasid {
        Some(pasid) => HAS_PASID | u64::from(pasid.0) << PASID_SHIFT,
        None => 0,
    };
    Some([VALID | pasid | u64::from(r.source.0), r.address >> 12])
}

/// The word for a translation that a request got; None if it is none of the tables', or not worth it.
///
/// A write is answered only if one was: its dirty bit is set then.
pub(super) fn encode(r: &Request, t: &Translation) -> Option<u64> {
    if t.pass_through || !(12..64).contains(&t.page_shift) {
        return None;
    }
    let set = |on, bit| if on { bit } else { 0 };
    Some(
        t.address & ADDRESS
            | u64::from(t.page_shift) << SIZE_SHIFT
            | set(t.write && r.operation.writes(), MAY_WRITE)
            | set(t.read, READ)
            | set(t.write, WRITE)
            | set(t.execute, EXECUTE)
            | set(t.snoop, SNOOP)
            | set(t.global, GLOBAL),
    )
}

/// The translation, if the word answers a request.
#[inline]
pub(super) fn decode(word: u64, r: &Request) -> Option<Translation> {
    let needed = match r.operation {
        Operation::Read | Operation::ZeroLengthRead => READ,
        Operation::Write => MAY_WRITE,
        Operation::Atomic => READ | MAY_WRITE,
    };
    if word & needed != needed {
        return None;
    }
    Some(Translation {
        address: word & ADDRESS | r.address & mask(11, 0),
        page_shift: (word >> SIZE_SHIFT) as u32 & 63,
        read: word & READ != 0,
        write: word & WRITE != 0,
        execute: word & EXECUTE != 0,
        snoop: word & SNOOP != 0,
        global: word & GLOBAL != 0,
        pass_through: false,
    })
}

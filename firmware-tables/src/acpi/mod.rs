//! ACPI tables of a PC (ACPI 6.5, VT-d 4.1 §8), as bytes for a guest's memory, and readers for them.
//!
//! [`build`] turns a [`Description`] into an [`Image`]; [`Set::read`] follows an image's pointers, [`madt`], [`dmar`] and [`aml`] read
//! single tables, [`text`] prints all of it. Readers take what anybody may have written: nothing there trusts a length or an address.
//!
//! Absent on purpose: system-management mode, sleep states but soft-off, general-purpose events.

pub mod aml;
pub mod dmar;
pub mod madt;
pub mod text;

mod build;
mod description;
mod dsdt;
mod fixed;
mod image;

pub use build::build;
pub use description::{Bridge, Description, Hpet, IoApic, Override, Power, Serial};
pub use image::{
    Fault, Header, Image, Piece, Set, Table, checksum, get_u8, get_u16, get_u32, get_u64,
};

/// A description that tables cannot say: what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub &'static str);

const OEM: [u8; 6] = *b"VIOMMU";
const OEM_TABLE: [u8; 8] = *b"VIOMMUPC";

/// A table with the usual header. ACPI 6.5 §5.2.6.
fn sdt(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut table = acpi_tables::sdt::Sdt::new(signature, 36, revision, OEM, OEM_TABLE, 1);
    table.append_slice(body);
    table.as_slice().to_vec()
}

#[cfg(test)]
pub(crate) mod tests;

//! Puts the tables together.

use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;

use super::{BuildError, Description, Image, OEM, OEM_TABLE, Piece, dmar, dsdt, fixed, madt};

/// Room for the root pointer before the first table.
const ROOT: u64 = 64;
/// Tables start at multiples of this.
const ALIGN: usize = 16;

/// The tables of a PC: the root pointer at `at`, the others behind it, the FACS (64 bytes) apart at `facs`, because firmware and operating
/// system write to it (e820 type 4, where the rest may be type 3).
///
/// # Errors
/// A description that tables cannot say, or addresses that are not aligned (`at` to 16 bytes, `facs` to 64) or not below 4 GiB.
pub fn build(d: &Description, at: u64, facs: u64) -> Result<Image, BuildError> {
    if !at.is_multiple_of(ALIGN as u64) || !facs.is_multiple_of(64) {
        return Err(BuildError("tables are not aligned"));
    }
    let high = |_| BuildError("tables are not below 4 GiB");
    let narrow_facs = u32::try_from(facs).map_err(high)?;
    u32::try_from(at).map_err(high)?;
    let dsdt = dsdt::write(d)?;
    let mut tables = vec![madt::write(d)?];
    if !d.bridges.is_empty() {
        tables.push(fixed::mcfg(&d.bridges));
    }
    tables.extend(d.hpet.as_ref().map(fixed::hpet));
    if let Some(dmar) = &d.dmar {
        tables.push(dmar::write(dmar)?);
    }
    // The XSDT's size is known before its contents are: header, FADT, the others.
    let xsdt_size = 36 + 8 * (1 + tables.len());
    let mut body = vec![0; xsdt_size];
    let mut put = |table: Vec<u8>| {
        body.resize(body.len().next_multiple_of(ALIGN), 0);
        let place = at + ROOT + body.len() as u64;
        body.extend(table);
        place
    };
    let dsdt_at = put(dsdt);
    let mut list = vec![put(fixed::fadt(d, dsdt_at, narrow_facs))];
    list.extend(tables.into_iter().map(put));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
    for entry in list {
        xsdt.add_entry(entry);
    }
    let xsdt = fixed::bytes(&xsdt);
    body.splice(..xsdt_size, xsdt);
    let mut bytes = fixed::bytes(&Rsdp::new(OEM, at + ROOT));
    bytes.resize(ROOT as usize, 0);
    bytes.extend(body);
    Ok(Image {
        pieces: vec![
            Piece { at, bytes },
            Piece {
                at: facs,
                bytes: fixed::facs(),
            },
        ],
        rsdp: at,
    })
}

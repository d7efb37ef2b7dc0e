//! Writes the DMAR table.

use super::{Dmar, Scope, Structure};
use crate::acpi::{BuildError, sdt};

/// The whole table. Structures are written in the order given.
///
/// # Errors
/// A number or a list that its field cannot hold.
pub fn write(dmar: &Dmar) -> Result<Vec<u8>, BuildError> {
    let width = u8::try_from(dmar.host_address_width.wrapping_sub(1))
        .map_err(|_| BuildError("DMAR: the host address width is not 1 to 256 bits"))?;
    let flags = u8::from(dmar.interrupt_remapping)
        | u8::from(dmar.x2apic_opt_out) << 1
        | u8::from(dmar.dma_control_opt_in) << 2;
    let mut body = vec![width, flags];
    body.extend([0; 10]);
    for structure in &dmar.structures {
        let content = content(structure)?;
        let length = u16::try_from(content.len() + 4)
            .map_err(|_| BuildError("DMAR: a structure is longer than 65535 bytes"))?;
        body.extend(structure.kind().to_le_bytes());
        body.extend(length.to_le_bytes());
        body.extend(content);
    }
    Ok(sdt(*b"DMAR", 1, &body))
}

/// A structure after its type and length.
fn content(structure: &Structure) -> Result<Vec<u8>, BuildError> {
    let mut out = Vec::new();
    match structure {
        Structure::Drhd(drhd) => {
            if drhd.size > 15 {
                return Err(BuildError("DMAR: a register set is larger than 2^15 pages"));
            }
            out.extend([u8::from(drhd.include_pci_all), drhd.size]);
            out.extend(drhd.segment.to_le_bytes());
            out.extend(drhd.address.to_le_bytes());
            scopes(&mut out, &drhd.scopes)?;
        }
        Structure::Rmrr(rmrr) => {
            out.extend([0; 2]);
            out.extend(rmrr.segment.to_le_bytes());
            out.extend(rmrr.base.to_le_bytes());
            out.extend(rmrr.limit.to_le_bytes());
            scopes(&mut out, &rmrr.scopes)?;
        }
        Structure::Atsr(atsr) => {
            out.extend([u8::from(atsr.all_ports), 0]);
            out.extend(atsr.segment.to_le_bytes());
            scopes(&mut out, &atsr.scopes)?;
        }
        Structure::Rhsa(rhsa) => {
            out.extend([0; 4]);
            out.extend(rhsa.address.to_le_bytes());
            out.extend(rhsa.proximity.to_le_bytes());
        }
        Structure::Andd(andd) => {
            if andd.name.bytes().any(|b| b == 0) {
                return Err(BuildError("DMAR: a device's name holds a NUL byte"));
            }
            out.extend([0, 0, 0, andd.number]);
            out.extend(andd.name.as_bytes());
            out.push(0);
        }
        Structure::Satc(satc) => {
            out.extend([u8::from(satc.required), 0]);
            out.extend(satc.segment.to_le_bytes());
            scopes(&mut out, &satc.scopes)?;
        }
        Structure::Sidp(sidp) => {
            out.extend([0; 2]);
            out.extend(sidp.segment.to_le_bytes());
            scopes(&mut out, &sidp.scopes)?;
        }
        Structure::Unknown(_, bytes) => out.extend(bytes),
    }
    Ok(out)
}

fn scopes(out: &mut Vec<u8>, scopes: &[Scope]) -> Result<(), BuildError> {
    for scope in scopes {
        let length = u8::try_from(6 + 2 * scope.path.len())
            .map_err(|_| BuildError("DMAR: a device's path has more than 124 steps"))?;
        out.extend([scope.kind.code(), length, scope.flags, 0]);
        out.extend([scope.enumeration_id, scope.start_bus]);
        out.extend(scope.path.iter().flat_map(|&(d, f)| [d, f]));
    }
    Ok(())
}

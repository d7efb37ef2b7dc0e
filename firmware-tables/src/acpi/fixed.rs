//! Tables with nothing but numbers: FADT, FACS, HPET, MCFG.

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::mcfg::MCFG;

use super::{Bridge, Description, Hpet, OEM, OEM_TABLE, Power, sdt};

/// Bytes of anything that the library can write.
pub(super) fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut out = Vec::new();
    table.to_aml_bytes(&mut out);
    out
}

fn port(at: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, access, at.into())
}

/// ACPI 6.5 §5.2.9: fixed hardware at ports, no SMI port (so ACPI mode is always on), no general-purpose events.
pub(super) fn fadt(d: &Description, dsdt: u64, facs: u32) -> Vec<u8> {
    /// There are ISA devices; there is no 8042.
    const LEGACY_DEVICES: u16 = 1;
    const NO_VGA: u16 = 1 << 2;
    const NO_ASPM: u16 = 1 << 4;
    const NO_CMOS_CLOCK: u16 = 1 << 5;
    /// No worker but HLT.
    const NO_C2: u16 = 101;
    const NO_C3: u16 = 1001;
    let p: &Power = &d.power;
    let mut table = FADTBuilder::new(OEM, OEM_TABLE, 1)
        .preferred_pm_profile(PmProfile::Desktop)
        .firmware_ctrl_32(facs)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup);
    if !d.rtc {
        table = table.flag(Flags::FixRtc);
    }
    if p.wide_timer {
        table = table.flag(Flags::TmrValExt);
    }
    table.dsdt = u32::try_from(dsdt).unwrap_or_default().into();
    table.sci_int = u16::from(p.sci).into();
    table.pm1a_evt_blk = u32::from(p.pm1a_event).into();
    table.pm1a_cnt_blk = u32::from(p.pm1a_control).into();
    table.pm_tmr_blk = u32::from(p.pm_timer).into();
    (table.pm1_evt_len, table.pm1_cnt_len, table.pm_tmr_len) = (4, 2, 4);
    table.x_pm1a_evt_blk = port(p.pm1a_event, 32, AccessSize::WordAccess);
    table.x_pm1a_cnt_blk = port(p.pm1a_control, 16, AccessSize::WordAccess);
    table.x_pm_tmr_blk = port(p.pm_timer, 32, AccessSize::DwordAccess);
    table.p_lvl2_lat = NO_C2.into();
    table.p_lvl3_lat = NO_C3.into();
    table.reset_reg = port(p.reset.0, 8, AccessSize::ByteAccess);
    table.reset_value = p.reset.1;
    let clock = if d.rtc { 0 } else { NO_CMOS_CLOCK };
    table.iapc_boot_arch = (LEGACY_DEVICES | NO_VGA | NO_ASPM | clock).into();
    // Where the clock keeps its century.
    table.century = if d.rtc { 0x32 } else { 0 };
    bytes(&table.finalize())
}

/// ACPI 6.5 §5.2.10.
pub(super) fn facs() -> Vec<u8> {
    bytes(&FACS::new())
}

/// IA-PC HPET specification 1.0a §3.2.4.
pub(super) fn hpet(h: &Hpet) -> Vec<u8> {
    let mut body = h.capabilities.to_le_bytes().to_vec();
    // Memory space, registers of 64 bits, no access size.
    body.extend([0, 64, 0, 0]);
    body.extend(h.address.to_le_bytes());
    body.push(h.number);
    body.extend(h.minimum_tick.to_le_bytes());
    body.push(0);
    sdt(*b"HPET", 1, &body)
}

/// PCI Firmware Specification 3.3 §4.1.2.
pub(super) fn mcfg(bridges: &[Bridge]) -> Vec<u8> {
    let mut table = MCFG::new(OEM, OEM_TABLE, 1);
    for b in bridges {
        table.add_ecam(b.ecam, b.segment, b.buses.0, b.buses.1);
    }
    bytes(&table)
}

use super::config::{BarKind, ConfigSpace, Identity};
use super::intx::Intx;
use super::msi::Msi;
use super::msix::Msix;
use super::regs::*;
use crate::effects::Effects;

fn space() -> ConfigSpace {
    ConfigSpace::new_express(Identity {
        vendor: 0x1b36,
        device: 0x10,
        class: 0x01_08_02,
        revision: 2,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
        interrupt_pin: 1,
    })
}

#[test]
fn identity_is_readable_in_every_width_and_read_only() {
    let mut c = space();
    assert_eq!(c.read(0, 4), 0x0010_1b36);
    assert_eq!(c.read(REVISION, 4), 0x0108_0202);
    assert_eq!(c.read(0x0b, 1), 1);
    assert_eq!(c.read(SUBSYSTEM_VENDOR, 4), 0x1100_1af4);
    c.write(0, 4, 0);
    assert_eq!(c.read(0, 4), 0x0010_1b36);
    assert_eq!(c.read(0x1000, 4), 0);
    assert_eq!(c.write(0x0ffe, 4, 1).size, 0);
}

#[test]
fn bars_are_sized_by_writing_ones() {
    let mut c = space();
    c.add_bar(0, 0x4000, BarKind::Mem64);
    c.add_bar(2, 0x1000, BarKind::Mem32);
    c.add_bar(4, 1 << 33, BarKind::Mem64Prefetch);
    for at in (0x10..0x28).step_by(4) {
        assert!(c.write(at, 4, u32::MAX).bars);
    }
    assert_eq!(c.read(0x10, 4), 0xffff_c004);
    assert_eq!(c.read(0x14, 4), 0xffff_ffff);
    assert_eq!(c.read(0x18, 4), 0xffff_f000);
    assert_eq!(c.read(0x1c, 4), 0);
    assert_eq!(c.read(0x20, 4), 0x0000_000c);
    assert_eq!(c.read(0x24, 4), 0xffff_fffe);
    c.write(0x10, 4, 0x8000_1234);
    c.write(0x14, 4, 0x20);
    assert_eq!(c.bar_address(0), None);
    c.write(COMMAND, 2, COMMAND_MEMORY.into());
    assert_eq!(c.bar_address(0), Some(0x20_8000_0000));
    assert_eq!(c.bar_address(1), None);
    c.reset();
    assert_eq!(c.read(0x10, 4), 4);
}

#[test]
fn capabilities_are_linked_in_order() {
    let mut c = space();
    assert_eq!(c.get_u16(STATUS) & STATUS_CAPABILITIES, 0);
    let a = c.add_express();
    let b = c.add_capability(CAP_VENDOR, &[1, 2, 3], &[]);
    assert_eq!(c.get_u16(STATUS) & STATUS_CAPABILITIES, STATUS_CAPABILITIES);
    assert_eq!(c.read(CAPABILITIES, 1), u32::from(a));
    assert_eq!(c.read(a, 2), u32::from(b) << 8 | u32::from(CAP_PCIE));
    assert_eq!(c.read(b, 4), 0x0201_0009);
    let e = c.add_extended_capability(3, 1, &[0; 8], &[]);
    let f = c.add_extended_capability(0xb, 1, &[0; 8], &[]);
    assert_eq!((e, f), (0x100, 0x10c));
    assert_eq!(c.read(0x100, 4), 0x10c1_0003);
    assert_eq!(c.add_capability(CAP_VENDOR, &[0; 200], &[]), 0);
}

#[test]
fn intx_obeys_the_command_register() {
    let mut c = space();
    let mut intx = Intx::default();
    let mut fx = Effects::default();
    intx.set(true, &mut c, &mut fx);
    assert_eq!(fx.intx.take(), Some(true));
    assert_eq!(c.get_u16(STATUS) & STATUS_INTX, STATUS_INTX);
    let change = c.write(COMMAND, 2, COMMAND_INTX_DISABLE.into());
    intx.config_written(&c, change, &mut fx);
    assert_eq!(fx.intx.take(), Some(false));
    assert_eq!(c.get_u16(STATUS) & STATUS_INTX, STATUS_INTX);
    let change = c.write(COMMAND, 2, 0);
    intx.config_written(&c, change, &mut fx);
    assert_eq!(fx.intx.take(), Some(true));
    intx.set(false, &mut c, &mut fx);
    assert_eq!(fx.intx.take(), Some(false));
}

#[test]
fn msi_gives_each_granted_vector_its_data() {
    let mut c = space();
    let msi = Msi::new(&mut c, 4);
    let cap = c.read(CAPABILITIES, 1) as u16;
    let mut fx = Effects::default();
    assert!(!msi.trigger(&c, 0, &mut fx));
    c.write(cap + 4, 4, 0x4000_0000);
    c.write(cap + 8, 4, 1);
    c.write(cap + 12, 2, 0x1208);
    c.write(cap + 2, 2, 0x11);
    assert_eq!(msi.vectors(&c), 2);
    assert!(
        msi.trigger(&c, 0, &mut fx) && msi.trigger(&c, 1, &mut fx) && msi.trigger(&c, 3, &mut fx)
    );
    let data: Vec<_> = fx.msis.iter().map(|m| (m.address, m.data)).collect();
    assert_eq!(
        data,
        [
            (0x1_4000_0000, 0x1208),
            (0x1_4000_0000, 0x1209),
            (0x1_4000_0000, 0x1209)
        ]
    );
}

#[test]
fn msix_keeps_masked_messages_until_unmasked() {
    let mut c = space();
    let mut msix = Msix::new(&mut c, 3, 0, 0x2000, 0x3000);
    let cap = c.read(CAPABILITIES, 1) as u16;
    assert_eq!(c.read(cap, 4), 0x0002_0011);
    let mut fx = Effects::default();
    assert!(!msix.trigger(0, &mut fx));
    assert!(msix.write(0x2010, &0x1_4000_0000u64.to_le_bytes(), &mut fx));
    assert!(msix.write(0x2018, &0x1234u32.to_le_bytes(), &mut fx));
    let change = c.write(cap + 2, 2, (MSIX_ENABLE | MSIX_FUNCTION_MASK).into());
    msix.config_written(&c, change, &mut fx);
    assert!(msix.trigger(1, &mut fx) && fx.is_empty());
    assert!(!msix.trigger(3, &mut fx));
    let mut pba = [0; 8];
    assert!(msix.read(0x3000, &mut pba));
    assert_eq!(u64::from_le_bytes(pba), 2);
    assert!(msix.write(0x201c, &0u32.to_le_bytes(), &mut fx) && fx.is_empty());
    let change = c.write(cap + 2, 2, MSIX_ENABLE.into());
    msix.config_written(&c, change, &mut fx);
    assert_eq!(fx.msis.len(), 1);
    assert_eq!(
        (fx.msis[0].address, fx.msis[0].data),
        (0x1_4000_0000, 0x1234)
    );
    assert!(!msix.pending(1));
    // Masked by itself, then unmasked by one 8-byte write of data and control.
    msix.write(0x201c, &1u32.to_le_bytes(), &mut fx);
    msix.trigger(1, &mut fx);
    assert_eq!(fx.msis.len(), 1);
    msix.write(0x2018, &0x55u64.to_le_bytes(), &mut fx);
    assert_eq!(fx.msis.last().map(|m| m.data), Some(0x55));
    assert!(!msix.read(0x2030, &mut pba) && !msix.write(0x2030, &pba, &mut fx));
}

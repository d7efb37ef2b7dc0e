use super::*;

fn read(pm: &mut AcpiPm, offset: u16, len: usize, now_ns: u64) -> u32 {
    let mut bytes = [0; 4];
    pm.read(offset, &mut bytes[..len], now_ns);
    u32::from_le_bytes(bytes)
}

#[test]
fn timer_counts_at_its_frequency_and_wraps() {
    let mut pm = AcpiPm::new(5);
    assert_eq!(read(&mut pm, TIMER, 4, 1_000_000_000), 3_579_545);
    assert_eq!(read(&mut pm, TIMER, 4, 10_000_000_000), 35_795_450);
    let wrap_ns = ((1u128 << 32) * 1_000_000_000).div_ceil(3_579_545) as u64;
    assert_eq!(read(&mut pm, TIMER, 4, wrap_ns), 0);
}

#[test]
fn timer_interrupt_at_the_change_of_its_highest_bit() {
    let mut pm = AcpiPm::new(5);
    assert_eq!(pm.next_deadline(), None);
    pm.write(2, &1u16.to_le_bytes(), 0);
    let at = pm.next_deadline().unwrap();
    assert_eq!(read(&mut pm, TIMER, 4, at - 1), 0x7fff_ffff);
    assert!(!pm.sci());
    pm.run(at);
    assert_eq!(read(&mut pm, TIMER, 4, at), 0x8000_0000);
    assert!(pm.sci());
    pm.write(0, &[1], at);
    assert!(!pm.sci());
    assert!(pm.next_deadline().unwrap() > at);
}

#[test]
fn soft_off_needs_its_type_and_the_enable_bit() {
    let mut pm = AcpiPm::new(5);
    assert_eq!(read(&mut pm, PM1_CONTROL, 2, 0), 1, "ACPI mode");
    pm.write(PM1_CONTROL, &(5u16 << 10).to_le_bytes(), 0);
    pm.write(PM1_CONTROL, &(3u16 << 10 | 1 << 13).to_le_bytes(), 0);
    assert!(!pm.is_off());
    pm.write(PM1_CONTROL, &(5u16 << 10 | 1 << 13).to_le_bytes(), 0);
    assert!(pm.is_off());
}

#[test]
fn the_clock_is_an_event() {
    let mut pm = AcpiPm::new(5);
    pm.set_clock(true);
    assert!(!pm.sci());
    assert_eq!(read(&mut pm, 0, 2, 0), 0x400);
    pm.write(2, &0x400u16.to_le_bytes(), 0);
    assert_eq!(read(&mut pm, 2, 2, 0), 0x400);
    assert!(pm.sci());
    pm.write(0, &0x400u16.to_le_bytes(), 0);
    pm.set_clock(true);
    assert!(!pm.sci(), "by its edge");
    pm.set_clock(false);
    pm.set_clock(true);
    assert!(pm.sci());
}

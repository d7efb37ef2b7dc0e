use super::*;

#[test]
fn resets() {
    let mut c = Control::default();
    assert_eq!(c.write(RESET_CONTROL, &[0x02]), Some(None));
    assert_eq!(c.read(RESET_CONTROL), Some(0x02));
    assert_eq!(
        c.write(RESET_CONTROL, &[RESET_VALUE]),
        Some(Some(Asked::Reset))
    );
    assert_eq!(
        c.write(RESET_CONTROL, &[RESET_VALUE]),
        Some(None),
        "no edge"
    );
    assert_eq!(c.write(SYSTEM_CONTROL, &[2]), Some(None));
    assert_eq!(c.read(SYSTEM_CONTROL), Some(2));
    assert_eq!(c.write(SYSTEM_CONTROL, &[3]), Some(Some(Asked::Reset)));
    assert_eq!(c.write(KEYBOARD, &[0xd1]), Some(None));
    assert_eq!(c.write(KEYBOARD, &[0xfe]), Some(Some(Asked::Reset)));
}

#[test]
fn exit_status_is_odd_and_other_ports_are_not_here() {
    let mut c = Control::default();
    assert_eq!(c.write(EXIT, &[0, 0, 0, 0]), Some(Some(Asked::Exit(1))));
    assert_eq!(c.write(EXIT, &[0x10]), Some(Some(Asked::Exit(0x21))));
    assert_eq!(c.write(POST, &[0x55]), Some(None));
    assert_eq!(c.write(0xcf8, &[0, 0, 0, 0]), None);
    assert_eq!(
        c.write(RESET_CONTROL, &[6, 0, 0, 0]),
        None,
        "of the PCI address register"
    );
    assert_eq!(c.read(EXIT), None);
}

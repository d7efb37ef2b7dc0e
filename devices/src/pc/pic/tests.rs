use super::*;

/// As a PC's operating system starts them: vectors 0x30 and 0x38, everything open.
fn started() -> Pic {
    let mut pic = Pic::default();
    for (command, data, base, icw3) in [(0x20, 0x21, 0x30, 4), (0xa0, 0xa1, 0x38, 2)] {
        assert!(pic.write(command, 0x11));
        for value in [base, icw3, 1, 0] {
            assert!(pic.write(data, value));
        }
    }
    pic
}

fn edge(pic: &mut Pic, irq: u8) {
    pic.set_line(irq, false);
    pic.set_line(irq, true);
}

#[test]
fn nothing_comes_before_initialisation() {
    let mut pic = Pic::default();
    edge(&mut pic, 0);
    assert!(!pic.output());
    assert_eq!(pic.read(0x21), Some(0xff));
    assert_eq!(pic.read(0x22), None);
    assert!(!pic.write(0x60, 0));
}

#[test]
fn priorities_and_ends() {
    let mut pic = started();
    edge(&mut pic, 4);
    edge(&mut pic, 1);
    assert!(pic.output());
    assert_eq!(pic.acknowledge(), 0x31);
    assert!(!pic.output(), "a lower input waits");
    edge(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x30);
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), Some(3), "in service");
    pic.write(0x20, 0x0a);
    assert_eq!(pic.read(0x20), Some(0x10), "requested");
    pic.write(0x20, 0x20);
    assert!(!pic.output());
    pic.write(0x20, 0x61);
    assert_eq!(pic.acknowledge(), 0x34);
}

#[test]
fn the_second_controller() {
    let mut pic = started();
    edge(&mut pic, 8);
    edge(&mut pic, 12);
    assert_eq!(pic.acknowledge(), 0x38);
    pic.write(0xa0, 0x20);
    assert!(!pic.output(), "the first still serves the cascade");
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x3c);
    pic.write(0xa1, 0x10);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    edge(&mut pic, 12);
    assert!(!pic.output(), "masked");
    pic.write(0xa1, 0);
    assert!(pic.output());
}

#[test]
fn a_request_that_goes_away_is_spurious() {
    let mut pic = started();
    edge(&mut pic, 3);
    pic.set_line(3, false);
    assert!(!pic.output());
    assert_eq!(pic.acknowledge(), 0x37);
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), Some(0));
}

#[test]
fn levels_stay() {
    let mut pic = started();
    assert!(pic.write(0x4d1, 0xff));
    assert_eq!(pic.read(0x4d1), Some(0xde));
    pic.set_line(10, true);
    assert_eq!(pic.acknowledge(), 0x3a);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    assert!(pic.output());
    pic.set_line(10, false);
    assert!(!pic.output());
}

#[test]
fn automatic_end_rotation_and_polling() {
    let mut pic = Pic::default();
    for (port, value) in [(0x20, 0x13), (0x21, 0x40), (0x21, 3), (0x21, 0)] {
        pic.write(port, value);
    }
    pic.write(0x20, 0x80);
    edge(&mut pic, 0);
    edge(&mut pic, 1);
    assert_eq!(pic.acknowledge(), 0x40);
    edge(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x41, "input 0 is last now");
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), Some(0x80));
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), Some(0), "nothing to poll");
}

use super::*;

const SECOND: u64 = 1_000_000_000;

fn load(pit: &mut Pit, control: u8, count: u16, now: u64) {
    let port = BASE + u16::from(control >> 6);
    assert!(pit.write(0x43, control, now));
    for byte in count.to_le_bytes() {
        assert!(pit.write(port, byte, now));
    }
}

fn word(pit: &mut Pit, port: u16, now: u64) -> u16 {
    let low = pit.read(port, now).unwrap();
    u16::from_le_bytes([low, pit.read(port, now).unwrap()])
}

#[test]
fn counter_0_ticks_periodically() {
    let mut pit = Pit::default();
    assert_eq!(pit.next_deadline(), None);
    load(&mut pit, 0x34, 11932, 0);
    let (mut now, mut rises) = (0, 0);
    while let Some(at) = pit.next_deadline().filter(|&at| at <= SECOND) {
        assert!(at > now && !pit.run(at - 1) && pit.run(at));
        now = at;
        rises += 1;
    }
    assert_eq!(rises, 99, "HZ / 11932");
    assert!(
        pit.run(3 * SECOND) && !pit.run(3 * SECOND),
        "missed ones count once"
    );
}

#[test]
fn one_shot() {
    let mut pit = Pit::default();
    load(&mut pit, 0x30, 1000, SECOND);
    let at = pit.next_deadline().unwrap();
    assert_eq!(
        at - SECOND,
        838_096,
        "1000 ticks, but for the fraction at the start"
    );
    assert!(pit.run(at));
    assert_eq!(pit.next_deadline(), None);
    assert_eq!(pit.read(0x43, 0), Some(0xff));
    assert_eq!(pit.read(0x44, 0), None);
}

#[test]
fn counts_are_latched() {
    let mut pit = Pit::default();
    load(&mut pit, 0x34, 0, 0);
    let (t1, t2) = (1_000_000, 2_000_000);
    assert_eq!(word(&mut pit, 0x40, t1), (0x1_0000 - 1193) as u16);
    pit.write(0x43, 0x00, t1);
    assert_eq!(word(&mut pit, 0x40, t2), (0x1_0000 - 1193) as u16);
    assert_eq!(word(&mut pit, 0x40, t2), (0x1_0000 - 2386) as u16);
    // Read-back of status and count.
    pit.write(0x43, 0xc2, t2);
    assert_eq!(pit.read(0x40, t2), Some(0xb4));
    assert_eq!(word(&mut pit, 0x40, 5_000_000), (0x1_0000 - 2386) as u16);
    pit.write(0x43, 0x34, t2);
    pit.write(0x43, 0xe2, t2);
    assert_eq!(pit.read(0x40, t2), Some(0xf4), "no count yet");
}

#[test]
fn counter_2_behind_its_gate() {
    let mut pit = Pit::default();
    pit.write(CONTROL_PORT, 1, 0);
    load(&mut pit, 0xb0, 1193, 0);
    let output = |pit: &mut Pit, now| pit.read(CONTROL_PORT, now).unwrap() >> 5 & 1;
    assert_eq!(output(&mut pit, 999_000), 0);
    assert_eq!(output(&mut pit, 1_000_000), 1);
    pit.write(CONTROL_PORT, 0, 2_000_000);
    pit.write(CONTROL_PORT, 1, 2_000_000);
    assert_eq!(output(&mut pit, 2_500_000), 0, "started again");
    assert_eq!(output(&mut pit, 3_100_000), 1);
    let first = pit.read(CONTROL_PORT, 0).unwrap();
    assert_eq!(
        (first ^ pit.read(CONTROL_PORT, 0).unwrap()) & 0x10,
        0x10,
        "refresh"
    );
}

use super::*;

/// 2026-01-01 00:00:00, a Thursday.
const EPOCH: u64 = 1_767_225_600;

fn get(rtc: &mut Rtc, n: u8, now: u64) -> u8 {
    assert!(rtc.write(BASE, n, now));
    rtc.read(BASE + 1, now).unwrap()
}

fn set(rtc: &mut Rtc, n: u8, value: u8, now: u64) {
    assert!(rtc.write(BASE, n, now) && rtc.write(BASE + 1, value, now));
}

fn time(rtc: &mut Rtc, now: u64) -> [u8; 8] {
    [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOUR, MINUTE, SECOND].map(|n| get(rtc, n, now))
}

#[test]
fn shows_the_date_in_its_formats() {
    let mut rtc = Rtc::new(EPOCH);
    assert_eq!(time(&mut rtc, 0), [0x20, 0x26, 1, 1, 5, 0, 0, 0]);
    let afternoon = (13 * 3600 + 59 * 60 + 58) * NS;
    assert_eq!(time(&mut rtc, afternoon)[5..], [0x13, 0x59, 0x58]);
    set(&mut rtc, B, BINARY, 0);
    assert_eq!(time(&mut rtc, afternoon), [20, 26, 1, 1, 5, PM | 1, 59, 58]);
    assert_eq!(time(&mut rtc, 0)[5], 12, "midnight");
    assert_eq!(get(&mut rtc, D, 0), 0x80);
    assert_eq!(get(&mut rtc, A, NS - 1), 0xa6, "update in progress");
    assert_eq!(get(&mut rtc, A, NS), 0x26);
    assert_eq!(rtc.read(BASE, 0), Some(0xff));
    assert_eq!(rtc.read(BASE + 2, 0), None);
}

#[test]
fn what_is_set_goes_on() {
    let mut rtc = Rtc::new(EPOCH);
    let now = 5 * NS;
    set(&mut rtc, B, SET | HOURS_24, now);
    for (n, value) in [(CENTURY, 0x19), (YEAR, 0x99), (MONTH, 0x12), (DAY, 0x31)] {
        set(&mut rtc, n, value, now);
    }
    for (n, value) in [(HOUR, 0x23), (MINUTE, 0x59), (SECOND, 0x59)] {
        set(&mut rtc, n, value, now + 3 * NS);
    }
    assert_eq!(get(&mut rtc, SECOND, now + 3 * NS), 0x59, "it stands");
    set(&mut rtc, B, HOURS_24, now + 3 * NS);
    assert_eq!(time(&mut rtc, now + 4 * NS), [0x20, 0, 1, 1, 7, 0, 0, 0]);
    // Without SET, at once.
    set(&mut rtc, MINUTE, 0x30, now + 4 * NS);
    assert_eq!(time(&mut rtc, now + 5 * NS)[5..], [0, 0x30, 1]);
    set(&mut rtc, MONTH, 0xff, now + 5 * NS);
    assert_eq!(get(&mut rtc, MONTH, now + 5 * NS), 0x12, "the nearest");
}

#[test]
fn memory_keeps_what_is_written() {
    let mut rtc = Rtc::new(EPOCH);
    set(&mut rtc, 0x0f, 0x0a, 0);
    set(&mut rtc, 0xff, 7, 0);
    assert_eq!(get(&mut rtc, 0x0f, NS), 0x0a);
    assert_eq!(
        get(&mut rtc, 0x7f, NS),
        7,
        "bit 7 of the index is the NMI gate"
    );
    set(&mut rtc, D, 0, 0);
    assert_eq!(get(&mut rtc, D, 0), 0x80);
}

#[test]
fn periodic_interrupt() {
    let mut rtc = Rtc::new(EPOCH);
    assert_eq!(rtc.next_deadline(), None);
    set(&mut rtc, B, PERIODIC | HOURS_24, 0);
    assert_eq!(rtc.next_deadline(), Some(976_562), "1024 Hz");
    rtc.run(976_562);
    assert!(rtc.irq());
    assert_eq!(rtc.next_deadline(), None, "until it is read");
    assert_eq!(get(&mut rtc, C, 1_000_000), IRQF | PERIODIC);
    assert!(!rtc.irq());
    assert_eq!(rtc.next_deadline(), Some(1_953_124));
    set(&mut rtc, A, 0x20, 1_000_000);
    assert_eq!(rtc.next_deadline(), None);
}

#[test]
fn alarm_and_update_interrupts() {
    let mut rtc = Rtc::new(EPOCH);
    for (n, value) in [
        (SECOND_ALARM, 0x02),
        (MINUTE_ALARM, 0xff),
        (HOUR_ALARM, 0xc0),
    ] {
        set(&mut rtc, n, value, 0);
    }
    set(&mut rtc, B, ALARM | HOURS_24, 0);
    assert_eq!(rtc.next_deadline(), Some(NS));
    rtc.run(NS);
    assert!(!rtc.irq());
    rtc.run(2 * NS);
    assert!(rtc.irq());
    assert_eq!(get(&mut rtc, C, 2 * NS), IRQF | ALARM | UPDATE);
    rtc.run(3 * NS);
    assert_eq!(get(&mut rtc, C, 3 * NS), UPDATE, "not enabled");
    set(&mut rtc, B, UPDATE | HOURS_24, 3 * NS);
    rtc.run(4 * NS);
    assert!(rtc.irq());
    set(&mut rtc, B, SET | UPDATE | HOURS_24, 4 * NS);
    assert!(!rtc.irq(), "SET ends it");
    // A long sleep finds the alarm as well.
    set(&mut rtc, B, ALARM | HOURS_24, 4 * NS);
    get(&mut rtc, C, 4 * NS);
    rtc.run(10_000_000 * NS);
    assert!(rtc.irq());
}

use super::*;

fn get(hpet: &mut Hpet, offset: u64, now: u64) -> u64 {
    let mut bytes = [0; 8];
    hpet.read(offset, &mut bytes, now);
    u64::from_le_bytes(bytes)
}

fn set(hpet: &mut Hpet, offset: u64, value: u64, now: u64) {
    hpet.write(offset, &value.to_le_bytes(), now);
}

#[test]
fn identity_and_counter() {
    let mut hpet = Hpet::new();
    assert_eq!(get(&mut hpet, 0, 0), 10_000_000 << 32 | 0x8086_a201);
    assert_eq!(get(&mut hpet, 0xf0, 1000), 0, "halted");
    set(&mut hpet, 0xf0, 500, 1000);
    set(&mut hpet, 0x10, 1, 1000);
    assert_eq!(get(&mut hpet, 0xf0, 3000), 700);
    let mut half = [0; 4];
    hpet.write(0x10, &[0; 4], 3000);
    hpet.read(0xf0, &mut half, 9000);
    assert_eq!(u32::from_le_bytes(half), 700, "halted again");
    hpet.read(0xf4, &mut half, 9000);
    assert_eq!(half, [0; 4]);
    assert_eq!(
        get(&mut hpet, 0x100, 0),
        ROUTES << 32 | CAN_64 | CAN_PERIODIC
    );
    assert_eq!(get(&mut hpet, 0x120, 0), ROUTES << 32 | CAN_64);
    assert_eq!(get(&mut hpet, 0x160, 0), 0, "three comparators");
    hpet.read(0xf1, &mut half, 0);
    assert_eq!(half, [0; 4]);
}

#[test]
fn one_shot_by_a_route() {
    let mut hpet = Hpet::new();
    set(&mut hpet, 0x10, 1, 0);
    set(&mut hpet, 0x140, 20 << 9 | INTERRUPT, 0);
    set(&mut hpet, 0x148, 1000, 0);
    assert_eq!(hpet.next_deadline(), Some(10_000));
    hpet.run(9_999);
    assert_eq!(hpet.take_lines(), []);
    hpet.run(10_000);
    assert_eq!(hpet.take_lines(), [(Target::Input(20), Line::Pulse)]);
    hpet.run(20_000);
    assert_eq!(hpet.take_lines(), [], "once");
}

#[test]
fn periodic_as_linux_sets_it_up() {
    let mut hpet = Hpet::new();
    set(&mut hpet, 0x10, 3, 0);
    let config = INTERRUPT | PERIODIC | SET_VALUE | ONLY_32;
    hpet.write(0x100, &(config as u32).to_le_bytes(), 0);
    hpet.write(0x108, &1000u32.to_le_bytes(), 0);
    hpet.write(0x108, &400u32.to_le_bytes(), 0);
    let mut times = Vec::new();
    for _ in 0..3 {
        let at = hpet.next_deadline().unwrap();
        hpet.run(at);
        assert_eq!(hpet.take_lines(), [(Target::Timer, Line::Pulse)]);
        times.push(at);
    }
    assert_eq!(times, [10_000, 14_000, 18_000]);
    hpet.run(35_000);
    assert_eq!(hpet.take_lines().len(), 1, "missed ones count once");
    assert_eq!(hpet.next_deadline(), Some(38_000));
}

#[test]
fn levels_and_their_status() {
    let mut hpet = Hpet::new();
    set(&mut hpet, 0x10, 1, 0);
    set(&mut hpet, 0x120, 21 << 9 | INTERRUPT | LEVEL, 0);
    set(&mut hpet, 0x128, 10, 0);
    hpet.run(100);
    assert_eq!(hpet.take_lines(), [(Target::Input(21), Line::Level(true))]);
    assert_eq!(get(&mut hpet, 0x20, 100), 2);
    set(&mut hpet, 0x20, 2, 100);
    assert_eq!(hpet.take_lines(), [(Target::Input(21), Line::Level(false))]);
    assert_eq!(get(&mut hpet, 0x20, 100), 0);
}

#[test]
fn a_comparator_of_32_bits_wraps() {
    let mut hpet = Hpet::new();
    set(&mut hpet, 0xf0, 0xffff_fff0, 0);
    set(&mut hpet, 0x100, INTERRUPT | ONLY_32, 0);
    set(&mut hpet, 0x108, 0x10, 0);
    set(&mut hpet, 0x10, 1, 0);
    assert_eq!(hpet.next_deadline(), Some(320));
    hpet.run(320);
    assert_eq!(hpet.take_lines().len(), 1);
}

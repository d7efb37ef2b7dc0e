use super::*;

fn set(io: &mut IoApic, register: u8, value: u32) {
    io.write(0, &[register]);
    io.write(0x10, &value.to_le_bytes());
}

fn get(io: &mut IoApic, register: u8) -> u32 {
    io.write(0, &[register]);
    let mut bytes = [0; 4];
    io.read(0x10, &mut bytes);
    u32::from_le_bytes(bytes)
}

fn entry(io: &mut IoApic, pin: u8, low: u32, high: u32) {
    set(io, 0x11 + 2 * pin, high);
    set(io, 0x10 + 2 * pin, low);
}

fn sent(io: &mut IoApic) -> Vec<(u8, u64)> {
    io.take_messages()
        .into_iter()
        .map(|m| (m.pin, m.entry))
        .collect()
}

#[test]
fn registers() {
    let mut io = IoApic::default();
    assert_eq!(get(&mut io, 1), 0x0017_0020);
    set(&mut io, 0, 0xff00_0000);
    assert_eq!(get(&mut io, 0), 0x0f00_0000);
    assert_eq!(get(&mut io, 0x10), 0x1_0000);
    entry(&mut io, 23, u32::MAX, 0x1234_5678);
    assert_eq!(
        get(&mut io, 0x3e),
        0x1_afff,
        "status and remote IRR are read-only"
    );
    assert_eq!(get(&mut io, 0x3f), 0x1234_5678);
    assert_eq!(get(&mut io, 0x40), 0);
}

#[test]
fn edges() {
    let mut io = IoApic::default();
    io.set_line(4, true);
    io.set_line(4, false);
    entry(&mut io, 4, 0x34, 2 << 24);
    assert_eq!(sent(&mut io), [], "an edge at a masked pin is lost");
    io.set_line(4, true);
    io.set_line(4, true);
    assert_eq!(sent(&mut io), [(4, 2 << 56 | 0x34)]);
    io.end_of_interrupt(0x34);
    assert_eq!(sent(&mut io), []);
    io.set_line(24, true);
    assert!(!io.has_messages());
}

#[test]
fn levels_come_once_until_their_end() {
    let mut io = IoApic::default();
    io.set_line(16, true);
    entry(&mut io, 16, 0x8000 | 0x51, 0);
    assert_eq!(sent(&mut io), [(16, 0x8051)], "it was asserted before");
    io.set_line(16, false);
    io.set_line(16, true);
    assert_eq!(sent(&mut io), []);
    assert_eq!(get(&mut io, 0x30) & 0x4000, 0x4000);
    io.end_of_interrupt(0x50);
    assert_eq!(sent(&mut io), []);
    io.end_of_interrupt(0x51);
    assert_eq!(sent(&mut io).len(), 1, "still asserted");
    io.set_line(16, false);
    io.write(0x40, &0x51u32.to_le_bytes());
    assert_eq!(get(&mut io, 0x30) & 0x4000, 0, "by the EOI register");
    // By masking, the edge mode, and back.
    io.set_line(16, true);
    assert_eq!(sent(&mut io).len(), 1);
    set(&mut io, 0x30, 0x1_0051);
    assert_eq!(get(&mut io, 0x30), 0x1_0051);
    set(&mut io, 0x30, 0x8051);
    assert_eq!(sent(&mut io).len(), 1);
}

#[test]
fn some_modes_are_always_edges() {
    let mut io = IoApic::default();
    entry(&mut io, 0, 0x8700, 0);
    io.set_line(0, true);
    assert_eq!(sent(&mut io), [(0, 0x8700)]);
    assert_eq!(get(&mut io, 0x10), 0x8700, "no remote IRR");
    // In remappable format bit 11 is of the index, and bits 10:8 mean nothing.
    entry(&mut io, 1, 0x8714, 1 << 16);
    io.set_line(1, true);
    assert_eq!(sent(&mut io), [(1, 1 << 48 | 0x8714)]);
    assert_eq!(get(&mut io, 0x12) & 0x4000, 0x4000);
}

#[test]
fn reset_masks_and_keeps_lines() {
    let mut io = IoApic::default();
    entry(&mut io, 9, 0x8099, 0);
    io.set_line(9, true);
    io.reset();
    assert_eq!(sent(&mut io), []);
    assert_eq!(io.entry(9), Some(MASKED));
    set(&mut io, 0x22, 0x8099);
    assert_eq!(sent(&mut io).len(), 1);
}

use std::sync::mpsc::channel;

use super::*;

#[test]
fn output_is_packed_most_significant_first() {
    let (tx, rx) = channel();
    let mut vty = Vty::new(VTY_UNIT, 0x1001, Box::new(tx));
    let word = u64::from_be_bytes(*b"Hello, w");
    let tail = u64::from_be_bytes(*b"orld\n\0\0\0");
    assert_eq!(
        vty.hcall(H_PUT_TERM_CHAR, &[VTY_UNIT, 13, word, tail]),
        Some(H_SUCCESS.into())
    );
    assert_eq!(rx.try_recv().unwrap(), b"Hello, world\n");
    assert_eq!(
        vty.hcall(H_PUT_TERM_CHAR, &[VTY_UNIT, 17, 0, 0]),
        Some(H_PARAMETER.into())
    );
    assert_eq!(vty.hcall(H_PUT_TERM_CHAR, &[0, 1, 0, 0]), None);
    assert_eq!(vty.written(), 13);
}

#[test]
fn input_interrupts_once_and_is_capped() {
    let mut vty = Vty::new(VTY_UNIT, 0x1001, Box::new(Vec::new()));
    assert_eq!(vty.input(b"0123456789abcdefXY"), 18);
    assert_eq!(vty.take_irq(), Some(0x1001));
    vty.input(b"Z");
    assert_eq!(vty.take_irq(), None);
    let first = Reply::with(&[
        16,
        u64::from_be_bytes(*b"01234567"),
        u64::from_be_bytes(*b"89abcdef"),
    ]);
    assert_eq!(vty.hcall(H_GET_TERM_CHAR, &[VTY_UNIT]), Some(first));
    let second = Reply::with(&[3, u64::from_be_bytes(*b"XYZ\0\0\0\0\0"), 0]);
    assert_eq!(vty.hcall(H_GET_TERM_CHAR, &[VTY_UNIT]), Some(second));
    assert_eq!(
        vty.hcall(H_GET_TERM_CHAR, &[VTY_UNIT]),
        Some(Reply::with(&[0, 0, 0]))
    );
    assert_eq!(vty.input(&vec![1; INPUT_CAP + 5]), INPUT_CAP);
    assert_eq!(vty.input(b"a"), 0);
    assert_eq!(vty.take_irq(), Some(0x1001));
}

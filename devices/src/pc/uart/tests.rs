use super::*;

#[test]
fn output_is_collected_and_input_interrupts() {
    let mut uart = Uart::default();
    for byte in *b"ok" {
        assert_eq!(uart.read(5) & 0x20, 0x20, "transmitter empty");
        uart.write(0, byte);
    }
    assert!(uart.has_output());
    assert_eq!(uart.take_output(), b"ok");
    assert!(!uart.has_output() && !uart.take_irq());
    uart.write(1, 1);
    assert_eq!(uart.input(b"xy"), 2);
    assert!(uart.take_irq() && !uart.take_irq());
    assert_eq!(uart.read(5) & 1, 1);
    assert_eq!((uart.read(0), uart.read(0)), (b'x', b'y'));
    assert_eq!(uart.read(5) & 1, 0);
}

#[test]
fn input_beyond_the_queue_is_not_taken() {
    let mut uart = Uart::default();
    let room = uart.room();
    assert_eq!(uart.input(&vec![b'a'; room + 10]), room);
    assert_eq!(uart.input(b"b"), 0);
}

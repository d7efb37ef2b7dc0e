//! Interrupts to the processors, and starts of processors.

use iced_x86::code_asm::*;

use super::guest::*;
use super::*;

/// Counter 0 of the 8254, periodic, each 11932 ticks: 10 ms.
fn start_timer(guest: &mut Guest) {
    for (port, value) in [(0x43, 0x34), (0x40, 0x9c), (0x40, 0x2e)] {
        guest.out(port, value);
    }
}

const PERIOD_NS: u64 = 10_000_000;

/// Five ticks of the timer wake the processor; time between them is skipped.
fn assert_five_ticks(machine: &Machine) {
    let clock = machine.platform().clock;
    let expected = 5 * PERIOD_NS..5 * PERIOD_NS + 100_000;
    assert!(expected.contains(&clock.now_ns()), "{clock:?}");
    assert!(clock.idle_ns() > 49 * PERIOD_NS / 10, "{clock:?}");
    assert!(machine.platform().counters.instructions < 10_000);
}

#[test]
fn timer_through_the_io_apic() {
    let mut guest = Guest::new();
    let mut tick = guest.a.create_label();
    guest.handler(0x40, tick);
    guest.enable_apic();
    guest.pin(2, 0x40);
    start_timer(&mut guest);
    guest.wait_for(5);
    guest.count(&mut tick);
    let (end, machine) = run_on_both(guest.config());
    assert_eq!(end, End::Exit(1));
    assert_five_ticks(&machine);
    assert_eq!(machine.cpus()[0].counters().interrupts[&0x40], 5);
    let report = machine.report(&end);
    assert_eq!(report.interrupts["I/O APIC pin 2"], 5);
}

#[test]
fn timer_through_the_old_controller() {
    let mut guest = Guest::new();
    let mut tick = guest.a.create_label();
    guest.handler(0x28, tick);
    guest.enable_apic();
    // LINT0 takes the controller's interrupts; the controller begins at vector 0x28 and lets input 0 through.
    guest.store(APIC + 0x350, 0x700);
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 0x28),
        (0x21, 4),
        (0x21, 1),
        (0x21, 0xfe),
    ] {
        guest.out(port, value);
    }
    start_timer(&mut guest);
    guest.wait_for(5);
    guest.a.set_label(&mut tick).unwrap();
    guest.a.inc(r15).unwrap();
    guest.out(0x20, 0x20);
    guest.a.iretq().unwrap();
    let (end, machine) = run_on_both(guest.config());
    assert_eq!(end, End::Exit(1));
    assert_five_ticks(&machine);
}

/// The handler arms the timer again, each time for a later value of the time stamp counter.
#[test]
fn deadline_timer() {
    let mut guest = Guest::new();
    let mut tick = guest.a.create_label();
    guest.handler(0x41, tick);
    // x2APIC mode.
    guest.wrmsr(0x1b, 0xfee0_0d00);
    guest.wrmsr(0x80f, 0x1ff);
    guest.wrmsr(0x832, 2 << 17 | 0x41);
    // The counter begins elsewhere, and the deadline with it.
    guest.wrmsr(0x10, 0x10_0000_0000);
    guest.wrmsr(0x6e0, 0x10_0000_0000 + 3_000_000);
    guest.a.sti().unwrap();
    guest.a.hlt().unwrap();
    guest.exit(1);
    guest.a.set_label(&mut tick).unwrap();
    guest.a.rdtsc().unwrap();
    guest.a.sub(eax, 3_000_000).unwrap();
    guest.a.cmp(eax, 1000).unwrap();
    let mut late = guest.a.create_label();
    guest.a.ja(late).unwrap();
    guest.a.cmp(edx, 0x10).unwrap();
    guest.a.jne(late).unwrap();
    guest.exit(0);
    guest.a.set_label(&mut late).unwrap();
    guest.exit(2);
    let (end, machine) = run_on_both(guest.config());
    assert_eq!(end, End::Exit(1));
    assert!(machine.platform().counters.instructions < 1000);
}

/// The first processor starts the second in real mode, which speaks and halts; an NMI ends its halt.
#[test]
fn a_second_processor() {
    let mut guest = Guest::new();
    // mov dx, 0x3f8; mov al, '2'; out dx, al; hlt; mov al, '!'; out dx, al; mov al, 10; out dx, al; hlt
    let code = [
        0xba, 0xf8, 0x03, 0xb0, b'2', 0xee, 0xf4, 0xb0, b'!', 0xee, 0xb0, 10, 0xee, 0xf4, 0, 0,
    ];
    for (at, quad) in (0x8000..).step_by(8).zip(code.as_chunks::<8>().0) {
        guest.store_quad(at, u64::from_le_bytes(*quad));
    }
    // Its handler of NMIs is an IRET at 0x8100, by the table of real mode.
    guest.store(0x8100, 0xcf);
    guest.store(8, 0x8100);
    for command in [0x4500, 0x4608, 0x4608] {
        guest.store(APIC + 0x310, 1 << 24);
        guest.store(APIC + 0x300, command);
    }
    wait(&mut guest);
    guest.store(APIC + 0x310, 1 << 24);
    guest.store(APIC + 0x300, 0x4400);
    wait(&mut guest);
    guest.exit(0);
    let (end, machine) = run_on_both(PcConfig {
        cpus: 2,
        ..guest.config()
    });
    assert_eq!(end, End::Exit(1));
    assert_eq!(machine.platform().console.log(), "2!\n");
    assert!(machine.cpus()[1].is_halted());
}

/// Spins for longer than a turn.
fn wait(guest: &mut Guest) {
    let mut again = guest.a.create_label();
    guest.a.mov(ecx, 50_000).unwrap();
    guest.a.set_label(&mut again).unwrap();
    guest.a.dec(ecx).unwrap();
    guest.a.jnz(again).unwrap();
}

/// Input to the serial port interrupts, and arrives.
#[test]
fn the_serial_port() {
    struct Typist(bool);
    impl Host for Typist {
        fn poll(&mut self, _: crate::host::Moment<'_>, room: usize) -> crate::host::HostInput {
            let fresh = room > 1 && !std::mem::replace(&mut self.0, true);
            crate::host::HostInput {
                bytes: if fresh { b"x".to_vec() } else { Vec::new() },
                quit: false,
            }
        }
    }
    let mut guest = Guest::new();
    let mut typed = guest.a.create_label();
    guest.handler(0x44, typed);
    guest.enable_apic();
    guest.pin(4, 0x44);
    // Interrupts by received data.
    guest.out(0x3f9, 1);
    guest.wait_for(1);
    guest.a.set_label(&mut typed).unwrap();
    guest.a.mov(edx, 0x3f8).unwrap();
    guest.a.in_(al, dx).unwrap();
    guest.a.inc(al).unwrap();
    guest.a.out(dx, al).unwrap();
    guest.say("\n");
    guest.a.inc(r15).unwrap();
    guest.eoi();
    guest.a.iretq().unwrap();
    // A timer keeps the machine alive until the input comes.
    let mut machine = Machine::new(guest.config()).unwrap();
    let end = machine.run(&mut Typist(false));
    assert_eq!(end, End::Exit(1));
    assert_eq!(machine.platform().console.log(), "y\n");
}

use super::local::{BASE, mode};
use super::regs::*;
use super::*;

/// APICs in xAPIC mode, enabled by software.
fn xapic(cpus: u32) -> Apics {
    let mut apics = Apics::new(cpus, true);
    for cpu in 0..cpus as usize {
        write(&mut apics, cpu, SVR, 0x1ff);
    }
    apics
}

/// APICs in x2APIC mode, enabled by software.
fn x2apic(cpus: u32) -> Apics {
    let mut apics = Apics::new(cpus, true);
    for cpu in 0..cpus as usize {
        let base = apics.msr_read(cpu, MSR_BASE, 0).unwrap();
        apics.msr_write(cpu, MSR_BASE, base | BASE_EXTD, 0).unwrap();
        apics.msr_write(cpu, msr(SVR), 0x1ff, 0).unwrap();
    }
    apics
}

fn msr(offset: u16) -> u32 {
    MSR_X2APIC + u32::from(offset >> 4)
}

fn write(apics: &mut Apics, cpu: usize, offset: u16, value: u32) {
    write_at(apics, cpu, offset, value, 0);
}

fn write_at(apics: &mut Apics, cpu: usize, offset: u16, value: u32, now: u64) {
    apics.mmio_write(cpu, offset, &value.to_le_bytes(), now);
}

fn read(apics: &mut Apics, cpu: usize, offset: u16) -> u32 {
    read_at(apics, cpu, offset, 0)
}

fn read_at(apics: &mut Apics, cpu: usize, offset: u16, now: u64) -> u32 {
    let mut bytes = [0; 4];
    apics.mmio_read(cpu, offset, &mut bytes, now);
    u32::from_le_bytes(bytes)
}

fn fixed(vector: u8, destination: u32) -> Interrupt {
    Interrupt {
        vector,
        destination,
        logical: false,
        redirection_hint: false,
        delivery_mode: mode::FIXED,
        level: false,
    }
}

/// Processors that wait with an interrupt, as bits.
fn waiting(apics: &Apics) -> u32 {
    (0..apics.cpus()).fold(0, |bits, cpu| bits | u32::from(apics.waits(cpu)) << cpu)
}

#[test]
fn power_on() {
    let mut apics = Apics::new(2, true);
    assert_eq!(
        apics.msr_read(0, MSR_BASE, 0),
        Some(BASE | BASE_EN | BASE_BSP)
    );
    assert_eq!(apics.msr_read(1, MSR_BASE, 0), Some(BASE | BASE_EN));
    assert_eq!(read(&mut apics, 1, ID), 1 << 24);
    assert_eq!(read(&mut apics, 0, VERSION), 0x0005_0014);
    assert_eq!(read(&mut apics, 0, SVR), 0xff);
    assert_eq!(read(&mut apics, 0, LVT), LVT_MASKED);
    assert_eq!(read(&mut apics, 0, DFR), u32::MAX);
    assert_eq!(apics.offset(0, BASE + 0x80), Some(0x80));
    assert_eq!(apics.offset(0, BASE + 0x1000), None);
    assert!(!apics.deliver(&fixed(0x40, 7)), "nobody has this id");
    apics.deliver(&fixed(0x40, 0));
    assert_eq!(waiting(&apics), 0, "disabled by software");
    // Masked as long as software has it disabled.
    write(&mut apics, 0, LVT, 0x31);
    assert_eq!(read(&mut apics, 0, LVT), LVT_MASKED | 0x31);
}

#[test]
fn priorities() {
    let mut apics = xapic(1);
    for vector in [0x41, 0x52, 0x45] {
        apics.deliver(&fixed(vector, 0));
    }
    assert_eq!(
        read(&mut apics, 0, IRR + 0x20),
        0x0004_0022_u32 & 0x22 | 1 << 18
    );
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0x52)));
    assert_eq!(read(&mut apics, 0, PPR), 0x50);
    assert!(!apics.waits(0), "a lower class is held back");
    assert_eq!(apics.acknowledge(0), None);
    apics.deliver(&fixed(0x60, 0));
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0x60)));
    write(&mut apics, 0, EOI, 0);
    assert!(!apics.waits(0));
    write(&mut apics, 0, EOI, 0);
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0x45)));
    assert!(!apics.waits(0), "the same class is held back");
    write(&mut apics, 0, EOI, 0);
    apics.set_task_priority(0, 4);
    assert!(!apics.waits(0));
    assert_eq!(read(&mut apics, 0, TPR), 0x40);
    write(&mut apics, 0, TPR, 0x3f);
    assert_eq!(apics.task_priority(0), 3);
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0x41)));
    assert_eq!(apics.take_eois(), [] as [u8; 0], "edges need no broadcast");
}

#[test]
fn level_interrupts_tell_their_end() {
    let mut apics = xapic(1);
    apics.deliver(&Interrupt {
        level: true,
        ..fixed(0x51, 0)
    });
    assert_eq!(read(&mut apics, 0, TMR + 0x20), 1 << 17);
    apics.acknowledge(0);
    write(&mut apics, 0, EOI, 0);
    assert_eq!(apics.take_eois(), [0x51]);
    apics.deliver(&fixed(0x51, 0));
    assert_eq!(read(&mut apics, 0, TMR + 0x20), 0);
}

#[test]
fn logical_destinations() {
    let logical = |destination| Interrupt {
        logical: true,
        ..fixed(0x40, destination)
    };
    let flat = || {
        let mut apics = xapic(4);
        for cpu in 0..4 {
            write(&mut apics, cpu, LDR, 1 << (24 + cpu));
        }
        apics
    };
    let mut apics = flat();
    apics.deliver(&logical(0b1010));
    assert_eq!(waiting(&apics), 0b1010);
    let mut apics = flat();
    apics.deliver(&fixed(0x40, 0xff));
    assert_eq!(waiting(&apics), 0b1111, "everybody");
    // Two clusters of two.
    let mut apics = xapic(4);
    for (cpu, id) in [(0, 0x11), (1, 0x12), (2, 0x21), (3, 0x22)] {
        write(&mut apics, cpu, DFR, 0x0fff_ffff);
        write(&mut apics, cpu, LDR, id << 24);
    }
    assert!(apics.deliver(&logical(0x23)) && !apics.deliver(&logical(0x34)));
    assert_eq!(waiting(&apics), 0b1100);
    apics.deliver(&logical(0xf1));
    assert_eq!(waiting(&apics), 0b1101, "all clusters");
    let mut apics = x2apic(4);
    assert_eq!(apics.msr_read(3, msr(LDR), 0), Some(8));
    apics.deliver(&logical(0b0110));
    assert_eq!(waiting(&apics), 0b0110);
    assert!(!apics.deliver(&logical(0x1_0001)));
    apics.deliver(&fixed(0x40, u32::MAX));
    assert_eq!(waiting(&apics), 0b1111);
}

#[test]
fn the_lowest_priority_takes_it() {
    let mut apics = xapic(3);
    for cpu in 0..3 {
        write(&mut apics, cpu, LDR, 1 << (24 + cpu));
    }
    apics.set_task_priority(0, 2);
    apics.set_task_priority(1, 1);
    apics.set_task_priority(2, 1);
    apics.deliver(&Interrupt {
        logical: true,
        delivery_mode: mode::LOWEST,
        ..fixed(0x40, 7)
    });
    assert_eq!(waiting(&apics), 0b010);
    apics.set_task_priority(1, 3);
    apics.deliver(&Interrupt {
        logical: true,
        redirection_hint: true,
        ..fixed(0x40, 7)
    });
    assert_eq!(waiting(&apics), 0b110);
}

#[test]
fn commands_between_processors() {
    let mut apics = xapic(3);
    write(&mut apics, 0, ICR_HIGH, 2 << 24);
    write(&mut apics, 0, ICR, 0x4000 | 0x40);
    assert_eq!(waiting(&apics), 0b100);
    assert_eq!(read(&mut apics, 0, ICR), 0x4040, "sent at once");
    write(&mut apics, 1, ICR, 3 << 18 | 0x41);
    assert_eq!(waiting(&apics), 0b101);
    write(&mut apics, 1, ICR, 1 << 18 | 0x41);
    assert_eq!(waiting(&apics), 0b111);
    // INIT, its de-assertion, start-up, NMI.
    write(&mut apics, 0, ICR_HIGH, 1 << 24);
    write(&mut apics, 0, ICR, 0xc500);
    write(&mut apics, 0, ICR, 0x8500);
    write(&mut apics, 0, ICR, 0x4608);
    write(&mut apics, 0, ICR_HIGH, 2 << 24);
    write(&mut apics, 0, ICR, 0x4400);
    assert!(apics.has_signals(1) && !apics.has_signals(0));
    let started = Signals {
        init: true,
        startup: Some(8),
        nmi: false,
    };
    assert_eq!(apics.take_signals(1), started);
    assert!(!apics.has_signals(1) && apics.take_signals(2).nmi);
    assert!(!apics.waits(1), "INIT clears the APIC");
    assert_eq!(read(&mut apics, 1, SVR), 0xff);
    let mut apics = x2apic(2);
    apics.msr_write(0, msr(ICR), 1 << 32 | 0x77, 0).unwrap();
    assert_eq!(apics.acknowledge(1), Some(Taken::Vector(0x77)));
    assert_eq!(apics.msr_read(0, msr(ICR), 0), Some(1 << 32 | 0x77));
    apics.msr_write(0, msr(SELF_IPI), 0x33, 0).unwrap();
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0x33)));
}

#[test]
fn modes_and_what_x2apic_refuses() {
    let mut apics = Apics::new(1, false);
    let base = BASE | BASE_BSP | BASE_EN | BASE_EXTD;
    assert_eq!(apics.msr_write(0, MSR_BASE, base, 0), None, "no such mode");
    let mut apics = Apics::new(1, true);
    let on = BASE | BASE_BSP | BASE_EN;
    assert_eq!(apics.msr_read(0, msr(ID), 0), None, "no x2APIC yet");
    assert_eq!(
        apics.msr_write(0, MSR_BASE, on & !BASE_EN | BASE_EXTD, 0),
        None
    );
    assert_eq!(apics.msr_write(0, MSR_BASE, on | 1, 0), None, "reserved");
    apics.msr_write(0, MSR_BASE, on | BASE_EXTD, 0).unwrap();
    assert_eq!(apics.msr_write(0, MSR_BASE, on, 0), None, "no way back");
    assert_eq!(apics.offset(0, BASE), None, "no page in this mode");
    for offset in [DFR, ICR_HIGH, APR] {
        assert_eq!(apics.msr_read(0, msr(offset), 0), None, "{offset:#x}");
    }
    assert_eq!(apics.msr_read(0, msr(EOI), 0), None);
    assert_eq!(apics.msr_write(0, msr(EOI), 1, 0), None);
    assert_eq!(apics.msr_write(0, msr(EOI), 0, 0), Some(()));
    assert_eq!(apics.msr_write(0, msr(ID), 0, 0), None);
    assert_eq!(apics.msr_write(0, msr(TPR), 0x100, 0), None);
    assert_eq!(apics.msr_write(0, MSR_X2APIC + 0x40, 0, 0), None);
    let lint0 = msr(LVT + 0x30);
    assert_eq!(apics.msr_write(0, lint0, 0x2_0700, 0), None);
    apics.msr_write(0, lint0, 0x5700, 0).unwrap();
    assert_eq!(
        apics.msr_read(0, lint0, 0),
        Some(u64::from(LVT_MASKED) | 0x700),
        "status bits are read-only, not reserved"
    );
    apics.msr_write(0, MSR_BASE, on & !BASE_EN, 0).unwrap();
    assert_eq!(apics.msr_write(0, MSR_BASE, on | BASE_EXTD, 0), None);
    apics.msr_write(0, MSR_BASE, on, 0).unwrap();
    assert_eq!(apics.offset(0, BASE + ID as u64), Some(ID));
}

#[test]
fn timer_one_shot_and_periodic() {
    let mut apics = xapic(1);
    write(&mut apics, 0, TIMER_DIVIDE, 0b0011); // by 16
    write(&mut apics, 0, LVT, 0x40);
    write_at(&mut apics, 0, TIMER_INITIAL, 100, 1000);
    assert_eq!(apics.next_deadline(), Some(2600));
    assert_eq!(read_at(&mut apics, 0, TIMER_CURRENT, 1800), 50);
    apics.run(2599);
    assert!(!apics.waits(0));
    apics.run(2600);
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0x40)));
    assert_eq!(apics.next_deadline(), None);
    assert_eq!(read_at(&mut apics, 0, TIMER_CURRENT, 3000), 0);
    write_at(&mut apics, 0, EOI, 0, 3000);
    // Periodic, by 1; three periods late count once.
    write_at(&mut apics, 0, TIMER_DIVIDE, 0b1011, 3000);
    write_at(&mut apics, 0, LVT, 1 << 17 | 0x41, 3000);
    write_at(&mut apics, 0, TIMER_INITIAL, 10, 3000);
    apics.run(3035);
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0x41)));
    assert_eq!(apics.next_deadline(), Some(3040));
    assert_eq!(read_at(&mut apics, 0, TIMER_CURRENT, 3036), 4);
    // A masked timer counts, but what expires then is lost.
    write_at(&mut apics, 0, LVT, LVT_MASKED | 0x41, 3036);
    assert_eq!(apics.next_deadline(), None);
    write_at(&mut apics, 0, EOI, 0, 5000);
    write_at(&mut apics, 0, LVT, 0x41, 5000);
    assert!(!apics.waits(0));
    write_at(&mut apics, 0, TIMER_INITIAL, 0, 5000);
    assert_eq!(apics.next_deadline(), None);
}

#[test]
fn timer_at_a_deadline() {
    let mut apics = xapic(1);
    apics.msr_write(0, MSR_DEADLINE, 500, 0).unwrap();
    assert_eq!(apics.msr_read(0, MSR_DEADLINE, 0), Some(0), "other mode");
    write(&mut apics, 0, LVT, 2 << 17 | 0x42);
    apics.msr_write(0, MSR_DEADLINE, 500, 100).unwrap();
    assert_eq!(apics.msr_read(0, MSR_DEADLINE, 100), Some(500));
    assert_eq!(apics.next_deadline(), Some(500));
    write_at(&mut apics, 0, TIMER_INITIAL, 7, 100);
    assert_eq!(apics.next_deadline(), Some(500), "counts do not matter");
    apics.run(500);
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0x42)));
    assert_eq!(apics.msr_read(0, MSR_DEADLINE, 500), Some(0));
    write_at(&mut apics, 0, EOI, 0, 500);
    apics.msr_write(0, MSR_DEADLINE, 400, 600).unwrap();
    assert!(apics.waits(0), "past: at once");
    apics.msr_write(0, MSR_DEADLINE, 900, 600).unwrap();
    write_at(&mut apics, 0, LVT, 0x42, 600);
    assert_eq!(apics.next_deadline(), None, "another mode disarms");
}

#[test]
fn pins() {
    let mut apics = xapic(2);
    write(&mut apics, 0, LVT + 0x30, 0x700);
    apics.set_lint(0, true);
    assert_eq!(waiting(&apics), 1);
    assert_eq!(apics.acknowledge(0), Some(Taken::External));
    assert!(apics.waits(0), "as long as the controller asks");
    apics.set_lint(0, false);
    assert!(!apics.waits(0));
    write(&mut apics, 1, LVT + 0x40, 0x400);
    apics.set_lint(1, true);
    assert!(apics.take_signals(1).nmi && !apics.has_signals(0));
    // An interrupt with a vector by a level: again after its end while the pin is asserted.
    write(&mut apics, 1, LVT + 0x30, LVT_LEVEL | 0x44);
    apics.set_lint(0, true);
    assert_eq!(apics.acknowledge(1), Some(Taken::Vector(0x44)));
    assert_ne!(read(&mut apics, 1, LVT + 0x30) & LVT_REMOTE_IRR, 0);
    write(&mut apics, 1, EOI, 0);
    assert!(apics.waits(1));
    apics.set_lint(0, false);
    assert_eq!(apics.acknowledge(1), Some(Taken::Vector(0x44)));
    write(&mut apics, 1, EOI, 0);
    assert!(!apics.waits(1));
    // Without local APICs the controller reaches the first processor.
    let mut apics = Apics::new(2, true);
    for cpu in 0..2 {
        let base = apics.msr_read(cpu, MSR_BASE, 0).unwrap();
        apics.msr_write(cpu, MSR_BASE, base & !BASE_EN, 0).unwrap();
    }
    apics.set_lint(0, true);
    assert_eq!(waiting(&apics), 1);
}

#[test]
fn external_interrupts_by_message() {
    let mut apics = xapic(1);
    apics.deliver(&Interrupt {
        delivery_mode: mode::EXT_INT,
        ..fixed(0, 0)
    });
    assert_eq!(apics.acknowledge(0), Some(Taken::External));
    assert!(!apics.waits(0));
}

#[test]
fn errors() {
    let mut apics = xapic(1);
    write(&mut apics, 0, LVT + 0x50, 0xfe);
    apics.deliver(&fixed(0x0f, 0));
    assert_eq!(apics.acknowledge(0), Some(Taken::Vector(0xfe)));
    assert_eq!(read(&mut apics, 0, ESR), 0, "until it is written");
    write(&mut apics, 0, ICR, 1 << 18 | 5);
    write(&mut apics, 0, 0x3d0, 1);
    write(&mut apics, 0, ESR, 0);
    let all = ESR_RECEIVE_VECTOR | ESR_SEND_VECTOR | ESR_REGISTER;
    assert_eq!(read(&mut apics, 0, ESR), all);
    write(&mut apics, 0, ESR, 0);
    assert_eq!(read(&mut apics, 0, ESR), 0);
    // An error vector that is an error itself ends.
    write(&mut apics, 0, LVT + 0x50, 3);
    apics.deliver(&fixed(2, 0));
    write(&mut apics, 0, ESR, 0);
    assert_eq!(read(&mut apics, 0, ESR), ESR_RECEIVE_VECTOR);
}

mod guest;
mod interrupts;
mod remapping;

use guest::{Guest, config};

use super::*;
use crate::host::Unattended;
use crate::observe::Report;
use crate::observe::report::HostSummary;

fn run(config: PcConfig) -> (End, Machine) {
    let mut machine = Machine::new(config).unwrap();
    let end = machine.run(&mut Unattended);
    (end, machine)
}

/// Runs on both tiers, which must not differ.
fn run_on_both(config: PcConfig) -> (End, Machine) {
    let interpreted = PcConfig {
        engine: viommu_cpu::engine::Engine::Interpreter,
        ..config.clone()
    };
    let ((end, one), (other_end, other)) = (run(config), run(interpreted));
    assert_eq!(end, other_end);
    let report = |m: &Machine| {
        let report = Report {
            host: HostSummary::default(),
            ..m.report(&end)
        };
        serde_json::to_value(report).unwrap()
    };
    assert_eq!(report(&one), report(&other));
    (end, one)
}

fn end_of(write: impl FnOnce(&mut Guest)) -> End {
    let mut guest = Guest::new();
    write(&mut guest);
    run(guest.config()).0
}

#[test]
fn hello() {
    let mut guest = Guest::new();
    guest.say("hello, world\n");
    guest.exit(0);
    let (end, machine) = run_on_both(guest.config());
    assert_eq!(end, End::Exit(1));
    assert_eq!(machine.platform().console.log(), "hello, world\n");
    assert_eq!(machine.platform().counters.port_writes, 14);
    assert_eq!(machine.platform().counters.port_errors, 0);
}

#[test]
fn ends() {
    assert_eq!(end_of(|g| g.exit(3)), End::Exit(7));
    assert_eq!(end_of(|g| g.out(0xcf9, 6)), End::Reboot);
    assert_eq!(end_of(|g| g.out(0x64, 0xfe)), End::Reboot);
    assert_eq!(end_of(|g| g.out(0x92, 1)), End::Reboot);
    // Soft-off: SLP_EN with its type in the high byte of PM1a control.
    assert_eq!(end_of(|g| g.out(0x605, 0x20 | 5 << 2)), End::PowerOff);
    // Without an interrupt table.
    assert_eq!(end_of(|g| g.a.ud2().unwrap()), End::TripleFault(0));
    // jmp .
    assert_eq!(run(config(&[0xeb, 0xfe])).0, End::MaxInstructions);
    // With interrupts off.
    assert_eq!(end_of(|g| g.a.hlt().unwrap()), End::Deadlock);
    assert!(End::Exit(1).is_orderly() && !End::Exit(3).is_orderly());
}

/// A timer's interrupt does not wake a processor that does not take any.
#[test]
fn deaf_for_ever() {
    let mut guest = Guest::new();
    guest.pin(2, 0x40);
    for (port, value) in [(0x43, 0x34), (0x40, 0), (0x40, 0)] {
        guest.out(port, value);
    }
    guest.a.hlt().unwrap();
    let (end, machine) = run(guest.config());
    assert_eq!(end, End::Deadlock);
    let waited = machine.platform().clock.now_ns();
    assert!((DEAD_NS..2 * DEAD_NS).contains(&waited), "{waited}");
}

#[test]
fn a_pattern_or_a_panic_on_the_console_ends_the_run() {
    let after = |text: &str, write: &dyn Fn(&mut Guest)| {
        let mut guest = Guest::new();
        guest.say(text);
        write(&mut guest);
        PcConfig {
            until: Some("wor".into()),
            ..guest.config()
        }
    };
    let spin = |g: &mut Guest| g.a.db(&[0xeb, 0xfe]).unwrap();
    let end = run(after("hello, world\n", &spin)).0;
    assert_eq!(end, End::Until("wor".into()));
    let words = "[ 1.0] Kernel panic - not syncing: no init\n---[ end Kernel panic - \n";
    assert_eq!(run(after(words, &spin)).0, End::Panic("no init".into()));
    let words = "Kernel panic - not syncing: and away\n";
    let end = run(after(words, &|g| g.out(0xcf9, 6))).0;
    assert_eq!(end, End::Panic("and away".into()));
}

#[test]
fn ram_on_both_sides_of_the_hole() {
    let mut guest = Guest::new();
    // A page above 4 GiB, mapped by the last entry of the root table's first table.
    let (low, high) = (0x7fff_fff0, 0x1_0000_0000_u64);
    guest.store(low, 0x1234_5678);
    // The loader's tables map 4 GiB: the fifth is mapped by hand, with a page of 1 GiB.
    guest.store_quad(0xa000 + 8 * 4, high | 0x83);
    guest.store(high, 0x9abc_def0);
    guest.load(low);
    guest.expect(0x1234_5678, 1);
    guest.load(high);
    guest.expect(0x9abc_def0, 2);
    guest.load(0x8000_0000);
    guest.expect(u32::MAX, 3);
    guest.exit(0);
    let (end, machine) = run(PcConfig {
        memory: 3 << 30,
        ..guest.config()
    });
    assert_eq!(end, End::Exit(1));
    assert_eq!(machine.platform().counters.mmio_errors, 1);
}

use super::*;
use crate::host::Unattended;

/// Where programs are linked.
const BASE: u64 = 0x10_0000;

/// An ELF64 file of one segment with `code`, entered at its start in 64-bit mode.
pub fn elf(code: &[u8]) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    let size = code.len() as u64;
    let mut put = |values: &[(u64, usize)]| {
        for (value, bytes) in values {
            out.extend(&value.to_le_bytes()[..*bytes]);
        }
    };
    // Header: executable, x86-64, version, entry, program headers at 64, no sections.
    put(&[(2, 2), (62, 2), (1, 4), (BASE, 8), (64, 8), (0, 8), (0, 4)]);
    put(&[(64, 2), (56, 2), (1, 2), (0, 2), (0, 2), (0, 2)]);
    // One segment, all rights.
    put(&[(1, 4), (7, 4), (120, 8), (BASE, 8), (BASE, 8)]);
    put(&[(size, 8), (size, 8), (0x1000, 8)]);
    out.extend(code);
    out
}

fn config(code: &[u8]) -> PcConfig {
    PcConfig {
        memory: 64 << 20,
        kernel: Some(elf(code)),
        max_instructions: Some(10_000_000),
        ..PcConfig::default()
    }
}

fn run(config: PcConfig) -> (End, Machine) {
    let mut machine = Machine::new(config).unwrap();
    let end = machine.run(&mut Unattended);
    (end, machine)
}

/// `out dx, al` of each byte to the serial port.
fn say(text: &str) -> Vec<u8> {
    let mut code = vec![0x66, 0xba, 0xf8, 0x03];
    for byte in text.bytes() {
        code.extend([0xb0, byte, 0xee]);
    }
    code
}

/// `value` to `port`, a byte.
fn out(port: u16, value: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0x66, 0xba, low, high, 0xb0, value, 0xee]
}

#[test]
fn hello() {
    let (end, machine) = run(config(&[say("hello, world\n"), out(0xf4, 0)].concat()));
    assert_eq!(end, End::Exit(1));
    assert_eq!(machine.platform().console.log(), "hello, world\n");
    assert_eq!(machine.platform().counters.port_writes, 14);
    assert_eq!(machine.platform().counters.port_errors, 0);
}

#[test]
fn ends() {
    assert_eq!(run(config(&out(0xf4, 3))).0, End::Exit(7));
    assert_eq!(run(config(&out(0xcf9, 6))).0, End::Reboot);
    assert_eq!(run(config(&out(0x64, 0xfe))).0, End::Reboot);
    // Soft-off: SLP_EN with its type in the high byte of PM1a control.
    assert_eq!(run(config(&out(0x605, 0x20 | 5 << 2))).0, End::PowerOff);
    // ud2 without an interrupt table.
    assert_eq!(run(config(&[0x0f, 0x0b])).0, End::TripleFault(0));
    // jmp .
    assert_eq!(run(config(&[0xeb, 0xfe])).0, End::MaxInstructions);
    // hlt, with interrupts off.
    assert_eq!(run(config(&[0xf4])).0, End::Deadlock);
    let until = PcConfig {
        until: Some("wor".into()),
        ..config(&[say("hello, world\n"), vec![0xeb, 0xfe]].concat())
    };
    assert_eq!(run(until).0, End::Until("wor".into()));
    let panic = say("[ 1.0] Kernel panic - not syncing: no init\n---[ end Kernel panic - \n");
    let panic = config(&[panic, vec![0xeb, 0xfe]].concat());
    assert_eq!(run(panic).0, End::Panic("no init".into()));
    let panic = say("Kernel panic - not syncing: and away\n");
    let panic = config(&[panic, out(0xcf9, 6)].concat());
    assert_eq!(run(panic).0, End::Panic("and away".into()));
}

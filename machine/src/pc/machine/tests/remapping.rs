//! DMA and interrupts of a device through VT-d, as a driver sets it up: tables in memory, registers of the unit, an `edu` device.

use viommu_devices::vtd::Config;

use super::guest::*;
use super::*;
use crate::config::DeviceConfig;
use crate::pc::PcDevice;
use crate::pc::map;
use iced_x86::code_asm::*;

/// Registers of the device, which is at 00:01.0, and its configuration space.
const EDU: u64 = map::MMIO32.0;
const CONFIG: u64 = map::ECAM + (1 << 15);
/// Offset of its MSI capability.
const MSI: u64 = 0x40;
/// Tables: root, context, paging structures of three levels, interrupt remapping table.
const ROOT: u64 = 0x30_0000;
const CONTEXT: u64 = 0x30_1000;
const LEVELS: [u64; 3] = [0x30_2000, 0x30_3000, 0x30_4000];
const INTERRUPTS: u64 = 0x30_5000;
/// What the device writes to, and its bus address.
const TARGET: u64 = 0x31_0000;
const BUS: u64 = 0x7000;

fn with_edu(guest: Guest, units: Vec<Config>) -> PcConfig {
    PcConfig {
        devices: vec![DeviceConfig::Edu.into()],
        units,
        ..guest.config()
    }
}

/// Memory decoding and bus mastering.
fn enable_device(guest: &mut Guest) {
    guest.store(CONFIG + 4, 6);
}

/// The device writes 16 bytes of its buffer to a bus address.
fn start_dma(guest: &mut Guest, to: u64) {
    guest.store_quad(EDU + 0x80, 0x4_0000);
    guest.store_quad(EDU + 0x88, to);
    guest.store_quad(EDU + 0x90, 16);
    guest.store_quad(EDU + 0x98, 3);
}

/// The device reads 16 bytes of this address into its buffer.
fn fill_buffer(guest: &mut Guest, from: u64) {
    guest.store_quad(EDU + 0x80, from);
    guest.store_quad(EDU + 0x88, 0x4_0000);
    guest.store_quad(EDU + 0x90, 16);
    guest.store_quad(EDU + 0x98, 1);
}

/// A command to the unit.
fn command(guest: &mut Guest, bits: u32) {
    guest.store(map::VTD + 0x18, bits);
}

/// Translation with the table `ROOT`.
fn enable_translation(guest: &mut Guest) {
    guest.store_quad(map::VTD + 0x20, ROOT);
    command(guest, 1 << 30);
    command(guest, 1 << 31);
}

/// Tables with one page: [`BUS`] is [`TARGET`], for writes.
fn map_page(guest: &mut Guest) {
    guest.store_quad(ROOT, CONTEXT | 1);
    // Domain 7, 39 bits.
    guest.store_quad(CONTEXT + 8 * 16, LEVELS[0] | 1);
    guest.store_quad(CONTEXT + 8 * 16 + 8, 7 << 8 | 1);
    guest.store_quad(LEVELS[0], LEVELS[1] | 3);
    guest.store_quad(LEVELS[1], LEVELS[2] | 3);
    guest.store_quad(LEVELS[2] + 8 * (BUS >> 12), TARGET | 2);
}

#[test]
fn dma_without_a_unit() {
    let mut guest = Guest::new();
    enable_device(&mut guest);
    guest.store_quad(DATA, 0x1122_3344_5566_7788);
    fill_buffer(&mut guest, DATA);
    start_dma(&mut guest, TARGET);
    guest.load(TARGET + 4);
    guest.expect(0x1122_3344, 1);
    guest.exit(0);
    let (end, machine) = run_on_both(with_edu(guest, Vec::new()));
    assert_eq!(end, End::Exit(1));
    let report = machine.report(&end);
    assert_eq!(report.devices[0].address, "00:01.0");
    assert_eq!(
        (
            report.devices[0].bytes_read,
            report.devices[0].bytes_written
        ),
        (16, 16)
    );
}

#[test]
fn dma_is_translated() {
    let mut guest = Guest::new();
    enable_device(&mut guest);
    guest.store_quad(DATA, 0x1122_3344_5566_7788);
    fill_buffer(&mut guest, DATA);
    map_page(&mut guest);
    enable_translation(&mut guest);
    start_dma(&mut guest, BUS);
    guest.load(TARGET + 4);
    guest.expect(0x1122_3344, 1);
    guest.exit(0);
    let (end, machine) = run_on_both(with_edu(guest, vec![Config::legacy()]));
    assert_eq!(end, End::Exit(1));
    let counters = machine.platform().units[0].counters();
    assert_eq!((counters.iotlb_misses, counters.untranslated), (1, 1));
    assert_eq!(counters.domains.into_iter().collect::<Vec<_>>(), [7]);
}

/// A page that is not mapped: the DMA is refused, recorded, and told by the unit's own interrupt.
#[test]
fn a_fault_is_recorded_and_told() {
    let mut guest = Guest::new();
    let mut told = guest.a.create_label();
    guest.handler(0x50, told);
    guest.enable_apic();
    enable_device(&mut guest);
    map_page(&mut guest);
    enable_translation(&mut guest);
    // Event data and address, then not masked.
    guest.store(map::VTD + 0x3c, 0x50);
    guest.store(map::VTD + 0x40, APIC as u32);
    guest.store(map::VTD + 0x38, 0);
    start_dma(&mut guest, BUS + 0x1000);
    guest.wait_for(1);
    guest.count(&mut told);
    let (end, machine) = run_on_both(with_edu(guest, vec![Config::legacy()]));
    assert_eq!(end, End::Exit(1));
    let [refused] = &machine.platform().faults.list()[..] else {
        panic!("one fault");
    };
    assert_eq!(
        (
            refused.source.as_str(),
            refused.what,
            refused.address.as_str()
        ),
        ("00:01.0", "write", "0x8000")
    );
    assert_eq!((refused.unit, refused.code), (0, 5));
    assert!(refused.at_ns < machine.platform().clock.now_ns());
    let report = machine.report(&end);
    assert_eq!(report.interrupts["VT-d unit 0"], 1);
    assert_eq!(report.devices[0].faults, 1);
}

/// The device's message, straight and through an entry of the remapping table.
#[test]
fn messages() {
    let send = |units: Vec<Config>| {
        let mut guest = Guest::new();
        let mut came = guest.a.create_label();
        guest.handler(0x51, came);
        guest.enable_apic();
        enable_device(&mut guest);
        let remapped = !units.is_empty();
        // Entry 2 in remappable format, or vector 0x51.
        let (address, data) = if remapped {
            (1 << 4 | 2 << 5, 0)
        } else {
            (0, 0x51)
        };
        guest.store(CONFIG + MSI + 4, APIC as u32 | address);
        guest.store(CONFIG + MSI + 8, 0);
        guest.store(CONFIG + MSI + 12, data);
        guest.store(CONFIG + MSI, 1 << 16);
        if remapped {
            enable_interrupt_remapping(&mut guest);
        }
        guest.store(EDU + 0x60, 1);
        guest.wait_for(1);
        guest.count(&mut came);
        run_on_both(with_edu(guest, units))
    };
    let (end, machine) = send(Vec::new());
    assert_eq!(end, End::Exit(1));
    assert_eq!(machine.report(&end).interrupts["00:01.0 message"], 1);
    let (end, machine) = send(vec![Config::legacy()]);
    assert_eq!(end, End::Exit(1));
    assert_eq!(
        machine.platform().units[0].counters().interrupts.remapped,
        1
    );
}

/// A pin of the I/O APIC, level-triggered, by an entry that verifies the I/O APIC's requester id; an entry that is not there blocks.
#[test]
fn pins() {
    let run = |entry: u64| {
        let mut guest = Guest::new();
        let mut came = guest.a.create_label();
        guest.handler(0x51, came);
        guest.enable_apic();
        enable_device(&mut guest);
        enable_interrupt_remapping(&mut guest);
        // INTA of device 1 is pin 17.
        guest.pin(17, entry << 49 | 1 << 48 | 1 << 15 | 0x51);
        guest.store(EDU + 0x60, 1);
        guest.wait_for(2);
        guest.a.set_label(&mut came).unwrap();
        guest.a.inc(r15).unwrap();
        // Only at its second time the handler calms the device.
        let mut first = guest.a.create_label();
        guest.a.cmp(r15, 2).unwrap();
        guest.a.jl(first).unwrap();
        guest.store(EDU + 0x64, 1);
        guest.a.set_label(&mut first).unwrap();
        guest.eoi();
        guest.a.iretq().unwrap();
        run_on_both(with_edu(guest, vec![Config::legacy()]))
    };
    let (end, machine) = run(3);
    assert_eq!(end, End::Exit(1));
    assert_eq!(machine.report(&end).interrupts["I/O APIC pin 17"], 2);
    let (end, machine) = run(4);
    assert_eq!(end, End::Deadlock);
    let [refused] = &machine.platform().faults.list()[..] else {
        panic!("one fault");
    };
    assert_eq!(
        (refused.source.as_str(), refused.what, refused.code),
        ("ff:00.0", "interrupt", 0x22)
    );
}

/// Entry 2 lets the device's messages through, entry 3 the I/O APIC's; entry 4 is not present.
fn enable_interrupt_remapping(guest: &mut Guest) {
    for (index, source, level) in [(2, 8, 0), (3, 0xff00, 1 << 4)] {
        let entry = INTERRUPTS + 16 * index;
        guest.store_quad(entry, 0x51 << 16 | level | 1);
        guest.store_quad(entry + 8, 1 << 18 | source);
    }
    guest.store_quad(map::VTD + 0xb8, INTERRUPTS | 3);
    command(guest, 1 << 24);
    command(guest, 1 << 25);
}

/// A device behind a root port: its requester id is of its bus, and follows when the bus gets another number.
#[test]
fn behind_a_port() {
    let mut guest = Guest::new();
    let port = map::ECAM + (1 << 15);
    // Bus 5, then the device's configuration by it.
    guest.store(port + 0x18, 0x05_05_00);
    guest.store(map::ECAM + (5 << 20) + 4, 6);
    guest.store_quad(ROOT, 0);
    enable_translation(&mut guest);
    guest.load(map::ECAM + (5 << 20) + 0x10);
    guest.a.and(eax, -16).unwrap();
    guest.a.mov(rcx, rax).unwrap();
    for (at, value) in [(0x80, 0x4_0000), (0x88, 0x1000), (0x90, 16), (0x98, 3)] {
        guest.a.mov(rax, value as u64).unwrap();
        guest.a.mov(qword_ptr(rcx + at), rax).unwrap();
    }
    guest.exit(0);
    let (end, machine) = run_on_both(PcConfig {
        devices: vec![PcDevice {
            behind_port: true,
            ..DeviceConfig::Edu.into()
        }],
        units: vec![Config::legacy()],
        ..guest.config()
    });
    assert_eq!(end, End::Exit(1));
    let faults = machine.platform().faults.list();
    assert_eq!(faults[0].source, "05:00.0");
    assert_eq!(faults[0].code, 1);
    assert_eq!(machine.report(&end).devices[0].address, "05:00.0");
}

//! Where things are: addresses, ports, interrupts, ids. Everything that must agree between tables, loaders and devices.

use super::load::{MapEntry, MapKind};

/// Smallest RAM, in bytes.
pub const MEMORY_MIN: u64 = 64 << 20;
/// Largest RAM, in bytes.
pub const MEMORY_MAX: u64 = 1 << 40;
/// RAM is a multiple of this, in bytes.
pub const MEMORY_STEP: u64 = 2 << 20;
/// Most processors.
pub const CPUS_MAX: u32 = 64;
/// Most functions, on bus 0 and behind root ports: slots 1 to 31 of bus 0.
pub const SLOTS: usize = 31;
/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Most RAM that devices are said to use from power-on, in bytes.
pub const RESERVED_MAX: u64 = 16 << 20;
/// Most remapping units.
pub const UNITS_MAX: usize = 8;

/// RAM below 4 GiB ends here at the latest; what is more begins at [`HIGH_RAM`].
pub const LOW_RAM_TOP: u64 = 0x8000_0000;
/// RAM above the hole.
pub const HIGH_RAM: u64 = 1 << 32;

/// Configuration space of bus 0; a bus has 1 MiB.
pub const ECAM: u64 = 0xb000_0000;
/// Last bus.
pub const LAST_BUS: u8 = 0xff;
/// Bytes of configuration space.
pub const ECAM_SIZE: u64 = (LAST_BUS as u64 + 1) << 20;
/// Window for 32-bit BARs: start and end.
pub const MMIO32: (u64, u64) = (0xc000_0000, 0xfe00_0000);
/// Bytes of the window for 64-bit BARs, and what it is aligned to.
pub const MMIO64_SIZE: u64 = 1 << 36;
/// I/O APIC.
pub const IO_APIC: u64 = 0xfec0_0000;
/// Timers.
pub const HPET: u64 = 0xfed0_0000;
/// Register page of remapping unit 0; that of unit n is n pages on.
pub const VTD: u64 = 0xfed9_0000;
/// Register page of remapping unit `index`.
pub const fn unit(index: usize) -> u64 {
    VTD + index as u64 * PAGE
}
/// Local APICs.
pub const LOCAL_APIC: u64 = 0xfee0_0000;

/// ACPI tables, root pointer first: start and end. Guests without a pointer of their own search here.
pub const ACPI: (u64, u64) = (0xe_0000, 0xf_f000);
/// Page of the FACS, which the guest may write.
pub const ACPI_NVS: (u64, u64) = (0xf_f000, 0x10_0000);
/// Start of the region that a BIOS keeps for itself below 640 KiB.
pub const EBDA: u64 = 0x9_fc00;

/// Ports of PM1a event, PM1a control and the power management timer.
pub const PM1A_EVENT: u16 = 0x600;
/// See [`PM1A_EVENT`].
pub const PM1A_CONTROL: u16 = 0x604;
/// See [`PM1A_EVENT`].
pub const PM_TIMER: u16 = 0x608;
/// SLP_TYP of soft-off in PM1a control.
pub const SOFT_OFF: u8 = 5;
/// Reset register, and the value that resets.
pub const RESET: (u16, u8) = (0xcf9, 6);
/// First serial port.
pub const COM1: u16 = 0x3f8;
/// Its interrupt.
pub const COM1_IRQ: u8 = 4;
/// System control interrupt: level, active high.
pub const SCI: u8 = 9;
/// Global interrupt of the interval timer's ISA interrupt 0.
pub const TIMER_GSI: u32 = 2;
/// Global interrupts of INTA# to INTD# of slot 0 of bus 0; a slot's pins are rotated by its number.
pub const PCI_GSI: [u32; 4] = [16, 17, 18, 19];

/// Id of the I/O APIC in the MADT and in its own register.
pub const IO_APIC_ID: u8 = 0;
/// Pins of the I/O APIC.
pub const IO_APIC_PINS: u32 = 24;
/// Source-ids of the I/O APIC's and the timers' messages: a bus on which no function can be found.
pub const IO_APIC_SOURCE: (u8, u8, u8) = (0xff, 0, 0);
/// See [`IO_APIC_SOURCE`].
pub const HPET_SOURCE: (u8, u8, u8) = (0xff, 1, 0);
/// Low half of the timers' capabilities: revision 1, three timers, 64-bit counter, legacy replacement, vendor 8086.
pub const HPET_CAPABILITIES: u32 = 0x8086_a201;

/// The shortest period of the timers that is safe, in their ticks.
pub const HPET_MINIMUM_TICK: u16 = 100;

/// Sizes of RAM below the hole and above it.
pub fn split(memory: u64) -> (u64, u64) {
    let low = memory.min(LOW_RAM_TOP);
    (low, memory - low)
}

/// Window for 64-bit BARs of a machine with so much RAM: start and end.
pub fn mmio64(memory: u64) -> (u64, u64) {
    let top = HIGH_RAM + split(memory).1;
    let start = top.next_multiple_of(MMIO64_SIZE);
    (start, start + MMIO64_SIZE)
}

/// The memory map that a guest is told. `reserved` (start and end, whole pages) is taken out of RAM: regions that devices use from power-on.
pub fn memory_map(memory: u64, reserved: &[(u64, u64)]) -> Vec<MapEntry> {
    let (low, high) = split(memory);
    let entry = |start, end, kind| MapEntry { start, end, kind };
    let mut map = vec![
        entry(0, EBDA, MapKind::Ram),
        entry(EBDA, 0xa_0000, MapKind::Reserved),
        entry(ACPI.0, ACPI.1, MapKind::Acpi),
        entry(ACPI_NVS.0, ACPI_NVS.1, MapKind::Nvs),
        entry(0x10_0000, low, MapKind::Ram),
        entry(ECAM, ECAM + ECAM_SIZE, MapKind::Reserved),
        entry(HIGH_RAM, HIGH_RAM + high, MapKind::Ram),
    ];
    for &(start, end) in reserved {
        map = map.into_iter().flat_map(|e| cut(e, start, end)).collect();
        map.push(entry(start, end, MapKind::Reserved));
        map.retain(|e| e.start < e.end);
    }
    map.retain(|e| e.start < e.end);
    map.sort_by_key(|e| e.start);
    map
}

/// What is left of an entry of RAM without a region.
fn cut(e: MapEntry, start: u64, end: u64) -> [MapEntry; 2] {
    if e.kind != MapKind::Ram {
        return [e, MapEntry { end: e.start, ..e }];
    }
    [
        MapEntry {
            end: e.end.min(start),
            ..e
        },
        MapEntry {
            start: e.start.max(end),
            ..e
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps() {
        for memory in [MEMORY_MIN, LOW_RAM_TOP, 3 << 30, MEMORY_MAX] {
            let mut spans: Vec<_> = memory_map(memory, &[])
                .into_iter()
                .map(|e| (e.start, e.end))
                .collect();
            spans.extend([
                MMIO32,
                mmio64(memory),
                (IO_APIC, IO_APIC + 4096),
                (HPET, HPET + 4096),
                (VTD, VTD + 4096 * UNITS_MAX as u64),
                (LOCAL_APIC, LOCAL_APIC + (1 << 20)),
            ]);
            spans.sort_unstable();
            assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "{spans:x?}");
            assert!(spans.iter().all(|s| s.0 < s.1), "{spans:x?}");
        }
    }

    #[test]
    fn map_has_all_the_memory_but_what_is_reserved() {
        let ram = |reserved: &[(u64, u64)]| -> u64 {
            memory_map(5 << 30, reserved)
                .iter()
                .filter(|e| e.kind == MapKind::Ram)
                .map(|e| e.end - e.start)
                .sum()
        };
        let all = (5u64 << 30) - (0x10_0000 - EBDA);
        assert_eq!(ram(&[]), all);
        assert_eq!(ram(&[(0x7000_0000, 0x7001_0000)]), all - 0x1_0000);
        // Partly beyond RAM, and twice the same.
        let region = (LOW_RAM_TOP - 0x1000, LOW_RAM_TOP + 0x1000);
        assert_eq!(ram(&[region, region]), all - 0x1000);
    }
}

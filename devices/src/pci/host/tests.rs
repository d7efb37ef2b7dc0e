use super::*;
use crate::pci::bridge::{BRIDGE_CONTROL, MEMORY_WINDOW, PREFETCHABLE_WINDOW, PRIMARY_BUS};
use crate::pci::config::BarKind;
use crate::pci::regs::*;

const ECAM: u64 = 0xb000_0000;
const LOW: u64 = 0xc000_0000;
const HIGH: u64 = 1 << 36;

/// A device whose registers are 8 bytes of memory; a write to its register 0x10 asks for what the value says.
struct Probe {
    config: ConfigSpace,
    memory: [u8; 0x20],
    runs: u64,
}

impl Probe {
    fn boxed(pin: u8) -> Box<Probe> {
        let mut config = ConfigSpace::new_express(Identity {
            vendor: 0x1234,
            device: 0x5678,
            class: 0x00_ff00,
            interrupt_pin: pin,
            ..Identity::default()
        });
        config.add_bar(0, 0x1000, BarKind::Mem32);
        config.add_bar(2, 32 << 20, BarKind::Mem64Prefetch);
        Box::new(Probe {
            config,
            memory: [0; 0x20],
            runs: 0,
        })
    }
}

impl PciDevice for Probe {
    fn name(&self) -> &str {
        "probe"
    }
    fn config_read(&self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size)
    }
    fn config_write(&mut self, offset: u16, size: u8, value: u32, _: &mut Effects) {
        self.config.write(offset, size, value);
    }
    fn bar_size(&self, index: u8) -> u64 {
        match index {
            0 => 0x1000,
            2 => 32 << 20,
            _ => 0,
        }
    }
    fn bar_read(&mut self, index: u8, offset: u64, data: &mut [u8], _: &mut Effects) {
        if offset == 0x18 {
            return data.fill(self.runs as u8);
        }
        for (n, byte) in data.iter_mut().enumerate() {
            let at = offset as usize + n;
            *byte = self.memory.get(at).map_or(0xee, |b| b | index << 4);
        }
    }
    fn bar_write(&mut self, _: u8, offset: u64, data: &[u8], effects: &mut Effects) {
        for (n, byte) in data.iter().enumerate() {
            if let Some(to) = self.memory.get_mut(offset as usize + n) {
                *to = *byte;
            }
        }
        match (offset, data) {
            (0x10, [0, ..]) => effects.intx = Some(false),
            (0x10, [1, ..]) => effects.intx = Some(true),
            (0x10, [2, ..]) => effects.msi(0xfee0_0000, 0x44),
            (0x10, [3, ..]) => effects.run_after(100),
            _ => {}
        }
    }
    fn run(&mut self, _: u64, effects: &mut Effects) {
        self.runs += 1;
        effects.intx = Some(true);
    }
    fn reset(&mut self) {
        self.config.reset();
        self.memory.fill(0);
    }
}

const fn on_bus_0(devfn: u8) -> Place {
    Place { port: None, devfn }
}

fn host() -> PcHost {
    PcHost::new(HostConfig {
        ecam: Window {
            start: ECAM,
            size: 256 << 20,
        },
        memory32: Window {
            start: LOW,
            size: 0x3e00_0000,
        },
        memory64: Window {
            start: HIGH,
            size: 1 << 36,
        },
        irqs: [16, 17, 18, 19],
    })
}

/// Probes at 00:01.0 and behind a port at 00:02.0, with firmware's work done; the second one's requester id.
fn two() -> (PcHost, Requester) {
    let mut host = host();
    host.add_device(on_bus_0(8), Probe::boxed(1), Requester::default());
    host.add_port(16, RootPort::new("port", 1));
    let requester = Requester::default();
    let place = Place {
        port: Some(16),
        devfn: 0,
    };
    host.add_device(place, Probe::boxed(1), requester.clone());
    host.assign().unwrap();
    (host, requester)
}

fn read(host: &mut PcHost, at: u64) -> u32 {
    let mut bytes = [0; 4];
    assert!(host.mmio_read(at, &mut bytes), "{at:#x}");
    u32::from_le_bytes(bytes)
}

fn write(host: &mut PcHost, at: u64, value: u32) {
    assert!(host.mmio_write(at, &value.to_le_bytes()), "{at:#x}");
}

fn bar(host: &mut PcHost, bus: u8, devfn: u8, index: u16) -> u64 {
    let at = BAR0 + 4 * index;
    let low = u64::from(host.config_read(bus, devfn, at, 4));
    let high = match low & 6 {
        4 => u64::from(host.config_read(bus, devfn, at + 4, 4)) << 32,
        _ => 0,
    };
    high | low & !15
}

#[test]
fn configuration_space_by_address_and_by_ports() {
    let (mut host, _) = two();
    assert_eq!(read(&mut host, ECAM), 0x0008_1b36, "the bridge itself");
    assert_eq!(read(&mut host, ECAM + (1 << 15)), 0x5678_1234);
    assert_eq!(read(&mut host, ECAM + (3 << 15)), u32::MAX, "nothing there");
    assert_eq!(read(&mut host, ECAM + (1 << 20)), 0x5678_1234, "bus 1");
    assert_eq!(read(&mut host, ECAM + (2 << 20)), u32::MAX);
    let mut wide = [0; 8];
    assert!(host.mmio_read(ECAM + (1 << 15), &mut wide));
    assert_eq!(wide[..4], 0x5678_1234u32.to_le_bytes());
    assert_eq!(wide[4], 2, "the command register");
    assert!(host.mmio_read(ECAM + 2, &mut wide[..4]));
    assert_eq!(wide[..4], [0xff; 4], "not aligned");
    // A byte by the ports, and what needs the enable bit.
    let mut byte = [0];
    assert!(host.port_write(ADDRESS_PORT, &0x8000_0802u32.to_le_bytes()));
    assert!(host.port_read(DATA_PORT + 3, &mut byte));
    assert_eq!(byte, [0x56]);
    assert!(host.port_write(ADDRESS_PORT, &0x0000_0800u32.to_le_bytes()));
    assert!(host.port_read(DATA_PORT, &mut byte));
    assert_eq!(byte, [0xff]);
    assert!(!host.port_read(ADDRESS_PORT, &mut byte), "32 bits only");
    let mut address = [0; 4];
    assert!(host.port_read(ADDRESS_PORT, &mut address));
    assert_eq!(address, 0x800u32.to_le_bytes());
    assert!(!host.port_write(0xcf4, &[0]));
    assert!(!host.mmio_read(0xfec0_0000, &mut byte));
}

#[test]
fn firmware_assigns_what_the_windows_and_ports_pass() {
    let (mut host, requester) = two();
    let near = [bar(&mut host, 0, 8, 0), bar(&mut host, 0, 8, 2)];
    let far = [bar(&mut host, 1, 0, 0), bar(&mut host, 1, 0, 2)];
    assert!((LOW..LOW + 0x3e00_0000).contains(&near[0]));
    assert!((HIGH..2 * HIGH).contains(&near[1]), "{near:x?}");
    assert!(near.iter().chain(&far).all(|b| b % 0x1000 == 0));
    assert_eq!(
        host.config_read(0, 16, PRIMARY_BUS, 4) & 0xff_ffff,
        0x1_0100
    );
    let window = host.config_read(0, 16, MEMORY_WINDOW, 4);
    assert_eq!(u64::from(window & 0xfff0) << 16, far[0] & !0xf_ffff);
    assert_eq!(u64::from(window >> 16 & 0xfff0) << 16, far[0] & !0xf_ffff);
    let prefetchable = host.config_read(0, 16, PREFETCHABLE_WINDOW, 2) as u64;
    assert_eq!(prefetchable >> 4 << 20, far[1] & 0xfff0_0000);
    assert_eq!(requester.id(), SourceId(0x100));
    // Lines: device 1 has the second; behind the port at device 2, the third.
    assert_eq!(host.config_read(0, 8, INTERRUPT_LINE, 1), 17);
    assert_eq!(host.config_read(1, 0, INTERRUPT_LINE, 1), 18);
    for at in near.into_iter().chain(far) {
        write(&mut host, at + 4, 0x0102_0304);
        assert_ne!(read(&mut host, at + 4), 0);
    }
    assert_eq!(read(&mut host, far[0] + 4), 0x0102_0304);
    assert_eq!(read(&mut host, far[1] + 4), 0x2122_2324, "by the other BAR");
    assert_eq!(host.counters().unclaimed, 0);
    assert_eq!(read(&mut host, LOW + 0x3d00_0000), u32::MAX);
    assert_eq!(host.counters().unclaimed, 1);
}

#[test]
fn too_much_is_told() {
    let mut host = PcHost::new(HostConfig {
        memory64: Window {
            start: HIGH,
            size: 16 << 20,
        },
        ..*host().config()
    });
    host.add_device(on_bus_0(8), Probe::boxed(1), Requester::default());
    let full = host.assign().unwrap_err();
    assert_eq!((full.start, full.size), (HIGH, 16 << 20));
}

#[test]
fn decoding_follows_commands_windows_and_buses() {
    let (mut host, requester) = two();
    let at = bar(&mut host, 1, 0, 0);
    host.config_write(1, 0, COMMAND, 2, 0);
    assert_eq!(read(&mut host, at), u32::MAX);
    host.config_write(1, 0, COMMAND, 2, COMMAND_MEMORY.into());
    assert_eq!(read(&mut host, at), 0);
    let window = host.config_read(0, 16, MEMORY_WINDOW, 4);
    host.config_write(0, 16, MEMORY_WINDOW, 4, 0xfff0);
    assert_eq!(read(&mut host, at), u32::MAX, "a closed window");
    host.config_write(0, 16, MEMORY_WINDOW, 4, window);
    assert_eq!(read(&mut host, at), 0);
    // Another number of its bus, which the function learns from a configuration write.
    host.config_write(0, 16, PRIMARY_BUS, 4, 0x09_0700);
    assert_eq!(host.config_read(1, 0, 0, 4), u32::MAX);
    assert_eq!(host.config_read(7, 0, 0, 4), 0x5678_1234);
    assert_eq!(requester.id(), SourceId(0x100));
    host.config_write(7, 0, COMMAND, 2, 6);
    assert_eq!(requester.id(), SourceId(0x700));
}

#[test]
fn accesses_are_divided_into_aligned_ones() {
    let (mut host, _) = two();
    let at = bar(&mut host, 0, 8, 0);
    assert!(host.mmio_write(at + 1, &[1, 2, 3, 4]));
    let mut bytes = [0; 6];
    assert!(host.mmio_read(at, &mut bytes));
    assert_eq!(bytes, [0, 1, 2, 3, 4, 0]);
}

#[test]
fn lines_rotate_and_are_shared() {
    let mut host = host();
    for devfn in [8, 5 << 3] {
        host.add_device(on_bus_0(devfn), Probe::boxed(1), Requester::default());
    }
    host.assign().unwrap();
    let [one, five] = [8, 5 << 3].map(|devfn| bar(&mut host, 0, devfn, 0) + 0x10);
    write(&mut host, one, 1);
    assert_eq!(host.take_events(), [HostEvent::Line(1, true)]);
    write(&mut host, five, 1);
    write(&mut host, one, 0);
    assert!(!host.has_events(), "the other one still asserts it");
    write(&mut host, five, 0);
    assert_eq!(host.take_events(), [HostEvent::Line(1, false)]);
    assert_eq!(line(on_bus_0(3 << 3), 4), 2);
    let behind = Place {
        port: Some(2 << 3),
        devfn: 1 << 3,
    };
    assert_eq!(line(behind, 1), 3);
}

#[test]
fn messages_need_masters_on_the_whole_way() {
    let (mut host, requester) = two();
    let (near, far) = (bar(&mut host, 0, 8, 0), bar(&mut host, 1, 0, 0));
    let msi = Msi {
        address: 0xfee0_0000,
        data: 0x44,
    };
    write(&mut host, near + 0x10, 2);
    assert!(!host.has_events());
    assert_eq!(host.counters().stray_messages, 1);
    host.config_write(0, 8, COMMAND, 2, 6);
    host.config_write(1, 0, COMMAND, 2, 6);
    write(&mut host, near + 0x10, 2);
    write(&mut host, far + 0x10, 2);
    assert_eq!(
        host.take_events(),
        [
            HostEvent::Message(SourceId(8), msi),
            HostEvent::Message(requester.id(), msi)
        ]
    );
    let command = host.config_read(0, 16, COMMAND, 2);
    host.config_write(0, 16, COMMAND, 2, command & !4);
    write(&mut host, far + 0x10, 2);
    assert!(!host.has_events(), "the port passes nothing");
    assert_eq!(host.counters().messages, 2);
}

#[test]
fn deferred_work_is_done_in_time() {
    let (mut host, _) = two();
    let at = bar(&mut host, 0, 8, 0);
    host.set_now(1000);
    write(&mut host, at + 0x10, 3);
    assert_eq!(host.next_deadline(), Some(1100));
    assert!(!host.run_due(1099));
    assert!(host.run_due(1100));
    assert_eq!(host.take_events(), [HostEvent::Line(1, true)]);
    assert_eq!(host.next_deadline(), None);
    assert_eq!(read(&mut host, at + 0x18) & 0xff, 1);
}

#[test]
fn resets() {
    let (mut host, _) = two();
    let (near, far) = (bar(&mut host, 0, 8, 0), bar(&mut host, 1, 0, 0));
    for at in [near, far] {
        write(&mut host, at + 0x10, 1);
    }
    host.take_events();
    // By the port's bridge control: what is behind it.
    host.config_write(0, 16, BRIDGE_CONTROL, 2, 1 << 6);
    assert_eq!(host.take_events(), [HostEvent::Line(2, false)]);
    assert_eq!(host.config_read(1, 0, COMMAND, 2), 0);
    assert_eq!(read(&mut host, near + 0x10), 1);
    host.config_write(0, 16, BRIDGE_CONTROL, 2, 0);
    host.reset();
    assert_eq!(host.take_events(), [HostEvent::Line(1, false)]);
    assert_eq!(read(&mut host, near), u32::MAX);
    assert_eq!(host.config_read(1, 0, 0, 4), u32::MAX, "no bus 1");
}

use proptest::prelude::*;
use viommu_devices::vtd;
use viommu_firmware_tables::acpi::Set;
use viommu_firmware_tables::acpi::dmar::{self, ScopeKind, Structure};
use viommu_firmware_tables::check;

use super::*;
use crate::config::DeviceConfig;

fn edu(behind_port: bool, unit: usize, reserved: u64) -> PcDevice {
    PcDevice {
        behind_port,
        unit,
        reserved,
        ..DeviceConfig::Edu.into()
    }
}

fn complaint(config: &PcConfig) -> String {
    Boot::of(config).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn slots_count_devices_and_buses() {
    let devices = [edu(false, 0, 0), edu(true, 0, 0x2000), edu(true, 0, 0x1000)];
    let slots = slots::slots(&devices, 64 << 20);
    let sources: Vec<_> = slots.iter().map(|s| (s.devfn, s.bus, s.source())).collect();
    assert_eq!(
        sources,
        [(8, None, 8), (16, Some(1), 0x100), (24, Some(2), 0x200)]
    );
    let reserved: Vec<_> = slots.iter().map(|s| s.reserved).collect();
    assert_eq!(
        reserved,
        [
            None,
            Some((0x3ff_e000, 0x400_0000)),
            Some((0x3ff_d000, 0x3ff_e000))
        ]
    );
}

#[test]
fn units_divide_the_devices() {
    let config = PcConfig {
        units: vec![vtd::Config::full(); 3],
        devices: vec![edu(false, 1, 0), edu(true, 2, 0x1000), edu(true, 0, 0)],
        ..PcConfig::default()
    };
    let boot = Boot::of(&config).unwrap();
    let table = Set::read(&boot.tables).find("DMAR").unwrap().bytes.clone();
    let table = dmar::read(&table).unwrap();
    let units: Vec<_> = table
        .structures
        .iter()
        .filter_map(|s| match s {
            Structure::Drhd(d) => Some(d),
            _ => None,
        })
        .collect();
    let places: Vec<_> = units.iter().map(|d| d.address).collect();
    assert_eq!(places, [map::unit(1), map::unit(2), map::unit(0)]);
    let all: Vec<_> = units.iter().map(|d| d.include_pci_all).collect();
    assert_eq!(all, [false, false, true], "the one for the rest is last");
    let scopes = |n: usize| -> Vec<_> {
        let scopes = units[n].scopes.iter();
        scopes.map(|s| (s.kind, s.path.clone())).collect()
    };
    assert_eq!(scopes(0), [(ScopeKind::Endpoint, vec![(1, 0)])]);
    assert_eq!(scopes(1), [(ScopeKind::Bridge, vec![(2, 0)])]);
    assert_eq!(scopes(2)[0].0, ScopeKind::IoApic);
    let region = boot.slots[1].reserved.unwrap();
    let rmrr = table.structures.iter().find_map(|s| match s {
        Structure::Rmrr(r) => Some(((r.base, r.limit + 1), r.scopes[0].path.clone())),
        _ => None,
    });
    assert_eq!(rmrr, Some((region, vec![(2, 0), (0, 0)])));
    let reserved = boot.map.iter().find(|e| (e.start, e.end) == region);
    assert_eq!(reserved.unwrap().kind, load::MapKind::Reserved);
}

#[test]
fn bad_configurations_are_one_line() {
    let good = PcConfig::default;
    let narrow = vtd::Config {
        host_address_width: 32,
        ..vtd::Config::legacy()
    };
    let cases = [
        (
            PcConfig {
                memory: (64 << 20) + 1,
                ..good()
            },
            "memory of 0x4000001",
        ),
        (PcConfig { cpus: 0, ..good() }, "0 processors"),
        (PcConfig { cpus: 65, ..good() }, "65 processors"),
        (
            PcConfig {
                devices: vec![edu(false, 0, 0); 32],
                ..good()
            },
            "32 devices",
        ),
        (
            PcConfig {
                units: vec![vtd::Config::legacy(); 9],
                ..good()
            },
            "9 remapping units",
        ),
        (
            PcConfig {
                units: vec![vtd::Config::legacy(), narrow],
                ..good()
            },
            "remapping unit 1: host_address_width of 32 bits",
        ),
        (
            PcConfig {
                devices: vec![edu(false, 1, 0)],
                ..good()
            },
            "under remapping unit 1",
        ),
        (
            PcConfig {
                devices: vec![edu(false, 0, 1)],
                units: vec![vtd::Config::legacy()],
                ..good()
            },
            "reserved memory of 0x1 ",
        ),
        (
            PcConfig {
                devices: vec![edu(false, 0, 8 << 20); 3],
                units: vec![vtd::Config::legacy()],
                ..good()
            },
            "reserved memory of 0x1800000",
        ),
        (
            PcConfig {
                devices: vec![edu(false, 0, 4096)],
                ..good()
            },
            "needs a remapping unit",
        ),
        (
            PcConfig {
                devices: vec![DeviceConfig::Unplugged(Box::new(DeviceConfig::Edu)).into()],
                ..good()
            },
            "cannot be unplugged",
        ),
        (
            PcConfig {
                kernel: Some(b"text".to_vec()),
                ..good()
            },
            "kernel: not a kernel for this machine",
        ),
    ];
    for (config, words) in cases {
        let said = complaint(&config);
        assert!(said.contains(words), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The tables of every machine hold the rules, and memory holds the tables.
    #[test]
    fn tables_hold_the_rules(
        cpus in 1..=map::CPUS_MAX,
        memory in 32..2048u64,
        devices in prop::collection::vec((any::<bool>(), 0..4usize, 0..8u64), 0..map::SLOTS),
        units in 0..4usize,
        full in any::<bool>(),
    ) {
        let unit = if full { vtd::Config::full() } else { vtd::Config::legacy() };
        let device = |(port, unit, pages): (bool, usize, u64)| match units {
            0 => edu(port, 0, 0),
            _ => edu(port, unit % units, pages << 12),
        };
        let config = PcConfig {
            memory: memory << 21,
            cpus,
            devices: devices.into_iter().map(device).collect(),
            units: vec![unit; units],
            ..PcConfig::default()
        };
        let boot = Boot::of(&config).unwrap();
        prop_assert_eq!(check::acpi::tables(&boot.tables), vec![]);
        for (at, bytes) in boot.placements() {
            let end = at + bytes.len() as u64;
            prop_assert!(boot.map.iter().any(|e| e.start <= at && end <= e.end), "{at:#x}");
        }
        prop_assert!(boot.map.windows(2).all(|w| w[0].end <= w[1].start), "{:x?}", boot.map);
    }
}

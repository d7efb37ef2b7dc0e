use super::aml::{Kind, Resource, Value};
use super::dmar::{Andd, Atsr, Dmar, Drhd, Rhsa, Rmrr, Satc, Scope, ScopeKind, Sidp, Structure};
use super::madt::Entry;
use super::*;
use proptest::prelude::*;

pub(crate) const AT: u64 = 0xe_0000;
pub(crate) const FACS: u64 = 0xf_f000;

/// A PC with all that the tables can say.
pub(crate) fn full() -> Description {
    let bridge = |segment: u16, ecam, memory| Bridge {
        segment,
        buses: (0, 255),
        ecam,
        io: if segment == 0 {
            vec![(0, 0xcf7), (0xd00, 0xffff)]
        } else {
            Vec::new()
        },
        memory,
        interrupts: [16, 17, 18, 19],
    };
    Description {
        cpus: vec![0, 1, 254, 255, 300],
        x2apic: false,
        local_apic: 0xfee0_0000,
        io_apics: vec![IoApic {
            id: 5,
            address: 0xfec0_0000,
            gsi_base: 0,
        }],
        overrides: vec![
            Override {
                irq: 0,
                gsi: 2,
                level: false,
                active_low: false,
            },
            Override {
                irq: 9,
                gsi: 9,
                level: true,
                active_low: true,
            },
        ],
        power: Power {
            sci: 9,
            pm1a_event: 0x600,
            pm1a_control: 0x604,
            pm_timer: 0x608,
            wide_timer: true,
            soft_off: 5,
            reset: (0xcf9, 6),
        },
        hpet: Some(Hpet {
            address: 0xfed0_0000,
            number: 0,
            capabilities: 0x8086_a201,
            minimum_tick: 100,
        }),
        bridges: vec![
            bridge(
                0,
                0xb000_0000,
                vec![(0xc000_0000, 0xfdff_ffff), (0x10_0000_0000, 0x1f_ffff_ffff)],
            ),
            bridge(1, 0x40_0000_0000, vec![(0x20_0000_0000, 0x2f_ffff_ffff)]),
        ],
        serial: Some(Serial {
            port: 0x3f8,
            irq: 4,
        }),
        rtc: true,
        dmar: Some(dmar()),
    }
}

fn dmar() -> Dmar {
    let endpoint = |device| Scope::new(ScopeKind::Endpoint, 0, 0, device, 0);
    let port = Scope {
        path: vec![(2, 0), (0, 1)],
        ..Scope::new(ScopeKind::Bridge, 0, 0, 0, 0)
    };
    let drhd = |segment, address, include_pci_all, scopes| {
        Structure::Drhd(Drhd {
            include_pci_all,
            size: 0,
            segment,
            address,
            scopes,
        })
    };
    Dmar {
        host_address_width: 46,
        interrupt_remapping: true,
        x2apic_opt_out: true,
        dma_control_opt_in: false,
        structures: vec![
            drhd(0, 0xfed9_0000, false, vec![endpoint(3), port.clone()]),
            drhd(
                0,
                0xfed9_1000,
                true,
                vec![
                    Scope::new(ScopeKind::IoApic, 5, 0xff, 0, 0),
                    Scope::new(ScopeKind::Hpet, 0, 0xff, 1, 0),
                    Scope::new(ScopeKind::Namespace, 7, 0, 4, 0),
                ],
            ),
            drhd(1, 0xfed9_2000, true, Vec::new()),
            Structure::Rmrr(Rmrr {
                segment: 0,
                base: 0x7000_0000,
                limit: 0x7000_ffff,
                scopes: vec![endpoint(3)],
            }),
            Structure::Atsr(Atsr {
                all_ports: false,
                segment: 0,
                scopes: vec![port],
            }),
            Structure::Atsr(Atsr {
                all_ports: true,
                segment: 1,
                scopes: Vec::new(),
            }),
            Structure::Rhsa(Rhsa {
                address: 0xfed9_1000,
                proximity: 1,
            }),
            Structure::Andd(Andd {
                number: 7,
                name: "\\_SB.COM1".into(),
            }),
            Structure::Satc(Satc {
                required: true,
                segment: 0,
                scopes: vec![endpoint(3)],
            }),
            Structure::Sidp(Sidp {
                segment: 0,
                scopes: vec![Scope {
                    flags: 9,
                    ..endpoint(3)
                }],
            }),
        ],
    }
}

pub(crate) fn image(d: &Description) -> Image {
    build(d, AT, FACS).unwrap()
}

fn table(d: &Description, signature: &str) -> Vec<u8> {
    let set = Set::read(&image(d));
    set.find(signature).unwrap().bytes.clone()
}

#[test]
fn pointers_lead_to_every_table() {
    let image = image(&full());
    let set = Set::read(&image);
    assert_eq!(set.faults, []);
    let names: Vec<_> = set.tables.iter().map(Table::signature).collect();
    assert_eq!(
        names,
        ["FACP", "APIC", "MCFG", "HPET", "DMAR", "FACS", "DSDT"]
    );
    assert_eq!(checksum(&set.rsdp), 0);
    assert_eq!(checksum(&set.rsdp[..20]), 0);
    for table in set.tables.iter().filter(|t| t.signature() != "FACS") {
        assert_eq!(checksum(&table.bytes), 0, "{}", table.signature());
    }
    let end = image.pieces[0].at + image.pieces[0].bytes.len() as u64;
    assert!(end < FACS, "{end:#x}: no room below the FACS");
}

/// Bytes by hand from VT-d 4.1 §8.
#[test]
fn dmar_bytes() {
    let t = table(&full(), "DMAR");
    assert_eq!(&t[36..48], [45, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        &t[48..48 + 34],
        [
            0, 0, 34, 0, 0, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0, // DRHD
            1, 8, 0, 0, 0, 0, 3, 0, // endpoint 00:03.0
            2, 10, 0, 0, 0, 0, 2, 0, 0, 1, // bridge 00:02.0/00.1
        ]
    );
    assert_eq!(
        &t[82..82 + 24],
        [
            0, 0, 40, 0, 1, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0, // DRHD
            3, 8, 0, 0, 5, 0xff, 0, 0, // I/O APIC 5 at ff:00.0
        ]
    );
    let andd = [
        4, 0, 18, 0, 0, 0, 0, 7, b'\\', b'_', b'S', b'B', b'.', b'C', b'O', b'M', b'1', 0,
    ];
    assert!(t.windows(andd.len()).any(|w| w == andd));
    let rhsa = [
        3, 0, 20, 0, 0, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0, 1, 0, 0, 0,
    ];
    assert!(t.windows(rhsa.len()).any(|w| w == rhsa));
    let sidp = [6, 0, 16, 0, 0, 0, 0, 0, 1, 8, 9, 0, 0, 0, 3, 0];
    assert!(t.ends_with(&sidp));
}

#[test]
fn dmar_reads_back() {
    assert_eq!(dmar::read(&table(&full(), "DMAR")), Ok(dmar()));
}

#[test]
fn madt_reads_back() {
    let entries = madt::read(&table(&full(), "APIC")).unwrap();
    let enabled = true;
    let wide = |uid, id| Entry::LocalX2Apic { uid, id, enabled };
    let narrow = |uid, id| Entry::LocalApic { uid, id, enabled };
    let d = full();
    assert_eq!(
        entries,
        [
            narrow(0, 0),
            narrow(1, 1),
            narrow(2, 254),
            wide(3, 255),
            wide(4, 300),
            Entry::IoApic(d.io_apics[0]),
            Entry::Override(d.overrides[0]),
            Entry::Override(d.overrides[1]),
            Entry::LocalNmi { pin: 1 },
            Entry::LocalX2Nmi { pin: 1 },
        ]
    );
}

#[test]
fn dsdt_declares_what_was_described() {
    let t = table(&full(), "DSDT");
    let space = aml::read(&t[36..]);
    assert_eq!(space.unread, 0);
    let bridges: Vec<_> = space.devices("PNP0A08").collect();
    assert_eq!(bridges, ["\\_SB_.PC00", "\\_SB_.PC01"]);
    let crs = |device: &str| match space.value(&format!("\\_SB_.{device}._CRS")) {
        Some(Value::Buffer(bytes)) => aml::resources(bytes),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        crs("PC00"),
        [
            Resource::Bus(0, 255),
            Resource::Io(0xcf8, 0xcff),
            Resource::Io(0, 0xcf7),
            Resource::Io(0xd00, 0xffff),
            Resource::Memory(0xc000_0000, 0xfdff_ffff),
            Resource::Memory(0x10_0000_0000, 0x1f_ffff_ffff),
        ]
    );
    assert_eq!(
        crs("MBRD")[..2],
        [
            Resource::Memory(0xb000_0000, 0xbfff_ffff),
            Resource::Memory(0x40_0000_0000, 0x40_0fff_ffff)
        ]
    );
    assert_eq!(
        crs("COM1"),
        [Resource::Io(0x3f8, 0x3ff), Resource::Interrupts(vec![4])]
    );
    let Some(Value::Package(rows)) = space.value("\\_SB_.PC00._PRT") else {
        panic!("no _PRT");
    };
    assert_eq!(rows.len(), 128);
    let row = |slot: u64, pin, gsi| {
        Value::Package(
            [slot << 16 | 0xffff, pin, 0, gsi]
                .map(Value::Integer)
                .to_vec(),
        )
    };
    assert_eq!(rows[0], row(0, 0, 16));
    assert_eq!(rows[4 * 3 + 2], row(3, 2, 17));
    let off = [5, 0, 0, 0].map(Value::Integer).to_vec();
    assert_eq!(space.value("\\_S5_"), Some(&Value::Package(off)));
    assert_eq!(
        space.find("\\_SB_.PC01._OSC").unwrap().kind,
        Kind::Method(4)
    );
    assert_eq!(space.devices("ACPI0007").count(), 5);
}

/// Offsets by ACPI 6.5 table 5.9.
#[test]
fn fadt_fields() {
    let t = table(&full(), "FACP");
    assert_eq!(t.len(), 276);
    assert_eq!(get_u32(&t, 36), Some(FACS as u32));
    assert_eq!(get_u32(&t, 40).map(u64::from), get_u64(&t, 140));
    assert_eq!(get_u16(&t, 46), Some(9));
    assert_eq!(get_u32(&t, 48), Some(0));
    assert_eq!(get_u32(&t, 56), Some(0x600));
    assert_eq!(&t[88..92], [4, 2, 0, 4]);
    assert_eq!(t[128], 6);
    assert_eq!(get_u64(&t, 120), Some(0xcf9));
    assert_eq!(&t[148..152], [1, 32, 0, 2]);
}

#[test]
fn hpet_bytes() {
    let t = table(&full(), "HPET");
    assert_eq!(
        &t[36..],
        [
            1, 0xa2, 0x86, 0x80, 0, 64, 0, 0, 0, 0, 0xd0, 0xfe, 0, 0, 0, 0, 0, 100, 0, 0
        ]
    );
}

/// What spoils a description, and words of the error.
type Spoiled = (fn(&mut Description), &'static str);

#[test]
fn what_tables_cannot_say_is_an_error() {
    let cases: &[Spoiled] = &[
        (|d| d.cpus = vec![0; 5000], "processors"),
        (|d| d.bridges[0].io.push((2, 1)), "port window"),
        (|d| d.bridges[0].io = vec![(0, 0xffff)], "port window"),
        (|d| d.bridges[0].memory.push((2, 1)), "memory window"),
        (|d| d.bridges[0].memory.push((0, u64::MAX)), "memory window"),
        (|d| d.bridges[1].buses = (2, 1), "out of order"),
        (|d| d.bridges[1].ecam = u64::MAX, "out of order"),
        (|d| set(d, |m| m.host_address_width = 0), "address width"),
        (|d| set(d, |m| m.host_address_width = 257), "address width"),
        (
            |d| {
                set(d, |m| {
                    m.structures = vec![Structure::Unknown(9, vec![0; 65532])];
                })
            },
            "65535",
        ),
        (|d| set(d, |m| long_path(m, 125)), "124 steps"),
    ];
    for (change, words) in cases {
        let mut d = full();
        change(&mut d);
        let error = build(&d, AT, FACS).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for (at, facs) in [
        (AT + 8, FACS),
        (AT, FACS + 16),
        (1 << 32, FACS),
        (AT, 1 << 32),
    ] {
        assert!(build(&full(), at, facs).is_err(), "{at:#x} {facs:#x}");
    }
}

fn set(d: &mut Description, change: impl Fn(&mut Dmar)) {
    change(d.dmar.as_mut().unwrap());
}

fn long_path(dmar: &mut Dmar, steps: usize) {
    if let Structure::Drhd(drhd) = &mut dmar.structures[0] {
        drhd.scopes[0].path = vec![(1, 0); steps];
    }
}

#[test]
fn text_shows_units_scopes_and_devices() {
    let text = text::print(&image(&full()));
    for words in [
        "RSDP at 0xe0000: revision 2",
        "host address width 46 bits, INTR_REMAP, X2APIC_OPT_OUT",
        "DRHD: segment 0, registers at 0xfed91000 (4 KiB), INCLUDE_PCI_ALL",
        "    I/O APIC 5 at ff:00.0",
        "    PCI bridge and all behind it at 00:02.0/00.1",
        "RMRR: segment 0, memory 0x70000000 to 0x7000ffff",
        "SATC: segment 0, ATC_REQUIRED",
        "processor 4: x2APIC id 300",
        "ISA interrupt 9 is interrupt 9, level, active low",
        "\\_SB_.PC00._HID = PNP0A08",
        "\\_SB_.MBRD._CRS = memory 0xb0000000-0xbfffffff",
        "segment 1, buses 0x00 to 0xff, bus 0 at 0x4000000000",
        "3 timers, 64-bit counter, vendor 0x8086",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains("WRONG") && !text.contains("error"), "{text}");
    let mut image = image(&full());
    image.pieces[0].bytes[0x200] ^= 1;
    assert!(text::print(&image).contains("WRONG CHECKSUM"));
}

fn scope() -> impl Strategy<Value = Scope> {
    let path = prop::collection::vec((0..32u8, 0..8u8), 0..=124);
    (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), path).prop_map(
        |(kind, flags, enumeration_id, start_bus, path)| Scope {
            kind: ScopeKind::of(kind),
            flags,
            enumeration_id,
            start_bus,
            path,
        },
    )
}

fn structure() -> impl Strategy<Value = Structure> {
    let scopes = || prop::collection::vec(scope(), 0..5);
    let bytes = prop::collection::vec(any::<u8>(), 0..50);
    prop_oneof![
        (any::<bool>(), 0..16u8, any::<u16>(), any::<u64>(), scopes()).prop_map(
            |(include_pci_all, size, segment, address, scopes)| Structure::Drhd(Drhd {
                include_pci_all,
                size,
                segment,
                address,
                scopes
            })
        ),
        (any::<u16>(), any::<u64>(), any::<u64>(), scopes()).prop_map(
            |(segment, base, limit, scopes)| Structure::Rmrr(Rmrr {
                segment,
                base,
                limit,
                scopes
            })
        ),
        (any::<bool>(), any::<u16>(), scopes()).prop_map(|(all_ports, segment, scopes)| {
            Structure::Atsr(Atsr {
                all_ports,
                segment,
                scopes,
            })
        }),
        (any::<u64>(), any::<u32>())
            .prop_map(|(address, proximity)| Structure::Rhsa(Rhsa { address, proximity })),
        (any::<u8>(), "[A-Z.\\\\]{0,40}")
            .prop_map(|(number, name)| Structure::Andd(Andd { number, name })),
        (any::<bool>(), any::<u16>(), scopes()).prop_map(|(required, segment, scopes)| {
            Structure::Satc(Satc {
                required,
                segment,
                scopes,
            })
        }),
        (any::<u16>(), scopes())
            .prop_map(|(segment, scopes)| Structure::Sidp(Sidp { segment, scopes })),
        (7..=u16::MAX, bytes).prop_map(|(kind, bytes)| Structure::Unknown(kind, bytes)),
    ]
}

proptest! {
    /// What is written is read back, whatever it says.
    #[test]
    fn any_dmar_reads_back(
        width in 1..=256u16,
        flags in any::<[bool; 3]>(),
        structures in prop::collection::vec(structure(), 0..12),
    ) {
        let dmar = Dmar {
            host_address_width: width,
            interrupt_remapping: flags[0],
            x2apic_opt_out: flags[1],
            dma_control_opt_in: flags[2],
            structures,
        };
        let table = dmar::write(&dmar).unwrap();
        prop_assert_eq!(checksum(&table), 0);
        prop_assert_eq!(get_u32(&table, 4), Some(table.len() as u32));
        prop_assert_eq!(dmar::read(&table), Ok(dmar));
    }

    /// No bytes make a reader panic, and none are read as more than they are.
    #[test]
    fn any_bytes_are_readable_or_not(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = (dmar::read(&bytes), madt::read(&bytes), aml::resources(&bytes));
        let space = aml::read(&bytes);
        prop_assert!(space.objects.len() <= bytes.len());
        let image = Image { pieces: vec![Piece { at: 16, bytes }], rsdp: 16 };
        text::print(&image);
    }

    /// Neither does a good set of tables with some bytes changed.
    #[test]
    fn damaged_tables_are_readable_or_not(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut image = image(&full());
        let bytes = &mut image.pieces[0].bytes;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        text::print(&image);
        crate::check::acpi::tables(&image);
    }
}

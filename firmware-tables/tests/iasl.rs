//! Tables as ACPICA's compiler sees them: it disassembles every one, and compiles the DSDT again without an error. SATC and SIDP are left
//! out, since Debian 12's compiler is older than they are.

use std::path::Path;
use std::process::Command;

use viommu_firmware_tables::acpi::dmar::{
    Andd, Atsr, Dmar, Drhd, Rhsa, Rmrr, Scope, ScopeKind, Structure,
};
use viommu_firmware_tables::acpi::{
    Bridge, Description, Hpet, IoApic, Override, Power, Serial, Set, build,
};

fn description() -> Description {
    Description {
        cpus: vec![0, 1, 300],
        x2apic: false,
        local_apic: 0xfee0_0000,
        io_apics: vec![IoApic {
            id: 5,
            address: 0xfec0_0000,
            gsi_base: 0,
        }],
        overrides: vec![Override {
            irq: 9,
            gsi: 9,
            level: true,
            active_low: false,
        }],
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
        bridges: vec![Bridge {
            segment: 0,
            buses: (0, 255),
            ecam: 0xb000_0000,
            io: vec![(0, 0xcf7), (0xd00, 0xffff)],
            memory: vec![(0xc000_0000, 0xfdff_ffff), (0x10_0000_0000, 0x1f_ffff_ffff)],
            interrupts: [16, 17, 18, 19],
        }],
        serial: Some(Serial {
            port: 0x3f8,
            irq: 4,
        }),
        rtc: true,
        dmar: Some(Dmar {
            host_address_width: 46,
            interrupt_remapping: true,
            x2apic_opt_out: false,
            dma_control_opt_in: false,
            structures: vec![
                Structure::Drhd(Drhd {
                    include_pci_all: true,
                    size: 0,
                    segment: 0,
                    address: 0xfed9_0000,
                    scopes: vec![Scope::new(ScopeKind::IoApic, 5, 0xff, 0, 0)],
                }),
                Structure::Rmrr(Rmrr {
                    segment: 0,
                    base: 0x7000_0000,
                    limit: 0x7000_0fff,
                    scopes: vec![Scope::new(ScopeKind::Endpoint, 0, 0, 3, 0)],
                }),
                Structure::Atsr(Atsr {
                    all_ports: false,
                    segment: 0,
                    scopes: vec![Scope::new(ScopeKind::Bridge, 0, 0, 4, 0)],
                }),
                Structure::Rhsa(Rhsa {
                    address: 0xfed9_0000,
                    proximity: 1,
                }),
                Structure::Andd(Andd {
                    number: 7,
                    name: "\\_SB.COM1".into(),
                }),
            ],
        }),
    }
}

fn iasl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("iasl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("iasl (package acpica-tools) runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "iasl {arguments:?}: {text}");
    text
}

#[test]
fn acpica_reads_every_table() {
    let folder = std::env::temp_dir().join(format!("viommu-iasl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let set = Set::read(&build(&description(), 0xe_0000, 0xf_f000).unwrap());
    let mut seen = Vec::new();
    for table in &set.tables {
        let name = table.signature().to_lowercase();
        std::fs::write(folder.join(format!("{name}.aml")), &table.bytes).unwrap();
        iasl(&folder, &["-d", &format!("{name}.aml")]);
        let text = std::fs::read_to_string(folder.join(format!("{name}.dsl"))).unwrap();
        assert!(!text.contains("Invalid"), "{text}");
        assert!(!text.contains("Unknown"), "{text}");
        assert!(
            !text.to_lowercase().contains("incorrect checksum"),
            "{text}"
        );
        seen.push((name, text));
    }
    let text = |name: &str| &seen.iter().find(|(n, _)| n == name).unwrap().1;
    let dmar = text("dmar");
    let has = |field: &str, value: &str| {
        let found = dmar.lines().any(|l| l.contains(field) && l.contains(value));
        assert!(found, "{field}: {value}\n{dmar}");
    };
    has("Host Address Width", "2D");
    has("Register Base Address", "00000000FED90000");
    has("Base Address", "0000000070000000");
    has("Device Name", "\\_SB.COM1");
    has("Proximity Domain", "00000001");
    has("[IOAPIC Device]", "03");
    let compiled = iasl(&folder, &["-tc", "dsdt.dsl"]);
    assert!(compiled.contains("0 Errors"), "{compiled}");
    std::fs::remove_dir_all(&folder).unwrap();
}

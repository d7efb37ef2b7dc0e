use clap::{CommandFactory, Parser};

use super::args::{
    Args, BootArgs, Command, DeviceArg, PcArgs, PcDeviceArg, PlacedDevice, Platform, parse_size,
};
use super::logger::Filter;
use super::pc;
use super::terminal::{Escape, Input};
use super::{check, disk};
use crate::config::DeviceConfig;
use crate::pc::load::Protocol;
use viommu_devices::vtd::{CacheConfig, Config};

fn platform(machine: &str, options: &[&str]) -> Result<Platform, String> {
    let words = ["viommu", "boot", machine];
    match Args::try_parse_from(words.iter().chain(options))
        .map_err(|e| e.to_string())?
        .command
    {
        Command::Boot { platform } => Ok(platform),
        other => Err(format!("{other:?}")),
    }
}

fn boot(options: &[&str]) -> Result<BootArgs, String> {
    match platform("pseries", options)? {
        Platform::Pseries(args) => Ok(args),
        other => Err(format!("{other:?}")),
    }
}

fn boot_pc(options: &[&str]) -> Result<PcArgs, String> {
    match platform("pc", options)? {
        Platform::Pc(args) => Ok(args),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn arguments_are_consistent() {
    Args::command().debug_assert();
}

/// What a reader may copy from the README and the help texts is understood.
#[test]
fn examples_parse() {
    let help = |mut command: clap::Command| command.render_long_help().to_string();
    let mut root = Args::command();
    root.build();
    let boot = root.find_subcommand("boot").unwrap();
    let texts = [
        include_str!("../../../README.md").to_owned(),
        help(root.clone()),
        help(boot.find_subcommand("pseries").unwrap().clone()),
        help(boot.find_subcommand("pc").unwrap().clone()),
    ];
    for text in texts {
        let examples: Vec<&str> = text
            .lines()
            .filter_map(|l| l.trim().strip_prefix("viommu "))
            .collect();
        assert!(examples.len() >= 4, "{examples:?}");
        for example in examples {
            // Two spaces or a comment end what is to be typed; an apostrophe holds words together.
            let typed = example.split("  ").next().unwrap_or_default();
            let mut words = vec!["viommu"];
            for (i, part) in typed.split('\'').enumerate() {
                match i % 2 {
                    0 => words.extend(part.split_whitespace()),
                    _ => words.push(part),
                }
            }
            let parsed = Args::try_parse_from(&words).map_err(|e| e.to_string());
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
    }
}

#[test]
fn sizes() {
    assert_eq!(parse_size("4096"), Ok(4096));
    assert_eq!(parse_size("64M"), Ok(64 << 20));
    assert_eq!(parse_size("1g"), Ok(1 << 30));
    assert_eq!(parse_size("8GiB"), Ok(8 << 30));
    assert!(parse_size("").is_err());
    assert!(parse_size("M").is_err());
    assert!(parse_size("-1").is_err());
    assert!(parse_size("1X").unwrap_err().contains("unit"));
    assert!(
        parse_size("99999999999T")
            .unwrap_err()
            .contains("too large")
    );
}

#[test]
fn disks_and_devices() {
    let args = boot(&[
        "--disk",
        "a.img",
        "--disk",
        "b.img,ro",
        "--device",
        "nvme,namespaces=2",
        "--device",
        "edu",
    ])
    .unwrap();
    assert!(!args.run.disk[0].read_only && args.run.disk[1].read_only);
    let placed = |device, bridge| PlacedDevice {
        device,
        bridge,
        unplugged: false,
    };
    assert_eq!(
        args.device,
        [placed(DeviceArg::Nvme(2), 0), placed(DeviceArg::Edu, 0)]
    );
    let args = boot(&["--device", "nvme,bridge=3,dma-bits=48"]).unwrap();
    assert_eq!(args.device, [placed(DeviceArg::NvmeOf48Bits(1), 3)]);
    let args = boot(&["--device", "edu,unplugged", "--max-memory", "2G"]).unwrap();
    assert!(args.device[0].unplugged && args.max_memory == Some(2 << 30));
    assert!(boot(&["--device", "edu,bridge=4"]).is_err());
    assert!(
        boot(&["--device", "e1000"])
            .unwrap_err()
            .contains("unknown device 'e1000'")
    );
    assert!(
        boot(&["--device", "nvme,speed=9"])
            .unwrap_err()
            .contains("unknown option 'speed=9'")
    );
    assert!(boot(&["--disk", "a,ro,snapshot"]).is_err());
    assert!(
        boot(&["--disk", "a,quick"])
            .unwrap_err()
            .contains("unknown disk option")
    );
    assert!(boot(&["--guest", "x", "--kernel", "y"]).is_err());
}

/// What a machine's help says where machines differ.
#[test]
fn help_is_the_machines_own() {
    let mut root = Args::command();
    root.build();
    let boot = root.find_subcommand("boot").unwrap();
    let help = |name: &str| {
        let mut command = boot.find_subcommand(name).unwrap().clone();
        command.render_long_help().to_string()
    };
    for (name, words) in [
        (
            "pseries",
            ["debian-6.12]", "ppc64le", "console=hvc0", "1 to 8"],
        ),
        (
            "pc",
            ["debian-6.12-amd64]", "bzImage", "intel_iommu=on", "1 to 64"],
        ),
    ] {
        let help = help(name);
        assert!(words.iter().all(|w| help.contains(w)), "{help}");
    }
}

#[test]
fn options_of_the_pc() {
    let args = boot_pc(&[
        "--device",
        "nvme,namespaces=2,port,unit=1,reserved=64K",
        "--device",
        "edu",
        "--iommu",
        "legacy,units=2",
        "--no-x2apic",
        "--no-unpack",
        "--entry",
        "pvh",
    ])
    .unwrap();
    let nvme = PcDeviceArg {
        device: DeviceArg::Nvme(2),
        port: true,
        unit: 1,
        reserved: 64 << 10,
    };
    let edu = PcDeviceArg {
        device: DeviceArg::Edu,
        port: false,
        unit: 0,
        reserved: 0,
    };
    assert_eq!(args.device, [nvme, edu]);
    assert_eq!(args.iommu.units, vec![Config::legacy(); 2]);
    assert!(args.no_x2apic && args.no_unpack);
    assert_eq!(args.entry, Some(Protocol::Pvh));
    for (option, value, words) in [
        ("--device", "edu,bridge=1", "unknown option 'bridge=1'"),
        ("--device", "edu,unit=x", "must be a number"),
        ("--device", "edu,reserved=1X", "unit"),
        ("--entry", "uefi", "`linux`, `pvh` or `multiboot`"),
        ("--bios", "x", "unexpected argument"),
    ] {
        let said = boot_pc(&[option, value]).unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn units_by_words() {
    let unit = |words: &str| -> Result<Config, String> {
        let iommu = boot_pc(&["--iommu", words])?.iommu;
        Ok(iommu.units.first().cloned().unwrap_or_else(Config::full))
    };
    assert_eq!(boot_pc(&["--iommu", "off"]).unwrap().iommu.units, []);
    assert_eq!(boot_pc(&[]).unwrap().iommu.units, [Config::full()]);
    assert_eq!(unit("scalable"), Ok(Config::full()));
    let c = unit("legacy,aw=39,caching-mode,no-intremap,no-pt,adversarial").unwrap();
    assert_eq!(
        (c.guest_address_width, &c.second_stage_levels[..]),
        (39, &[3][..])
    );
    assert!(c.caching_mode && !c.interrupt_remapping && !c.eim && !c.pass_through);
    assert_eq!(c.caches, CacheConfig::ADVERSARIAL);
    let c = unit("first-stage,aw=57,domain-bits=8,fault-records=1,haw=48,iotlb=64").unwrap();
    assert!(c.scalable && c.first_stage && !c.second_stage && c.first_stage_5_level);
    assert_eq!(
        (c.domain_bits, c.fault_records, c.host_address_width),
        (8, 1, 48)
    );
    assert_eq!(c.caches.iotlb, 64);
    let c = unit("second-stage,aw=48").unwrap();
    assert!(!c.first_stage && c.second_stage && !c.nested && !c.first_stage_5_level);
    assert!(
        boot_pc(&["--iommu", "legacy,x2apic-opt-out"])
            .unwrap()
            .iommu
            .x2apic_opt_out
    );
    for (words, complaint) in [
        ("legcy", "unknown option 'legcy'"),
        ("off,aw=48", "off has no options"),
        ("aw=40", "39, 48 or 57"),
        ("aw=x", "39, 48 or 57"),
        ("units=9", "1 to 8"),
        ("speed=1", "unknown option 'speed'"),
        ("domain-bits=5", "domain_bits must be even"),
        ("legacy,first-stage", "needs scalable mode"),
        ("first-stage,second-stage", "exclude each other"),
        ("no-qi", "scalable mode needs queued invalidation"),
    ] {
        let said = unit(words).map(|_| ());
        assert!(
            said.clone().is_err_and(|s| s.contains(complaint)),
            "{words}: {said:?}"
        );
    }
}

/// Each word alone is possible with one of the modes, and changes something.
#[test]
fn every_switch_of_a_unit_counts() {
    let message = boot_pc(&["--iommu", "?"]).unwrap_err();
    let words = message.split_once("scalable, then ").unwrap().1;
    let words: Vec<_> = words
        .split(", ")
        .take_while(|w| *w != "x2apic-opt-out")
        .collect();
    assert!(words.len() > 15, "{words:?}");
    for word in words {
        let changed = ["scalable", "legacy"].iter().any(|mode| {
            let plain = boot_pc(&["--iommu", mode]).unwrap().iommu;
            let with = boot_pc(&["--iommu", &format!("{mode},{word}")]);
            with.is_ok_and(|args| args.iommu != plain)
        });
        assert!(changed, "{word}");
    }
}

#[test]
fn disks_go_to_devices_in_order() {
    let args = boot_pc(&[
        "--kernel",
        "/dev/null",
        "--device",
        "virtio-blk",
        "--device",
        "edu",
        "--disk",
        "a",
        "--disk",
        "b,snapshot",
        "--disk",
        "c,ro",
    ])
    .unwrap();
    let plan = pc::plan(&args).unwrap();
    let devices: Vec<_> = plan.config.devices.iter().map(|d| &d.device).collect();
    let names = |d: &DeviceConfig| match d {
        DeviceConfig::VirtioBlk(disk) => vec![disk.path.clone()],
        DeviceConfig::Nvme(disks) => disks.iter().map(|d| d.path.clone()).collect(),
        _ => Vec::new(),
    };
    let names: Vec<_> = devices.into_iter().map(names).collect();
    assert_eq!(
        names,
        [vec!["a".into()], vec![], vec!["b".into(), "c".into()]] as [Vec<std::path::PathBuf>; 3]
    );
    assert_eq!(plan.config.append, "console=ttyS0 intel_iommu=on");
    let few = boot_pc(&[
        "--kernel",
        "/dev/null",
        "--device",
        "nvme,namespaces=2",
        "--disk",
        "a",
    ])
    .unwrap();
    let said = format!("{:?}", pc::plan(&few).unwrap_err());
    assert!(said.contains("a block device has no disk"), "{said}");
}

#[test]
fn log_filters() {
    assert!(Filter::parse("debug").is_ok());
    assert!(Filter::parse("warn,viommu_cpu=trace").is_ok());
    assert!(Filter::parse("loud").unwrap_err().contains("loud"));
}

#[test]
fn ctrl_a_x_leaves() {
    let feed = |text: &[u8]| {
        let (mut escape, mut input) = (Escape::default(), Input::default());
        text.iter().for_each(|&b| escape.feed(b, &mut input));
        input
    };
    assert_eq!(
        feed(b"ls\r"),
        Input {
            bytes: b"ls\r".to_vec(),
            quit: false
        }
    );
    assert!(feed(b"a\x01x").quit);
    assert_eq!(feed(b"\x01\x01b").bytes, b"\x01b");
    assert_eq!(feed(b"\x01c").bytes, b"\x01c");
}

#[test]
fn checks_compare_guest_and_host() {
    let mut image = tempfile::NamedTempFile::new().unwrap();
    disk::write_default(image.as_file_mut()).unwrap();
    let expected = check::expect(image.path()).unwrap();
    let hash = |range| disk::sha256(image.path(), range).unwrap();
    let log = format!(
        "viommu-init: read nvme0n1 16777216 {}\nviommu-init: reread nvme0n1 8388608 {}\n",
        hash(0..16 << 20),
        hash(16 << 20..24 << 20)
    );
    let checks = check::disk(&log, &expected, Some(image.path()));
    assert_eq!(
        checks.iter().map(|c| c.ok).collect::<Vec<_>>(),
        [true, true, false],
        "the guest's copy is not in the image"
    );
    assert!(check::disk("", &expected, None).iter().all(|c| !c.ok));
    assert!(
        check::window("nvme: ibm,create-pe-dma-window(...) returned 0 (liobn = 0x80000001)").ok
    );
    assert!(!check::window("ibm,create-pe-dma-window(...) returned -3").ok);
    assert!(!check::sane_log("WARNING: CPU: 0 PID: 1").ok);
}

use clap::{CommandFactory, Parser};

use super::args::{Args, BootArgs, Command, DeviceArg, PlacedDevice, Platform, parse_size};
use super::logger::Filter;
use super::terminal::{Escape, Input};
use super::{check, disk};

fn boot(options: &[&str]) -> Result<BootArgs, String> {
    let words = ["viommu", "boot", "pseries"].iter().chain(options);
    match Args::try_parse_from(words)
        .map_err(|e| e.to_string())?
        .command
    {
        Command::Boot {
            platform: Platform::Pseries(args),
        } => Ok(args),
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
    assert!(!args.disk[0].read_only && args.disk[1].read_only);
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

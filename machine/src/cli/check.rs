//! What a run of the check guest must show: hashes seen by the guest and by the host, and what the IOMMU did.

use std::path::Path;

use viommu_devices::vtd::Counters;

use super::disk::sha256;
use crate::observe::Report;
use crate::observe::report::Check;

/// Bytes that the guest reads from the start of the disk.
const READ: std::ops::Range<u64> = 0..16 << 20;
/// Bytes that it copies, and where to.
const COPY_FROM: std::ops::Range<u64> = 16 << 20..24 << 20;
const COPY_TO: std::ops::Range<u64> = 32 << 20..40 << 20;

/// Hashes of a disk before the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    read: String,
    reread: String,
}

/// Hashes the disk before the run.
///
/// # Errors
/// Those of the file; it must have 40 MiB.
pub fn expect(disk: &Path) -> std::io::Result<Expected> {
    Ok(Expected {
        read: sha256(disk, READ)?,
        reread: sha256(disk, COPY_FROM)?,
    })
}

/// Compares the guest's lines with the host's hashes; `written` is the image if the guest's writes must be in it.
pub fn disk(log: &str, expected: &Expected, written: Option<&Path>) -> Vec<Check> {
    let mut checks = vec![
        line(log, "read", "16777216", &expected.read),
        line(log, "reread", "8388608", &expected.reread),
    ];
    if let Some(path) = written {
        let name = "written bytes in the image".to_owned();
        checks.push(match sha256(path, COPY_TO) {
            Ok(hash) if hash == expected.reread => Check {
                name,
                ok: true,
                detail: format!("sha256 {hash}"),
            },
            Ok(hash) => Check {
                name,
                ok: false,
                detail: format!("sha256 {hash}, expected {}", expected.reread),
            },
            Err(e) => Check {
                name,
                ok: false,
                detail: e.to_string(),
            },
        });
    }
    checks
}

/// `multitce=off` changes a firmware feature after the kernel has fixed up its code for it, and every kernel says so.
const LATE_FEATURE: &str = "check_features+";

/// `viommu-init: WHAT DEVICE BYTES SHA256`.
fn line(log: &str, what: &str, bytes: &str, expected: &str) -> Check {
    let found = log.lines().find_map(|l| {
        let mut words = l.split("viommu-init: ").nth(1)?.split_whitespace();
        (words.next()? == what).then_some((words.next()?, words.next()?, words.next()?))
    });
    let name = format!("guest's {what} of the disk");
    match found {
        Some((device, n, hash)) if n == bytes && hash == expected => Check {
            name,
            ok: true,
            detail: format!("{device}, {n} bytes, sha256 {hash} as on the host"),
        },
        Some((device, n, hash)) => Check {
            name,
            ok: false,
            detail: format!(
                "{device}, {n} bytes, sha256 {hash}; the host has {bytes} bytes, {expected}"
            ),
        },
        None => Check {
            name,
            ok: false,
            detail: "the guest did not report it".into(),
        },
    }
}

/// The kernel's own line about a created window.
pub fn window(log: &str) -> Check {
    let created = log
        .lines()
        .find(|l| l.contains("ibm,create-pe-dma-window") && l.contains("returned 0"));
    Check {
        name: "kernel created a DMA window".into(),
        ok: created.is_some(),
        detail: created
            .unwrap_or("no line \"ibm,create-pe-dma-window ... returned 0\"")
            .trim()
            .to_owned(),
    }
}

/// The units translated requests and refused none.
pub fn translated(report: &Report) -> Check {
    let units = report.units();
    let sum = |f: fn(&Counters) -> u64| units.iter().map(|u| f(&u.counters)).sum::<u64>();
    let (requests, faults) = (sum(|c| c.iotlb_hits + c.iotlb_misses), sum(|c| c.faults));
    Check {
        name: "DMA through VT-d".into(),
        ok: requests != 0 && faults == 0,
        detail: format!("{requests} requests translated, {faults} fault(s)"),
    }
}

/// Interrupts went through entries of a remapping table.
pub fn remapped(report: &Report) -> Check {
    let units = report.units();
    let remapped: u64 = units.iter().map(|u| u.counters.interrupts.remapped).sum();
    Check {
        name: "interrupts through VT-d".into(),
        ok: remapped != 0,
        detail: format!("{remapped} interrupts remapped"),
    }
}

/// Words that no good kernel log has.
pub fn sane_log(log: &str) -> Check {
    let bad = log.lines().find(|l| {
        ["BUG", "WARNING", "Oops", "Unexpected", "Kernel panic"]
            .iter()
            .any(|w| l.contains(w))
            && !(l.contains(LATE_FEATURE) && log.contains("multitce=off"))
    });
    Check {
        name: "kernel log without complaints".into(),
        ok: bad.is_none(),
        detail: bad
            .unwrap_or("no BUG, WARNING, Oops, Unexpected or panic")
            .trim()
            .to_owned(),
    }
}

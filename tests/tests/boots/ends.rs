//! Ends of a kernel that are no power-off.

use super::{has, run};
use viommu_tests::scripted::{Scripted, guest};

#[test]
fn a_kernel_reboots_and_the_disk_remembers() {
    let scripted = Scripted::new(
        "wait_for nvme0n1
read -r first < /dev/nvme0n1
if [ \"$first\" = seen ]; then
  say second boot
else
  say first boot
  echo seen > /tmp/mark
  dd if=/tmp/mark of=/dev/nvme0n1 conv=notrunc,fsync 2>/dev/null
  reboot -f
fi
",
    );
    let disk = viommu_tests::file(scripted.folder(), "disk.img", &[b'\n'; 1 << 20]);
    let boot = run(&scripted.args(&["--reboot", "--disk", &disk]), 0);
    assert_eq!(boot.log.matches("Linux version").count(), 2);
    has(&boot, "test: first boot");
    has(&boot, "test: second boot");
    has(
        &boot,
        "the guest switched the machine off, after 1 reboot(s)",
    );
    assert_eq!(boot.report["reboots"], 1);
}

/// The pattern is what was asked for: the disk need not have been checked by then.
#[test]
fn until_a_line_of_the_kernel() {
    let boot = run(&["--until", "Run /init", "--max-instructions", "3G"], 0);
    has(&boot, "the console showed \"Run /init\"");
    assert!(!boot.log.contains("viommu-init: done"));
}

#[test]
fn a_kernel_panics() {
    guest();
    // The first process ends at once.
    let boot = run(&["--append", "console=hvc0 rdinit=/usr/bin/sync"], 1);
    has(&boot, "Kernel panic - not syncing");
    has(&boot, "viommu: the guest panicked: ");
}

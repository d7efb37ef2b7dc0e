//! The guest's shell on a terminal.

use std::process::Command;
use std::time::Duration;

use viommu_tests::binary;
use viommu_tests::pty::Pty;

/// Far more than a boot takes.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn a_shell_on_the_terminal() {
    viommu_tests::scripted::guest(); // fetching prints a progress bar
    let mut command = Command::new(binary());
    let mut pty = Pty::spawn(command.args(["boot", "pseries", "--interactive"]));
    pty.wait_for("viommu-init: done", LONG);
    pty.wait_for("# ", LONG);
    assert!(pty.is_raw());
    pty.type_in("echo $((6 * 7)).; uname -m\r");
    pty.wait_for("\n42.\r\nppc64le\r\n", LONG);
    // Keys that the terminal would handle itself go to the guest's. What they are to end must be in the foreground by then: it says so
    // itself.
    pty.type_in("sh -c 'echo waits; exec sleep 10000'\r");
    pty.wait_for("\nwaits\r\n", LONG);
    pty.type_in("\x03");
    pty.wait_for("^C", LONG);
    pty.type_in("echo $((7 * 7)).\r");
    pty.wait_for("\n49.\r\n", LONG);
    pty.type_in("\x01x");
    pty.wait_for("end           left by the user", LONG);
    assert_eq!(pty.end(LONG).code(), Some(0));
    assert!(pty.is_restored());
}

//! Every way in which a run ends has one clear outcome and one status, and the program around the guest behaves: pipes, signals, terminal.
//!
//! The guests are bare metal, a few instructions each, so that a run takes no time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use viommu::selftest::asm::Cond;
use viommu_devices::spapr::hcall;
use viommu_devices::spapr::rtas::RtasCall;
use viommu_devices::spapr::vty::VTY_UNIT;
use viommu_tests::bare::{Bare, DATA};
use viommu_tests::pty::Pty;
use viommu_tests::{binary, file, text};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A guest, in a file of its own, and the command that boots it.
struct Guest {
    folder: tempfile::TempDir,
    bios: String,
}

impl Guest {
    fn new(build: impl FnOnce(&mut Bare)) -> Guest {
        let mut bare = Bare::default();
        build(&mut bare);
        let folder = tempfile::tempdir().unwrap();
        let bios = file(folder.path(), "bios", &bare.bios());
        Guest { folder, bios }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["boot", "pseries", "--memory", "64M", "--bios", &self.bios])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs, and demands this status and each of these words in the output.
    fn ends(&self, args: &[&str], status: i32, wanted: &[&str]) -> String {
        ended(&self.command(args).output().unwrap(), status, wanted)
    }

    fn report(&self) -> String {
        let path = self.folder.path().join("report.json");
        path.to_str().unwrap().to_owned()
    }
}

fn ended(output: &Output, status: i32, wanted: &[&str]) -> String {
    let all = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{all}");
    for word in wanted {
        assert!(all.contains(word), "no {word:?} in:\n{all}");
    }
    assert!(!all.contains("panicked at"), "{all}");
    all
}

fn json(path: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Reads what is typed and prints it.
fn echo(bare: &mut Bare) {
    bare.say("ready\r\n");
    let again = bare.asm.here();
    bare.hcall(hcall::H_GET_TERM_CHAR, &[VTY_UNIT]);
    bare.asm.cmpdi(4, 0);
    bare.asm.bc(Cond::Eq, again);
    bare.asm.mr(7, 6);
    bare.asm.mr(6, 5);
    bare.asm.mr(5, 4);
    bare.asm.load(4, VTY_UNIT);
    bare.asm.load(3, hcall::H_PUT_TERM_CHAR);
    bare.asm.sc1();
    bare.asm.b(again);
}

#[test]
fn firmware_gets_the_machine_and_the_kernel_lies_at_4_mib() {
    const KERNEL: u64 = 4 << 20;
    let guest = Guest::new(|bare| {
        bare.asm.mr(30, 3);
        bare.asm.mr(31, 4);
        bare.asm.lwz(29, 0, 30);
        bare.expect(29, 0xd00d_feed, "r3 is no device tree\n");
        bare.expect(31, KERNEL, "r4 is not the kernel\n");
        bare.asm.word(0x7fa0_00a6); // mfmsr r29
        bare.asm.andi(29, 29, 0x31); // IR, DR, LE
        bare.expect(29, 0, "neither real mode nor big-endian\n");
        bare.say("firmware\r\n");
        bare.asm.mtctr(31);
        bare.asm.bctr();
    });
    let mut kernel = Bare::default();
    kernel.say("kernel\r\n");
    kernel.power_off();
    let kernel = file(guest.folder.path(), "kernel", &kernel.kernel());
    let log = guest.ends(&["--kernel", &kernel], 0, &["switched the machine off"]);
    assert!(log.contains("firmware\r\nkernel\r\n"), "{log}");
    // The same file without firmware.
    let output = Command::new(binary())
        .args(["boot", "pseries", "--memory", "64M", "--kernel", &kernel])
        .output()
        .unwrap();
    ended(&output, 0, &["kernel\r\n", "switched the machine off"]);
}

#[test]
fn until_wants_its_pattern() {
    let guest = Guest::new(|bare| {
        bare.say("login: ");
        bare.power_off();
    });
    guest.ends(
        &["--until", "login:"],
        0,
        &["the console showed \"login:\""],
    );
    guest.ends(
        &["--until", "password:"],
        1,
        &["viommu: the guest switched the machine off, and its console had not shown \"password:\""],
    );
}

#[test]
fn instructions_run_out() {
    let guest = Guest::new(Bare::for_ever);
    let report = guest.report();
    guest.ends(
        &["--max-instructions", "123456", "--report", &report],
        1,
        &["viommu: the instructions of --max-instructions are used up"],
    );
    assert_eq!(json(&report)["instructions"], 123_456);
}

/// A guest whose processors have all stopped will never do anything again. One that has ceded wakes when its decrementer
/// expires, so that it may wait for as long as it likes; only --max-instructions ends that.
#[test]
fn nothing_left_to_run() {
    let stopped = Guest::new(|bare| {
        bare.rtas(RtasCall::StopSelf, &[]);
        bare.for_ever();
    });
    for cpus in ["1", "2"] {
        stopped.ends(
            &["--cpus", cpus],
            1,
            &["viommu: every vCPU waits and no event is due"],
        );
    }
    let ceded = Guest::new(|bare| {
        let again = bare.asm.here();
        bare.hcall(hcall::H_CEDE, &[]);
        bare.asm.b(again);
    });
    ceded.ends(
        &["--max-instructions", "1M"],
        1,
        &["viommu: the instructions of"],
    );
}

#[test]
fn reboots() {
    let guest = Guest::new(|bare| {
        bare.say("again\r\n");
        bare.rtas(RtasCall::SystemReboot, &[]);
        bare.for_ever();
    });
    let log = guest.ends(&[], 0, &["the guest asked for a reboot"]);
    assert_eq!(log.matches("again\r\n").count(), 1, "{log}");
    // The limit is for all runs together.
    let report = guest.report();
    let args = ["--reboot", "--max-instructions", "100", "--report", &report];
    let log = guest.ends(
        &args,
        1,
        &["the instructions of --max-instructions are used up"],
    );
    let reboots = json(&report)["reboots"].as_u64().unwrap();
    assert!(reboots > 1, "{log}");
    assert!(log.contains(&format!("after {reboots} reboot(s)")), "{log}");
    assert!(log.matches("again\r\n").count() as u64 >= reboots, "{log}");
}

#[test]
fn a_panic_is_a_failure_and_its_words_are_told() {
    let guest = Guest::new(|bare| {
        bare.asm.load(9, DATA);
        bare.asm.load(8, u64::from_be_bytes(*b"no init\0"));
        bare.asm.std(8, 0, 9);
        bare.rtas(RtasCall::IbmOsTerm, &[DATA as u32]);
        bare.for_ever();
    });
    guest.ends(&[], 1, &["viommu: the guest panicked: no init\n"]);
}

/// The output of each command, when its reader takes one line and leaves, and when there never was a reader.
#[test]
fn closed_pipes_end_quietly() {
    for args in [
        &["guest", "list"][..],
        &["help", "boot"],
        &["completions", "bash"],
        &["dt", "pseries"],
        &["selftest"],
    ] {
        for lines in [0, 1] {
            let mut child = Command::new(binary())
                .args(args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut out = BufReader::with_capacity(1, child.stdout.take().unwrap());
            for _ in 0..lines {
                out.read_line(&mut String::new()).unwrap();
            }
            drop(out);
            let output = child.wait_with_output().unwrap();
            let error = text(&output.stderr);
            assert_eq!(
                (output.status.code(), error.as_str()),
                (Some(0), ""),
                "{args:?}"
            );
        }
    }
}

#[test]
fn a_run_goes_on_without_its_reader() {
    for (status, pattern) in [(0, "over"), (1, "nowhere")] {
        let guest = Guest::new(|bare| {
            for _ in 0..1000 {
                bare.say("line\r\n");
            }
            bare.say("over\r\n");
            bare.power_off();
        });
        let report = guest.report();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status_of_run = guest
            .command(&["--until", pattern, "--report", &report])
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .status()
            .unwrap();
        assert_eq!(status_of_run.code(), Some(status));
        assert!(json(&report)["instructions"].as_u64().unwrap() > 10_000);
    }
}

#[test]
fn a_full_standard_output_is_told() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let guest = Guest::new(Bare::power_off);
    let report = guest.report();
    let mut boot = guest.command(&["--report", &report]);
    ended(
        &boot.stdout(full()).output().unwrap(),
        2,
        &["viommu: standard output: "],
    );
    assert_eq!(json(&report)["end"], "the guest switched the machine off");
    let list = Command::new(binary())
        .args(["guest", "list"])
        .stdout(full())
        .output();
    ended(&list.unwrap(), 2, &["viommu: standard output: "]);
}

/// Ctrl-C and SIGTERM end a run in order: with a report, and without leaving the default disk image behind.
#[test]
fn signals_end_a_run_in_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let guest = Guest::new(|bare| {
            bare.say("ready\r\n");
            bare.for_ever();
        });
        let images = tempfile::tempdir().unwrap();
        let mut child = guest
            .command(&["--device", "nvme"])
            .env("TMPDIR", images.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 5];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        assert_eq!(&first, b"ready");
        assert_eq!(entries(images.path()), 1, "the default image");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), None);
        ended(&output, 1, &["== report ==", "viommu: interrupted"]);
        assert_eq!(
            entries(images.path()),
            0,
            "what is left of the default image"
        );
    }
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn the_terminal_is_the_console_and_comes_back() {
    let guest = Guest::new(echo);
    let mut pty = Pty::spawn(guest.command(&["--interactive"]).env("TERM", "xterm"));
    pty.wait_for("ready", LONG);
    assert!(pty.is_raw());
    pty.type_in("hello");
    pty.wait_for("hello", LONG);
    // Ctrl-C is the guest's, and so is a Ctrl-A that is typed twice.
    pty.type_in("<\x03\x01\x01>");
    pty.wait_for("<\x03\x01>", LONG);
    pty.type_in("\x01x");
    pty.wait_for("left by the user", LONG);
    assert_eq!(pty.end(LONG).code(), Some(0));
    assert!(pty.is_restored());
}

#[test]
fn the_terminal_comes_back_whatever_ends_the_run() {
    let panic = Guest::new(|bare| {
        bare.rtas(RtasCall::IbmOsTerm, &[DATA as u32]);
        bare.for_ever();
    });
    let mut pty = Pty::spawn(&mut panic.command(&["--interactive"]));
    assert_eq!(pty.end(LONG).code(), Some(1));
    assert!(pty.is_restored());

    let guest = Guest::new(echo);
    let mut command = guest.command(&["--interactive", "--until", "never"]);
    let mut pty = Pty::spawn(&mut command);
    pty.wait_for("ready", LONG);
    pty.signal(Signal::TERM);
    pty.wait_for("viommu: interrupted", LONG);
    assert_eq!(pty.end(LONG).code(), Some(1));
    assert!(pty.is_restored());

    // The user may leave, but the pattern has not come.
    let mut pty = Pty::spawn(&mut guest.command(&["--interactive", "--until", "never"]));
    pty.wait_for("ready", LONG);
    pty.type_in("\x01X");
    pty.wait_for("its console had not shown \"never\"", LONG);
    assert_eq!(pty.end(LONG).code(), Some(1));
    assert!(pty.is_restored());
}

use super::*;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn lines_have_their_time() {
    let run = run(shell("echo one; sleep 0.2; echo two"), Until::Exit, LIMIT).unwrap();
    let between = run.time_of("two").unwrap() - run.time_of("one").unwrap();
    assert!(between >= Duration::from_millis(150), "{between:?}");
    assert!(run.total >= run.time_of("two").unwrap());
    assert!(run.peak > 0);
    assert!(run.time_of("three").is_err());
}

#[test]
fn a_program_is_ended_at_its_line() {
    let run = run(
        shell("echo first; echo last; sleep 60; :"),
        Until::Line("last"),
        LIMIT,
    )
    .unwrap();
    assert_eq!(run.lines.len(), 2);
    assert!(run.total < LIMIT);
}

#[test]
fn what_did_not_finish_says_why() {
    let message = |script, until, limit| run(shell(script), until, limit).unwrap_err().to_string();
    let failed = message("echo here; echo why >&2; exit 3", Until::Exit, LIMIT);
    for part in ["exit status: 3", "here", "why"] {
        assert!(failed.contains(part), "{failed}");
    }
    let early = message("echo here", Until::Line("there"), LIMIT);
    assert!(early.contains("ended before \"there\""), "{early}");
    let slow = message("exec sleep 100", Until::Exit, Duration::from_millis(300));
    assert!(slow.contains("not done"), "{slow}");
    let mut missing = Command::new("/nowhere/program");
    missing.arg("x");
    let missing = run(missing, Until::Exit, LIMIT).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/program"), "{missing}");
}

#[test]
fn lines_have_the_processor_time() {
    let script =
        "echo start; i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; echo end; sleep 0.2";
    let run = run(shell(script), Until::Exit, LIMIT).unwrap();
    let (start, end) = (run.line("start").unwrap(), run.line("end").unwrap());
    assert!(end.cpu > start.cpu, "{start:?} {end:?}");
    assert!(
        end.cpu <= run.cpu + Duration::from_millis(20),
        "{:?}",
        run.cpu
    );
}

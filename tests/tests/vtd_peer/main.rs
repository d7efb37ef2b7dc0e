//! The VT-d unit against QEMU's: the same scenarios (`scenarios.txt`) drive both, and what they show must be the same, except where
//! the scenario lists a difference and says who is right. `tests/run vtd-peer`.

mod firmware;
mod ours;
mod qemu;
mod scenario;

use ours::Ours;
use qemu::Qemu;
use scenario::{Scenario, parse};

const SCENARIOS: &str = include_str!("scenarios.txt");

/// Runs one scenario on both; what differs and was not said to, or was said to and does not.
fn compare(scenario: &Scenario) -> anyhow::Result<Vec<String>> {
    let mut ours = Ours::new(scenario.mode)?;
    let mine = scenario.run(&mut ours)?;
    let mut qemu = Qemu::start(scenario.mode)?;
    let theirs = scenario.run(&mut qemu)?;
    let mut wrong = Vec::new();
    let mut listed = scenario.differences.iter();
    for (n, ((line, a), (_, b))) in mine.iter().zip(&theirs).enumerate() {
        if a == b {
            continue;
        }
        let expected = listed.next();
        if !expected.is_some_and(|d| d.ours == *a && d.qemu == *b) {
            wrong.push(format!(
                "{}: observation {n} (line {line}): ours {a:?}, QEMU {b:?}",
                scenario.name
            ));
        }
    }
    for d in listed {
        wrong.push(format!(
            "{}: listed difference did not show: ours {:?}, QEMU {:?}",
            scenario.name, d.ours, d.qemu
        ));
    }
    Ok(wrong)
}

#[test]
fn the_unit_and_qemu_agree_or_the_difference_is_listed() {
    let scenarios = parse(SCENARIOS).expect("scenarios.txt");
    let mut wrong = Vec::new();
    let (mut observations, mut differences) = (0, 0);
    for scenario in &scenarios {
        match compare(scenario) {
            Ok(list) => wrong.extend(list),
            Err(e) => wrong.push(format!("{}: {e:#}", scenario.name)),
        }
        observations += scenario.observations();
        differences += scenario.differences.len();
    }
    println!(
        "{} scenarios, {observations} observations, {differences} listed differences",
        scenarios.len()
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(scenarios.len() >= 70);
}

/// Each listed difference is told in docs/vtd.md, by the name of its scenario.
#[test]
fn differences_are_in_the_documentation() {
    let text = include_str!("../../../docs/vtd.md");
    for scenario in parse(SCENARIOS).expect("scenarios.txt") {
        if !scenario.differences.is_empty() {
            assert!(
                text.contains(&format!("`{}`", scenario.name)),
                "{} is not in docs/vtd.md",
                scenario.name
            );
        }
    }
}

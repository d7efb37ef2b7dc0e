//! The loop that every machine runs in: turns of its CPUs over the same piece of virtual time, devices between them, time skipped while
//! nobody has anything to do, and a look at the host now and then.

use std::time::Duration;

use crate::clock::Clock;
use crate::config::End;
use crate::host::{Host, Moment};
use crate::observe::{Console, Counters};

/// Most instructions, and so nanoseconds, between two looks at the host.
const POLL: u64 = 1_280_000;

/// Longest turn of a machine with so many CPUs: instructions, and so nanoseconds. CPUs that take turns wait for each other.
pub const fn turn_length(cpus: usize) -> u64 {
    if cpus == 1 { 160_000 } else { 20_000 }
}

/// What a run may have used up, and what it looks for.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// End the run when a console line contains this.
    pub until: Option<String>,
    /// End the run after this many instructions.
    pub max_instructions: Option<u64>,
}

/// A machine as the loop sees it.
pub trait Turns {
    /// Number of CPUs.
    fn cpus(&self) -> usize;
    /// When the run ends by itself.
    fn limits(&self) -> &Limits;
    /// What was counted.
    fn counters(&mut self) -> &mut Counters;
    /// Virtual time.
    fn clock(&mut self) -> &mut Clock;
    /// The console's output.
    fn console(&mut self) -> &mut Console;
    /// Bytes of input that the console takes.
    fn input_room(&self) -> usize;
    /// Input for the console, not more than that.
    fn input(&mut self, bytes: &[u8]);
    /// Set once the run is over.
    fn end(&mut self) -> &mut Option<End>;
    /// Does what is due in devices.
    fn run_devices(&mut self);
    /// When the next work of a device is due, in virtual nanoseconds.
    fn next_deadline(&self) -> Option<u64>;
    /// Ends the waiting of CPUs that have something to do. False if all wait.
    fn wake(&mut self) -> bool;
    /// When a CPU that waits will have something to do by itself, in virtual nanoseconds.
    fn next_wake(&self) -> Option<u64>;
    /// One turn of a CPU from `now` on, of at most `turn` instructions. May make `turn` shorter, for itself and for those that follow, if
    /// something has to be done earlier. Returns how long it was.
    fn turn(&mut self, index: usize, now: u64, turn: &mut u64) -> u64;
    /// Every CPU waits: whether that is for ever, in spite of a next event.
    fn is_dead(&mut self) -> bool {
        false
    }
}

/// Runs a machine until the end of the run.
pub fn run(machine: &mut impl Turns, host: &mut dyn Host) -> End {
    let turns_per_poll = POLL / turn_length(machine.cpus());
    let mut until_poll = 0;
    loop {
        if until_poll == 0 {
            until_poll = turns_per_poll;
            poll(machine, host);
        }
        until_poll -= 1;
        machine.run_devices();
        if let Some(end) = over(machine) {
            poll(machine, host);
            let (now, instructions) = (machine.clock().now_ns(), machine.counters().instructions);
            machine.console().phase("end", now, instructions);
            return end;
        }
        if machine.wake() {
            round(machine);
        } else if idle(machine, host) {
            until_poll = 0;
        }
    }
}

fn over(machine: &mut impl Turns) -> Option<End> {
    // First, as the guest may have switched itself off right after it printed the pattern.
    if machine.console().until_seen() {
        return Some(End::Until(
            machine.limits().until.clone().unwrap_or_default(),
        ));
    }
    if let Some(end) = machine.end() {
        return Some(end.clone());
    }
    let max = machine.limits().max_instructions?;
    (machine.counters().instructions >= max).then_some(End::MaxInstructions)
}

fn poll(machine: &mut impl Turns, host: &mut dyn Host) {
    let (now_ns, instructions) = (machine.clock().now_ns(), machine.counters().instructions);
    let room = machine.input_room();
    let fresh = machine.console().take_fresh();
    let console = machine.console();
    let moment = Moment {
        now_ns,
        instructions,
        console: &fresh,
        last_line: console.last_line(),
        phases: console.phases().len(),
    };
    let input = host.poll(moment, room);
    machine.input(&input.bytes);
    if input.quit {
        machine.end().get_or_insert(End::UserQuit);
    }
}

/// No CPU runs: skips to the next event, or ends. Returns true if the host may have input.
fn idle(machine: &mut impl Turns, host: &mut dyn Host) -> bool {
    let next = [machine.next_wake(), machine.next_deadline()];
    let next = next.into_iter().flatten().min();
    let now = machine.clock().now_ns();
    let ns = next.map(|at| at.saturating_sub(now));
    machine.counters().exits.idle += 1;
    let waited = host.idle(ns.map(Duration::from_nanos));
    match next {
        Some(_) if machine.is_dead() => *machine.end() = Some(End::Deadlock),
        Some(at) => machine.clock().skip_to(at),
        None if waited => {}
        None => *machine.end() = Some(End::Deadlock),
    }
    waited
}

/// One turn for every CPU, over the same piece of virtual time.
fn round(machine: &mut impl Turns) {
    let now = machine.clock().now_ns();
    let mut turn = turn_length(machine.cpus());
    if let Some(at) = machine.next_deadline() {
        turn = turn.min(at.saturating_sub(now).max(1));
    }
    if let Some(max) = machine.limits().max_instructions {
        turn = turn.min(max.saturating_sub(machine.counters().instructions).max(1));
    }
    let mut longest = 0;
    for index in 0..machine.cpus() {
        longest = longest.max(machine.turn(index, now, &mut turn));
    }
    machine.clock().advance(longest);
}

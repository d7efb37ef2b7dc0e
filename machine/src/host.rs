//! What a running machine gets from and gives to the program around it.

use std::time::Duration;

/// A moment of a run, for display.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Virtual time in nanoseconds.
    pub now_ns: u64,
    /// Instructions retired.
    pub instructions: u64,
    /// Console bytes since the last call.
    pub console: &'a [u8],
    /// The last console line.
    pub last_line: &'a str,
    /// Landmarks so far.
    pub phases: usize,
}

/// What the program gives to the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInput {
    /// Typed for the guest.
    pub bytes: Vec<u8>,
    /// End the run.
    pub quit: bool,
}

/// The program around a machine.
pub trait Host {
    /// Called often while the guest runs: take output, give input. `room` is how many bytes of input the guest takes.
    fn poll(&mut self, moment: Moment<'_>, room: usize) -> HostInput;

    /// The guest idles, for this much virtual time (`None`: for ever). True if the program has waited for input for as much host time,
    /// or for some of it, so that the machine must not give up; false to skip the time.
    fn idle(&mut self, _ns: Option<Duration>) -> bool {
        false
    }
}

/// Nobody is there: no input, output is kept by the machine only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Host for Unattended {
    fn poll(&mut self, _moment: Moment<'_>, _room: usize) -> HostInput {
        HostInput::default()
    }
}

//! Runs a program to its end, with the time at which each line of its output arrived and what it used.

use std::io::{Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use wait4::Wait4;

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Since the start of the program.
    pub at: Duration,
    /// Processor time that the program had used by then, to 10 ms; zero if the host's kernel does not tell.
    pub cpu: Duration,
    /// Without its end.
    pub text: String,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Run {
    /// Lines of its standard output.
    pub lines: Vec<Line>,
    /// Start to end.
    pub total: Duration,
    /// Processor time in user and kernel mode.
    pub cpu: Duration,
    /// Largest resident set, in bytes.
    pub peak: u64,
}

impl Run {
    /// When the first line that holds `text` came.
    ///
    /// # Errors
    /// There is none.
    pub fn time_of(&self, text: &str) -> Result<Duration> {
        Ok(self.line(text)?.at)
    }

    /// The first line that holds `text`.
    ///
    /// # Errors
    /// There is none.
    pub fn line(&self, text: &str) -> Result<&Line> {
        self.line_where(text, |line| line.contains(text))
    }

    /// The first line of which `wanted` is true; `what` is its name for messages.
    ///
    /// # Errors
    /// There is none.
    pub fn line_where(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<&Line> {
        let line = self.lines.iter().find(|l| wanted(&l.text));
        line.ok_or_else(|| anyhow!("no line with {what:?}; {}", last_line(&self.lines)))
    }
}

/// When a program is over.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// It ends by itself, with success.
    Exit,
    /// A line holds this; it is ended then.
    Line(&'static str),
}

/// Runs a program. `limit` is the longest that it may take.
///
/// # Errors
/// It could not be started, took too long, failed, or ended before its time: the message has its last lines.
pub fn run(mut command: Command, until: Until, limit: Duration) -> Result<Run> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut errors = tempfile::tempfile().context("a file for messages")?;
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors.try_clone().context("a file for messages")?)
        .spawn()
        .with_context(|| format!("{program} does not start"))?;
    let output = child.stdout.take().context("no standard output")?;
    let (sender, receiver) = mpsc::channel();
    let id = child.id();
    // Not waited for: it ends with the output, which a child of an ended program may hold open.
    std::thread::spawn(move || read_lines(output, id, start, &sender));
    let mut lines: Vec<Line> = Vec::new();
    let mut outcome = Ok(());
    loop {
        match receiver.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                lines.push(line);
                if let (Until::Line(last), Some(line)) = (until, lines.last())
                    && line.text.contains(last)
                {
                    child.kill().context("it cannot be ended")?;
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                child.kill().context("it cannot be ended")?;
                outcome = Err(anyhow!("not done after {} s", limit.as_secs()));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => {
                if let Until::Line(last) = until {
                    outcome = Err(anyhow!("it ended before {last:?}"));
                }
                break;
            }
        }
    }
    let used = child.wait4().context("waiting for its end")?;
    let total = start.elapsed();
    if outcome.is_ok() && matches!(until, Until::Exit) {
        outcome = succeeded(used.status);
    }
    if let Err(error) = outcome {
        let mut text = String::new();
        let _ = errors
            .rewind()
            .and_then(|()| errors.read_to_string(&mut text));
        let messages: Vec<&str> = text.lines().rev().take(5).collect();
        let messages: Vec<&str> = messages.into_iter().rev().collect();
        bail!("{error}; {}; messages: {messages:?}", last_line(&lines));
    }
    Ok(Run {
        lines,
        total,
        cpu: used.rusage.utime + used.rusage.stime,
        peak: used.rusage.maxrss,
    })
}

fn succeeded(status: ExitStatus) -> Result<()> {
    if status.success() {
        Ok(())
    } else {
        Err(anyhow!("it failed ({status})"))
    }
}

fn last_line(lines: &[Line]) -> String {
    match lines.last() {
        Some(line) => format!("its last line: {:?}", line.text),
        None => "it printed nothing".to_owned(),
    }
}

/// User and system time of a process, proc(5): fields 14 and 15 of its `stat`, in hundredths of a second. The second field, its name, is
/// in brackets and may hold spaces.
fn cpu_time(id: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let times = fields.split(' ').skip(11).take(2);
    let ticks: u64 = times.filter_map(|f| f.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(10 * ticks))
}

/// Cuts output into lines and sends each with its time.
fn read_lines(mut output: impl Read, id: u32, start: Instant, sender: &mpsc::Sender<Line>) {
    let mut rest = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = output.read(&mut buffer) {
        let at = start.elapsed();
        let cpu = cpu_time(id).unwrap_or_default();
        rest.extend_from_slice(&buffer[..n]);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(Line { at, cpu, text }).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;

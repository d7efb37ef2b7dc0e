//! Runs apt's programs.

use super::{GuestError, at};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Runs a command, called `shown` in errors, to its end, and calls `tick` several times a second.
///
/// # Errors
/// The command is not there, or fails; its errors and warnings are in the error.
pub(super) fn run(
    mut command: Command,
    shown: &str,
    mut tick: impl FnMut(),
) -> Result<Output, GuestError> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|_| GuestError::NoApt)?;
    let output = collect(child, &mut tick).map_err(at(Path::new(shown)))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(GuestError::Apt {
        command: shown.to_string(),
        output: complaints(&String::from_utf8_lossy(&output.stderr)),
    })
}

/// What apt complains about, in one line: its errors and warnings, or whatever it printed last if there are none.
fn complaints(text: &str) -> String {
    const MOST: usize = 5;
    let lines = || text.lines().map(str::trim).filter(|l| !l.is_empty());
    let named: Vec<&str> = lines()
        .filter(|l| l.starts_with("E: ") || l.starts_with("W: "))
        .take(MOST)
        .collect();
    if !named.is_empty() {
        return named.join("; ");
    }
    let all: Vec<&str> = lines().collect();
    all[all.len().saturating_sub(MOST)..].join("; ")
}

fn collect(mut child: Child, tick: &mut dyn FnMut()) -> std::io::Result<Output> {
    fn reader<R: Read + Send + 'static>(
        pipe: Option<R>,
    ) -> std::thread::JoinHandle<std::io::Result<Vec<u8>>> {
        std::thread::spawn(move || {
            let mut data = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut data)?;
            }
            Ok(data)
        })
    }
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        tick();
        std::thread::sleep(Duration::from_millis(50));
    };
    let join = |handle: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        handle
            .join()
            .map_err(|_| std::io::Error::other("reader failed"))?
    };
    Ok(Output {
        status,
        stdout: join(out)?,
        stderr: join(err)?,
    })
}

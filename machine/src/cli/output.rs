//! Standard output and standard error. Nothing else of the program writes to them, but for the status line and the progress bar.
//!
//! A reader that has had enough (`viommu guest list | head -1`) closes the pipe. That is no failure: what only prints then ends at once
//! with status 0, and a run goes on without its console for the sake of its report file and status.

use std::io::{ErrorKind, Write};

use super::Failure;

/// Writes to standard output.
///
/// # Errors
/// [`Failure::Closed`] if nobody reads it any more, [`Failure::User`] if the host cannot write it (a full disk).
pub fn put(text: &str) -> Result<(), Failure> {
    put_bytes(text.as_bytes())
}

/// As [`put`], for bytes that need not be text.
///
/// # Errors
/// As [`put`].
pub fn put_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Failure::Closed),
        Err(e) => Err(Failure::user(format!("standard output: {e}"))),
    }
}

/// Writes a line to standard error. Nobody can be told when that is gone.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

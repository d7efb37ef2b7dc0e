//! Prints and writes the report.

use std::path::Path;

use super::{Failure, output};
use crate::observe::{Report, text};

/// Writes the report as JSON if asked for, and prints it.
///
/// # Errors
/// The file or standard output cannot be written. That nobody reads standard output is no error: the run's own status counts.
pub fn emit(report: &Report, json: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = json {
        let text = report.to_json().map_err(Failure::run)?;
        std::fs::write(path, text + "\n")
            .map_err(|e| Failure::run(format!("report {}: {e}", path.display())))?;
    }
    match output::put(&format!("\n{}", text::render(report))) {
        Err(Failure::Closed) => Ok(()),
        printed => printed,
    }
}

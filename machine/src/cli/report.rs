//! Prints and writes the report.

use super::Failure;
use crate::observe::{Report, text};

/// Prints the report, and writes it as JSON if asked for.
///
/// # Errors
/// The file cannot be written.
pub fn emit(report: &Report, json: Option<&std::path::Path>) -> Result<(), Failure> {
    print!("\n{}", text::render(report));
    if let Some(path) = json {
        let text = report.to_json().map_err(Failure::run)?;
        std::fs::write(path, text + "\n").map_err(|e| Failure::run(format!("report {}: {e}", path.display())))?;
    }
    Ok(())
}

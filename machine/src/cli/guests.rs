//! `viommu guest` and `viommu selftest`.

use super::args::{GuestAction, SelftestArgs};
use super::{Failure, logger, output};
use crate::guest::catalogue::{self, Guest};
use crate::guest::progress_bar;

/// Fetches, lists or finds guests.
///
/// # Errors
/// What the user has to mend: no network, no apt, an unknown name.
pub fn run(action: &GuestAction) -> Result<(), Failure> {
    match action {
        GuestAction::Fetch { name } => {
            let guest = catalogue::fetch(name, &mut progress_bar()).map_err(Failure::user)?;
            print_paths(&guest)
        }
        GuestAction::List => {
            for entry in catalogue::list() {
                let here = if catalogue::cached(entry.name).is_ok() {
                    "fetched"
                } else {
                    ""
                };
                let line = format!("{:<18} {:<40} {here}", entry.name, entry.about);
                output::put(&format!("{}\n", line.trim_end()))?;
            }
            Ok(())
        }
        GuestAction::Path { name } => print_paths(&catalogue::cached(name).map_err(Failure::user)?),
    }
}

/// The kernel's path on the first line, the initramfs's on the second.
fn print_paths(guest: &Guest) -> Result<(), Failure> {
    output::put(&format!(
        "{}\n{}\n",
        guest.kernel.display(),
        guest.initrd.display()
    ))
}

/// Runs the bare-metal guest.
///
/// # Errors
/// The self-test failed.
pub fn selftest(args: &SelftestArgs) -> Result<(), Failure> {
    logger::Filter::parse(&args.log)
        .map_err(Failure::user)?
        .install();
    let mut printed = Ok(());
    let result = crate::selftest::run(|line| {
        if printed.is_ok() {
            printed = output::put(&format!("{line}\n"));
        }
    });
    // What the test found counts, whether or not somebody reads its lines.
    result.map_err(Failure::run).and(printed)
}

//! `viommu guest` and `viommu selftest`.

use super::args::{GuestAction, SelftestArgs};
use super::{Failure, logger};
use crate::guest::{self, catalogue};

/// Fetches, lists or finds guests.
///
/// # Errors
/// What the user has to mend: no network, no apt, an unknown name.
pub fn run(action: &GuestAction) -> Result<(), Failure> {
    match action {
        GuestAction::Fetch { name } => {
            let guest = catalogue::fetch(name, &mut guest::progress_bar()).map_err(Failure::user)?;
            println!("{}\n{}", guest.kernel.display(), guest.initrd.display());
        }
        GuestAction::List => {
            for entry in catalogue::list() {
                let here = if catalogue::cached(entry.name).is_ok() { "fetched" } else { "" };
                println!("{:<18} {:<52} {here}", entry.name, entry.about);
            }
        }
        GuestAction::Path { name } => {
            let guest = catalogue::cached(name).map_err(Failure::user)?;
            println!("{}\n{}", guest.kernel.display(), guest.initrd.display());
        }
    }
    Ok(())
}

/// Runs the bare-metal guest.
///
/// # Errors
/// The self-test failed.
pub fn selftest(args: &SelftestArgs) -> Result<(), Failure> {
    logger::Filter::parse(&args.log).map_err(Failure::user)?.install();
    Err(Failure::run("the self-test's guest is not in this build"))
}

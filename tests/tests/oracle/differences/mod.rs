//! What is left out of the comparison, and why. `docs/cpu-differences.md` is this list for readers.
//!
//! An entry names forms and makes QEMU's outcome equal in just the part that is excused. An entry that excuses nothing in a whole run
//! fails the test, for each of its forms.

mod fixed;
mod float;
mod list;
mod parts;

use crate::record::Record;
pub use list::DIFFERENCES;

/// A case that has been run.
pub struct Case<'a> {
    pub mnemonic: &'a str,
    /// The instruction word of the form.
    pub word: u32,
    pub before: &'a Record,
}

/// One entry.
pub struct Difference {
    /// Mnemonics; with `*` at the end, all that begin so.
    pub forms: &'static [&'static str],
    /// Changes QEMU's outcome (the last) to ours where the difference is excused.
    pub excuse: fn(&Case, &Record, &mut Record),
    pub why: &'static str,
    /// Whether it is in FPSCR alone while no exception is enabled, so that the forms can be in random sequences.
    pub status: bool,
}

/// Whether an entry is for a form.
pub fn applies(entry: &Difference, mnemonic: &str) -> bool {
    entry.forms.iter().any(|f| match f.strip_suffix('*') {
        Some(start) => mnemonic.starts_with(start),
        None => *f == mnemonic,
    })
}

/// Makes what is excused equal; tells which entries did something, by their numbers.
pub fn excuse(case: &Case, ours: &Record, theirs: &mut Record) -> Vec<usize> {
    let mut used = Vec::new();
    for (i, entry) in DIFFERENCES.iter().enumerate() {
        if applies(entry, case.mnemonic) {
            let before = theirs.clone();
            (entry.excuse)(case, ours, theirs);
            if *theirs != before {
                used.push(i);
            }
        }
    }
    used
}

//! What is left out of the comparison, and why. `docs/cpu-differences.md` is this list for readers.

use crate::record::Record;

/// A part of the state.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "the list may use any of them")]
pub enum Part {
    /// These bits of FPSCR.
    Fpscr(u64),
    /// These bits of XER.
    Xer(u64),
    /// These bits of CR.
    Cr(u32),
    /// Everything: a boundedly undefined case.
    Everything,
}

/// One entry: mnemonic, whether the entry applies to the case, what is left out, why.
type Difference = (&'static str, fn(&Record) -> bool, Part, &'static str);

const DIFFERENCES: &[Difference] = &[];

/// Makes what is left out equal.
pub fn forgive(mnemonic: &str, case: &Record, ours: &mut Record, theirs: &mut Record) {
    for (_, _, part, _) in DIFFERENCES
        .iter()
        .filter(|(name, applies, _, _)| *name == mnemonic && applies(case))
    {
        match part {
            Part::Fpscr(mask) => ours.fpscr = ours.fpscr & !mask | theirs.fpscr & mask,
            Part::Xer(mask) => ours.xer = ours.xer & !mask | theirs.xer & mask,
            Part::Cr(mask) => ours.cr = ours.cr & !mask | theirs.cr & mask,
            Part::Everything => *ours = theirs.clone(),
        }
    }
}

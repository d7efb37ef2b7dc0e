//! What happened in a run: counters while it goes on, the console's words, and the report at its end
//! (docs/report.md).

pub mod console;
pub mod cost;
pub mod counters;
pub mod iommu;
pub mod pc;
pub mod profile;
pub mod report;
pub mod text;
pub mod translations;

#[cfg(test)]
mod tests;

pub use console::{Console, Phase};
pub use counters::{Counters, Exits};
pub use report::Report;
pub use translations::{Translations, Watch};

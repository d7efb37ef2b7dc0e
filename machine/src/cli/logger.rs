//! Messages of the emulator on standard error.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

/// Which messages are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    default: LevelFilter,
    modules: Vec<(String, LevelFilter)>,
}

impl Filter {
    /// Parses `LEVEL` or `MODULE=LEVEL`, separated by commas.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Filter, String> {
        let level = |word: &str| {
            word.parse::<LevelFilter>()
                .map_err(|_| format!("unknown log level '{word}' (use off, error, warn, info, debug or trace)"))
        };
        let mut filter = Filter { default: LevelFilter::Warn, modules: Vec::new() };
        for part in text.split(',').filter(|p| !p.is_empty()) {
            match part.split_once('=') {
                Some((module, word)) => filter.modules.push((module.to_owned(), level(word)?)),
                None => filter.default = level(part)?,
            }
        }
        Ok(filter)
    }

    fn level(&self, target: &str) -> LevelFilter {
        let matching = self.modules.iter().filter(|(m, _)| target.contains(m.as_str()));
        matching.max_by_key(|(m, _)| m.len()).map_or(self.default, |(_, level)| *level)
    }

    fn highest(&self) -> LevelFilter {
        self.modules.iter().map(|m| m.1).chain([self.default]).max().unwrap_or(LevelFilter::Off)
    }

    /// Makes it the logger of this process. A second call changes nothing.
    pub fn install(self) {
        let highest = self.highest();
        if log::set_boxed_logger(Box::new(self)).is_ok() {
            log::set_max_level(highest);
        }
    }
}

impl Log for Filter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // Nobody can be told when standard error is gone.
            let _ = writeln!(std::io::stderr(), "[{} {}] {}\r", record.level(), record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

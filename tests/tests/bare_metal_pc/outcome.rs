//! What a guest printed, and the report.

use viommu_tests::boot::{Boot, run_on};
use viommu_tests::file;

use super::guest::value_of;

/// A run that ended with the guest's power-off.
pub struct Outcome {
    boot: Boot,
}

impl Outcome {
    /// Boots an ELF file with the edu device in slot 1.
    pub fn of(elf: &[u8], options: &[&str]) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let kernel = file(folder.path(), "guest", elf);
        let fixed = ["--kernel", &kernel, "--memory", "64M", "--device", "edu"];
        let boot = run_on("pc", &[&fixed, options].concat(), 0);
        Outcome { boot }
    }

    /// The value that was printed under a name.
    pub fn value(&self, name: &str) -> u64 {
        let line = |l: &str| Some(l.strip_prefix(name)?.strip_prefix('=')?.trim().to_owned());
        let found = self.boot.log.lines().find_map(line);
        let digits = found.unwrap_or_else(|| panic!("no {name} in\n{}", self.boot.log));
        u64::from_str_radix(&digits, 16).expect("hexadecimal digits")
    }

    /// Demands values.
    pub fn has(&self, wanted: &[(&str, u64)]) {
        for (name, value) in wanted {
            let found = self.value(name);
            assert_eq!(
                found, *value,
                "{name}: {found:#x}, not {value:#x}, in\n{}",
                self.boot.log
            );
        }
    }

    /// Demands text that was printed as a value.
    pub fn has_text(&self, wanted: &[(&str, &str)]) {
        for (name, text) in wanted {
            self.has(&[(name, value_of(text))]);
        }
    }

    /// Demands counters of the unit, by JSON pointer, and that nothing else was refused.
    pub fn counted(&self, wanted: &[(&str, u64)]) {
        let unit = &self.boot.report["vtd"]["units"][0];
        for (pointer, value) in wanted {
            let found = unit.pointer(pointer).and_then(|v| v.as_u64());
            assert_eq!(found, Some(*value), "{pointer} of {unit:#}");
        }
    }

    /// Requests that the unit refused, as the report has them: what, bus address, code of the reason.
    pub fn refused(&self) -> Vec<(&str, &str, u64)> {
        let list = self.boot.report["vtd"]["refused"].as_array();
        let list = list.expect("a list").iter();
        list.map(|r| {
            let text = |key: &str| r[key].as_str().expect("text");
            assert_eq!(text("source"), "00:01.0");
            (text("what"), text("address"), r["code"].as_u64().unwrap())
        })
        .collect()
    }
}

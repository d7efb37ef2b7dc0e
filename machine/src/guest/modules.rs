//! Kernel modules: what they say about themselves, and the order in which they must be loaded.
//!
//! Debian makes `modules.dep` at installation, so that packages have none: dependencies are read from each module's `.modinfo` section.

use super::deb;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// The modules of a package as they are stored: file name ending (`.ko`, `.ko.xz`, `.ko.zst`, `.ko.gz`) and bytes, by module name with
/// underscores.
#[derive(Debug, Default)]
pub struct Modules {
    stored: BTreeMap<String, (String, Vec<u8>)>,
}

/// Why modules cannot be put in order.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModuleError {
    /// A module that another one depends on is not there.
    #[error("module {0} is missing")]
    Missing(String),
    /// A module file is damaged.
    #[error("module {0} is not a readable ELF64 file")]
    Damaged(String),
}

/// A module's name as the kernel writes it: underscores, no folder, no ending. None if `path` is no module.
pub fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, ending) = file.split_at(file.find(".ko")?);
    matches!(ending, ".ko" | ".ko.xz" | ".ko.zst" | ".ko.gz").then(|| stem.replace('-', "_"))
}

/// The `key=value` pairs of an ELF64 module's `.modinfo` section, in order. None if the file is not such a module.
pub fn modinfo(elf: &[u8]) -> Option<Vec<(String, String)>> {
    let bytes = |offset: u64, len: usize| {
        let start = usize::try_from(offset).ok()?;
        elf.get(start..start.checked_add(len)?)
    };
    if bytes(0, 5)? != b"\x7fELF\x02" {
        return None;
    }
    let little = *elf.get(5)? == 1;
    let number = |offset: u64, len: usize| {
        let raw = bytes(offset, len)?;
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if little {
            raw.iter().rev().fold(0, fold)
        } else {
            raw.iter().fold(0, fold)
        })
    };
    let table = number(0x28, 8)?;
    let (entry_size, count, names) = (number(0x3a, 2)?, number(0x3c, 2)?, number(0x3e, 2)?);
    let section = |index: u64| {
        let header = table.checked_add(index * entry_size)?;
        let field = |offset: u64, len| number(header.checked_add(offset)?, len);
        Some((field(0, 4)?, field(0x18, 8)?, field(0x20, 8)?))
    };
    let (_, names_at, _) = section(names)?;
    for index in 0..count {
        let (name, at, size) = section(index)?;
        let wanted = b".modinfo\0";
        if bytes(names_at.checked_add(name)?, wanted.len()) != Some(wanted) {
            continue;
        }
        let info = bytes(at, usize::try_from(size).ok()?)?;
        let pairs = info.split(|b| *b == 0).filter_map(|pair| {
            let pair = String::from_utf8_lossy(pair);
            let (key, value) = pair.split_once('=')?;
            Some((key.to_string(), value.to_string()))
        });
        return Some(pairs.collect());
    }
    None
}

impl Modules {
    /// Adds a module file of a package by its path; other files are ignored.
    pub fn add(&mut self, path: &str, data: Vec<u8>) {
        if let Some(name) = module_name(path) {
            self.stored.insert(name, (path.to_string(), data));
        }
    }

    /// Whether there is a module of that name.
    pub fn has(&self, name: &str) -> bool {
        self.stored.contains_key(&name.replace('-', "_"))
    }

    /// A module's uncompressed bytes.
    ///
    /// # Errors
    /// [`ModuleError::Missing`], or [`ModuleError::Damaged`] if it cannot be decompressed.
    pub fn load(&self, name: &str) -> Result<Vec<u8>, ModuleError> {
        let name = name.replace('-', "_");
        let (path, data) = self
            .stored
            .get(&name)
            .ok_or_else(|| ModuleError::Missing(name.clone()))?;
        let mut out = Vec::new();
        deb::decompress(path, data.as_slice())
            .and_then(|mut input| input.read_to_end(&mut out))
            .map_err(|_| ModuleError::Damaged(name))?;
        Ok(out)
    }

    /// The modules `wanted` and all they depend on, each with its bytes and after its dependencies (`depends=`, then `softdep=pre:`).
    /// A soft dependency may be an alias and may be absent.
    ///
    /// # Errors
    /// A wanted module or a dependency is missing or damaged.
    pub fn in_order(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>, ModuleError> {
        let mut walk = Walk {
            modules: self,
            seen: BTreeSet::new(),
            order: Vec::new(),
        };
        for name in wanted {
            walk.visit(&name.replace('-', "_"))?;
        }
        Ok(walk.order)
    }

    /// The module called `name`, or else the first one that has it as an alias.
    fn find(&self, name: &str) -> Option<String> {
        let plain = name.replace('-', "_");
        if self.stored.contains_key(&plain) {
            return Some(plain);
        }
        let is_alias = |(key, value): &(String, String)| key == "alias" && value == name;
        let found = self.stored.keys().find(|module| {
            let info = self.load(module).ok().and_then(|elf| modinfo(&elf));
            info.is_some_and(|pairs| pairs.iter().any(is_alias))
        });
        found.cloned()
    }
}

struct Walk<'a> {
    modules: &'a Modules,
    seen: BTreeSet<String>,
    order: Vec<(String, Vec<u8>)>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str) -> Result<(), ModuleError> {
        if !self.seen.insert(name.to_string()) {
            return Ok(());
        }
        let data = self.modules.load(name)?;
        let info = modinfo(&data).ok_or_else(|| ModuleError::Damaged(name.to_string()))?;
        let values = |key: &'static str| {
            let values = info.iter().filter(move |(k, _)| k == key);
            values.map(|(_, v)| v.as_str())
        };
        for dependency in values("depends").flat_map(|v| v.split(',')) {
            if !dependency.is_empty() {
                self.visit(&dependency.replace('-', "_"))?;
            }
        }
        for soft in values("softdep") {
            let words = soft.split_whitespace().skip_while(|w| *w != "pre:").skip(1);
            for word in words.take_while(|w| *w != "post:") {
                if let Some(module) = self.modules.find(word) {
                    self.visit(&module)?;
                }
            }
        }
        self.order.push((name.to_string(), data));
        Ok(())
    }
}

//! Personalities as text: `powervm`, `windows=1,pages=64K+16M`, `kvm,block=4096`.

use std::str::FromStr;

use super::{DEFAULT_WINDOW_TOP, MAX_BLOCK, MAX_EXTENSIONS, MAX_WINDOWS, Personality};
use crate::spapr::iommu::spec::PageSizes;

/// Why a text is no personality.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPersonality {
    /// The first word is no name and no option.
    #[error(
        "no personality is called '{0}' (use kvm, powervm, qemu-compat, or options such as windows=1,pages=64K+16M)"
    )]
    Name(String),
    /// An option has no such name.
    #[error(
        "unknown option '{0}' (use windows, pages, block, migration, default-base, default-size, extensions or eeh)"
    )]
    Option(String),
    /// An option stands twice.
    #[error("'{0}' is given twice")]
    Twice(String),
    /// A value is not what the option takes.
    #[error("{option}={value}: it must be {wanted}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        wanted: &'static str,
    },
    /// The default window does not lie where it may.
    #[error(
        "a default window of {size:#x} bytes at {base:#x}: it must be a power of two of at least 64K, aligned to its size, below 2G"
    )]
    DefaultWindow {
        /// First bus address.
        base: u64,
        /// Bytes.
        size: u64,
    },
}

impl FromStr for Personality {
    type Err = BadPersonality;

    /// Options change the named personality, `kvm` if none is named. The first word must be the name.
    fn from_str(text: &str) -> Result<Self, BadPersonality> {
        let mut words = text.split(',').peekable();
        let first = words.peek().copied().unwrap_or_default();
        let mut p = Personality::KVM;
        if !first.contains('=') {
            p = Personality::NAMED
                .into_iter()
                .find(|p| p.name == first)
                .ok_or_else(|| BadPersonality::Name(first.to_owned()))?;
            words.next();
        }
        let mut seen = Vec::new();
        for word in words {
            let (option, value) = word
                .split_once('=')
                .ok_or_else(|| BadPersonality::Option(word.to_owned()))?;
            if seen.contains(&option) {
                return Err(BadPersonality::Twice(option.to_owned()));
            }
            seen.push(option);
            set(&mut p, option, value)?;
        }
        if !seen.is_empty() {
            p.name = "custom";
        }
        check_default_window(&p)?;
        Ok(p)
    }
}

fn set(p: &mut Personality, option: &str, value: &str) -> Result<(), BadPersonality> {
    let bad = |option, wanted| BadPersonality::Value {
        option,
        value: value.to_owned(),
        wanted,
    };
    let number = |max: u64| number(value).filter(|n| *n <= max);
    match option {
        "windows" => {
            let n = number(MAX_WINDOWS.into()).filter(|n| *n > 0);
            p.windows = n.ok_or_else(|| bad("windows", "1 to 16"))? as u32;
        }
        "pages" => {
            let wanted = "sizes out of 4K, 64K, 2M, 16M, 32M, 64M, 128M, 256M and 16G, joined by +";
            p.page_sizes = pages(value).ok_or_else(|| bad("pages", wanted))?;
        }
        "block" => {
            let n = number(MAX_BLOCK).filter(|n| *n > 0);
            p.largest_block =
                n.ok_or_else(|| bad("block", "a count of TCEs from 1 to 2048T (2^51)"))?;
        }
        "migration" => {
            let n = number(u32::MAX.into());
            p.migration_mask = n.ok_or_else(|| bad("migration", "a mask of 32 bits"))? as u32;
        }
        "default-base" => {
            let n = number(DEFAULT_WINDOW_TOP);
            p.default_base = n.ok_or_else(|| bad("default-base", "an address below 2G"))?;
        }
        "default-size" => {
            let n = number(DEFAULT_WINDOW_TOP);
            p.default_size = n.ok_or_else(|| bad("default-size", "at most 2G"))?;
        }
        "extensions" => {
            let n = number(MAX_EXTENSIONS.into());
            let wanted = "0 to 3: none, the reset call, the six-output query, limited address mode";
            p.extensions = n.ok_or_else(|| bad("extensions", wanted))? as u32;
        }
        "eeh" => {
            p.eeh = match value {
                "on" => true,
                "off" => false,
                _ => return Err(bad("eeh", "on or off")),
            };
        }
        _ => return Err(BadPersonality::Option(option.to_owned())),
    }
    Ok(())
}

fn check_default_window(p: &Personality) -> Result<(), BadPersonality> {
    let (base, size) = (p.default_base, p.default_size);
    let inside = base
        .checked_add(size)
        .is_some_and(|end| end <= DEFAULT_WINDOW_TOP);
    if size.is_power_of_two() && size >= 0x1_0000 && base.is_multiple_of(size) && inside {
        Ok(())
    } else {
        Err(BadPersonality::DefaultWindow { base, size })
    }
}

fn pages(text: &str) -> Option<PageSizes> {
    let mut sizes = PageSizes::empty();
    for word in text.split('+') {
        let bytes = number(word).filter(|n| n.is_power_of_two())?;
        sizes |= PageSizes::of_shift(bytes.trailing_zeros())?;
    }
    Some(sizes)
}

/// A number, decimal or after 0x hexadecimal, or decimal with K, M, G or T.
fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

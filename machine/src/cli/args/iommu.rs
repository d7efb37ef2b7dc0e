//! `--iommu`: remapping units by a mode and options that change it.

use std::str::FromStr;

use viommu_devices::vtd::{CacheConfig, Config};

use crate::pc::map;

/// The remapping units of a PC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IommuArg {
    /// Their capabilities; all are alike.
    pub units: Vec<Config>,
    /// The DMAR table asks the guest not to use x2APIC mode.
    pub x2apic_opt_out: bool,
}

/// Options without a value: name, meaning, what it does.
type Switch = (&'static str, fn(&mut Config));

/// Every option without a value.
const SWITCHES: [Switch; 22] = [
    ("first-stage", only_first_stage),
    ("second-stage", only_second_stage),
    ("caching-mode", |c| c.caching_mode = true),
    ("write-buffers", |c| c.rwbf = true),
    ("adversarial", |c| c.caches = CacheConfig::ADVERSARIAL),
    ("no-caches", |c| c.caches = CacheConfig::OFF),
    ("no-intremap", no_interrupt_remapping),
    ("no-eim", |c| c.eim = false),
    ("no-posted", |c| c.posted_interrupts = false),
    ("no-qi", no_queue),
    ("no-pt", |c| c.pass_through = false),
    ("no-coherency", |c| {
        c.coherent = false;
        c.scalable_coherent = false;
        c.second_stage_ad = false;
        c.extended_accessed = false;
    }),
    ("no-snoop", |c| c.snoop_control = false),
    ("no-psi", |c| c.psi = false),
    ("no-esrtps", |c| {
        c.esrtps = false;
        c.esirtps = false;
    }),
    ("no-pmr", |c| c.protected_memory = false),
    ("no-nesting", |c| c.nested = false),
    ("no-dirty", |c| c.second_stage_ad = false),
    ("no-ats", |c| {
        c.device_tlb = false;
        no_page_requests(c);
    }),
    ("no-pri", no_page_requests),
    ("no-pasid", |c| {
        c.pasid_bits = 0;
        c.rid_pasid = false;
        no_page_requests(c);
    }),
    ("no-large-pages", |c| {
        c.second_stage_2m = false;
        c.second_stage_1g = false;
        c.first_stage_1g = false;
    }),
];

fn only_first_stage(c: &mut Config) {
    c.second_stage = false;
    c.nested = false;
    c.second_stage_ad = false;
}

fn only_second_stage(c: &mut Config) {
    c.first_stage = false;
    c.first_stage_5_level = false;
    c.first_stage_1g = false;
    c.nested = false;
    c.execute_requests = false;
    c.supervisor_requests = false;
    c.extended_accessed = false;
    c.rid_priv = false;
}

fn no_page_requests(c: &mut Config) {
    c.page_requests = false;
    c.page_request_drain = false;
}

fn no_interrupt_remapping(c: &mut Config) {
    c.interrupt_remapping = false;
    c.eim = false;
    c.posted_interrupts = false;
    c.esirtps = false;
}

/// What needs the queue goes with it.
fn no_queue(c: &mut Config) {
    c.queued_invalidation = false;
    no_interrupt_remapping(c);
    c.device_tlb = false;
    no_page_requests(c);
}

/// Guest address bits.
fn address_width(c: &mut Config, bits: u64) -> bool {
    let levels: &[u32] = match bits {
        39 => &[3],
        48 => &[3, 4],
        57 => &[3, 4, 5],
        _ => return false,
    };
    c.second_stage_levels = levels.to_vec();
    c.guest_address_width = bits as u32;
    c.first_stage_5_level &= bits == 57;
    true
}

impl FromStr for IommuArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',').peekable();
        let mut config = Config::full();
        match words.peek() {
            Some(&"off") if text == "off" => {
                return Ok(IommuArg {
                    units: Vec::new(),
                    x2apic_opt_out: false,
                });
            }
            Some(&"off") => return Err("off has no options".to_owned()),
            Some(&"scalable") => drop(words.next()),
            Some(&"legacy") => {
                words.next();
                config = Config::legacy();
            }
            _ => {}
        }
        let (mut units, mut x2apic_opt_out) = (1, false);
        for word in words {
            match word.split_once('=') {
                None if word == "x2apic-opt-out" => x2apic_opt_out = true,
                None if word.ends_with("-stage") && !config.scalable => {
                    return Err(format!("{word} needs scalable mode"));
                }
                None => {
                    let known = SWITCHES.iter().find(|(name, _)| *name == word);
                    let (_, change) = known.ok_or_else(|| unknown(word))?;
                    change(&mut config);
                }
                Some((name, value)) => {
                    let bad = || format!("{word}: the value must be {}", values(name));
                    let n: u64 = value.parse().map_err(|_| bad())?;
                    match name {
                        "aw" if address_width(&mut config, n) => {}
                        "units" if (1..=map::UNITS_MAX as u64).contains(&n) => units = n as usize,
                        "haw" if (32..=52).contains(&n) => config.host_address_width = n as u32,
                        "domain-bits" if (4..=16).contains(&n) => config.domain_bits = n as u32,
                        "fault-records" if (1..=128).contains(&n) => {
                            config.fault_records = n as usize;
                        }
                        "iotlb" if n <= CacheConfig::LARGEST as u64 => {
                            config.caches.iotlb = n as usize;
                        }
                        "aw" | "units" | "haw" | "domain-bits" | "fault-records" | "iotlb" => {
                            return Err(bad());
                        }
                        _ => return Err(unknown(name)),
                    }
                }
            }
        }
        if config.scalable && !config.first_stage && !config.second_stage {
            return Err("first-stage and second-stage exclude each other".to_owned());
        }
        config.capabilities().map_err(|e| e.to_string())?;
        Ok(IommuArg {
            units: vec![config; units],
            x2apic_opt_out,
        })
    }
}

/// What an option may be.
fn values(name: &str) -> &'static str {
    match name {
        "aw" => "39, 48 or 57",
        "units" => "1 to 8",
        "haw" => "32 to 52",
        "domain-bits" => "an even number from 4 to 16",
        "fault-records" => "1 to 128",
        "iotlb" => "0 or a power of two up to 65536",
        _ => "a number",
    }
}

fn unknown(word: &str) -> String {
    let names: Vec<_> = SWITCHES.iter().map(|(name, _)| *name).collect();
    format!(
        "unknown option '{word}' (use off, legacy or scalable, then {}, x2apic-opt-out, aw=, haw=, units=, domain-bits=, fault-records=, \
         iotlb=)",
        names.join(", ")
    )
}

//! Interrupt remapping of VT-d: tables, registers, posted interrupt descriptors and requests of any kind, against a small model that
//! works from entry to interrupt by the tables of VT-d 4.1 chapter 5 and §9.9 to §9.11.
//!
//! Each answer, each record and each byte of a descriptor is the model's. An entry that changed may be used as it was until the
//! invalidation that covers it.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use viommu_devices::dma::SourceId;
use viommu_devices::effects::Msi;
use viommu_devices::vtd::spec::registers::Register;
use viommu_devices::vtd::testing::{IRT, Lab, RAM};
use viommu_devices::vtd::{
    CacheConfig, Config, Delivery, Interrupt, InterruptRequest, Outcome, message_of_io_apic,
};

/// Steps of one run.
const STEPS: usize = 48;
/// Where posted interrupt descriptors are: behind the largest table.
const DESCRIPTORS: u64 = 0x20_0000;
/// This requester is not verified in one configuration.
const IO_APIC: u16 = 0xf0f8;

#[derive(Arbitrary, Debug)]
struct Input {
    /// EIM, posted interrupts, CM, exempt I/O APIC, and two bits of the cache.
    config: u8,
    start: Setup,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
struct Setup {
    size: u8,
    eime: bool,
    /// Somewhere without memory.
    nowhere: bool,
    enabled: bool,
    compatibility: bool,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Set(u8, Entry),
    /// Flips a bit of an entry.
    Flip(u8, u8),
    /// A descriptor's control quadword.
    Descriptor(u8, u64, bool),
    Request(u8, Message),
    IoApic(u8, u64),
    /// An invalidation: all, or 2^bits entries.
    Flush(Option<(u8, u8)>),
    Setup(Setup),
}

#[derive(Arbitrary, Debug)]
enum Entry {
    Remapped {
        /// DM, RH, TM and DLM.
        mode: u8,
        vector: u8,
        destination: u32,
        verify: Check,
    },
    Posted {
        descriptor: u8,
        urgent: bool,
        vector: u8,
        verify: Check,
    },
    Any(u64, u64),
}

#[derive(Arbitrary, Debug)]
struct Check {
    source: u16,
    /// SQ and SVT.
    how: u8,
}

#[derive(Arbitrary, Debug)]
enum Message {
    Handle(u8),
    Subhandle(u8, u8),
    Any(u32, u32),
    Compatibility(u32, u32),
}

fn source(n: u8) -> u16 {
    [0x10, 0x11, 0x16, 0x18, 0x110, 0x2ff, IO_APIC, 0][usize::from(n % 8)]
}

fn number(n: u8) -> u64 {
    u64::from(n % 24)
}

impl Check {
    fn word(&self) -> u64 {
        // Mostly a requester that exists, or the buses that they are on.
        let id = match self.source % 8 {
            n @ 0..4 => source(n as u8),
            4 => 0x0001,
            5 => 0x0102,
            _ => self.source,
        };
        u64::from(id) | u64::from(self.how & 0xf) << 16
    }
}

impl Entry {
    fn words(&self) -> [u64; 2] {
        match self {
            Entry::Remapped {
                mode,
                vector,
                destination,
                verify,
            } => {
                let low = 1
                    | u64::from(mode & 0x3f) << 2
                    | u64::from(*vector) << 16
                    | u64::from(*destination) << 32;
                [low, verify.word()]
            }
            Entry::Posted {
                descriptor,
                urgent,
                vector,
                verify,
            } => {
                let at = DESCRIPTORS + u64::from(descriptor % 4) * 64;
                let low = 1
                    | u64::from(*urgent) << 14
                    | 1 << 15
                    | u64::from(*vector) << 16
                    | at << 32 & !(0x3f << 32);
                [low, verify.word() | at >> 32 << 32]
            }
            Entry::Any(low, high) => [*low, *high],
        }
    }
}

/// What the model says of a request.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    Unchanged,
    Interrupt(Interrupt),
    /// With the notification.
    Posted(Option<Interrupt>),
    /// Code, index, recorded.
    Fault(u8, u16, bool),
}

/// One bit, or several, of a quadword.
fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

struct Model {
    config: Config,
    /// As SIRTP took it: where, entries, EIME.
    table: u64,
    entries: u64,
    eime: bool,
    enabled: bool,
    compatibility: bool,
    /// What the unit may still have of each entry, besides what is in memory.
    cached: Vec<Vec<[u64; 2]>>,
}

impl Model {
    fn id(&self, field: u64) -> u32 {
        if self.eime {
            field as u32
        } else {
            bits(field, 15, 8) as u32
        }
    }

    fn entry(&self, lab: &Lab, index: u64) -> Option<[u64; 2]> {
        let at = self.table + 16 * index;
        (at + 16 <= RAM).then(|| [lab.get(at), lab.get(at + 8)])
    }

    /// What may become of a request: one thing for each state of the entry that the unit may know.
    fn verdicts(&self, lab: &Lab, r: &InterruptRequest) -> Vec<(Verdict, Vec<(u64, u64)>)> {
        let fault = |code, index| vec![(Verdict::Fault(code, index, true), Vec::new())];
        if !self.enabled {
            return vec![(Verdict::Unchanged, Vec::new())];
        }
        let (address, data) = (u64::from(r.address), u64::from(r.data));
        if bits(address, 4, 4) == 0 {
            if self.compatibility && !self.eime {
                return vec![(Verdict::Unchanged, Vec::new())];
            }
            return fault(0x25, 0);
        }
        let mut index = bits(address, 19, 5) + 0x8000 * bits(address, 2, 2);
        if bits(address, 3, 3) == 1 {
            index += bits(data, 15, 0);
            if bits(data, 31, 16) != 0 {
                return fault(0x20, index as u16);
            }
        }
        if index >= self.entries {
            return fault(0x21, index as u16);
        }
        let mut known: Vec<Option<[u64; 2]>> = vec![self.entry(lab, index)];
        if let Some(old) = self.cached.get(index as usize) {
            known.extend(old.iter().copied().map(Some));
        }
        known
            .iter()
            .map(|entry| match entry {
                None => (Verdict::Fault(0x23, index as u16, true), Vec::new()),
                Some(words) => self.judge(lab, r.source.0, index as u16, *words),
            })
            .collect()
    }

    /// One entry, and what it changes in memory.
    fn judge(
        &self,
        lab: &Lab,
        source: u16,
        index: u16,
        [low, high]: [u64; 2],
    ) -> (Verdict, Vec<(u64, u64)>) {
        let seen = bits(low, 1, 1) == 0;
        let fault = |code| (Verdict::Fault(code, index, seen), Vec::new());
        if bits(low, 0, 0) == 0 {
            return fault(0x22);
        }
        let posted = bits(low, 15, 15) == 1;
        let c = &self.config;
        let bad = if posted {
            !c.posted_interrupts
                || bits(low, 7, 2) != 0
                || bits(low, 13, 12) != 0
                || bits(low, 37, 24) != 0
                || bits(high, 31, 20) != 0
        } else {
            let xapic = bits(low, 39, 32) != 0 || bits(low, 63, 48) != 0;
            bits(low, 14, 12) != 0
                || bits(low, 31, 24) != 0
                || bits(high, 63, 20) != 0
                || !self.eime && xapic
                || [3, 6].contains(&bits(low, 7, 5))
        };
        let svt = bits(high, 19, 18);
        if bad || svt == 3 {
            return fault(0x24);
        }
        let (sid, source64) = (bits(high, 15, 0), u64::from(source));
        let accepted = match svt {
            0 => true,
            1 => {
                let same = |high, low| bits(sid, high, low) == bits(source64, high, low);
                match bits(high, 17, 16) {
                    0 => sid == source64,
                    1 => same(15, 3) && same(1, 0),
                    2 => same(15, 3) && same(0, 0),
                    _ => same(15, 3),
                }
            }
            _ => (bits(sid, 15, 8)..=bits(sid, 7, 0)).contains(&bits(source64, 15, 8)),
        };
        if !accepted && c.unverified_requester != Some(SourceId(source)) {
            return fault(0x26);
        }
        if posted {
            return self.post(lab, index, [low, high]);
        }
        let interrupt = Interrupt {
            vector: bits(low, 23, 16) as u8,
            destination: self.id(bits(low, 63, 32)),
            logical: bits(low, 2, 2) == 1,
            redirection_hint: bits(low, 3, 3) == 1,
            delivery_mode: bits(low, 7, 5) as u8,
            level: bits(low, 4, 4) == 1,
        };
        (Verdict::Interrupt(interrupt), Vec::new())
    }

    fn post(&self, lab: &Lab, index: u16, [low, high]: [u64; 2]) -> (Verdict, Vec<(u64, u64)>) {
        let seen = bits(low, 1, 1) == 0;
        let fault = |code| (Verdict::Fault(code, index, seen), Vec::new());
        let at = bits(high, 63, 32) << 32 | bits(low, 63, 38) << 6;
        if at >= RAM {
            return fault(0x27);
        }
        let control = lab.get(at + 32);
        let xapic = bits(control, 39, 32) != 0 || bits(control, 63, 48) != 0;
        if bits(control, 15, 2) != 0 || bits(control, 31, 24) != 0 || !self.eime && xapic {
            return fault(0x28);
        }
        let vector = bits(low, 23, 16);
        let word = at + vector / 64 * 8;
        let mut writes = vec![(word, lab.get(word) | 1 << (vector % 64))];
        let urgent = bits(low, 14, 14) == 1;
        let due = bits(control, 0, 0) == 0 && (urgent || bits(control, 1, 1) == 0);
        if due {
            writes.push((at + 32, control | 1));
        }
        let notification = Interrupt {
            vector: bits(control, 23, 16) as u8,
            destination: self.id(bits(control, 63, 32)),
            logical: false,
            redirection_hint: false,
            delivery_mode: 0,
            level: false,
        };
        (Verdict::Posted(due.then_some(notification)), writes)
    }

    fn flush(&mut self, all: bool, from: u64, count: u64) {
        for (index, old) in self.cached.iter_mut().enumerate() {
            if all || (from..from + count).contains(&(index as u64)) {
                old.clear();
            }
        }
    }

    /// The table of the setup is taken.
    fn setup(&mut self, lab: &Lab, setup: &Setup) {
        let size = u64::from(setup.size % 16);
        self.table = if setup.nowhere { 1 << 40 } else { IRT };
        self.entries = 2 << size;
        self.eime = setup.eime && self.config.eim;
        let eime = u64::from(setup.eime) << 11;
        lab.set_register(Register::IRTA, self.table | eime | size);
        (self.enabled, self.compatibility) = (setup.enabled, setup.compatibility);
        let levels =
            1 << 26 | u64::from(setup.enabled) << 25 | u64::from(setup.compatibility) << 23;
        lab.set_register(Register::GCMD, levels | 1 << 24);
        lab.set_register(Register::GCMD, levels);
        // CAP.ESIRTPS: all is forgotten.
        self.flush(true, 0, 0);
    }
}

/// A request, its answer and what it leaves, held against the model.
fn ask(lab: &Lab, model: &Model, request: InterruptRequest) {
    let verdicts = model.verdicts(lab, &request);
    let message = Msi {
        address: request.address.into(),
        data: request.data,
    };
    let in_range = request.address >> 20 == 0xfee;
    let before: Vec<(u64, u64)> = (0..32)
        .map(|n| DESCRIPTORS + 8 * n)
        .map(|at| (at, lab.get(at)))
        .collect();
    let got = match lab.unit.remap_interrupt(&request) {
        Ok(Delivery::Unchanged) => Verdict::Unchanged,
        Ok(Delivery::Remapped(i)) => Verdict::Interrupt(i),
        Ok(Delivery::Posted(n)) => Verdict::Posted(n),
        Err(f) => {
            let index = verdicts.iter().find_map(|(v, _)| match v {
                Verdict::Fault(_, index, _) => Some(*index),
                _ => None,
            });
            Verdict::Fault(f.reason.code(), index.unwrap_or(0), f.is_recorded())
        }
    };
    // Entries that it may have used can give the same answer and write to different places.
    let as_written = |writes: &[(u64, u64)]| {
        before.iter().all(|(at, old)| {
            let new = writes.iter().rfind(|(a, _)| a == at);
            lab.get(*at) == new.map_or(*old, |w| w.1)
        })
    };
    let allowed = |(v, writes): &&(Verdict, Vec<(u64, u64)>)| *v == got && as_written(writes);
    let Some((verdict, _)) = verdicts.iter().find(allowed) else {
        panic!("{request:x?}: {got:x?}, but the model says {verdicts:x?}");
    };
    let records = lab.take_records();
    match verdict {
        Verdict::Fault(code, index, true) => {
            let [record] = records[..] else {
                panic!("{records:x?}");
            };
            assert_eq!(
                (record.code(), record.source(), record.0[0]),
                (*code, request.source.0, u64::from(*index) << 48)
            );
        }
        _ => assert!(records.is_empty(), "{records:x?}"),
    }
    // The message of a machine says the same; a second posting notifies only if it is urgent or was suppressed before.
    if in_range && !matches!(verdict, Verdict::Posted(_)) {
        let outcome = lab.unit.message(request.source, message);
        lab.take_records();
        let again = match verdict {
            Verdict::Unchanged => Ok(Interrupt::of_message(message).expect("in the range")),
            Verdict::Interrupt(i) => Ok(*i),
            Verdict::Fault(code, ..) => Err(*code),
            Verdict::Posted(_) => return,
        };
        match (again, outcome) {
            (Ok(i), Ok(Outcome::Deliver(d))) => assert_eq!(i, d),
            (Err(code), Err(f)) => assert_eq!(code, f.reason.code()),
            (a, o) => panic!("{a:x?} {o:x?}"),
        }
    }
}

fn config(n: u8) -> Config {
    let cache = [0, 4, 256, 256][usize::from(n >> 4 & 3)];
    Config {
        eim: n & 1 == 0,
        posted_interrupts: n & 2 == 0,
        caching_mode: n & 4 != 0,
        unverified_requester: (n & 8 != 0).then_some(SourceId(IO_APIC)),
        caches: CacheConfig {
            interrupt: cache,
            ..CacheConfig::OFF
        },
        ..Config::full()
    }
}

fuzz_target!(|input: Input| {
    let config = config(input.config);
    let lab = Lab::new(config.clone());
    lab.enable_queue();
    let mut model = Model {
        config,
        table: 0,
        entries: 0,
        eime: false,
        enabled: false,
        compatibility: false,
        cached: vec![Vec::new(); 24],
    };
    model.setup(&lab, &input.start);
    for step in input.steps.iter().take(STEPS) {
        let mut change = |n: u64, new: &dyn Fn([u64; 2]) -> [u64; 2]| {
            let at = IRT + 16 * n;
            let old = [lab.get(at), lab.get(at + 8)];
            let mut new = new(old);
            // A descriptor among the tables would change them behind the model's back.
            let descriptor = bits(new[1], 63, 32) << 32 | bits(new[0], 63, 38) << 6;
            if bits(new[0], 15, 15) == 1 && descriptor < DESCRIPTORS {
                new[0] |= DESCRIPTORS << 32;
            }
            model.cached[n as usize].push(old);
            lab.put(at, new[0]);
            lab.put(at + 8, new[1]);
        };
        match step {
            Step::Set(n, entry) => change(number(*n), &|_| entry.words()),
            Step::Flip(n, bit) => change(number(*n), &|mut words| {
                words[usize::from(bit >> 6 & 1)] ^= 1 << (bit & 63);
                words
            }),
            Step::Descriptor(n, control, clean) => {
                let at = DESCRIPTORS + u64::from(n % 4) * 64 + 32;
                let keep = if *clean {
                    0xffff_ffff_00ff_0003
                } else {
                    u64::MAX
                };
                lab.put(at, control & keep);
            }
            Step::Request(from, message) => {
                let handle = |n: u8| 0xfee0_0010 | (number(n) as u32) << 5;
                let (address, data) = match *message {
                    Message::Handle(n) => (handle(n), 0),
                    Message::Subhandle(n, sub) => (handle(n) | 8, u32::from(sub % 32)),
                    Message::Any(address, data) => (0xfee0_0000 | address & 0xf_ffff, data),
                    Message::Compatibility(address, data) => {
                        (0xfee0_0000 | address & 0xf_ffef, data)
                    }
                };
                let request = InterruptRequest {
                    source: SourceId(source(*from)),
                    address,
                    data,
                };
                ask(&lab, &model, request);
            }
            Step::IoApic(from, entry) => {
                // Of remappable format: the index is in bits 63:49 and 11, whatever the rest is.
                let msi = message_of_io_apic(*entry);
                if bits(*entry, 48, 48) == 1 {
                    let address =
                        0xfee0_0000 | bits(*entry, 63, 48) << 4 | bits(*entry, 11, 11) << 2;
                    assert_eq!(msi.address, address);
                }
                let request = InterruptRequest {
                    source: SourceId(source(*from)),
                    address: msi.address as u32,
                    data: msi.data,
                };
                ask(&lab, &model, request);
            }
            Step::Flush(None) => {
                lab.submit([4, 0]);
                assert!(lab.wait());
                model.flush(true, 0, 0);
            }
            Step::Flush(Some((n, bits))) => {
                let (index, bits) = (number(*n), u64::from(bits % 5));
                lab.submit([4 | 1 << 4 | bits << 27 | index << 32, 0]);
                assert!(lab.wait());
                let count = 1 << bits;
                model.flush(false, index / count * count, count);
            }
            Step::Setup(setup) => model.setup(&lab, setup),
        }
    }
});

//! The invalidation queue of VT-d: descriptors of every type, with any bits flipped, between changes of tables, requests, DMA in flight
//! and answers of device TLBs, against a model that knows what each descriptor covers.
//!
//! Held after every step: where the queue stands and why it stopped, each status that was written, each event, each device-TLB
//! invalidation and response; and a request sees a table as it is, or as it was since the last invalidation that covers it.
#![no_main]

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use viommu_devices::dma::{SourceId, Translator};
use viommu_devices::vtd::spec::page_request::ResponseCode;
use viommu_devices::vtd::spec::paging::first;
use viommu_devices::vtd::spec::pasid::PasidEntry;
use viommu_devices::vtd::spec::registers::Register;
use viommu_devices::vtd::testing::{Lab, QUEUE, STATUS};
use viommu_devices::vtd::{
    Actions, Blocked, CacheConfig, Config, DeviceTlbInvalidation, Operation, PageGroupResponse,
    Request,
};

/// Steps of one run. Fewer device-TLB invalidations than the unit lets be pending.
const STEPS: usize = 40;
/// Descriptors that may wait in the queue.
const BACKLOG: usize = 60;
const EVENT_DATA: u32 = 0x61;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Scalable mode, PSI, MAMV, device TLBs, PDS and three bits of the caches.
    config: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// A leaf gets another frame, or none.
    Map(u8, u8, Option<u8>),
    /// P of the context or PASID entry.
    Enter(u8, bool),
    Request(u8, u8, u16),
    Submit(Vec<Descriptor>),
    /// DMA begins or ends.
    InFlight(bool),
    /// The device answers the invalidation of this number.
    Answer(u8),
    /// It does not.
    TimeOut(u8),
    /// An answer that nobody waits for.
    Stray(u16),
    ClearCompletion,
}

#[derive(Arbitrary, Debug)]
struct Descriptor {
    kind: Kind,
    /// Bits to flip, mostly none.
    flips: Option<[u8; 2]>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Context(u8, u8),
    Iotlb(u8, u8, u8, u8),
    PasidIotlb(u8, u8, u8, u8),
    PasidCache(u8, u8),
    InterruptEntries(u8, u8, u16),
    DeviceTlb(u16, u64, bool),
    PasidDeviceTlb(u16, u8, u64, bool, bool),
    Wait(u8, u32, u8),
    Response(u16, u8, u16, bool),
    Any([u64; 4]),
}

/// A requester's way to pages.
struct Space {
    source: SourceId,
    pasid: Option<u32>,
    domain: u16,
    first_stage: bool,
    /// Addresses of leaf entries, and bits that go with a frame.
    leaves: Vec<u64>,
    flags: u64,
    /// Address of the entry with P.
    entry: u64,
    /// What each leaf may be taken for, the last as it is.
    frames: Vec<Vec<Option<u64>>>,
    present: Vec<bool>,
}

const PAGES: usize = 9;

/// Page number, and log2 of its size. The last is a large one.
fn page(n: u8) -> (usize, u64, u32) {
    match usize::from(n) % PAGES {
        8 => (8, 0x4000_0000, 21),
        n => (n, (n as u64 + 1) << 12, 12),
    }
}

fn frame(space: usize, page: usize, version: u8) -> u64 {
    let version = u64::from(version % 4);
    match page {
        8 => 0x200_0000 + (version << 21),
        _ => 0x100_0000 + (((space * 16 + page) as u64 * 4 + version) << 12),
    }
}

/// What a descriptor asks for.
#[derive(Clone, Debug)]
enum Meaning {
    Context {
        domain: Option<u64>,
        device: Option<(u64, u64)>,
    },
    Iotlb {
        domain: Option<u64>,
        pages: Option<(u64, u64)>,
    },
    PasidIotlb {
        domain: u64,
        pasid: u64,
        pages: Option<(u64, u64)>,
    },
    PasidCache {
        domain: Option<u64>,
        pasid: Option<u64>,
    },
    Interrupts,
    DeviceTlb {
        source: u64,
        pasid: Option<u64>,
        global: bool,
        address: u64,
        bits: u32,
    },
    Wait {
        event: bool,
        status: Option<(u64, u32)>,
        fence: bool,
    },
    Response(PageGroupResponse),
}

/// A quadword whose fields are taken out; what is left is reserved.
struct Word(u64);

impl Word {
    fn take(&mut self, high: u32, low: u32) -> u64 {
        let mask = u64::MAX >> (63 - (high - low));
        let value = self.0 >> low & mask;
        self.0 &= !(mask << low);
        value
    }

    fn flag(&mut self, bit: u32) -> bool {
        self.take(bit, bit) == 1
    }
}

/// Number of bytes from an address of ATS: with S, as far as the lowest clear bit from 12 on.
fn sized(address: u64, s: bool) -> (u64, u32) {
    let mut bits = 12;
    if s {
        while bits < 64 && address >> bits & 1 == 1 {
            bits += 1;
        }
        bits += 1;
    }
    if bits >= 64 {
        (0, 64)
    } else {
        (address >> bits << bits, bits)
    }
}

/// The meaning of a descriptor, or IQEI. VT-d 4.1 §6.5.2.
fn judge(words: [u64; 4], scalable: bool, c: &Config) -> Result<Meaning, u64> {
    const TYPE: u64 = 3;
    const RESERVED: u64 = 4;
    let (mut low, mut high) = (Word(words[0]), Word(words[1]));
    let kind = low.take(3, 0) + low.take(11, 9) * 16;
    let mut bad = words[2] != 0 || words[3] != 0;
    let meaning = match kind {
        1 => {
            let (g, domain) = (low.take(5, 4), low.take(31, 16));
            let device = (low.take(47, 32), low.take(49, 48));
            bad |= g == 0;
            Meaning::Context {
                domain: (g == 2).then_some(domain),
                device: (g == 3).then_some(device),
            }
        }
        2 => {
            let (g, _, domain) = (low.take(5, 4), low.take(7, 6), low.take(31, 16));
            let (am, _, address) = (high.take(5, 0), high.flag(6), high.take(63, 12) << 12);
            bad |= g == 0 || g == 3 && (!c.psi || am > c.mamv.into());
            Meaning::Iotlb {
                domain: (g >= 2).then_some(domain),
                pages: (g == 3).then_some((address, am + 12)),
            }
        }
        3 if c.device_tlb => {
            let (_, source) = (low.take(20, 16), low.take(47, 32));
            let s = high.flag(0);
            let (address, bits) = sized(high.take(63, 12) << 12, s);
            Meaning::DeviceTlb {
                source,
                pasid: None,
                global: false,
                address,
                bits,
            }
        }
        4 if c.interrupt_remapping => {
            let (g, im, _) = (low.flag(4), low.take(31, 27), low.take(47, 32));
            bad |= g && im > c.mhmv.into();
            Meaning::Interrupts
        }
        5 => {
            let (event, write, fence, drain) = (low.flag(4), low.flag(5), low.flag(6), low.flag(7));
            let (data, address) = (low.take(63, 32) as u32, high.take(63, 2) << 2);
            let address = address & ((1 << c.host_address_width) - 1);
            bad |= drain && !c.page_request_drain;
            Meaning::Wait {
                event,
                status: write.then_some((address, data)),
                fence,
            }
        }
        6 if scalable => {
            let (g, domain, pasid) = (low.take(5, 4), low.take(31, 16), low.take(51, 32));
            let (am, _, address) = (high.take(5, 0), high.flag(6), high.take(63, 12) << 12);
            bad |= g < 2;
            Meaning::PasidIotlb {
                domain,
                pasid,
                pages: (g == 3).then_some((address, am + 12)),
            }
        }
        7 if scalable => {
            let (g, domain, pasid) = (low.take(5, 4), low.take(31, 16), low.take(51, 32));
            bad |= g == 2;
            Meaning::PasidCache {
                domain: (g != 3).then_some(domain),
                pasid: (g == 1).then_some(pasid),
            }
        }
        8 if scalable && c.device_tlb => {
            let (_, source, pasid) = (low.take(8, 4), low.take(31, 16), low.take(51, 32));
            let (global, s) = (high.flag(0), high.flag(11));
            let (address, bits) = sized(high.take(63, 12) << 12, s);
            Meaning::DeviceTlb {
                source,
                pasid: Some(pasid),
                global,
                address,
                bits,
            }
        }
        9 if scalable && c.page_requests => {
            let (has_pasid, code) = (low.flag(4), low.take(15, 12));
            let (source, pasid) = (low.take(31, 16) as u16, low.take(51, 32) as u32);
            let (_, group) = (high.flag(2), high.take(11, 3) as u16);
            let code = match code {
                0 => ResponseCode::Success,
                1 => ResponseCode::InvalidRequest,
                15 => ResponseCode::Failure,
                _ => return Err(RESERVED),
            };
            let pasid = has_pasid.then_some(pasid);
            Meaning::Response(PageGroupResponse {
                source,
                pasid,
                group,
                code,
            })
        }
        _ => return Err(TYPE),
    };
    if bad || low.0 != 0 || high.0 != 0 {
        return Err(RESERVED);
    }
    Ok(meaning)
}

impl Descriptor {
    fn words(&self, wide: bool) -> [u64; 4] {
        // Domains and sources that exist, and some that do not.
        let domain = |n: u8| u64::from(n % 6) << 16;
        let source = |n: u8| [0x10u64, 0x20, 0x11, 0x30][usize::from(n % 4)];
        let pasid = |n: u8| [0u64, 5, 70, 71][usize::from(n % 4)] << 32;
        let range = |p: u8, mask: u8| page(p).1 | u64::from(mask % 24) | u64::from(mask >> 7) << 6;
        let [low, high] = match self.kind {
            Kind::Context(g, n) => {
                let device = source(n) << 32 | u64::from(n >> 6) << 48;
                [1 | u64::from(g % 4) << 4 | domain(n >> 2) | device, 0]
            }
            Kind::Iotlb(g, d, p, mask) => [2 | u64::from(g & 15) << 4 | domain(d), range(p, mask)],
            Kind::PasidIotlb(g, n, p, mask) => {
                let words = 6 | u64::from(g % 4) << 4 | domain(n >> 2) | pasid(n);
                [words, range(p, mask)]
            }
            Kind::PasidCache(g, n) => [7 | u64::from(g % 4) << 4 | domain(n >> 2) | pasid(n), 0],
            Kind::InterruptEntries(g, im, index) => [
                4 | u64::from(g % 2) << 4 | u64::from(im % 32) << 27 | u64::from(index) << 32,
                0,
            ],
            Kind::DeviceTlb(source, address, s) => {
                [3 | u64::from(source) << 32, address & !0xfff | u64::from(s)]
            }
            Kind::PasidDeviceTlb(source, p, address, s, global) => {
                let low = 8 | u64::from(source) << 16 | pasid(p);
                [
                    low,
                    address & !0xfff | u64::from(s) << 11 | u64::from(global),
                ]
            }
            Kind::Wait(flags, data, at) => {
                let low = 5 | u64::from(flags & 15) << 4 | u64::from(data) << 32;
                [low, STATUS + 4 * u64::from(at % 64)]
            }
            Kind::Response(source, code, group, has_pasid) => {
                let code = [0u64, 1, 15, 2][usize::from(code % 4)];
                let low = 9 | u64::from(has_pasid) << 4 | code << 12 | u64::from(source) << 16;
                [low | 5 << 32, u64::from(group & 0x1ff) << 3]
            }
            Kind::Any([low, high, ..]) => [low, high],
        };
        let mut words = [low, high, 0, 0];
        if let Kind::Any([_, _, third, fourth]) = self.kind
            && wide
        {
            words = [low, high, third, fourth];
        }
        for flip in self.flips.iter().flatten() {
            let word = usize::from(flip >> 6) % if wide { 4 } else { 2 };
            words[word] ^= 1 << (flip & 63);
        }
        // Where a wait writes is no table.
        if words[0] & 0xe0f == 5 && words[1] >> 12 != STATUS >> 12 {
            words[1] = words[1] & 0xfff | STATUS;
        }
        words
    }
}

struct Rig {
    lab: Lab,
    config: Config,
    wide: bool,
    /// The table mode.
    scalable: bool,
    spaces: Vec<Space>,
    /// Descriptors that were not carried out, from the head on, and the tail.
    backlog: VecDeque<[u64; 4]>,
    tail: u64,
    /// Device-TLB invalidations under way: tag and source.
    pending: Vec<(u64, u16)>,
    tags: u64,
    /// Waits behind them: the tag that the first later one has.
    waits: VecDeque<(u64, Meaning)>,
    fenced: bool,
    /// The queue waits at a wait descriptor for DMA.
    draining: bool,
    in_flight: Option<usize>,
    completed: bool,
    /// What the steps so far must have left.
    expected: Actions,
    got: Actions,
    statuses: Vec<u32>,
}

fn config(n: u8) -> Config {
    let base = if n & 1 == 0 {
        Config::full()
    } else {
        Config::legacy()
    };
    let careful = CacheConfig {
        torn_fetch: false,
        ..CacheConfig::ADVERSARIAL
    };
    Config {
        psi: n & 2 == 0,
        mamv: if n & 4 == 0 { 18 } else { 2 },
        device_tlb: n & 8 == 0 || n & 1 == 0,
        page_request_drain: n & 9 == 0,
        caches: match n >> 4 & 3 {
            0 => CacheConfig::default(),
            1 => careful,
            2 => CacheConfig {
                iotlb: 8,
                ..careful
            },
            _ => CacheConfig {
                paging_structure: 64,
                iotlb: 0,
                ..careful
            },
        },
        ..base
    }
}

impl Rig {
    fn new(n: u8) -> Self {
        let config = config(n);
        let lab = Lab::new(config.clone());
        let scalable = config.scalable && n & 64 == 0;
        let mut spaces = Vec::new();
        let (one, two) = (SourceId(0x10), SourceId(0x20));
        let mut add = |source: SourceId, pasid, domain, first_stage, root, entry| {
            let flags = if first_stage {
                first::P | first::RW | first::US | first::A | first::D
            } else {
                3
            };
            let leaves = (0..PAGES as u8).map(|n| {
                let (_, from, bits) = page(n);
                let level = if bits == 21 { 2 } else { 1 };
                if first_stage {
                    lab.map_first(root, 4, from, 0, level, 0)
                } else {
                    lab.map_second(root, 4, from, 0, level, 0)
                }
            });
            let leaves: Vec<u64> = leaves.collect();
            leaves.iter().for_each(|at| lab.put(*at, 0));
            spaces.push(Space {
                source,
                pasid,
                domain,
                first_stage,
                leaves,
                flags,
                entry,
                frames: vec![vec![None]; PAGES],
                present: vec![true],
            });
        };
        let (a, b) = (lab.page(), lab.page());
        if scalable {
            let identity = lab.identity_second(4, 3);
            let (c, d) = (lab.page(), lab.page());
            lab.set_scalable_context(one, 8, 0);
            lab.set_scalable_context(two, 8, 0);
            let entries = [
                (
                    one,
                    0u32,
                    1u64,
                    [a | 2 << 2 | 2 << 6, PasidEntry::PWSNP, 0],
                    a,
                    None,
                    false,
                ),
                (
                    two,
                    0,
                    2,
                    [b | 2 << 2 | 2 << 6, PasidEntry::PWSNP, 0],
                    b,
                    None,
                    false,
                ),
                (one, 5, 3, [1 << 6, PasidEntry::PWSNP, c], c, Some(5), true),
                (
                    two,
                    70,
                    4,
                    [identity | 2 << 2 | 3 << 6, PasidEntry::PWSNP, d],
                    d,
                    Some(70),
                    true,
                ),
            ];
            for (source, number, domain, words, root, pasid, first_stage) in entries {
                lab.set_pasid(source, number, [words[0], words[1] | domain, words[2]]);
                let entry = lab.pasid_entry(source, number);
                add(source, pasid, domain as u16, first_stage, root, entry);
            }
        } else {
            for (source, domain, root) in [(one, 1, a), (two, 2, b)] {
                lab.set_context(source, 0, 2, domain, root);
                add(source, None, domain, false, root, lab.context(source));
            }
        }
        lab.set_register(Register::IEDATA, EVENT_DATA.into());
        lab.set_register(Register::IECTL, 0);
        lab.enable(u64::from(scalable));
        Rig {
            wide: config.scalable,
            scalable,
            lab,
            config,
            spaces,
            backlog: VecDeque::new(),
            tail: 0,
            pending: Vec::new(),
            tags: 0,
            waits: VecDeque::new(),
            fenced: false,
            draining: false,
            in_flight: None,
            completed: false,
            expected: Actions::default(),
            got: Actions::default(),
            statuses: vec![0; 64],
        }
    }

    fn size(&self) -> u64 {
        if self.wide { 32 } else { 16 }
    }

    fn submit(&mut self, list: &[Descriptor]) {
        for descriptor in list.iter().take(6) {
            if self.backlog.len() >= BACKLOG || self.tags >= 60 {
                break;
            }
            let words = descriptor.words(self.wide);
            self.put(self.tail, words);
            self.backlog.push_back(words);
            self.tail = (self.tail + self.size()) % 4096;
        }
        let actions = self.lab.set_register(Register::IQT, self.tail);
        self.take(actions);
        self.go_on();
    }

    fn put(&self, offset: u64, words: [u64; 4]) {
        for (n, word) in words.iter().take(self.size() as usize / 8).enumerate() {
            self.lab.put(QUEUE + offset + 8 * n as u64, *word);
        }
    }

    fn take(&mut self, actions: Actions) {
        self.got.messages.extend(actions.messages);
        self.got.device_tlb.extend(actions.device_tlb);
        self.got.responses.extend(actions.responses);
    }

    fn head(&self) -> u64 {
        (self.tail + 4096 - self.backlog.len() as u64 * self.size()) % 4096
    }

    /// Carries out what the unit has carried out; where it stops for an error, the driver mends the descriptor.
    fn go_on(&mut self) {
        while let Some(error) = self.carry_out() {
            assert_eq!(self.lab.register(Register::FSTS) & 0x10, 0x10);
            assert_eq!(self.lab.register(Register::IQERCD) & 0xf, error);
            assert_eq!(self.lab.register(Register::IQH), self.head());
            // A wait without flags.
            let nothing = [5, 0, 0, 0];
            self.put(self.head(), nothing);
            self.backlog[0] = nothing;
            let actions = self.lab.set_register(Register::FSTS, 0x10);
            self.take(actions);
        }
        assert_eq!(self.lab.register(Register::FSTS) & 0x10, 0);
        assert_eq!(self.lab.register(Register::IQH), self.head());
    }

    /// To the end of the backlog, or to where the queue waits; the error that it stops with.
    fn carry_out(&mut self) -> Option<u64> {
        while let Some(words) = self.backlog.front().copied() {
            if self.fenced {
                break;
            }
            let meaning = match judge(words, self.scalable, &self.config) {
                Ok(meaning) => meaning,
                Err(error) => return Some(error),
            };
            if matches!(meaning, Meaning::Wait { .. }) && self.in_flight.is_some() {
                self.draining = true;
                break;
            }
            self.draining = false;
            self.backlog.pop_front();
            self.apply(meaning);
        }
        None
    }

    fn apply(&mut self, meaning: Meaning) {
        let within = |n: usize, pages: &Option<(u64, u64)>| {
            let (_, from, size) = page(n as u8);
            pages.is_none_or(|(at, bits)| {
                let bits = (bits as u32).max(size);
                from >> bits == at >> bits
            })
        };
        match meaning {
            Meaning::Context { domain, device } => {
                for s in self.spaces.iter_mut().filter(|s| s.pasid.is_none()) {
                    let ignored = |fm: u64| [0, 4, 6, 7][fm as usize];
                    let same = |(id, fm)| (id ^ u64::from(s.source.0)) & !ignored(fm) == 0;
                    // In scalable mode the P that changes is the PASID entry's.
                    if !self.config.scalable || self.lab.register(Register::RTADDR) >> 10 & 3 == 0 {
                        let its_domain = domain.is_none_or(|d| d == u64::from(s.domain));
                        if its_domain && device.is_none_or(same) {
                            s.present = s.present.split_off(s.present.len() - 1);
                        }
                    }
                }
            }
            Meaning::Iotlb { domain, pages } => {
                for s in &mut self.spaces {
                    if domain.is_some_and(|d| d != u64::from(s.domain))
                        || pages.is_some() && s.first_stage
                    {
                        continue;
                    }
                    for (n, known) in s.frames.iter_mut().enumerate() {
                        if within(n, &pages) {
                            *known = known.split_off(known.len() - 1);
                        }
                    }
                }
            }
            Meaning::PasidIotlb {
                domain,
                pasid,
                pages,
            } => {
                for s in self.spaces.iter_mut().filter(|s| s.first_stage) {
                    if domain != u64::from(s.domain) || s.pasid.map(u64::from) != Some(pasid) {
                        continue;
                    }
                    for (n, known) in s.frames.iter_mut().enumerate() {
                        if within(n, &pages) {
                            *known = known.split_off(known.len() - 1);
                        }
                    }
                }
            }
            Meaning::PasidCache { domain, pasid } => {
                for s in &mut self.spaces {
                    let its = u64::from(s.pasid.unwrap_or(0));
                    if domain.is_none_or(|d| d == u64::from(s.domain))
                        && pasid.is_none_or(|p| p == its)
                    {
                        s.present = s.present.split_off(s.present.len() - 1);
                    }
                }
            }
            Meaning::Interrupts => {}
            Meaning::DeviceTlb {
                source,
                pasid,
                global,
                address,
                bits,
            } => {
                let invalidation = DeviceTlbInvalidation {
                    tag: self.tags,
                    source: source as u16,
                    pasid: pasid.map(|p| p as u32),
                    global,
                    address,
                    bits,
                };
                self.expected.device_tlb.push(invalidation);
                self.pending.push((self.tags, source as u16));
                self.tags += 1;
            }
            Meaning::Response(response) => self.expected.responses.push(response),
            Meaning::Wait { fence, .. } if !self.pending.is_empty() => {
                self.fenced |= fence;
                self.waits.push_back((self.tags, meaning));
            }
            Meaning::Wait { .. } => self.complete(&meaning),
        }
    }

    fn complete(&mut self, meaning: &Meaning) {
        let Meaning::Wait { event, status, .. } = meaning else {
            return;
        };
        if let Some((at, data)) = status
            && let Some(s) = self.statuses.get_mut((at - STATUS) as usize / 4)
        {
            *s = *data;
        }
        if *event && !self.completed {
            self.completed = true;
            self.expected.messages.push(viommu_devices::effects::Msi {
                address: 0,
                data: EVENT_DATA,
            });
        }
    }

    fn answer(&mut self, n: u8) {
        if self.pending.is_empty() {
            return;
        }
        let (tag, source) = self.pending.remove(usize::from(n) % self.pending.len());
        let actions = self.lab.unit.device_tlb_done(tag, source);
        self.take(actions);
        let oldest = self.pending.iter().map(|p| p.0).min().unwrap_or(u64::MAX);
        while self.waits.front().is_some_and(|w| w.0 <= oldest) {
            let (_, wait) = self.waits.pop_front().expect("it is there");
            self.complete(&wait);
        }
        self.fenced &= !self.waits.is_empty();
        self.go_on();
    }

    fn time_out(&mut self, n: u8) {
        if self.pending.is_empty() {
            return;
        }
        let (tag, source) = self.pending.remove(usize::from(n) % self.pending.len());
        let actions = self.lab.unit.device_tlb_timed_out(tag);
        self.take(actions);
        self.waits.clear();
        self.fenced = false;
        assert_eq!(self.lab.register(Register::FSTS) & 0x40, 0x40);
        assert_eq!(
            self.lab.register(Register::IQERCD) >> 32 & 0xffff,
            u64::from(source)
        );
        assert_eq!(self.lab.register(Register::IQH), self.head(), "stopped");
        let actions = self.lab.set_register(Register::FSTS, 0x40);
        self.take(actions);
        self.go_on();
    }

    fn request(&self, n: u8, p: u8, offset: u16) {
        let s = &self.spaces[usize::from(n) % self.spaces.len()];
        let (number, from, bits) = page(p);
        let offset = u64::from(offset) << 5 & ((1 << bits) - 1);
        let request = Request {
            pasid: s.pasid.map(viommu_devices::dma::Pasid),
            ..Request::untranslated(s.source, from | offset, Operation::Read)
        };
        match self.lab.unit.translate(&request) {
            Ok(t) => {
                assert!(s.present.contains(&true));
                let frame = Some(t.address - offset);
                assert!(
                    s.frames[number].contains(&frame),
                    "{request:x?}: {t:x?}, but only {:x?}",
                    s.frames[number]
                );
            }
            Err(Blocked::Fault(f)) => match f.reason.code() {
                0x2 | 0x59 => assert!(s.present.contains(&false)),
                _ => assert!(
                    s.frames[number].contains(&None),
                    "{request:x?}: {f:x?}, but {:x?}",
                    s.frames[number]
                ),
            },
            Err(Blocked::Protected) => panic!("nothing is protected"),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Map(n, p, version) => {
                let index = usize::from(*n) % self.spaces.len();
                let s = &mut self.spaces[index];
                let (number, ..) = page(*p);
                let frame = version.map(|v| frame(index, number, v));
                let large = if number == 8 { 1 << 7 } else { 0 };
                let entry = frame.map_or(0, |f| f | s.flags | large);
                self.lab.put(s.leaves[number], entry);
                s.frames[number].push(frame);
            }
            Step::Enter(n, present) => {
                let index = usize::from(*n) % self.spaces.len();
                let s = &mut self.spaces[index];
                let old = self.lab.get(s.entry);
                self.lab.put(s.entry, old & !1 | u64::from(*present));
                s.present.push(*present);
            }
            Step::Request(n, p, offset) => self.request(*n, *p, *offset),
            Step::Submit(list) => self.submit(list),
            Step::InFlight(true) => {
                if self.in_flight.is_none() {
                    self.in_flight = Some(Translator::enter(&self.lab.unit));
                }
            }
            Step::InFlight(false) => {
                if let Some(token) = self.in_flight.take() {
                    Translator::leave(&self.lab.unit, token);
                    let actions = self.lab.unit.run();
                    assert!(!actions.run_again);
                    self.take(actions);
                    self.go_on();
                }
            }
            Step::Answer(n) => self.answer(*n),
            Step::TimeOut(n) => self.time_out(*n),
            Step::Stray(source) => {
                let actions = self.lab.unit.device_tlb_done(u64::MAX, *source);
                self.take(actions);
                assert_eq!(self.lab.register(Register::FSTS) & 0x20, 0x20);
                assert_eq!(
                    self.lab.register(Register::IQERCD) >> 48,
                    u64::from(*source)
                );
                let actions = self.lab.set_register(Register::FSTS, 0x20);
                self.take(actions);
            }
            Step::ClearCompletion => {
                self.lab.set_register(Register::ICS, 1);
                self.completed = false;
            }
        }
    }

    fn check(&mut self) {
        assert_eq!(self.got, self.expected);
        (self.got, self.expected) = (Actions::default(), Actions::default());
        assert_eq!(self.lab.register(Register::ICS), u64::from(self.completed));
        assert_eq!(self.lab.register(Register::IQH), self.head());
        for (n, pair) in self.statuses.chunks(2).enumerate() {
            let value = u64::from(pair[0]) | u64::from(pair[1]) << 32;
            assert_eq!(self.lab.get(STATUS + 8 * n as u64), value);
        }
        let run_again = self.lab.unit.take_actions().run_again;
        assert_eq!(run_again, self.draining);
    }
}

fuzz_target!(|input: Input| {
    let mut rig = Rig::new(input.config);
    for step in input.steps.iter().take(STEPS) {
        rig.step(step);
        rig.check();
    }
    if let Some(token) = rig.in_flight.take() {
        Translator::leave(&rig.lab.unit, token);
    }
});

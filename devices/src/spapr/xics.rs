//! XICS: interrupt presentation per server, interrupt sources, their hypercalls and RTAS calls. LoPAR §7, §14.5.
//!
//! A source waits in `queue` from the moment it wants attention until it is presented. `Xics::evaluate` is the one place where a
//! server's pending interrupt is chosen: the most favoured of the waiting sources and the interprocessor interrupt, if it is more
//! favoured than the processor's priority and than what is presented already. What it displaces goes back to waiting.

use std::collections::{BTreeMap, BTreeSet};

use super::hcall::{
    H_CPPR, H_EOI, H_HARDWARE, H_IPI, H_IPOLL, H_PARAMETER, H_SUCCESS, H_XIRR, H_XIRR_X, Reply,
};
use super::rtas::{RTAS_PARAMETER, RTAS_SUCCESS, RtasCall, RtasReply};

#[cfg(test)]
mod tests;

/// Source number of the interprocessor interrupt.
pub const IPI: u32 = 2;
/// The least favoured priority: masked, or no request.
pub const MASKED: u8 = 0xff;
/// Most sources of one controller.
pub const MAX_SOURCES: usize = 1 << 16;
/// Most servers of one controller.
pub const MAX_SERVERS: u32 = 1024;

/// How a source signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Each raise is one interrupt (MSI).
    Edge,
    /// Interrupts as long as the line is asserted (LSI).
    Level,
}

/// Counts of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounters {
    /// Raised by its device (level: rising edges).
    pub raised: u64,
    /// Presented to a server.
    pub presented: u64,
    /// Displaced or rejected while presented.
    pub rejected: u64,
    /// Accepted by a processor.
    pub accepted: u64,
    /// Ended by a processor.
    pub ended: u64,
}

/// What is known of a source, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// Edge or level.
    pub trigger: Trigger,
    /// Server it goes to.
    pub server: u32,
    /// Priority in force, [`MASKED`] if masked.
    pub priority: u8,
    /// Counts.
    pub counters: SourceCounters,
}

#[derive(Clone, Debug)]
struct Source {
    trigger: Trigger,
    server: u32,
    priority: u8,
    saved_priority: u8,
    /// Edge: an interrupt waits. Level: the line is asserted.
    wants: bool,
    /// Level: presented or accepted, and not ended yet.
    sent: bool,
    /// Key in the queue.
    queued: Option<(u32, u8)>,
    counters: SourceCounters,
}

/// Presentation state of one server (one processor thread).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Processor priority: only more favoured (lower) interrupts are presented.
    pub cppr: u8,
    /// Priority of the interprocessor interrupt, [`MASKED`] if none is asked for.
    pub mfrr: u8,
    /// Source presented, 0 if none.
    pub xisr: u32,
    /// Priority of the source presented, [`MASKED`] if none.
    pub pending_priority: u8,
}

const IDLE: Server = Server {
    cppr: 0,
    mfrr: MASKED,
    xisr: 0,
    pending_priority: MASKED,
};

impl Server {
    fn xirr(&self) -> u32 {
        u32::from(self.cppr) << 24 | self.xisr
    }
}

/// The interrupt controller of a partition.
#[derive(Clone, Debug)]
pub struct Xics {
    servers: Vec<Server>,
    sources: BTreeMap<u32, Source>,
    queue: BTreeSet<(u32, u8, u32)>,
}

impl Xics {
    /// A controller with servers 0 to `servers` - 1 (at most [`MAX_SERVERS`]) and no sources.
    pub fn new(servers: u32) -> Self {
        let servers = servers.min(MAX_SERVERS) as usize;
        Xics {
            servers: vec![IDLE; servers],
            sources: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }

    /// Adds sources `first` to `first + count - 1`, masked. Numbers below 16 or above 24 bits, and sources beyond [`MAX_SOURCES`],
    /// are left out; existing ones are kept.
    pub fn add_sources(&mut self, first: u32, count: u32, trigger: Trigger) {
        for number in first..first.saturating_add(count) {
            if self.sources.len() >= MAX_SOURCES {
                return;
            }
            if (16..1 << 24).contains(&number) {
                self.sources
                    .entry(number)
                    .or_insert_with(|| Source::new(trigger));
            }
        }
    }

    /// State of a server.
    pub fn server(&self, server: u32) -> Option<Server> {
        self.servers.get(server as usize).copied()
    }

    /// State and counts of a source.
    pub fn source(&self, source: u32) -> Option<SourceInfo> {
        self.sources.get(&source).map(Source::info)
    }

    /// All sources in order of their numbers.
    pub fn sources(&self) -> impl Iterator<Item = (u32, SourceInfo)> + '_ {
        self.sources.iter().map(|(&n, s)| (n, s.info()))
    }

    /// True if the external interrupt of `server` is asserted.
    pub fn external_asserted(&self, server: u32) -> bool {
        self.servers
            .get(server as usize)
            .is_some_and(|s| s.xisr != 0)
    }

    /// One edge on an edge source. Returns false if there is no such source.
    pub fn raise_edge(&mut self, source: u32) -> bool {
        match self.sources.get_mut(&source) {
            Some(s) if s.trigger == Trigger::Edge => {
                s.counters.raised += 1;
                s.wants = true;
                self.requeue(source);
                true
            }
            _ => false,
        }
    }

    /// Level of a level source (true: asserted). Returns false if there is no such source.
    pub fn set_level(&mut self, source: u32, asserted: bool) -> bool {
        match self.sources.get_mut(&source) {
            Some(s) if s.trigger == Trigger::Level => {
                s.counters.raised += u64::from(asserted && !s.wants);
                s.wants = asserted;
                self.requeue(source);
                true
            }
            _ => false,
        }
    }

    /// Power-on state; sources stay, masked. Lines that are asserted stay asserted.
    pub fn reset(&mut self) {
        self.servers.fill(IDLE);
        self.queue.clear();
        for s in self.sources.values_mut() {
            let (asserted, counters) = (s.wants && s.trigger == Trigger::Level, s.counters);
            *s = Source {
                wants: asserted,
                counters,
                ..Source::new(s.trigger)
            };
        }
    }

    /// H_CPPR (priority), H_IPI (server, priority), H_IPOLL (server) -> XIRR, MFRR; H_XIRR () -> XIRR; H_XIRR_X (priority) -> XIRR, and
    /// a second value for the time base that the caller fills in; H_EOI (XIRR). `None` if `nr` is another hypercall.
    pub fn hcall(&mut self, nr: u64, caller: u32, args: &[u64]) -> Option<Reply> {
        let arg = |i: usize| args.get(i).copied().unwrap_or(0);
        if !matches!(nr, H_CPPR | H_IPI | H_IPOLL | H_XIRR | H_XIRR_X | H_EOI) {
            return None;
        }
        if caller as usize >= self.servers.len() {
            return Some(H_HARDWARE.into());
        }
        Some(match nr {
            H_CPPR => {
                self.set_cppr(caller, arg(0) as u8);
                H_SUCCESS.into()
            }
            H_IPI => match self.find_server(arg(0)) {
                Some(server) => {
                    self.set_mfrr(server, arg(1) as u8);
                    H_SUCCESS.into()
                }
                None => H_PARAMETER.into(),
            },
            H_IPOLL => match self.find_server(arg(0)).and_then(|s| self.server(s)) {
                Some(s) => Reply::with(&[s.xirr().into(), s.mfrr.into()]),
                None => H_PARAMETER.into(),
            },
            H_XIRR => Reply::with(&[self.accept(caller).into()]),
            H_XIRR_X => Reply::with(&[self.accept(caller).into(), 0]),
            _ => {
                if self.end(caller, arg(0) as u32) {
                    H_SUCCESS.into()
                } else {
                    H_PARAMETER.into()
                }
            }
        })
    }

    /// `ibm,set-xive` (source, server, priority), `ibm,get-xive` (source) -> server, priority; `ibm,int-off`, `ibm,int-on` (source).
    /// `None` if `call` is another.
    pub fn rtas(&mut self, call: RtasCall, args: &[u32]) -> Option<RtasReply> {
        let bad = Some(RTAS_PARAMETER.into());
        let (source, rest) = match (call, args) {
            (RtasCall::IbmSetXive, &[source, server, priority]) => {
                (source, Some((server, priority)))
            }
            (RtasCall::IbmGetXive | RtasCall::IbmIntOff | RtasCall::IbmIntOn, &[source]) => {
                (source, None)
            }
            (
                RtasCall::IbmSetXive
                | RtasCall::IbmGetXive
                | RtasCall::IbmIntOff
                | RtasCall::IbmIntOn,
                _,
            ) => return bad,
            _ => return None,
        };
        let servers = self.servers.len();
        let Some(s) = self.sources.get_mut(&source) else {
            return bad;
        };
        match (call, rest) {
            (RtasCall::IbmSetXive, Some((server, priority))) => {
                let Ok(priority) = u8::try_from(priority) else {
                    return bad;
                };
                if server as usize >= servers {
                    return bad;
                }
                (s.server, s.priority, s.saved_priority) = (server, priority, priority);
            }
            (RtasCall::IbmGetXive, _) => {
                return Some(RtasReply::with(&[s.server, s.priority.into()]));
            }
            (RtasCall::IbmIntOff, _) => {
                if s.priority != MASKED {
                    s.saved_priority = s.priority;
                    s.priority = MASKED;
                }
            }
            _ => s.priority = s.saved_priority,
        }
        self.requeue(source);
        Some(RTAS_SUCCESS.into())
    }

    fn find_server(&self, server: u64) -> Option<u32> {
        (server < self.servers.len() as u64).then_some(server as u32)
    }

    fn set_cppr(&mut self, server: u32, cppr: u8) {
        if let Some(s) = self.servers.get_mut(server as usize) {
            s.cppr = cppr;
        }
        self.evaluate(server);
    }

    fn set_mfrr(&mut self, server: u32, mfrr: u8) {
        if let Some(s) = self.servers.get_mut(server as usize) {
            s.mfrr = mfrr;
            if s.xisr == IPI && mfrr < s.pending_priority {
                s.pending_priority = mfrr;
            }
        }
        self.evaluate(server);
    }

    /// Takes the presented interrupt; the processor's priority becomes its priority. Returns the XIRR before that.
    fn accept(&mut self, server: u32) -> u32 {
        let Some(s) = self.servers.get_mut(server as usize) else {
            return 0;
        };
        let xirr = s.xirr();
        if s.xisr != 0 {
            s.cppr = s.pending_priority;
            if let Some(source) = self.sources.get_mut(&s.xisr) {
                source.counters.accepted += 1;
            }
            s.xisr = 0;
            s.pending_priority = MASKED;
        }
        xirr
    }

    /// End of interrupt: priority from the top byte, source from the rest. False if there is no such source.
    fn end(&mut self, server: u32, xirr: u32) -> bool {
        let number = xirr & 0xff_ffff;
        if let Some(s) = self.servers.get_mut(server as usize) {
            s.cppr = (xirr >> 24) as u8;
        }
        let mut known = number == IPI || number == 0;
        if let Some(source) = self.sources.get_mut(&number) {
            known = true;
            source.counters.ended += 1;
            // A guest may end what is still only presented; then it stays presented.
            source.sent =
                source.trigger == Trigger::Level && self.servers.iter().any(|s| s.xisr == number);
            self.requeue(number);
        }
        self.evaluate(server);
        known
    }

    /// Puts a source at its place in the queue, or takes it out, and looks at its server.
    fn requeue(&mut self, number: u32) {
        let Some(s) = self.sources.get_mut(&number) else {
            return;
        };
        if let Some((server, priority)) = s.queued.take() {
            self.queue.remove(&(server, priority, number));
        }
        let waits = s.wants && !s.sent && s.priority != MASKED;
        if waits {
            s.queued = Some((s.server, s.priority));
            self.queue.insert((s.server, s.priority, number));
            let server = s.server;
            self.evaluate(server);
        }
    }

    /// Withdraws what the processor's priority forbids and presents the most favoured of what waits.
    fn evaluate(&mut self, server: u32) {
        let Some(&s) = self.servers.get(server as usize) else {
            return;
        };
        let mut bar = s.cppr;
        if s.xisr != 0 && s.pending_priority < s.cppr {
            bar = s.pending_priority;
        }
        let waiting = self
            .queue
            .range((server, 0, 0)..=(server, MASKED, u32::MAX))
            .next()
            .map(|&(_, p, n)| (p, n));
        let ipi = (s.mfrr != MASKED && s.xisr != IPI).then_some((s.mfrr, IPI));
        // An equal priority goes to the interprocessor interrupt, whose number is lower.
        let best = [waiting, ipi]
            .into_iter()
            .flatten()
            .min()
            .filter(|&(p, _)| p < bar);
        let withdraw = s.xisr != 0 && (best.is_some() || s.pending_priority >= s.cppr);
        if let Some(now) = self.servers.get_mut(server as usize) {
            if withdraw {
                now.xisr = 0;
                now.pending_priority = MASKED;
            }
            if let Some((priority, number)) = best {
                now.xisr = number;
                now.pending_priority = priority;
            }
        }
        if let Some((_, number)) = best {
            self.presented(number);
        }
        if withdraw {
            self.returned(s.xisr);
        }
    }

    fn presented(&mut self, number: u32) {
        let Some(s) = self.sources.get_mut(&number) else {
            return;
        };
        s.counters.presented += 1;
        if let Some((server, priority)) = s.queued.take() {
            self.queue.remove(&(server, priority, number));
        }
        match s.trigger {
            Trigger::Edge => s.wants = false,
            Trigger::Level => s.sent = true,
        }
    }

    /// A presented interrupt goes back to its source, which may meanwhile have another server or priority, or none.
    fn returned(&mut self, number: u32) {
        let Some(s) = self.sources.get_mut(&number) else {
            return;
        };
        s.counters.rejected += 1;
        match s.trigger {
            Trigger::Edge => s.wants = true,
            Trigger::Level => s.sent = false,
        }
        self.requeue(number);
    }
}

impl Source {
    fn new(trigger: Trigger) -> Self {
        Source {
            trigger,
            server: 0,
            priority: MASKED,
            saved_priority: MASKED,
            wants: false,
            sent: false,
            queued: None,
            counters: SourceCounters::default(),
        }
    }

    fn info(&self) -> SourceInfo {
        SourceInfo {
            trigger: self.trigger,
            server: self.server,
            priority: self.priority,
            counters: self.counters,
        }
    }
}

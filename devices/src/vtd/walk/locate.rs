//! From the requester to the tables of its domain: root, context, PASID directory, PASID entry. VT-d 4.1 §3.4.

use super::{FirstStage, SecondStage};
use super::{Observer, Walker};
use crate::dma::SourceId;
use crate::vtd::memory::{TableMemory, load_entry};
use crate::vtd::request::{AddressType, Fault, Request, Structure};
use crate::vtd::spec::context::{self, ContextEntry, ScalableContextEntry};
use crate::vtd::spec::fault::Reason;
use crate::vtd::spec::pasid::{self, PasidDirectoryEntry, PasidEntry};
use crate::vtd::spec::registers::TableMode;
use crate::vtd::spec::root::{self, RootEntry};
use crate::vtd::spec::{above, mask};

/// Which tables a request goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    /// None.
    PassThrough,
    /// Second stage only.
    Second(SecondStage),
    /// First stage only.
    First(FirstStage),
    /// Both.
    Nested(FirstStage, SecondStage),
}

impl Stages {
    /// The first stage, if there is one.
    #[inline]
    pub const fn first(&self) -> Option<&FirstStage> {
        match self {
            Stages::First(f) | Stages::Nested(f, _) => Some(f),
            _ => None,
        }
    }
}

/// Where a request is to be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// DID.
    pub domain: u16,
    /// PASID of the request, or RID_PASID; 0 in legacy mode.
    pub pasid: u32,
    /// Scalable mode: other fault reasons apply.
    pub scalable: bool,
    /// The request is privileged.
    pub privileged: bool,
    /// FPD in the context entry, PASID directory entry or PASID entry.
    pub fault_processing_disabled: bool,
    /// PGSNP.
    pub snoop: bool,
    /// The tables.
    pub stages: Stages,
}

fn fault(reason: Reason, structure: Structure, address: u64, fpd: bool) -> Fault {
    Fault {
        suppressed: fpd,
        ..Fault::at(reason, structure, address)
    }
}

impl<M: TableMemory + ?Sized> Walker<'_, M> {
    /// Finds the tables for a request.
    ///
    /// # Errors
    /// RTA, LRT, LCT, SRT, SCT, SPD and SPT conditions.
    #[inline(always)]
    pub fn locate<O: Observer>(&self, request: &Request, o: &mut O) -> Result<Target, Fault> {
        match self.mode()? {
            TableMode::Scalable => self.locate_scalable::<O, true>(request, o),
            _ => self.locate_legacy(request, o),
        }
    }

    /// Finds the tables that a page request is about, in scalable mode: what it wants to do is not looked at. VT-d 4.1 §6.5.3.1, §7.4.1.
    ///
    /// # Errors
    /// RTA, SRT, SCT, SPD and SPT conditions.
    pub fn locate_for_page_request<O: Observer>(
        &self,
        request: &Request,
        o: &mut O,
    ) -> Result<Target, Fault> {
        match self.mode()? {
            TableMode::Scalable => self.locate_scalable::<O, false>(request, o),
            _ => Err(Fault::new(Reason::PageRequestInLegacyMode)),
        }
    }

    fn load<O: Observer, const N: usize>(
        &self,
        structure: Structure,
        address: u64,
        unreadable: Reason,
        fpd: bool,
        o: &mut O,
    ) -> Result<[u64; N], Fault> {
        let words = load_entry(self.memory, address, self.config.caches.torn_fetch)
            .map_err(|_| fault(unreadable, structure, address, fpd))?;
        o.fetched(structure, address, &words);
        Ok(words)
    }

    #[inline(always)]
    fn locate_legacy<O: Observer>(&self, request: &Request, o: &mut O) -> Result<Target, Fault> {
        if request.pasid.is_some() {
            return Err(Fault::new(Reason::PasidInLegacyMode));
        }
        let cached = self.caches.context.get(false, request.source);
        let (entry, address) = match cached {
            Some(words) => (ContextEntry(words), 0),
            None => self.fetch_context(request.source, o)?,
        };
        let fpd = entry.fault_processing_disabled();
        let at = |reason| fault(reason, Structure::ContextEntry, address, fpd);
        if !entry.present() {
            return Err(at(Reason::ContextNotPresent));
        }
        // Only a valid entry is cached, so these cannot fail after a hit.
        let kind = entry
            .translation_type()
            .ok_or_else(|| at(Reason::ContextInvalid))?;
        let device_tlb = kind == context::TranslationType::DeviceTlb;
        if request.address_type != AddressType::Untranslated && !device_tlb {
            return Err(at(Reason::RequestBlocked));
        }
        let stages = match kind {
            context::TranslationType::PassThrough => Stages::PassThrough,
            _ => Stages::Second(SecondStage {
                table: entry.second_stage(),
                levels: u32::from(entry.address_width()) + 2,
                accessed_dirty: false,
                snooped: true,
            }),
        };
        Ok(Target {
            domain: entry.domain(),
            pasid: 0,
            scalable: false,
            privileged: false,
            fault_processing_disabled: fpd,
            snoop: false,
            stages,
        })
    }

    #[inline(never)]
    fn fetch_context<O: Observer>(
        &self,
        source: SourceId,
        o: &mut O,
    ) -> Result<(ContextEntry, u64), Fault> {
        let generation = self.caches.context.generation();
        let at = self.root_table() + u64::from(source.0 >> 8) * root::SIZE;
        let s = Structure::RootEntry;
        let words: [u64; 2] = self.load(s, at, Reason::RootAccess, false, o)?;
        let entry = RootEntry(words[0]);
        if !entry.present() {
            return Err(Fault::at(Reason::RootNotPresent, s, at));
        }
        let haw = above(self.config.host_address_width);
        if entry.0 & (RootEntry::RESERVED | haw) != 0 || words[1] != 0 {
            return Err(Fault::at(Reason::RootReserved, s, at));
        }
        let at = entry.context_table() + u64::from(source.0 & 0xff) * context::LEGACY_SIZE;
        let s = Structure::ContextEntry;
        let entry = ContextEntry(self.load(s, at, Reason::ContextAccess, false, o)?);
        let checked = self.check_context(entry);
        if checked.is_ok() || !entry.present() && self.config.caching_mode {
            self.caches.context.fill(false, source, entry.0, generation);
        }
        checked.map_err(|reason| fault(reason, s, at, entry.fault_processing_disabled()))?;
        Ok((entry, at))
    }

    /// LCT.2, LCT.3, LCT.4.
    fn check_context(&self, entry: ContextEntry) -> Result<(), Reason> {
        if !entry.present() {
            return Err(Reason::ContextNotPresent);
        }
        let c = self.config;
        let domains = mask(23, 8) & !(mask(c.domain_bits - 1, 0) << 8);
        if entry.0[0] & ContextEntry::RESERVED_LOW != 0
            || entry.0[1] & (ContextEntry::RESERVED_HIGH | domains) != 0
        {
            return Err(Reason::ContextReserved);
        }
        let kind = entry.translation_type().ok_or(Reason::ContextInvalid)?;
        let supported = match kind {
            context::TranslationType::Untranslated => true,
            context::TranslationType::DeviceTlb => c.device_tlb,
            context::TranslationType::PassThrough => c.pass_through,
        };
        if !supported || !c.supports_width(entry.address_width()) {
            return Err(Reason::ContextInvalid);
        }
        // The pointer is ignored where nothing follows it.
        if kind != context::TranslationType::PassThrough
            && entry.0[0] & above(c.host_address_width) != 0
        {
            return Err(Reason::ContextReserved);
        }
        Ok(())
    }

    #[inline(always)]
    fn locate_scalable<O: Observer, const CHECKS: bool>(
        &self,
        request: &Request,
        o: &mut O,
    ) -> Result<Target, Fault> {
        let (context, context_at) = match self.caches.context.get(true, request.source) {
            Some([a, b]) => (ScalableContextEntry([a, b, 0, 0]), 0),
            None => self.fetch_scalable_context(request.source, o)?,
        };
        let mut fpd = context.fault_processing_disabled();
        let at = |reason| fault(reason, Structure::ScalableContextEntry, context_at, fpd);
        if !context.present() {
            return Err(at(Reason::ScalableContextNotPresent));
        }
        if request.address_type != AddressType::Untranslated && !context.device_tlb_enabled() {
            return Err(at(Reason::DeviceTlbDisabled));
        }
        let (pasid, privileged) = match request.pasid {
            Some(_) if !context.pasid_enabled() => return Err(at(Reason::PasidDisabled)),
            Some(p) if p.0 >> context.pasid_bits() != 0 => return Err(at(Reason::PasidTooLarge)),
            Some(p) if p.0 == context.rid_pasid() => return Err(at(Reason::RidPasid)),
            Some(p) => (p.0, request.privileged),
            None => (context.rid_pasid(), context.rid_privileged()),
        };
        let (entry, entry_at) = match self.caches.pasid.get(request.source, pasid) {
            Some(words) => (PasidEntry(words), 0),
            None => self.fetch_pasid(request.source, &context, pasid, fpd, o)?,
        };
        fpd |= entry.fault_processing_disabled();
        let at = |reason| fault(reason, Structure::PasidEntry, entry_at, fpd);
        if !entry.present() {
            return Err(at(Reason::PasidNotPresent));
        }
        let kind = entry
            .translation_type()
            .ok_or_else(|| at(Reason::PasidInvalid))?;
        let target = |stages| Target {
            domain: entry.domain(),
            pasid,
            scalable: true,
            privileged,
            fault_processing_disabled: fpd,
            snoop: entry.0[1] & PasidEntry::PGSNP != 0,
            stages,
        };
        let (first, second) = (FirstStage::of(&entry), SecondStage::of(&entry));
        if CHECKS
            && matches!(
                kind,
                pasid::TranslationType::FirstStage | pasid::TranslationType::Nested
            )
        {
            if request.execute && !entry.first_stage_flag(PasidEntry::ERE) {
                return Err(at(Reason::ExecuteDisabled));
            }
            if privileged && !entry.first_stage_flag(PasidEntry::SRE) {
                return Err(at(Reason::SupervisorDisabled));
            }
        }
        Ok(target(match kind {
            pasid::TranslationType::PassThrough => Stages::PassThrough,
            pasid::TranslationType::SecondStage => Stages::Second(second),
            pasid::TranslationType::FirstStage => Stages::First(first),
            pasid::TranslationType::Nested => Stages::Nested(first, second),
        }))
    }

    /// The scalable-mode context entry of a requester and its address.
    ///
    /// # Errors
    /// SRT and SCT.1 to SCT.4.
    #[inline(never)]
    pub fn fetch_scalable_context<O: Observer>(
        &self,
        source: SourceId,
        o: &mut O,
    ) -> Result<(ScalableContextEntry, u64), Fault> {
        let generation = self.caches.context.generation();
        let upper = u64::from(source.0 >> 7 & 1);
        let at = self.root_table() + u64::from(source.0 >> 8) * root::SIZE + upper * 8;
        let s = Structure::ScalableRootEntry;
        let [word] = self.load(s, at, Reason::ScalableRootAccess, false, o)?;
        let entry = RootEntry(word);
        if !entry.present() {
            return Err(Fault::at(Reason::ScalableRootNotPresent, s, at));
        }
        if word & (RootEntry::RESERVED | above(self.config.host_address_width)) != 0 {
            return Err(Fault::at(Reason::ScalableRootReserved, s, at));
        }
        let at = entry.context_table() + u64::from(source.0 & 0x7f) * context::SCALABLE_SIZE;
        let s = Structure::ScalableContextEntry;
        let words = self.load(s, at, Reason::ScalableContextAccess, false, o)?;
        let entry = ScalableContextEntry(words);
        let checked = self.check_scalable_context(entry);
        if checked.is_ok() || !entry.present() && self.config.caching_mode {
            let kept = [words[0], words[1]];
            self.caches.context.fill(true, source, kept, generation);
        }
        checked.map_err(|reason| fault(reason, s, at, entry.fault_processing_disabled()))?;
        Ok((entry, at))
    }

    /// SCT.2, SCT.3, SCT.4.
    fn check_scalable_context(&self, entry: ScalableContextEntry) -> Result<(), Reason> {
        type E = ScalableContextEntry;
        if !entry.present() {
            return Err(Reason::ScalableContextNotPresent);
        }
        let c = self.config;
        let unless = |on: bool, bits: u64| if on { 0 } else { bits };
        let reserved_0 = E::RESERVED_0
            | above(c.host_address_width)
            | unless(c.device_tlb, E::DTE)
            | unless(c.pasid_bits != 0, E::PASIDE)
            | unless(c.page_requests, E::PRE);
        let reserved_1 =
            E::RESERVED_1 | unless(c.rid_pasid, E::RID_PASID) | unless(c.rid_priv, E::RID_PRIV);
        if entry.0[0] & reserved_0 != 0
            || entry.0[1] & reserved_1 != 0
            || entry.0[2] != 0
            || entry.0[3] != 0
        {
            return Err(Reason::ScalableContextReserved);
        }
        let lonely_pre = entry.page_requests_enabled() && !entry.device_tlb_enabled();
        // Without PASID support there is still the smallest directory, for requests without PASID.
        if entry.pasid_bits() > c.pasid_bits.max(13)
            || entry.rid_pasid() >> entry.pasid_bits() != 0
            || lonely_pre
        {
            return Err(Reason::ScalableContextInvalid);
        }
        Ok(())
    }

    #[inline(never)]
    fn fetch_pasid<O: Observer>(
        &self,
        source: SourceId,
        context: &ScalableContextEntry,
        pasid: u32,
        fpd: bool,
        o: &mut O,
    ) -> Result<(PasidEntry, u64), Fault> {
        let generation = self.caches.pasid.generation();
        let haw = above(self.config.host_address_width);
        let at = context.pasid_directory() + u64::from(pasid >> 6) * pasid::DIRECTORY_SIZE;
        let s = Structure::PasidDirectoryEntry;
        let [word] = self.load(s, at, Reason::PasidDirectoryAccess, fpd, o)?;
        let directory = PasidDirectoryEntry(word);
        let fpd = fpd || directory.fault_processing_disabled();
        if !directory.present() {
            return Err(fault(Reason::PasidDirectoryNotPresent, s, at, fpd));
        }
        if word & (PasidDirectoryEntry::RESERVED | haw) != 0 {
            return Err(fault(Reason::PasidDirectoryReserved, s, at, fpd));
        }
        let at = directory.table() + u64::from(pasid & 63) * pasid::TABLE_SIZE;
        let s = Structure::PasidEntry;
        let words: [u64; 8] = self.load(s, at, Reason::PasidAccess, fpd, o)?;
        // The directory's FPD counts for each of its entries, so it is kept with them.
        let word_0 = words[0] | u64::from(directory.fault_processing_disabled()) << 1;
        let entry = PasidEntry([word_0, words[1], words[2]]);
        let checked = self.check_pasid(entry, &words[3..]);
        if checked.is_ok() || !entry.present() && self.config.caching_mode {
            self.caches.pasid.fill(source, pasid, entry.0, generation);
        }
        let fpd = fpd || entry.fault_processing_disabled();
        checked.map_err(|reason| fault(reason, s, at, fpd))?;
        Ok((entry, at))
    }

    /// SPT.2, SPT.3, SPT.4.
    fn check_pasid(&self, entry: PasidEntry, rest: &[u64]) -> Result<(), Reason> {
        if !entry.present() {
            return Err(Reason::PasidNotPresent);
        }
        if self.pasid_reserved(&entry) || rest.iter().any(|w| *w != 0) {
            return Err(Reason::PasidReserved);
        }
        let c = self.config;
        let width = c.supports_width(entry.address_width());
        let mode = match entry.paging_mode() {
            0 => true,
            1 => c.first_stage_5_level,
            _ => false,
        };
        let valid = match entry.translation_type() {
            Some(pasid::TranslationType::FirstStage) => c.first_stage && mode,
            Some(pasid::TranslationType::SecondStage) => c.second_stage && width,
            Some(pasid::TranslationType::Nested) => {
                let (first, second) = (FirstStage::of(&entry), SecondStage::of(&entry));
                c.nested && mode && width && !self.beyond_second_stage(&second, first.table)
            }
            Some(pasid::TranslationType::PassThrough) => c.pass_through,
            None => false,
        };
        if valid {
            Ok(())
        } else {
            Err(Reason::PasidInvalid)
        }
    }

    /// True if a context entry may be in the cache.
    pub(in crate::vtd) fn may_cache_context(&self, scalable: bool, words: [u64; 2]) -> bool {
        if words[0] & 1 == 0 {
            return self.config.caching_mode;
        }
        if scalable {
            let entry = ScalableContextEntry([words[0], words[1], 0, 0]);
            self.check_scalable_context(entry).is_ok()
        } else {
            self.check_context(ContextEntry(words)).is_ok()
        }
    }

    /// True if a PASID entry may be in the cache.
    pub(in crate::vtd) fn may_cache_pasid(&self, words: [u64; 3]) -> bool {
        match words[0] & 1 {
            0 => self.config.caching_mode,
            _ => self.check_pasid(PasidEntry(words), &[]).is_ok(),
        }
    }

    fn pasid_reserved(&self, entry: &PasidEntry) -> bool {
        let c = self.config;
        let haw = above(c.host_address_width);
        let unless = |on: bool, bits: u64| if on { 0 } else { bits };
        let domains = mask(15, 0) & !mask(c.domain_bits - 1, 0);
        let reserved = [
            PasidEntry::RESERVED_0 | haw | unless(c.second_stage_ad, PasidEntry::SSADE),
            PasidEntry::RESERVED_1
                | domains
                | unless(c.scalable_coherent, PasidEntry::PWSNP)
                | unless(c.snoop_control, PasidEntry::PGSNP)
                | unless(c.memory_type, PasidEntry::MEMORY_TYPE),
            PasidEntry::RESERVED_2
                | haw
                | unless(
                    c.supervisor_requests,
                    PasidEntry::SRE | PasidEntry::SMEP | PasidEntry::WPE,
                )
                | unless(c.execute_requests, PasidEntry::ERE)
                | unless(c.extended_accessed, PasidEntry::EAFE),
        ];
        entry
            .0
            .iter()
            .zip(reserved)
            .any(|(word, bits)| word & bits != 0)
    }
}

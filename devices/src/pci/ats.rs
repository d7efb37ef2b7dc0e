//! What lets a function ask for translations (ATS), carry PASIDs and ask for pages (PRI): its extended capabilities.
//! PCIe 6.0 §7.8.8 (PASID), §10.5.1 (ATS), §10.5.2 (page requests).
//!
//! All three are off until software enables them. Of PRI, requests are sent one at a time, each alone in its group.

use super::config::{ConfigChange, ConfigSpace};
use crate::dma::PageResponse;

/// Extended capability id of ATS.
pub const CAP_ATS: u16 = 0x0f;
/// Extended capability id of page requests.
pub const CAP_PRI: u16 = 0x13;
/// Extended capability id of PASID.
pub const CAP_PASID: u16 = 0x1b;

/// PASID capability: 20 bits.
const PASID_WIDTH: u16 = 20 << 8;
/// PASID control: enabled.
const PASID_ENABLE: u16 = 1;
/// ATS capability: page aligned requests; the invalidation queue depth of 0 means 32.
const ATS_PAGE_ALIGNED: u16 = 1 << 5;
/// ATS control: smallest translation unit (in any case a page), and enabled.
const ATS_WRITABLE: u16 = ATS_ENABLE | 0x1f;
const ATS_ENABLE: u16 = 1 << 15;
/// PRI control: enabled, and reset.
const PRI_ENABLE: u16 = 1;
const PRI_RESET: u16 = 2;
/// PRI status: response failure, unexpected group, stopped, answers carry PASIDs.
const RESPONSE_FAILURE: u16 = 1;
const UNEXPECTED_GROUP: u16 = 1 << 1;
const STOPPED: u16 = 1 << 8;
const RESPONSE_PASID: u16 = 1 << 15;
/// Group indices have 9 bits.
const GROUPS: u16 = 1 << 9;

/// The three capabilities of a function, and what of them is its state.
#[derive(Clone, Copy, Debug)]
pub struct Services {
    pasid: u16,
    ats: u16,
    pri: u16,
    /// The group that waits for its answer.
    waiting: Option<u16>,
    next: u16,
}

impl Services {
    /// Adds the capabilities.
    pub fn new(config: &mut ConfigSpace) -> Self {
        let bytes =
            |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
        let mut add = |id, body: &[u16], writable: &[u16]| {
            config.add_extended_capability(id, 1, &bytes(body), &bytes(writable))
        };
        let pasid = add(CAP_PASID, &[PASID_WIDTH, 0], &[0, PASID_ENABLE]);
        let ats = add(CAP_ATS, &[ATS_PAGE_ALIGNED, 0], &[0, ATS_WRITABLE]);
        // Control and status, capacity of one request (read only), allocation.
        let pri = add(
            CAP_PRI,
            &[0, STOPPED | RESPONSE_PASID, 1, 0, 0, 0],
            &[PRI_ENABLE, 0, 0, 0, 0xffff, 0xffff],
        );
        let clear = bytes(&[RESPONSE_FAILURE | UNEXPECTED_GROUP]);
        config.define_clear_by_one(pri + 6, &clear);
        Services {
            pasid,
            ats,
            pri,
            waiting: None,
            next: 0,
        }
    }

    /// True if requests may carry a PASID.
    pub fn pasid_enabled(&self, config: &ConfigSpace) -> bool {
        config.get_u16(self.pasid + 6) & PASID_ENABLE != 0
    }

    /// True if translations may be asked for.
    pub fn ats_enabled(&self, config: &ConfigSpace) -> bool {
        config.get_u16(self.ats + 6) & ATS_ENABLE != 0
    }

    /// True if pages may be asked for.
    pub fn pri_enabled(&self, config: &ConfigSpace) -> bool {
        config.get_u16(self.pri + 4) & PRI_ENABLE != 0 && config.get_u32(self.pri + 12) != 0
    }

    /// To be told of every configuration write, with its value.
    pub fn config_written(&mut self, config: &mut ConfigSpace, change: ConfigChange, value: u32) {
        if !change.touches(self.pri + 4, 2) {
            return;
        }
        let control = config.get_u16(self.pri + 4);
        // Reads 0, so it is looked for in what was written.
        let low = self.pri + 4 == change.offset;
        if control & PRI_ENABLE == 0 && low && value & u32::from(PRI_RESET) != 0 {
            self.waiting = None;
        }
        self.show_stopped(config);
    }

    /// A new request is about to be sent: its group.
    pub fn begin(&mut self) -> u16 {
        let group = self.next;
        self.next = (group + 1) % GROUPS;
        self.waiting = Some(group);
        group
    }

    /// An answer came. False if it is not the one that is waited for.
    pub fn answered(&mut self, config: &mut ConfigSpace, group: u16, answer: PageResponse) -> bool {
        let status = config.get_u16(self.pri + 6);
        if self.waiting != Some(group) {
            config.set_u16(self.pri + 6, status | UNEXPECTED_GROUP);
            return false;
        }
        self.waiting = None;
        if answer == PageResponse::Failure {
            let control = config.get_u16(self.pri + 4);
            config.set_u16(self.pri + 4, control & !PRI_ENABLE);
            config.set_u16(self.pri + 6, status | RESPONSE_FAILURE);
        }
        self.show_stopped(config);
        true
    }

    /// The request that waits is of no interest any more; its answer will be unexpected.
    pub fn forget(&mut self, config: &mut ConfigSpace) {
        self.waiting = None;
        self.show_stopped(config);
    }

    /// After the configuration space was reset.
    pub fn reset(&mut self) {
        (self.waiting, self.next) = (None, 0);
    }

    /// Stopped: disabled, and nothing waits.
    fn show_stopped(&self, config: &mut ConfigSpace) {
        let enabled = config.get_u16(self.pri + 4) & PRI_ENABLE != 0;
        let status = config.get_u16(self.pri + 6) & !STOPPED;
        let stopped = if enabled || self.waiting.is_some() {
            0
        } else {
            STOPPED
        };
        config.set_u16(self.pri + 6, status | stopped);
    }
}

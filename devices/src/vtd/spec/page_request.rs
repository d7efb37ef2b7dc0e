//! Page request descriptors. VT-d 4.1 §7.4.1 (queue), §7.4.1.1 (descriptor).

use super::mask;
use crate::dma::PageResponse;

/// Bytes of a descriptor.
pub const SIZE: u64 = 32;
/// Type of a page request.
pub const TYPE: u64 = 1;

/// Response codes of a page group response. VT-d 4.1 §7.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum ResponseCode {
    /// Pages are there.
    Success = 0,
    /// They cannot be.
    InvalidRequest = 1,
    /// Something broke; the device stops asking.
    Failure = 0xf,
}

impl ResponseCode {
    /// From the field; None if reserved.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match bits & 0xf {
            0 => Some(Self::Success),
            1 => Some(Self::InvalidRequest),
            0xf => Some(Self::Failure),
            _ => None,
        }
    }
}

impl From<ResponseCode> for PageResponse {
    fn from(code: ResponseCode) -> Self {
        match code {
            ResponseCode::Success => PageResponse::Success,
            ResponseCode::InvalidRequest => PageResponse::Invalid,
            ResponseCode::Failure => PageResponse::Failure,
        }
    }
}

/// What a page request asks, as the descriptor holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Requester id.
    pub source: u16,
    /// PASID, if the request has one.
    pub pasid: Option<u32>,
    /// Execute permission is asked.
    pub execute: bool,
    /// Privileged mode is asked.
    pub privileged: bool,
    /// Read access is asked.
    pub read: bool,
    /// Write access is asked.
    pub write: bool,
    /// Last page in group.
    pub last: bool,
    /// Page request group index, 9 bits.
    pub group: u16,
    /// Page address.
    pub address: u64,
}

impl Descriptor {
    /// The four quadwords as written to the queue.
    pub const fn encode(&self) -> [u64; 4] {
        let (pp, pasid) = match self.pasid {
            Some(p) => (1, p as u64 & 0xf_ffff),
            None => (0, 0),
        };
        let low = TYPE
            | pp << 8
            | (self.source as u64) << 16
            | pasid << 32
            | (self.execute as u64) << 52
            | (self.privileged as u64) << 53;
        let high = self.read as u64
            | (self.write as u64) << 1
            | (self.last as u64) << 2
            | (self.group as u64 & 0x1ff) << 3
            | self.address & mask(63, 12);
        [low, high, 0, 0]
    }
}

//! Features. NVMe 1.4 §5.21.1.

use super::bits::Status;
use super::{MAX_IO_QUEUES, NvmeController};

const ARBITRATION: u8 = 0x01;
const POWER_MANAGEMENT: u8 = 0x02;
const TEMPERATURE: u8 = 0x04;
const ERROR_RECOVERY: u8 = 0x05;
const WRITE_CACHE: u8 = 0x06;
const QUEUES: u8 = 0x07;
const COALESCING: u8 = 0x08;
const VECTOR: u8 = 0x09;
const ATOMICITY: u8 = 0x0a;
const ASYNC_EVENTS: u8 = 0x0b;

/// Values that are kept and read back. Interrupts are never coalesced, power states and temperatures never change.
#[derive(Clone, Debug)]
pub(super) struct Features {
    arbitration: u32,
    power: u32,
    temperature: [u32; 2],
    error_recovery: u32,
    /// The volatile write cache is on: only Flush and FUA wait for stable storage.
    pub(super) write_cache: bool,
    coalescing: u32,
    uncoalesced: u64,
    atomicity: u32,
    async_events: u32,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            arbitration: 0,
            power: 0,
            temperature: [343, 0],
            error_recovery: 0,
            write_cache: true,
            coalescing: 0,
            uncoalesced: 0,
            atomicity: 0,
            async_events: 0,
        }
    }
}

impl Features {
    fn get(&self, fid: u8, value: u32) -> Result<u32, Status> {
        let last = u32::from(MAX_IO_QUEUES) - 1;
        Ok(match fid {
            ARBITRATION => self.arbitration,
            POWER_MANAGEMENT => self.power,
            // Only the composite temperature has thresholds; others read as never reached.
            TEMPERATURE => match (value >> 16 & 15, value >> 20 & 3) {
                (0, 0) => self.temperature[0],
                (0, 1) => self.temperature[1],
                (_, 0) => 0xffff,
                (_, 1) => 0,
                _ => return Err(Status::INVALID_FIELD),
            },
            ERROR_RECOVERY => self.error_recovery,
            WRITE_CACHE => self.write_cache.into(),
            QUEUES => last << 16 | last,
            COALESCING => self.coalescing,
            VECTOR => {
                let vector = value & 0xffff;
                if vector > u32::from(MAX_IO_QUEUES) {
                    return Err(Status::INVALID_FIELD);
                }
                vector | ((self.uncoalesced >> vector & 1) as u32) << 16
            }
            ATOMICITY => self.atomicity,
            ASYNC_EVENTS => self.async_events,
            _ => return Err(Status::INVALID_FIELD),
        })
    }
}

impl NvmeController {
    pub(super) fn get_feature(&self, fid: u8, select: u8, value: u32) -> Result<u32, Status> {
        let current = self.features.get(fid, value)?;
        match select {
            0 => Ok(current),
            1 | 2 => Features::default().get(fid, value),
            // Changeable, not per namespace, not saveable.
            3 => Ok(4),
            _ => Err(Status::INVALID_FIELD),
        }
    }

    pub(super) fn set_feature(&mut self, fid: u8, value: u32) -> Result<u32, Status> {
        let f = &mut self.features;
        match fid {
            ARBITRATION => f.arbitration = value,
            POWER_MANAGEMENT if value & 31 == 0 => f.power = value,
            TEMPERATURE => {
                if let (0, kind @ 0..=1) = (value >> 16 & 15, value >> 20 & 3) {
                    f.temperature[kind as usize] = value & 0xffff;
                }
            }
            ERROR_RECOVERY => f.error_recovery = value & 0xffff,
            WRITE_CACHE => {
                f.write_cache = value & 1 != 0;
                if !f.write_cache {
                    self.flush_all()?;
                }
            }
            QUEUES => {
                if value & 0xffff == 0xffff || value >> 16 == 0xffff {
                    return Err(Status::INVALID_FIELD);
                }
                if self.sqs.len() > 1 || self.cqs.len() > 1 {
                    return Err(Status::SEQUENCE);
                }
                return self.get_feature(QUEUES, 0, 0);
            }
            COALESCING => f.coalescing = value & 0xffff,
            VECTOR => {
                let vector = value & 0xffff;
                if vector > u32::from(MAX_IO_QUEUES) {
                    return Err(Status::INVALID_FIELD);
                }
                f.uncoalesced =
                    f.uncoalesced & !(1 << vector) | u64::from(value >> 16 & 1) << vector;
            }
            ATOMICITY => f.atomicity = value & 1,
            ASYNC_EVENTS => f.async_events = value,
            _ => return Err(Status::INVALID_FIELD),
        }
        Ok(0)
    }
}

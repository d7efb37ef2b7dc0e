//! Error log of a stopped PE, and error injection. LoPAR §7.3.11.8, §7.3.18.

use viommu_devices::dma::Access;
use viommu_devices::spapr::eeh::{Injection, PeHealth};
use viommu_devices::spapr::rtas::{
    RTAS_HARDWARE_ERROR, RTAS_PARAMETER, RTAS_SUCCESS, RtasCall, RtasReply, RtasRequest, RtasStatus,
};
use vm_memory::{Bytes, GuestAddress};

use crate::pseries::platform::Platform;

/// Names and numbers of the errors that can be injected, for `ibm,errinjct-tokens`.
pub const ERRORS: [(&str, u32); 2] = [("ioa-bus-error", 7), ("ioa-bus-error-64", 15)];
/// Number of the only session.
const SESSION: u32 = 1;
/// ibm,open-errinjct: a session is open.
const ALREADY_OPEN: u32 = -4_i32 as u32;
/// ibm,errinjct, ibm,close-errinjct: the session is not open.
const NOT_OPEN: RtasStatus = RtasStatus(-4);

pub(super) fn answer(platform: &mut Platform, request: &RtasRequest) -> RtasReply {
    match (request.call, request.args()) {
        (RtasCall::IbmSlotErrorDetail, &[addr, hi, lo, _, _, buffer, length, _]) => {
            let buid = u64::from(hi) << 32 | u64::from(lo);
            match platform.bridge(buid).map(|phb| phb.error_log(buid, addr)) {
                Some(Ok(log)) => write_log(platform, &log, buffer, length),
                Some(Err(status)) => status.into(),
                None => RTAS_PARAMETER.into(),
            }
        }
        (RtasCall::IbmOpenErrinjct, &[]) => open(platform),
        (RtasCall::IbmErrinjct, &[error, session, buffer]) => {
            if !platform.errinjct_open || session != SESSION {
                return NOT_OPEN.into();
            }
            match injection(platform, error, buffer) {
                Some((health, injection)) => {
                    health.arm(Some(injection));
                    RTAS_SUCCESS.into()
                }
                None => RTAS_PARAMETER.into(),
            }
        }
        (RtasCall::IbmCloseErrinjct, &[session]) => {
            if !platform.errinjct_open || session != SESSION {
                return NOT_OPEN.into();
            }
            platform.errinjct_open = false;
            RTAS_SUCCESS.into()
        }
        _ => RTAS_PARAMETER.into(),
    }
}

fn write_log(platform: &Platform, log: &[u8], buffer: u32, length: u32) -> RtasReply {
    let log = log.get(..length as usize).unwrap_or(log);
    match platform.ram.write_slice(log, GuestAddress(buffer.into())) {
        Ok(()) => RTAS_SUCCESS.into(),
        Err(_) => RTAS_HARDWARE_ERROR.into(),
    }
}

/// Unlike other calls this one gives its value first and its status second.
fn open(platform: &mut Platform) -> RtasReply {
    if std::mem::replace(&mut platform.errinjct_open, true) {
        let mut reply = RtasReply::with(&[ALREADY_OPEN]);
        reply.status = RtasStatus(0);
        return reply;
    }
    let mut reply = RtasReply::with(&[RTAS_SUCCESS.0 as u32]);
    reply.status = RtasStatus(SESSION as i32);
    reply
}

/// The error that a buffer describes, and whose it is: address, mask (32 or 64 bits each), configuration address, unit id, function.
fn injection(platform: &Platform, error: u32, buffer: u32) -> Option<(PeHealth, Injection)> {
    let wide = match error {
        7 => false,
        15 => true,
        _ => return None,
    };
    let mut bytes = [0; 32];
    let bytes = &mut bytes[..if wide { 32 } else { 24 }];
    platform
        .ram
        .read_slice(bytes, GuestAddress(buffer.into()))
        .ok()?;
    let mut cells = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|c| u64::from(u32::from_be_bytes(*c)));
    let mut number = |wide: bool| {
        let high = if wide { cells.next()? << 32 } else { 0 };
        Some(high | cells.next()?)
    };
    let (address, mask) = (number(wide)?, number(wide)?);
    let (config_addr, buid, function) = (number(false)?, number(true)?, number(false)?);
    // By the PE's own address or a function's.
    let phb = platform
        .bridge(buid)
        .filter(|phb| phb.in_pe(config_addr as u32))?;
    let mmio = |store| Injection::Mmio {
        store,
        address,
        mask,
    };
    let dma = |access| Injection::Dma {
        access,
        address,
        mask,
    };
    let injection = match function {
        0 | 1 => mmio(false),
        6 | 7 => mmio(true),
        12..=15 => dma(Access::Read),
        16..=19 => dma(Access::Write),
        // There is no I/O space, and configuration accesses cannot fail.
        _ => return None,
    };
    Some((phb.health().clone(), injection))
}

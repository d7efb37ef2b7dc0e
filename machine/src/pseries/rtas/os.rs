//! Time, power, parameters, and the operator's display.

use viommu_devices::spapr::rtas::{
    RTAS_NO_EVENT, RTAS_PARAMETER, RTAS_SUCCESS, RtasCall, RtasReply, RtasRequest, RtasStatus,
};
use vm_memory::{Bytes, GuestAddress};

use crate::config::End;
use crate::pseries::platform::Platform;

/// The parameter is not known.
const NOT_SUPPORTED: RtasStatus = RtasStatus(-3);
/// The parameter may not be changed.
const NOT_AUTHORIZED: RtasStatus = RtasStatus(-9002);
/// SPLPAR characteristics.
const SPLPAR: u32 = 20;
/// Partition name and number.
const UUID: u32 = 48;
/// Longest message of `ibm,os-term`, in bytes.
const MESSAGE_MAX: usize = 256;

pub(super) fn answer(platform: &mut Platform, request: &RtasRequest) -> Option<RtasReply> {
    Some(match (request.call, request.args()) {
        (RtasCall::GetTimeOfDay, &[]) => {
            let d = platform.clock.date();
            RtasReply::with(&[
                d.year,
                d.month,
                d.day,
                d.hour,
                d.minute,
                d.second,
                d.nanosecond,
            ])
        }
        // The clock is the machine's; a guest's wish to change it is heard and forgotten.
        (RtasCall::SetTimeOfDay, &[_, _, _, _, _, _, _]) => RTAS_SUCCESS.into(),
        (RtasCall::EventScan, _) => RTAS_NO_EVENT.into(),
        (RtasCall::DisplayCharacter, &[c]) => {
            platform.display(c as u8);
            RTAS_SUCCESS.into()
        }
        (RtasCall::PowerOff, _) => {
            platform.end = Some(End::PowerOff);
            RTAS_SUCCESS.into()
        }
        (RtasCall::SystemReboot, _) => {
            platform.end = Some(End::Reboot);
            RTAS_SUCCESS.into()
        }
        (RtasCall::IbmOsTerm, &[message]) => {
            platform.end = Some(End::Panic(text(platform, message)));
            RTAS_SUCCESS.into()
        }
        (RtasCall::IbmExtendedOsTerm, _) => RTAS_SUCCESS.into(),
        (RtasCall::IbmGetSystemParameter, &[token, buffer, length]) => {
            system_parameter(platform, token, buffer, length)
        }
        (RtasCall::IbmSetSystemParameter, _) => NOT_AUTHORIZED.into(),
        _ => return None,
    })
}

/// `ibm,get-system-parameter` (token, buffer, length): the value is its length in two bytes, then its bytes. LoPAR §7.3.16.
fn system_parameter(platform: &Platform, token: u32, buffer: u32, length: u32) -> RtasReply {
    let value = match token {
        SPLPAR => format!(
            "MaxEntCap={cpus},DesMem={mem},DesProcs={cpus},MaxPlatProcs={cpus}\0",
            cpus = platform.vcpus.len(),
            mem = platform.memory >> 20
        )
        .into_bytes(),
        UUID => vec![0; 16],
        _ => return NOT_SUPPORTED.into(),
    };
    let mut bytes = (value.len() as u16).to_be_bytes().to_vec();
    bytes.extend(value);
    bytes.truncate(length as usize);
    match platform
        .ram
        .write_slice(&bytes, GuestAddress(buffer.into()))
    {
        Ok(()) => RTAS_SUCCESS.into(),
        Err(_) => RTAS_PARAMETER.into(),
    }
}

fn text(platform: &Platform, at: u32) -> String {
    let mut bytes = vec![0; MESSAGE_MAX];
    let n = platform
        .ram
        .read(&mut bytes, GuestAddress(at.into()))
        .unwrap_or(0);
    bytes.truncate(n);
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

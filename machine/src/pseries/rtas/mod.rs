//! RTAS: finds the handler of a call. LoPAR §7.3.

mod eeh;
mod os;
mod processors;

use viommu_cpu::ppc64::Cpu;
use viommu_devices::dma::Gpa;
use viommu_devices::spapr::hcall::{H_SUCCESS, Status};
use viommu_devices::spapr::phb::buid_of;
use viommu_devices::spapr::rtas::{
    MAX_CELLS, RTAS_HARDWARE_ERROR, RTAS_PARAMETER, RtasCall, RtasReply, RtasRequest, RtasStatus,
};

use super::config::Features;
use super::platform::Platform;
use super::slots;
pub use eeh::ERRORS;

/// True if the call's token stands in the device tree: it has a handler, and the machine's options allow it.
pub fn is_offered(call: RtasCall, features: Features) -> bool {
    use RtasCall as R;
    match call {
        R::IbmGetConfigAddrInfo2
        | R::IbmSetEehOption
        | R::IbmReadSlotResetState2
        | R::IbmSetSlotReset
        | R::IbmSlotErrorDetail
        | R::IbmConfigurePe
        | R::IbmOpenErrinjct
        | R::IbmErrinjct
        | R::IbmCloseErrinjct => features.eeh,
        R::IbmQueryPeDmaWindow
        | R::IbmCreatePeDmaWindow
        | R::IbmRemovePeDmaWindow
        | R::IbmResetPeDmaWindows => features.ddw,
        R::DisplayCharacter
        | R::GetTimeOfDay
        | R::SetTimeOfDay
        | R::EventScan
        | R::PowerOff
        | R::SystemReboot
        | R::NvramFetch
        | R::NvramStore
        | R::ReadPciConfig
        | R::WritePciConfig
        | R::IbmReadPciConfig
        | R::IbmWritePciConfig
        | R::IbmChangeMsi
        | R::IbmQueryInterruptSourceNumber
        | R::IbmSetXive
        | R::IbmGetXive
        | R::IbmIntOff
        | R::IbmIntOn
        | R::StartCpu
        | R::QueryCpuStoppedState
        | R::StopSelf
        | R::IbmGetSystemParameter
        | R::IbmSetSystemParameter
        | R::GetSensorState
        | R::SetIndicator
        | R::IbmConfigureConnector
        | R::IbmOsTerm
        | R::IbmExtendedOsTerm => true,
        _ => false,
    }
}

/// H_RTAS: copies the call out of guest memory, carries it out and writes the answer back.
pub fn hypercall(cpus: &mut [Cpu], platform: &mut Platform, caller: usize, buffer: Gpa) -> Status {
    let request = match RtasRequest::parse(&platform.ram, buffer) {
        Ok(request) => request,
        Err(status) => return status,
    };
    let name = request.call.name();
    let began = platform.counters.rtas_begins(name);
    let reply = answer(cpus, platform, caller, &request);
    platform
        .counters
        .rtas_ends(name, reply.status.0.into(), began);
    match request.finish(&platform.ram, &reply) {
        Ok(()) => H_SUCCESS,
        Err(status) => status,
    }
}

fn answer(
    cpus: &mut [Cpu],
    platform: &mut Platform,
    caller: usize,
    request: &RtasRequest,
) -> RtasReply {
    use RtasCall as R;
    let call = request.call;
    if !is_offered(call, platform.features) {
        return RTAS_HARDWARE_ERROR.into();
    }
    match call {
        R::IbmQueryPeDmaWindow
        | R::IbmCreatePeDmaWindow
        | R::IbmRemovePeDmaWindow
        | R::IbmResetPeDmaWindows => windows(platform, request),
        R::IbmSlotErrorDetail | R::IbmOpenErrinjct | R::IbmErrinjct | R::IbmCloseErrinjct => {
            eeh::answer(platform, request)
        }
        R::NvramFetch => platform.nvram.fetch(request.args(), &platform.ram),
        R::NvramStore => platform.nvram.store(request.args(), &platform.ram),
        R::GetSensorState | R::SetIndicator | R::IbmConfigureConnector => {
            slots::rtas(platform, request)
        }
        R::StartCpu | R::QueryCpuStoppedState | R::StopSelf => {
            processors::answer(cpus, platform, caller, request)
        }
        _ => platform
            .xics
            .rtas(call, request.args())
            .or_else(|| platform.bridge_rtas(request))
            .or_else(|| os::answer(platform, request))
            .unwrap_or(RTAS_HARDWARE_ERROR.into()),
    }
}

/// The four calls for dynamic DMA windows. LoPAR §7.3.14.
fn windows(platform: &Platform, request: &RtasRequest) -> RtasReply {
    let named = buid_of(request.call, request.args());
    if named.is_some_and(|buid| platform.is_isolated(buid)) {
        return RTAS_PARAMETER.into();
    }
    let mut cells = [0; MAX_CELLS];
    let outputs = &mut cells[..request.nret.min(MAX_CELLS)];
    platform.iommu.set_now(platform.clock.now_ns());
    match request.call {
        RtasCall::IbmQueryPeDmaWindow => {
            platform.iommu.query_pe_dma_window(request.args(), outputs)
        }
        RtasCall::IbmCreatePeDmaWindow => {
            platform.iommu.create_pe_dma_window(request.args(), outputs)
        }
        RtasCall::IbmRemovePeDmaWindow => {
            platform.iommu.remove_pe_dma_window(request.args(), outputs)
        }
        _ => platform.iommu.reset_pe_dma_windows(request.args(), outputs),
    }
    let mut reply = RtasReply::with(&cells[1..]);
    reply.status = RtasStatus(cells[0] as i32);
    reply
}

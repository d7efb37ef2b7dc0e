//! Starting and stopping processors. LoPAR §7.3.8.

use viommu_cpu::ppc64::Cpu;
use viommu_devices::spapr::rtas::{RTAS_PARAMETER, RTAS_SUCCESS, RtasCall, RtasReply, RtasRequest, RtasStatus};

use crate::pseries::platform::{Platform, VcpuState};

/// start-cpu: the processor is not stopped.
const NOT_STOPPED: RtasStatus = RtasStatus(-1);
/// query-cpu-stopped-state: the processor is stopped.
const STOPPED: u32 = 0;
/// query-cpu-stopped-state: it runs.
const RUNS: u32 = 2;

pub(super) fn answer(cpus: &mut [Cpu], platform: &mut Platform, caller: usize, request: &RtasRequest) -> RtasReply {
    match (request.call, request.args()) {
        (RtasCall::StartCpu, &[id, entry, r3]) => {
            let (Some(cpu), Some(vcpu)) = (cpus.get_mut(id as usize), platform.vcpus.get_mut(id as usize)) else {
                return RTAS_PARAMETER.into();
            };
            if vcpu.state != VcpuState::Stopped {
                return NOT_STOPPED.into();
            }
            platform.partition.start(cpu, entry.into());
            cpu.set_gpr(3, r3.into());
            vcpu.state = VcpuState::Running;
            RTAS_SUCCESS.into()
        }
        (RtasCall::QueryCpuStoppedState, &[id]) => match platform.vcpus.get(id as usize) {
            Some(vcpu) => RtasReply::with(&[if vcpu.state == VcpuState::Stopped { STOPPED } else { RUNS }]),
            None => RTAS_PARAMETER.into(),
        },
        (RtasCall::StopSelf, &[]) => {
            if let Some(vcpu) = platform.vcpus.get_mut(caller) {
                vcpu.state = VcpuState::Stopped;
                vcpu.prodded = false;
            }
            RTAS_SUCCESS.into()
        }
        _ => RTAS_PARAMETER.into(),
    }
}

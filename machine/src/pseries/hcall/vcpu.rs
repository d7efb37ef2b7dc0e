//! Hypercalls about virtual processors: H_CEDE, H_PROD, H_CONFER, H_REGISTER_VPA, H_PURR. LoPAR §14.11.

use viommu_devices::spapr::hcall::{
    H_CEDE, H_CONFER, H_PARAMETER, H_POLL_PENDING, H_PROD, H_PURR, H_REGISTER_VPA, H_SUCCESS, Reply, Status,
};
use vm_memory::{Bytes, GuestAddress};

use super::Call;
use crate::pseries::platform::{Vcpu, VcpuState};

const MSR_EE: u64 = 1 << 15;
const PAGE: u64 = 4096;
/// Smallest virtual processor area, in bytes.
const VPA_MIN: u64 = 640;
/// Invalid length of a registered area. LoPAR §14.11.2.
const H_RESOURCE: Status = Status(-16);
/// An address is badly aligned or crosses a page.
const H_MLENGTH_PARM: Status = Status(-27);

pub(super) fn answer(call: &mut Call<'_>) -> Option<Reply> {
    Some(match call.nr {
        H_CEDE => cede(call).into(),
        H_PROD => prod(call).into(),
        H_CONFER => confer(call).into(),
        H_REGISTER_VPA => register_vpa(call).into(),
        H_PURR => Reply::with(&[call.platform.clock.now_ns() * 64 / 125]),
        H_POLL_PENDING => H_SUCCESS.into(),
        _ => return None,
    })
}

/// Enables external interrupts and waits for one, for the decrementer or for an H_PROD.
fn cede(call: &mut Call<'_>) -> Status {
    if let Some(cpu) = call.cpus.get_mut(call.caller) {
        cpu.set_msr(cpu.msr() | MSR_EE);
    }
    if let Some(vcpu) = call.platform.vcpus.get_mut(call.caller)
        && !std::mem::take(&mut vcpu.prodded)
    {
        vcpu.state = VcpuState::Ceded;
    }
    H_SUCCESS
}

fn prod(call: &mut Call<'_>) -> Status {
    let Some(vcpu) = target(call) else { return H_PARAMETER };
    if vcpu.state == VcpuState::Ceded {
        vcpu.state = VcpuState::Running;
    } else {
        vcpu.prodded = true;
    }
    H_SUCCESS
}

/// Gives the rest of the turn away; the others come next anyway.
fn confer(call: &mut Call<'_>) -> Status {
    const ANYONE: u64 = u64::MAX;
    if call.args[0] != ANYONE && target(call).is_none() {
        return H_PARAMETER;
    }
    call.platform.turn_over = true;
    H_SUCCESS
}

fn target<'a>(call: &'a mut Call<'_>) -> Option<&'a mut Vcpu> {
    call.platform.vcpus.get_mut(usize::try_from(call.args[0]).ok()?)
}

/// H_REGISTER_VPA (flags, processor, address): the kind in bits 16 to 18 of the flags.
fn register_vpa(call: &mut Call<'_>) -> Status {
    let [flags, processor, address, ..] = call.args;
    let Some(vcpu) = usize::try_from(processor).ok().and_then(|n| call.platform.vcpus.get_mut(n)) else { return H_PARAMETER };
    match flags >> 45 & 7 {
        1 => {
            if let Err(status) = check_area(&call.platform.ram, address, VPA_MIN, 16) {
                return status;
            }
            vcpu.vpa = Some(address);
        }
        5 if vcpu.dispatch_log || vcpu.slb_shadow => return H_RESOURCE,
        5 => vcpu.vpa = None,
        2 | 3 if vcpu.vpa.is_none() => return H_RESOURCE,
        2 => {
            if let Err(status) = check_area(&call.platform.ram, address, 48, u64::MAX) {
                return status;
            }
            vcpu.dispatch_log = true;
        }
        3 => {
            if let Err(status) = check_area(&call.platform.ram, address, 8, PAGE) {
                return status;
            }
            vcpu.slb_shadow = true;
        }
        6 => vcpu.dispatch_log = false,
        7 => vcpu.slb_shadow = false,
        _ => return H_PARAMETER,
    }
    H_SUCCESS
}

/// Checks an area whose length stands in its second word (virtual processor area: in the halfword there).
fn check_area(ram: &viommu_devices::memory::GuestRam, address: u64, min: u64, boundary: u64) -> Result<(), Status> {
    if address == 0 || address & 15 != 0 {
        return Err(H_PARAMETER);
    }
    let mut bytes = [0; 8];
    ram.read_slice(&mut bytes, GuestAddress(address)).map_err(|_| H_PARAMETER)?;
    let size = if min == VPA_MIN {
        u64::from(u16::from_be_bytes([bytes[4], bytes[5]]))
    } else {
        u64::from(u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]))
    };
    let crosses = boundary != u64::MAX && address % PAGE + size > PAGE;
    if size < min || crosses { Err(H_MLENGTH_PARM) } else { Ok(()) }
}

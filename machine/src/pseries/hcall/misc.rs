//! Hypercalls without state: what the processor is like, random numbers, access to device memory.

use viommu_cpu::bus::Bus;
use viommu_devices::spapr::hcall::{
    H_FUNCTION, H_GET_CPU_CHARACTERISTICS, H_HOME_NODE_ASSOCIATIVITY, H_LOGICAL_CI_LOAD,
    H_LOGICAL_CI_STORE, H_LOGICAL_DCBF, H_LOGICAL_ICBI, H_PARAMETER, H_PERFMON, H_RANDOM,
    H_SET_DABR, H_SET_XDABR, H_SUCCESS, Reply, Status,
};
use vm_memory::{Bytes, GuestAddress};

use super::Call;
use crate::pseries::random;

/// Behaviour of this processor: it needs no flush of its first-level cache on entry (bit 7) or on user access (bit 8), and no store
/// forwarding barrier (bit 9).
const BEHAVIOUR: u64 = 1 << 56 | 1 << 55 | 1 << 54;

pub(super) fn answer(call: &mut Call<'_>) -> Option<Reply> {
    let args = call.args;
    Some(match call.nr {
        H_GET_CPU_CHARACTERISTICS => Reply::with(&[0, BEHAVIOUR]),
        H_HOME_NODE_ASSOCIATIVITY => home_node(call),
        H_RANDOM => Reply::with(&[random::next(&mut call.platform.random)]),
        H_LOGICAL_CI_LOAD => ci_load(call).map_or_else(Reply::from, |value| Reply::with(&[value])),
        H_LOGICAL_CI_STORE => ci_store(call).err().unwrap_or(H_SUCCESS).into(),
        // Caches do not show, and there are no counters to enable.
        H_LOGICAL_ICBI | H_LOGICAL_DCBF | H_PERFMON => H_SUCCESS.into(),
        H_SET_DABR | H_SET_XDABR => {
            log::debug!("no data address breakpoint: {:#x}", args[0]);
            H_FUNCTION.into()
        }
        _ => return None,
    })
}

/// All memory and all processors are in node 0; the last of the five numbers is the processor's own.
fn home_node(call: &Call<'_>) -> Reply {
    let [flags, processor, ..] = call.args;
    if flags != 1 || processor >= call.platform.vcpus.len() as u64 {
        return H_PARAMETER.into();
    }
    Reply::with(&[
        0,
        0,
        processor << 32 | 0xffff_ffff,
        u64::MAX,
        u64::MAX,
        u64::MAX,
    ])
}

fn width(size: u64, address: u64) -> Result<usize, Status> {
    match size {
        1 | 2 | 4 | 8 if address.is_multiple_of(size) => Ok(size as usize),
        _ => Err(H_PARAMETER),
    }
}

fn ci_load(call: &mut Call<'_>) -> Result<u64, Status> {
    let [size, address, ..] = call.args;
    let width = width(size, address)?;
    let mut bytes = [0; 8];
    let part = &mut bytes[8 - width..];
    if call
        .platform
        .ram
        .read_slice(part, GuestAddress(address))
        .is_err()
    {
        call.platform
            .mmio_read(address, part)
            .map_err(|_| H_PARAMETER)?;
    }
    Ok(u64::from_be_bytes(bytes))
}

fn ci_store(call: &mut Call<'_>) -> Result<(), Status> {
    let [size, address, value, ..] = call.args;
    let bytes = value.to_be_bytes();
    let part = &bytes[8 - width(size, address)?..];
    if call
        .platform
        .ram
        .write_slice(part, GuestAddress(address))
        .is_err()
    {
        call.platform
            .mmio_write(address, part)
            .map_err(|_| H_PARAMETER)?;
    }
    Ok(())
}

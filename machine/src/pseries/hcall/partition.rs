//! Hypercalls that change how the whole partition runs: H_SET_MODE, H_REGISTER_PROC_TBL. LoPAR §14.5.4.3.

use viommu_devices::spapr::hcall::{
    H_P2, H_P3, H_P4, H_PARAMETER, H_REGISTER_PROC_TBL, H_SET_MODE, H_SUCCESS, Reply, Status,
};

use super::Call;

/// A flag is not supported: the value for "bit 0 of the flags".
const H_UNSUPPORTED_FLAG: Status = Status(-256);

/// H_SET_MODE: where interrupts are taken.
const RESOURCE_ADDR_TRANS_MODE: u64 = 3;
/// H_SET_MODE: byte order of interrupts.
const RESOURCE_LE: u64 = 4;

/// H_REGISTER_PROC_TBL flags.
const FLAG_MODIFY: u64 = 0x10;
const FLAG_REGISTER: u64 = 0x08;
const FLAG_RADIX: u64 = 0x04;
const FLAG_GTSE: u64 = 0x01;
const FLAGS: u64 = 0x1f;

pub(super) fn answer(call: &mut Call<'_>) -> Option<Reply> {
    Some(match call.nr {
        H_SET_MODE => set_mode(call).into(),
        H_REGISTER_PROC_TBL => register_process_table(call).into(),
        _ => return None,
    })
}

fn set_mode(call: &mut Call<'_>) -> Status {
    let [flags, resource, value1, value2, ..] = call.args;
    if !matches!(resource, RESOURCE_ADDR_TRANS_MODE | RESOURCE_LE) {
        return H_P2;
    }
    if value1 != 0 {
        return H_P3;
    }
    if value2 != 0 {
        return H_P4;
    }
    let partition = &mut call.platform.partition;
    match (resource, flags) {
        (RESOURCE_LE, 0 | 1) => partition.little_endian = flags == 1,
        (RESOURCE_ADDR_TRANS_MODE, 0 | 2 | 3) => partition.ail = flags as u8,
        _ => return H_UNSUPPORTED_FLAG,
    }
    call.platform.partition.apply(call.cpus);
    H_SUCCESS
}

/// H_REGISTER_PROC_TBL (flags, base, page size, table size): radix only.
fn register_process_table(call: &mut Call<'_>) -> Status {
    let [flags, base, page_size, table_size, ..] = call.args;
    if flags & !FLAGS != 0 {
        return H_PARAMETER;
    }
    let partition = &mut call.platform.partition;
    if flags & FLAG_MODIFY != 0 {
        if flags & FLAG_REGISTER == 0 {
            partition.process_table = 0;
        } else if flags & FLAG_RADIX == 0 {
            return H_PARAMETER;
        } else if base & 0xfff != 0 || base >= call.platform.memory {
            return H_P2;
        } else if page_size != 0 {
            return H_P3;
        } else if table_size > 24 {
            return H_P4;
        } else {
            partition.process_table = base | table_size;
            partition.radix = true;
        }
    }
    partition.gtse = flags & FLAG_GTSE != 0;
    call.platform.partition.apply(call.cpus);
    H_SUCCESS
}

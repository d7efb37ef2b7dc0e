//! The register file: widths are split here, and nowhere else. VT-d 4.1 §11.2 (access rules), §11.4 (registers).

use super::config::{Capabilities, Config};
use super::spec::fault::Record;
use super::spec::mask;
use super::spec::registers::{EIME, fsts};
use super::spec::registers::{
    EPM, EVENT_MASKED, FRO, ICC, IQA_DW, IVT, IWC, PMEN_PRS, PPR, PRO, Register, SIZE,
};
use super::state::State;
use crate::effects::Msi;

/// What a register write asks of the unit once the registers are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// GCMD was written.
    GlobalCommand(u32),
    /// CCMD.ICC was set.
    ContextCommand,
    /// IOTLB.IVT was set.
    IotlbCommand,
    /// The queue may have something to fetch.
    Queue,
    /// PMEN, PLM or PHM changed.
    ProtectedMemory,
    /// Send this.
    Message(Msi),
}

/// The register that holds an offset: where it begins, and its size.
pub fn locate(offset: u64, records: usize) -> Option<(Register, u64, u64)> {
    if let Some(at) = offset.checked_sub(FRO)
        && at < 16 * records as u64
    {
        let high = at & 8 != 0;
        return Some((Register::FRCD((at / 16) as u16, high), offset & !7, 8));
    }
    Register::MAP
        .iter()
        .find(|(base, size, _)| (*base..base + size).contains(&offset))
        .map(|(base, size, register)| (*register, *base, *size))
}

/// Reads `size` bytes (1, 2, 4 or 8) at any offset. Reserved bytes are 0.
pub fn read(state: &State, config: &Config, caps: &Capabilities, offset: u64, size: u8) -> u64 {
    let mut value = 0;
    let mut done = 0;
    while done < u64::from(size.min(8)) {
        let at = offset.wrapping_add(done);
        let Some((register, base, width)) = locate(at, state.records.len()).filter(|_| at < SIZE)
        else {
            done += 1;
            continue;
        };
        let part = read_register(state, config, caps, register) >> (8 * (at - base));
        let bytes = (width - (at - base)).min(u64::from(size) - done);
        value |= (part & mask((8 * bytes - 1) as u32, 0)) << (8 * done);
        done += bytes;
    }
    value
}

/// Writes 4 or 8 bytes at an offset aligned to 4. Anything else is ignored, as are reserved and read-only registers.
pub fn write(state: &mut State, config: &Config, offset: u64, size: u8, value: u64) -> Vec<Todo> {
    let mut todo = Vec::new();
    if !(size == 4 || size == 8) || !offset.is_multiple_of(4) || offset >= SIZE {
        return todo;
    }
    if let Some((register, base, 8)) = locate(offset, state.records.len())
        && size == 8
        && base == offset
    {
        write_register(state, config, register, value, u64::MAX, &mut todo);
        return todo;
    }
    for half in 0..u64::from(size / 4) {
        let part = value >> (32 * half) & 0xffff_ffff;
        if let Some((register, base, _)) = locate(offset + 4 * half, state.records.len()) {
            let shift = 8 * (offset + 4 * half - base);
            write_register(
                state,
                config,
                register,
                part << shift,
                0xffff_ffff << shift,
                &mut todo,
            );
        }
    }
    todo
}

/// True for registers that are reserved, as what they are for is not there. VT-d 4.1 §11.4.9 to §11.4.11.
const fn is_absent(config: &Config, register: Register) -> bool {
    use Register::*;
    match register {
        IQH | IQT | IQA | ICS | IECTL | IEDATA | IEADDR | IEUADDR | IQERCD => {
            !config.queued_invalidation
        }
        IRTA => !config.interrupt_remapping,
        PQH | PQT | PQA | PRS | PECTL | PEDATA | PEADDR | PEUADDR => !config.page_requests,
        _ => false,
    }
}

fn read_register(s: &State, config: &Config, caps: &Capabilities, register: Register) -> u64 {
    use Register::*;
    if is_absent(config, register) {
        return 0;
    }
    match register {
        VER => u64::from(config.version.0) << 4 | u64::from(config.version.1),
        CAP => caps.cap.into(),
        ECAP => caps.ecap.into(),
        GCMD => 0,
        GSTS => s.gsts.into(),
        RTADDR => s.rtaddr,
        CCMD => s.ccmd,
        FSTS => u64::from(s.fsts) | u64::from(s.fri) << 8,
        FECTL => s.fault_event.control.into(),
        FEDATA => s.fault_event.data.into(),
        FEADDR => s.fault_event.address.into(),
        FEUADDR => s.fault_event.upper_address.into(),
        PMEN => s.pmen.into(),
        PLMBASE => s.plmbase.into(),
        PLMLIMIT => s.plmlimit.into(),
        PHMBASE => s.phmbase,
        PHMLIMIT => s.phmlimit,
        IQH => s.iqh,
        IQT => s.iqt,
        IQA => s.iqa,
        ICS => s.ics.into(),
        IECTL => s.invalidation_event.control.into(),
        IEDATA => s.invalidation_event.data.into(),
        IEADDR => s.invalidation_event.address.into(),
        IEUADDR => s.invalidation_event.upper_address.into(),
        IQERCD => s.iqercd,
        IRTA => s.irta,
        PQH => s.pqh,
        PQT => s.pqt,
        PQA => s.pqa,
        PRS => s.prs.into(),
        PECTL => s.page_event.control.into(),
        PEDATA => s.page_event.data.into(),
        PEADDR => s.page_event.address.into(),
        PEUADDR => s.page_event.upper_address.into(),
        IVA => 0,
        IOTLB => s.iotlb,
        FRCD(n, high) => s
            .records
            .get(usize::from(n))
            .map_or(0, |r| r.0[usize::from(high)]),
    }
}

/// `value` and `bytes` are in place: only bits of `bytes` were written.
fn write_register(
    s: &mut State,
    config: &Config,
    register: Register,
    value: u64,
    bytes: u64,
    todo: &mut Vec<Todo>,
) {
    use Register::*;
    if is_absent(config, register) {
        return;
    }
    let haw = mask(config.host_address_width - 1, 12);
    let set = |old: u64, writable: u64| old & !(bytes & writable) | value & bytes & writable;
    let set32 = |old: u32, writable: u32| set(old.into(), writable.into()) as u32;
    let low = value as u32;
    match register {
        VER | CAP | ECAP | GSTS | IQH | IQERCD => {}
        GCMD => todo.push(Todo::GlobalCommand(low)),
        RTADDR => s.rtaddr = set(s.rtaddr, haw | mask(11, 10)),
        CCMD => {
            s.ccmd = set(s.ccmd, mask(33, 0) | mask(62, 61));
            if value & bytes & ICC != 0 {
                s.ccmd |= ICC;
                todo.push(Todo::ContextCommand);
            }
        }
        IVA => s.iva = set(s.iva, mask(6, 0) | mask(63, 12)),
        IOTLB => {
            s.iotlb = set(s.iotlb, mask(49, 32) | mask(61, 60));
            if value & bytes & IVT != 0 {
                s.iotlb |= IVT;
                todo.push(Todo::IotlbCommand);
            }
        }
        FSTS => {
            let stopped = !s.may_fetch();
            s.clear_fault_status(low);
            if low & fsts::ITE != 0 {
                s.iqercd &= !mask(47, 32);
            }
            if low & fsts::ICE != 0 {
                s.iqercd &= !mask(63, 48);
            }
            if low & fsts::IQE != 0 {
                s.iqercd &= !0xf;
            }
            if stopped && s.may_fetch() {
                todo.push(Todo::Queue);
            }
        }
        FECTL => todo.extend(
            s.fault_event
                .set_control(low & EVENT_MASKED)
                .map(Todo::Message),
        ),
        FEDATA => s.fault_event.data = set32(s.fault_event.data, 0xffff),
        FEADDR => s.fault_event.address = set32(s.fault_event.address, !3),
        FEUADDR => s.fault_event.upper_address = low,
        PMEN => write_pmen(s, config, low, todo),
        PLMBASE | PLMLIMIT | PHMBASE | PHMLIMIT
            if !config.protected_memory || s.pmen & EPM != 0 => {}
        PLMBASE => s.plmbase = set32(s.plmbase, !(PROTECTED_GRANULE as u32 - 1)),
        PLMLIMIT => s.plmlimit = set32(s.plmlimit, !(PROTECTED_GRANULE as u32 - 1)),
        PHMBASE => s.phmbase = set(s.phmbase, haw & !(PROTECTED_GRANULE - 1)),
        PHMLIMIT => s.phmlimit = set(s.phmlimit, haw & !(PROTECTED_GRANULE - 1)),
        IQT => {
            s.iqt = set(s.iqt, mask(18, 4));
            if bytes & 0xffff_ffff != 0 {
                todo.push(Todo::Queue);
            }
        }
        // Where 256 bits are not supported, the queue says so.
        IQA => s.iqa = set(s.iqa, haw | 7 | IQA_DW),
        ICS => {
            s.ics &= !(low & IWC);
            if s.ics == 0 {
                s.invalidation_event.lower();
            }
        }
        IECTL => todo.extend(s.invalidation_event.set_control(low).map(Todo::Message)),
        IEDATA => s.invalidation_event.data = set32(s.invalidation_event.data, 0xffff),
        IEADDR => s.invalidation_event.address = set32(s.invalidation_event.address, !3),
        IEUADDR => s.invalidation_event.upper_address = low,
        IRTA => s.irta = set(s.irta, haw | 0xf | if config.eim { EIME } else { 0 }),
        PQH => s.pqh = set(s.pqh, mask(18, 5)),
        PQT => s.pqt = set(s.pqt, mask(18, 5)),
        PQA => s.pqa = set(s.pqa, haw | 7),
        PRS => {
            s.prs &= !(low & (PPR | PRO));
            if s.prs == 0 {
                s.page_event.lower();
            }
        }
        PECTL => todo.extend(s.page_event.set_control(low).map(Todo::Message)),
        PEDATA => s.page_event.data = set32(s.page_event.data, 0xffff),
        PEADDR => s.page_event.address = set32(s.page_event.address, !3),
        PEUADDR => s.page_event.upper_address = low,
        FRCD(n, high) => {
            if high
                && value & bytes & Record::FAULT != 0
                && let Some(record) = s.records.get_mut(usize::from(n))
            {
                record.0[1] &= !Record::FAULT;
                s.clear_fault_status(0);
            }
        }
    }
}

/// Protected regions begin and end at multiples of this.
pub const PROTECTED_GRANULE: u64 = 2 << 20;

fn write_pmen(s: &mut State, config: &Config, value: u32, todo: &mut Vec<Todo>) {
    if !config.protected_memory {
        return;
    }
    // PRS follows EPM once the change is in force.
    s.pmen = s.pmen & PMEN_PRS | value & EPM;
    todo.push(Todo::ProtectedMemory);
}

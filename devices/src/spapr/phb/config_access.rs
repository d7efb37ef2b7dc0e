//! RTAS calls that a bridge serves, and configuration space among them. LoPAR §7.

use super::{PE_CONFIG_ADDR, Phb};
use crate::effects::Effects;
use crate::spapr::rtas::{RTAS_PARAMETER, RTAS_SUCCESS, RtasCall, RtasReply};

/// The configuration address of a register: bus 23:16, devfn 15:8, register 7:0 and, of its upper bits, 31:28. LoPAR §7.
pub fn config_addr(bus: u8, devfn: u8, register: u16) -> u32 {
    let register = u32::from(register);
    (register & 0xf00) << 20 | u32::from(bus) << 16 | u32::from(devfn) << 8 | register & 0xff
}

/// The unit id that a call names, for choosing the bridge; `None` if the call or its arguments name none.
pub fn buid_of(call: RtasCall, args: &[u32]) -> Option<u64> {
    use RtasCall as C;
    let at = match call {
        C::IbmReadPciConfig
        | C::IbmWritePciConfig
        | C::IbmChangeMsi
        | C::IbmQueryInterruptSourceNumber => 1,
        C::IbmGetConfigAddrInfo2
        | C::IbmSetEehOption
        | C::IbmReadSlotResetState2
        | C::IbmSetSlotReset => 1,
        C::IbmSlotErrorDetail | C::IbmConfigurePe => 1,
        C::IbmQueryPeDmaWindow | C::IbmCreatePeDmaWindow | C::IbmResetPeDmaWindows => 1,
        _ => return None,
    };
    Some(u64::from(*args.get(at)?) << 32 | u64::from(*args.get(at + 1)?))
}

/// Bus, devfn and register of a configuration address.
pub(super) fn split(config_addr: u32) -> (u8, u8, u16) {
    let register = config_addr >> 20 & 0xf00 | config_addr & 0xff;
    (
        (config_addr >> 16) as u8,
        (config_addr >> 8) as u8,
        register as u16,
    )
}

impl Phb {
    /// Serves configuration access, `ibm,change-msi`, `ibm,query-interrupt-source-number`, and calls for error handling but
    /// `ibm,slot-error-detail`. `None` if `call` is none of these. Calls that name another unit id get status -3, and so do all while
    /// the bridge is isolated.
    pub fn rtas(&mut self, call: RtasCall, args: &[u32]) -> Option<RtasReply> {
        let ours =
            !self.isolated && buid_of(call, args).is_none_or(|buid| buid == self.config.buid);
        let bad = Some(RTAS_PARAMETER.into());
        Some(match (call, args) {
            (RtasCall::ReadPciConfig, &[addr, size]) if ours => self.config_read(addr, size),
            (RtasCall::WritePciConfig, &[addr, size, value]) if ours => {
                self.config_write(addr, size, value)
            }
            (RtasCall::IbmReadPciConfig, &[addr, _, _, size]) if ours => {
                self.config_read(addr, size)
            }
            (RtasCall::IbmWritePciConfig, &[addr, _, _, size, value]) if ours => {
                self.config_write(addr, size, value)
            }
            (RtasCall::IbmChangeMsi, &[addr, _, _, function, count, sequence]) if ours => {
                self.change_msi(addr, function, count, sequence)
            }
            (RtasCall::IbmQueryInterruptSourceNumber, &[addr, _, _, index]) if ours => {
                self.query_source(addr, index)
            }
            (RtasCall::IbmGetConfigAddrInfo2, &[addr, _, _, option]) if ours => {
                self.config_addr_info(addr, option)
            }
            (
                RtasCall::IbmSetEehOption
                | RtasCall::IbmReadSlotResetState2
                | RtasCall::IbmSetSlotReset
                | RtasCall::IbmConfigurePe,
                _,
            ) if ours => self.eeh(call, args),
            (
                RtasCall::ReadPciConfig
                | RtasCall::WritePciConfig
                | RtasCall::IbmReadPciConfig
                | RtasCall::IbmWritePciConfig
                | RtasCall::IbmChangeMsi
                | RtasCall::IbmQueryInterruptSourceNumber
                | RtasCall::IbmGetConfigAddrInfo2
                | RtasCall::IbmSetEehOption
                | RtasCall::IbmReadSlotResetState2
                | RtasCall::IbmSetSlotReset
                | RtasCall::IbmConfigurePe,
                _,
            ) => return bad,
            _ => return None,
        })
    }

    /// (address, size) -> status, value. An absent function reads all ones with success, as a master abort does.
    fn config_read(&self, addr: u32, size: u32) -> RtasReply {
        let (bus, devfn, register) = split(addr);
        let Some(mask) = access_mask(register, size) else {
            return RTAS_PARAMETER.into();
        };
        let value = match self.slots.get(&devfn) {
            Some(slot) if bus == 0 => slot.device.config_read(register, size as u8),
            _ => u32::MAX,
        };
        RtasReply::with(&[value & mask])
    }

    fn config_write(&mut self, addr: u32, size: u32, value: u32) -> RtasReply {
        let (bus, devfn, register) = split(addr);
        let Some(mask) = access_mask(register, size) else {
            return RTAS_PARAMETER.into();
        };
        if bus == 0 {
            self.write_register(devfn, register, size as u8, value & mask);
        }
        RTAS_SUCCESS.into()
    }

    /// Writes a register of a function and follows what it changes.
    pub(super) fn write_register(&mut self, devfn: u8, register: u16, size: u8, value: u32) {
        let mut effects = Effects::default();
        if let Some(slot) = self.slots.get_mut(&devfn) {
            slot.device
                .config_write(register, size, value, &mut effects);
        }
        self.rebuild_decode();
        self.apply(devfn, effects);
    }

    /// Option 0: configuration address of the partitionable endpoint, which is the whole bridge; option 1: its mode, 2 for a PE that
    /// may have several functions. LoPAR §7.
    fn config_addr_info(&self, addr: u32, option: u32) -> RtasReply {
        let (bus, devfn, _) = split(addr);
        if bus != 0 || !self.slots.contains_key(&devfn) {
            return RTAS_PARAMETER.into();
        }
        match option {
            0 => RtasReply::with(&[PE_CONFIG_ADDR]),
            1 => RtasReply::with(&[2]),
            _ => RTAS_PARAMETER.into(),
        }
    }
}

/// The bits of an access, if it is of an allowed size and aligned.
fn access_mask(register: u16, size: u32) -> Option<u32> {
    let mask = match size {
        1 => 0xff,
        2 => 0xffff,
        4 => u32::MAX,
        _ => return None,
    };
    (u32::from(register) & (size - 1) == 0).then_some(mask)
}

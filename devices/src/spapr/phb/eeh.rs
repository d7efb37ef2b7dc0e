//! RTAS calls for error handling. The bridge is one PE, whose configuration address is [`PE_CONFIG_ADDR`]. LoPAR §7.3.11.

use super::Phb;
use super::config_access::split;
use crate::spapr::eeh::PeHealth;
use crate::spapr::rtas::{RTAS_PARAMETER, RTAS_SUCCESS, RtasCall, RtasReply, RtasStatus};

/// Configuration address of the bridge's PE.
pub const PE_CONFIG_ADDR: u32 = 1;
/// ibm,slot-error-detail: there is no error to tell of.
const NO_LOG: RtasStatus = RtasStatus(1);
/// Error handling is supported, second output of ibm,read-slot-reset-state2.
const SUPPORTED: u32 = 1;

impl Phb {
    /// The health of the bridge's PE.
    pub fn health(&self) -> &PeHealth {
        &self.health
    }

    /// Serves the calls for error handling that need no memory. The unit id has been checked.
    pub(super) fn eeh(&mut self, call: RtasCall, args: &[u32]) -> RtasReply {
        let known = args.first().is_some_and(|&addr| self.in_pe(addr));
        if !known {
            return RTAS_PARAMETER.into();
        }
        match (call, args) {
            (RtasCall::IbmSetEehOption, &[_, _, _, option]) => {
                match option {
                    0 | 1 => self.health.enable(option == 1),
                    2 => self.health.allow_mmio(),
                    3 => self.health.allow_dma(),
                    _ => return RTAS_PARAMETER.into(),
                }
                RTAS_SUCCESS.into()
            }
            // State, supported, milliseconds until it is available, milliseconds that a recovery needs.
            (RtasCall::IbmReadSlotResetState2, &[_, _, _]) => {
                RtasReply::with(&[self.health.state() as u32, SUPPORTED, 0, 0])
            }
            (RtasCall::IbmSetSlotReset, &[_, _, _, function]) => {
                match function {
                    0 => self.health.release_reset(),
                    // Hot and fundamental reset.
                    1 | 3 => {
                        self.health.assert_reset();
                        self.reset_functions();
                    }
                    _ => return RTAS_PARAMETER.into(),
                }
                RTAS_SUCCESS.into()
            }
            // There are no bridges below this one to configure.
            (RtasCall::IbmConfigurePe, &[_, _, _]) => RTAS_SUCCESS.into(),
            _ => RTAS_PARAMETER.into(),
        }
    }

    /// ibm,slot-error-detail: the log for a PE that an error has stopped.
    ///
    /// # Errors
    /// The status if there is none.
    pub fn error_log(&self, buid: u64, addr: u32) -> Result<[u8; 8], RtasStatus> {
        if buid != self.config.buid || !self.in_pe(addr) {
            return Err(RTAS_PARAMETER);
        }
        if self.health.state() == crate::spapr::eeh::PeState::Normal {
            return Err(NO_LOG);
        }
        // Version 6, severity "error", not recovered, no extended part; of an I/O device, "retry". LoPAR §10.3.2.
        Ok([6, 3 << 5 | 2 << 3, 4 << 4, 1, 0, 0, 0, 0])
    }

    /// True if a caller may name the bridge's PE so: by its own address or a function's.
    pub fn in_pe(&self, addr: u32) -> bool {
        let (bus, devfn, register) = split(addr);
        addr == PE_CONFIG_ADDR || bus == 0 && register == 0 && self.slots.contains_key(&devfn)
    }

    /// As power-on does to the functions; message interrupts stay given.
    fn reset_functions(&mut self) {
        let all: Vec<u8> = self.slots.keys().copied().collect();
        for devfn in all {
            self.set_pin(devfn, false);
            if let Some(slot) = self.slots.get_mut(&devfn) {
                slot.device.reset();
                slot.deadline = None;
            }
        }
        self.rebuild_decode();
    }
}

//! RTAS: the table of calls, the argument buffer, status values. LoPAR §7.
//!
//! Which handler serves a call is the machine's business; it matches on [`RtasCall`].

use vm_memory::{Bytes, GuestAddress};

use super::hcall::{self, Status};
use crate::dma::Gpa;
use crate::memory::GuestRam;

#[cfg(test)]
mod tests;

/// Most input cells a call may have, and most output cells.
pub const MAX_CELLS: usize = 16;

/// Status of an RTAS call, in the first output cell. LoPAR §7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RtasStatus(pub i32);

/// Success.
pub const RTAS_SUCCESS: RtasStatus = RtasStatus(0);
/// Hardware error; the general failure.
pub const RTAS_HARDWARE_ERROR: RtasStatus = RtasStatus(-1);
/// Busy, call again.
pub const RTAS_BUSY: RtasStatus = RtasStatus(-2);
/// A parameter is invalid, or no such indicator, sensor or parameter token.
pub const RTAS_PARAMETER: RtasStatus = RtasStatus(-3);
/// For some calls: not a valid state.
pub const RTAS_NO_STATE: RtasStatus = RtasStatus(-7);
/// Not authorised, or the operation is not allowed to this partition.
pub const RTAS_NOT_AUTHORIZED: RtasStatus = RtasStatus(-9002);
/// For `check-exception`, `event-scan`: no error found.
pub const RTAS_NO_EVENT: RtasStatus = RtasStatus(1);

impl RtasStatus {
    /// Extended delay: try again after about 10^`exponent` milliseconds (0 to 5).
    pub const fn delay(exponent: u8) -> Self {
        RtasStatus(9900 + if exponent > 5 { 5 } else { exponent as i32 })
    }
}

/// Answer of an RTAS handler: the status, then values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtasReply {
    /// First output cell.
    pub status: RtasStatus,
    /// The output cells after it.
    pub values: [u32; MAX_CELLS - 1],
}

impl From<RtasStatus> for RtasReply {
    fn from(status: RtasStatus) -> Self {
        RtasReply {
            status,
            values: [0; MAX_CELLS - 1],
        }
    }
}

impl RtasReply {
    /// Success with values (at most 15; the rest is dropped).
    pub fn with(values: &[u32]) -> Self {
        let mut reply = RtasReply::from(RTAS_SUCCESS);
        for (slot, &value) in reply.values.iter_mut().zip(values) {
            *slot = value;
        }
        reply
    }
}

macro_rules! calls {
    ($($variant:ident = $token:literal $name:literal $doc:literal,)+) => {
        /// An RTAS call. Tokens are this platform's; a guest finds them in the device tree.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RtasCall {
            $(#[doc = concat!("`", $name, "`: ", $doc)] $variant,)+
        }

        impl RtasCall {
            /// All calls, in order of their tokens.
            pub const ALL: &'static [RtasCall] = &[$(RtasCall::$variant),+];

            /// Name of the property of `/rtas` that holds the token.
            pub const fn name(self) -> &'static str {
                match self { $(RtasCall::$variant => $name),+ }
            }

            /// The token.
            pub const fn token(self) -> u32 {
                match self { $(RtasCall::$variant => $token),+ }
            }

            /// The call of a token.
            pub const fn from_token(token: u32) -> Option<Self> {
                match token { $($token => Some(RtasCall::$variant),)+ _ => None }
            }
        }
    };
}

calls! {
    DisplayCharacter = 0x2000 "display-character" "one character to the operator",
    GetTimeOfDay = 0x2001 "get-time-of-day" "time since 1 January, UTC",
    SetTimeOfDay = 0x2002 "set-time-of-day" "sets the clock",
    EventScan = 0x2003 "event-scan" "polls for events",
    CheckException = 0x2004 "check-exception" "fetches the log of an interrupt",
    PowerOff = 0x2005 "power-off" "ends the machine",
    SystemReboot = 0x2006 "system-reboot" "restarts the machine",
    NvramFetch = 0x2007 "nvram-fetch" "reads NVRAM",
    NvramStore = 0x2008 "nvram-store" "writes NVRAM",
    ReadPciConfig = 0x2009 "read-pci-config" "configuration read without a unit id",
    WritePciConfig = 0x200a "write-pci-config" "configuration write without a unit id",
    IbmReadPciConfig = 0x200b "ibm,read-pci-config" "configuration read",
    IbmWritePciConfig = 0x200c "ibm,write-pci-config" "configuration write",
    IbmChangeMsi = 0x200d "ibm,change-msi" "gives message interrupts to a function",
    IbmQueryInterruptSourceNumber = 0x200e "ibm,query-interrupt-source-number" "source of a function's interrupt",
    IbmSetXive = 0x200f "ibm,set-xive" "server and priority of a source",
    IbmGetXive = 0x2010 "ibm,get-xive" "reads them",
    IbmIntOff = 0x2011 "ibm,int-off" "masks a source",
    IbmIntOn = 0x2012 "ibm,int-on" "unmasks a source",
    IbmQueryPeDmaWindow = 0x2013 "ibm,query-pe-dma-window" "what windows could be made",
    IbmCreatePeDmaWindow = 0x2014 "ibm,create-pe-dma-window" "makes a window",
    IbmRemovePeDmaWindow = 0x2015 "ibm,remove-pe-dma-window" "removes a window",
    IbmResetPeDmaWindows = 0x2016 "ibm,reset-pe-dma-window" "boot state of a PE's windows",
    StartCpu = 0x2017 "start-cpu" "starts a stopped processor",
    QueryCpuStoppedState = 0x2018 "query-cpu-stopped-state" "whether a processor is stopped",
    StopSelf = 0x2019 "stop-self" "stops the calling processor",
    IbmGetSystemParameter = 0x201a "ibm,get-system-parameter" "reads a parameter",
    IbmSetSystemParameter = 0x201b "ibm,set-system-parameter" "sets a parameter",
    IbmOsTerm = 0x201c "ibm,os-term" "the system ended abnormally",
    IbmGetConfigAddrInfo2 = 0x201d "ibm,get-config-addr-info2" "PE of a configuration address",
    IbmSetEehOption = 0x201e "ibm,set-eeh-option" "turns error handling on",
    IbmReadSlotResetState2 = 0x201f "ibm,read-slot-reset-state2" "state of a PE",
    IbmSetSlotReset = 0x2020 "ibm,set-slot-reset" "resets a PE",
    IbmSlotErrorDetail = 0x2021 "ibm,slot-error-detail" "log of a frozen PE",
    IbmConfigurePe = 0x2022 "ibm,configure-pe" "restores a PE's configuration",
    IbmExtendedOsTerm = 0x2023 "ibm,extended-os-term" "says that os-term may be called",
    GetSensorState = 0x2024 "get-sensor-state" "reads a sensor",
    SetIndicator = 0x2025 "set-indicator" "sets an indicator",
    GetPowerLevel = 0x2026 "get-power-level" "reads a power domain",
    SetPowerLevel = 0x2027 "set-power-level" "sets a power domain",
    IbmConfigureConnector = 0x2028 "ibm,configure-connector" "device tree of a connector",
    IbmNmiRegister = 0x2029 "ibm,nmi-register" "registers machine-check handlers",
    IbmNmiInterlock = 0x202a "ibm,nmi-interlock" "releases the machine-check log",
    IbmOpenErrinjct = 0x202b "ibm,open-errinjct" "begins a session of error injection",
    IbmErrinjct = 0x202c "ibm,errinjct" "injects an error",
    IbmCloseErrinjct = 0x202d "ibm,close-errinjct" "ends the session",
}

/// One RTAS call, copied out of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtasRequest {
    /// Which call.
    pub call: RtasCall,
    /// Where the argument buffer is.
    pub buffer: Gpa,
    /// Output cells that the caller has room for.
    pub nret: usize,
    nargs: usize,
    cells: [u32; MAX_CELLS],
}

/// Reads big-endian cells.
fn cells<const N: usize>(ram: &GuestRam, at: u64) -> Option<[u32; N]> {
    let mut out = [0u32; N];
    for (i, slot) in (0u64..).zip(out.iter_mut()) {
        let mut bytes = [0u8; 4];
        ram.read_slice(&mut bytes, GuestAddress(at.checked_add(4 * i)?))
            .ok()?;
        *slot = u32::from_be_bytes(bytes);
    }
    Some(out)
}

impl RtasRequest {
    /// Copies a call out of its argument buffer: token, number of inputs, number of outputs, inputs; all 32-bit big-endian.
    ///
    /// # Errors
    /// The status for H_RTAS: `H_PARAMETER` if the buffer is not in RAM, is not aligned to 4 bytes, has more than 16 inputs or
    /// outputs, or its token is unknown.
    pub fn parse(ram: &GuestRam, buffer: Gpa) -> Result<Self, Status> {
        let bad = hcall::H_PARAMETER;
        if buffer.0 & 3 != 0 {
            return Err(bad);
        }
        let [token, nargs, nret] = cells::<3>(ram, buffer.0).ok_or(bad)?;
        let (nargs, nret) = (nargs as usize, nret as usize);
        if nargs > MAX_CELLS || nret > MAX_CELLS {
            return Err(bad);
        }
        let call = RtasCall::from_token(token).ok_or(bad)?;
        let mut inputs = [0; MAX_CELLS];
        for (i, slot) in (0u64..).zip(inputs.iter_mut().take(nargs)) {
            let at = buffer.0.checked_add(12 + 4 * i).ok_or(bad)?;
            [*slot] = cells::<1>(ram, at).ok_or(bad)?;
        }
        Ok(RtasRequest {
            call,
            buffer,
            nret,
            nargs,
            cells: inputs,
        })
    }

    /// The input cells.
    pub fn args(&self) -> &[u32] {
        self.cells.get(..self.nargs).unwrap_or(&[])
    }

    /// Input cell `index`, if the caller passed it.
    pub fn arg(&self, index: usize) -> Option<u32> {
        self.args().get(index).copied()
    }

    /// Writes the output cells that the caller has room for.
    ///
    /// # Errors
    /// `H_PARAMETER` if the buffer's end is not in RAM.
    pub fn finish(&self, ram: &GuestRam, reply: &RtasReply) -> Result<(), Status> {
        let mut out = Vec::with_capacity(4 * MAX_CELLS);
        let values = std::iter::once(reply.status.0 as u32).chain(reply.values);
        for value in values.take(self.nret) {
            out.extend_from_slice(&value.to_be_bytes());
        }
        let at = self
            .buffer
            .0
            .checked_add(12 + 4 * self.nargs as u64)
            .ok_or(hcall::H_PARAMETER)?;
        ram.write_slice(&out, GuestAddress(at))
            .map_err(|_| hcall::H_PARAMETER)
    }
}

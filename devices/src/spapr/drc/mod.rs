//! Dynamic reconfiguration connectors: how a guest takes and gives back host bridges, functions and memory. LoPAR §13.
//!
//! A connector is *logical*: the guest makes it usable, unisolates it, reads the device-tree node of what is there, and goes the same
//! way back. [`Connectors`] keeps the states; what stands behind a connector, the machine moves when it is unisolated and isolated.

mod configure;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::rtas::{
    RTAS_HARDWARE_ERROR, RTAS_PARAMETER, RTAS_SUCCESS, RtasCall, RtasReply, RtasStatus,
};
use crate::memory::GuestRam;

pub use configure::{Step, WORK_AREA};

/// set-indicator, get-sensor-state: the index names no connector, or its state does not allow the change.
const NO_SUCH: RtasStatus = RtasStatus(-3);
/// set-indicator: what should be isolated has something below it that is not, or what should be unisolated stands below something that is.
/// LoPAR §7.3.5.
pub const MULTI_LEVEL: RtasStatus = RtasStatus(-9000);
/// set-indicator: a translation to what should be isolated exists. LoPAR §7.3.5.
pub const VALID_TRANSLATION: RtasStatus = RtasStatus(-9001);

/// Indicator: whether the guest may reach the resource.
const ISOLATION_STATE: u32 = 9001;
/// Indicator: a light.
const DR_INDICATOR: u32 = 9002;
/// Indicator: whether the resource is the guest's.
const ALLOCATION_STATE: u32 = 9003;
/// Sensor: what is at a connector.
const DR_ENTITY_SENSE: u32 = 9003;
/// Values of the sensor.
const PRESENT: u32 = 1;
const UNUSABLE: u32 = 2;
/// Highest value of a light: off, on, identify, action.
const LIGHT_MAX: u32 = 3;

/// Names a connector: `ibm,my-drc-index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrcIndex(pub u32);

/// State of a connector. LoPAR §13.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrcState {
    /// The resource is not the guest's.
    Unusable,
    /// It is, but it cannot be reached.
    Isolated,
    /// It can be reached.
    Unisolated,
    /// Its device-tree node has been read.
    Configured,
}

/// What an indicator does to the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It can be reached from now on.
    Attach,
    /// It cannot any more.
    Detach,
}

#[derive(Clone, Debug)]
struct Connector {
    state: DrcState,
    light: u32,
    steps: Vec<Step>,
}

/// The connectors of a partition.
#[derive(Clone, Debug, Default)]
pub struct Connectors {
    all: BTreeMap<DrcIndex, Connector>,
}

impl Connectors {
    /// Adds a connector, replacing one of the same index. `steps` describe the node of what is behind it.
    pub fn add(&mut self, index: DrcIndex, state: DrcState, steps: Vec<Step>) {
        let light = 0;
        self.all.insert(
            index,
            Connector {
                state,
                light,
                steps,
            },
        );
    }

    /// State of a connector.
    pub fn state(&self, index: DrcIndex) -> Option<DrcState> {
        self.all.get(&index).map(|c| c.state)
    }

    /// Serves get-sensor-state, set-indicator and ibm,configure-connector; `None` for any other call. `apply` carries out a change of the
    /// resource and may refuse it; the connector is then as before.
    pub fn rtas(
        &mut self,
        call: RtasCall,
        args: &[u32],
        ram: &GuestRam,
        apply: impl FnOnce(DrcIndex, Change) -> Result<(), RtasStatus>,
    ) -> Option<RtasReply> {
        Some(match (call, args) {
            (RtasCall::GetSensorState, &[sensor, index]) => self.sensor(sensor, DrcIndex(index)),
            (RtasCall::SetIndicator, &[indicator, index, value]) => {
                let set = self.set_indicator(indicator, DrcIndex(index), value, apply);
                set.err().unwrap_or(RTAS_SUCCESS).into()
            }
            (RtasCall::IbmConfigureConnector, &[area, _]) => self.configure(area.into(), ram),
            (
                RtasCall::GetSensorState | RtasCall::SetIndicator | RtasCall::IbmConfigureConnector,
                _,
            ) => RTAS_PARAMETER.into(),
            _ => return None,
        })
    }

    /// get-sensor-state. LoPAR §7.3.5.
    fn sensor(&self, sensor: u32, index: DrcIndex) -> RtasReply {
        match (sensor, self.state(index)) {
            (DR_ENTITY_SENSE, Some(DrcState::Unusable)) => RtasReply::with(&[UNUSABLE]),
            (DR_ENTITY_SENSE, Some(_)) => RtasReply::with(&[PRESENT]),
            _ => NO_SUCH.into(),
        }
    }

    /// set-indicator. LoPAR §7.3.5, §13.5.
    fn set_indicator(
        &mut self,
        indicator: u32,
        index: DrcIndex,
        value: u32,
        apply: impl FnOnce(DrcIndex, Change) -> Result<(), RtasStatus>,
    ) -> Result<(), RtasStatus> {
        use DrcState as S;
        let connector = self.all.get_mut(&index).ok_or(NO_SUCH)?;
        match (indicator, value, connector.state) {
            (DR_INDICATOR, 0..=LIGHT_MAX, _) => connector.light = value,
            (ALLOCATION_STATE, 1, S::Unusable) => connector.state = S::Isolated,
            (ALLOCATION_STATE, 0, S::Isolated) => connector.state = S::Unusable,
            (ISOLATION_STATE, 1, S::Isolated) => {
                apply(index, Change::Attach)?;
                connector.state = S::Unisolated;
            }
            (ISOLATION_STATE, 0, S::Unisolated | S::Configured) => {
                apply(index, Change::Detach)?;
                connector.state = S::Isolated;
            }
            // Already so.
            (ALLOCATION_STATE, 1, _) | (ALLOCATION_STATE, 0, S::Unusable) => {}
            (ISOLATION_STATE, 1, S::Unisolated | S::Configured) => {}
            (ISOLATION_STATE, 0, S::Isolated) => {}
            _ => return Err(NO_SUCH),
        }
        Ok(())
    }

    /// The light of a connector, as the guest set it: 0 off, 1 on, 2 identify, 3 action.
    pub fn light(&self, index: DrcIndex) -> Option<u32> {
        self.all.get(&index).map(|c| c.light)
    }

    fn configure(&mut self, area: u64, ram: &GuestRam) -> RtasReply {
        let Some((index, cursor)) = configure::request(area, ram) else {
            return RTAS_PARAMETER.into();
        };
        let Some(connector) = self.all.get_mut(&index) else {
            return RTAS_PARAMETER.into();
        };
        if connector.state < DrcState::Unisolated {
            return configure::CANNOT_CONFIGURE.into();
        }
        let Some(step) = connector.steps.get(cursor as usize) else {
            connector.state = DrcState::Configured;
            return RTAS_SUCCESS.into();
        };
        configure::answer(step, cursor, area, ram)
            .unwrap_or(RTAS_HARDWARE_ERROR)
            .into()
    }
}

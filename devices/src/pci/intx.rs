//! The INTx pin of a function. PCI 3.0 §6.2.2, §6.2.3.

use super::config::{ConfigChange, ConfigSpace};
use super::regs::{COMMAND_INTX_DISABLE, STATUS, STATUS_INTX};
use crate::effects::Effects;

/// Drives an INTx pin: the status bit follows the request, the pin also obeys the command register's interrupt-disable bit.
#[derive(Clone, Debug, Default)]
pub struct Intx {
    wanted: bool,
    driven: bool,
}

impl Intx {
    /// The device wants the pin at this level (true: asserted).
    pub fn set(&mut self, wanted: bool, config: &mut ConfigSpace, effects: &mut Effects) {
        self.wanted = wanted;
        let status = config.get_u16(STATUS);
        config.set_u16(
            STATUS,
            if wanted {
                status | STATUS_INTX
            } else {
                status & !STATUS_INTX
            },
        );
        self.drive(config, effects);
    }

    /// Call after every configuration write.
    pub fn config_written(
        &mut self,
        config: &ConfigSpace,
        change: ConfigChange,
        effects: &mut Effects,
    ) {
        if change.command {
            self.drive(config, effects);
        }
    }

    /// The level the device asked for.
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// Power-on state. The host bridge lowers its lines by itself on reset.
    pub fn reset(&mut self) {
        *self = Intx::default();
    }

    fn drive(&mut self, config: &ConfigSpace, effects: &mut Effects) {
        let level = self.wanted && config.command() & COMMAND_INTX_DISABLE == 0;
        if level != self.driven {
            self.driven = level;
            effects.intx = Some(level);
        }
    }
}

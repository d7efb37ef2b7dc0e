//! Message interrupts: the platform, not the guest, chooses source numbers and writes them into the function. LoPAR §7.

use super::Phb;
use super::config_access::split;
use super::function::{find_capability, msi_vectors, msix_vectors};
use crate::effects::Effects;
use crate::pci::PciDevice;
use crate::pci::regs::*;
use crate::spapr::rtas::{RTAS_HARDWARE_ERROR, RTAS_PARAMETER, RtasReply};

/// Sources that a function was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    first: u32,
    count: u32,
    kind: Kind,
}

impl Grant {
    pub(super) fn contains(&self, source: u32) -> bool {
        source
            .checked_sub(self.first)
            .is_some_and(|i| i < self.count)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Msi = 1,
    MsiX = 2,
}

impl Phb {
    /// `ibm,change-msi` (address, unit id, function, count, sequence) -> status, granted, next sequence, kind of interrupt (1 MSI,
    /// 2 MSI-X). Functions: 0 query, 1 MSI or else MSI-X, 2 back to none, 3 MSI, 4 MSI-X, 5 MSI at a 32-bit address, 6 MSI-X at a
    /// 32-bit address. Fewer than asked may be granted. LoPAR §7.
    pub(super) fn change_msi(
        &mut self,
        addr: u32,
        function: u32,
        count: u32,
        sequence: u32,
    ) -> RtasReply {
        let (bus, devfn, _) = split(addr);
        let Some(slot) = self.slots.get(&devfn).filter(|_| bus == 0) else {
            return RTAS_PARAMETER.into();
        };
        let (msi, msix) = (
            msi_vectors(slot.device.as_ref()),
            msix_vectors(slot.device.as_ref()),
        );
        let current = slot.msi;
        let (kind, count) = match function {
            0 => {
                let (count, kind) = current.map_or((0, 0), |g| (g.count, g.kind as u32));
                return RtasReply::with(&[count, sequence.wrapping_add(1), kind]);
            }
            1 if msi == 0 && msix != 0 => (Kind::MsiX, count),
            1 | 3 | 5 => (Kind::Msi, count),
            2 => (Kind::Msi, 0),
            4 | 6 => (Kind::MsiX, count),
            _ => return RTAS_PARAMETER.into(),
        };
        if matches!(function, 5 | 6) && self.config.msi_window >> 32 != 0 {
            return RTAS_PARAMETER.into();
        }
        self.release_msis(devfn);
        if count == 0 {
            return RtasReply::with(&[0, sequence.wrapping_add(1), 0]);
        }
        let limit = if kind == Kind::Msi { msi } else { msix };
        if limit == 0 {
            return RTAS_PARAMETER.into();
        }
        let Some(grant) = self.allocate(count.min(limit), kind) else {
            return RTAS_HARDWARE_ERROR.into();
        };
        if let Some(slot) = self.slots.get_mut(&devfn) {
            slot.msi = Some(grant);
        }
        match kind {
            Kind::Msi => self.program_msi(devfn, grant),
            Kind::MsiX => self.program_msix(devfn, grant),
        }
        RtasReply::with(&[grant.count, sequence.wrapping_add(1), kind as u32])
    }

    /// `ibm,query-interrupt-source-number` (address, unit id, index) -> status, source, trigger (0 level, 1 edge). Without messages,
    /// index 0 is the INTx pin. LoPAR §7.
    pub(super) fn query_source(&self, addr: u32, index: u32) -> RtasReply {
        let (bus, devfn, _) = split(addr);
        let Some(slot) = self.slots.get(&devfn).filter(|_| bus == 0) else {
            return RTAS_PARAMETER.into();
        };
        let pin = slot.device.config_read(INTERRUPT_PIN, 1) as u8;
        match slot.msi {
            Some(grant) if index < grant.count => RtasReply::with(&[grant.first + index, 1]),
            None if index == 0 && pin != 0 => RtasReply::with(&[self.lsi_source(devfn, pin), 0]),
            _ => RTAS_PARAMETER.into(),
        }
    }

    /// Takes the sources back, turns messages off and masks the vectors that had them.
    pub(super) fn release_msis(&mut self, devfn: u8) {
        let Some(slot) = self.slots.get_mut(&devfn) else {
            return;
        };
        let Some(grant) = slot.msi.take() else { return };
        let id = if grant.kind == Kind::Msi {
            CAP_MSI
        } else {
            CAP_MSIX
        };
        let off = if grant.kind == Kind::Msi {
            !MSI_ENABLE
        } else {
            !MSIX_ENABLE
        };
        if grant.kind == Kind::MsiX
            && let Some((bar, offset)) = table(slot.device.as_ref())
        {
            let mut effects = Effects::default();
            for i in 0..u64::from(grant.count) {
                slot.device.bar_write(
                    bar,
                    offset + MSIX_ENTRY * i + 12,
                    &1u32.to_le_bytes(),
                    &mut effects,
                );
            }
            // Masking sends nothing; whatever else was asked for belongs to the old set-up.
        }
        if let Some(cap) = find_capability(slot.device.as_ref(), id) {
            let control = slot.device.config_read(cap + 2, 2) as u16 & off;
            self.write_register(devfn, cap + 2, 2, control.into());
        }
        let start = (grant.first - self.config.msi_irq_base) as usize;
        for used in self
            .used_msis
            .iter_mut()
            .skip(start)
            .take(grant.count as usize)
        {
            *used = false;
        }
    }

    /// The first free run, of half as many while there is none. Messages of one MSI capability differ in their low bits only, so
    /// their first source is aligned to their number, a power of two.
    fn allocate(&mut self, count: u32, kind: Kind) -> Option<Grant> {
        let base = self.config.msi_irq_base as usize;
        let mut count = match kind {
            Kind::Msi => 1 << count.max(1).ilog2(),
            Kind::MsiX => count,
        };
        while count > 0 {
            let len = count as usize;
            let mut start = 0;
            while let Some(run) = self.used_msis.get_mut(start..start + len) {
                if kind == Kind::Msi && !(base + start).is_multiple_of(len) {
                    start += 1;
                } else if let Some(used) = run.iter().rposition(|&u| u) {
                    start += used + 1;
                } else {
                    run.fill(true);
                    return Some(Grant {
                        first: (base + start) as u32,
                        count,
                        kind,
                    });
                }
            }
            count /= 2;
        }
        None
    }

    fn program_msi(&mut self, devfn: u8, grant: Grant) {
        let Some(slot) = self.slots.get(&devfn) else {
            return;
        };
        let Some(cap) = find_capability(slot.device.as_ref(), CAP_MSI) else {
            return;
        };
        let control = slot.device.config_read(cap + 2, 2) as u16;
        let address = self.config.msi_window;
        self.write_register(devfn, cap + 4, 4, address as u32);
        let data = if control & MSI_64BIT != 0 {
            self.write_register(devfn, cap + 8, 4, (address >> 32) as u32);
            cap + 12
        } else {
            cap + 8
        };
        self.write_register(devfn, data, 2, grant.first);
        let control = control & !0x70 | (grant.count.ilog2() as u16) << 4;
        self.write_register(devfn, cap + 2, 2, control.into());
    }

    fn program_msix(&mut self, devfn: u8, grant: Grant) {
        let address = self.config.msi_window;
        let Some(slot) = self.slots.get_mut(&devfn) else {
            return;
        };
        let Some((bar, offset)) = table(slot.device.as_ref()) else {
            return;
        };
        let mut effects = Effects::default();
        for (i, source) in (0u64..).zip(grant.first..grant.first + grant.count) {
            let at = offset + MSIX_ENTRY * i;
            slot.device
                .bar_write(bar, at, &(address as u32).to_le_bytes(), &mut effects);
            slot.device.bar_write(
                bar,
                at + 4,
                &((address >> 32) as u32).to_le_bytes(),
                &mut effects,
            );
            slot.device
                .bar_write(bar, at + 8, &source.to_le_bytes(), &mut effects);
            slot.device
                .bar_write(bar, at + 12, &0u32.to_le_bytes(), &mut effects);
        }
        self.apply(devfn, effects);
    }
}

/// BAR and offset of the MSI-X table.
fn table(device: &dyn PciDevice) -> Option<(u8, u64)> {
    let cap = find_capability(device, CAP_MSIX)?;
    let table = device.config_read(cap + 4, 4);
    Some(((table & 7) as u8, u64::from(table & !7)))
}

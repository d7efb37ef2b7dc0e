//! Virtio over PCI. Virtio 1.2 §4.1.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::chain::Chain;
use super::memory::IovaMemory;
use crate::dma::{DmaPort, Identity as NoIommu};
use crate::effects::Effects;
use crate::pci::PciDevice;
use crate::pci::config::{BarKind, ConfigSpace, Identity};
use crate::pci::intx::Intx;
use crate::pci::msix::Msix;
use crate::pci::regs::CAP_VENDOR;

/// Addresses are bus addresses, and an IOMMU may stand in between. Virtio 1.2 §6.
const F_ACCESS_PLATFORM: u64 = 1 << 33;
const F_VERSION_1: u64 = 1 << 32;
const F_INDIRECT_DESC: u64 = 1 << 28;

const STATUS_DRIVER_OK: u8 = 4;
const STATUS_FEATURES_OK: u8 = 8;
const STATUS_NEEDS_RESET: u8 = 64;

const NO_VECTOR: u16 = 0xffff;
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

const BAR_SIZE: u64 = 32 << 10;
const COMMON: u64 = 0x0000;
const COMMON_LEN: u64 = 0x38;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const MSIX_TABLE: u32 = 0x4000;
const MSIX_PBA: u32 = 0x5000;
const NOTIFY_MULTIPLIER: u32 = 4;

/// What is behind the transport.
pub trait VirtioDevice: Send {
    /// Virtio device type. Virtio 1.2 §5.
    fn kind(&self) -> u16;
    /// PCI class code.
    fn class(&self) -> u32;
    /// Largest size of each queue, powers of two.
    fn queues(&self) -> &[u16];
    /// Feature bits of the device type (0 to 23 and 50 up).
    fn features(&self) -> u64;
    /// Configuration, read-only.
    fn config(&self) -> Vec<u8>;
    /// Carries out the request of a chain; bytes written to the chain, from its beginning.
    fn handle(&mut self, queue: u16, chain: &Chain, port: &DmaPort) -> u32;
}

/// What the device has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VirtioReport {
    /// Notifications of queues.
    pub notifications: u64,
    /// Chains carried out, with whatever result.
    pub requests: u64,
    /// Bytes written to chains.
    pub bytes_written: u64,
    /// Times a queue could not be used and the device asked for a reset.
    pub broken: u64,
    /// Interrupts asked for.
    pub interrupts: u64,
}

struct VirtQueue {
    ring: Queue,
    vector: u16,
}

/// A virtio function on PCI.
pub struct VirtioPci<D> {
    name: String,
    device: D,
    port: DmaPort,
    direct: DmaPort,
    config: ConfigSpace,
    msix: Msix,
    intx: Intx,
    offered: u64,
    accepted: u64,
    device_select: u32,
    driver_select: u32,
    status: u8,
    config_vector: u16,
    queue_select: u16,
    queues: Vec<VirtQueue>,
    isr: u8,
    report: VirtioReport,
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// A function with `device` behind it. With `access_platform` it offers VIRTIO_F_ACCESS_PLATFORM and works for no driver that
    /// does not accept it; without, its addresses are guest physical and bypass the port's translator.
    pub fn new(name: &str, port: DmaPort, device: D, access_platform: bool) -> Self {
        let mut config = ConfigSpace::new_express(Identity {
            vendor: 0x1af4,
            device: 0x1040 + device.kind(),
            class: device.class(),
            revision: 1,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            interrupt_pin: 1,
        });
        config.add_bar(0, BAR_SIZE, BarKind::Mem64);
        config.add_express();
        let config_len = (device.config().len() as u32).max(4);
        let parts = [
            (1, COMMON, COMMON_LEN as u32),
            (3, ISR, 1),
            (4, DEVICE, config_len),
            (2, NOTIFY, 0x1000),
        ];
        for (kind, offset, len) in parts {
            let notify = kind == 2;
            let mut body = vec![if notify { 20 } else { 16 }, kind, 0, 0, 0, 0];
            body.extend((offset as u32).to_le_bytes());
            body.extend(len.to_le_bytes());
            if notify {
                body.extend(NOTIFY_MULTIPLIER.to_le_bytes());
            }
            config.add_capability(CAP_VENDOR, &body, &[]);
        }
        let msix = Msix::new(
            &mut config,
            device.queues().len() as u16 + 1,
            0,
            MSIX_TABLE,
            MSIX_PBA,
        );
        let queues = device
            .queues()
            .iter()
            .filter_map(|&size| {
                Some(VirtQueue {
                    ring: Queue::new(size).ok()?,
                    vector: NO_VECTOR,
                })
            })
            .collect();
        let platform = if access_platform {
            F_ACCESS_PLATFORM
        } else {
            0
        };
        let offered = device.features() | F_VERSION_1 | F_INDIRECT_DESC | platform;
        let direct = DmaPort::new(port.source(), Arc::new(NoIommu), port.ram().clone());
        VirtioPci {
            name: name.to_owned(),
            device,
            port,
            direct,
            config,
            msix,
            intx: Intx::default(),
            offered,
            accepted: 0,
            device_select: 0,
            driver_select: 0,
            status: 0,
            config_vector: NO_VECTOR,
            queue_select: 0,
            queues,
            isr: 0,
            report: VirtioReport::default(),
        }
    }

    /// What it has done.
    pub fn report(&self) -> VirtioReport {
        self.report
    }

    fn device_reset(&mut self) {
        self.accepted = 0;
        self.device_select = 0;
        self.driver_select = 0;
        self.status = 0;
        self.config_vector = NO_VECTOR;
        self.queue_select = 0;
        self.isr = 0;
        for q in &mut self.queues {
            q.ring.reset();
            q.vector = NO_VECTOR;
        }
    }

    /// The common configuration as bytes. Virtio 1.2 §4.1.4.3.
    fn common(&self) -> [u8; COMMON_LEN as usize] {
        let mut c = [0; COMMON_LEN as usize];
        let mut put = |at: usize, bytes: &[u8]| c[at..at + bytes.len()].copy_from_slice(bytes);
        let half = |features: u64, select: u32| match select {
            0 => features as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        put(0x00, &self.device_select.to_le_bytes());
        put(0x04, &half(self.offered, self.device_select).to_le_bytes());
        put(0x08, &self.driver_select.to_le_bytes());
        put(0x0c, &half(self.accepted, self.driver_select).to_le_bytes());
        put(0x10, &self.config_vector.to_le_bytes());
        put(0x12, &(self.queues.len() as u16).to_le_bytes());
        put(0x14, &[self.status, 0]);
        put(0x16, &self.queue_select.to_le_bytes());
        if let Some(q) = self.queues.get(usize::from(self.queue_select)) {
            put(0x18, &q.ring.size().to_le_bytes());
            put(0x1a, &q.vector.to_le_bytes());
            put(0x1c, &u16::from(q.ring.ready()).to_le_bytes());
            put(0x1e, &self.queue_select.to_le_bytes());
            put(0x20, &q.ring.desc_table().to_le_bytes());
            put(0x28, &q.ring.avail_ring().to_le_bytes());
            put(0x30, &q.ring.used_ring().to_le_bytes());
        }
        c
    }

    fn write_common(&mut self, offset: u64, size: usize, value: u32) {
        let vector = if value < self.msix.vectors().into() {
            value as u16
        } else {
            NO_VECTOR
        };
        match (offset, size) {
            (0x00, 4) => self.device_select = value,
            (0x08, 4) => self.driver_select = value,
            (0x0c, 4) if self.status & STATUS_FEATURES_OK == 0 => match self.driver_select {
                0 => self.accepted = self.accepted & !0xffff_ffff | u64::from(value),
                1 => self.accepted = self.accepted & 0xffff_ffff | u64::from(value) << 32,
                _ => {}
            },
            (0x10, 2) => self.config_vector = vector,
            (0x14, 1) => self.write_status(value as u8),
            (0x16, 2) => self.queue_select = value as u16,
            _ => {
                let Some(q) = self.queues.get_mut(usize::from(self.queue_select)) else {
                    return;
                };
                if (offset, size) == (0x1a, 2) {
                    q.vector = vector;
                    return;
                }
                // The rest is for queues that are not in use.
                if q.ring.ready() {
                    return;
                }
                match (offset, size) {
                    (0x18, 2) => q.ring.set_size(value as u16),
                    (0x1c, 2) => q.ring.set_ready(value == 1),
                    (0x20, 4) => q.ring.set_desc_table_address(Some(value), None),
                    (0x24, 4) => q.ring.set_desc_table_address(None, Some(value)),
                    (0x28, 4) => q.ring.set_avail_ring_address(Some(value), None),
                    (0x2c, 4) => q.ring.set_avail_ring_address(None, Some(value)),
                    (0x30, 4) => q.ring.set_used_ring_address(Some(value), None),
                    (0x34, 4) => q.ring.set_used_ring_address(None, Some(value)),
                    _ => {}
                }
            }
        }
    }

    /// Virtio 1.2 §2.1, §3.1.
    fn write_status(&mut self, value: u8) {
        if value == 0 {
            return self.device_reset();
        }
        let mut new = value | self.status & STATUS_NEEDS_RESET;
        if new & STATUS_FEATURES_OK & !self.status != 0 {
            let needed = F_VERSION_1 | self.offered & F_ACCESS_PLATFORM;
            if self.accepted & !self.offered != 0 || self.accepted & needed != needed {
                new &= !STATUS_FEATURES_OK;
            }
        }
        self.status = new;
    }

    fn usable(&self) -> bool {
        self.status & (STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_NEEDS_RESET)
            == STATUS_DRIVER_OK | STATUS_FEATURES_OK
            && self.config.bus_master()
    }

    /// Carries out what is in a queue, at most as many chains as it has entries.
    fn notify(&mut self, index: u16, effects: &mut Effects) {
        self.report.notifications += 1;
        if !self.usable() {
            return;
        }
        let Some(q) = self
            .queues
            .get_mut(usize::from(index))
            .filter(|q| q.ring.ready())
        else {
            return;
        };
        let platform = self.accepted & F_ACCESS_PLATFORM != 0;
        let port = if platform {
            self.port.clone()
        } else {
            self.direct.clone()
        };
        let memory = IovaMemory::new(port);
        let mut done = 0;
        let result = (|| {
            while done < q.ring.size() {
                let before = q.ring.next_avail();
                let Some(chain) = q.ring.iter(&memory)?.next() else {
                    // Nothing left, or its entry could not be read.
                    let left = q.ring.avail_idx(&memory, Ordering::Acquire)?.0 != before;
                    return if left {
                        Err(virtio_queue::Error::InvalidChain)
                    } else {
                        Ok(())
                    };
                };
                let head = chain.head_index();
                let written = Chain::collect(chain)
                    .map_or(0, |c| self.device.handle(index, &c, memory.port()));
                q.ring.add_used(&memory, head, written)?;
                self.report.requests += 1;
                self.report.bytes_written += u64::from(written);
                done += 1;
            }
            Ok(())
        })();
        let vector = q.vector;
        // VIRTQ_AVAIL_F_NO_INTERRUPT. Virtio 1.2 §2.7.7.
        let quiet = memory
            .read_obj::<u16>(GuestAddress(q.ring.avail_ring()))
            .is_ok_and(|f| u16::from_le(f) & 1 != 0);
        if done > 0 && !quiet {
            self.interrupt(vector, ISR_QUEUE, effects);
        }
        if result.is_err() {
            self.report.broken += 1;
            self.status |= STATUS_NEEDS_RESET;
            self.interrupt(self.config_vector, ISR_CONFIG, effects);
        }
    }

    fn interrupt(&mut self, vector: u16, cause: u8, effects: &mut Effects) {
        self.report.interrupts += 1;
        if self.msix.enabled() {
            self.msix.trigger(vector, effects);
        } else {
            self.isr |= cause;
        }
    }

    fn update_pin(&mut self, effects: &mut Effects) {
        let wanted = self.isr != 0 && !self.msix.enabled();
        if wanted != self.intx.wanted() {
            self.intx.set(wanted, &mut self.config, effects);
        }
    }
}

fn copy(data: &mut [u8], from: &[u8], at: u64) {
    for (to, from) in data.iter_mut().zip(from.iter().skip(at as usize)) {
        *to = *from;
    }
}

impl<D: VirtioDevice> PciDevice for VirtioPci<D> {
    fn name(&self) -> &str {
        &self.name
    }

    fn config_read(&self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32, effects: &mut Effects) {
        let change = self.config.write(offset, size, value);
        self.msix.config_written(&self.config, change, effects);
        self.intx.config_written(&self.config, change, effects);
        self.update_pin(effects);
    }

    fn bar_size(&self, index: u8) -> u64 {
        self.config.bar_size(index)
    }

    fn bar_read(&mut self, index: u8, offset: u64, data: &mut [u8], effects: &mut Effects) {
        data.fill(0);
        if index != 0 || self.msix.read(offset, data) {
            return;
        }
        match offset {
            COMMON..ISR => copy(data, &self.common(), offset),
            ISR => {
                copy(data, &[self.isr], 0);
                self.isr = 0;
                self.update_pin(effects);
            }
            DEVICE..NOTIFY => copy(data, &self.device.config(), offset - DEVICE),
            _ => {}
        }
    }

    fn bar_write(&mut self, index: u8, offset: u64, data: &[u8], effects: &mut Effects) {
        if index != 0 || self.msix.write(offset, data, effects) {
            return;
        }
        if data.len() == 8 {
            // Virtio 1.2 §4.1.3.1 has drivers write halves; a whole is two of them.
            let (halves, _) = data.as_chunks::<4>();
            for (i, half) in halves.iter().enumerate() {
                self.bar_write(0, offset + 4 * i as u64, half, effects);
            }
            return;
        }
        let value = data.iter().rev().fold(0, |v, &b| v << 8 | u32::from(b));
        match offset {
            COMMON..ISR => self.write_common(offset, data.len(), value),
            NOTIFY..0x4000 => {
                let queue = (offset - NOTIFY) / u64::from(NOTIFY_MULTIPLIER);
                self.notify(queue as u16, effects);
            }
            _ => {}
        }
        self.update_pin(effects);
    }

    fn reset(&mut self) {
        self.device_reset();
        self.config.reset();
        self.msix.reset();
        self.intx.reset();
    }
}

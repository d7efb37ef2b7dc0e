//! Configuration space of a type-0 function: bytes, which of them software may write, BARs and capability lists.

use super::regs::*;

/// Identity of a function, for [`ConfigSpace::new`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Class code, 24 bits: base class, subclass, interface.
    pub class: u32,
    /// Revision id.
    pub revision: u8,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// INTx pin: 0 none, 1 to 4 for A to D.
    pub interrupt_pin: u8,
}

/// What kind of memory BAR to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Anywhere below 4 GiB.
    Mem32,
    /// Anywhere below 4 GiB, prefetchable.
    Mem32Prefetch,
    /// Anywhere; takes this index and the next.
    Mem64,
    /// Anywhere, prefetchable; takes this index and the next.
    Mem64Prefetch,
}

/// What a configuration write touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// First byte written.
    pub offset: u16,
    /// Bytes written, 0 if the write was refused.
    pub size: u8,
    /// The command register was among them.
    pub command: bool,
    /// A base address register was among them.
    pub bars: bool,
}

impl ConfigChange {
    /// True if the write touched any of the `len` bytes at `offset`.
    pub fn touches(&self, offset: u16, len: u16) -> bool {
        let end = u32::from(self.offset) + u32::from(self.size);
        self.size != 0
            && u32::from(self.offset) < u32::from(offset) + u32::from(len)
            && u32::from(offset) < end
    }
}

/// Configuration space of a type-0 function.
///
/// Builder methods (`add_*`, [`ConfigSpace::define`]) also set what [`ConfigSpace::reset`] returns to; `set_*` are for the running device.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: Vec<u8>,
    initial: Vec<u8>,
    writable: Vec<u8>,
    clear_by_one: Vec<u8>,
    bar_sizes: [u64; 6],
    bar_is_64: [bool; 6],
    last_capability: u16,
    next_capability: u16,
    last_extended: u16,
    next_extended: u16,
}

impl ConfigSpace {
    /// 256 bytes of configuration space: conventional PCI.
    pub fn new(id: Identity) -> Self {
        Self::sized(id, 256)
    }

    /// 4096 bytes of configuration space: PCI Express.
    pub fn new_express(id: Identity) -> Self {
        Self::sized(id, 4096)
    }

    fn sized(id: Identity, len: usize) -> Self {
        let mut config = ConfigSpace {
            bytes: vec![0; len],
            initial: vec![0; len],
            writable: vec![0; len],
            clear_by_one: vec![0; len],
            bar_sizes: [0; 6],
            bar_is_64: [false; 6],
            last_capability: 0,
            next_capability: 0x40,
            last_extended: 0,
            next_extended: 0x100,
        };
        config.define(VENDOR_ID, &id.vendor.to_le_bytes(), &[]);
        config.define(DEVICE_ID, &id.device.to_le_bytes(), &[]);
        // Memory, master, parity, SERR and INTx disable; no I/O BARs exist.
        config.define(COMMAND, &[0, 0], &0x0546u16.to_le_bytes());
        config.define_clear_by_one(STATUS, &0xf900u16.to_le_bytes());
        config.define(
            REVISION,
            &(id.class << 8 | u32::from(id.revision)).to_le_bytes(),
            &[],
        );
        config.define(0x0c, &[0], &[0xff]);
        config.define(SUBSYSTEM_VENDOR, &id.subsystem_vendor.to_le_bytes(), &[]);
        config.define(SUBSYSTEM_ID, &id.subsystem.to_le_bytes(), &[]);
        config.define(INTERRUPT_LINE, &[0], &[0xff]);
        config.define(INTERRUPT_PIN, &[id.interrupt_pin.min(4)], &[]);
        config
    }

    /// Bytes of configuration space: 256 or 4096.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true; here because there is a length.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sets power-on bytes at `offset` and which bits of them software may write (missing mask bytes: none).
    pub fn define(&mut self, offset: u16, bytes: &[u8], writable: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            let at = usize::from(offset) + i;
            let (Some(now), Some(initial), Some(mask)) = (
                self.bytes.get_mut(at),
                self.initial.get_mut(at),
                self.writable.get_mut(at),
            ) else {
                return;
            };
            *now = byte;
            *initial = byte;
            *mask = writable.get(i).copied().unwrap_or(0);
        }
    }

    /// Marks bits that software clears by writing ones.
    pub fn define_clear_by_one(&mut self, offset: u16, mask: &[u8]) {
        for (slot, &byte) in self
            .clear_by_one
            .iter_mut()
            .skip(usize::from(offset))
            .zip(mask)
        {
            *slot = byte;
        }
    }

    /// Registers memory BAR `index` (0 to 5; 0 to 4 if 64-bit) of `size` bytes, rounded up to a power of two of at least 16.
    /// 32-bit BARs are at most 2 GiB. A bad index is ignored.
    pub fn add_bar(&mut self, index: u8, size: u64, kind: BarKind) {
        let i = usize::from(index);
        let wide = matches!(kind, BarKind::Mem64 | BarKind::Mem64Prefetch);
        if i >= 6 || (wide && i == 5) || size == 0 {
            return;
        }
        let limit = if wide { 1 << 62 } else { 1 << 31 };
        let size = size.clamp(16, limit).next_power_of_two();
        self.bar_sizes[i] = size;
        self.bar_is_64[i] = wide;
        let flags = match kind {
            BarKind::Mem32 => 0u32,
            BarKind::Mem32Prefetch => 8,
            BarKind::Mem64 => 4,
            BarKind::Mem64Prefetch => 12,
        };
        let mask = !(size - 1);
        let at = BAR0 + 4 * u16::from(index);
        self.define(at, &flags.to_le_bytes(), &(mask as u32).to_le_bytes());
        if wide {
            self.define(at + 4, &[0; 4], &((mask >> 32) as u32).to_le_bytes());
        }
    }

    /// Size of BAR `index` in bytes, 0 if there is none. For [`super::PciDevice::bar_size`].
    pub fn bar_size(&self, index: u8) -> u64 {
        self.bar_sizes.get(usize::from(index)).copied().unwrap_or(0)
    }

    /// Bus address of BAR `index`, if it exists and memory decoding is on.
    pub fn bar_address(&self, index: u8) -> Option<u64> {
        let i = usize::from(index);
        if self.bar_size(index) == 0 || self.command() & COMMAND_MEMORY == 0 {
            return None;
        }
        let at = BAR0 + 4 * u16::from(index);
        let low = u64::from(self.read(at, 4) & !15);
        let high = if self.bar_is_64[i] {
            u64::from(self.read(at + 4, 4))
        } else {
            0
        };
        Some(high << 32 | low)
    }

    /// Appends a capability: `body` follows the two header bytes, `writable` says which of its bits software may write.
    /// Returns its offset, 0 if there is no room.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> u16 {
        let at = self.next_capability;
        let end = usize::from(at) + 2 + body.len();
        if end > 256 {
            return 0;
        }
        self.define(at, &[id, 0], &[]);
        self.define(at + 2, body, writable);
        let link = if self.last_capability == 0 {
            CAPABILITIES
        } else {
            self.last_capability + 1
        };
        self.define(link, &[at as u8], &[]);
        let status = self.get_u16(STATUS) | STATUS_CAPABILITIES;
        self.define(STATUS, &status.to_le_bytes(), &[]);
        self.last_capability = at;
        self.next_capability = end.next_multiple_of(4) as u16;
        at
    }

    /// Appends an extended capability (PCI Express only): `body` follows the four header bytes. Returns its offset, 0 if no room.
    pub fn add_extended_capability(
        &mut self,
        id: u16,
        version: u8,
        body: &[u8],
        writable: &[u8],
    ) -> u16 {
        let at = self.next_extended;
        let end = usize::from(at) + 4 + body.len();
        if end > self.bytes.len() {
            return 0;
        }
        self.define(
            at,
            &(u32::from(id) | u32::from(version & 15) << 16).to_le_bytes(),
            &[],
        );
        self.define(at + 4, body, writable);
        if self.last_extended != 0 {
            let header = self.get_u32(self.last_extended) & 0xf_ffff | u32::from(at) << 20;
            self.define(self.last_extended, &header.to_le_bytes(), &[]);
        }
        self.last_extended = at;
        self.next_extended = end.next_multiple_of(4) as u16;
        at
    }

    /// Appends the PCI Express capability of an endpoint at 2.5 GT/s, one lane. Returns its offset. PCIe 6.0 §7.5.3.
    pub fn add_express(&mut self) -> u16 {
        let mut body = [0u8; 0x3a];
        let mut writable = [0u8; 0x3a];
        body[0] = 0x02; // version 2, endpoint
        body[3] = 0x80; // device capabilities: role-based error reporting
        writable[6..8].copy_from_slice(&0x7fffu16.to_le_bytes()); // device control
        body[6..8].copy_from_slice(&0x2810u16.to_le_bytes()); // 512-byte reads, relaxed ordering, no snoop
        body[0x0a] = 0x11; // link capabilities: 2.5 GT/s, x1
        writable[0x0e] = 0xc3; // link control
        body[0x10] = 0x11; // link status
        body[0x22] = 0x10; // device capabilities 2: completion timeout disable
        writable[0x26] = 0x1f; // device control 2
        body[0x2a] = 0x02; // link capabilities 2: 2.5 GT/s
        body[0x2e] = 0x01; // link control 2: target 2.5 GT/s
        self.add_capability(CAP_PCIE, &body, &writable)
    }

    /// The same of an endpoint whose requests may carry prefixes (PASIDs).
    pub fn add_express_with_prefixes(&mut self) -> u16 {
        let at = self.add_express();
        self.define(at + 0x26, &[0x20], &[]); // device capabilities 2: end-to-end TLP prefixes
        at
    }

    /// Appends the PCI Express capability of an endpoint that is integrated into the root complex, and so has no link; its requests may
    /// carry prefixes (PASIDs). Returns its offset. PCIe 6.0 §7.5.3.
    pub fn add_integrated_express(&mut self) -> u16 {
        let mut body = [0u8; 0x3a];
        let mut writable = [0u8; 0x3a];
        body[0] = 0x92; // version 2, root complex integrated endpoint
        body[3] = 0x80; // device capabilities: role-based error reporting
        writable[6..8].copy_from_slice(&0x7fffu16.to_le_bytes()); // device control
        body[6..8].copy_from_slice(&0x2810u16.to_le_bytes()); // 512-byte reads, relaxed ordering, no snoop
        body[0x22] = 0x10; // device capabilities 2: completion timeout disable
        body[0x24] = 0x20; // end-to-end TLP prefixes
        writable[0x26] = 0x1f; // device control 2
        self.add_capability(CAP_PCIE, &body, &writable)
    }

    /// Appends the PCI Express capability of a root port with a slot of this number. Returns its offset. PCIe 6.0 §7.5.3.
    pub fn add_root_port(&mut self, slot: u16) -> u16 {
        let mut body = [0u8; 0x3a];
        let mut writable = [0u8; 0x3a];
        body[0] = 0x42; // version 2, root port
        body[3] = 0x80; // device capabilities: role-based error reporting
        writable[6..8].copy_from_slice(&0x7fffu16.to_le_bytes()); // device control
        body[0x0a] = 0x11; // link capabilities: 2.5 GT/s, x1
        body[0x0d] = slot as u8; // port number
        writable[0x0e] = 0xc3; // link control
        body[0x10] = 0x11; // link status
        body[0x12..0x16].copy_from_slice(&(u32::from(slot & 0x1fff) << 19).to_le_bytes());
        writable[0x1a] = 0x1f; // root control
        body[0x22] = 0x10; // device capabilities 2: completion timeout disable
        body[0x24] = 0x20; // end-to-end TLP prefixes
        writable[0x26] = 0x1f; // device control 2
        body[0x2a] = 0x02; // link capabilities 2: 2.5 GT/s
        body[0x2e] = 0x01; // link control 2: target 2.5 GT/s
        self.add_capability(CAP_PCIE, &body, &writable)
    }

    /// Reads 1, 2 or 4 aligned bytes. What lies outside reads 0.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        let mut value = [0u8; 4];
        for (i, slot) in value.iter_mut().enumerate().take(usize::from(size)) {
            *slot = self
                .bytes
                .get(usize::from(offset) + i)
                .copied()
                .unwrap_or(0);
        }
        u32::from_le_bytes(value)
    }

    /// Software writes 1, 2 or 4 bytes: only writable bits change, some are cleared by ones.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) -> ConfigChange {
        let mut change = ConfigChange {
            offset,
            size: size.min(4),
            command: false,
            bars: false,
        };
        if !matches!(size, 1 | 2 | 4) || usize::from(offset) + usize::from(size) > self.bytes.len()
        {
            change.size = 0;
            return change;
        }
        for (i, byte) in value
            .to_le_bytes()
            .into_iter()
            .enumerate()
            .take(usize::from(size))
        {
            let at = usize::from(offset) + i;
            let mask = self.writable[at];
            self.bytes[at] =
                (self.bytes[at] & !mask | byte & mask) & !(byte & self.clear_by_one[at]);
        }
        change.command = change.touches(COMMAND, 2);
        change.bars = change.touches(BAR0, 24);
        change
    }

    /// Back to power-on.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&self.initial);
    }

    /// The command register.
    pub fn command(&self) -> u16 {
        self.get_u16(COMMAND)
    }

    /// True if the function may master the bus.
    pub fn bus_master(&self) -> bool {
        self.command() & COMMAND_MASTER != 0
    }

    /// 16 bits at `offset`.
    pub fn get_u16(&self, offset: u16) -> u16 {
        self.read(offset, 2) as u16
    }

    /// 32 bits at `offset`.
    pub fn get_u32(&self, offset: u16) -> u32 {
        self.read(offset, 4)
    }

    /// The device itself sets 16 bits, whatever the write mask says.
    pub fn set_u16(&mut self, offset: u16, value: u16) {
        self.set(offset, &value.to_le_bytes());
    }

    /// The device itself sets 32 bits, whatever the write mask says.
    pub fn set_u32(&mut self, offset: u16, value: u32) {
        self.set(offset, &value.to_le_bytes());
    }

    fn set(&mut self, offset: u16, bytes: &[u8]) {
        for (slot, &byte) in self.bytes.iter_mut().skip(usize::from(offset)).zip(bytes) {
            *slot = byte;
        }
    }
}

use super::*;
use crate::pci::config::{BarKind, ConfigSpace, Identity};
use crate::pci::intx::Intx;
use crate::pci::msi::Msi as MsiCapability;
use crate::pci::msix::Msix;
use crate::pci::regs::*;
use crate::spapr::MSI_WINDOW;
use crate::spapr::rtas::{RTAS_PARAMETER, RtasCall, RtasReply};

const BUID: u64 = 0x8_0000_2000_0000;
const HI: u32 = (BUID >> 32) as u32;
const LO: u32 = BUID as u32;

/// BAR 0: registers 0 message, 4 pin, 8 ask for a run, 0x10 runs so far, 0x18 last width; MSI-X table at 0x1000. BAR 2: nothing.
struct Toy {
    config: ConfigSpace,
    msix: Msix,
    msi: MsiCapability,
    intx: Intx,
    runs: u32,
    width: u32,
}

impl Toy {
    fn new() -> Self {
        let id = Identity {
            vendor: 0x1234,
            device: 0x11e8,
            class: 0x00ff00,
            revision: 1,
            interrupt_pin: 1,
            ..Identity::default()
        };
        let mut config = ConfigSpace::new_express(id);
        config.add_bar(0, 0x4000, BarKind::Mem64);
        config.add_bar(2, 0x1000, BarKind::Mem32);
        let msi = MsiCapability::new(&mut config, 4);
        let msix = Msix::new(&mut config, 5, 0, 0x1000, 0x2000);
        Toy {
            config,
            msix,
            msi,
            intx: Intx::default(),
            runs: 0,
            width: 0,
        }
    }
}

impl PciDevice for Toy {
    fn name(&self) -> &str {
        "toy0"
    }
    fn config_read(&self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size)
    }
    fn config_write(&mut self, offset: u16, size: u8, value: u32, effects: &mut Effects) {
        let change = self.config.write(offset, size, value);
        self.msix.config_written(&self.config, change, effects);
        self.intx.config_written(&self.config, change, effects);
    }
    fn bar_size(&self, index: u8) -> u64 {
        self.config.bar_size(index)
    }
    fn bar_read(&mut self, index: u8, offset: u64, data: &mut [u8], _effects: &mut Effects) {
        data.fill(0);
        if index == 0 && !self.msix.read(offset, data) {
            let value = match offset {
                0x10 => self.runs,
                0x18 => self.width,
                _ => 0,
            };
            data.iter_mut()
                .zip(value.to_le_bytes())
                .for_each(|(d, v)| *d = v);
        }
    }
    fn bar_write(&mut self, index: u8, offset: u64, data: &[u8], effects: &mut Effects) {
        if index != 0 || self.msix.write(offset, data, effects) {
            return;
        }
        self.width = data.len() as u32;
        let value = data.first().copied().unwrap_or(0);
        match offset {
            0 if self.msix.enabled() => drop(self.msix.trigger(value.into(), effects)),
            0 => drop(self.msi.trigger(&self.config, value.into(), effects)),
            4 => self.intx.set(value != 0, &mut self.config, effects),
            8 => effects.run_after(value.into()),
            _ => {}
        }
    }
    fn run(&mut self, _now_ns: u64, effects: &mut Effects) {
        self.runs += 1;
        effects.run_after(0);
    }
    fn reset(&mut self) {
        *self = Toy::new();
    }
}

fn phb() -> Phb {
    let mut phb = Phb::new(PhbConfig {
        index: 0,
        buid: BUID,
        mmio32: Window {
            gpa: Gpa(0x2000_8000_0000),
            pci: 0x8000_0000,
            size: 0x7ffe_0000,
        },
        mmio64: Window {
            gpa: Gpa(0x2100_0000_0000),
            pci: 0x2100_0000_0000,
            size: 1 << 40,
        },
        msi_window: MSI_WINDOW,
        lsi_irq_base: 0x1000,
        msi_irq_base: 0x1103,
        n_msi: 16,
    });
    phb.add_device(0x08, Box::new(Toy::new()));
    phb.add_device(0x10, Box::new(Toy::new()));
    phb
}

fn write(phb: &mut Phb, devfn: u8, register: u16, size: u32, value: u32) {
    let args = [config_addr(0, devfn, register), HI, LO, size, value];
    assert_eq!(
        phb.rtas(RtasCall::IbmWritePciConfig, &args),
        Some(RtasReply::with(&[]))
    );
}

fn read(phb: &mut Phb, devfn: u8, register: u16, size: u32) -> u32 {
    let args = [config_addr(0, devfn, register), HI, LO, size];
    phb.rtas(RtasCall::IbmReadPciConfig, &args).unwrap().values[0]
}

fn change(phb: &mut Phb, devfn: u8, function: u32, count: u32) -> RtasReply {
    phb.rtas(
        RtasCall::IbmChangeMsi,
        &[config_addr(0, devfn, 0), HI, LO, function, count, 1],
    )
    .unwrap()
}

fn source(phb: &mut Phb, devfn: u8, index: u32) -> RtasReply {
    phb.rtas(
        RtasCall::IbmQueryInterruptSourceNumber,
        &[config_addr(0, devfn, 0), HI, LO, index],
    )
    .unwrap()
}

/// BAR 0 at the start of the 64-bit window plus `at`; decoding and mastering on.
fn enable(phb: &mut Phb, devfn: u8, at: u32) -> Gpa {
    write(phb, devfn, 0x10, 4, at);
    write(phb, devfn, 0x14, 4, 0x2100);
    write(
        phb,
        devfn,
        COMMAND,
        2,
        (COMMAND_MEMORY | COMMAND_MASTER).into(),
    );
    Gpa(0x2100_0000_0000 + u64::from(at))
}

fn edges(phb: &mut Phb) -> Vec<u32> {
    let edge = |e: IrqEvent| {
        assert_eq!(e.kind, IrqKind::Edge);
        e.source
    };
    phb.take_irqs().into_iter().map(edge).collect()
}

#[test]
fn configuration_space_is_reached_by_rtas() {
    let mut phb = phb();
    assert_eq!(read(&mut phb, 8, 0, 4), 0x11e8_1234);
    assert_eq!(read(&mut phb, 8, 2, 2), 0x11e8);
    assert_eq!(read(&mut phb, 9, 0, 4), u32::MAX);
    assert_eq!(read(&mut phb, 9, 0, 1), 0xff);
    assert_eq!(config_addr(0, 8, 0x123), 0x1000_0823);
    let old = phb.rtas(RtasCall::ReadPciConfig, &[config_addr(0, 8, 0), 2]);
    assert_eq!(old, Some(RtasReply::with(&[0x1234])));
    assert_eq!(
        phb.rtas(RtasCall::ReadPciConfig, &[config_addr(1, 8, 0), 2]),
        Some(RtasReply::with(&[0xffff]))
    );
    let bad = Some(RTAS_PARAMETER.into());
    assert_eq!(
        phb.rtas(
            RtasCall::IbmReadPciConfig,
            &[config_addr(0, 8, 0), HI, LO, 3]
        ),
        bad
    );
    assert_eq!(
        phb.rtas(
            RtasCall::IbmReadPciConfig,
            &[config_addr(0, 8, 2), HI, LO, 4]
        ),
        bad
    );
    assert_eq!(
        phb.rtas(
            RtasCall::IbmReadPciConfig,
            &[config_addr(0, 8, 0), HI, LO + 1, 4]
        ),
        bad
    );
    assert_eq!(phb.rtas(RtasCall::IbmReadPciConfig, &[0]), bad);
    assert_eq!(phb.rtas(RtasCall::PowerOff, &[0]), None);
    let pe = phb.rtas(
        RtasCall::IbmGetConfigAddrInfo2,
        &[config_addr(0, 8, 0), HI, LO, 0],
    );
    assert_eq!(pe, Some(RtasReply::with(&[PE_CONFIG_ADDR])));
}

#[test]
fn bars_are_decoded_where_the_guest_puts_them() {
    let mut phb = phb();
    let mut word = [0; 4];
    let base = Gpa(0x2100_0000_0000);
    assert!(phb.mmio_read(base, &mut word));
    assert_eq!(word, [0xff; 4]);
    assert_eq!(enable(&mut phb, 8, 0), base);
    enable(&mut phb, 0x10, 0);
    assert!(phb.mmio_write(Gpa(base.0 + 0x18), &[1, 2]));
    assert!(phb.mmio_read(Gpa(base.0 + 0x18), &mut word));
    assert_eq!(word, [2, 0, 0, 0]);
    // The second function overlaps the first and answers when it goes away.
    write(&mut phb, 8, COMMAND, 2, 0);
    assert!(phb.mmio_read(Gpa(base.0 + 0x18), &mut word));
    assert_eq!(word, [0; 4]);
    assert!(phb.mmio_read(Gpa(base.0 + 0x4000), &mut word) && word == [0xff; 4]);
    assert!(!phb.mmio_read(Gpa(base.0 - 4), &mut word));
    assert!(!phb.mmio_write(Gpa(u64::MAX), &[0; 8]));
    assert!(!phb.mmio_write(Gpa(base.0 + (1 << 40) - 4), &[0; 8]));
    // A 32-bit BAR is seen through the 32-bit window; long and unaligned accesses are split.
    write(&mut phb, 8, 0x18, 4, 0x8000_1000);
    write(&mut phb, 8, COMMAND, 2, 2);
    let mut long = [1; 16];
    assert!(phb.mmio_read(Gpa(0x2000_8000_1003), &mut long));
    assert_eq!(long, [0; 16]);
    let bars = phb.functions()[0].bars.clone();
    assert_eq!(bars.len(), 2);
    assert_eq!(
        bars[0],
        BarInfo {
            index: 0,
            size: 0x4000,
            is_64bit: true,
            prefetchable: false
        }
    );
}

#[test]
fn msix_as_linux_sets_it_up() {
    let mut phb = phb();
    let base = enable(&mut phb, 8, 0);
    let info = phb.functions()[0].clone();
    assert_eq!(
        (
            info.msi_count,
            info.msix_count,
            info.class,
            info.interrupt_pin
        ),
        (4, 5, 0xff00, 1)
    );
    assert_eq!(source(&mut phb, 8, 0), RtasReply::with(&[0x1001, 0]));
    // Rounded up to a power of two by Linux, limited to the table here, so Linux asks again.
    assert_eq!(change(&mut phb, 8, 4, 8), RtasReply::with(&[5, 2, 2]));
    assert_eq!(change(&mut phb, 8, 4, 3), RtasReply::with(&[3, 2, 2]));
    assert_eq!(change(&mut phb, 8, 0, 0), RtasReply::with(&[3, 2, 2]));
    assert_eq!(source(&mut phb, 8, 2), RtasReply::with(&[0x1105, 1]));
    assert_eq!(source(&mut phb, 8, 3).status, RTAS_PARAMETER);
    // The driver reads the message back from the table.
    let mut entry = [0; 16];
    assert!(phb.mmio_read(Gpa(base.0 + 0x1020), &mut entry));
    assert_eq!(
        u64::from_le_bytes(entry[..8].try_into().unwrap()),
        0x400_0000_0000
    );
    assert_eq!(entry[8..12], 0x1105u32.to_le_bytes());
    let cap = function::find_capability(phb.device(8).unwrap(), CAP_MSIX).unwrap();
    write(&mut phb, 8, cap + 2, 2, MSIX_ENABLE.into());
    phb.mmio_write(base, &[2]);
    assert_eq!(edges(&mut phb), [0x1105]);
    // A vector that was not given, and one whose data the guest forged, go nowhere.
    phb.mmio_write(Gpa(base.0 + 0x103c), &[0; 4]);
    phb.mmio_write(base, &[3]);
    phb.mmio_write(Gpa(base.0 + 0x1028), &[0x0f, 0x11, 0, 0]);
    phb.mmio_write(base, &[2]);
    assert!(!phb.has_irqs());
    assert_eq!((phb.counters().msis, phb.counters().stray_msis), (1, 2));
    assert_eq!(change(&mut phb, 8, 3, 0), RtasReply::with(&[0, 2, 0]));
    assert_eq!(read(&mut phb, 8, cap + 2, 2) & u32::from(MSIX_ENABLE), 0);
}

#[test]
fn msi_ranges_are_aligned_and_run_out_gracefully() {
    let mut phb = phb();
    let base = enable(&mut phb, 8, 0);
    assert_eq!(change(&mut phb, 8, 1, 4), RtasReply::with(&[4, 2, 1]));
    assert_eq!(source(&mut phb, 8, 0), RtasReply::with(&[0x1104, 1]));
    let cap = function::find_capability(phb.device(8).unwrap(), CAP_MSI).unwrap();
    assert_eq!(read(&mut phb, 8, cap + 8, 4), 0x400);
    let control = read(&mut phb, 8, cap + 2, 2);
    write(&mut phb, 8, cap + 2, 2, control | 1);
    phb.mmio_write(base, &[3]);
    assert_eq!(edges(&mut phb), [0x1107]);
    write(&mut phb, 8, COMMAND, 2, COMMAND_MEMORY.into());
    phb.mmio_write(base, &[3]);
    assert!(!phb.has_irqs());
    for devfn in [0x18, 0x20, 0x28] {
        phb.add_device(devfn, Box::new(Toy::new()));
    }
    // 16 sources: 4 for the first at 1, then 5 at 5, 5 at 10, and of the two others one gets the last.
    assert_eq!(change(&mut phb, 0x10, 4, 5).values[0], 5);
    assert_eq!(change(&mut phb, 0x18, 4, 5).values[0], 5);
    assert_eq!(change(&mut phb, 0x20, 3, 4).values[0], 1);
    assert_eq!(change(&mut phb, 0x28, 3, 4).values[0], 1);
    assert_eq!(change(&mut phb, 0x30, 3, 4).status, RTAS_PARAMETER);
    assert_eq!(change(&mut phb, 8, 5, 1).status, RTAS_PARAMETER);
    assert_eq!(change(&mut phb, 8, 9, 1).status, RTAS_PARAMETER);
    phb.reset();
    assert!(phb.used_msis.iter().all(|u| !u));
}

#[test]
fn pins_share_lines_by_device_number() {
    let mut phb = phb();
    phb.add_device(0x28, Box::new(Toy::new()));
    assert_eq!(
        (
            phb.lsi_source(8, 1),
            phb.lsi_source(0x28, 1),
            phb.lsi_source(0x18, 2)
        ),
        (0x1001, 0x1001, 0x1000)
    );
    let (a, b) = (enable(&mut phb, 8, 0), enable(&mut phb, 0x28, 0x4000));
    let event = |level| IrqEvent {
        source: 0x1001,
        kind: IrqKind::Level(level),
    };
    phb.mmio_write(Gpa(a.0 + 4), &[1]);
    assert_eq!(phb.take_irqs(), [event(true)]);
    phb.mmio_write(Gpa(b.0 + 4), &[1]);
    phb.mmio_write(Gpa(a.0 + 4), &[0]);
    assert_eq!(phb.take_irqs(), []);
    write(
        &mut phb,
        0x28,
        COMMAND,
        2,
        (COMMAND_MEMORY | COMMAND_INTX_DISABLE).into(),
    );
    assert_eq!(phb.take_irqs(), [event(false)]);
    write(&mut phb, 0x28, COMMAND, 2, COMMAND_MEMORY.into());
    assert_eq!(phb.take_irqs(), [event(true)]);
    phb.reset();
    assert_eq!(phb.take_irqs(), [event(false)]);
}

#[test]
fn deferred_work_runs_once_when_due() {
    let mut phb = phb();
    let base = enable(&mut phb, 8, 0);
    phb.set_now(1000);
    phb.mmio_write(Gpa(base.0 + 8), &[200]);
    phb.mmio_write(Gpa(base.0 + 8), &[50]);
    assert_eq!(phb.next_deadline(), Some(1050));
    assert!(!phb.run_due(1049) && phb.run_due(1060));
    // It asked again at once: that is the next call's.
    assert_eq!(phb.next_deadline(), Some(1060));
    let mut runs = [0; 4];
    phb.mmio_read(Gpa(base.0 + 0x10), &mut runs);
    assert_eq!(runs, [1, 0, 0, 0]);
    assert!(phb.remove_device(8).is_some());
    assert_eq!(phb.next_deadline(), None);
}

/// The value and the state of a call for the bridge's PE.
fn eeh(phb: &mut Phb, call: RtasCall, more: &[u32]) -> (i32, u32) {
    let args = [&[PE_CONFIG_ADDR, HI, LO], more].concat();
    let reply = phb.rtas(call, &args).unwrap();
    (reply.status.0, reply.values[0])
}

#[test]
fn a_stopped_pe_is_deaf_until_it_is_reset() {
    let mut phb = phb();
    let base = enable(&mut phb, 8, 0);
    assert_eq!(eeh(&mut phb, RtasCall::IbmSetEehOption, &[1]).0, 0);
    assert_eq!(phb.error_log(BUID, PE_CONFIG_ADDR).unwrap_err().0, 1);
    let state = |phb: &mut Phb| eeh(phb, RtasCall::IbmReadSlotResetState2, &[]);
    assert_eq!(state(&mut phb), (0, 0));
    phb.health().error();
    assert_eq!(state(&mut phb), (0, 2));
    assert_eq!(phb.error_log(BUID, PE_CONFIG_ADDR).unwrap()[0], 6);
    let mut word = [0; 4];
    assert!(phb.mmio_read(Gpa(base.0 + 0x10), &mut word));
    assert_eq!(word, [0xff; 4], "loads get all ones");
    assert!(phb.mmio_write(Gpa(base.0 + 8), &[1, 0, 0, 0]));
    assert_eq!(phb.next_deadline(), None, "stores are dropped");
    assert_eq!(eeh(&mut phb, RtasCall::IbmSetEehOption, &[2]).0, 0);
    assert_eq!(state(&mut phb), (0, 4));
    assert!(phb.mmio_read(Gpa(base.0 + 0x10), &mut word));
    assert_eq!(word, [0; 4]);
    assert_eq!(eeh(&mut phb, RtasCall::IbmSetEehOption, &[3]).0, 0);
    assert_eq!(state(&mut phb), (0, 0));
    phb.health().error();
    assert_eq!(eeh(&mut phb, RtasCall::IbmSetSlotReset, &[1]).0, 0);
    assert_eq!(state(&mut phb), (0, 1));
    assert_eq!(eeh(&mut phb, RtasCall::IbmSetSlotReset, &[0]).0, 0);
    assert_eq!(eeh(&mut phb, RtasCall::IbmConfigurePe, &[]).0, 0);
    assert_eq!(state(&mut phb), (0, 0));
    let command = phb.rtas(RtasCall::ReadPciConfig, &[config_addr(0, 8, COMMAND), 2]);
    assert_eq!(command.unwrap().values[0], 0, "the function was reset");
    phb.health().error();
    assert_eq!(eeh(&mut phb, RtasCall::IbmSetSlotReset, &[3]).0, 0);
    phb.reset();
    assert_eq!(state(&mut phb), (0, 0));
}

#[test]
fn an_isolated_bridge_answers_no_call_and_comes_back_fresh() {
    let mut phb = phb();
    assert_eq!(eeh(&mut phb, RtasCall::IbmSetEehOption, &[1]).0, 0);
    phb.health().error();
    assert!(!phb.is_empty());
    for devfn in 0..=255 {
        phb.remove_device(devfn);
    }
    assert!(phb.is_empty() && !phb.is_isolated());
    phb.isolate(true);
    assert!(phb.is_isolated());
    let member = config_addr(0, 8, 0);
    let calls: [(RtasCall, &[u32]); 11] = [
        (RtasCall::ReadPciConfig, &[member, 4]),
        (RtasCall::WritePciConfig, &[member, 4, 0]),
        (RtasCall::IbmReadPciConfig, &[member, HI, LO, 4]),
        (RtasCall::IbmWritePciConfig, &[member, HI, LO, 4, 0]),
        (RtasCall::IbmChangeMsi, &[member, HI, LO, 1, 0, 0]),
        (
            RtasCall::IbmQueryInterruptSourceNumber,
            &[member, HI, LO, 0],
        ),
        (
            RtasCall::IbmGetConfigAddrInfo2,
            &[PE_CONFIG_ADDR, HI, LO, 0],
        ),
        (RtasCall::IbmSetEehOption, &[PE_CONFIG_ADDR, HI, LO, 1]),
        (RtasCall::IbmReadSlotResetState2, &[PE_CONFIG_ADDR, HI, LO]),
        (RtasCall::IbmSetSlotReset, &[PE_CONFIG_ADDR, HI, LO, 0]),
        (RtasCall::IbmConfigurePe, &[PE_CONFIG_ADDR, HI, LO]),
    ];
    for (call, args) in calls {
        let status = phb.rtas(call, args).map(|r| r.status);
        assert_eq!(status, Some(RTAS_PARAMETER), "{call:?}");
    }
    // What was armed or stopped meanwhile is forgotten too.
    phb.health().assert_reset();
    phb.isolate(false);
    assert_eq!(eeh(&mut phb, RtasCall::IbmReadSlotResetState2, &[]), (0, 0));
    phb.health().error();
    assert_eq!(
        eeh(&mut phb, RtasCall::IbmReadSlotResetState2, &[]),
        (0, 0),
        "error handling is off"
    );
    phb.add_device(8, Box::new(Toy::new()));
    assert_eq!(read(&mut phb, 8, 0, 2), 0x1234);
}

#[test]
fn calls_for_error_handling_check_their_cells() {
    let mut phb = phb();
    let member = config_addr(0, 8, 0);
    for (call, more, bad) in [
        (RtasCall::IbmSetEehOption, &[1][..], &[4][..]),
        (RtasCall::IbmReadSlotResetState2, &[], &[0]),
        (RtasCall::IbmSetSlotReset, &[0], &[2]),
        (RtasCall::IbmConfigurePe, &[], &[0]),
    ] {
        let mut status = |addr: u32, lo: u32, more: &[u32]| {
            let args = [&[addr, HI, lo], more].concat();
            phb.rtas(call, &args).map(|r| r.status.0)
        };
        assert_eq!(status(PE_CONFIG_ADDR, LO, more), Some(0), "{call:?}");
        assert_eq!(status(member, LO, more), Some(0), "a function names its PE");
        assert_eq!(status(PE_CONFIG_ADDR, LO, bad), Some(-3), "{call:?}");
        assert_eq!(status(PE_CONFIG_ADDR, LO + 1, more), Some(-3));
        assert_eq!(status(PE_CONFIG_ADDR + 1, LO, more), Some(-3));
        assert_eq!(status(config_addr(0, 0xf8, 0), LO, more), Some(-3));
        assert_eq!(status(config_addr(1, 8, 0), LO, more), Some(-3));
    }
    assert_eq!(phb.error_log(BUID + 1, PE_CONFIG_ADDR), Err(RTAS_PARAMETER));
    assert_eq!(phb.error_log(BUID, 2), Err(RTAS_PARAMETER));
}

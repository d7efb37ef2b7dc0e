//! What happened in a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use viommu_devices::dma::SourceId;
use viommu_devices::vtd::Vtd;
use viommu_devices::vtd::spec::registers::Register;

use super::interrupts::Source;
use super::machine::Machine;
use super::map;
use crate::config::End;
use crate::observe::Report;
use crate::observe::iommu::Hex;
use crate::observe::pc::{PcSummary, PortSummary, UnitSummary, VtdSummary};
use crate::observe::report::{DeviceSummary, HostSummary, MachineSummary, MmioSummary};

impl Machine {
    /// What happened, without checks and host times.
    pub fn report(&self, end: &End) -> Report {
        let (p, config) = (self.platform(), self.config());
        let count = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let devices = p.functions.iter().map(|f| DeviceSummary {
            name: f.name.clone(),
            address: format!("{:?}", f.source()),
            bytes_read: count(&f.port.counters().bytes_read),
            bytes_written: count(&f.port.counters().bytes_written),
            faults: count(&f.port.counters().faults),
        });
        Report {
            machine: MachineSummary {
                kind: "pc".into(),
                cpus: config.cpus,
                memory: config.memory,
                append: config.append.clone(),
            },
            end: end.to_string(),
            phases: p.console.phases().to_vec(),
            instructions: p.counters.instructions,
            virtual_ns: p.clock.now_ns(),
            idle_ns: p.clock.idle_ns(),
            pc: Some(PcSummary {
                vtd: VtdSummary {
                    units: (0..).zip(&p.units).map(|(n, u)| unit(n, u)).collect(),
                    refused: p.faults.list(),
                },
                ports: PortSummary {
                    reads: p.counters.port_reads,
                    writes: p.counters.port_writes,
                    errors: p.counters.port_errors,
                },
            }),
            devices: devices.collect(),
            translations: p.counters.translations.calls(),
            interrupts: self.interrupts(),
            mmio: MmioSummary {
                reads: p.counters.mmio_reads,
                writes: p.counters.mmio_writes,
                errors: p.counters.mmio_errors,
            },
            host: HostSummary {
                translations: p.counters.translations.cost(),
                ..HostSummary::default()
            },
            ..Report::default()
        }
    }

    /// Interrupts that reached local APICs, by source.
    fn interrupts(&self) -> BTreeMap<String, u64> {
        let name = |source: &Source| match *source {
            Source::Pin(pin) => format!("I/O APIC pin {pin}"),
            Source::Function(id) => format!("{:?} message", SourceId(id)),
            Source::Unit(unit) => format!("VT-d unit {unit}"),
        };
        let sources = self.platform().sources.iter();
        sources.map(|(source, n)| (name(source), *n)).collect()
    }
}

fn unit(index: usize, unit: &Vtd) -> UnitSummary {
    let capabilities = unit.capabilities();
    UnitSummary {
        address: Hex(map::unit(index)),
        cap: Hex(capabilities.cap.into()),
        ecap: Hex(capabilities.ecap.into()),
        gsts: Hex(read(unit, Register::GSTS)),
        rtaddr: Hex(read(unit, Register::RTADDR)),
        counters: unit.counters(),
    }
}

/// A register of fixed place; reading one of those here changes nothing.
fn read(unit: &Vtd, register: Register) -> u64 {
    let found = Register::MAP.iter().find(|(_, _, r)| *r == register);
    found.map_or(0, |(offset, size, _)| unit.read(*offset, *size as u8))
}

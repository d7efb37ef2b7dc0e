//! Runs the self-test's program on a machine of its own.

use super::guest::{SelftestParams, SelftestTokens, image};
use crate::pseries::{
    ConfigError, DeviceConfig, End, Host, HostInput, Machine, MachineConfig, host::Moment,
};
use viommu_firmware_tables::check;
use viommu_firmware_tables::fdt::{self, Node, Tree};

/// Memory of the machine.
const MEMORY: u64 = 64 << 20;
/// Instructions after which the program must have ended; it takes far fewer.
const INSTRUCTIONS: u64 = 200_000_000;

/// Why the self-test did not pass.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// The machine could not be made.
    #[error(transparent)]
    Machine(#[from] ConfigError),
    /// The program could not be assembled.
    #[error("self-test program: {0}")]
    Assemble(#[from] super::asm::AsmError),
    /// The machine's device tree cannot be read.
    #[error("device tree: {0}")]
    Tree(#[from] fdt::ParseError),
    /// The machine's device tree breaks a rule.
    #[error("device tree: {0}")]
    Rule(String),
    /// The machine's device tree lacks what the program needs.
    #[error("the machine's device tree has no {0}")]
    Missing(&'static str),
    /// The program did not say that it passed.
    #[error("the self-test did not pass: {end}; last line: {line:?}")]
    Failed {
        /// How the run ended.
        end: End,
        /// Last line of the console.
        line: String,
    },
}

/// Runs the self-test. `line` gets each line that the program prints.
///
/// # Errors
/// Whatever kept it from passing.
pub fn run(line: impl FnMut(&str)) -> Result<(), SelftestError> {
    let config = MachineConfig {
        memory: MEMORY,
        devices: vec![DeviceConfig::Edu],
        ..MachineConfig::default()
    };
    run_with(config, line)
}

/// As [`run`], on a machine of the caller's; it needs an edu device. `bios` and `max_instructions` are the self-test's own.
///
/// # Errors
/// Whatever kept it from passing.
pub fn run_with(mut config: MachineConfig, line: impl FnMut(&str)) -> Result<(), SelftestError> {
    // What the program needs to know stands in the tree of the machine that it will run on.
    config.bios = Some(vec![0; guest_size()]);
    config.max_instructions = Some(INSTRUCTIONS);
    let tree = fdt::parse(Machine::new(config.clone())?.dtb())?;
    if let Some(finding) = check::pseries(&tree).first() {
        return Err(SelftestError::Rule(finding.to_string()));
    }
    config.bios = Some(image(&params(&tree)?)?);
    let mut lines = Lines {
        rest: Vec::new(),
        passed: false,
        last: String::new(),
        line,
    };
    let end = Machine::new(config)?.run(&mut lines);
    if lines.passed && end == End::PowerOff {
        Ok(())
    } else {
        Err(SelftestError::Failed {
            end,
            line: lines.last,
        })
    }
}

/// Size of the memory that the program uses; the stand-in takes it all, so that the tree is the same.
fn guest_size() -> usize {
    super::guest::MEMORY_NEEDED as usize
}

fn ids(node: &Node) -> (Option<u32>, Option<u32>) {
    (node.get_u32("vendor-id"), node.get_u32("device-id"))
}

/// What the program needs, out of a machine's device tree.
///
/// # Errors
/// The tree lacks something.
pub fn params(tree: &Tree) -> Result<SelftestParams, SelftestError> {
    let missing = SelftestError::Missing;
    let rtas = tree.node("/rtas").ok_or(missing("rtas"))?;
    let token = |name| rtas.get_u32(name).ok_or(missing(name));
    let bridges = tree
        .root
        .children
        .iter()
        .filter(|n| n.get_str("device_type") == Some("pci"));
    let (bridge, edu) = bridges
        .flat_map(|b| b.children.iter().map(move |f| (b, f)))
        .find(|(_, f)| ids(f) == (Some(0x1234), Some(0x11e8)))
        .ok_or(missing("edu device"))?;
    let address = edu
        .get_cells("reg")
        .and_then(|r| r.first().copied())
        .ok_or(missing("edu reg"))?;
    let buid = bridge.get_cells("reg").ok_or(missing("bridge reg"))?;
    let &[high, low, ..] = buid.as_slice() else {
        return Err(missing("bridge reg"));
    };
    let ranges = bridge.get_cells("ranges").ok_or(missing("bridge ranges"))?;
    let memory = ranges
        .as_chunks::<7>()
        .0
        .iter()
        .find(|r| r[0] & 0x0300_0000 == 0x0200_0000);
    let &[_, _, bar_pci, cpu_high, cpu_low, _, _] = memory.ok_or(missing("32-bit memory range"))?;
    let vty = tree
        .node("/vdevice/vty")
        .and_then(|v| v.get_u32("reg"))
        .ok_or(missing("vty"))?;
    let extensions = bridge.get_cells("ibm,ddw-extensions").unwrap_or_default();
    Ok(SelftestParams {
        buid: u64::from(high) << 32 | u64::from(low),
        bus: (address >> 16) as u8,
        devfn: (address >> 8) as u8,
        bar_pci,
        bar_cpu: u64::from(cpu_high) << 32 | u64::from(cpu_low),
        vty,
        query_outputs: if extensions.get(2) == Some(&1) { 6 } else { 5 },
        tokens: SelftestTokens {
            read_config: token("ibm,read-pci-config")?,
            write_config: token("ibm,write-pci-config")?,
            query_window: token("ibm,query-pe-dma-window")?,
            create_window: token("ibm,create-pe-dma-window")?,
            remove_window: token("ibm,remove-pe-dma-window")?,
            power_off: token("power-off")?,
        },
    })
}

/// Cuts the console into lines.
struct Lines<F> {
    rest: Vec<u8>,
    passed: bool,
    last: String,
    line: F,
}

impl<F: FnMut(&str)> Host for Lines<F> {
    fn poll(&mut self, moment: Moment<'_>, _room: usize) -> HostInput {
        for byte in moment.console {
            if *byte != b'\n' {
                self.rest.push(*byte);
                continue;
            }
            self.last = String::from_utf8_lossy(&self.rest).trim_end().to_owned();
            self.rest.clear();
            self.passed |= self.last == super::PASSED;
            (self.line)(&self.last);
        }
        HostInput::default()
    }
}

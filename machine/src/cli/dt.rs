//! `viommu dt`: the device tree as source text.

use viommu_firmware_tables::fdt;

use super::args::BootArgs;
use super::{Failure, boot, output};
use crate::pseries::Machine;

/// Prints the tree that the machine of these options hands to its guest. Without a kernel, none is loaded.
///
/// # Errors
/// A user's mistake, or standard output's.
pub fn print(args: &BootArgs) -> Result<(), Failure> {
    let plan = boot::plan(&boot::without_guest(args))?;
    let machine = Machine::new(plan.config).map_err(Failure::user)?;
    let text = fdt::to_dts(machine.dtb()).map_err(Failure::run)?;
    output::put(&text)
}

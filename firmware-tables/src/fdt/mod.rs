//! Flattened device trees: the tree of a pseries machine, a writer, a bounded parser and a source printer.
//!
//! The writer is this module's own because PAPR names pass the 31 characters of IEEE 1275 that general writers hold to
//! (`ibm,processor-radix-AP-encodings`, `ibm,query-interrupt-source-number`).

mod cpu;
mod description;
mod dts;
mod memory;
mod parse;
mod phb;
mod pseries;
mod tree;

pub use cpu::pa_features_power9;
pub use description::{
    BarDescription, BarSpace, ConnectorDescription, ConsoleDescription, CpuDescription, CpuModel,
    DdwDescription, DmaWindowDescription, FunctionDescription, InterruptController,
    NvramDescription, PhbDescription, PseriesDescription, RangeDescription, RtasDescription,
};
pub use dts::to_dts;
pub use memory::block_node;
pub use parse::{LIMITS, Limits, ParseError, parse};
pub use phb::function_node;
pub use pseries::{bridge_node, pseries, pseries_tree};
pub use tree::{Node, Tree};

/// Why a tree could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FdtError {
    /// A node or property name is empty, or holds a NUL, a slash or a control character.
    #[error("bad device-tree name {0:?}")]
    Name(String),
    /// A string value holds a NUL.
    #[error("the value of {0} holds a NUL byte")]
    String(String),
    /// The blob, or one value, passes what its 32-bit fields can say.
    #[error("device tree too large")]
    TooLarge,
    /// A memory reservation of no bytes at address 0: it would end the list for readers.
    #[error("a memory reservation of no bytes at address 0 cannot be written")]
    Reservation,
    /// The description contradicts itself.
    #[error("{0}")]
    Description(String),
}

#[cfg(test)]
pub(crate) mod tests;

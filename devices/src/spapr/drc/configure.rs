//! ibm,configure-connector: a device-tree node, handed out piece by piece in a work area. LoPAR §13.5.3.5.
//!
//! The platform keeps no state of a traversal: the work area's second word, zero at the first call, counts the steps done. So any number
//! of traversals may run at once, and a guest that changes the word only confuses itself.

use vm_memory::{Bytes, GuestAddress};

use super::DrcIndex;
use crate::memory::GuestRam;
use crate::spapr::rtas::RtasStatus;

/// Size of the work area, in bytes.
pub const WORK_AREA: usize = 4096;
/// The connector must be usable and unisolated first.
pub(super) const CANNOT_CONFIGURE: RtasStatus = RtasStatus(-9003);

const NEXT_SIBLING: RtasStatus = RtasStatus(1);
const NEXT_CHILD: RtasStatus = RtasStatus(2);
const NEXT_PROPERTY: RtasStatus = RtasStatus(3);
const PREVIOUS_PARENT: RtasStatus = RtasStatus(4);

/// Where names begin in the work area, after its words.
const TEXT: usize = 32;

/// One answer of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A node of this name below the one before.
    Child(String),
    /// A node of this name beside the one before.
    Sibling(String),
    /// A property of the node: name and value.
    Property(String, Vec<u8>),
    /// Back to the parent.
    Parent,
}

impl Step {
    /// True if its name and value fit into the work area.
    pub fn fits(&self) -> bool {
        let (name, value) = self.content();
        value_at(name) + value.len() <= WORK_AREA
    }

    fn content(&self) -> (&str, &[u8]) {
        match self {
            Step::Child(name) | Step::Sibling(name) => (name, &[]),
            Step::Property(name, value) => (name, value),
            Step::Parent => ("", &[]),
        }
    }
}

/// Offset of a value after its name and that one's NUL.
fn value_at(name: &str) -> usize {
    (TEXT + name.len() + 1).next_multiple_of(8)
}

/// The connector that a work area names, and how many steps its traversal has done.
pub(super) fn request(area: u64, ram: &GuestRam) -> Option<(DrcIndex, u32)> {
    let mut words = [0; 8];
    ram.read_slice(&mut words, GuestAddress(area)).ok()?;
    let [a, b, c, d, e, f, g, h] = words;
    let index = DrcIndex(u32::from_be_bytes([a, b, c, d]));
    Some((index, u32::from_be_bytes([e, f, g, h])))
}

/// Writes a step into the work area: words 1 to 4 are the steps done, offset of the name, length and offset of the value. None if it
/// does not fit, or the area is not in memory.
pub(super) fn answer(step: &Step, cursor: u32, area: u64, ram: &GuestRam) -> Option<RtasStatus> {
    let (name, value) = step.content();
    let at = value_at(name);
    let mut bytes = vec![0; at + value.len()];
    if bytes.len() > WORK_AREA {
        return None;
    }
    let words = [
        cursor.checked_add(1)?,
        TEXT as u32,
        value.len() as u32,
        at as u32,
    ];
    for (to, word) in bytes[4..].chunks_mut(4).zip(words) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    bytes[TEXT..TEXT + name.len()].copy_from_slice(name.as_bytes());
    bytes[at..].copy_from_slice(value);
    // The first word stays the caller's.
    let from = GuestAddress(area.checked_add(4)?);
    ram.write_slice(&bytes[4..], from).ok()?;
    Some(match step {
        Step::Child(_) => NEXT_CHILD,
        Step::Sibling(_) => NEXT_SIBLING,
        Step::Property(..) => NEXT_PROPERTY,
        Step::Parent => PREVIOUS_PARENT,
    })
}

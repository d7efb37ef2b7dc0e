//! A device tree as a value, and its flattened form. Devicetree Specification 0.4 §5.

use super::FdtError;
use std::collections::BTreeMap;

pub(super) const MAGIC: u32 = 0xd00d_feed;
pub(super) const VERSION: u32 = 17;
pub(super) const LAST_COMPATIBLE: u32 = 16;
pub(super) const HEADER: usize = 40;
pub(super) const BEGIN_NODE: u32 = 1;
pub(super) const END_NODE: u32 = 2;
pub(super) const PROP: u32 = 3;
pub(super) const NOP: u32 = 4;
pub(super) const END: u32 = 9;

/// A node: its name with unit address, its properties and children in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name, with `@unit` if it has one; empty for the root.
    pub name: String,
    /// Properties in order: name and raw value.
    pub properties: Vec<(String, Vec<u8>)>,
    /// Children in order.
    pub children: Vec<Node>,
}

impl Node {
    /// A node without properties.
    pub fn new(name: impl Into<String>) -> Self {
        Node {
            name: name.into(),
            ..Node::default()
        }
    }

    /// Sets a property, replacing one of the same name.
    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) -> &mut Self {
        let value = value.into();
        match self.properties.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => *v = value,
            None => self.properties.push((name.to_owned(), value)),
        }
        self
    }

    /// Sets an empty property.
    pub fn flag(&mut self, name: &str) -> &mut Self {
        self.set(name, [])
    }

    /// Sets a one-cell property.
    pub fn u32(&mut self, name: &str, value: u32) -> &mut Self {
        self.set(name, value.to_be_bytes())
    }

    /// Sets a two-cell property.
    pub fn u64(&mut self, name: &str, value: u64) -> &mut Self {
        self.set(name, value.to_be_bytes())
    }

    /// Sets a property of 32-bit cells.
    pub fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        self.set(
            name,
            cells
                .iter()
                .flat_map(|c| c.to_be_bytes())
                .collect::<Vec<u8>>(),
        )
    }

    /// Sets a string, ending it with a NUL. A NUL inside ends the string there for readers; [`super::pseries`] refuses those.
    pub fn str(&mut self, name: &str, value: &str) -> &mut Self {
        self.strings(name, &[value])
    }

    /// Sets a list of strings, each ended with a NUL.
    pub fn strings<S: AsRef<str>>(&mut self, name: &str, values: &[S]) -> &mut Self {
        let mut bytes = Vec::new();
        for value in values {
            bytes.extend_from_slice(value.as_ref().as_bytes());
            bytes.push(0);
        }
        self.set(name, bytes)
    }

    /// Adds a child.
    pub fn add(&mut self, child: Node) -> &mut Self {
        self.children.push(child);
        self
    }

    /// Raw value of a property.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.properties
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_slice())
    }

    /// A property as 32-bit cells, if it is whole cells.
    pub fn get_cells(&self, name: &str) -> Option<Vec<u32>> {
        let (chunks, rest) = self.get(name)?.as_chunks::<4>();
        rest.is_empty()
            .then(|| chunks.iter().map(|c| u32::from_be_bytes(*c)).collect())
    }

    /// A property that is exactly one cell.
    pub fn get_u32(&self, name: &str) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(name)?.try_into().ok()?))
    }

    /// A property of one or two cells as a number.
    pub fn get_number(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?;
        match value.len() {
            4 => self.get_u32(name).map(u64::from),
            8 => Some(u64::from_be_bytes(value.try_into().ok()?)),
            _ => None,
        }
    }

    /// A property that is one string ended with its only NUL.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        let (&last, body) = self.get(name)?.split_last()?;
        if last != 0 || body.contains(&0) {
            return None;
        }
        std::str::from_utf8(body).ok()
    }

    /// A property as a list of NUL-ended strings.
    pub fn get_strings(&self, name: &str) -> Option<Vec<&str>> {
        let (&last, body) = self.get(name)?.split_last()?;
        if last != 0 {
            return None;
        }
        body.split(|b| *b == 0)
            .map(|s| std::str::from_utf8(s).ok())
            .collect()
    }

    /// The child with this name, with its unit address or, if `name` has none, with any.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|c| c.is_named(name))
    }

    /// As [`Node::child`], to change it.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.children.iter_mut().find(|c| c.is_named(name))
    }

    fn is_named(&self, name: &str) -> bool {
        self.name == name || (!name.contains('@') && self.name.split('@').next() == Some(name))
    }
}

/// A device tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Root node.
    pub root: Node,
    /// Memory reservations: address and size.
    pub reservations: Vec<(u64, u64)>,
    /// `reg` of the processor that boots.
    pub boot_cpu: u32,
}

impl Tree {
    /// The node at a path such as `/vdevice/vty@71000000`; `/` is the root. A unit address may be left out.
    pub fn node(&self, path: &str) -> Option<&Node> {
        path.split('/')
            .filter(|p| !p.is_empty())
            .try_fold(&self.root, |n, p| n.child(p))
    }

    /// As [`Tree::node`], to change it.
    pub fn node_mut(&mut self, path: &str) -> Option<&mut Node> {
        path.split('/')
            .filter(|p| !p.is_empty())
            .try_fold(&mut self.root, |n, p| n.child_mut(p))
    }

    /// Every node with its path, parents before children.
    pub fn walk(&self) -> Vec<(String, &Node)> {
        let mut out = Vec::new();
        let mut todo = vec![(String::new(), &self.root)];
        while let Some((path, node)) = todo.pop() {
            for child in node.children.iter().rev() {
                todo.push((format!("{path}/{}", child.name), child));
            }
            out.push((
                if path.is_empty() {
                    "/".to_owned()
                } else {
                    path
                },
                node,
            ));
        }
        out
    }

    /// The flattened form, version 17.
    ///
    /// # Errors
    /// A name or a reservation that cannot be written, or a size beyond 32 bits.
    pub fn to_blob(&self) -> Result<Vec<u8>, FdtError> {
        if self.reservations.contains(&(0, 0)) {
            return Err(FdtError::Reservation);
        }
        let mut writer = Writer::default();
        writer.node(&self.root, true)?;
        writer.cell(END);
        let reserve_size = (self.reservations.len() + 1) * 16;
        let structure_at = HEADER + reserve_size;
        let strings_at = structure_at + writer.structure.len();
        let total = strings_at + writer.strings.len();
        let mut blob = Vec::with_capacity(total);
        for field in [
            MAGIC as usize,
            total,
            structure_at,
            strings_at,
            HEADER,
            VERSION as usize,
            LAST_COMPATIBLE as usize,
            self.boot_cpu as usize,
            writer.strings.len(),
            writer.structure.len(),
        ] {
            blob.extend_from_slice(
                &u32::try_from(field)
                    .map_err(|_| FdtError::TooLarge)?
                    .to_be_bytes(),
            );
        }
        for (address, size) in self.reservations.iter().chain([&(0, 0)]) {
            blob.extend_from_slice(&address.to_be_bytes());
            blob.extend_from_slice(&size.to_be_bytes());
        }
        blob.extend_from_slice(&writer.structure);
        blob.extend_from_slice(&writer.strings);
        Ok(blob)
    }
}

#[derive(Default)]
struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
    offsets: BTreeMap<String, u32>,
}

impl Writer {
    fn cell(&mut self, value: u32) {
        self.structure.extend_from_slice(&value.to_be_bytes());
    }

    fn align(&mut self) {
        self.structure
            .resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn string(&mut self, name: &str) -> Result<u32, FdtError> {
        if let Some(offset) = self.offsets.get(name) {
            return Ok(*offset);
        }
        let offset = u32::try_from(self.strings.len()).map_err(|_| FdtError::TooLarge)?;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.offsets.insert(name.to_owned(), offset);
        Ok(offset)
    }

    fn node(&mut self, node: &Node, root: bool) -> Result<(), FdtError> {
        if root != node.name.is_empty() {
            return Err(FdtError::Name(node.name.clone()));
        }
        check_name(&node.name)?;
        self.cell(BEGIN_NODE);
        self.structure.extend_from_slice(node.name.as_bytes());
        self.structure.push(0);
        self.align();
        for (name, value) in &node.properties {
            if name.is_empty() {
                return Err(FdtError::Name(name.clone()));
            }
            check_name(name)?;
            let offset = self.string(name)?;
            self.cell(PROP);
            self.cell(u32::try_from(value.len()).map_err(|_| FdtError::TooLarge)?);
            self.cell(offset);
            self.structure.extend_from_slice(value);
            self.align();
        }
        for child in &node.children {
            self.node(child, false)?;
        }
        self.cell(END_NODE);
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), FdtError> {
    if name.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
        Ok(())
    } else {
        Err(FdtError::Name(name.to_owned()))
    }
}

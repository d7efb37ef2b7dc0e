//! A parser of flattened device trees that takes any bytes. Devicetree Specification 0.4 §5.

use super::tree::{
    BEGIN_NODE, END, END_NODE, HEADER, LAST_COMPATIBLE, MAGIC, NOP, Node, PROP, Tree, VERSION,
};

/// What the parser takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a blob.
    pub bytes: usize,
    /// Depth of nodes.
    pub depth: usize,
    /// Nodes.
    pub nodes: usize,
    /// Properties.
    pub properties: usize,
    /// Memory reservations.
    pub reservations: usize,
    /// Characters of a name.
    pub name: usize,
}

/// The parser's limits: far above any machine's tree, and small enough that a hostile blob costs little.
pub const LIMITS: Limits = Limits {
    bytes: 16 << 20,
    depth: 32,
    nodes: 65_536,
    properties: 1 << 20,
    reservations: 4096,
    name: 255,
};

/// Why bytes are not a device tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than a header.
    #[error("{0} bytes are too few for a device tree")]
    Short(usize),
    /// The first word is not the magic.
    #[error("not a device tree (first word is {0:#010x}, not 0xd00dfeed)")]
    Magic(u32),
    /// A version that cannot be read.
    #[error("device tree version {version}, compatible back to {compatible}, is not 16 or 17")]
    Version {
        /// Version.
        version: u32,
        /// Last compatible version.
        compatible: u32,
    },
    /// A block of the header passes the end of the bytes, or is misaligned.
    #[error("the {0} block does not fit into the blob")]
    Block(&'static str),
    /// The structure block ends too early.
    #[error("the structure block ends inside an element at offset {0:#x}")]
    Truncated(usize),
    /// A token that does not exist, or not at this place.
    #[error("unexpected token {token:#x} at offset {at:#x}")]
    Token {
        /// The token.
        token: u32,
        /// Offset in the structure block.
        at: usize,
    },
    /// A name that is not ended, not printable, empty or too long.
    #[error("bad name at offset {0:#x}")]
    Name(usize),
    /// One of [`LIMITS`] is passed.
    #[error("the tree passes the limit of {0}")]
    Limit(&'static str),
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn block<'a>(
    blob: &'a [u8],
    at: u32,
    size: u32,
    name: &'static str,
) -> Result<&'a [u8], ParseError> {
    let at = at as usize;
    let end = at
        .checked_add(size as usize)
        .ok_or(ParseError::Block(name))?;
    if at < HEADER {
        return Err(ParseError::Block(name));
    }
    blob.get(at..end).ok_or(ParseError::Block(name))
}

fn name(bytes: &[u8], at: usize) -> Result<String, ParseError> {
    let rest = bytes.get(at..).ok_or(ParseError::Name(at))?;
    let length = rest
        .iter()
        .take(LIMITS.name + 1)
        .position(|b| *b == 0)
        .ok_or(ParseError::Name(at))?;
    let text = &rest[..length];
    if !text.iter().all(|b| b.is_ascii_graphic() && *b != b'/') {
        return Err(ParseError::Name(at));
    }
    Ok(text.iter().map(|b| char::from(*b)).collect())
}

/// Parses a flattened device tree of version 16 or 17. Bytes after the blob's own size are ignored.
///
/// # Errors
/// Anything that is not a well-formed tree within [`LIMITS`].
pub fn parse(bytes: &[u8]) -> Result<Tree, ParseError> {
    let header = |i: usize| be32(bytes, i * 4).ok_or(ParseError::Short(bytes.len()));
    let magic = header(0)?;
    if magic != MAGIC {
        return Err(ParseError::Magic(magic));
    }
    header(9)?;
    let total = header(1)? as usize;
    if total > LIMITS.bytes {
        return Err(ParseError::Limit("bytes"));
    }
    let blob = bytes.get(..total).ok_or(ParseError::Block("whole"))?;
    let (version, compatible) = (header(5)?, header(6)?);
    if version < LAST_COMPATIBLE || compatible > VERSION {
        return Err(ParseError::Version {
            version,
            compatible,
        });
    }
    let (structure_at, strings_at, reserve_at) = (header(2)?, header(3)?, header(4)?);
    let strings = block(blob, strings_at, header(8)?, "strings")?;
    // Version 16 has no size of the structure block: it ends at its END token.
    let structure_size = if version >= VERSION {
        header(9)?
    } else {
        (total as u32).saturating_sub(structure_at)
    };
    if !structure_at.is_multiple_of(4) {
        return Err(ParseError::Block("structure"));
    }
    let structure = block(blob, structure_at, structure_size, "structure")?;
    Ok(Tree {
        root: Reader {
            structure,
            strings,
            at: 0,
            nodes: 0,
            properties: 0,
        }
        .tree()?,
        reservations: reservations(blob, reserve_at as usize)?,
        boot_cpu: header(7)?,
    })
}

fn reservations(blob: &[u8], mut at: usize) -> Result<Vec<(u64, u64)>, ParseError> {
    const NAME: &str = "memory reservation";
    if !at.is_multiple_of(8) || at < HEADER {
        return Err(ParseError::Block(NAME));
    }
    let mut out = Vec::new();
    while out.len() < LIMITS.reservations {
        let (Some(address), Some(size)) = (be64(blob, at), be64(blob, at + 8)) else {
            return Err(ParseError::Block(NAME));
        };
        if (address, size) == (0, 0) {
            return Ok(out);
        }
        out.push((address, size));
        at += 16;
    }
    Err(ParseError::Limit("memory reservations"))
}

struct Reader<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    at: usize,
    nodes: usize,
    properties: usize,
}

impl Reader<'_> {
    fn cell(&mut self) -> Result<u32, ParseError> {
        let value = be32(self.structure, self.at).ok_or(ParseError::Truncated(self.at))?;
        self.at += 4;
        Ok(value)
    }

    /// The next token that is not a NOP, and where it was.
    fn token(&mut self) -> Result<(usize, u32), ParseError> {
        loop {
            let at = self.at;
            let token = self.cell()?;
            if token != NOP {
                return Ok((at, token));
            }
        }
    }

    fn begin(&mut self) -> Result<Node, ParseError> {
        self.nodes += 1;
        if self.nodes > LIMITS.nodes {
            return Err(ParseError::Limit("nodes"));
        }
        let name = name(self.structure, self.at)?;
        self.at = (self.at + name.len() + 1).next_multiple_of(4);
        Ok(Node::new(name))
    }

    fn property(&mut self) -> Result<(String, Vec<u8>), ParseError> {
        self.properties += 1;
        if self.properties > LIMITS.properties {
            return Err(ParseError::Limit("properties"));
        }
        let (length, offset) = (self.cell()? as usize, self.cell()? as usize);
        let name = name(self.strings, offset)?;
        if name.is_empty() {
            return Err(ParseError::Name(offset));
        }
        let end = self
            .at
            .checked_add(length)
            .ok_or(ParseError::Truncated(self.at))?;
        let value = self
            .structure
            .get(self.at..end)
            .ok_or(ParseError::Truncated(self.at))?;
        self.at = end.next_multiple_of(4);
        Ok((name, value.to_vec()))
    }

    fn tree(mut self) -> Result<Node, ParseError> {
        let (at, token) = self.token()?;
        if token != BEGIN_NODE {
            return Err(ParseError::Token { token, at });
        }
        let mut node = self.begin()?;
        if !node.name.is_empty() {
            return Err(ParseError::Name(at));
        }
        let mut parents: Vec<Node> = Vec::new();
        loop {
            let (at, token) = self.token()?;
            match token {
                BEGIN_NODE => {
                    if parents.len() + 1 >= LIMITS.depth {
                        return Err(ParseError::Limit("depth"));
                    }
                    let child = self.begin()?;
                    if child.name.is_empty() {
                        return Err(ParseError::Name(at));
                    }
                    parents.push(std::mem::replace(&mut node, child));
                }
                PROP if node.children.is_empty() => {
                    let property = self.property()?;
                    node.properties.push(property);
                }
                END_NODE => match parents.pop() {
                    Some(mut parent) => {
                        parent.children.push(std::mem::take(&mut node));
                        node = parent;
                    }
                    None => break,
                },
                _ => return Err(ParseError::Token { token, at }),
            }
        }
        match self.token()? {
            (_, END) => Ok(node),
            (at, token) => Err(ParseError::Token { token, at }),
        }
    }
}

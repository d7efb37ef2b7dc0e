//! Reads the declarations of AML: devices, names and what they hold. ACPI 6.5 §20.2.
//!
//! Methods are noted and skipped, and so is everything else that would have to be executed. Anybody may have written the bytes.

mod read;
mod resources;

pub use read::read;
pub use resources::{Resource, resources};

/// A declared object, by absolute path (`\_SB_.PC00._HID`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its path.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A device.
    Device,
    /// A processor, by the old opcode.
    Processor,
    /// Something with a value.
    Name(Value),
    /// A method with so many arguments.
    Method(u8),
    /// Another named object.
    Other,
}

/// A value that is written down, not computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Integer(u64),
    /// Text.
    Text(String),
    /// Bytes.
    Buffer(Vec<u8>),
    /// A list.
    Package(Vec<Value>),
    /// A name, as it is written.
    Reference(String),
}

/// What was read of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Objects in the order of their declaration.
    pub objects: Vec<Object>,
    /// Bytes, beside those of methods, that could not be read.
    pub unread: usize,
}

impl Namespace {
    /// Most objects that are kept.
    pub const MOST: usize = 100_000;

    /// The object with this path.
    pub fn find(&self, path: &str) -> Option<&Object> {
        self.objects.iter().find(|o| o.path == path)
    }

    /// The value with this path.
    pub fn value(&self, path: &str) -> Option<&Value> {
        match &self.find(path)?.kind {
            Kind::Name(value) => Some(value),
            _ => None,
        }
    }

    /// Paths of the devices whose `_HID` is `id` (`PNP0C02`, `ACPI0007`).
    pub fn devices<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a str> {
        self.objects.iter().filter_map(move |o| {
            let device = o.path.strip_suffix("._HID")?;
            let Kind::Name(value) = &o.kind else {
                return None;
            };
            (hardware_id(value)? == id).then_some(device)
        })
    }
}

/// The text of a `_HID`: as it is, or from its packed form. ACPI 6.5 §6.1.5.
pub fn hardware_id(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(packed) => {
            let n = u32::try_from(*packed).ok()?.swap_bytes();
            let letter = |shift: u32| char::from(b'@' + (n >> shift & 31) as u8);
            let letters = [letter(26), letter(21), letter(16)];
            letters
                .iter()
                .all(char::is_ascii_uppercase)
                .then(|| format!("{}{:04X}", letters.iter().collect::<String>(), n & 0xffff))
        }
        _ => None,
    }
}

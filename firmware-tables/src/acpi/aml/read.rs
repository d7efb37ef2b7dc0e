//! The reader: bytes to declarations.

use super::{Kind, Namespace, Object, Value};

/// Deepest nesting that is followed.
const DEPTH: usize = 32;

/// The declarations of a table's bytes after its header.
pub fn read(aml: &[u8]) -> Namespace {
    let mut out = Namespace::default();
    Reader { rest: aml }.terms("\\", DEPTH, &mut out);
    out
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(part)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let part = self.take(bytes)?;
        Some(part.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// What follows, up to the length that is written first. ACPI 6.5 §20.2.4.
    fn package(&mut self) -> Option<Reader<'a>> {
        let before = self.rest.len();
        let lead = self.byte()?;
        let more = usize::from(lead >> 6);
        let length = if more == 0 {
            usize::from(lead & 0x3f)
        } else {
            (self.number(more)? as usize) << 4 | usize::from(lead & 15)
        };
        let rest = self.take(length.checked_sub(before - self.rest.len())?)?;
        Some(Reader { rest })
    }

    /// A name as it is written. ACPI 6.5 §20.2.2.
    fn name(&mut self) -> Option<String> {
        let mut out = String::new();
        while let Some(&prefix @ (b'\\' | b'^')) = self.rest.first() {
            out.push(char::from(prefix));
            self.byte();
        }
        let segments = match self.rest.first()? {
            0 => {
                self.byte();
                0
            }
            0x2e => {
                self.byte();
                2
            }
            0x2f => {
                self.byte();
                usize::from(self.byte()?)
            }
            _ => 1,
        };
        for index in 0..segments {
            let segment = self.take(4)?;
            let lead = segment.first()?;
            if !(lead.is_ascii_uppercase() || *lead == b'_')
                || !segment
                    .iter()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == b'_')
            {
                return None;
            }
            if index > 0 {
                out.push('.');
            }
            out.extend(segment.iter().map(|c| char::from(*c)));
        }
        Some(out)
    }

    /// A list of terms to its end. What cannot be read is counted and ends the list.
    fn terms(mut self, scope: &str, depth: usize, out: &mut Namespace) {
        while !self.rest.is_empty() {
            let left = self.rest.len();
            if depth == 0
                || out.objects.len() >= Namespace::MOST
                || self.term(scope, depth, out).is_none()
            {
                out.unread += left;
                return;
            }
        }
    }

    fn term(&mut self, scope: &str, depth: usize, out: &mut Namespace) -> Option<()> {
        match self.byte()? {
            // Alias, Name.
            0x06 => {
                self.name()?;
                self.declare(scope, Kind::Other, out)?;
            }
            0x08 => {
                let path = join(scope, &self.name()?);
                let kind = Kind::Name(self.value(depth)?);
                out.objects.push(Object { path, kind });
            }
            // Scope.
            0x10 => {
                let mut inner = self.package()?;
                let path = join(scope, &inner.name()?);
                inner.terms(&path, depth - 1, out);
            }
            // Method.
            0x14 => {
                let mut inner = self.package()?;
                let path = join(scope, &inner.name()?);
                let kind = Kind::Method(inner.byte()? & 7);
                out.objects.push(Object { path, kind });
            }
            // External.
            0x15 => {
                self.name()?;
                self.take(2)?;
            }
            0x5b => self.extended(scope, depth, out)?,
            // If, Else, While: would have to be executed.
            0xa0..=0xa2 => {
                self.package()?;
            }
            // CreateDWordField and its like: source, index, name.
            0x8a..=0x8d | 0x8f => {
                self.value(depth)?;
                self.value(depth)?;
                self.declare(scope, Kind::Other, out)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn extended(&mut self, scope: &str, depth: usize, out: &mut Namespace) -> Option<()> {
        match self.byte()? {
            // Mutex, Event.
            0x01 => {
                self.declare(scope, Kind::Other, out)?;
                self.byte()?;
            }
            0x02 => self.declare(scope, Kind::Other, out)?,
            // OperationRegion: name, space, offset, length.
            0x80 => {
                self.declare(scope, Kind::Other, out)?;
                self.byte()?;
                self.value(depth)?;
                self.value(depth)?;
            }
            // Field, IndexField, BankField.
            0x81 | 0x86 | 0x87 => {
                self.package()?;
            }
            // Device, Processor, PowerResource, ThermalZone: fixed bytes between name and contents.
            code @ 0x82..=0x85 => {
                let (kind, fixed) = match code {
                    0x82 => (Kind::Device, 0),
                    0x83 => (Kind::Processor, 6),
                    0x84 => (Kind::Other, 3),
                    _ => (Kind::Other, 0),
                };
                let mut inner = self.package()?;
                let path = join(scope, &inner.name()?);
                inner.take(fixed)?;
                let object = Object {
                    path: path.clone(),
                    kind,
                };
                out.objects.push(object);
                inner.terms(&path, depth - 1, out);
            }
            _ => return None,
        }
        Some(())
    }

    fn declare(&mut self, scope: &str, kind: Kind, out: &mut Namespace) -> Option<()> {
        let path = join(scope, &self.name()?);
        out.objects.push(Object { path, kind });
        Some(())
    }

    /// A value that needs no execution. ACPI 6.5 §20.2.3.
    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let first = *self.rest.first()?;
        if first == b'\\'
            || first == b'^'
            || first == b'_'
            || first.is_ascii_uppercase()
            || matches!(first, 0x2e | 0x2f)
        {
            return self.name().map(Value::Reference);
        }
        self.byte();
        Some(match first {
            0x00 => Value::Integer(0),
            0x01 => Value::Integer(1),
            0xff => Value::Integer(u64::MAX),
            0x0a => Value::Integer(self.number(1)?),
            0x0b => Value::Integer(self.number(2)?),
            0x0c => Value::Integer(self.number(4)?),
            0x0e => Value::Integer(self.number(8)?),
            0x0d => {
                let length = self.rest.iter().position(|b| *b == 0)?;
                let text = self.take(length)?;
                self.byte();
                Value::Text(String::from_utf8_lossy(text).into_owned())
            }
            0x11 => {
                let mut inner = self.package()?;
                // Its size; what is not written down reads as 0 and is left out here.
                inner.value(depth)?;
                Value::Buffer(inner.rest.to_vec())
            }
            0x12 | 0x13 => {
                let mut inner = self.package()?;
                if first == 0x12 {
                    inner.byte()?;
                } else {
                    inner.value(depth)?;
                }
                let mut list = Vec::new();
                while !inner.rest.is_empty() {
                    list.push(inner.value(depth)?);
                }
                Value::Package(list)
            }
            _ => return None,
        })
    }
}

/// The absolute path of a name that is written in a scope.
fn join(scope: &str, name: &str) -> String {
    if let Some(rest) = name.strip_prefix('\\') {
        return format!("\\{rest}");
    }
    let up = name.bytes().take_while(|b| *b == b'^').count();
    let mut base = scope;
    for _ in 0..up {
        base = base.rfind('.').map_or("\\", |dot| &base[..dot]);
    }
    match (base, &name[up..]) {
        (base, "") => base.to_owned(),
        ("\\", name) => format!("\\{name}"),
        (base, name) => format!("{base}.{name}"),
    }
}

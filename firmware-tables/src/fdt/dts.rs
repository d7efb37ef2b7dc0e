//! Device-tree source of a blob, for people and for `dtc`. Devicetree Specification 0.4 §6.

use super::parse::{ParseError, parse};
use super::tree::Node;
use std::fmt::Write as _;

/// Source text of a flattened tree: one property a line, strings where a value reads as strings, cells where it is whole cells, bytes
/// otherwise. `dtc` compiles it back to the same tree.
///
/// # Errors
/// Bytes that are not a device tree.
pub fn to_dts(blob: &[u8]) -> Result<String, ParseError> {
    let tree = parse(blob)?;
    let mut out = String::from("/dts-v1/;\n");
    for (address, size) in &tree.reservations {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "/memreserve/ {address:#x} {size:#x};");
    }
    if tree.boot_cpu != 0 {
        let _ = writeln!(out, "// boot processor: {:#x}", tree.boot_cpu);
    }
    out.push('\n');
    node(&mut out, &tree.root, 0);
    Ok(out)
}

fn node(out: &mut String, this: &Node, depth: usize) {
    let indent = "\t".repeat(depth);
    let name = if this.name.is_empty() {
        "/"
    } else {
        &this.name
    };
    let _ = writeln!(out, "{indent}{name} {{");
    for (name, value) in &this.properties {
        let _ = writeln!(out, "{indent}\t{name}{};", value_text(value));
    }
    for child in &this.children {
        out.push('\n');
        node(out, child, depth + 1);
    }
    let _ = writeln!(out, "{indent}}};");
}

fn value_text(value: &[u8]) -> String {
    if value.is_empty() {
        return String::new();
    }
    if let Some(strings) = strings(value) {
        return format!(" = {}", strings.join(", "));
    }
    let (cells, rest) = value.as_chunks::<4>();
    if rest.is_empty() {
        let cells: Vec<String> = cells
            .iter()
            .map(|c| format!("{:#x}", u32::from_be_bytes(*c)))
            .collect();
        return format!(" = <{}>", cells.join(" "));
    }
    let bytes: Vec<String> = value.iter().map(|b| format!("{b:02x}")).collect();
    format!(" = [{}]", bytes.join(" "))
}

/// Quoted strings, if the value is one or more non-empty printable strings.
fn strings(value: &[u8]) -> Option<Vec<String>> {
    let (&last, body) = value.split_last()?;
    if last != 0 {
        return None;
    }
    body.split(|b| *b == 0)
        .map(|s| {
            if s.is_empty() || !s.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
                return None;
            }
            let mut text = String::from("\"");
            for byte in s {
                if matches!(byte, b'"' | b'\\') {
                    text.push('\\');
                }
                text.push(char::from(*byte));
            }
            text.push('"');
            Some(text)
        })
        .collect()
}

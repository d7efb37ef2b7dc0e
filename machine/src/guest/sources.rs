//! Reads apt source lists in their two forms and finds the Debian archive among them.

use std::path::{Path, PathBuf};

/// One archive that the host's apt is configured for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The archive's address, without a slash at the end.
    pub uri: String,
    /// The keyring file it is verified with, if the entry names one.
    pub signed_by: Option<PathBuf>,
}

fn source(uri: &str, signed_by: Option<&str>) -> Source {
    Source {
        uri: uri.trim_end_matches('/').to_string(),
        // A key may also be written into the entry itself or be a fingerprint: only a file is of use here.
        signed_by: signed_by
            .map(str::trim)
            .filter(|s| s.starts_with('/'))
            .and_then(|s| s.split([' ', ',']).next())
            .map(PathBuf::from),
    }
}

/// Parses the one-line form (`deb [signed-by=FILE] URI SUITE COMPONENT...`; sources.list(5)). Lines of other types are left out.
pub fn parse_one_line(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        let Some(rest) = line
            .strip_prefix("deb")
            .filter(|r| r.starts_with([' ', '\t', '[']))
        else {
            continue;
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let signed_by = options
            .split_whitespace()
            .find_map(|o| o.strip_prefix("signed-by="));
        if let Some(uri) = rest.split_whitespace().next() {
            found.push(source(uri, signed_by));
        }
    }
    found
}

/// Parses the deb822 form (paragraphs with `Types:`, `URIs:`, `Signed-By:`; sources.list(5)). Disabled entries are left out.
pub fn parse_deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut paragraph: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            finish(&mut paragraph, &mut found);
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = paragraph.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((field, value)) = line.split_once(':') {
            paragraph.push((field.trim().to_ascii_lowercase(), value.trim().to_string()));
        }
    }
    found
}

fn finish(paragraph: &mut Vec<(String, String)>, found: &mut Vec<Source>) {
    let fields = std::mem::take(paragraph);
    let field = |name: &str| {
        fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    let off = field("enabled").is_some_and(|v| {
        matches!(
            v.to_ascii_lowercase().as_str(),
            "no" | "false" | "0" | "off"
        )
    });
    let binary = field("types").is_some_and(|v| v.split_whitespace().any(|t| t == "deb"));
    if off || !binary {
        return;
    }
    for uri in field("uris").unwrap_or("").split_whitespace() {
        found.push(source(uri, field("signed-by")));
    }
}

/// The first source that is a Debian main archive, which is one whose address ends in `/debian`.
pub fn debian(sources: &[Source]) -> Option<&Source> {
    sources.iter().find(|s| s.uri.ends_with("/debian"))
}

/// All sources of the apt configuration in folder `etc` (usually `/etc/apt`), in apt's order. What cannot be read is left out.
pub fn read(etc: &Path) -> Vec<Source> {
    let mut found =
        parse_one_line(&std::fs::read_to_string(etc.join("sources.list")).unwrap_or_default());
    let mut parts: Vec<PathBuf> = std::fs::read_dir(etc.join("sources.list.d"))
        .map(|dir| dir.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    parts.sort();
    for part in parts {
        let text = std::fs::read_to_string(&part).unwrap_or_default();
        match part.extension().and_then(|e| e.to_str()) {
            Some("list") => found.extend(parse_one_line(&text)),
            Some("sources") => found.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    found
}

//! Rules that a device tree ([`pseries`]) or a set of ACPI tables ([`acpi::tables`]) must hold, each with its source, and what is broken.
//!
//! The rules take any tree that the parser takes, of any machine; nothing here trusts a length or a reference.

pub mod acpi;
mod connectors;
mod papr;
mod phb;
mod structure;

use crate::fdt::{Node, Tree};

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Short stable name.
    pub id: &'static str,
    /// What must hold.
    pub text: &'static str,
    /// Who says so.
    pub source: &'static str,
}

/// A place where a tree breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// Path of the node.
    pub path: String,
    /// What is there.
    pub detail: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {}: {} ({}; {})",
            self.path, self.rule.id, self.detail, self.rule.text, self.rule.source
        )
    }
}

/// Where the rules write their findings. One tree gives at most [`MAX_FINDINGS`].
struct Report(Vec<Finding>);

/// Findings after which a report is cut: a hostile tree must not fill memory.
pub const MAX_FINDINGS: usize = 1000;

impl Report {
    fn add(&mut self, rule: &'static Rule, path: &str, detail: impl Into<String>) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(Finding {
                rule,
                path: path.to_owned(),
                detail: detail.into(),
            });
        }
    }

    fn require(
        &mut self,
        holds: bool,
        rule: &'static Rule,
        path: &str,
        detail: impl FnOnce() -> String,
    ) {
        if !holds {
            self.add(rule, path, detail());
        }
    }
}

/// Every rule, in the order in which they are checked.
pub fn rules() -> Vec<&'static Rule> {
    [structure::RULES, papr::RULES, phb::RULES, connectors::RULES].concat()
}

/// Holds a pseries tree against every rule. An empty list means that nothing was found.
pub fn pseries(tree: &Tree) -> Vec<Finding> {
    let mut report = Report(Vec::new());
    structure::check(tree, &mut report);
    papr::check(tree, &mut report);
    phb::check(tree, &mut report);
    connectors::check(tree, &mut report);
    report.0
}

/// Device type of a node.
fn device_type(node: &Node) -> &str {
    node.get_str("device_type").unwrap_or("")
}

/// Cells as one number; more than two cells, or none, do not make one.
fn number(cells: &[u32]) -> Option<u64> {
    match cells {
        [low] => Some(u64::from(*low)),
        [high, low] => Some(u64::from(*high) << 32 | u64::from(*low)),
        _ => None,
    }
}

/// Half-open range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// `None` if it is empty or passes 2^64 - 1.
    fn new(start: u64, size: u64) -> Option<Self> {
        let end = start.checked_add(size)?;
        (size != 0).then_some(Span { start, end })
    }

    fn overlaps(self, other: Span) -> bool {
        self.start < other.end && other.start < self.end
    }

    fn within(self, outer: Span) -> bool {
        outer.start <= self.start && self.end <= outer.end
    }
}

/// The pairs of a list that overlap, found by sorting.
fn overlaps(spans: &mut [(Span, String)]) -> Vec<(String, String)> {
    spans.sort_by_key(|(s, _)| (s.start, s.end));
    spans
        .windows(2)
        .filter(|w| w[0].0.overlaps(w[1].0))
        .map(|w| (w[0].1.clone(), w[1].1.clone()))
        .collect()
}

/// Ranges of memory nodes that can be read as such.
fn memory(tree: &Tree) -> Vec<(Span, String)> {
    let mut out = Vec::new();
    for node in &tree.root.children {
        if device_type(node) != "memory" {
            continue;
        }
        for entry in node.get_cells("reg").unwrap_or_default().as_chunks::<4>().0 {
            let (base, size) = (number(&entry[..2]), number(&entry[2..]));
            if let Some(span) = base.zip(size).and_then(|(b, s)| Span::new(b, s)) {
                out.push((span, format!("/{}", node.name)));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;

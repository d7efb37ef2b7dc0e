//! Injected refusals: the n-th call of a kind gets a status of the user's choice and does nothing else.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A call that can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusable {
    /// ibm,query-pe-dma-window.
    Query,
    /// ibm,create-pe-dma-window.
    Create,
    /// ibm,remove-pe-dma-window.
    Remove,
    /// ibm,reset-pe-dma-window.
    Reset,
    /// H_PUT_TCE.
    Put,
    /// H_GET_TCE.
    Get,
    /// H_PUT_TCE_INDIRECT.
    Indirect,
    /// H_STUFF_TCE.
    Stuff,
}

impl Refusable {
    const ALL: [(&'static str, Refusable); 8] = [
        ("query", Refusable::Query),
        ("create", Refusable::Create),
        ("remove", Refusable::Remove),
        ("reset", Refusable::Reset),
        ("put", Refusable::Put),
        ("get", Refusable::Get),
        ("indirect", Refusable::Indirect),
        ("stuff", Refusable::Stuff),
    ];
}

/// Calls `first` to `last` of a kind (from 1, over the whole run) get `status`.
///
/// As text: `create:1=-1`, `create:1-3=9901` (busy three times), `put:100-=-44` (from the hundredth on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which call.
    pub call: Refusable,
    /// The first that is refused, at least 1.
    pub first: u64,
    /// The last that is refused.
    pub last: u64,
    /// What it gets: for RTAS calls the first output cell, for hypercalls R3. Not 0.
    pub status: i32,
}

/// Why a text is no refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRefusal {
    /// It has another form.
    #[error(
        "'{0}' is not CALL:N=STATUS, CALL:N-M=STATUS or CALL:N-=STATUS, for example create:1=-1"
    )]
    Form(String),
    /// No such call.
    #[error(
        "'{0}' cannot be refused (use query, create, remove, reset, put, get, indirect or stuff)"
    )]
    Call(String),
    /// Calls count from 1, and the last is not before the first.
    #[error("'{0}': calls count from 1, and the last is not before the first")]
    Range(String),
    /// 0 is success.
    #[error("'{0}': status 0 is no refusal")]
    Success(String),
}

impl FromStr for Refusal {
    type Err = BadRefusal;

    fn from_str(text: &str) -> Result<Self, BadRefusal> {
        let form = || BadRefusal::Form(text.to_owned());
        let (name, rest) = text.split_once(':').ok_or_else(form)?;
        let (range, status) = rest.split_once('=').ok_or_else(form)?;
        let status: i32 = status.parse().map_err(|_| form())?;
        let (_, call) = Refusable::ALL
            .into_iter()
            .find(|(n, _)| *n == name)
            .ok_or_else(|| BadRefusal::Call(name.to_owned()))?;
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| form());
        let (first, last) = match range.split_once('-') {
            None => (number(range)?, number(range)?),
            Some((first, "")) => (number(first)?, u64::MAX),
            Some((first, last)) => (number(first)?, number(last)?),
        };
        if first == 0 || last < first {
            return Err(BadRefusal::Range(text.to_owned()));
        }
        if status == 0 {
            return Err(BadRefusal::Success(text.to_owned()));
        }
        Ok(Refusal {
            call,
            first,
            last,
            status,
        })
    }
}

/// How many calls of a kind there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RefusalCount {
    call: Refusable,
    calls: u64,
}

/// The refusals of a run and the calls counted so far. Calls that cannot be refused are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::spapr::iommu) struct Refusals {
    rules: Vec<Refusal>,
    counts: Vec<RefusalCount>,
}

impl Refusals {
    pub(in crate::spapr::iommu) fn new(rules: Vec<Refusal>) -> Self {
        let mut counts: Vec<RefusalCount> = Vec::new();
        for rule in &rules {
            if !counts.iter().any(|c| c.call == rule.call) {
                counts.push(RefusalCount {
                    call: rule.call,
                    calls: 0,
                });
            }
        }
        Refusals { rules, counts }
    }

    /// Counts a call; its status if it is refused (of several rules the first).
    #[inline]
    pub(in crate::spapr::iommu) fn next(&mut self, call: Refusable) -> Option<i32> {
        if self.counts.is_empty() {
            return None;
        }
        let count = self.counts.iter_mut().find(|c| c.call == call)?;
        count.calls = count.calls.saturating_add(1);
        let n = count.calls;
        let hit = |r: &&Refusal| r.call == call && (r.first..=r.last).contains(&n);
        self.rules.iter().find(hit).map(|r| r.status)
    }
}

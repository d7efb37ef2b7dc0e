//! Runs a plan of cases on all cores.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use viommu_cpu::ppc64::{forms, vector};

use crate::cases::{self, Form};
use crate::differences::{self, Case, DIFFERENCES};
use crate::operands;
use crate::ours::Ours;
use crate::peer::{self, Peer};
use crate::random::Random;
use crate::record::{BATCH, Order, Record, WINDOW};
use crate::sequence;

/// Sequences in a unit of work.
const GROUP: u64 = 500;

/// What the user asks for; nothing is everything.
pub struct Choice {
    pub form: Option<String>,
    pub order: Option<Order>,
    pub case: Option<u64>,
}

impl Choice {
    pub fn is_all(&self) -> bool {
        self.form.is_none() && self.order.is_none() && self.case.is_none()
    }
}

/// Cases that are run together.
#[derive(Clone)]
pub struct Unit {
    order: Order,
    /// Row in the forms, or sequences.
    form: Option<usize>,
    /// Numbers of the cases.
    cases: std::ops::Range<u64>,
}

/// What came of the units of one name.
#[derive(Clone, Default)]
pub struct Outcome {
    /// Mnemonic, or `sequence`.
    pub name: String,
    pub cases: u64,
    pub failed: u64,
    /// One that failed, and how to repeat it.
    pub example: String,
    /// Cases in which an entry of [`DIFFERENCES`] was needed.
    pub excused: BTreeMap<usize, u64>,
}

pub struct Plan {
    forms: Vec<Form>,
    pub units: Vec<Unit>,
    pub seed: u64,
    /// Cases of each form.
    pub count: u64,
}

impl Plan {
    pub fn new(forms: Vec<Form>, seed: u64, count: u64, choice: &Choice) -> Plan {
        let wanted = |name: &str| choice.form.as_ref().is_none_or(|f| f == name);
        let numbers = |count: u64| choice.case.map_or(0..count, |n| n..n + 1);
        let mut units = Vec::new();
        for order in [Order::Little, Order::Big] {
            if choice.order.is_some_and(|o| o != order) {
                continue;
            }
            for (i, form) in forms.iter().enumerate() {
                if wanted(form.mnemonic)
                    && (order == Order::Big || !operands::big_only(form.mnemonic))
                {
                    let cases = numbers(count);
                    units.push(Unit {
                        order,
                        form: Some(i),
                        cases,
                    });
                }
            }
            if wanted("sequence") {
                let all = numbers(forms.len() as u64 * count / 10);
                for start in all.clone().step_by(GROUP as usize) {
                    let cases = start..all.end.min(start + GROUP);
                    units.push(Unit {
                        order,
                        form: None,
                        cases,
                    });
                }
            }
        }
        Plan {
            forms,
            units,
            seed,
            count,
        }
    }

    /// Runs everything; one outcome a name.
    pub fn run(&self) -> Result<Vec<Outcome>> {
        let directory = tempfile::tempdir()?;
        let mut binaries = BTreeMap::new();
        for unit in &self.units {
            if let Entry::Vacant(binary) = binaries.entry(unit.order) {
                binary.insert(peer::compile(unit.order, directory.path())?);
            }
        }
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(BTreeMap::<String, Outcome>::new());
        let worker = || -> Result<()> {
            let mut sides = BTreeMap::new();
            while let Some(unit) = self.units.get(next.fetch_add(1, Ordering::Relaxed)) {
                let order = unit.order;
                let sides = match sides.entry(order) {
                    Entry::Occupied(sides) => sides.into_mut(),
                    Entry::Vacant(sides) => sides.insert(Sides {
                        peer: Peer::start(order, &binaries[&order])?,
                        ours: Ours::new(order),
                    }),
                };
                let outcome = self.unit(unit, sides)?;
                merge(&mut outcomes.lock().expect("no panic in a worker"), outcome);
            }
            Ok(())
        };
        let count = std::thread::available_parallelism().map_or(1, |n| n.get());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
            threads
                .into_iter()
                .try_for_each(|t| t.join().expect("no panic in a worker"))
        })?;
        Ok(outcomes
            .into_inner()
            .expect("no panic in a worker")
            .into_values()
            .collect())
    }

    fn unit(&self, unit: &Unit, sides: &mut Sides) -> Result<Outcome> {
        let what = match unit.form {
            Some(row) => What::Form(row, fix_reserved(self.forms[row], &mut sides.peer)?),
            None => What::Sequence(sequence::forms(
                &self.runnable(unit.order, &mut sides.peer)?,
            )),
        };
        let mut outcome = Outcome {
            name: what.name().to_string(),
            ..Outcome::default()
        };
        let numbers: Vec<u64> = unit.cases.clone().collect();
        for numbers in numbers.chunks(BATCH) {
            let batch: Vec<Record> = numbers
                .iter()
                .enumerate()
                .map(|(slot, &n)| self.case(&what, unit.order, slot, n))
                .collect();
            for (i, (ours, mut theirs)) in sides.run(&batch)?.into_iter().enumerate() {
                outcome.cases += 1;
                for entry in what.excuse(&batch[i], &ours, &mut theirs) {
                    *outcome.excused.entry(entry).or_default() += 1;
                }
                let text = ours.differences(&theirs);
                if text.is_empty() {
                    continue;
                }
                outcome.failed += 1;
                if outcome.example.is_empty() {
                    let repeat = format!(
                        "ORACLE_SEED={} ORACLE_ORDER={} ORACLE_FORM={} ORACLE_CASE={} tests/run oracle",
                        self.seed,
                        unit.order.name(),
                        outcome.name,
                        numbers[i]
                    );
                    let first = what.first(&batch[i], sides)?;
                    outcome.example = format!(
                        "{}{text}{first}    repeat with: {repeat}\n",
                        input(&batch[i])
                    );
                }
            }
        }
        Ok(outcome)
    }

    fn case(&self, what: &What, order: Order, slot: usize, number: u64) -> Record {
        match what {
            What::Form(row, form) => {
                let purpose = format!("{} {row} {}", order.name(), form.mnemonic);
                let mut random = Random::of(self.seed, &purpose, number);
                cases::case(form, order, slot, &mut random)
            }
            What::Sequence(forms) => {
                let mut random = Random::of(self.seed, order.name(), number);
                sequence::case(forms, order, &mut random)
            }
        }
    }

    /// The forms of a byte order, with QEMU's reserved bits fixed.
    fn runnable(&self, order: Order, peer: &mut Peer) -> Result<Vec<Form>> {
        self.forms
            .iter()
            .filter(|f| order == Order::Big || !operands::big_only(f.mnemonic))
            .map(|f| fix_reserved(*f, peer))
            .collect()
    }
}

/// The two that run a batch.
struct Sides {
    peer: Peer,
    ours: Ours,
}

impl Sides {
    fn run(&mut self, batch: &[Record]) -> Result<Vec<(Record, Record)>> {
        let (theirs, ours) = self.peer.run(batch, || self.ours.run(batch))?;
        Ok(ours.into_iter().zip(theirs).collect())
    }
}

/// What the cases of a unit are.
enum What {
    /// A row of the forms.
    Form(usize, Form),
    /// Sequences of these.
    Sequence(Vec<Form>),
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            What::Form(_, form) => form.mnemonic,
            What::Sequence(_) => "sequence",
        }
    }

    /// Makes what is excused equal; the entries of [`DIFFERENCES`] that this took.
    fn excuse(&self, before: &Record, ours: &Record, theirs: &mut Record) -> Vec<usize> {
        match self {
            What::Form(_, form) => {
                let case = Case {
                    mnemonic: form.mnemonic,
                    word: before.code[cases::place(form)],
                    before,
                };
                differences::excuse(&case, ours, theirs)
            }
            What::Sequence(_) => {
                let mask = sequence::STATUS;
                theirs.fpscr = theirs.fpscr & !mask | ours.fpscr & mask;
                Vec::new()
            }
        }
    }

    /// Of a sequence that differs, the shortest beginning that does.
    fn first(&self, case: &Record, sides: &mut Sides) -> Result<String> {
        if matches!(self, What::Form(..)) {
            return Ok(String::new());
        }
        let length = case.code.iter().take_while(|w| **w != 0).count();
        let beginnings: Vec<Record> = (1..=length)
            .map(|n| {
                let mut beginning = case.clone();
                beginning.code[n..].fill(0);
                beginning
            })
            .collect();
        for (i, (ours, mut theirs)) in sides.run(&beginnings)?.into_iter().enumerate() {
            self.excuse(case, &ours, &mut theirs);
            let text = ours.differences(&theirs);
            if !text.is_empty() {
                let words = i + 1;
                let name = mnemonic(case.code[i]);
                let (a, b) = (ours.fpscr, theirs.fpscr);
                return Ok(format!(
                    "    first after {words} words, {name} (fpscr {a:#x} and {b:#x}):\n{text}"
                ));
            }
        }
        Ok(String::new())
    }
}

fn merge(outcomes: &mut BTreeMap<String, Outcome>, from: Outcome) {
    let to = outcomes.entry(from.name.clone()).or_default();
    to.name = from.name;
    to.cases += from.cases;
    to.failed += from.failed;
    if to.example.is_empty() {
        to.example = from.example;
    }
    for (entry, cases) in from.excused {
        *to.excused.entry(entry).or_default() += cases;
    }
}

/// Listed differences that no case needed.
pub fn unused(
    excused: &BTreeMap<usize, (u64, BTreeSet<&str>)>,
) -> Vec<(&'static str, &'static str)> {
    let mut unused = Vec::new();
    for (i, entry) in DIFFERENCES.iter().enumerate() {
        for form in entry.forms {
            let used = |names: &BTreeSet<&str>| match form.strip_suffix('*') {
                Some(start) => names.iter().any(|n| n.starts_with(start)),
                None => names.contains(form),
            };
            if !excused.get(&i).is_some_and(|(_, names)| used(names)) {
                unused.push((*form, entry.why));
            }
        }
    }
    unused
}

/// Fixes the bits of a form that QEMU calls reserved: hardware ignores them, QEMU traps on them.
fn fix_reserved(mut form: Form, peer: &mut Peer) -> Result<Form> {
    let branch =
        matches!(form.value >> 26, 16 | 18) || form.value >> 26 == 19 && form.value >> 1 & 31 == 16;
    if branch || form.memory {
        return Ok(form);
    }
    let mut base = Record::blank();
    base.gpr = [WINDOW; 32];
    base.code[0] = form.value;
    let probe = |bit: u32| {
        let mut record = base.clone();
        record.code[0] |= bit & !form.mask;
        record
    };
    let batch: Vec<_> = (0..32).map(|i| probe(1 << i)).chain([probe(0)]).collect();
    let (results, ()) = peer.run(&batch, || ())?;
    if results[32].signal == 0 {
        form.mask |= (0..32)
            .filter(|&i| results[i].signal == 4)
            .fold(0, |m, i| m | 1 << i);
    }
    Ok(form)
}

fn mnemonic(word: u32) -> &'static str {
    match forms::find(word) {
        Some(row) => forms::FORMS[row].mnemonic,
        None => vector::decode(word).map_or("?", |op| op.mnemonic),
    }
}

/// The code of a case and the operands of its last instruction.
fn input(case: &Record) -> String {
    let code: Vec<u32> = case.code.iter().copied().take_while(|w| *w != 0).collect();
    let mut out = format!(
        "    cr {:#x}, xer {:#x}, fpscr {:#x}, vscr {:#x}, lr {:#x}, ctr {:#x}\n",
        case.cr, case.xer, case.fpscr, case.vscr, case.lr, case.ctr
    );
    for word in &code {
        out += &format!("    {word:08x} {}\n", mnemonic(*word));
    }
    let word = code.last().copied().unwrap_or(0);
    for f in [21, 16, 11, 6].map(|shift| (word >> shift & 31) as usize) {
        out += &format!(
            "    r{f} {:#x}, vs{f} {:#034x}, vs{} {:#034x}\n",
            case.gpr[f],
            case.vsr[f],
            f + 32,
            case.vsr[f + 32]
        );
    }
    out
}

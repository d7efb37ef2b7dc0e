//! The CPU against QEMU's user mode: random cases of every user-level instruction form, and random sequences of them, in both byte
//! orders, all user-level state compared.
//!
//! `ORACLE_CASES` is the number of cases for each form (1000 without it; a tenth as many sequences as cases are run), `ORACLE_SEED`
//! their seed. `ORACLE_FORM` (a mnemonic, or `sequence`), `ORACLE_ORDER` (`le` or `be`) and `ORACLE_CASE` (a number) choose some
//! of them, as the report of a failure says.

mod cases;
mod differences;
mod operands;
mod ours;
mod peer;
mod random;
mod record;
mod run;
mod sequence;

use std::collections::{BTreeMap, BTreeSet};

use cases::Form;
use differences::DIFFERENCES;
use record::Order;
use run::{Choice, Outcome, Plan};
use viommu_cpu::ppc64::{forms, vector};

const DEFAULT_SEED: u64 = 1;
const DEFAULT_CASES: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number")),
    )
}

/// User-level instructions of the system class that have a result to compare.
const SYSTEM: &[&str] = &["mfspr", "mtspr", "sync", "isync", "eieio"];

/// `bctar` is how the guest program enters a case.
const LEFT_OUT: &[&str] = &["bctar"];

fn all_forms() -> Vec<Form> {
    let fixed = forms::FORMS
        .iter()
        .filter(|f| f.class != forms::Class::System || SYSTEM.contains(&f.mnemonic))
        .filter(|f| !LEFT_OUT.contains(&f.mnemonic))
        .map(|f| {
            let memory = f.class == forms::Class::Memory;
            // The last bit of storage instructions and of moves from and to SPRs is reserved, but for conditional stores.
            let last = u32::from(f.value >> 26 == 31 && (memory || f.mnemonic.contains("spr")));
            let target = if f.mnemonic == "dcbz" { 31 << 21 } else { 0 };
            Form {
                mnemonic: f.mnemonic,
                mask: f.mask | last | target,
                value: f.value | u32::from(f.mnemonic.ends_with("cx.")),
                memory,
            }
        });
    let vector = vector::OPS.iter().map(|o| Form {
        mnemonic: o.mnemonic,
        mask: o.mask,
        value: o.value,
        memory: o.memory,
    });
    fixed.chain(vector).collect()
}

fn chosen() -> Choice {
    Choice {
        form: std::env::var("ORACLE_FORM").ok(),
        order: std::env::var("ORACLE_ORDER")
            .ok()
            .map(|o| match o.as_str() {
                "le" => Order::Little,
                "be" => Order::Big,
                _ => panic!("ORACLE_ORDER={o} is neither le nor be"),
            }),
        case: number("ORACLE_CASE"),
    }
}

#[test]
fn the_document_names_every_difference() {
    let document = include_str!("../../../docs/cpu-differences.md");
    for entry in DIFFERENCES {
        assert!(
            document.contains(entry.why),
            "not in docs/cpu-differences.md: {}",
            entry.why
        );
    }
}

#[test]
fn the_cpu_does_what_qemu_does() {
    let choice = chosen();
    let plan = Plan::new(
        all_forms(),
        number("ORACLE_SEED").unwrap_or(DEFAULT_SEED),
        number("ORACLE_CASES").unwrap_or(DEFAULT_CASES),
        &choice,
    );
    assert!(!plan.units.is_empty(), "nothing is chosen: no such form?");
    let outcomes = plan.run().unwrap_or_else(|e| panic!("{e:#}"));
    let total: u64 = outcomes.iter().map(|o| o.cases).sum();
    let bad: Vec<&Outcome> = outcomes.iter().filter(|o| o.failed != 0).collect();
    for o in &bad {
        println!(
            "{}: {} of {} differ, such as\n{}",
            o.name, o.failed, o.cases, o.example
        );
    }
    let mut excused = BTreeMap::<usize, (u64, BTreeSet<&str>)>::new();
    for o in &outcomes {
        for (&entry, &cases) in &o.excused {
            let sum = excused.entry(entry).or_default();
            sum.0 += cases;
            sum.1.insert(o.name.as_str());
        }
    }
    for (entry, (cases, names)) in &excused {
        println!(
            "excused: {cases} cases of {} forms: {}",
            names.len(),
            DIFFERENCES[*entry].why
        );
    }
    println!(
        "{} forms and groups of sequences, {total} cases: {} differ",
        outcomes.len(),
        bad.len()
    );
    // With other seeds, or fewer cases, a rare difference may well not show.
    let complete = plan.seed == DEFAULT_SEED && plan.count == DEFAULT_CASES && choice.is_all();
    let unused = if complete {
        run::unused(&excused)
    } else {
        Vec::new()
    };
    for (form, why) in &unused {
        println!("listed in differences/list.rs, but agrees: {form}: {why}");
    }
    let names: BTreeSet<_> = bad.iter().map(|o| o.name.as_str()).collect();
    assert!(
        names.is_empty() && unused.is_empty(),
        "differ: {names:?}; to be taken from the list: {unused:?}"
    );
}

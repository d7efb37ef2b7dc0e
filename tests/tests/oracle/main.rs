//! The CPU against QEMU's user mode: random cases of every user-level instruction form, all user-level state compared.
//!
//! `ORACLE_CASES` is the number of cases for each form (50 without it), `ORACLE_SEED` their seed, `ORACLE_FORM` a mnemonic to
//! look at alone.

mod cases;
mod differences;
mod ours;
mod peer;
mod record;

use std::collections::BTreeMap;

use cases::{Form, Random};
use record::{BATCH, Record, WINDOW};
use viommu_cpu::ppc64::{forms, vector};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| {
        v.parse()
            .unwrap_or_else(|_| panic!("{name}={v} is not a number"))
    })
}

/// User-level instructions of the system class that have a result to compare.
const SYSTEM: &[&str] = &["mfspr", "mtspr", "sync", "isync", "eieio"];

/// Forms that are not run: `bctar` is how the guest program enters a case; the others interrupt in little-endian mode (alignment),
/// at which QEMU's user mode aborts.
const LEFT_OUT: &[&str] = &["bctar", "lmw", "stmw", "lswi", "lswx", "stswi", "stswx"];

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
    let only = std::env::var("ORACLE_FORM").ok();
    fixed
        .chain(vector)
        .filter(|f| only.as_ref().is_none_or(|o| o == f.mnemonic))
        .collect()
}

#[test]
fn the_cpu_does_what_qemu_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut peer = peer::Peer::start(directory.path()).unwrap_or_else(|e| panic!("{e:#}"));
    let mut ours = ours::Ours::new();
    let mut random = Random(number("ORACLE_SEED", 1));
    let count = number("ORACLE_CASES", 50) as usize;
    let mut forms = all_forms();
    assert!(!forms.is_empty(), "no such form");
    forms.iter_mut().for_each(|f| fix_reserved(f, &mut peer));
    let total = forms.len() * count;
    let mut failures: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut done = 0;
    while done < total {
        let size = BATCH.min(total - done);
        let form = |i: usize| forms[(done + i) / count];
        let batch: Vec<_> = (0..size)
            .map(|i| cases::case(&form(i), i, &mut random))
            .collect();
        let (theirs, ours) = peer
            .run(&batch, || ours.run(&batch))
            .unwrap_or_else(|e| panic!("{e:#}"));
        for (i, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
            let (mut ours, mut theirs) = (ours, theirs);
            differences::forgive(form(i).mnemonic, &batch[i], &mut ours, &mut theirs);
            let text = ours.differences(&theirs);
            if !text.is_empty() {
                let entry = failures.entry(form(i).mnemonic).or_default();
                entry.0 += 1;
                if entry.1.is_empty() {
                    entry.1 = format!("{}{text}", input(&batch[i]));
                }
            }
        }
        done += size;
    }
    let open: BTreeMap<_, _> = differences::OPEN.iter().copied().collect();
    let of = |name: &str| count * forms.iter().filter(|f| f.mnemonic == name).count();
    let run: BTreeMap<_, _> = forms.iter().map(|f| (f.mnemonic, ())).collect();
    let unknown = |name: &&str| !run.contains_key(name);
    if std::env::var_os("ORACLE_FORM").is_none() {
        let names: Vec<_> = open.keys().filter(|n| unknown(n)).collect();
        assert!(names.is_empty(), "listed, but no forms: {names:?}");
    }
    for (name, reason) in open.iter().filter(|(n, _)| !unknown(n)) {
        match failures.get(name) {
            Some((n, _)) => println!("open: {name} {n} of {} differ ({reason})", of(name)),
            None => println!("open: {name} agrees now, remove from the list"),
        }
    }
    let alone = std::env::var_os("ORACLE_FORM").is_some();
    for (name, (n, example)) in &failures {
        if alone || !open.contains_key(name) {
            println!(
                "{name}: {n} of {} cases differ, such as\n{example}",
                of(name)
            );
        }
    }
    let names: Vec<_> = failures.keys().filter(|n| !open.contains_key(*n)).collect();
    let listed = forms
        .iter()
        .filter(|f| open.contains_key(f.mnemonic))
        .count();
    println!(
        "{} forms, {total} cases: {} forms agree, {listed} open, {} differ and are not listed",
        forms.len(),
        forms.len() - listed - names.len(),
        names.len()
    );
    assert!(names.is_empty(), "forms that differ: {names:?}");
}

/// Fixes the bits of a form that QEMU calls reserved: hardware ignores them, QEMU traps on them.
fn fix_reserved(form: &mut Form, peer: &mut peer::Peer) {
    let mut base = Record::blank();
    base.gpr = [WINDOW; 32];
    base.code[0] = form.value;
    let probe = |bit: u32| {
        let mut record = base.clone();
        record.code[0] |= bit & !form.mask;
        record
    };
    let batch: Vec<_> = (0..32).map(|i| probe(1 << i)).chain([probe(0)]).collect();
    let branch =
        matches!(form.value >> 26, 16 | 18) || form.value >> 26 == 19 && form.value >> 1 & 31 == 16;
    if branch || form.memory {
        return;
    }
    let (results, ()) = peer.run(&batch, || ()).unwrap_or_else(|e| panic!("{e:#}"));
    if results[32].signal == 0 {
        form.mask |= (0..32)
            .filter(|&i| results[i].signal == 4)
            .fold(0, |m, i| m | 1 << i);
    }
}

/// The operands of a case.
fn input(case: &Record) -> String {
    let word = case
        .code
        .iter()
        .take_while(|w| **w != 0)
        .last()
        .unwrap_or(&0);
    let fields = [
        word >> 21 & 31,
        word >> 16 & 31,
        word >> 11 & 31,
        word >> 6 & 31,
    ];
    let mut out = format!(
        "    code {:08x?}, cr {:#x}, xer {:#x}, fpscr {:#x}, vscr {:#x}\n",
        case.code, case.cr, case.xer, case.fpscr, case.vscr
    );
    for f in fields.map(|f| f as usize) {
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

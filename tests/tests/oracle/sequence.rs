//! Random sequences of instructions that share registers and memory.

use crate::cases::{self, Form};
use crate::differences::{DIFFERENCES, applies};
use crate::operands::{self, BASE, INDEX};
use crate::random::Random;
use crate::record::{CODE, MEM, Order, Record, WINDOW};

/// Instructions in a sequence.
const LENGTH: std::ops::RangeInclusive<u64> = 4..=32;
/// Registers that no instruction of a sequence may change: the base address, the same again, an offset, their sum.
const FIXED: std::ops::Range<u32> = 4..8;
const COPY: u32 = 4;
const SUM: u32 = 7;
/// What may differ in FPSCR after a sequence, as `differences/list.rs` tells for single instructions: UX, ZX, XX, VXSNAN, FR,
/// FI, FPRF.
pub const STATUS: u64 = 0x0f07_f000;

/// Forms that may be in a sequence.
pub fn forms(all: &[Form]) -> Vec<Form> {
    all.iter().copied().filter(allowed).collect()
}

fn allowed(form: &Form) -> bool {
    // What the values of registers must be kept to, what moves FPSCR with its differences, traps, and branches by register.
    let out = [
        "mtspr", "mtvscr", "lswx", "stswx", "mffs", "mffsce", "mffsl", "mcrfs", "mtfsf", "mtfsfi",
        "mtfsb1", "tw", "twi", "td", "tdi", "bclr", "bcctr", "xsrqpi", "xsrqpxp",
    ];
    let name = form.mnemonic;
    !(out.contains(&name)
        || operands::negates(name)
        || operands::ESTIMATES.contains(&name)
        || operands::takes_length(name)
        || name.starts_with("vextu")
        // QEMU forgets that these change FPSCR: a form with Rc that follows copies an older one.
        || name.starts_with("xvcmp")
        || DIFFERENCES.iter().any(|d| !d.status && applies(d, name)))
}

/// Moves the register numbers of a word away from [`FIXED`].
fn spare_fixed(form: &Form, word: u32) -> u32 {
    [21, 16].into_iter().fold(word, |word, shift| {
        let whole = 31 << shift;
        if form.mask & whole == 0 && FIXED.contains(&(word >> shift & 31)) {
            word ^ 8 << shift
        } else {
            word
        }
    })
}

/// A random sequence of `forms`.
pub fn case(forms: &[Form], order: Order, random: &mut Random) -> Record {
    let mut r = cases::random_state(order, random);
    // No exception is enabled, so no sequence ends early.
    r.fpscr &= !0x4000_00f8;
    let offset = (random.below(16) as i64 - 8) * 16;
    r.gpr[BASE] = WINDOW + MEM as u64 / 2;
    r.gpr[COPY as usize] = r.gpr[BASE];
    r.gpr[INDEX] = offset as u64;
    r.gpr[SUM as usize] = r.gpr[BASE].wrapping_add_signed(offset);
    let length = LENGTH.start() + random.below(LENGTH.end() - LENGTH.start() + 1);
    let mut code: Vec<u32> = Vec::with_capacity(CODE);
    let mut branches = Vec::new();
    for _ in 0..length {
        if code.len() + 4 > CODE {
            break;
        }
        let form = random.pick(forms);
        let mut word = form.value | random.next() as u32 & !form.mask;
        match (word >> 26, word >> 1 & 0x3ff) {
            (16 | 18, _) => {
                branches.push(code.len());
                word &= !2;
            }
            // QEMU sets FX for an exception that is already there, so FX stays.
            (63, 70) if word >> 21 & 31 == 0 => word |= 3 << 21,
            (31, 339) => word = word & !0x001f_f800 | random.pick(&[1, 8, 9]) << 16,
            _ if form.memory => word = storage(&form, word, order, random),
            _ => {}
        }
        if !form.memory && word >> 26 != 16 {
            word = spare_fixed(&form, word);
        }
        operands::defined(&form, &mut word, random);
        if let Some(load) = cases::reserving(form.mnemonic) {
            code.push(cases::reserve(load, word >> 16 & 31, word >> 11 & 31));
        }
        code.push(word);
        if form.memory && updates(&form) {
            // mr BASE, COPY
            code.push(31 << 26 | COPY << 21 | (BASE as u32) << 16 | COPY << 11 | 444 << 1);
        }
    }
    for at in branches {
        // Forward, at most to the end.
        let away = 4 * (1 + random.below((code.len() - at) as u64)) as u32;
        let field = if code[at] >> 26 == 16 {
            0xfffc
        } else {
            0x03ff_fffc
        };
        code[at] = code[at] & !field | away;
    }
    r.code[..code.len()].copy_from_slice(&code);
    r
}

fn updates(form: &Form) -> bool {
    form.mnemonic.ends_with("ux") || form.mnemonic.ends_with('u')
}

/// A word that accesses memory by the fixed registers.
fn storage(form: &Form, mut word: u32, order: Order, random: &mut Random) -> u32 {
    operands::memory(form, &mut word, order, random);
    let indexed = form.value >> 26 == 31
        && form.mask >> 11 & 31 == 0
        && !operands::takes_number(form.mnemonic)
        && !operands::takes_pair(form.mnemonic);
    if indexed && !updates(form) && random.one_in(8) {
        // RA = 0 is the number zero.
        word = word & !(31 << 16) & !(31 << 11) | SUM << 11;
    }
    if operands::is_atomic(form.mnemonic) {
        // At the base itself, which is in the middle of no block: functions without a neighbour.
        word = word & !0xf800 | (random.below(8) as u32) << 11;
    }
    word
}

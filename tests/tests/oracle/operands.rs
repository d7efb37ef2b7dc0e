//! Operands for which the ISA defines the result, and which QEMU's user mode can run.

use crate::cases::Form;
use crate::random::Random;
use crate::record::{MEM, Order, Record, WINDOW};

/// Register that holds the middle of the window in forms that access memory.
pub const BASE: usize = 5;
/// Register that holds a small offset in them.
pub const INDEX: usize = 6;

/// The forms whose second operand is a length in the top byte.
pub fn takes_length(mnemonic: &str) -> bool {
    matches!(mnemonic, "lxvl" | "lxvll" | "stxvl" | "stxvll")
}

/// The forms with a pair of registers that begins at an even one.
pub fn takes_pair(mnemonic: &str) -> bool {
    matches!(
        mnemonic,
        "lq" | "stq" | "lqarx" | "stqcx." | "lfdp" | "stfdp" | "lfdpx" | "stfdpx"
    )
}

/// The forms whose RB field is a function code or a number of bytes.
pub fn takes_number(mnemonic: &str) -> bool {
    matches!(
        mnemonic,
        "lswi" | "stswi" | "lwat" | "ldat" | "stwat" | "stdat"
    )
}

pub fn is_atomic(mnemonic: &str) -> bool {
    matches!(mnemonic, "lwat" | "ldat" | "stwat" | "stdat")
}

/// Function codes of lwat and ldat, then of stwat and stdat; 9 is none and is a storage interrupt.
const LOAD_FUNCTIONS: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 24, 25, 28, 9];
const STORE_FUNCTIONS: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 24, 9];

/// Makes the word access memory by [`BASE`] and [`INDEX`]; gives the offset from the middle of the window.
pub fn memory(form: &Form, word: &mut u32, order: Order, random: &mut Random) -> i64 {
    let mut offset = random.below(256) as i64 - 128;
    // Where a misaligned address is an alignment interrupt, QEMU's user mode aborts.
    let strict = form.mnemonic.ends_with("arx") || form.mnemonic.ends_with("cx.");
    if strict || matches!(form.mnemonic, "lq" | "stq") || random.one_in(2) {
        offset &= !15;
    }
    if is_atomic(form.mnemonic) {
        // In the middle of an aligned block, so that the neighbours are in it too.
        offset = (offset & !31) + 8 + 8 * random.below(2) as i64;
        let codes = if form.mnemonic.starts_with('l') {
            LOAD_FUNCTIONS
        } else {
            STORE_FUNCTIONS
        };
        *word = *word & !0xf800 | random.pick(codes) << 11;
    }
    // Targets stay away from the registers that make the address.
    if form.mask >> 21 & 31 == 0 {
        let mut target = *word >> 21 & 31;
        if takes_pair(form.mnemonic) {
            target &= !1;
        }
        if (4..8).contains(&target) {
            target += 8;
        }
        if matches!(form.mnemonic, "lmw" | "lswi" | "lswx") {
            target = target.max(8);
        }
        *word = *word & !(31 << 21) | target << 21;
        if form.mnemonic == "lswi" {
            // No wrapping around to them either.
            let most = 4 * (32 - target);
            let bytes = (*word >> 11 & 31).clamp(1, most);
            *word = *word & !0xf800 | bytes << 11;
        }
    }
    *word = *word & !(31 << 16) | (BASE as u32) << 16;
    let primary = form.value >> 26;
    if primary == 31 || primary == 4 {
        if form.mask >> 11 & 31 == 0 && !takes_number(form.mnemonic) {
            *word = *word & !(31 << 11) | (INDEX as u32) << 11;
        }
    } else {
        let fixed = form.mask & 0xffff;
        if matches!(form.mnemonic, "lmw" | "stmw") {
            offset &= !3;
        }
        *word = *word & !0xffff | form.value & fixed | offset as u32 & 0xffff & !fixed;
        if primary == 61 && fixed & 7 != 0 && fixed & 3 == 3 && form.value & 3 != 2 {
            // DQ form: the offset counts 16 bytes, and one bit extends the register number.
            *word = *word & !0xfff0 | offset as u32 & 0xfff0;
        }
    }
    debug_assert!(order == Order::Big || !big_only(form.mnemonic));
    offset
}

/// Forms that are alignment interrupts in little-endian mode.
pub fn big_only(mnemonic: &str) -> bool {
    matches!(
        mnemonic,
        "lmw" | "stmw" | "lswi" | "lswx" | "stswi" | "stswx"
    )
}

/// The registers that a word of [`memory`] needs.
pub fn memory_registers(
    form: &Form,
    word: &mut u32,
    offset: i64,
    r: &mut Record,
    random: &mut Random,
) {
    let primary = form.value >> 26;
    r.gpr[BASE] = WINDOW + MEM as u64 / 2;
    if primary != 31 && primary != 4 {
        return;
    }
    r.gpr[INDEX] = offset as u64;
    if form.mask >> 11 & 31 != 0 || takes_number(form.mnemonic) {
        r.gpr[BASE] = r.gpr[BASE].wrapping_add(offset as u64);
        return;
    }
    if takes_length(form.mnemonic) {
        r.gpr[INDEX] = random.below(20) << 56 | random.next() >> 8;
        return;
    }
    let update = form.mnemonic.ends_with("ux");
    // A pair that begins at register 0 may not come with RA = 0.
    let allowed = !update && !takes_pair(form.mnemonic);
    if allowed && form.mask >> 16 & 31 == 0 && random.one_in(8) {
        // RA = 0 is the number zero.
        *word &= !(31 << 16);
        r.gpr[INDEX] = r.gpr[BASE].wrapping_add(r.gpr[INDEX]);
    }
}

/// Bytes of the element that an extract or insert form moves.
fn element(mnemonic: &str) -> u32 {
    match mnemonic.as_bytes()[mnemonic.len() - 1] {
        b'b' => 1,
        b'h' => 2,
        b'w' => 4,
        _ => 8,
    }
}

/// Takes fields for which the result is undefined out of a word.
pub fn defined(form: &Form, word: &mut u32, random: &mut Random) {
    match form.mnemonic {
        // With one field selected, if that is asked for.
        "mfcr" | "mtcrf" if *word & 1 << 20 != 0 => {
            *word = *word & !0x000f_f000 | 0x1000 << random.below(8);
        }
        // The element must lie in the register.
        name if name.starts_with("vextractu")
            || name == "vextractd"
            || name.starts_with("vinsert") =>
        {
            let last = 16 - element(name);
            *word = *word & !0x001f_0000 | (random.below(u64::from(last) + 1) as u32) << 16;
        }
        "xxextractuw" | "xxinsertw" => {
            *word = *word & !0x001f_0000 | (random.below(13) as u32) << 16;
        }
        // The last bit is reserved.
        "addex" => *word &= !1,
        // R = 0 with RMC = 1 or 2 is reserved.
        "xsrqpi" | "xsrqpxp" if *word & 0x1_0000 == 0 && matches!(*word >> 9 & 3, 1 | 2) => {
            *word |= 0x600;
        }
        // QEMU writes the target before it looks at the operand's sign.
        "bcdctsq." | "bcdcpsgn." if *word >> 11 & 31 == *word >> 21 & 31 => *word ^= 1 << 11,
        // QEMU does not round the form with RO to odd.
        "xsnmsubqp" => *word &= !1,
        _ => {}
    }
}

/// The negated multiply-add forms.
pub fn negates(mnemonic: &str) -> bool {
    ["fnm", "xsnm", "xvnm"]
        .iter()
        .any(|p| mnemonic.starts_with(p))
}

/// The estimates that report in FPSCR.
pub const ESTIMATES: &[&str] = &[
    "fre",
    "fres",
    "frsqrte",
    "frsqrtes",
    "xsredp",
    "xsresp",
    "xsrsqrtedp",
    "xsrsqrtesp",
    "xvredp",
    "xvresp",
    "xvrsqrtedp",
    "xvrsqrtesp",
];

/// Takes values for which the result is undefined, or which QEMU gets wrong as a whole, out of the registers.
pub fn defined_state(form: &Form, word: u32, r: &mut Record, random: &mut Random) {
    let (rt, ra) = ((word >> 21 & 31) as usize, (word >> 16 & 31) as usize);
    match form.mnemonic {
        // Digits.
        "cbcdtd" => r.gpr[rt] = random.packed() as u64 >> 4,
        // Reserved bits of XER.
        "mtspr" if ra == 1 => r.gpr[rt] &= 0xe00c_007f,
        // Reserved bits of VSCR.
        "mtvscr" => {
            let rb = 32 + (word >> 11 & 31) as usize;
            r.vsr[rb] &= !0xffff_ffff | 0x1_0001;
        }
        // The element must lie in the register.
        name if name.starts_with("vextu") => {
            let size = element(&name[..6]);
            r.gpr[ra] = r.gpr[ra] & !15 | random.below(u64::from(17 - size));
        }
        // The register count may not reach the registers of the address.
        "lswx" => r.xer = r.xer & !0x7f | random.below(4 * (32 - rt as u64) + 1),
        "stswx" => r.xer = r.xer & !0x7f | random.below(128),
        // QEMU negates before it rounds, so directed rounding goes the wrong way.
        name if negates(name) => r.fpscr &= !2,
        // QEMU takes the number of the rounding mode for one of its own, which 1 and 3 are not.
        "xsrqpi" if word & 0x1_0600 == 0x600 => r.fpscr &= !1,
        // QEMU reports an underflow that these do not have.
        "xsmaxdp" | "xsmindp" | "xvmaxdp" | "xvmindp" | "xvmaxsp" | "xvminsp" => {
            r.fpscr &= !0x4000_0020;
        }
        "xsrqpxp" => {
            r.fpscr &= !0x4000_0020;
            if word & 0x1_0600 == 0x600 {
                r.fpscr &= !1;
            }
        }
        // QEMU adjusts the exponent in a format in which it does not fit.
        "frsp" | "xscvdphp" | "xscvdpsp" | "xsrsp" | "xsaddsp" | "xssubsp" | "xsmulsp"
        | "xsdivsp" | "xssqrtsp" => {
            r.fpscr &= !0x4000_0060;
        }
        name if name.starts_with("bcd") => decimals(name, word, r, random),
        // QEMU divides, and reports what a division reports. VE alone stays enabled.
        name if ESTIMATES.contains(&name) => r.fpscr &= !0x4000_0078,
        _ => {}
    }
}

/// Rare operands that matter, now and then.
pub fn notable(form: &Form, word: u32, r: &mut Record, random: &mut Random) {
    let field = |shift: u32| (word >> shift & 31) as usize;
    let name = form.mnemonic;
    if is_atomic(name) && random.one_in(2) {
        // One of the neighbours is equal.
        let (at, size) = (
            (r.gpr[BASE] - WINDOW) as usize,
            if name.contains('w') { 4 } else { 8 },
        );
        let neighbour = if random.one_in(2) {
            at + size
        } else {
            at - size
        };
        r.mem.copy_within(at..at + size, neighbour);
    }
    if matches!(name, "xscvsxdsp" | "xscvuxdsp") && random.one_in(8) {
        let at = field(11) | ((word >> 1 & 1) << 5) as usize;
        r.vsr[at] = u128::from(random.above_half()) << 64;
    }
    let fused = ["madd", "msub"].iter().any(|f| name.contains(f)) && form.value >> 26 >= 59;
    let extreme =
        name.starts_with("xsm") && (name[3..].starts_with("ax") || name[3..].starts_with("in"));
    if !(fused || extreme) || !random.one_in(32) {
        return;
    }
    // Infinity, zero and a signalling NaN for the three operands; zeros with any signs.
    let single = 0x0000_0001_0000_0001_u64;
    let mut values: [u64; 3] = if extreme {
        [0, 1 << 63, random.pick(&[0, 1 << 63])]
    } else if name.starts_with("xv") && name.ends_with("sp") {
        [0x7f80_0000 * single, 0, 0x7f80_0001 * single]
    } else {
        [0x7ff0_0000_0000_0000, 0, 0x7ff0_0000_0000_0001]
    };
    values.rotate_left(random.below(3) as usize);
    let c = if form.value >> 26 == 60 {
        field(21)
    } else {
        field(6)
    };
    for (at, v) in [field(16), field(11), c].into_iter().zip(values) {
        for half in [0, 32] {
            r.vsr[at + half] = u128::from(v) << 64 | u128::from(v);
        }
    }
}

/// Decimals, mostly, and counts of their digits.
fn decimals(mnemonic: &str, word: u32, r: &mut Record, random: &mut Random) {
    let [a, b] = [16, 11].map(|shift| 32 + (word >> shift & 31) as usize);
    if !random.one_in(8) {
        for at in [a, b] {
            r.vsr[at] = match mnemonic {
                "bcdcfz." => random.zoned(),
                "bcdcfn." => random.national(),
                "bcdcfsq." => random.packed() >> random.below(80),
                // 32 digits and no sign.
                "bcdus." | "bcdutrunc." => {
                    random.packed() >> 4 | u128::from(random.below(10)) << 124
                }
                _ => random.packed(),
            };
        }
        let (bits, count) = match mnemonic {
            "bcds." | "bcdus." | "bcdsr." => (0xff, random.below(73) as i64 - 36),
            "bcdtrunc." | "bcdutrunc." => (0xffff, random.below(40) as i64),
            _ => return,
        };
        if a != b {
            let (mask, count) = (bits << 64, count as u128 & bits);
            r.vsr[a] = r.vsr[a] & !mask | count << 64;
        }
    }
    // QEMU adds 1 to the length, in 16 bits.
    if mnemonic == "bcdtrunc." && r.vsr[a] >> 64 & 0xffff == 0xffff {
        r.vsr[a] ^= 1 << 64;
    }
}

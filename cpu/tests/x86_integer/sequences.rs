//! Random sequences with branches, calls and string instructions.
use iced_x86::{Code, Mnemonic};
use viommu_cpu::engine::Engine;

use crate::cases::{ALL, Random, case, undefined};
use crate::guest::Guest;
use crate::host::{Host, SCRATCH, SCRATCH_LEN, State};
use crate::{compare_code, forms, guests, has_memory, has_registers, qemu};

/// Instructions that a sequence does not have: they need particular operands, raise exceptions, or show AF, which many leave undefined.
fn is_particular(code: Code) -> bool {
    use Mnemonic as M;
    matches!(
        code.mnemonic(),
        M::Div | M::Idiv | M::Lahf | M::Shld | M::Shrd | M::Push | M::Pop | M::Cld
    ) || code == Code::Bswap_r16
}

fn random_state(r: &mut Random) -> (State, Vec<u8>) {
    let mut state = State::default();
    for g in &mut state.gpr {
        *g = r.value();
    }
    state.gpr[4] = SCRATCH + 2048;
    // IF as the host has it.
    state.flags = 0x202 | r.next() & ALL;
    let mut scratch = vec![0; SCRATCH_LEN];
    for b in scratch.chunks_exact_mut(8) {
        b.copy_from_slice(&r.value().to_le_bytes());
    }
    (state, scratch)
}

/// Sets all flags by comparing two registers.
fn define_flags(out: &mut Vec<u8>, r: &mut Random) {
    let modrm = 0xc0 | (r.next() as u8 & 0x3f);
    out.extend([0x48 | r.next() as u8 & 5, 0x39, modrm]);
}

/// An instruction on registers; none of its flags is undefined after it. None if another try is needed.
fn register_instruction(pool: &[Code], r: &mut Random) -> Option<Vec<u8>> {
    let c = case(pool[r.below(pool.len() as u64) as usize], r, false)?;
    // Undefined whatever the count is.
    let mut any = 0;
    for count in [1, 2, 31] {
        let mut state = c.state;
        state.gpr[1] = count;
        any |= undefined(&c.instruction, &state);
    }
    let mut bytes = c.bytes;
    if any != 0 {
        define_flags(&mut bytes, r);
    }
    Some(bytes)
}

fn memory_instruction(r: &mut Random) -> Vec<u8> {
    // OP r64, [rsp + disp8] and OP [rsp + disp8], r64, with 8 to 64 bits. The stack pointer is no operand.
    let op = [0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x88][r.below(9) as usize];
    let op = op | r.next() as u8 & 3;
    let reg = loop {
        let reg = r.below(16) as u8;
        if reg != 4 {
            break reg;
        }
    };
    let mut out = Vec::new();
    if r.below(4) == 0 {
        out.push(0x66);
    }
    let wide = if r.below(2) == 0 { 8 } else { 0 };
    out.extend([
        0x40 | wide | (reg >> 3) << 2,
        op,
        0x44 | (reg & 7) << 3,
        0x24,
        r.next() as u8,
    ]);
    out
}

/// Jcc, over what follows.
fn skip(r: &mut Random, over: &[u8]) -> Vec<u8> {
    let mut out = vec![0x70 | r.below(16) as u8, over.len() as u8];
    out.extend(over);
    out
}

fn piece(pool: &[Code], r: &mut Random) -> Vec<u8> {
    let simple = |r: &mut Random| {
        if r.below(3) == 0 {
            return memory_instruction(r);
        }
        loop {
            if let Some(bytes) = register_instruction(pool, r) {
                return bytes;
            }
        }
    };
    match r.below(10) {
        0 => {
            let over = simple(r);
            skip(r, &over)
        }
        // call over a jump; the callee leaves the stack alone.
        1 => {
            let body = loop {
                if let Some(bytes) = register_instruction(pool, r) {
                    break bytes;
                }
            };
            let mut out = vec![0xe8, 2, 0, 0, 0, 0xeb, body.len() as u8 + 1];
            out.extend(body);
            out.push(0xc3);
            out
        }
        // push, pop another one.
        2 => {
            let (a, b) = (r.below(4) as u8, r.below(4) as u8);
            let mut out = vec![0x50 | a];
            out.extend(simple(r));
            out.push(0x58 | b);
            out
        }
        // A loop that counts r15 down; its body is one instruction and may not change r15.
        3 => {
            let body = memory_instruction(r);
            let body = if body.len() == 5 && body[0] & 4 != 0 {
                vec![0x90]
            } else {
                body
            };
            // mov r15d, n; body; dec r15d; jnz.
            let mut out = vec![0x41, 0xbf, 1 + r.below(20) as u8, 0, 0, 0];
            if body.len() == 6 && body[1] & 4 != 0 {
                return out;
            }
            out.extend(&body);
            out.extend([
                0x41,
                0xff,
                0xcf,
                0x75,
                (body.len() as u8 + 5).wrapping_neg(),
            ]);
            out
        }
        _ => simple(r),
    }
}

#[test]
fn sequences_do_what_the_host_does() {
    let host = Host::new();
    let mut guests = guests();
    if !qemu::stands_in() {
        guests.push(Guest::new(Engine::Compiled));
    }
    let pool: Vec<Code> = forms()
        .into_iter()
        .filter(|c| !is_particular(*c) && !qemu::excuses(*c) && has_registers(*c))
        .collect();
    assert!(pool.len() > 150, "{}", pool.len());
    let mut r = Random(0x1234_5678_9abc_def1);
    for n in 0..4000 {
        let mut code = Vec::new();
        for _ in 0..3 + r.below(30) {
            code.extend(piece(&pool, &mut r));
        }
        define_flags(&mut code, &mut r);
        let (state, scratch) = random_state(&mut r);
        let before = (&state, &scratch[..]);
        compare_code(&host, &mut guests, &code, before, ALL, 5000)
            .unwrap_or_else(|what| panic!("sequence {n}, {what}"));
    }
}

#[test]
fn string_instructions_do_what_the_host_does() {
    let host = Host::new();
    let mut guests = guests();
    let mut r = Random(0xfeed_0123_4567_89ab);
    for n in 0..6000 {
        let (mut state, mut scratch) = random_state(&mut r);
        // Two values, so that comparisons do not end at once.
        if r.below(2) == 0 {
            for b in &mut scratch {
                *b &= 1;
            }
            state.gpr[0] &= 1;
        }
        let op = [0xa4, 0xa6, 0xaa, 0xac, 0xae][r.below(5) as usize] | r.below(2) as u8;
        let count = r.below(100);
        state.gpr[1] = count;
        let place = |r: &mut Random| SCRATCH + 1000 + r.below(1024);
        state.gpr[6] = place(&mut r);
        state.gpr[7] = match r.below(2) {
            0 => state.gpr[6].wrapping_add(r.below(20)).wrapping_sub(10),
            _ => place(&mut r),
        };
        if r.below(2) == 0 {
            // Downwards.
            state.flags |= 0x400;
        }
        let mut code = Vec::new();
        if r.below(4) == 0 {
            code.push(0x67);
        }
        match r.below(3) {
            0 => {}
            1 => code.push(0xf3),
            _ if matches!(op & 0xfe, 0xa6 | 0xae) => code.push(0xf2),
            _ => code.push(0xf3),
        }
        match r.below(3) {
            0 => {}
            1 => code.push(0x66),
            _ => code.push(0x48),
        }
        code.push(op);
        let before = (&state, &scratch[..]);
        compare_code(&host, &mut guests, &code, before, ALL | 0x400, 5000)
            .unwrap_or_else(|what| panic!("string {n}, {what}"));
    }
}

#[test]
fn stack_and_counted_branches_do_what_the_host_does() {
    let host = Host::new();
    let mut guests = guests();
    let mut r = Random(0x0bad_cafe_0000_0001);
    let cases: &[(&str, &[u8])] = &[
        ("leave", &[0xc9]),
        ("enter 0x20, 0", &[0xc8, 0x20, 0, 0]),
        ("enter 0x18, 3", &[0xc8, 0x18, 0, 3]),
        ("push imm8", &[0x6a, 0x85]),
        ("push imm32", &[0x68, 0x85, 0x84, 0x83, 0x82]),
        ("push imm16", &[0x66, 0x68, 0x85, 0x84]),
        ("push rsp", &[0x54]),
        ("pop [rsp + 8]", &[0x8f, 0x44, 0x24, 8]),
        ("push [rsp + 8]", &[0xff, 0x74, 0x24, 8]),
        (
            "call [rsp] by way of a push",
            &[
                0x48, 0x8d, 0x05, 8, 0, 0, 0, 0x50, 0xff, 0x14, 0x24, 0xeb, 4, 0x90, 0x90, 0xc3,
                0x90, 0x58,
            ],
        ),
        ("ret 16", &[0xe8, 2, 0, 0, 0, 0xeb, 3, 0xc2, 16, 0]),
        ("loop", &[0x48, 0xff, 0xc0, 0xe2, 0xfb]),
        ("loop ecx", &[0x48, 0xff, 0xc0, 0x67, 0xe2, 0xfa]),
        ("loope", &[0x48, 0xff, 0xc8, 0x48, 0x39, 0xd0, 0xe1, 0xf8]),
        ("loopne", &[0x48, 0xff, 0xc8, 0x48, 0x39, 0xd0, 0xe0, 0xf8]),
        ("jrcxz", &[0xe3, 3, 0x48, 0xff, 0xc0]),
        ("jecxz", &[0x67, 0xe3, 3, 0x48, 0xff, 0xc0]),
        ("xlat", &[0xd7]),
        (
            "pushfq; popfq",
            &[0x9c, 0x58, 0x24, 0xd5, 0x0c, 2, 0x50, 0x9d],
        ),
        (
            "lea of all kinds",
            &[
                0x8d, 0x44, 0x8a, 0x80, 0x66, 0x8d, 0x54, 0xb3, 4, 0x48, 0x8d, 0x3c, 0x9d, 0x80, 0,
                0, 0x80, 0x67, 0x8d, 0x74, 0x0a, 0xf0,
            ],
        ),
    ];
    for (name, code) in cases {
        for n in 0..200 {
            let (mut state, scratch) = random_state(&mut r);
            state.gpr[5] = SCRATCH + 2100 + 8 * r.below(16);
            state.gpr[1] = if n == 0 && !name.starts_with("loop") {
                0
            } else {
                1 + r.below(20)
            };
            if name.ends_with("ecx") {
                state.gpr[1] |= 1 << 40;
            }
            if *name == "xlat" {
                state.gpr[3] = SCRATCH + r.below(1024);
            }
            state.gpr[2] = state.gpr[0].wrapping_sub(r.below(20));
            let mask = ALL;
            compare_code(&host, &mut guests, code, (&state, &scratch), mask, 5000)
                .unwrap_or_else(|what| panic!("{name}, {what}"));
        }
    }
    assert!(has_memory(Code::Pop_rm64));
}

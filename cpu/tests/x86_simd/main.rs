//! Vector and x87 instructions against the host's own processor: every form that the library handles, with random and special operands.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(
    unsafe_code,
    reason = "the oracle is the host: it runs generated machine code"
)]

mod cases;
mod guest;
mod host;
mod leniency;
#[path = "../qemu/mod.rs"]
mod qemu;
mod resolve;

use cases::Random;
use guest::Guest;
use host::{Context, Program, program};
use iced_x86::{Code, CpuidFeature, Encoder, Instruction, Mnemonic};
use resolve::{Form, operands};
use viommu_cpu::engine::Engine;
use viommu_cpu::x86_64::simd::{self, Effect, Operands, Trap, Vectors, execute};
use viommu_cpu::x86_64::x87::{F80, X87};

/// Distance from the host that transcendental functions may have.
const X87_ULPS: u128 = 2;
/// Cases of each form, unless `X86_CASES` says otherwise.
const CASES: u32 = 1000;

fn cases() -> u32 {
    let given = std::env::var("X86_CASES").ok();
    let given = given.and_then(|n| n.parse().ok());
    given.or_else(qemu::cases).unwrap_or(CASES)
}

fn main_features() -> bool {
    std::is_x86_feature_detected!("avx") && std::is_x86_feature_detected!("fxsr")
}

/// Whether the host has all features of a form.
fn host_has(code: Code) -> bool {
    use CpuidFeature as F;
    code == Code::Wait
        || code.cpuid_features().iter().all(|f| match f {
            F::FPU | F::FPU287 | F::FPU387 | F::CMOV | F::MMX | F::SSE | F::SSE2 | F::AVX => true,
            F::SSE3 => std::is_x86_feature_detected!("sse3"),
            F::SSSE3 => std::is_x86_feature_detected!("ssse3"),
            F::SSE4_1 => std::is_x86_feature_detected!("sse4.1"),
            F::SSE4_2 => std::is_x86_feature_detected!("sse4.2"),
            F::AES => std::is_x86_feature_detected!("aes"),
            F::PCLMULQDQ => std::is_x86_feature_detected!("pclmulqdq"),
            F::SHA => std::is_x86_feature_detected!("sha"),
            F::AVX2 => std::is_x86_feature_detected!("avx2"),
            F::FMA => std::is_x86_feature_detected!("fma"),
            F::F16C => std::is_x86_feature_detected!("f16c"),
            F::VAES => std::is_x86_feature_detected!("vaes"),
            F::VPCLMULQDQ => std::is_x86_feature_detected!("vpclmulqdq"),
            _ => false,
        })
}

/// The state in a context.
fn vectors(c: &Context) -> Vectors {
    let mut v = Vectors::default();
    let image = c.area[..512].try_into().expect("512 bytes");
    v.from_fxsave(image).expect("MXCSR of the host");
    v.avx_from_bytes(&c.area[576..832]);
    // Where the last x87 instruction was is kept by the caller.
    v.x87 = X87 {
        opcode: 0,
        instruction: 0,
        data: 0,
        ..v.x87
    };
    v
}

fn random_context(r: &mut Random, x87: bool) -> Context {
    let mut c = Context::new();
    for n in 0..32 {
        let at = if n < 16 {
            160 + 16 * n
        } else {
            576 + 16 * (n - 16)
        };
        c.area[at..at + 8].copy_from_slice(&r.quad().to_le_bytes());
        c.area[at + 8..at + 16].copy_from_slice(&r.quad().to_le_bytes());
    }
    if r.below(2) == 0 {
        // Some registers equal others, so that comparisons find equal elements.
        let (to, from) = (r.below(16) as usize, r.below(16) as usize);
        let value: [u8; 16] = c.area[160 + 16 * from..176 + 16 * from]
            .try_into()
            .expect("16");
        c.area[160 + 16 * to..176 + 16 * to].copy_from_slice(&value);
    }
    c.area[24..28].copy_from_slice(&leniency::tame(r.mxcsr()).to_le_bytes());
    c.area[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    for i in 0..8 {
        let value = if x87 {
            r.extended()
        } else {
            let mut b = [0xff; 16];
            b[..8].copy_from_slice(&r.quad().to_le_bytes());
            b
        };
        c.area[32 + 16 * i..42 + 16 * i].copy_from_slice(&value[..10]);
    }
    let (control, status, tags) = x87_words(r, x87);
    c.area[0..2].copy_from_slice(&control.to_le_bytes());
    c.area[2..4].copy_from_slice(&status.to_le_bytes());
    c.area[4] = tags;
    for g in &mut c.gpr {
        *g = match r.below(4) {
            0 => r.below(20),
            1 => r.below(40).wrapping_sub(20),
            _ => r.quad(),
        };
    }
    c.flags = 2 | r.next() & 0x8d5;
    for b in c.memory.0.chunks_exact_mut(16) {
        if x87 && r.below(2) == 0 {
            b.copy_from_slice(&r.extended());
        } else {
            b[..8].copy_from_slice(&r.quad().to_le_bytes());
            b[8..].copy_from_slice(&r.quad().to_le_bytes());
        }
    }
    c
}

/// Control word, status word and tags.
fn x87_words(r: &mut Random, x87: bool) -> (u16, u16, u8) {
    let n = r.next() as u16;
    let masks = match n % 8 {
        7 if x87 => r.next() as u16 & 0x3f,
        _ => 0x3f,
    };
    let mode = match r.below(3) {
        0 => 0x300,
        _ => r.next() as u16 & 0xf00,
    };
    let control = masks | mode | 0x40;
    let condition = r.next() as u16 & 0x4700;
    let top = r.next() as u16 & 0x3800;
    let flags = if r.below(4) == 0 {
        r.next() as u16 & 0x7f
    } else {
        0
    };
    let full = match r.below(4) {
        0 => r.next() as u8,
        1 if !x87 => 0,
        _ => 0xff,
    };
    // A pending exception is common enough with random flags and masks.
    let status = condition | top | flags;
    let pending = status & !control & 0x3f != 0;
    (control, status | if pending { 0x8080 } else { 0 }, full)
}

/// What the library makes of a context.
fn model(c: &Context, o: &Operands, form: &Form) -> Context {
    let mut out = c.clone();
    let mut v = vectors(c);
    let result = execute(&mut v, &c.gpr, o);
    out.area[..512].copy_from_slice(&v.to_fxsave());
    out.area[576..832].copy_from_slice(&v.avx_to_bytes());
    let mut flags = |f: u64| out.flags = c.flags & !0x8d5 | f;
    match result {
        Ok(Effect::None) => (),
        Ok(Effect::Store(data, n)) => store(
            &mut out,
            form.memory_at,
            data,
            (1_u64 << n).wrapping_sub(1) as u32,
        ),
        Ok(Effect::MaskedStore(data, mask)) => store(&mut out, form.memory_at, data, mask),
        Ok(Effect::Gpr(x)) => set_gpr(&mut out, o, x),
        Ok(Effect::Flags(f)) => flags(f),
        Ok(Effect::GprFlags(x, f)) => {
            flags(f);
            set_gpr(&mut out, o, x);
        }
        Err(Trap::SimdFloat | Trap::X87) => out.signal = libc::SIGFPE as u64,
        Err(Trap::GeneralProtection) => out.signal = libc::SIGSEGV as u64,
        Err(Trap::InvalidOpcode) => out.signal = libc::SIGILL as u64,
        Err(Trap::DeviceNotAvailable) => panic!("#NM is for the caller"),
    }
    out
}

fn set_gpr(out: &mut Context, o: &Operands, x: u64) {
    match o.op.mnemonic() {
        Mnemonic::Pcmpistri | Mnemonic::Pcmpestri | Mnemonic::Pcmpestri64 => out.gpr[1] = x,
        Mnemonic::Vpcmpistri | Mnemonic::Vpcmpestri | Mnemonic::Vpcmpestri64 => out.gpr[1] = x,
        Mnemonic::Fnstsw | Mnemonic::Fstsw => out.gpr[0] = out.gpr[0] & !0xffff | x & 0xffff,
        _ => out.gpr[usize::from(o.dst)] = x,
    }
}

fn store(out: &mut Context, at: usize, data: [u64; 4], mask: u32) {
    let bytes: Vec<u8> = data.iter().flat_map(|q| q.to_le_bytes()).collect();
    for (i, b) in bytes.iter().enumerate().filter(|(i, _)| mask >> i & 1 != 0) {
        out.memory.0[at + i] = *b;
    }
}

/// The first difference of two outcomes.
fn difference(host: &Context, model: &Context) -> Option<String> {
    let (h, m) = (vectors(host), vectors(model));
    let pairs = [
        ("signal", host.signal != model.signal),
        ("MXCSR", (h.mxcsr ^ m.mxcsr) & leniency::mxcsr_mask() != 0),
        ("YMM", !leniency::same(&h.ymm, &m.ymm)),
        ("status", h.x87.status != m.x87.status),
        ("x87", h.x87 != m.x87),
        ("GPR", host.gpr != model.gpr),
        ("flags", (host.flags ^ model.flags) & 0x8d5 != 0),
        ("memory", host.memory.0 != model.memory.0),
    ];
    let what = pairs.iter().find(|(_, differs)| *differs)?.0;
    Some(match what {
        "signal" => format!("signal: {} != {}", host.signal, model.signal),
        "MXCSR" => format!("MXCSR: {:x} != {:x}", h.mxcsr, m.mxcsr),
        "YMM" => {
            let n = (0..16).find(|n| h.ymm[*n] != m.ymm[*n]).unwrap_or(0);
            format!("YMM{n}: {:016x?} != {:016x?}", h.ymm[n], m.ymm[n])
        }
        "status" | "x87" => format!("{:x?}\n != {:x?}", h.x87, m.x87),
        "GPR" => format!("GPR: {:x?}\n != {:x?}", host.gpr, model.gpr),
        "flags" => format!("flags: {:x} != {:x}", host.flags, model.flags),
        _ => format!(
            "memory: {:02x?}\n != {:02x?}",
            host.memory.0, model.memory.0
        ),
    })
}

/// Distance of two numbers in units of the last place, if they are of one sign.
fn ulps(a: F80, b: F80) -> u128 {
    let key = |v: F80| u128::from(v.head) << 63 | u128::from(v.mantissa & !(1 << 63));
    if (a.head ^ b.head) & 0x8000 != 0 {
        return u128::MAX;
    }
    key(a).abs_diff(key(b))
}

/// Makes results of approximating instructions that are near enough those of the host: single-precision estimates within their relative
/// error of 1.5 * 2^-12, numbers on the x87 stack within `X87_ULPS`, with inexact and C1 left open.
fn settle(host: &Context, model: &mut Context) {
    let (h, mut m) = (vectors(host), vectors(model));
    for (x, y) in h.ymm.iter().zip(&mut m.ymm) {
        for (x, y) in x.iter().zip(y) {
            for shift in [0, 32] {
                let (a, b) = ((*x >> shift) as u32, (*y >> shift) as u32);
                let (fa, fb) = (f32::from_bits(a), f32::from_bits(b));
                if ((fa - fb) / fb).abs() <= 3.0 / 4096.0 {
                    *y = *y & !(0xffff_ffff << shift) | u64::from(a) << shift;
                }
            }
        }
    }
    for (x, y) in h.x87.registers.iter().zip(&mut m.x87.registers) {
        if ulps(*x, *y) <= X87_ULPS {
            *y = *x;
        }
    }
    const OPEN: u16 = 0x220;
    m.x87.status = m.x87.status & !OPEN | h.x87.status & OPEN;
    model.area[..512].copy_from_slice(&m.to_fxsave());
    model.area[576..832].copy_from_slice(&m.avx_to_bytes());
}

/// RCPPS and the like are approximations, and so are the x87's transcendental functions.
fn approximate(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Rcpps
            | M::Rcpss
            | M::Rsqrtps
            | M::Rsqrtss
            | M::Vrcpps
            | M::Vrcpss
            | M::Vrsqrtps
            | M::Vrsqrtss
            | M::F2xm1
            | M::Fyl2x
            | M::Fyl2xp1
            | M::Fsin
            | M::Fcos
            | M::Fsincos
            | M::Fptan
            | M::Fpatan
    )
}

/// Whether the SDM defines the result of a transcendental function, and processors agree on it: those with 66 bits of pi are off for large
/// angles. Those have tests with computed values.
fn comparable(m: Mnemonic, v: &Vectors) -> bool {
    use Mnemonic as M;
    let top = v.x87.status >> 11 & 7;
    let exponent = v.x87.registers[usize::from(top)].head & 0x7fff;
    exponent == 0x7fff
        || match m {
            M::F2xm1 => exponent < 0x3fff,
            M::Fyl2xp1 => exponent < 0x3ffd,
            M::Fsin | M::Fcos | M::Fsincos | M::Fptan => !(0x3fff..0x403e).contains(&exponent),
            _ => true,
        }
}

/// Whether a CPU makes the same of an instruction as the library did.
fn check_guests(guests: &mut [Guest], form: &Form, before: &Context, expected: &Context) {
    let mut encoder = Encoder::new(64);
    encoder
        .encode(&form.instruction, 0)
        .expect("encoded before");
    let bytes = encoder.take_buffer();
    for (tier, guest) in guests.iter_mut().enumerate() {
        let mut c = before.clone();
        // Pointers in the context are to its own memory, wherever that is.
        form.point(&mut c);
        let pointer = c.gpr[15];
        let fine = guest.run(&bytes, &mut c, form.memory_at);
        for g in c.gpr.iter_mut().filter(|g| **g == pointer) {
            *g = expected.gpr[15];
        }
        let what = format!("{:?} in a CPU, tier {tier}", form.instruction);
        assert_eq!(fine, expected.signal == 0, "{what}: an exception");
        if fine && let Some(d) = difference(expected, &c) {
            panic!("{what} (first what is expected): {d}");
        }
    }
}

/// Runs the cases of one form: how many ran, how many differ, and the first difference.
fn check(code: Code, guests: &mut [Guest]) -> (u32, u32, Option<String>) {
    let mut r = Random(code as u64);
    let x87 = code.cpuid_features().iter().any(|f| {
        matches!(
            f,
            CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387
        )
    });
    let (mut ran, mut failed, mut first) = (0, 0, None);
    let mut compiled: Option<(Form, Instruction, Program)> = None;
    for n in 0..cases() {
        // A new choice of registers and immediate every few cases.
        if n % 4 == 0 {
            compiled = Form::random(code, &mut r)
                .and_then(|f| program(&f.instruction).map(|p| (f.clone(), f.instruction, p)));
        }
        let Some((form, instruction, program)) = &compiled else {
            continue;
        };
        let mut c = Box::new(random_context(&mut r, x87));
        form.point(&mut c);
        if matches!(code.mnemonic(), Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr) {
            // Some processors have bit 17.
            c.memory.0[form.memory_at + 2] &= !2;
            let keep = if n % 2 == 0 { 0xff } else { 0 };
            c.memory.0[form.memory_at + 2] &= keep;
            c.memory.0[form.memory_at + 3] &= keep;
        }
        if !comparable(code.mnemonic(), &vectors(&c)) {
            continue;
        }
        let o = operands(form, &c);
        let before = c.clone();
        let mut expected = Box::new(model(&c, &o, form));
        if is_legacy(code) && n % 8 == 0 {
            check_guests(guests, form, &before, &expected);
        }
        program.run(&mut c);
        if matches!(code.mnemonic(), Mnemonic::Fnstenv | Mnemonic::Fstenv) {
            // Where the last instruction was.
            let size = code.op_code().memory_size().size();
            for at in form.memory_at + size * 3 / 7..form.memory_at + size {
                (c.memory.0[at], expected.memory.0[at]) = (0, 0);
            }
        }
        if approximate(code.mnemonic()) {
            settle(&c, &mut expected);
        }
        ran += 1;
        if let Some(d) = difference(&c, &expected) {
            failed += 1;
            if first.is_none() {
                let v = vectors(&before);
                first = Some(format!(
                    "{instruction:?}\n {o:x?}\n mxcsr {:x} dst {:016x?} src2 {:016x?} src {:016x?}\n x87 {:x?}\n {d}",
                    v.mxcsr,
                    v.ymm[usize::from(o.dst & 15)],
                    v.ymm[usize::from(o.src2 & 15)],
                    match o.src {
                        simd::Src::Reg(n) => v.ymm[usize::from(n & 15)],
                        simd::Src::Mem(m) => m,
                        simd::Src::None => [0; 4],
                    },
                    v.x87,
                ));
            }
        }
    }
    (ran, failed, first)
}

fn forms(filter: impl Fn(Code) -> bool) {
    assert!(
        main_features(),
        "the host's processor has no AVX: let QEMU's stand in, as `tests/run oracle` does"
    );
    let (mut count, mut bad) = (0, Vec::new());
    let mut guests = [Guest::new(Engine::Interpreter), Guest::new(Engine::Verify)];
    let only = std::env::var("X86_FORM").ok();
    for code in Code::values().filter(|c| simd::handles(*c) && filter(*c) && host_has(*c)) {
        if only
            .as_ref()
            .is_some_and(|o| !format!("{code:?}").contains(o.as_str()))
        {
            continue;
        }
        if qemu::excuses(code) {
            continue;
        }
        let (ran, failed, first) = check(code, &mut guests);
        assert!(
            ran >= cases() / 4,
            "{code:?}: only {ran} cases could be encoded"
        );
        count += 1;
        if let Some(first) = first {
            bad.push(format!("{code:?}: {failed} of {ran} cases differ\n{first}"));
        }
    }
    assert!(count > 0 || only.is_some());
    let names: Vec<&str> = bad.iter().filter_map(|b| b.lines().next()).collect();
    assert!(
        bad.is_empty(),
        "{} of {count} forms differ from the host:\n{}\n\n{}",
        bad.len(),
        names.join("\n"),
        bad.iter()
            .take(12)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n\n")
    );
    println!("{count} forms");
}

fn has(code: Code, features: &[CpuidFeature]) -> bool {
    code.cpuid_features().iter().any(|f| features.contains(f))
}

fn is_legacy(code: Code) -> bool {
    code.op_code().encoding() == iced_x86::EncodingKind::Legacy
}

#[test]
fn sse_and_sse2() {
    forms(|c| is_legacy(c) && has(c, &[CpuidFeature::SSE, CpuidFeature::SSE2]));
}

#[test]
fn sse3_to_sse4() {
    use CpuidFeature as F;
    forms(|c| {
        is_legacy(c) && !has(c, &[F::FPU]) && has(c, &[F::SSE3, F::SSSE3, F::SSE4_1, F::SSE4_2])
    });
}

#[test]
fn aes_sha_and_carryless_multiply() {
    use CpuidFeature as F;
    forms(|c| is_legacy(c) && has(c, &[F::AES, F::SHA, F::PCLMULQDQ]));
}

#[test]
fn mmx() {
    forms(|c| has(c, &[CpuidFeature::MMX]));
}

#[test]
fn vex() {
    forms(|c| !is_legacy(c));
}

#[test]
fn x87() {
    use CpuidFeature as F;
    forms(|c| c == Code::Wait || has(c, &[F::FPU, F::FPU287, F::FPU387]));
}

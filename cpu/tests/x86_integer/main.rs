//! Integer instructions against the host's own processor, on both tiers: every form with random operands, and random sequences.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(
    unsafe_code,
    reason = "the oracle is the host: it runs generated machine code"
)]

mod cases;
mod guest;
mod host;
#[path = "../qemu/mod.rs"]
mod qemu;
mod sequences;

use cases::{ALL, Case, Random, case, tame_bit_index, undefined};
use guest::Guest;
use host::{Host, State};
use iced_x86::{Code, CpuidFeature, EncodingKind, Mnemonic};
use viommu_cpu::engine::Engine;

/// Cases of each form: with register operands, with memory operands, or a half with each.
fn cases() -> u32 {
    qemu::cases().unwrap_or(1000)
}

/// The instructions, each in all its forms of 64-bit mode.
const INSTRUCTIONS: &[Mnemonic] = &[
    Mnemonic::Adc,
    Mnemonic::Adcx,
    Mnemonic::Add,
    Mnemonic::Adox,
    Mnemonic::And,
    Mnemonic::Andn,
    Mnemonic::Bextr,
    Mnemonic::Blsi,
    Mnemonic::Blsmsk,
    Mnemonic::Blsr,
    Mnemonic::Bsf,
    Mnemonic::Bsr,
    Mnemonic::Bswap,
    Mnemonic::Bt,
    Mnemonic::Btc,
    Mnemonic::Btr,
    Mnemonic::Bts,
    Mnemonic::Bzhi,
    Mnemonic::Cbw,
    Mnemonic::Cdq,
    Mnemonic::Cdqe,
    Mnemonic::Clc,
    Mnemonic::Cld,
    Mnemonic::Cmc,
    Mnemonic::Cmova,
    Mnemonic::Cmovae,
    Mnemonic::Cmovb,
    Mnemonic::Cmovbe,
    Mnemonic::Cmove,
    Mnemonic::Cmovg,
    Mnemonic::Cmovge,
    Mnemonic::Cmovl,
    Mnemonic::Cmovle,
    Mnemonic::Cmovne,
    Mnemonic::Cmovno,
    Mnemonic::Cmovnp,
    Mnemonic::Cmovns,
    Mnemonic::Cmovo,
    Mnemonic::Cmovp,
    Mnemonic::Cmovs,
    Mnemonic::Cmp,
    Mnemonic::Cmpxchg,
    Mnemonic::Cmpxchg16b,
    Mnemonic::Cmpxchg8b,
    Mnemonic::Cqo,
    Mnemonic::Crc32,
    Mnemonic::Cwd,
    Mnemonic::Cwde,
    Mnemonic::Dec,
    Mnemonic::Div,
    Mnemonic::Idiv,
    Mnemonic::Imul,
    Mnemonic::Inc,
    Mnemonic::Lahf,
    Mnemonic::Lea,
    Mnemonic::Lzcnt,
    Mnemonic::Mov,
    Mnemonic::Movbe,
    Mnemonic::Movnti,
    Mnemonic::Movsx,
    Mnemonic::Movsxd,
    Mnemonic::Movzx,
    Mnemonic::Mul,
    Mnemonic::Mulx,
    Mnemonic::Neg,
    Mnemonic::Not,
    Mnemonic::Or,
    Mnemonic::Pdep,
    Mnemonic::Pext,
    Mnemonic::Pop,
    Mnemonic::Popcnt,
    Mnemonic::Push,
    Mnemonic::Rcl,
    Mnemonic::Rcr,
    Mnemonic::Rol,
    Mnemonic::Ror,
    Mnemonic::Rorx,
    Mnemonic::Sahf,
    Mnemonic::Sar,
    Mnemonic::Sarx,
    Mnemonic::Sbb,
    Mnemonic::Seta,
    Mnemonic::Setae,
    Mnemonic::Setb,
    Mnemonic::Setbe,
    Mnemonic::Sete,
    Mnemonic::Setg,
    Mnemonic::Setge,
    Mnemonic::Setl,
    Mnemonic::Setle,
    Mnemonic::Setne,
    Mnemonic::Setno,
    Mnemonic::Setnp,
    Mnemonic::Setns,
    Mnemonic::Seto,
    Mnemonic::Setp,
    Mnemonic::Sets,
    Mnemonic::Shl,
    Mnemonic::Shld,
    Mnemonic::Shlx,
    Mnemonic::Shr,
    Mnemonic::Shrd,
    Mnemonic::Shrx,
    Mnemonic::Stc,
    Mnemonic::Sub,
    Mnemonic::Test,
    Mnemonic::Tzcnt,
    Mnemonic::Xadd,
    Mnemonic::Xchg,
    Mnemonic::Xor,
];

fn host_has(code: Code) -> bool {
    use CpuidFeature as F;
    code.cpuid_features().iter().all(|f| match f {
        F::INTEL8086 | F::INTEL186 | F::INTEL286 | F::INTEL386 | F::INTEL486 | F::X64 => true,
        F::CMOV | F::CX8 | F::MULTIBYTENOP | F::SSE2 => true,
        F::CMPXCHG16B => std::is_x86_feature_detected!("cmpxchg16b"),
        F::ADX => std::is_x86_feature_detected!("adx"),
        F::BMI1 => std::is_x86_feature_detected!("bmi1"),
        F::BMI2 => std::is_x86_feature_detected!("bmi2"),
        F::LZCNT => std::is_x86_feature_detected!("lzcnt"),
        F::POPCNT => std::is_x86_feature_detected!("popcnt"),
        F::MOVBE => std::is_x86_feature_detected!("movbe"),
        F::SSE4_2 => std::is_x86_feature_detected!("sse4.2"),
        _ => false,
    })
}

fn forms() -> Vec<Code> {
    Code::values()
        .filter(|c| {
            let info = c.op_code();
            let encoded = matches!(info.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
            INSTRUCTIONS.contains(&c.mnemonic()) && info.mode64() && encoded && host_has(*c)
        })
        .collect()
}

fn has_memory(code: Code) -> bool {
    let mut r = Random(1);
    (0..40).any(|_| case(code, &mut r, true).is_some())
}

fn has_registers(code: Code) -> bool {
    let mut r = Random(1);
    (0..40).any(|_| case(code, &mut r, false).is_some())
}

fn is_bit_string(c: &Case) -> bool {
    use Mnemonic as M;
    matches!(c.instruction.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc)
        && c.instruction.op0_kind() == iced_x86::OpKind::Memory
}

/// Nothing is defined: the next case.
fn is_meaningless(c: &Case) -> bool {
    use Mnemonic as M;
    let count = c.instruction.try_immediate(2).unwrap_or(c.state.gpr[1]) & 31;
    matches!(c.instruction.mnemonic(), M::Shld | M::Shrd)
        && c.instruction.op1_register().size() == 2
        && count > 16
}

/// Code on the host and on all guests: everything must be the same, but flags outside `mask`. What differs is the error.
fn compare_code(
    host: &Host,
    guests: &mut [Guest],
    code: &[u8],
    (state, scratch): (&State, &[u8]),
    mask: u64,
    most: u64,
) -> Result<(), String> {
    let (mut h, mut memory) = (*state, scratch.to_vec());
    let signal = host.run(code, &mut h, &mut memory);
    for (tier, guest) in guests.iter_mut().enumerate() {
        let (mut g, mut scratch) = (*state, scratch.to_vec());
        let fine = guest.run(code, &mut g, &mut scratch, most);
        let flags = (g.flags & mask, h.flags & mask);
        let what = match () {
            () if fine != (signal == 0) => format!("signal {signal}, without an exception: {fine}"),
            () if !fine => continue,
            () if g.gpr != h.gpr => format!("host   {h:x?}\nguest  {g:x?}"),
            () if flags.0 != flags.1 => format!("flags {flags:x?} of {mask:x}"),
            () if scratch != memory => "memory".to_owned(),
            () => continue,
        };
        return Err(format!(
            "tier {tier}: {code:02x?}\nbefore {state:x?}\n{what}"
        ));
    }
    Ok(())
}

fn compare(host: &Host, guests: &mut [Guest], c: &Case) -> Result<(), String> {
    let mask = ALL & !undefined(&c.instruction, &c.state);
    let before = (&c.state, &c.scratch[..]);
    compare_code(host, guests, &c.bytes, before, mask, 3)
}

/// Both tiers; under QEMU the interpreter alone, as there compiled code is translated once more.
fn guests() -> Vec<Guest> {
    if qemu::stands_in() {
        return vec![Guest::new(Engine::Interpreter)];
    }
    vec![Guest::new(Engine::Interpreter), Guest::new(Engine::Verify)]
}

#[test]
fn each_form_does_what_the_host_does() {
    let host = Host::new();
    let mut guests = guests();
    let mut tested = 0;
    for code in forms() {
        let kinds: Vec<bool> = [has_registers(code), has_memory(code)]
            .into_iter()
            .zip([false, true])
            .filter_map(|(possible, memory)| possible.then_some(memory))
            .collect();
        let mut differs = false;
        for memory in &kinds {
            let memory = *memory;
            tested += 1;
            let mut r = Random(0x9e37_79b9_7f4a_7c15 ^ (code as u64) << 8 ^ u64::from(memory));
            let mut done = 0;
            while done < cases() / kinds.len() as u32 {
                let Some(mut c) = case(code, &mut r, memory) else {
                    continue;
                };
                if is_bit_string(&c) && !tame_bit_index(&mut c, &mut r) || is_meaningless(&c) {
                    continue;
                }
                if let Err(what) = compare(&host, &mut guests, &c) {
                    assert!(qemu::excuses(code), "{code:?}, {what}");
                    differs = true;
                    break;
                }
                done += 1;
            }
        }
        assert_eq!(differs, qemu::excuses(code), "{code:?} is no exception");
    }
    assert!(tested > 300, "{tested} forms");
    if let Some(both) = guests.get(1) {
        assert!(both.verified() > 100_000);
    }
}

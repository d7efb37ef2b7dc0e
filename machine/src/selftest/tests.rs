use super::asm::{Asm, AsmError, Cond};
use super::*;

fn words(build: impl FnOnce(&mut Asm)) -> Vec<u32> {
    let mut asm = Asm::new(0x100);
    build(&mut asm);
    asm.finish()
        .unwrap()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|w| u32::from_be_bytes(*w))
        .collect()
}

/// Expected words are those of GNU as for the same instructions.
#[test]
fn instructions_encode() {
    let got = words(|a| {
        a.li(3, -2);
        a.lis(4, 0x1234);
        a.addi(5, 6, -8);
        a.ori(7, 8, 0xbeef);
        a.oris(9, 10, 0x8000);
        a.andi(11, 12, 0xff);
        a.add(13, 14, 15);
        a.mr(16, 17);
        a.or(18, 19, 20);
        a.sldi(21, 22, 32);
        a.sldi(21, 22, 3);
        a.srdi(23, 24, 4);
        a.srdi(23, 24, 56);
        a.ld(25, 16, 26);
        a.std(27, -8, 28);
        a.lwz(29, 4, 30);
        a.stw(31, -4, 1);
        a.lbz(2, 1, 3);
        a.stb(4, 2, 5);
        a.lwbrx(6, 0, 7);
        a.stwbrx(8, 9, 10);
        a.ldbrx(11, 0, 12);
        a.cmpd(13, 14);
        a.cmpld(15, 16);
        a.cmpw(17, 18);
        a.cmpdi(19, -4);
    });
    let expected = [
        0x3860_fffe,
        0x3c80_1234,
        0x38a6_fff8,
        0x6107_beef,
        0x6549_8000,
        0x718b_00ff,
        0x7dae_7a14,
        0x7e30_8b78,
        0x7e72_a378,
        0x7ad5_07c6,
        0x7ad5_1f24,
        0x7b17_e102,
        0x7b17_4620,
        0xeb3a_0010,
        0xfb7c_fff8,
        0x83be_0004,
        0x93e1_fffc,
        0x8843_0001,
        0x9885_0002,
        0x7cc0_3c2c,
        0x7d09_552c,
        0x7d60_6428,
        0x7c2d_7000,
        0x7c2f_8040,
        0x7c11_9000,
        0x2c33_fffc,
    ];
    assert_eq!(got, expected);
}

#[test]
fn branches_and_the_rest_encode() {
    let got = words(|a| {
        let end = a.label();
        let start = a.here();
        a.b(start);
        a.bl(end);
        a.bc(Cond::Eq, start);
        a.bc(Cond::Ne, end);
        a.bc(Cond::Lt, start);
        a.bc(Cond::Gt, end);
        a.bc(Cond::Dnz, start);
        a.bind(end);
        a.blr();
        a.bctr();
        a.sc1();
        a.mtctr(20);
        a.mflr(21);
        a.mtlr(22);
        a.sync();
        a.eieio();
        a.la(3, end);
    });
    let expected = [
        0x4800_0000,
        0x4800_0019,
        0x4182_fff8,
        0x4082_0010,
        0x4180_fff0,
        0x4181_0008,
        0x4200_ffe8,
        0x4e80_0020,
        0x4e80_0420,
        0x4400_0022,
        0x7e89_03a6,
        0x7ea8_02a6,
        0x7ec8_03a6,
        0x7c00_04ac,
        0x7c00_06ac,
        0x3860_011c,
    ];
    assert_eq!(got, expected);
}

/// Runs the instructions that `Asm::load` uses.
fn loaded(value: u64) -> u64 {
    let mut r = 0u64;
    for word in words(|a| a.load(3, value)) {
        let immediate = u64::from(word & 0xffff);
        let signed = immediate as u16 as i16 as i64 as u64;
        r = match word >> 26 {
            14 => signed,
            15 => signed << 16,
            24 => r | immediate,
            25 => r | immediate << 16,
            30 => r << 32,
            op => panic!("{op}"),
        };
    }
    r
}

#[test]
fn any_constant_loads() {
    for value in [
        0,
        1,
        0x7fff,
        0x8000,
        0xffff,
        0xf000,
        0x8000_0000,
        0xffff_ffff,
        0x1234_5678,
        0x8000_0000_0000_0000,
        0x0123_4567_89ab_cdef,
        u64::MAX,
        u64::MAX - 0xffff,
        1 << 32,
        0xffff_8000,
    ] {
        assert_eq!(loaded(value), value, "{value:#x}");
    }
}

#[test]
fn labels_must_be_bound_and_near() {
    let mut asm = Asm::new(0);
    let label = asm.label();
    asm.b(label);
    assert_eq!(asm.finish(), Err(AsmError::Unbound(0)));
    let mut asm = Asm::new(0);
    let label = asm.here();
    asm.data(&[0; 0x9000]);
    asm.bc(Cond::Eq, label);
    assert_eq!(asm.finish(), Err(AsmError::Reach(0)));
}

#[test]
fn the_image_is_small_and_says_its_steps() {
    let tokens = SelftestTokens {
        read_config: 1,
        write_config: 2,
        query_window: 3,
        create_window: 4,
        remove_window: 5,
        power_off: 6,
    };
    let params = SelftestParams {
        buid: 0x0800_0000_2000_0000,
        bus: 0,
        devfn: 8,
        bar_pci: 0x8000_0000,
        bar_cpu: 0x2000_8000_0000,
        vty: 0x7100_0000,
        query_outputs: 5,
        tokens,
    };
    let bytes = image(&params).unwrap();
    assert!(bytes.len() < 0x6000, "{:#x}", bytes.len());
    assert!(bytes[..0x100].iter().all(|b| *b == 0));
    for text in [
        "selftest: started\r\n\0",
        "selftest: window created\r\n\0",
        "selftest: FAILED step 1\r\n\0",
        PASSED,
    ] {
        let found = bytes
            .windows(text.len())
            .filter(|w| *w == text.as_bytes())
            .count();
        assert_eq!(found, 1, "{text}");
    }
    assert_eq!(image(&params).unwrap(), bytes);
}

#[test]
fn the_selftest_passes() {
    let mut lines = Vec::new();
    let result = run(|l| lines.push(l.to_owned()));
    assert!(result.is_ok(), "{result:?}\n{lines:#?}");
    assert_eq!(lines.len(), 13, "{lines:#?}");
}

#[test]
fn a_machine_without_the_device_is_told_so() {
    let config = crate::pseries::MachineConfig {
        memory: 64 << 20,
        ..Default::default()
    };
    assert!(matches!(
        run_with(config, |_| {}),
        Err(SelftestError::Missing("edu device"))
    ));
}

//! Transcendental functions against values computed with 700 bits, rounded to nearest: large angles and those next to multiples of pi/2
//! too, where processors differ.
use iced_x86::Code;

use super::*;
use crate::x86_64::simd::{Operands, Src, Vectors, execute};

/// Form, ST(0), ST(1), result.
type Row = (Code, (u16, u64), (u16, u64), (u16, u64));

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (Code::Fsin, (0x4000, 0xc90f_daa2_2168_c235), (0x3fff, 0x8000_0000_0000_0000), (0xbfbe, 0xece6_75d1_fc8f_8cbb)),
    (Code::Fcos, (0x4000, 0xc90f_daa2_2168_c235), (0x3fff, 0x8000_0000_0000_0000), (0xbfff, 0x8000_0000_0000_0000)),
    (Code::Fptan, (0x4000, 0xc90f_daa2_2168_c235), (0x3fff, 0x8000_0000_0000_0000), (0x3fbe, 0xece6_75d1_fc8f_8cbb)),
    (Code::Fsin, (0x3fff, 0xc90f_daa2_2168_c235), (0x3fff, 0x8000_0000_0000_0000), (0x3fff, 0x8000_0000_0000_0000)),
    (Code::Fcos, (0x3fff, 0xc90f_daa2_2168_c235), (0x3fff, 0x8000_0000_0000_0000), (0xbfbd, 0xece6_75d1_fc8f_8cbb)),
    (Code::Fptan, (0x3fff, 0xc90f_daa2_2168_c235), (0x3fff, 0x8000_0000_0000_0000), (0xc040, 0x8a51_e04d_aabd_a35f)),
    (Code::Fsin, (0x4001, 0x96cb_e3f9_990e_91a8), (0x3fff, 0x8000_0000_0000_0000), (0xbfff, 0x8000_0000_0000_0000)),
    (Code::Fcos, (0x4001, 0x96cb_e3f9_990e_91a8), (0x3fff, 0x8000_0000_0000_0000), (0x3fc0, 0xd8d6_6c2e_beb5_d4c6)),
    (Code::Fptan, (0x4001, 0x96cb_e3f9_990e_91a8), (0x3fff, 0x8000_0000_0000_0000), (0xc03d, 0x971e_224f_6c05_21c6)),
    (Code::Fsin, (0x4003, 0xb07f_8a9d_05a7_c1a4), (0x3fff, 0x8000_0000_0000_0000), (0xbffb, 0x918b_dfa4_04d8_6e0d)),
    (Code::Fcos, (0x4003, 0xb07f_8a9d_05a7_c1a4), (0x3fff, 0x8000_0000_0000_0000), (0xbffe, 0xff5a_4ade_f8c8_89d3)),
    (Code::Fptan, (0x4003, 0xb07f_8a9d_05a7_c1a4), (0x3fff, 0x8000_0000_0000_0000), (0x3ffb, 0x91ea_52e8_f4ee_b615)),
    (Code::Fsin, (0xbffe, 0xade4_7dde_bde5_c099), (0x3fff, 0x8000_0000_0000_0000), (0xbffe, 0xa0d3_4111_3e17_4054)),
    (Code::Fcos, (0xbffe, 0xade4_7dde_bde5_c099), (0x3fff, 0x8000_0000_0000_0000), (0x3ffe, 0xc72d_2ab0_4c1c_22ec)),
    (Code::Fptan, (0xbffe, 0xade4_7dde_bde5_c099), (0x3fff, 0x8000_0000_0000_0000), (0xbffe, 0xceb5_1bff_0b30_8253)),
    (Code::Fsin, (0xbffc, 0xbb99_85ed_d721_0dff), (0x3fff, 0x8000_0000_0000_0000), (0xbffc, 0xba8d_531b_cd62_9a27)),
    (Code::Fcos, (0xbffc, 0xbb99_85ed_d721_0dff), (0x3fff, 0x8000_0000_0000_0000), (0x3ffe, 0xfbb7_456a_a41f_820b)),
    (Code::Fptan, (0xbffc, 0xbb99_85ed_d721_0dff), (0x3fff, 0x8000_0000_0000_0000), (0xbffc, 0xbdba_2246_796f_2fd1)),
    (Code::Fsin, (0xc003, 0x86a3_209c_a623_3255), (0x3fff, 0x8000_0000_0000_0000), (0x3ffe, 0xe69d_1e30_47a0_fcae)),
    (Code::Fcos, (0xc003, 0x86a3_209c_a623_3255), (0x3fff, 0x8000_0000_0000_0000), (0xbffd, 0xde4a_731c_de54_84f2)),
    (Code::Fptan, (0xc003, 0x86a3_209c_a623_3255), (0x3fff, 0x8000_0000_0000_0000), (0xc000, 0x84ca_e2dd_eb83_9ba0)),
    (Code::Fsin, (0x4002, 0xaf96_ecbf_1cfb_10f6), (0x3fff, 0x8000_0000_0000_0000), (0xbffe, 0xfff1_3c35_7830_a97c)),
    (Code::Fcos, (0x4002, 0xaf96_ecbf_1cfb_10f6), (0x3fff, 0x8000_0000_0000_0000), (0xbff9, 0xade1_c5a5_a4e1_747b)),
    (Code::Fptan, (0x4002, 0xaf96_ecbf_1cfb_10f6), (0x3fff, 0x8000_0000_0000_0000), (0x4004, 0xbc68_4299_fb80_f38f)),
    (Code::Fsin, (0x4003, 0xc599_f4b4_6179_59ce), (0x3fff, 0x8000_0000_0000_0000), (0xbffd, 0xd6a1_cbe8_f96c_cb82)),
    (Code::Fcos, (0x4003, 0xc599_f4b4_6179_59ce), (0x3fff, 0x8000_0000_0000_0000), (0x3ffe, 0xe86b_a3d5_5e70_8135)),
    (Code::Fptan, (0x4003, 0xc599_f4b4_6179_59ce), (0x3fff, 0x8000_0000_0000_0000), (0xbffd, 0xec68_28ea_7f6e_638b)),
    (Code::Fsin, (0x402c, 0xdd97_6d90_035b_7399), (0x3fff, 0x8000_0000_0000_0000), (0x3ffe, 0xfffd_c5ed_0fae_0da8)),
    (Code::Fcos, (0x402c, 0xdd97_6d90_035b_7399), (0x3fff, 0x8000_0000_0000_0000), (0x3ff8, 0x8710_2b4e_f629_2363)),
    (Code::Fptan, (0x402c, 0xdd97_6d90_035b_7399), (0x3fff, 0x8000_0000_0000_0000), (0x4005, 0xf29a_ab25_f902_83cf)),
    (Code::Fsin, (0xc037, 0x974e_4158_478c_281d), (0x3fff, 0x8000_0000_0000_0000), (0xbffe, 0xfdce_0454_0fce_049d)),
    (Code::Fcos, (0xc037, 0x974e_4158_478c_281d), (0x3fff, 0x8000_0000_0000_0000), (0x3ffc, 0x85d0_8b1c_9e23_8006)),
    (Code::Fptan, (0xc037, 0x974e_4158_478c_281d), (0x3fff, 0x8000_0000_0000_0000), (0xc001, 0xf2c6_b671_1b68_1006)),
    (Code::Fsin, (0xc035, 0xe186_c5bb_28db_d25e), (0x3fff, 0x8000_0000_0000_0000), (0x3ffa, 0x9a1d_9ef0_0428_15b5)),
    (Code::Fcos, (0xc035, 0xe186_c5bb_28db_d25e), (0x3fff, 0x8000_0000_0000_0000), (0x3ffe, 0xffd1_97f7_e653_1135)),
    (Code::Fptan, (0xc035, 0xe186_c5bb_28db_d25e), (0x3fff, 0x8000_0000_0000_0000), (0x3ffa, 0x9a39_93f4_df88_28a1)),
    (Code::Fsin, (0xc021, 0xcf18_348e_2386_42ea), (0x3fff, 0x8000_0000_0000_0000), (0xbffe, 0xbac7_9c34_2f90_af50)),
    (Code::Fcos, (0xc021, 0xcf18_348e_2386_42ea), (0x3fff, 0x8000_0000_0000_0000), (0xbffe, 0xaf11_cb70_2018_0d88)),
    (Code::Fptan, (0xc021, 0xcf18_348e_2386_42ea), (0x3fff, 0x8000_0000_0000_0000), (0x3fff, 0x888f_d13b_0441_b44a)),
    (Code::Fsin, (0x4039, 0x90ed_44bc_206f_5c66), (0x3fff, 0x8000_0000_0000_0000), (0x3ffe, 0xda99_4ad3_279a_3ba3)),
    (Code::Fcos, (0x4039, 0x90ed_44bc_206f_5c66), (0x3fff, 0x8000_0000_0000_0000), (0xbffe, 0x853b_3316_63de_92ef)),
    (Code::Fptan, (0x4039, 0x90ed_44bc_206f_5c66), (0x3fff, 0x8000_0000_0000_0000), (0xbfff, 0xd204_011d_2b77_6f07)),
    (Code::Fsin, (0x403d, 0xffff_ffff_ffff_ffff), (0x3fff, 0x8000_0000_0000_0000), (0x3ffe, 0xdf32_7e11_2abe_ef8f)),
    (Code::Fcos, (0x403d, 0xffff_ffff_ffff_ffff), (0x3fff, 0x8000_0000_0000_0000), (0x3ffd, 0xfac0_35ec_4849_29c2)),
    (Code::Fptan, (0x403d, 0xffff_ffff_ffff_ffff), (0x3fff, 0x8000_0000_0000_0000), (0x3fff, 0xe3de_9ed3_992f_3138)),
    (Code::F2xm1, (0x3ff7, 0xe305_1e55_359e_eefb), (0x3fff, 0x8000_0000_0000_0000), (0x3ff7, 0x9dbc_98d0_c741_5155)),
    (Code::F2xm1, (0x3ff9, 0x954f_5d06_df56_1d80), (0x3fff, 0x8000_0000_0000_0000), (0x3ff8, 0xd04c_f706_b0ff_84a8)),
    (Code::F2xm1, (0xbffc, 0x9975_3494_f623_6bf2), (0x3fff, 0x8000_0000_0000_0000), (0xbffb, 0xca0f_b952_4a9b_d375)),
    (Code::F2xm1, (0xbffa, 0xf871_e6cb_2e81_d66d), (0x3fff, 0x8000_0000_0000_0000), (0xbffa, 0xa8a3_9587_e456_7714)),
    (Code::F2xm1, (0xbffa, 0xfb88_474b_f770_c226), (0x3fff, 0x8000_0000_0000_0000), (0xbffa, 0xaab0_bd1a_e711_167b)),
    (Code::F2xm1, (0x3ffd, 0x82c2_d00e_4c7d_6df0), (0x3fff, 0x8000_0000_0000_0000), (0x3ffc, 0xc64e_ef82_9319_d423)),
    (Code::F2xm1, (0x3fc9, 0xf7c8_0dc9_2a7c_1880), (0x3fff, 0x8000_0000_0000_0000), (0x3fc9, 0xabbf_bfd1_104a_3db2)),
    (Code::Fyl2x, (0x1261, 0xaa7a_3534_10ac_ff00), (0xbffe, 0xcd32_b557_d141_2584), (0x400c, 0x9240_e958_fec1_0427)),
    (Code::Fyl2x, (0x01b6, 0xd6c6_8ca5_9892_1396), (0x3fff, 0xa7ac_b393_10e6_d8e6), (0xc00d, 0xa32c_9a26_2be9_fefe)),
    (Code::Fyl2x, (0x4002, 0xbd89_0ee2_4e5a_3a26), (0x3fff, 0xbd98_906f_2f4d_4c86), (0x4001, 0xa90a_4564_e57c_8507)),
    (Code::Fyl2x, (0x4001, 0x874b_ce79_2d16_34b4), (0x3ffe, 0xf831_89ff_f9a0_1fe8), (0x4000, 0x810f_263e_78b1_b240)),
    (Code::Fyl2x, (0x3fff, 0xb3bf_e89c_d84a_1d3a), (0x3ffa, 0xe4d4_9bd3_8c8f_95ef), (0x3ff9, 0xe02e_d909_e1ad_dc2e)),
    (Code::Fyl2x, (0x3fff, 0xca0c_e7a6_6059_7bdc), (0xbffa, 0x85fb_277b_73ec_28d0), (0xbff9, 0xb078_e37b_dd33_bd61)),
    (Code::Fyl2x, (0x3fff, 0xfa43_55b9_9fab_a827), (0x3ffd, 0xe0bb_f889_1e78_2196), (0x3ffd, 0xd962_c0e1_d936_bbc0)),
    (Code::Fyl2x, (0x3fff, 0xc199_782d_5829_6818), (0x3fff, 0xc329_6de8_e488_b6c8), (0x3ffe, 0xe8ff_160b_c71a_eb4c)),
    (Code::Fyl2x, (0x7206, 0x8dd4_ad2a_767d_5274), (0xc003, 0xe3f7_630d_bf97_03c0), (0xc011, 0xb232_bb6c_91c2_2737)),
    (Code::Fyl2x, (0x57e4, 0xa5de_dd80_dc14_ed57), (0xbffa, 0xf90f_faf5_6ed7_8f5d), (0xc007, 0xb9fc_bfc2_5fe7_dc66)),
    (Code::Fyl2x, (0x3fff, 0x8000_0000_0000_0001), (0xbffd, 0xab9d_62cd_355f_2af4), (0xbfbe, 0xf796_7a60_34b1_2486)),
    (Code::Fyl2x, (0x3fff, 0x8000_0000_0000_ffff), (0x4001, 0xf583_e186_5cd5_061c), (0x3fd3, 0xb119_5b4f_58f4_1c13)),
    (Code::Fyl2xp1, (0xbfc3, 0xf64c_1b82_4692_ba03), (0xc002, 0xa7fe_5fa1_1792_1e6c), (0x3fc7, 0xe92d_7fcf_f2eb_0770)),
    (Code::Fyl2xp1, (0xbfc3, 0x96b7_977e_4e61_3a36), (0xbffb, 0x930e_1ba5_a076_57d6), (0x3fbf, 0xf9cf_0011_3d19_a0d6)),
    (Code::Fyl2xp1, (0x3ff9, 0xbdec_f450_ff29_7d0e), (0xbffa, 0xfe4c_2800_14b9_adb5), (0xbff6, 0x8689_a119_82fd_40eb)),
    (Code::Fyl2xp1, (0xbffb, 0x9e61_0bbc_0825_c7cc), (0x4003, 0xe9c4_0d28_5805_6ed0), (0xc000, 0xd928_3149_396c_4f59)),
    (Code::Fyl2xp1, (0x3ffc, 0xb5fc_248a_a6a5_bc99), (0xbffa, 0xf541_c2a5_faa3_0fac), (0xbff8, 0xe784_cb90_b36b_2c69)),
    (Code::Fyl2xp1, (0x3ffc, 0xbf2d_1c98_cd39_e158), (0xbffd, 0xfd9b_4110_216d_27a2), (0xbffb, 0xfa83_2519_cbed_e9e0)),
    (Code::Fpatan, (0xc000, 0x90fe_d61d_f325_ffbe), (0x3fff, 0x959b_ec0b_1b4c_24c2), (0x4000, 0xaa94_4087_1121_2ac0)),
    (Code::Fpatan, (0xbfff, 0x8785_cba9_2634_f16f), (0x3fff, 0x9212_ebad_4b78_dc3d), (0x4000, 0x9466_472a_bf16_3e40)),
    (Code::Fpatan, (0xc003, 0x95ab_4aae_da2d_3b3d), (0x4000, 0xfae5_957e_741b_324d), (0x4000, 0xbbd7_aac8_a5f0_e05d)),
    (Code::Fpatan, (0x4003, 0xa8aa_77af_bac0_d757), (0x3fff, 0xbc2b_9bcb_4a80_7546), (0x3ffb, 0x8e92_3467_26b4_dded)),
    (Code::Fpatan, (0xbffe, 0xb041_8f79_1cd0_c151), (0xc003, 0x96f6_74ad_f5b6_7e6e), (0xbfff, 0xcdba_e46a_9284_9d1b)),
    (Code::Fpatan, (0x3fff, 0xab53_45a0_de28_123c), (0xc001, 0xa2db_0ef9_7dea_ab64), (0xbfff, 0xa824_a88a_0be0_6c43)),
    (Code::Fpatan, (0x4028, 0xc05c_8d97_de0d_0fc5), (0xbffe, 0xe5c7_889b_c938_c68d), (0xbfd5, 0x98e5_fc1d_37f6_fa4f)),
    (Code::Fpatan, (0xc027, 0xcb32_af91_b1d1_17b7), (0x3ffe, 0xa721_25c9_c277_af32), (0x4000, 0xc90f_daa2_214e_7052)),
    (Code::Fpatan, (0x4000, 0xd58b_1a03_b458_1e37), (0xc027, 0xe287_15cc_43cd_c356), (0xbfff, 0xc90f_daa2_2077_6ea8)),
    (Code::Fpatan, (0xc000, 0xa59c_f19b_b74a_cffb), (0xc027, 0x96dd_fbb1_a652_3995), (0xbfff, 0xc90f_daa2_2281_c7c7)),
    (Code::Fpatan, (0xbffd, 0xc603_cc2d_796b_fa00), (0x3fff, 0xd5f8_6534_536e_816b), (0x3fff, 0xe629_e8be_ee03_8bc3)),
    (Code::Fpatan, (0xbffe, 0xe888_f59b_49f0_88d4), (0x4000, 0xe618_9b6c_ac73_8c8c), (0x3fff, 0xe8bc_fc7a_40fc_c0be)),
];

fn number((head, mantissa): (u16, u64)) -> F80 {
    F80 { head, mantissa }
}

fn run(state: &mut Vectors, op: Code) {
    let o = Operands {
        op,
        dst: 0,
        src: Src::None,
        src2: 0,
        imm: 0,
    };
    assert_eq!(execute(state, &[0; 16], &o), Ok(Effect::None), "{op:?}");
}

#[test]
fn transcendental_functions_are_rounded_to_nearest() {
    for (op, a, b, expected) in ROWS {
        let mut state = Vectors::default();
        // Room for the 1 that FPTAN pushes.
        state.x87.push(number(*b));
        state.x87.push(number(*a));
        run(&mut state, *op);
        let at = u8::from(*op == Code::Fptan);
        assert_eq!(state.x87.st(at), number(*expected), "{op:?} {a:x?} {b:x?}");
        assert_eq!(state.x87.status & EXCEPTIONS, PE as u16, "{op:?}");
    }
}

#[test]
fn an_angle_of_2_to_the_63_is_not_reduced() {
    let mut state = Vectors::default();
    let angle = number((0x403e, 1 << 63));
    state.x87.push(angle);
    run(&mut state, Code::Fsin);
    assert_eq!(state.x87.st(0), angle);
    assert_eq!(state.x87.status & (C2 | EXCEPTIONS), C2);
}

#[test]
fn a_saved_state_is_restored_and_the_unit_initialized() {
    let mut x = X87::default();
    x.set_control(0x27f);
    for i in 0..5_u64 {
        x.push(F80::integer(i as i64 * 1_000_003 - 7));
    }
    x.signal(PE as u16);
    let before = x.clone();
    let image = x.fnsave(true);
    assert_eq!((x.control, x.status, x.full), (0x37f, 0, 0));
    x.frstor(&image, true);
    assert_eq!(x, before);
    assert_eq!(X87::from_bytes(&before.to_bytes()), before);
}

//! Random calls against the plain model of `testing`.

use proptest::prelude::*;

use super::*;

/// Near both ends of a window, mostly aligned.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0u64..40).prop_map(|n| n << 16),
        8 => (0u64..1100).prop_map(|n| n << 12),
        4 => (0u64..40).prop_map(|n| (n << 12).wrapping_neg()),
        2 => 0u64..0x20_0000,
        1 => any::<u64>(),
    ]
}

fn tce() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0u64..RAM >> 16, 0u64..4).prop_map(|(p, a)| p << 16 | a),
        4 => (0u64..RAM >> 12, 0u64..4).prop_map(|(p, a)| p << 12 | a),
        3 => Just(0),
        1 => (RAM - 0x20000)..(RAM + 0x20000),
        1 => any::<u64>(),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let window = || 0usize..7;
    let n = || prop_oneof![4 => 0u64..20, 2 => 500u64..515, 1 => any::<u64>()];
    prop_oneof![
        6 => (window(), offset(), tce()).prop_map(|(window, ioba, tce)| Op::Put { window, ioba, tce }),
        4 => (window(), offset(), tce(), n()).prop_map(|(window, ioba, tce, n)| Op::Stuff { window, ioba, tce, n }),
        4 => (window(), offset(), prop_oneof![8 => (0u64..200, 0usize..20).prop_map(|(p, n)| (0..n as u64).map(|i| (p + i) << 16 & (RAM - 1) | 3).collect()),
                1 => prop::collection::vec(tce(), 0..20)]).prop_map(|(window, ioba, tces)| Op::Indirect { window, ioba, list: 0x3000, n: tces.len() as u64, tces }),
        3 => (window(), offset()).prop_map(|(window, ioba)| Op::Get { window, ioba }),
        1 => Just(Op::Query),
        3 => (prop::sample::select(vec![12, 12, 16, 16, 21, 24, 25, 26, 27, 28, 13, 34]), prop_oneof![8 => 12u32..52, 2 => 52u32..65, 1 => any::<u32>()])
            .prop_map(|(page_shift, window_shift)| Op::Create { page_shift, window_shift }),
        2 => window().prop_map(|window| Op::Remove { window }),
        1 => any::<Option<bool>>().prop_map(|mode| Op::Reset { mode }),
        1 => Just(Op::ResetBridge),
        8 => (window(), offset(), 1u64..0x30000, any::<bool>())
            .prop_map(|(window, ioba, len, write)| Op::Translate { window, ioba, len, write }),
        1 => (window(), offset(), 0u16..0x2800, any::<Option<u8>>())
            .prop_map(|(window, ioba, len, write)| Op::Dma { window, ioba, len, write }),
    ]
}

fn personality() -> impl Strategy<Value = Personality> {
    let mix = "windows=3,pages=4K+64K+2M+16M+32M+64M+128M+256M+16G,block=2048T,migration=0xf";
    let small = "powervm,block=256,default-base=1G,default-size=1G,extensions=2";
    prop_oneof![
        Just(Personality::KVM),
        Just(Personality::POWERVM),
        Just(mix.parse().unwrap()),
        Just((mix.to_owned() + ",extensions=3").parse().unwrap()),
        Just(small.parse().unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, max_shrink_time: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_the_model(p in personality(), ops in prop::collection::vec(op(), 1..60), few_chunks in any::<bool>()) {
        let mut u = Unit::with(RAM, p);
        if few_chunks {
            u.set_caps(6, 10);
        }
        let mut m = Model::boot(&u);
        for (n, op) in ops.iter().enumerate() {
            if n % 16 == 15 {
                u = u.restored();
            }
            step(&u, &mut m, op);
        }
    }
}

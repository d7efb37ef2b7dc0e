//! Random calls against a plain model: same answers, same state, no half state after an error.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::spapr::{MSI_WINDOW, MSI_WINDOW_SIZE};

#[derive(Clone, Debug)]
enum Op {
    Put {
        window: usize,
        ioba: u64,
        tce: u64,
    },
    Stuff {
        window: usize,
        ioba: u64,
        tce: u64,
        n: u64,
    },
    Indirect {
        window: usize,
        ioba: u64,
        tces: Vec<u64>,
    },
    Get {
        window: usize,
        ioba: u64,
    },
    Query,
    Create {
        page_shift: u32,
        window_shift: u32,
    },
    Remove {
        window: usize,
    },
    Reset {
        /// The fourth argument.
        mode: Option<bool>,
    },
    Translate {
        window: usize,
        ioba: u64,
        len: u64,
        write: bool,
    },
}

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
    let window = || 0usize..5;
    let n = || prop_oneof![4 => 0u64..20, 2 => 500u64..515, 1 => any::<u64>()];
    prop_oneof![
        6 => (window(), offset(), tce()).prop_map(|(window, ioba, tce)| Op::Put { window, ioba, tce }),
        4 => (window(), offset(), tce(), n()).prop_map(|(window, ioba, tce, n)| Op::Stuff { window, ioba, tce, n }),
        4 => (window(), offset(), prop_oneof![8 => (0u64..200, 0usize..20).prop_map(|(p, n)| (0..n as u64).map(|i| (p + i) << 16 & (RAM - 1) | 3).collect()),
                1 => prop::collection::vec(tce(), 0..20)]).prop_map(|(window, ioba, tces)| Op::Indirect { window, ioba, tces }),
        3 => (window(), offset()).prop_map(|(window, ioba)| Op::Get { window, ioba }),
        1 => Just(Op::Query),
        3 => (prop::sample::select(vec![12, 12, 16, 16, 21, 24, 25, 26, 27, 28, 13, 34]), prop_oneof![8 => 12u32..52, 2 => 52u32..65, 1 => any::<u32>()])
            .prop_map(|(page_shift, window_shift)| Op::Create { page_shift, window_shift }),
        2 => window().prop_map(|window| Op::Remove { window }),
        1 => any::<Option<bool>>().prop_map(|mode| Op::Reset { mode }),
        8 => (window(), offset(), 1u64..0x30000, any::<bool>())
            .prop_map(|(window, ioba, len, write)| Op::Translate { window, ioba, len, write }),
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

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    base: u128,
    size: u128,
    shift: u32,
    tces: BTreeMap<u128, u64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Model {
    p: Personality,
    limited: bool,
    windows: BTreeMap<u32, Plain>,
}

fn plain(base: u64, size: u64, shift: u32) -> Plain {
    Plain {
        base: base.into(),
        size: size.into(),
        shift,
        tces: BTreeMap::new(),
    }
}

impl Model {
    fn boot(p: Personality) -> Self {
        let vio = plain(0, 0x1000_0000, 12);
        let default = plain(p.default_base, p.default_size, 12);
        Model {
            p,
            limited: false,
            windows: BTreeMap::from([(VIO, vio), (DEFAULT, default)]),
        }
    }

    /// The LIOBN and base that an operation means by its window number; some name nothing.
    fn pick(&self, n: usize) -> (u32, u64) {
        let liobn = [VIO, DEFAULT, DEFAULT + 1, DEFAULT + 2, 77][n];
        (liobn, self.windows.get(&liobn).map_or(0, |w| w.base as u64))
    }

    /// `ioba` from the window's start, or from its end if negative.
    fn ioba(&self, n: usize, offset: u64) -> (u32, u64) {
        let (liobn, base) = self.pick(n);
        let end = self
            .windows
            .get(&liobn)
            .map_or(0, |w| (w.base + w.size) as u64); // 2^64 is 0
        let from = if (offset as i64) < 0 { end } else { base };
        (liobn, from.wrapping_add(offset))
    }

    fn set(&mut self, liobn: u32, ioba: u64, tces: &[u64]) -> Status {
        let Some(w) = self.windows.get_mut(&liobn) else {
            return H_PARAMETER;
        };
        let (ioba, page) = (u128::from(ioba), 1u128 << w.shift);
        let end = ioba + page * tces.len() as u128;
        if ioba < w.base
            || ioba >= w.base + w.size
            || end > w.base + w.size
            || !ioba.is_multiple_of(page)
        {
            return H_PARAMETER;
        }
        for t in tces {
            let address = u128::from(t & !3);
            if t & 3 != 0 && (!address.is_multiple_of(page) || address + page > RAM.into()) {
                return H_PARAMETER;
            }
        }
        for (i, t) in tces.iter().enumerate() {
            let at = ioba + page * i as u128;
            if *t == 0 {
                w.tces.remove(&at)
            } else {
                w.tces.insert(at, *t)
            };
        }
        H_SUCCESS
    }

    fn pe_windows(&self) -> usize {
        self.windows.len() - 1
    }

    fn create(&mut self, page_shift: u32, window_shift: u32) -> Result<(u32, u64), i32> {
        let bit = [12, 16, 24, 25, 26, 27, 28, 34, 21].map(Some);
        let bit = bit.iter().position(|s| *s == Some(page_shift));
        if bit.is_none_or(|b| self.p.page_sizes.bits() >> b & 1 == 0)
            || window_shift < page_shift
            || window_shift > 63
            || 1u128 << (window_shift - page_shift) > self.p.largest_block.into()
        {
            return Err(-3);
        }
        if self.pe_windows() >= self.p.windows as usize {
            return Err(-1);
        }
        let size = 1u128 << window_shift;
        // The lowest multiple of the size that meets no other window: the start, or where a window ends.
        let from: u128 = if self.limited {
            1 << 32
        } else {
            DYNAMIC.into()
        };
        let message = plain(MSI_WINDOW, MSI_WINDOW_SIZE, 12);
        let taken: Vec<_> = self.windows.values().chain([&message]).collect();
        let ends = taken.iter().map(|w| w.base + w.size);
        let starts = ends.chain([0]).map(|e| e.max(from).next_multiple_of(size));
        let free = |base: &u128| {
            base + size <= 1 << 64
                && taken
                    .iter()
                    .all(|w| *base >= w.base + w.size || w.base >= base + size)
        };
        let base = starts.filter(free).min().ok_or(-1)?;
        let liobn = (DEFAULT + 1..)
            .find(|l| !self.windows.contains_key(l))
            .unwrap();
        self.windows
            .insert(liobn, plain(base as u64, size as u64, page_shift));
        Ok((liobn, base as u64))
    }

    fn remove(&mut self, liobn: u32) -> i32 {
        if liobn == VIO || self.windows.remove(&liobn).is_none() {
            return -3;
        }
        if liobn != DEFAULT && self.windows.keys().all(|l| *l == VIO || *l == DEFAULT) {
            self.windows
                .entry(DEFAULT)
                .or_insert_with(|| plain(self.p.default_base, self.p.default_size, 12));
        }
        0
    }

    /// Where a byte goes.
    fn byte(&self, iova: u64, write: bool) -> Option<u64> {
        let iova = u128::from(iova);
        let mut windows = self
            .windows
            .iter()
            .filter(|(l, _)| **l != VIO)
            .map(|(_, w)| w);
        let w = windows.find(|w| iova >= w.base && iova < w.base + w.size)?;
        let page = 1u128 << w.shift;
        let tce = *w.tces.get(&(iova - iova % page))?;
        (tce & if write { 2 } else { 1 } != 0).then_some((tce & !0xfff) + (iova % page) as u64)
    }

    fn check(&self, u: &Unit) {
        let real = u.snapshot();
        assert_eq!(real.len(), self.windows.len());
        for (liobn, base, size, shift, entries) in real {
            let w = &self.windows[&liobn.0];
            assert_eq!((w.base, w.size, w.shift), (base.into(), size.into(), shift));
            let entries: BTreeMap<u128, u64> = entries
                .into_iter()
                .map(|(e, t)| (u128::from(base) + (u128::from(e) << shift), t.0))
                .collect();
            assert_eq!(w.tces, entries);
        }
    }
}

/// Another unit with the state of this one.
fn restored(u: &Unit, p: Personality) -> Unit {
    let copy = unit_with(RAM, p);
    let saved = u.iommu.save().unwrap();
    copy.iommu.restore(&saved).unwrap();
    assert_eq!(copy.iommu.save().unwrap(), saved);
    copy
}

fn step(u: &Unit, m: &mut Model, op: &Op) {
    let before = m.clone();
    let failed = match op {
        Op::Put { window, ioba, tce } => {
            let (liobn, ioba) = m.ioba(*window, *ioba);
            let want = m.set(liobn, ioba, &[*tce]);
            assert_eq!(u.put(liobn, ioba, *tce), want);
            want != H_SUCCESS
        }
        Op::Stuff {
            window,
            ioba,
            tce,
            n,
        } => {
            let (liobn, ioba) = m.ioba(*window, *ioba);
            let known = m.windows.contains_key(&liobn);
            let want = match *n {
                n if n > 512 && known => H_P4,
                n if n > 512 => H_PARAMETER,
                0 if tce & 3 != 0 => match m.clone().set(liobn, ioba, &[*tce]) {
                    // The value is checked even if it goes nowhere.
                    H_SUCCESS => H_SUCCESS,
                    _ => H_PARAMETER,
                },
                n => m.set(liobn, ioba, &vec![*tce; n as usize]),
            };
            assert_eq!(u.stuff(liobn, ioba, *tce, *n), want);
            want != H_SUCCESS
        }
        Op::Indirect { window, ioba, tces } => {
            let (liobn, ioba) = m.ioba(*window, *ioba);
            u.list(0x3000, tces);
            let want = m.set(liobn, ioba, tces);
            assert_eq!(
                u.indirect(liobn.into(), ioba, 0x3000, tces.len() as u64),
                want
            );
            want != H_SUCCESS
        }
        Op::Get { window, ioba } => {
            let (liobn, ioba) = m.ioba(*window, *ioba);
            let ok = m.clone().set(liobn, ioba, &[0]) == H_SUCCESS;
            let want = m
                .windows
                .get(&liobn)
                .and_then(|w| w.tces.get(&ioba.into()))
                .copied()
                .unwrap_or(0);
            assert_eq!(
                u.get(liobn, ioba),
                if ok { Ok(want) } else { Err(H_PARAMETER) }
            );
            true
        }
        Op::Query => {
            let free = m.p.windows - m.pe_windows() as u32;
            let block = if free == 0 { 0 } else { m.p.largest_block };
            let (sizes, migration) = (m.p.page_sizes.bits(), m.p.migration_mask);
            let block32 = block.min(1 << 31) as u32;
            assert_eq!(u.query(), [0, free, block32, sizes, migration]);
            if m.p.extensions >= 2 {
                let (hi, lo) = ((block >> 32) as u32, block as u32);
                assert_eq!(u.query_six(), [0, free, hi, lo, sizes, migration]);
            }
            true
        }
        Op::Create {
            page_shift,
            window_shift,
        } => {
            let want = m.create(*page_shift, *window_shift);
            assert_eq!(u.create(*page_shift, *window_shift), want);
            want.is_err()
        }
        Op::Remove { window } => {
            let (liobn, _) = m.pick(*window);
            let want = m.remove(liobn);
            assert_eq!(u.remove(liobn), want);
            want != 0
        }
        Op::Reset { mode } => {
            let vio = m.windows[&VIO].clone();
            if mode.is_some() && m.p.extensions < 3 {
                assert_eq!(u.reset_mode(0), -3);
            } else {
                *m = Model::boot(m.p);
                m.windows.insert(VIO, vio);
                m.limited = *mode == Some(true);
                let status = match mode {
                    None => u.reset_windows(),
                    Some(mode) => u.reset_mode((*mode).into()),
                };
                assert_eq!(status, 0);
            }
            false
        }
        Op::Translate {
            window,
            ioba,
            len,
            write,
        } => {
            let (_, iova) = m.ioba(*window, *ioba);
            let access = if *write { Access::Write } else { Access::Read };
            match u.translate(iova, *len, access) {
                Ok((gpa, got)) => {
                    assert!(got >= 1 && got <= *len);
                    for at in (0..got).step_by(0x1000).chain([got - 1]) {
                        assert_eq!(m.byte(iova + at, *write), Some(gpa + at));
                    }
                    // It stops early only where the next byte is elsewhere.
                    if got < *len {
                        assert_ne!(
                            iova.checked_add(got).and_then(|a| m.byte(a, *write)),
                            Some(gpa + got)
                        );
                    }
                }
                Err(_) => assert_eq!(m.byte(iova, *write), None),
            }
            true
        }
    };
    if failed {
        assert_eq!(*m, before);
    }
    m.check(u);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, max_shrink_time: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_the_model(p in personality(), ops in prop::collection::vec(op(), 1..60)) {
        let mut u = unit_with(RAM, p);
        let mut m = Model::boot(p);
        for (n, op) in ops.iter().enumerate() {
            if n % 16 == 15 {
                u = restored(&u, p);
            }
            step(&u, &mut m, op);
        }
    }
}

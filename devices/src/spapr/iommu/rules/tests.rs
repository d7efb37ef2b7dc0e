//! Personalities and refusals as text.

use super::*;
use crate::spapr::iommu::spec::PageSizes;

#[test]
fn names() {
    for p in Personality::NAMED {
        assert_eq!(p.name.parse(), Ok(p));
    }
    let p = Personality::POWERVM;
    assert_eq!((p.windows, p.page_sizes.bits(), p.extensions), (1, 2, 3));
    assert_eq!(Personality::KVM.laxities, Laxities::empty());
}

#[test]
fn mixes() {
    let p: Personality = "windows=1,pages=64K+16M".parse().unwrap();
    assert_eq!(
        p,
        Personality {
            name: "custom",
            windows: 1,
            page_sizes: PageSizes::K64 | PageSizes::M16,
            ..Personality::KVM
        }
    );
    let p: Personality =
        "powervm,windows=3,pages=4K+2M+32M+64M+128M+256M+16G,block=2048T,migration=0xff,default-base=256M,default-size=0x10000000,extensions=2"
            .parse()
            .unwrap();
    assert_eq!(
        p,
        Personality {
            name: "custom",
            windows: 3,
            page_sizes: PageSizes::from_bits_truncate(0x1f9),
            largest_block: MAX_BLOCK,
            migration_mask: 0xff,
            default_base: 0x1000_0000,
            default_size: 0x1000_0000,
            extensions: 2,
            ..Personality::POWERVM
        }
    );
}

#[test]
fn malformed_personalities() {
    for (text, wanted) in [
        ("", "no personality is called ''"),
        ("KVM", "no personality is called 'KVM'"),
        ("kvm,", "unknown option ''"),
        ("kvm,powervm", "unknown option 'powervm'"),
        ("window=1", "unknown option 'window'"),
        ("windows=1,windows=1", "'windows' is given twice"),
        ("windows=0", "windows=0: it must be 1 to 16"),
        ("windows=17", "it must be 1 to 16"),
        ("windows=-1", "it must be 1 to 16"),
        ("windows=", "it must be 1 to 16"),
        ("pages=", "sizes out of 4K"),
        ("pages=8K", "sizes out of 4K"),
        ("pages=4K+", "sizes out of 4K"),
        ("pages=4K+0", "sizes out of 4K"),
        ("block=0", "from 1 to"),
        ("block=2049T", "from 1 to"),
        ("block=99999999999T", "from 1 to"),
        ("migration=0x100000000", "a mask of 32 bits"),
        ("default-size=4G", "at most 2G"),
        ("default-size=1000000", "a default window of 0xf4240 bytes"),
        ("default-size=0", "a default window of 0x0 bytes"),
        ("default-base=512M", "a default window"),
        ("default-base=2G", "a default window"),
        ("extensions=4", "0 to 3"),
        ("eeh=1", "on or off"),
        ("extensions=0xé", "0 to 3"),
        ("pages=é", "sizes out of 4K"),
    ] {
        let error = text.parse::<Personality>().unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn refusals_as_text() {
    let refusal = |first, last, status| Refusal {
        call: Refusable::Create,
        first,
        last,
        status,
    };
    assert_eq!("create:1=-1".parse(), Ok(refusal(1, 1, -1)));
    assert_eq!("create:2-4=9901".parse(), Ok(refusal(2, 4, 9901)));
    assert_eq!("create:5-=-3".parse(), Ok(refusal(5, u64::MAX, -3)));
    for (text, wanted) in [
        ("", "is not CALL:N=STATUS"),
        ("create", "is not CALL:N=STATUS"),
        ("create:1", "is not CALL:N=STATUS"),
        ("create:x=1", "is not CALL:N=STATUS"),
        ("create:1=x", "is not CALL:N=STATUS"),
        ("create:1=99999999999", "is not CALL:N=STATUS"),
        ("destroy:1=-1", "'destroy' cannot be refused"),
        ("create:0=-1", "calls count from 1"),
        ("create:3-2=-1", "calls count from 1"),
        ("create:1=0", "status 0 is no refusal"),
    ] {
        let error = text.parse::<Refusal>().unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn refusals_count_their_own_calls() {
    let rules = ["create:2=-1", "create:2-3=9901", "put:1-=-44"];
    let mut refusals = Refusals::new(rules.map(|r| r.parse().unwrap()).to_vec());
    let creates: Vec<_> = (0..4).map(|_| refusals.next(Refusable::Create)).collect();
    assert_eq!(creates, [None, Some(-1), Some(9901), None]);
    assert_eq!(refusals.next(Refusable::Put), Some(-44));
    assert_eq!(refusals.next(Refusable::Stuff), None);
}

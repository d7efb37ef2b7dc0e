//! Whatever a file says: no panic, and what is loaded lies in RAM without overlaps.

use proptest::prelude::*;

use super::*;

fn holds(kernel: &[u8], unpack: bool, protocol: Option<Protocol>, disk: Option<&[u8]>) {
    let map = map();
    let result = load(&Request {
        unpack,
        protocol,
        initrd: disk,
        ..request(kernel, &map)
    });
    let loaded = match result {
        Ok(loaded) => loaded,
        Err(e) => {
            let words = e.to_string();
            assert!(!words.is_empty() && !words.contains('\n'), "{words:?}");
            return;
        }
    };
    let mut spans: Vec<_> = loaded
        .placements
        .iter()
        .map(|p| (p.at, p.at + p.bytes.len() as u64))
        .collect();
    spans.sort_unstable();
    assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "{spans:x?}");
    let ram = |&(start, end): &(u64, u64)| {
        let inside = |e: &MapEntry| e.kind == MapKind::Ram && e.start <= start && end <= e.end;
        map.iter().any(inside)
    };
    assert!(spans.iter().all(ram), "{spans:x?}");
    assert!(loaded.kernel.contains(&loaded.start.rip));
}

fn images() -> Vec<Vec<u8>> {
    let base = BASE as u32;
    vec![
        boot_image(&elf_image(true, Some(8))),
        boot_image(&pack("gzip", &elf_image(true, None))),
        boot_image(&pack("lz4", &elf_image(true, None))),
        boot_image(&pack("zstd", &elf_image(true, None))),
        boot_image(&pack("xz", &elf_image(true, None))),
        elf_image(true, Some(4)),
        elf_image(false, Some(4)),
        multiboot_image(elf_image(false, None), 3, &[]),
        multiboot_image(
            vec![0x90; 16],
            1 << 16,
            &[base, base, 0, base + 0x1000, base + 32],
        ),
    ]
}

fn protocol() -> impl Strategy<Value = Option<Protocol>> {
    prop::sample::select(vec![
        None,
        Some(Protocol::Linux64),
        Some(Protocol::Pvh),
        Some(Protocol::Multiboot),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        magic in 0..4usize,
        unpack: bool,
        protocol in protocol(),
    ) {
        let mut bytes = bytes;
        let magics: [(usize, &[u8]); 4] = [(0, b""), (0, b"\x7fELF\x02\x01\x01"), (0, b"\x7fELF\x01\x01\x01"), (0x1fe, b"\x55\xaa\xeb\x6aHdrS\x0f\x02")];
        let (at, magic) = magics[magic];
        super::super::bytes::put(&mut bytes, at, magic);
        holds(&bytes, unpack, protocol, None);
    }

    #[test]
    fn damaged_images(
        image in 0..9usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        // Most of a small file is header.
        near in any::<bool>(),
        keep in any::<prop::sample::Index>(),
        cut: bool,
        unpack: bool,
        protocol in protocol(),
        disk in prop::option::of(prop::collection::vec(any::<u8>(), 0..9000)),
    ) {
        let mut bytes = images().swap_remove(image);
        for (index, value) in changes {
            let range = if near { bytes.len().min(0x268) } else { bytes.len() };
            let at = index.index(range);
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        holds(&bytes, unpack, protocol, disk.as_deref());
    }

    #[test]
    fn payloads(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0..8usize) {
        let magics: [&[u8]; 8] = [b"\x7fELF", b"\x1f\x8b", b"BZh", b"\x5d\0\0", b"\xfd7zXZ\0", b"\x02\x21\x4c\x18", b"\x28\xb5\x2f\xfd", b""];
        let _ = payload::unpack(&[magics[kind], &bytes].concat());
    }
}

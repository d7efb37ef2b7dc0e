mod errors;
mod images;
mod properties;

use super::bytes::{u16_at, u32_at, u64_at};
use super::*;
use crate::pc::map::memory_map;
use images::*;

/// Memory of the machines here: 64 MiB, and a piece that is reserved.
fn map() -> Vec<MapEntry> {
    memory_map(64 << 20, &[(0x3e0_0000, 0x3e1_0000)])
}

fn request<'a>(kernel: &'a [u8], map: &'a [MapEntry]) -> Request<'a> {
    Request {
        kernel,
        name: "kernel",
        initrd: None,
        append: "console=ttyS0 quiet",
        map,
        rsdp: 0xe_0000,
        unpack: true,
        protocol: None,
    }
}

fn loaded(kernel: &[u8]) -> Loaded {
    load(&request(kernel, &map())).unwrap()
}

/// Bytes of memory after loading.
fn at(loaded: &Loaded, address: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    for p in &loaded.placements {
        for (index, byte) in out.iter_mut().enumerate() {
            let offset = (address + index as u64).checked_sub(p.at);
            if let Some(&b) = offset.and_then(|o| p.bytes.get(o as usize)) {
                *byte = b;
            }
        }
    }
    out
}

fn is_the_kernel(loaded: &Loaded) {
    assert_eq!(at(loaded, BASE, TEXT.len()), TEXT);
    assert_eq!(at(loaded, DATA, MORE.len()), MORE);
    assert_eq!(loaded.kernel, BASE..DATA + MORE.len() as u64);
}

#[test]
fn every_packing_is_unpacked() {
    let inner = elf_image(true, None);
    for kind in ["none", "gzip", "bzip2", "lzma", "xz", "lz4", "zstd"] {
        let loaded = loaded(&boot_image(&pack(kind, &inner)));
        is_the_kernel(&loaded);
        assert_eq!(loaded.protocol, Protocol::Linux64, "{kind}");
        assert_eq!(loaded.start.rip, BASE + ENTRY);
    }
}

#[test]
fn linux_is_entered_in_64_bit_mode() {
    let loaded = loaded(&boot_image(&elf_image(true, Some(4))));
    let s = &loaded.start;
    assert_eq!(loaded.protocol, Protocol::Linux64, "not by PVH");
    assert_eq!(s.gpr[RSI], linux::ZERO_PAGE);
    assert_eq!((s.cr0, s.cr4, s.efer), (0x8000_0011, 0x20, 0x500));
    assert_eq!(s.rflags & 0x200, 0, "interrupts are off");
    let [es, cs, ss, ds, fs, gs] = s.segments;
    assert_eq!(cs.selector, 0x10);
    assert!(cs.is_long() && !cs.is_big() && cs.is_usable() && cs.dpl() == 0);
    for data in [es, ss, ds, fs, gs] {
        assert_eq!((data.selector, data.base, data.limit), (0x18, 0, u32::MAX));
        assert_eq!(data.kind(), 3);
    }
    // The table in memory says what the registers hold.
    for segment in [cs, ds] {
        let low = at(&loaded, s.gdtr.base + u64::from(segment.selector), 8);
        let low = u64_at(&low, 0).unwrap();
        let descriptor = viommu_cpu::x86_64::segment::Descriptor { low, high: 0 };
        assert_eq!(descriptor.segment(segment.selector), segment);
        assert!(u64::from(segment.selector) + 7 <= u64::from(s.gdtr.limit));
    }
}

/// Walks the first page tables as the processor does.
#[test]
fn the_first_4_gib_are_mapped_to_themselves() {
    let loaded = loaded(&boot_image(&elf_image(true, None)));
    let entry = |table: u64, index: u64| u64_at(&at(&loaded, table + 8 * index, 8), 0).unwrap();
    for address in [0, 0x7000, BASE, 0x7fff_ffff, 0xfee0_0000, 0xffff_ffffu64] {
        let mut table = loaded.start.cr3;
        for shift in [39, 30] {
            let e = entry(table, address >> shift & 511);
            assert_eq!(e & 0xfff, 3);
            table = e & !0xfff;
        }
        let page = entry(table, address >> 21 & 511);
        assert_eq!(page & 0x83, 0x83, "present, writable, 2 MiB");
        assert_eq!(page & !0x1f_ffff, address & !0x1f_ffff);
    }
    assert_eq!(entry(loaded.start.cr3, 1), 0);
}

#[test]
fn zero_page_says_what_there_is() {
    let (image, map) = (boot_image(&elf_image(true, None)), map());
    let disk = vec![0x5a; 5000];
    let loaded = load(&Request {
        initrd: Some(&disk),
        ..request(&image, &map)
    })
    .unwrap();
    let page = at(&loaded, linux::ZERO_PAGE, 4096);
    assert_eq!(&page[0x1f1..0x1fa], &image[0x1f1..0x1fa]);
    assert_eq!(u16_at(&page, 0x1fa), Some(0xffff), "the usual text mode");
    assert_eq!(&page[0x1fe..0x210], &image[0x1fe..0x210]);
    assert_eq!(&page[0x22c..0x26c], &image[0x22c..0x26c]);
    assert_eq!(page[0x210], 0xff, "a loader without a number");
    assert_eq!(page[0x211] & 1, 1);
    assert_eq!(u64_at(&page, 0x70), Some(0xe_0000));
    let line = u32_at(&page, 0x228).unwrap().into();
    assert_eq!(at(&loaded, line, 20), b"console=ttyS0 quiet\0");
    let place = loaded.initrd.clone().unwrap();
    assert_eq!(u32_at(&page, 0x218), Some(place.start as u32));
    assert_eq!(u32_at(&page, 0x21c), Some(5000));
    assert_eq!(at(&loaded, place.start, 5000), disk);
    let entries = (0..usize::from(page[0x1e8])).map(|n| {
        let at = 0x2d0 + 20 * n;
        let long = |at| u64_at(&page, at).unwrap();
        (
            long(at),
            long(at) + long(at + 8),
            u32_at(&page, at + 16).unwrap(),
        )
    });
    let told: Vec<_> = map
        .iter()
        .map(|e| (e.start, e.end, e.kind.code()))
        .collect();
    assert_eq!(entries.collect::<Vec<_>>(), told);
}

#[test]
fn a_vmlinux_without_header_gets_one() {
    let loaded = loaded(&elf_image(true, None));
    is_the_kernel(&loaded);
    assert_eq!(loaded.protocol, Protocol::Linux64);
    let page = at(&loaded, linux::ZERO_PAGE, 4096);
    assert_eq!(u16_at(&page, 0x1fe), Some(0xaa55));
    assert_eq!(&page[0x202..0x206], b"HdrS");
    assert_eq!(u16_at(&page, 0x206), Some(0x20f));
}

#[test]
fn initrd_lies_as_high_as_it_may() {
    let map = map();
    let place = |size: usize, image: &[u8]| {
        let disk = vec![1; size];
        let request = Request {
            initrd: Some(&disk),
            ..request(image, &map)
        };
        load(&request).map(|l| l.initrd.unwrap())
    };
    let mut image = boot_image(&elf_image(true, None));
    assert_eq!(place(4097, &image).unwrap(), 0x3ff_e000..0x3ff_f001);
    // The piece above the reserved one is 0x1f0000 bytes.
    assert_eq!(place(0x1f_0000, &image).unwrap().start, 0x3e1_0000);
    assert_eq!(place(0x1f_0001, &image).unwrap().end, 0x3e0_0000 - 0xfff);
    // Below the kernel, if it must be.
    image[0x22c..0x230].copy_from_slice(&0xff_ffffu32.to_le_bytes());
    assert_eq!(place(4096, &image).unwrap(), 0xff_f000..0x100_0000);
    assert!(place(15 << 20, &image).is_ok());
    let error = place((15 << 20) + 1, &image).unwrap_err();
    let what = "initrd";
    let need = (15 << 20) + 1;
    let at = DATA + MORE.len() as u64;
    assert_eq!(error, LoadError::DoesNotFit { what, need, at });
}

#[test]
fn a_bzimage_can_unpack_itself() {
    let (image, map) = (boot_image(&pack("xz", &elf_image(true, None))), map());
    let request = Request {
        unpack: false,
        ..request(&image, &map)
    };
    let loaded = load(&request).unwrap();
    assert_eq!(loaded.start.rip, BASE + 0x200);
    assert_eq!(at(&loaded, BASE, image.len() - 1024), image[1024..]);
    assert_eq!(loaded.kernel, BASE..BASE + 0x40_0000, "its init_size");
    assert_eq!(loaded.start.gpr[RSI], linux::ZERO_PAGE);
    let page = at(&loaded, linux::ZERO_PAGE, 4096);
    assert_eq!(u32_at(&page, 0x24c), u32_at(&image, 0x24c));
}

fn is_flat_32(start: &InitialState) {
    assert_eq!(
        (start.cr0, start.cr3, start.cr4, start.efer),
        (0x11, 0, 0, 0)
    );
    let cs = start.segments[1];
    assert!(cs.is_big() && !cs.is_long());
    assert_eq!((cs.base, cs.limit, cs.kind()), (0, u32::MAX, 0xb));
    assert_eq!((start.tr.limit, start.tr.kind()), (0x67, 0xb));
    assert_eq!(start.rflags, 2);
}

#[test]
fn pvh_by_its_note() {
    let disk = [9; 100];
    for (wide, note) in [(true, 4), (true, 8), (false, 4)] {
        let (image, map) = (elf_image(wide, Some(note)), map());
        let loaded = load(&Request {
            initrd: Some(&disk),
            ..request(&image, &map)
        })
        .unwrap();
        is_the_kernel(&loaded);
        assert_eq!(loaded.protocol, Protocol::Pvh);
        assert_eq!(loaded.start.rip, BASE + 8);
        is_flat_32(&loaded.start);
        let info = at(&loaded, loaded.start.gpr[RBX], 56);
        let word = |at| u32_at(&info, at).unwrap();
        let long = |at| u64_at(&info, at).unwrap();
        assert_eq!([word(0), word(4), word(12)], [0x336e_c578, 1, 1]);
        let module = at(&loaded, long(16), 32);
        let place = loaded.initrd.clone().unwrap();
        assert_eq!(u64_at(&module, 0), Some(place.start));
        assert_eq!(u64_at(&module, 8), Some(100));
        assert_eq!(at(&loaded, long(24), 8), b"console=");
        assert_eq!(long(32), 0xe_0000);
        assert_eq!(word(48) as usize, map.len());
        for (index, e) in (0..).zip(&map) {
            let entry = at(&loaded, long(40) + 24 * index, 24);
            assert_eq!(u64_at(&entry, 0), Some(e.start));
            assert_eq!(u64_at(&entry, 8), Some(e.end - e.start));
            assert_eq!(u32_at(&entry, 16), Some(e.kind.code()));
        }
    }
}

#[test]
fn protocols_can_be_asked_for() {
    let map = map();
    let by = |image: &[u8], protocol| {
        load(&Request {
            protocol: Some(protocol),
            ..request(image, &map)
        })
        .map(|l| (l.protocol, l.start.rip))
    };
    let packed = boot_image(&elf_image(true, Some(4)));
    assert_eq!(by(&packed, Protocol::Pvh), Ok((Protocol::Pvh, BASE + 8)));
    let no_entry = |p| Err(LoadError::NoEntry(p));
    assert_eq!(
        by(&packed, Protocol::Multiboot),
        no_entry(Protocol::Multiboot)
    );
    let plain = elf_image(true, Some(4));
    let linux = Ok((Protocol::Linux64, BASE + ENTRY));
    assert_eq!(by(&plain, Protocol::Linux64), linux);
    assert_eq!(
        by(&plain, Protocol::Multiboot),
        no_entry(Protocol::Multiboot)
    );
    assert_eq!(
        by(&elf_image(true, None), Protocol::Pvh),
        no_entry(Protocol::Pvh)
    );
    let both = multiboot_image(plain, 0, &[]);
    assert_eq!(by(&both, Protocol::Pvh), Ok((Protocol::Pvh, BASE + 8)));
}

#[test]
fn multiboot_finds_its_information() {
    let disk = [3; 77];
    // A flat file that is loaded from its header on: the header is at 0x10 of the file.
    let base = BASE as u32;
    let flat = multiboot_image(
        vec![0x90; 16],
        1 << 16,
        &[base, base, 0, base + 0x1000, base + 32],
    );
    for (image, entry) in [
        (
            multiboot_image(elf_image(false, None), 3, &[]),
            BASE + ENTRY,
        ),
        (multiboot_image(elf_image(true, None), 0, &[]), BASE + ENTRY),
        (flat.clone(), BASE + 32),
    ] {
        let map = map();
        let loaded = load(&Request {
            initrd: Some(&disk),
            ..request(&image, &map)
        })
        .unwrap();
        assert_eq!(loaded.protocol, Protocol::Multiboot);
        assert_eq!(loaded.start.rip, entry);
        assert_eq!(loaded.start.gpr[RAX], 0x2bad_b002);
        is_flat_32(&loaded.start);
        let info = at(&loaded, loaded.start.gpr[RBX], 120);
        let word = |at| u32_at(&info, at).unwrap();
        assert_eq!(word(0), 0b10_0100_1101);
        assert_eq!([word(4), word(8)], [639, (0x3e0_0000 - 0x10_0000) >> 10]);
        assert_eq!(at(&loaded, word(16).into(), 14), b"kernel console");
        let place = loaded.initrd.clone().unwrap();
        let module = at(&loaded, word(24).into(), 16);
        assert_eq!(word(20), 1);
        assert_eq!(u32_at(&module, 0), Some(place.start as u32));
        assert_eq!(u32_at(&module, 4), Some(place.end as u32));
        assert_eq!(at(&loaded, u32_at(&module, 8).unwrap().into(), 1), [0]);
        assert_eq!(at(&loaded, word(64).into(), 7), b"viommu\0");
        assert_eq!(word(44) as usize, 24 * map.len());
        let first = at(&loaded, word(48).into(), 24);
        assert_eq!(u32_at(&first, 0), Some(20));
        assert_eq!(u64_at(&first, 12), Some(map[0].end));
    }
    let loaded = loaded(&flat);
    assert_eq!(loaded.kernel, BASE..BASE + 0x1000);
    assert_eq!(at(&loaded, BASE, 20), flat[16..36]);
}

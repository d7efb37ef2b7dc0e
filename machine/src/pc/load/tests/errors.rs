//! What is wrong with a kernel is said in one line.

use super::*;
use crate::pc::load::bytes::put;

/// `image` with some bytes replaced.
fn with(mut image: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    put(&mut image, at, bytes);
    image
}

fn complaint(image: &[u8]) -> String {
    let map = map();
    let words = load(&request(image, &map))
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(!words.contains('\n'), "{words}");
    words
}

#[test]
fn files_that_are_no_kernel() {
    let ppc = {
        let mut file = elf_image(true, None);
        file[5] = 1;
        put(&mut file, 18, &21u16.to_le_bytes());
        file
    };
    let arm = with(vec![0; 4096], 56, b"ARM\x64");
    for (image, words) in [
        (b"#!/bin/sh\n".to_vec(), "not a kernel for this machine"),
        (vec![0; 8192], "not a kernel for this machine"),
        (Vec::new(), "truncated"),
        (b"\x7fE".to_vec(), "truncated"),
        (elf_image(true, None)[..30].to_vec(), "truncated"),
        (boot_image(b"x")[..0x210].to_vec(), "truncated"),
        (ppc, "wrong architecture: 64-bit PowerPC"),
        (arm, "wrong architecture: arm64"),
        (with(elf_image(true, None), 5, &[2]), "wrong architecture"),
        (
            pack("xz", &elf_image(true, None)),
            "the file is compressed (xz)",
        ),
        (
            pack("gzip", &elf_image(true, None)),
            "the file is compressed (gzip)",
        ),
    ] {
        let said = complaint(&image);
        assert!(said.contains(words), "{said} | {words}");
    }
}

#[test]
fn bad_boot_images() {
    let good = || boot_image(&pack("gzip", &elf_image(true, None)));
    let cut = |n: usize| good()[..n].to_vec();
    let large = good().len();
    let inner = |bytes: &[u8]| boot_image(&pack("zstd", bytes));
    let mut corrupt = good();
    corrupt[1024 + 0x300 + 40] ^= 0x55;
    for (image, words) in [
        (cut(0x400), "truncated: the kernel needs 1537 bytes"),
        (cut(large - 1), "truncated: the packed kernel"),
        (
            with(good(), 0x206, &[5, 2]),
            "boot protocol 2.05 is too old",
        ),
        (with(good(), 0x236, &[0]), "a 32-bit kernel"),
        (with(good(), 0x24c, &[0; 4]), "names no packed kernel"),
        (
            with(good(), 0x248, &[0xff; 4]),
            "truncated: the packed kernel",
        ),
        (boot_image(b"\x89LZO rest"), "packed with lzo"),
        (boot_image(b"nonsense"), "an unknown method"),
        (corrupt, "(gzip) cannot be unpacked"),
        (
            boot_image(b"\x02\x21\x4c\x18\xff\0\0\0xyz"),
            "(lz4) cannot be unpacked",
        ),
        (
            boot_image(b"\x02\x21\x4c\x18\0\0\0\0xyzu"),
            "(lz4) cannot be unpacked: an empty block",
        ),
        (boot_image(b"\xfd7zXZ\0broken"), "(xz) cannot be unpacked"),
        (
            boot_image(b"\x28\xb5\x2f\xfdbroken"),
            "(zstd) cannot be unpacked",
        ),
        (
            inner(b"no ELF file"),
            "damaged: the packed kernel is no ELF file",
        ),
        (inner(&elf_image(false, None)), "a 32-bit kernel"),
        (inner(&elf_image(true, None)[..100]), "truncated"),
    ] {
        let said = complaint(&image);
        assert!(said.contains(words), "{said} | {words}");
    }
}

#[test]
fn a_bomb_is_defused() {
    let bomb = {
        let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(
            &mut std::io::Read::take(std::io::repeat(0), payload::MAX + 1),
            &mut out,
        )
        .unwrap();
        out.finish().unwrap()
    };
    assert_eq!(
        complaint(&boot_image(&bomb)),
        "the boot image's kernel (zstd) is larger than 512 MiB unpacked"
    );
}

#[test]
fn bad_elf_files() {
    let good = || elf_image(true, None);
    // Program header 0 begins at 64: offset 8, addresses 16 and 24, sizes 32 and 40.
    const SECOND: usize = 64 + 56;
    for (image, words) in [
        (with(good(), 4, &[3]), "not an ELF file of version 1"),
        (
            with(good(), 16, &[1]),
            "neither an executable nor a shared object",
        ),
        (with(good(), 56, &[0, 0]), "no program headers"),
        (
            with(good(), 32, &[0xff; 8]),
            "truncated: the program header table",
        ),
        (with(good(), 64 + 8, &[0xff; 8]), "out of range"),
        (with(good(), 64 + 8, &[0, 0, 0, 1]), "truncated: a segment"),
        (
            with(good(), 64 + 40, &[1, 0]),
            "larger in the file than in memory",
        ),
        (with(good(), 64 + 24, &[0xff; 8]), "out of range"),
        (
            with(good(), 24, &[0xff; 8]),
            "the entry point lies in no segment",
        ),
        (
            with(with(good(), 64, &[0]), 64 + 56, &[0]),
            "nothing to load",
        ),
        (with(good(), 64 + 40, &[0, 0, 0x30]), "segments overlap"),
        (
            with(good(), SECOND + 24, &[0, 0, 0, 0, 1]),
            "belongs above 4 GiB",
        ),
        (
            with(good(), SECOND + 24, &[0, 0, 0, 0x80]),
            "does not fit into the memory",
        ),
        (
            with(good(), SECOND + 24, &[0, 0x10, 0, 0]),
            "does not fit into the memory",
        ),
        (
            elf_image(false, None),
            "a 32-bit ELF file without a multiboot header or PVH entry",
        ),
    ] {
        let said = complaint(&image);
        assert!(said.contains(words), "{said} | {words}");
    }
    let mut note = elf_image(true, Some(4));
    let at = note.len() - 4;
    put(&mut note, at, &[0xff; 4]);
    assert!(complaint(&note).contains("the PVH entry lies in no segment"));
}

#[test]
fn bad_multiboot_headers() {
    let base = BASE as u32;
    let flat = |addresses: &[u32]| multiboot_image(vec![0x90; 16], 1 << 16, addresses);
    for (image, words) in [
        (
            multiboot_image(elf_image(false, None), 4, &[]),
            "a video mode",
        ),
        (
            multiboot_image(elf_image(false, None), 8, &[]),
            "something unknown",
        ),
        (flat(&[base, base]), "truncated: the multiboot header"),
        (flat(&[base, base + 4, 0, 0, base]), "contradict each other"),
        (
            flat(&[base, base - 17, 0, 0, base]),
            "contradict each other",
        ),
        (
            flat(&[base, base, base - 1, 0, base]),
            "contradict each other",
        ),
        (
            flat(&[base, base, base + 0x1000, 0, base]),
            "truncated: the kernel",
        ),
        (
            flat(&[base, base, 0, base + 1, base]),
            "contradict each other",
        ),
        (
            flat(&[base, base, 0, 0, base + 0x1000]),
            "contradict each other",
        ),
    ] {
        let said = complaint(&image);
        assert!(said.contains(words), "{said} | {words}");
    }
}

#[test]
fn what_does_not_fit() {
    let (image, map) = (boot_image(&elf_image(true, None)), map());
    let said = |r: Request<'_>| load(&r).map(|_| ()).unwrap_err().to_string();
    let line = "x".repeat(2048);
    let long = said(Request {
        append: &line,
        ..request(&image, &map)
    });
    assert_eq!(
        long,
        "the command line has 2048 bytes; this kernel takes 2047"
    );
    assert!(
        load(&Request {
            append: &line[1..],
            ..request(&image, &map)
        })
        .is_ok()
    );
    let disk = vec![0; 64 << 20];
    let large = said(Request {
        initrd: Some(&disk),
        ..request(&image, &map)
    });
    assert!(large.contains("the initrd (0x4000000 bytes") && large.contains("--memory"));
    let far = with(boot_image(&elf_image(true, None)), 0x258, &[0xff; 8]);
    let far = said(Request {
        unpack: false,
        ..request(&far, &map)
    });
    assert!(
        far.contains("the preferred address is out of range"),
        "{far}"
    );
    let ranges = vec![map[0]; 129];
    let many = said(Request {
        map: &[&map[..], &ranges].concat(),
        ..request(&image, &map)
    });
    let told = format!(
        "the memory map has {} ranges; 128 can be told",
        map.len() + 129
    );
    assert_eq!(many, told);
}

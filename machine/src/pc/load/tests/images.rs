//! Kernels made for tests.

use std::io::Write;

use super::super::bytes::put;

/// Where the ELF kernels are loaded.
pub const BASE: u64 = 0x100_0000;
/// Offset of their entry.
pub const ENTRY: u64 = 0x40;
/// Bytes of their first segment in memory: more than in the file.
pub const SIZE: u64 = 0x3000;
/// Address of their second segment.
pub const DATA: u64 = BASE + 0x20_0000;
/// Contents of the first segment.
pub const TEXT: &[u8] =
    b"the kernel's text, which is long enough for an entry at 0x40 and some bytes behind it";
/// Contents of the second one.
pub const MORE: &[u8] = b"its data";

/// An ELF file of EM_X86_64, or of EM_386 in 32 bits, with two segments and, if asked for, Xen's note of `note` bytes with the entry.
pub fn elf_image(wide: bool, note: Option<usize>) -> Vec<u8> {
    let (header, entry) = if wide { (64, 56) } else { (52, 32) };
    let mut file = vec![0; header + 3 * entry];
    let word = |file: &mut Vec<u8>, at: usize, n: u64| {
        let bytes = n.to_le_bytes();
        put(file, at, if wide { &bytes } else { &bytes[..4] });
    };
    put(&mut file, 0, b"\x7fELF");
    put(&mut file, 4, &[1 + u8::from(wide), 1, 1]);
    put(&mut file, 16, &[2, 0, if wide { 62 } else { 3 }, 0]);
    word(&mut file, 24, BASE + ENTRY);
    let table: [usize; 3] = if wide { [32, 54, 56] } else { [28, 42, 44] };
    word(&mut file, table[0], header as u64);
    put(&mut file, table[1], &[entry as u8, 0, 3, 0]);
    let notes = match note {
        Some(size) => {
            let mut bytes = Vec::new();
            // A note of somebody else comes first.
            for (name, kind, value) in [
                ("GNU\0", 3, vec![7; 5]),
                ("Xen\0", 18, {
                    let mut value = (BASE + 8).to_le_bytes().to_vec();
                    value.truncate(size);
                    value
                }),
            ] {
                for n in [4, value.len() as u32, kind] {
                    bytes.extend(n.to_le_bytes());
                }
                bytes.extend(name.as_bytes());
                bytes.extend(&value);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        }
        None => vec![0; 4],
    };
    let high = if wide {
        0xffff_ffff_8000_0000
    } else {
        0xc000_0000
    };
    let segments = [
        (1, TEXT.to_vec(), BASE, SIZE),
        (1, MORE.to_vec(), DATA, MORE.len() as u64),
        (4, notes.clone(), 0, notes.len() as u64),
    ];
    for (index, (kind, bytes, at, size)) in segments.into_iter().enumerate() {
        let head = header + index * entry;
        put(&mut file, head, &[kind, 0, 0, 0]);
        let fields = if wide {
            [8, 16, 24, 32, 40]
        } else {
            [4, 8, 12, 16, 20]
        };
        let values = [file.len() as u64, high + at, at, bytes.len() as u64, size];
        for (field, value) in fields.into_iter().zip(values) {
            word(&mut file, head + field, value);
        }
        file.extend(bytes);
    }
    file
}

/// An ELF file with a multiboot header (in a note, of no meaning to ELF) behind everything else.
pub fn multiboot_image(mut file: Vec<u8>, flags: u32, addresses: &[u32]) -> Vec<u8> {
    file.resize(file.len().next_multiple_of(4), 0);
    let magic = 0x1bad_b002u32;
    let checksum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    for n in [magic, flags, checksum].iter().chain(addresses) {
        file.extend(n.to_le_bytes());
    }
    file
}

/// A bzImage of one setup sector with a payload and the size that the kernel's build appends.
pub fn boot_image(payload: &[u8]) -> Vec<u8> {
    let offset = 0x300;
    let mut file = vec![0; 1024 + offset];
    put(&mut file, 0x1f1, &[1]);
    put(&mut file, 0x1fe, &[0x55, 0xaa]);
    put(&mut file, 0x200, &[0xeb, 0x6a]);
    put(&mut file, 0x202, b"HdrS");
    put(&mut file, 0x206, &0x20fu16.to_le_bytes());
    put(&mut file, 0x211, &[1]);
    put(&mut file, 0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(&mut file, 0x230, &0x20_0000u32.to_le_bytes());
    put(&mut file, 0x234, &[1]);
    put(&mut file, 0x236, &[0x3f, 0]);
    put(&mut file, 0x238, &2047u32.to_le_bytes());
    put(&mut file, 0x248, &(offset as u32).to_le_bytes());
    put(&mut file, 0x24c, &(payload.len() as u32 + 4).to_le_bytes());
    put(&mut file, 0x258, &BASE.to_le_bytes());
    put(&mut file, 0x260, &0x40_0000u32.to_le_bytes());
    file.extend(payload);
    file.extend(0x1234u32.to_le_bytes());
    file
}

/// `bytes`, packed.
pub fn pack(kind: &str, bytes: &[u8]) -> Vec<u8> {
    match kind {
        "gzip" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        "bzip2" => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        "zstd" => zstd::encode_all(bytes, 1).unwrap(),
        "lz4" => {
            let mut out = vec![2, 0x21, 0x4c, 0x18];
            // More than one block.
            for chunk in bytes.chunks(100) {
                let packed = lz4_flex::block::compress(chunk);
                out.extend((packed.len() as u32).to_le_bytes());
                out.extend(packed);
            }
            out
        }
        "xz" => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        "lzma" => {
            let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
            let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
            let mut out = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}

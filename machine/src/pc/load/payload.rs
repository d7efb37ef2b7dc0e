//! The kernel inside a bzImage: how it is packed, and unpacking with bounds on memory.

use std::io::Read;

use super::LoadError;
use super::bytes::u32_at;

/// Most bytes of an unpacked kernel: well above any.
pub const MAX: u64 = 512 << 20;
/// Most memory that a decoder may take for itself, in bytes.
const DECODER_MAX: u64 = 1 << 30;
/// Largest block of the LZ4 legacy form, unpacked.
const LZ4_BLOCK: usize = 8 << 20;

/// How a kernel is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The old form of xz.
    Lzma,
    /// xz.
    Xz,
    /// LZ4, legacy form.
    Lz4,
    /// zstd.
    Zstd,
    /// LZO.
    Lzo,
}

/// Magic numbers (Linux `lib/decompress.c`).
const MAGIC: [(&[u8], Packing); 8] = [
    (b"\x7fELF", Packing::None),
    (b"\x1f\x8b", Packing::Gzip),
    (b"BZh", Packing::Bzip2),
    (b"\x5d\0\0", Packing::Lzma),
    (b"\xfd7zXZ\0", Packing::Xz),
    (b"\x02\x21\x4c\x18", Packing::Lz4),
    (b"\x28\xb5\x2f\xfd", Packing::Zstd),
    (b"\x89LZO", Packing::Lzo),
];

impl Packing {
    /// By the first bytes.
    pub fn of(bytes: &[u8]) -> Option<Packing> {
        MAGIC
            .iter()
            .find(|(magic, _)| bytes.starts_with(magic))
            .map(|(_, packing)| *packing)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Packing::None => "not packed",
            Packing::Gzip => "gzip",
            Packing::Bzip2 => "bzip2",
            Packing::Lzma => "lzma",
            Packing::Xz => "xz",
            Packing::Lz4 => "lz4",
            Packing::Zstd => "zstd",
            Packing::Lzo => "lzo",
        }
    }
}

/// Unpacks a payload. What follows the packed data, such as the size that the kernel's build appends, is ignored.
///
/// # Errors
/// Unknown packing, damaged data, or more than [`MAX`] bytes.
pub fn unpack(payload: &[u8]) -> Result<Vec<u8>, LoadError> {
    let packing = Packing::of(payload).ok_or(LoadError::UnknownPayload("an unknown method"))?;
    let kind = packing.name();
    let failed = |reason: String| LoadError::Payload { kind, reason };
    let lzma = |e: liblzma::stream::Error| failed(e.to_string());
    let input: Box<dyn Read> = match packing {
        Packing::None => return Ok(payload.to_vec()),
        Packing::Lzo => return Err(LoadError::UnknownPayload(kind)),
        Packing::Lz4 => return lz4(payload),
        Packing::Gzip => Box::new(flate2::bufread::GzDecoder::new(payload)),
        Packing::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(payload)),
        Packing::Zstd => Box::new(
            zstd::Decoder::with_buffer(payload)
                .map_err(|e| failed(e.to_string()))?
                .single_frame(),
        ),
        Packing::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(DECODER_MAX, 0);
            Box::new(liblzma::bufread::XzDecoder::new_stream(
                payload,
                stream.map_err(lzma)?,
            ))
        }
        Packing::Lzma => {
            let stream = liblzma::stream::Stream::new_lzma_decoder(DECODER_MAX);
            Box::new(liblzma::bufread::XzDecoder::new_stream(
                payload,
                stream.map_err(lzma)?,
            ))
        }
    };
    let mut out = Vec::new();
    input
        .take(MAX + 1)
        .read_to_end(&mut out)
        .map_err(|e| failed(e.to_string()))?;
    if out.len() as u64 > MAX {
        return Err(LoadError::PayloadTooLarge { kind });
    }
    Ok(out)
}

/// The legacy form: a magic number, then blocks, each with its packed size in front. The four bytes that the kernel's build appends are no
/// block.
fn lz4(payload: &[u8]) -> Result<Vec<u8>, LoadError> {
    let kind = Packing::Lz4.name();
    let failed = |reason: String| LoadError::Payload { kind, reason };
    let mut out = Vec::new();
    let mut block = vec![0; LZ4_BLOCK];
    let mut rest = payload.get(4..).unwrap_or_default();
    while rest.len() > 4 {
        let size = u32_at(rest, 0).unwrap_or_default() as usize;
        let Some((packed, after)) = rest
            .split_at_checked(4)
            .and_then(|(_, blocks)| blocks.split_at_checked(size))
        else {
            return Err(failed("a block passes the end".into()));
        };
        if size == 0 {
            return Err(failed("an empty block".into()));
        }
        let length = lz4_flex::block::decompress_into(packed, &mut block)
            .map_err(|e| failed(e.to_string()))?;
        if (out.len() + length) as u64 > MAX {
            return Err(LoadError::PayloadTooLarge { kind });
        }
        out.extend_from_slice(block.get(..length).unwrap_or_default());
        rest = after;
    }
    Ok(out)
}

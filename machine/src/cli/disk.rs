//! Disk images: the default one, and hashes of their parts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Size of the default image, in bytes.
pub const DEFAULT_SIZE: u64 = 64 << 20;

/// Fills `file` with the default image: pseudo-random and always the same.
///
/// # Errors
/// Those of the file.
pub fn write_default(file: &mut File) -> io::Result<()> {
    let mut state = 0x5650_494f_4d4d_5531_u64;
    let mut block = vec![0; 1 << 20];
    for _ in 0..DEFAULT_SIZE >> 20 {
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&crate::pseries::random::next(&mut state).to_le_bytes());
        }
        file.write_all(&block)?;
    }
    file.flush()
}

/// SHA-256 of a part of a file, in hexadecimal. The part may not pass the end of the file.
///
/// # Errors
/// Those of the file.
pub fn sha256(path: &Path, range: Range<u64>) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(range.start))?;
    let mut left = range.end - range.start;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    while left > 0 {
        let part = left.min(block.len() as u64) as usize;
        file.read_exact(&mut block[..part])?;
        hash.update(&block[..part]);
        left -= part as u64;
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

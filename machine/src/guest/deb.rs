//! Reads Debian packages: an ar archive with a compressed tar archive in it (deb(5)).

use super::initramfs::Node;
use super::{GuestError, at, malformed};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// The largest single file taken into memory: well above any kernel image.
const MAX_FILE: u64 = 512 << 20;

/// A stream decompressed by what `name` ends in (`.xz`, `.zst`, `.gz`; anything else is passed on as it is).
///
/// # Errors
/// Those of setting up the decoder.
pub fn decompress<'a, R: Read + 'a>(name: &str, input: R) -> std::io::Result<Box<dyn Read + 'a>> {
    Ok(match name.rsplit('.').next().unwrap_or("") {
        "xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(input)),
        "zst" => Box::new(zstd::stream::read::Decoder::new(input)?),
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(input)),
        _ => Box::new(input),
    })
}

/// Calls `use_data` with the package's data archive.
fn with_data<T>(
    package: &Path,
    use_data: impl FnOnce(&mut tar::Archive<Box<dyn Read + '_>>) -> Result<T, GuestError>,
) -> Result<T, GuestError> {
    let file = File::open(package).map_err(at(package))?;
    let mut outer = ar::Archive::new(BufReader::new(file));
    while let Some(member) = outer.next_entry() {
        let member = member.map_err(at(package))?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let name = name.trim_end_matches('/');
        if name == "data.tar" || name.starts_with("data.tar.") {
            let data = decompress(name, member).map_err(at(package))?;
            return use_data(&mut tar::Archive::new(data));
        }
    }
    Err(malformed(
        package,
        "not a Debian package: no data.tar in it",
    ))
}

/// A path of the archive without `./` in front, or none if it leaves the archive's root.
fn clean(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(p) => parts.push(p.to_str()?),
            std::path::Component::CurDir | std::path::Component::RootDir => {}
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

/// The entries of `package` that `wanted` accepts, by name without a slash in front. Hard links become copies of files that are wanted
/// too. Devices are left out, and so are names that leave the package's root.
///
/// # Errors
/// A file that cannot be read, is no package, or holds a file larger than 512 MiB.
pub fn tree(
    package: &Path,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<BTreeMap<String, Node>, GuestError> {
    with_data(package, |archive| {
        let mut found = BTreeMap::new();
        for entry in archive.entries().map_err(at(package))? {
            let mut entry = entry.map_err(at(package))?;
            let Some(name) = clean(&entry.path().map_err(at(package))?) else {
                continue;
            };
            if name.is_empty() || !wanted(&name) {
                continue;
            }
            let mode = entry.header().mode().map_err(at(package))? & 0o7777;
            let link = entry.link_name().map_err(at(package))?;
            let link = link.as_deref();
            let node = match entry.header().entry_type() {
                tar::EntryType::Directory => Node::Dir { mode },
                tar::EntryType::Symlink => Node::Symlink {
                    target: link.unwrap_or(Path::new("")).to_string_lossy().into(),
                },
                tar::EntryType::Link => {
                    let target = link.and_then(clean).and_then(|t| found.get(&t)).cloned();
                    let Some(node) = target else { continue };
                    node
                }
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    if entry.size() > MAX_FILE {
                        return Err(malformed(package, format!("{name} is too large")));
                    }
                    let mut data = Vec::new();
                    entry.read_to_end(&mut data).map_err(at(package))?;
                    Node::File { mode, data }
                }
                _ => continue,
            };
            found.insert(name, node);
        }
        Ok(found)
    })
}

/// Unpacks all of `package` below `folder`. Nothing is written outside of it: names with `..` are left out and links that lead out are not
/// followed. Devices are left out, owners are not kept.
///
/// # Errors
/// A file that cannot be read or is no package, or a folder that cannot be written.
pub fn unpack(package: &Path, folder: &Path) -> Result<(), GuestError> {
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    with_data(package, |archive| {
        for entry in archive.entries().map_err(at(package))? {
            let mut entry = entry.map_err(at(package))?;
            let kind = entry.header().entry_type();
            if kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link() {
                entry.unpack_in(folder).map_err(at(folder))?;
            }
        }
        Ok(())
    })
}

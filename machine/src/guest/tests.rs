//! Offline tests: parsers and writers here, fetching in [`archive`].

mod archive;

use super::apt::{Remote, configuration, depends, parse_uris};
use super::initramfs::{Initramfs, Node};
use super::modules::{ModuleError, Modules, modinfo, module_name};
use super::sources::{Source, debian, parse_deb822, parse_one_line};
use super::{catalogue, deb};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A little-endian ELF64 file with nothing but section names and `.modinfo`.
fn module(info: &[&str]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut text: Vec<u8> = Vec::new();
    for pair in info {
        text.extend(pair.as_bytes());
        text.push(0);
    }
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(0x40, 0);
    let names_at = elf.len() as u64;
    elf.extend(names);
    let info_at = elf.len() as u64;
    elf.extend(&text);
    let table = elf.len() as u64;
    for (name, at, size) in [
        (0u32, 0, 0),
        (1, info_at, text.len() as u64),
        (10, names_at, names.len() as u64),
    ] {
        let mut header = [0u8; 0x40];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&at.to_le_bytes());
        header[0x20..0x28].copy_from_slice(&size.to_le_bytes());
        elf.extend(header);
    }
    elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    elf[0x3a] = 0x40;
    elf[0x3c] = 3;
    elf[0x3e] = 2;
    elf
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A package with a file, a hard link to it, a symbolic link and a name that leaves the root, as a file on disk.
fn package(folder: &Path, compression: &str) -> PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, link: Option<&str>, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        let bytes = name.as_bytes();
        // `set_path` refuses `..`, which is what one of the entries is about.
        header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        if let Some(link) = link {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        tar.append(&header, data).unwrap();
    };
    add("./bin/", tar::EntryType::Directory, None, b"");
    add("./bin/tool", tar::EntryType::Regular, None, b"hello");
    add("./bin/hard", tar::EntryType::Link, Some("./bin/tool"), b"");
    add("./bin/soft", tar::EntryType::Symlink, Some("tool"), b"");
    add("../escaped", tar::EntryType::Regular, None, b"no");
    let data = tar.into_inner().unwrap();
    let data = match compression {
        "xz" => xz(&data),
        "zst" => zstd::encode_all(data.as_slice(), 1).unwrap(),
        _ => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(&data).unwrap();
            encoder.finish().unwrap()
        }
    };
    let file = folder.join(format!("{compression}.deb"));
    std::fs::write(&file, ar(&format!("data.tar.{compression}"), &data)).unwrap();
    file
}

/// The outer archive of a package with the inner one, of this name, in it.
fn ar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut ar = ar::Builder::new(Vec::new());
    for (name, data) in [("debian-binary", b"2.0\n".as_slice()), (name, data)] {
        let header = ar::Header::new(name.as_bytes().to_vec(), data.len() as u64);
        ar.append(&header, data).unwrap();
    }
    ar.into_inner().unwrap()
}

#[test]
fn deb_tree_and_unpack() {
    let outer = tempfile::tempdir().unwrap();
    for compression in ["xz", "zst", "gz"] {
        let file = package(outer.path(), compression);
        let tree = deb::tree(&file, |_| true).unwrap();
        let names: Vec<&str> = tree.keys().map(String::as_str).collect();
        assert_eq!(names, ["bin", "bin/hard", "bin/soft", "bin/tool"]);
        assert_eq!(tree["bin/hard"], tree["bin/tool"]);
        let folder = outer.path().join("inner").join(compression);
        deb::unpack(&file, &folder).unwrap();
        assert_eq!(std::fs::read(folder.join("bin/soft")).unwrap(), b"hello");
        assert!(!outer.path().join("inner/escaped").exists());
    }
}

#[test]
fn damaged_deb_is_an_error() {
    let outer = tempfile::tempdir().unwrap();
    let file = package(outer.path(), "xz");
    let whole = std::fs::read(&file).unwrap();
    for length in [0, 7, 60, whole.len() / 2] {
        std::fs::write(&file, &whole[..length]).unwrap();
        assert!(deb::tree(&file, |_| true).is_err(), "{length} bytes");
    }
}

#[test]
fn modinfo_of_elf() {
    let elf = module(&["license=GPL", "depends=a,b-c", "alias=x=y"]);
    let pairs = modinfo(&elf).unwrap();
    let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
    assert_eq!(
        pairs,
        [
            pair("license", "GPL"),
            pair("depends", "a,b-c"),
            pair("alias", "x=y")
        ]
    );
    for length in 0..elf.len() - 0x40 {
        assert_eq!(modinfo(&elf[..length]), None);
    }
}

#[test]
fn module_names() {
    assert_eq!(module_name("a/nvme-core.ko.xz").unwrap(), "nvme_core");
    assert_eq!(module_name("x.ko").unwrap(), "x");
    assert_eq!(module_name("a/modules.order"), None);
    assert_eq!(module_name("x.kotlin"), None);
}

#[test]
fn modules_in_order() {
    let mut modules = Modules::default();
    modules.add("k/nvme.ko.xz", xz(&module(&["depends=nvme-core"])));
    modules.add(
        "k/nvme-core.ko",
        module(&["depends=t10-pi", "softdep=post: z pre: digest absent"]),
    );
    modules.add("k/t10-pi.ko", module(&["depends="]));
    modules.add("k/digest_generic.ko", module(&["alias=digest"]));
    modules.add("k/z.ko", module(&[]));
    modules.add("k/lost.ko", module(&["depends=nowhere"]));
    let order = modules.in_order(&["nvme", "t10-pi"]).unwrap();
    let names: Vec<&str> = order.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["t10_pi", "digest_generic", "nvme_core", "nvme"]);
    assert_eq!(order[3].1, module(&["depends=nvme-core"]));
    assert_eq!(
        modules.in_order(&["lost"]),
        Err(ModuleError::Missing("nowhere".to_string()))
    );
}

#[test]
fn initramfs_bytes() {
    let mut archive = Initramfs::default();
    archive.add_file("b", 0o644, b"hi".to_vec());
    archive.add("a", Node::Dir { mode: 0o755 });
    let bytes = archive.write(Vec::new()).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let zero = "00000000";
    let a = format!(
        "07070100000001000041ed{zero}{zero}00000002{}00000002{zero}a\0",
        zero.repeat(6)
    );
    assert_eq!(&text[..a.len()], a);
    assert!(text.contains("b\0hi\0\x00070701"));
    assert!(text.contains("TRAILER!!!\0"));
    assert_eq!(bytes.len() % 4, 0);
}

#[test]
fn initramfs_of_check_guest() {
    let modules = [("x".to_string(), b"mod".to_vec())];
    let archive = Initramfs::check_guest(b"box", &modules);
    let nodes = archive.nodes();
    for name in ["init", "usr/bin/busybox", "usr/bin/sh", "modules/00-x.ko"] {
        assert!(nodes.contains_key(name), "{name}");
    }
    let bytes = archive.write(Vec::new()).unwrap();
    assert_eq!(bytes, archive.write(Vec::new()).unwrap());
    assert_eq!(Initramfs::read(bytes.as_slice()).unwrap(), archive);
}

#[test]
fn initramfs_keeps_merged_folders_and_root() {
    let mut archive = Initramfs::new();
    let before = archive.clone();
    archive.add("lib", Node::Dir { mode: 0o755 });
    archive.add_file("../x", 0o644, Vec::new());
    assert_eq!(archive, before);
    archive.add_file("./lib64/ld.so", 0o755, Vec::new());
    assert!(archive.nodes().contains_key("usr/lib64/ld.so"));
}

#[test]
fn sources_of_both_forms() {
    let one = parse_one_line(
        "# deb http://off.invalid/debian x main\ndeb-src http://a.invalid/debian x main\n\
         deb [arch=amd64 signed-by=/k.gpg] http://a.invalid/debian/ x main # note\ndeb http://b.invalid/ubuntu y main\n",
    );
    let source = |uri: &str, key: Option<&str>| Source {
        uri: uri.to_string(),
        signed_by: key.map(PathBuf::from),
    };
    assert_eq!(
        one,
        [
            source("http://a.invalid/debian", Some("/k.gpg")),
            source("http://b.invalid/ubuntu", None)
        ]
    );
    let many = parse_deb822(
        "Types: deb\n# note\nURIs: http://s.invalid/debian-security\nSuites: x\n\n\
         Types: deb\nURIs: http://off.invalid/debian\nEnabled: no\n\n\
         Types: deb deb-src\nURIs: http://c.invalid/other\n http://c.invalid/debian\nSigned-By:\n -----BEGIN\n .\n",
    );
    assert_eq!(
        many.iter().map(|s| s.uri.as_str()).collect::<Vec<_>>(),
        [
            "http://s.invalid/debian-security",
            "http://c.invalid/other",
            "http://c.invalid/debian"
        ]
    );
    assert_eq!(
        debian(&many),
        Some(&source("http://c.invalid/debian", None))
    );
    assert_eq!(debian(&one[1..]), None);
}

#[test]
fn apt_output() {
    let listed = parse_uris(
        "Reading...\n'http://a.invalid/x_1%2b.deb' x_1+_ppc64el.deb 12 SHA256:ab\n'http://a.invalid/y' ../y 1 SHA256:cd\n",
    );
    assert_eq!(
        listed,
        [Remote {
            file: "x_1+_ppc64el.deb".to_string(),
            size: 12,
            sha256: "ab".to_string()
        }]
    );
    let shown = "Package: m\nPre-Depends: z\nDepends: linux-image-6:any (= 1), b | c\n";
    assert_eq!(depends(shown), ["linux-image-6", "b"]);
}

#[test]
fn configuration_checks_signatures() {
    let text = configuration(Path::new("/c"), "bookworm-backports", "ppc64el", "");
    assert!(text.contains("Acquire::AllowInsecureRepositories \"false\""));
    assert!(!text.to_ascii_lowercase().contains("trusted=yes"));
    assert!(text.lines().all(|l| l.ends_with(';')));
}

#[test]
fn catalogue_names() {
    assert!(catalogue::entry(catalogue::DEFAULT).is_ok());
    let error = catalogue::fetch("debian-5", &mut |_, _, _| ()).unwrap_err();
    assert!(error.to_string().contains("debian-6.12-64k"));
}

//! Debian's dynamic ppc64el programs on real data. Each result is what the host computes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use viommu::guest::catalogue;
use viommu::guest::initramfs::Node;
use viommu_tests::file;

use super::{boot, has};
use viommu_tests::scripted::{Scripted, guest, noise, sha256};

const PACKAGES: [&str; 7] = ["bash", "coreutils", "dash", "grep", "gzip", "mawk", "sed"];
/// Programs that the script runs, which must be dynamic ones.
const PROGRAMS: [&str; 9] = [
    "bash",
    "cut",
    "dash",
    "dd",
    "grep",
    "gzip",
    "mawk",
    "sed",
    "sha256sum",
];
const LINES: usize = 150_000;

/// awk goes by the name of the program: busybox has the other one. gzip does not take the time of 0 that files of an initramfs have. The
/// first bytes of the disk get what gzip made.
const SCRIPT: &str = r#"#!/usr/bin/dash
set -e
export LC_ALL=C
cd /tmp
d=/data/lines
say() { echo "test: $*"; }
hash() { sha256sum | cut -d ' ' -f 1; }
say libc $(LD_TRACE_LOADED_OBJECTS=1 /usr/bin/sort | grep -c 'libc.so.6 => /')
say sha256 $(hash < $d)
say sort $(sort $d | hash)
say numbers $(sort -t ' ' -k 2,2n -k 1,1 $d | hash)
say words $(cut -d ' ' -f 1 $d | sort -u | wc -l)
say gunzip $(gunzip -c /data/lines.gz | hash)
gzip -3n < $d > made.gz
say again $(gzip -dc made.gz | hash)
say sums $(mawk '{ n += $2; s += $2 / 7 } END { printf "%.0f %.6f", n, s }' $d)
say fields $(mawk -F ' ' '{ c[substr($1, 1, 1)]++ } END { for (k in c) print k, c[k] }' $d | sort | hash)
say grep $(grep -c '^a.*7$' $d)
say sed $(head -n 30000 $d | sed -e 's/\([a-z]*\) \([0-9]*\)/\2 \1/' -e '/5/d' | hash)
bash -c 'declare -A n; while read -r w _ && ((i++ < 2000)); do n[${w:0:2}]=1; done < "$0"; echo "test: bash ${#n[@]}"' $d
dd if=made.gz of=/dev/nvme0n1 bs=64K conv=notrunc,fsync 2>/dev/null
say size $(stat -c %s made.gz)
"#;

/// Lines of a word and a number.
fn lines() -> Vec<(String, u64)> {
    let words = noise(LINES * 16);
    words
        .chunks_exact(16)
        .map(|bytes| {
            let letters = bytes[..4 + usize::from(bytes[0] & 7)].iter();
            let word = letters.map(|b| char::from(b'a' + b % 26)).collect();
            let number = u64::from_le_bytes(bytes[8..].try_into().unwrap());
            (word, number % 10_000_000)
        })
        .collect()
}

fn join<'a>(lines: impl IntoIterator<Item = &'a (String, u64)>) -> String {
    lines.into_iter().fold(String::new(), |mut text, (w, n)| {
        writeln!(text, "{w} {n}").unwrap();
        text
    })
}

fn hash_lines(lines: &[String]) -> String {
    sha256((lines.join("\n") + "\n").as_bytes())
}

#[test]
fn dynamic_programs_compute_what_the_host_computes() {
    let lines = lines();
    let text = join(&lines);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();

    let guest = guest();
    let archive = catalogue::with_userland(&guest, &PACKAGES, &mut |_, _, _| ()).unwrap();
    for name in PROGRAMS {
        let dynamic = match archive.nodes().get(&format!("usr/bin/{name}")) {
            Some(Node::File { data, .. }) => data.windows(8).any(|w| w == b"/ld64.so"),
            _ => false,
        };
        assert!(dynamic, "{name} is no dynamic program");
    }
    let data = [("lines", text.as_bytes()), ("lines.gz", &packed[..])];
    let scripted = Scripted::with(&guest, archive, SCRIPT, &data);
    let disk = file(scripted.folder(), "disk.img", &vec![0; 4 << 20]);
    let boot = boot(&scripted.args(&["--disk", &disk]));

    for (what, value) in expected(&lines, &text) {
        has(&boot, &format!("test: {what} {value}\r"));
    }
    has(&boot, "viommu-init: run /test status 0");
    // What the guest's gzip made, the host unpacks.
    let mut unpacked = String::new();
    GzDecoder::new(&std::fs::read(&disk).unwrap()[..])
        .read_to_string(&mut unpacked)
        .unwrap();
    assert!(unpacked == text, "the guest's gzip lost something");
}

/// The script's results as the host finds them.
fn expected(lines: &[(String, u64)], text: &str) -> Vec<(&'static str, String)> {
    let mut sorted: Vec<String> = text.lines().map(str::to_owned).collect();
    sorted.sort();
    let mut by_number = lines.to_vec();
    by_number.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    let words: BTreeSet<&str> = lines.iter().map(|(w, _)| w.as_str()).collect();
    let sum: u64 = lines.iter().map(|(_, n)| n).sum();
    let sevenths = lines.iter().fold(0.0, |s, (_, n)| s + *n as f64 / 7.0);
    let mut letters = std::collections::BTreeMap::new();
    for (word, _) in lines {
        *letters.entry(&word[..1]).or_insert(0) += 1;
    }
    let letters: Vec<String> = letters.iter().map(|(k, n)| format!("{k} {n}")).collect();
    let grep = lines
        .iter()
        .filter(|(w, n)| w.starts_with('a') && n % 10 == 7)
        .count();
    let turned: Vec<String> = lines[..30_000]
        .iter()
        .map(|(w, n)| format!("{n} {w}"))
        .filter(|l| !l.contains('5'))
        .collect();
    let pairs: BTreeSet<&str> = lines[..2000].iter().map(|(w, _)| &w[..2]).collect();
    vec![
        ("libc", "1".into()),
        ("sha256", sha256(text.as_bytes())),
        ("sort", hash_lines(&sorted)),
        ("numbers", sha256(join(&by_number).as_bytes())),
        ("words", words.len().to_string()),
        ("gunzip", sha256(text.as_bytes())),
        ("again", sha256(text.as_bytes())),
        ("sums", format!("{sum} {sevenths:.6}")),
        ("fields", hash_lines(&letters)),
        ("grep", grep.to_string()),
        ("sed", hash_lines(&turned)),
        ("bash", pairs.len().to_string()),
    ]
}

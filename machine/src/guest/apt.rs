//! Downloads Debian packages with the host's apt programs and a configuration of our own.
//!
//! Every (suite, architecture) has a folder of its own with lists, cache and status, so that neither the host's configuration nor its
//! package state is read or changed and no root is needed. Only the archive's address, the keyring and the proxy are taken from the host.
//! Signatures are always checked.

use super::command::run;
use super::initramfs::Node;
use super::{GuestError, Progress, at, deb, malformed, sources};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where Debian keeps the archive's keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The release whose keys every supported host has. Its keyring package knows the keys of later ones.
const OLD_RELEASE: &str = "bookworm";
/// Package lists older than this are fetched anew.
const LISTS_AGE: Duration = Duration::from_secs(24 * 3600);

/// Packages of the Debian archive that the host's apt is configured for.
#[derive(Debug)]
pub struct Packages {
    /// The cache folder.
    cache: PathBuf,
    /// Address of the archive.
    uri: String,
    /// Keys that sign it.
    keyring: PathBuf,
    /// Proxy settings of the host, as lines of a configuration.
    proxy: String,
}

/// One package file that apt would download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Name of the file.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
}

impl Packages {
    /// Finds the archive and its keyring; packages are kept below `cache`. The variables `VIOMMU_DEBIAN_MIRROR` and
    /// `VIOMMU_DEBIAN_KEYRING` replace what the host's configuration says.
    ///
    /// # Errors
    /// No apt, no Debian archive configured, or no keyring.
    pub fn open(cache: &Path) -> Result<Packages, GuestError> {
        let dump = Command::new("apt-config")
            .args(["dump", "--no-empty", "Acquire"])
            .output()
            .map_err(|_| GuestError::NoApt)?;
        let proxy: String = String::from_utf8_lossy(&dump.stdout)
            .lines()
            .filter(|line| line.to_ascii_lowercase().contains("proxy"))
            .map(|line| format!("{line}\n"))
            .collect();
        let configured = sources::read(Path::new("/etc/apt"));
        let debian = sources::debian(&configured);
        let uri = match std::env::var("VIOMMU_DEBIAN_MIRROR") {
            Ok(uri) if !uri.is_empty() => uri.trim_end_matches('/').to_string(),
            _ => debian.ok_or(GuestError::NoMirror)?.uri.clone(),
        };
        let keyring = std::env::var_os("VIOMMU_DEBIAN_KEYRING")
            .map(PathBuf::from)
            .or_else(|| debian.and_then(|d| d.signed_by.clone()))
            .unwrap_or_else(|| PathBuf::from(KEYRING));
        Packages::of(cache, uri, keyring, proxy)
    }

    /// Packages of the archive at `uri`, signed by a key of `keyring`, fetched with apt's `proxy` settings and kept below `cache`.
    pub(super) fn of(
        cache: &Path,
        uri: String,
        keyring: PathBuf,
        proxy: String,
    ) -> Result<Packages, GuestError> {
        if !keyring.is_file() {
            return Err(GuestError::NoKeyring(keyring));
        }
        Ok(Packages {
            cache: cache.to_path_buf(),
            uri,
            keyring,
            proxy,
        })
    }

    /// Downloads the named packages of `suite` for `arch` (or finds them in the cache) and gives their files in the order of `names`.
    ///
    /// # Errors
    /// apt fails, or a file does not have the hash that the signed lists say.
    pub fn fetch(
        &self,
        names: &[&str],
        suite: &str,
        arch: &str,
        progress: Progress<'_>,
    ) -> Result<Vec<PathBuf>, GuestError> {
        let setup = self.setup(suite, arch, progress)?;
        let mut args = vec!["--print-uris", "download"];
        args.extend(names);
        let remotes = parse_uris(&setup.apt("apt-get", &args)?);
        let debs = self.cache.join("debs");
        fs::create_dir_all(&debs).map_err(at(&debs))?;
        let mut files = Vec::new();
        for name in names {
            let remote = remotes
                .iter()
                .find(|r| r.file.split('_').next() == Some(name))
                .ok_or_else(|| GuestError::Apt {
                    command: format!("apt-get download {name}"),
                    output: format!("no package {name} for {arch} in {suite}"),
                })?;
            files.push(self.fetch_one(&setup, name, remote, &debs, progress)?);
        }
        Ok(files)
    }

    /// Like [`Packages::fetch`], with all packages that the named ones depend on. The order is apt's.
    ///
    /// # Errors
    /// As [`Packages::fetch`].
    pub fn fetch_with_dependencies(
        &self,
        names: &[&str],
        suite: &str,
        arch: &str,
        progress: Progress<'_>,
    ) -> Result<Vec<PathBuf>, GuestError> {
        let setup = self.setup(suite, arch, progress)?;
        let mut args = vec![
            "--yes",
            "--print-uris",
            "--no-install-recommends",
            "install",
        ];
        args.extend(names);
        let listed = parse_uris(&setup.apt("apt-get", &args)?);
        let all: Vec<&str> = listed
            .iter()
            .filter_map(|r| r.file.split('_').next())
            .collect();
        // `fetch` takes the same lock.
        drop(setup);
        self.fetch(&all, suite, arch, progress)
    }

    /// The newest package that the meta package `meta` depends on and whose name starts with `prefix`, for example
    /// `linux-image-6.12.1+deb13-powerpc64le` for `linux-image-powerpc64le` and `linux-image-`.
    ///
    /// # Errors
    /// apt fails or there is no such dependency.
    pub fn resolve(
        &self,
        meta: &str,
        prefix: &str,
        suite: &str,
        arch: &str,
        progress: Progress<'_>,
    ) -> Result<String, GuestError> {
        self.dependencies(meta, suite, arch, progress)?
            .into_iter()
            .find(|name| name.starts_with(prefix))
            .ok_or_else(|| GuestError::Apt {
                command: format!("apt-cache show {meta}"),
                output: format!("no dependency on {prefix}* in {suite}"),
            })
    }

    /// The packages that the newest `name` depends on, of alternatives the first.
    ///
    /// # Errors
    /// apt fails.
    pub fn dependencies(
        &self,
        name: &str,
        suite: &str,
        arch: &str,
        progress: Progress<'_>,
    ) -> Result<Vec<String>, GuestError> {
        let setup = self.setup(suite, arch, progress)?;
        let shown = setup.apt("apt-cache", &["show", "--no-all-versions", name])?;
        Ok(depends(&shown))
    }

    fn fetch_one(
        &self,
        setup: &Setup,
        name: &str,
        remote: &Remote,
        debs: &Path,
        progress: Progress<'_>,
    ) -> Result<PathBuf, GuestError> {
        let file = debs.join(&remote.file);
        if file.is_file() && sha256_file(&file)? == remote.sha256 {
            return Ok(file);
        }
        let folder = tempfile::tempdir_in(&self.cache).map_err(at(&self.cache))?;
        let mut command = setup.command("apt-get");
        command
            .args(["-q", "download", name])
            .current_dir(folder.path());
        let part = folder.path().join(&remote.file);
        run(command, &format!("apt-get download {name}"), || {
            let done = fs::metadata(&part).map_or(0, |m| m.len());
            progress(name, done, remote.size);
        })?;
        progress(name, remote.size, remote.size);
        if sha256_file(&part)? != remote.sha256 {
            return Err(malformed(&part, "wrong hash"));
        }
        fs::rename(&part, &file).map_err(at(&file))?;
        Ok(file)
    }

    /// The private configuration for a suite, with lists at most a day old. Old lists serve if new ones cannot be had.
    fn setup(&self, suite: &str, arch: &str, progress: Progress<'_>) -> Result<Setup, GuestError> {
        let folder = self.cache.join("apt").join(format!("{suite}-{arch}"));
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let lock_file = folder.join("viommu.lock");
        let lock = File::create(&lock_file).map_err(at(&lock_file))?;
        lock.lock().map_err(at(&lock_file))?;
        let setup = Setup {
            folder,
            _lock: lock,
        };
        // Lists from another archive, or verified by somebody with other keys, do not count.
        let origin = format!("{} {}\n", self.uri, sha256_file(&self.keyring)?);
        let stamp = setup.folder.join("updated");
        let have = fs::read_to_string(&stamp).is_ok_and(|text| text == origin);
        let fresh = fs::metadata(&stamp)
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().is_ok_and(|age| age < LISTS_AGE));
        let newer = self.newer_keyring_path()?;
        let keyring = if newer.is_file() {
            &newer
        } else {
            &self.keyring
        };
        setup.write(self, suite, arch, keyring)?;
        if have && fresh {
            return Ok(setup);
        }
        progress("package lists", 0, 0);
        let mut updated = setup.update();
        if let Err(GuestError::Apt { output, .. }) = &updated
            && lacks_key(output)
            && !suite.starts_with(OLD_RELEASE)
            && !newer.is_file()
        {
            self.fetch_newer_keyring(&newer, progress)?;
            setup.write(self, suite, arch, &newer)?;
            updated = setup.update();
        }
        match updated {
            Ok(()) => {
                fs::write(&stamp, origin).map_err(at(&stamp))?;
                Ok(setup)
            }
            Err(error) if have => {
                log::warn!("using old package lists of {suite}: {error}");
                Ok(setup)
            }
            Err(error) => Err(error),
        }
    }

    /// Where a keyring is kept that was verified with this one. Its name says with which, so that it never serves somebody who trusts
    /// other keys.
    fn newer_keyring_path(&self) -> Result<PathBuf, GuestError> {
        let mut hash = sha256_file(&self.keyring)?;
        hash.truncate(16);
        Ok(self.cache.join(format!("apt/keyring-{hash}.gpg")))
    }

    /// Makes `keyring`, which may know younger releases: from the package of the release whose keys the host does have.
    fn fetch_newer_keyring(
        &self,
        keyring: &Path,
        progress: Progress<'_>,
    ) -> Result<(), GuestError> {
        let names = ["debian-archive-keyring"];
        let packages = self.fetch(&names, OLD_RELEASE, "all-ppc64el", progress)?;
        let package = packages.first().ok_or(GuestError::NoMirror)?;
        let inside = KEYRING.trim_start_matches('/');
        // Later packages have the keyring as .pgp and this name as a link to it.
        let files = deb::tree(package, |name| {
            name.strip_suffix(".gpg").or(name.strip_suffix(".pgp")) == inside.strip_suffix(".gpg")
        })?;
        let data = files.values().find_map(|node| match node {
            Node::File { data, .. } => Some(data),
            _ => None,
        });
        let data = data.ok_or_else(|| malformed(package, format!("no {inside} in it")))?;
        let mut part = tempfile::NamedTempFile::new_in(&self.cache).map_err(at(&self.cache))?;
        part.write_all(data).map_err(at(keyring))?;
        part.persist(keyring).map_err(|e| at(keyring)(e.error))?;
        Ok(())
    }
}

/// Whether apt says that the key of a signature is not in the keyring: gpgv's words, and sqv's.
fn lacks_key(output: &str) -> bool {
    output.contains("NO_PUBKEY") || output.contains("Missing key")
}

/// A private configuration, locked against other processes.
struct Setup {
    folder: PathBuf,
    _lock: File,
}

impl Setup {
    fn write(
        &self,
        packages: &Packages,
        suite: &str,
        arch: &str,
        keyring: &Path,
    ) -> Result<(), GuestError> {
        for part in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/parts",
            "etc/preferences.d",
            "log",
        ] {
            let path = self.folder.join(part);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        let arch = arch.strip_prefix("all-").unwrap_or(arch);
        // A backports suite holds only what it adds to its release.
        let suites = match suite.strip_suffix("-backports") {
            Some(release) => format!("{release} {suite}"),
            None => suite.to_string(),
        };
        let put = |name: &str, text: String| {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(at(&path))
        };
        put("state/status", String::new())?;
        put(
            "etc/sources.sources",
            format!(
                "Types: deb\nURIs: {}\nSuites: {suites}\nComponents: main\nSigned-By: {}\n",
                packages.uri,
                keyring.display()
            ),
        )?;
        put(
            "apt.conf",
            configuration(&self.folder, suite, arch, &packages.proxy),
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    fn apt(&self, program: &str, args: &[&str]) -> Result<String, GuestError> {
        let mut command = self.command(program);
        command.args(args);
        let output = run(command, &format!("{program} {}", args.join(" ")), || {})?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn update(&self) -> Result<(), GuestError> {
        self.apt(
            "apt-get",
            &["-q", "-o", "APT::Update::Error-Mode=any", "update"],
        )
        .map(|_| ())
    }
}

/// The private apt configuration (apt.conf(5)): all folders below `folder`, one
/// architecture, signatures required, packages of `suite` before those of its release. Signed lists do not expire: those of a stable
/// release never do, and a mirror that is behind still serves kernels that are good enough for a guest.
pub(super) fn configuration(folder: &Path, suite: &str, arch: &str, proxy: &str) -> String {
    let f = folder.display();
    format!(
        "Dir \"{f}\";\nDir::State \"{f}/state\";\nDir::State::status \"{f}/state/status\";\nDir::Cache \"{f}/cache\";\n\
         Dir::Log \"{f}/log\";\nDir::Etc \"{f}/etc\";\nDir::Etc::parts \"{f}/etc/parts\";\nDir::Etc::main \"{f}/etc/none\";\n\
         Dir::Etc::sourcelist \"{f}/etc/sources.sources\";\nDir::Etc::sourceparts \"{f}/etc/parts\";\n\
         Dir::Bin::methods \"/usr/lib/apt/methods\";\n\
         APT::Default-Release \"{suite}\";\nAPT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\n\
         APT::Sandbox::User \"\";\nAPT::Get::AllowUnauthenticated \"false\";\n\
         Acquire::AllowInsecureRepositories \"false\";\nAcquire::AllowWeakRepositories \"false\";\n\
         Acquire::AllowDowngradeToInsecureRepositories \"false\";\nAcquire::ForceHash \"SHA256\";\n\
         Acquire::Check-Valid-Until \"false\";\n\
         Acquire::Languages \"none\";\nAcquire::Retries \"2\";\n{proxy}"
    )
}

/// Parses the lines of `apt-get --print-uris`: `'URI' FILE SIZE KIND:HASH`. The hash is empty if it is not SHA-256.
pub(super) fn parse_uris(text: &str) -> Vec<Remote> {
    let line = |line: &str| {
        let (_, rest) = line.strip_prefix('\'')?.split_once('\'')?;
        let mut words = rest.split_whitespace();
        let file = words.next()?.to_string();
        let size = words.next()?.parse().ok()?;
        let sha256 = words
            .find_map(|w| w.strip_prefix("SHA256:"))
            .unwrap_or("")
            .to_string();
        // The name becomes a path below the cache.
        (!file.contains('/')).then_some(Remote { file, size, sha256 })
    };
    text.lines().filter_map(line).collect()
}

/// The package names in the first `Depends:` field of `apt-cache show`, without versions; of alternatives the first.
pub(super) fn depends(shown: &str) -> Vec<String> {
    let field = shown.lines().find_map(|l| l.strip_prefix("Depends:"));
    field
        .unwrap_or("")
        .split(',')
        .filter_map(|d| d.split_whitespace().next())
        .map(|d| d.split(':').next().unwrap_or(d).to_string())
        .collect()
}

/// The SHA-256 of a file as lower-case hexadecimal digits.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String, GuestError> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(at(path))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

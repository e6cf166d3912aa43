//! A stock kernel of Debian: which one, and its files, kept in `$XDG_CACHE_HOME/weir/kernels`. What is there is used as
//! it is; remove a line's folder to have its newest kernel fetched again.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use super::apt::Apt;

/// The oldest line that Weir runs on.
const OLDEST: Line = Line(5, 15);

/// Modules that the tests need where the kernel has them as modules, each after those it depends on.
const MODULES: &[&str] =
    &["llc", "stp", "bridge", "veth", "inet_diag", "tcp_diag", "libcrc32c", "nfnetlink", "nf_tables", "x_tables"];

/// A line of kernels: 6.12 is all of 6.12.1, 6.12.2, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line(u32, u32);

impl Line {
    /// True if Weir must refuse to run on it.
    pub(super) fn is_too_old(self) -> bool {
        self < OLDEST
    }
}

impl FromStr for Line {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |text: &str| text.parse().map_err(|_| "a line of kernels is written like 6.12");
        let (major, minor) = text.split_once('.').ok_or("a line of kernels is written like 6.12")?;
        Ok(Self(parse(major)?, parse(minor)?))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The files of one kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    pub(super) image: PathBuf,
    /// Uncompressed modules; by name in the order to load them.
    pub(super) modules: PathBuf,
}

/// The kernel that is kept for a line, or the newest of Debian's, which is kept from then on.
///
/// # Errors
/// If there is none, or it cannot be fetched.
pub(super) fn find(line: Line) -> Result<Kernel> {
    let cache = cache()?;
    let folder = cache.join(line.to_string());
    if !folder.exists() {
        fetch(line, &cache, &folder)?;
    }
    let release = fs::read_to_string(folder.join("release")).context("the kept kernel has no name")?;
    Ok(Kernel { release, image: folder.join("vmlinuz"), modules: folder.join("modules") })
}

fn cache() -> Result<PathBuf> {
    let variable = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = variable.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    Ok(cache.context("there is no home directory to keep kernels in")?.join("weir/kernels"))
}

/// Fetches beside the folder and puts it in place when it is whole.
fn fetch(line: Line, cache: &Path, folder: &Path) -> Result<()> {
    let apt = Apt::new(&cache.join("apt"))?;
    let names = apt.package_names()?;
    let release = newest(line, &names).with_context(|| format!("Debian has no Linux {line} (any more)"))?;
    let fetched = cache.join(format!("{line}.part"));
    let _ = fs::remove_dir_all(&fetched);
    fs::create_dir_all(fetched.join("modules"))?;
    for package in packages(&release, &names) {
        apt.unpack(&package, &fetched.join("unpacked"))?;
    }
    let unpacked = fetched.join("unpacked");
    let places = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
    let image = places.iter().map(|place| unpacked.join(place)).find(|place| place.exists());
    fs::copy(image.context("the package has no kernel where kernels are")?, fetched.join("vmlinuz"))?;
    for (number, name) in (10..).zip(MODULES) {
        if let Some(module) = find_module(&unpacked, name)? {
            uncompress(&module, &fetched.join(format!("modules/{number}-{name}.ko")))?;
        }
    }
    fs::write(fetched.join("release"), &release)?;
    fs::remove_dir_all(&unpacked)?;
    Ok(fs::rename(&fetched, folder)?)
}

/// The release with the highest version among the packages of a line, of the flavour for virtual machines.
fn newest(line: Line, names: &[String]) -> Option<String> {
    let releases = names.iter().filter_map(|name| {
        let release = name.strip_prefix("linux-image-").or_else(|| name.strip_prefix("linux-binary-"))?;
        // Other kinds have a word before the version: `unsigned-`, `rt-`.
        let version = release.strip_suffix("-cloud-amd64").filter(|version| version.starts_with(char::is_numeric))?;
        let figures: Vec<u32> =
            version.split(|letter: char| !letter.is_ascii_digit()).filter_map(|figure| figure.parse().ok()).collect();
        // With two figures it is a name for whatever is newest.
        (figures.len() > 2 && figures.starts_with(&[line.0, line.1])).then_some((figures, release))
    });
    releases.max().map(|(_, release)| release.to_owned())
}

/// One package, or in later releases one for the kernel and one for the modules.
fn packages(release: &str, names: &[String]) -> Vec<String> {
    let split: Vec<String> = ["binary", "modules"].map(|part| format!("linux-{part}-{release}")).into();
    if split.iter().all(|name| names.contains(name)) { split } else { vec![format!("linux-image-{release}")] }
}

fn find_module(below: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(below)? {
        let path = entry?.path();
        let found = if path.is_symlink() {
            None
        } else if path.is_dir() {
            find_module(&path, name)?
        } else {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            file.strip_prefix(name).is_some_and(|rest| rest == ".ko" || rest == ".ko.xz").then(|| path.clone())
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn uncompress(module: &Path, to: &Path) -> Result<()> {
    if module.extension().is_some_and(|extension| extension == "ko") {
        fs::copy(module, to)?;
        return Ok(());
    }
    let output = Command::new("xz").args(["--decompress", "--stdout"]).arg(module).output().context("running xz")?;
    ensure!(output.status.success(), "xz cannot read {}", module.display());
    Ok(fs::write(to, output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_line_is_found_among_all_packages() {
        let names: Vec<String> = [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-unsigned-7.2.12+deb13-cloud-amd64",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-modules-7.2.12+deb13-cloud-amd64",
        ]
        .map(str::to_owned)
        .into();
        for (line, release) in [
            ("6.1", Some("6.1.0-56-cloud-amd64")),
            ("6.12", Some("6.12.117+deb12-cloud-amd64")),
            ("7.2", Some("7.2.12+deb13-cloud-amd64")),
            ("5.10", None),
        ] {
            assert_eq!(newest(line.parse().unwrap(), &names).as_deref(), release, "{line}");
        }
        assert_eq!(packages("6.1.0-56-cloud-amd64", &names), ["linux-image-6.1.0-56-cloud-amd64"]);
        assert_eq!(packages("7.2.12+deb13-cloud-amd64", &names).len(), 2);
    }

    #[test]
    fn lines_compare_as_versions() {
        let line = |text: &str| text.parse::<Line>().unwrap();
        assert!(line("5.10").is_too_old() && line("5.4").is_too_old());
        assert!(!line("5.15").is_too_old() && !line("6.1").is_too_old());
        assert!("6".parse::<Line>().is_err() && "6.x".parse::<Line>().is_err());
    }
}

//! An apt of its own, which knows suites of Debian that this machine may not have, and downloads. It never installs and
//! touches no file outside its folder. Packages are checked with Debian's keys, which must be on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::step;

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Small suites that together have every long-term kernel of Debian's releases, and recent ones.
const SUITES: &[(&str, &str)] = &[
    ("debian-security", "bullseye-security"),
    ("debian-security", "bookworm-security"),
    ("debian-security", "trixie-security"),
    ("debian", "trixie-backports"),
];

/// A folder with settings, package lists and downloads.
pub(super) struct Apt(PathBuf);

impl Apt {
    /// Makes the folder.
    ///
    /// # Errors
    /// If Debian's keys are not on this machine.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        ensure!(Path::new(KEYS).exists(), "Debian's keys are not here: install debian-archive-keyring");
        for part in ["lists/partial", "archives/partial", "download"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let sources: String = SUITES
            .iter()
            .map(|(archive, suite)| format!("deb [signed-by={KEYS}] http://deb.debian.org/{archive} {suite} main\n"))
            .collect();
        fs::write(folder.join("sources.list"), sources)?;
        fs::write(folder.join("status"), "")?;
        let here = folder.display();
        let settings = format!(
            "Dir::State \"{here}\";\nDir::State::lists \"{here}/lists\";\nDir::State::status \"{here}/status\";\n\
             Dir::Cache \"{here}\";\nDir::Etc::sourcelist \"{here}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\nAPT::Architecture \"amd64\";\nAcquire::Languages \"none\";\n\
             Acquire::Retries \"2\";\nAPT::Sandbox::User \"\";\nAPT::Update::Post-Invoke-Success {{}};\n"
        );
        fs::write(folder.join("apt.conf"), settings)?;
        Ok(Self(folder.to_owned()))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.current_dir(self.0.join("download")).env("APT_CONFIG", self.0.join("apt.conf")).args(arguments);
        step::output(&mut command)
    }

    /// The names of all kernel packages there are now.
    ///
    /// # Errors
    /// If the package lists cannot be fetched.
    pub(super) fn package_names(&self) -> Result<Vec<String>> {
        self.run("apt-get", &["--quiet", "--error-on=any", "update"]).context("fetching Debian's package lists")?;
        Ok(self.run("apt-cache", &["pkgnames", "linux-"])?.lines().map(str::to_owned).collect())
    }

    /// Downloads a package and unpacks its files into a folder.
    ///
    /// # Errors
    /// If it cannot be downloaded or is not what Debian signed.
    pub(super) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let download = self.0.join("download");
        fs::remove_dir_all(&download)?;
        fs::create_dir(&download)?;
        self.run("apt-get", &["--quiet", "download", package])?;
        fs::create_dir_all(into)?;
        for file in fs::read_dir(&download)? {
            step::output(Command::new("dpkg-deb").arg("--extract").arg(file?.path()).arg(into))?;
        }
        fs::remove_dir_all(&download)?;
        Ok(fs::create_dir(&download)?)
    }
}

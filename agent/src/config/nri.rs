//! Setting of enrolment on the container runtime's own word: where its Node Resource Interface (NRI) is.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

/// Where container runtimes have the socket unless told otherwise.
const USUAL: &str = "/var/run/nri/nri.sock";

/// Enrolment of pods before their first process runs, on the word of the container runtime.
#[derive(Debug, Clone, Args)]
pub struct NriConfig {
    /// Socket of the container runtime's NRI (containerd since 1.7, CRI-O), which asks the agent about every new pod before
    /// it makes its containers; `auto` is /var/run/nri/nri.sock while there is one; `off` asks nobody to ask.
    #[arg(long, env = "WEIR_NRI_SOCKET", default_value = "auto")]
    pub nri_socket: NriSocket,
}

/// Where NRI is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NriSocket {
    /// Where it usually is, if it is there.
    Auto,
    /// Nowhere that we care for.
    Off,
    /// Here, and it is a fault if it is not.
    At(PathBuf),
}

impl FromStr for NriSocket {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" | "" => Self::Auto,
            "off" => Self::Off,
            path => Self::At(path.into()),
        })
    }
}

impl NriSocket {
    /// As it is written.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Off => "off".to_owned(),
            Self::At(path) => path.display().to_string(),
        }
    }

    /// The socket to connect to, if any.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Auto => Some(Path::new(USUAL)),
            Self::Off => None,
            Self::At(path) => Some(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_or_a_path_is_what_it_was_written_as() {
        for (text, path, written) in [
            ("auto", Some(USUAL), "auto"),
            ("", Some(USUAL), "auto"),
            ("off", None, "off"),
            ("/run/other.sock", Some("/run/other.sock"), "/run/other.sock"),
        ] {
            let Ok(socket) = text.parse::<NriSocket>();
            assert_eq!((socket.path(), socket.text().as_str()), (path.map(Path::new), written), "{text:?}");
        }
    }
}

//! Setting of enrolment on the container runtime's own word: where its Node Resource Interface (NRI) is.

use std::path::Path;

use clap::Args;

use super::Location;

/// Where container runtimes have the socket unless told otherwise.
const USUAL: &str = "/var/run/nri/nri.sock";

/// Enrolment of pods before their first process runs, on the word of the container runtime.
#[derive(Debug, Clone, Args)]
pub struct NriConfig {
    /// Socket of the container runtime's NRI (containerd since 1.7, CRI-O), which asks the agent about every new pod before
    /// it makes its containers; `auto` is /var/run/nri/nri.sock while there is one; `off` asks nobody to ask.
    #[arg(long, env = "WEIR_NRI_SOCKET", default_value = "auto")]
    pub nri_socket: Location,
}

impl NriConfig {
    /// The socket to connect to, if any.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match &self.nri_socket {
            Location::Auto => Some(Path::new(USUAL)),
            Location::Off => None,
            Location::At(path) => Some(path),
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
            let Ok(nri_socket) = text.parse::<Location>();
            let config = NriConfig { nri_socket };
            let seen = (config.socket(), config.nri_socket.text());
            assert_eq!(seen, (path.map(Path::new), written.to_owned()), "{text:?}");
        }
    }
}

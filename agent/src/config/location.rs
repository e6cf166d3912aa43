//! Something of the node that is found by looking, unless a setting says where it is or that it is not wanted.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// To be looked for; it is no fault if there is none.
    Auto,
    /// Nowhere that we care for.
    Off,
    /// Here, and it is a fault if it is not.
    At(PathBuf),
}

impl FromStr for Location {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" | "" => Self::Auto,
            "off" => Self::Off,
            path => Self::At(path.into()),
        })
    }
}

impl Location {
    /// As it is written.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Off => "off".to_owned(),
            Self::At(path) => path.display().to_string(),
        }
    }
}

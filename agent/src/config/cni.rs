//! Settings of the CNI plugin: where the node keeps its plugins and their configuration, and how long pods wait.

use std::path::{Path, PathBuf};

use clap::Args;

/// The plugin's file, beside the agent's own.
const PLUGIN: &str = "weir-cni";

/// Enrolment of pods before their first process runs.
#[derive(Debug, Clone, Args)]
pub struct CniConfig {
    /// Keep the CNI plugin installed on this node while both directories are given; off touches neither, but what is there
    /// of ours goes when Weir is uninstalled.
    #[arg(long, env = "WEIR_CNI", value_enum, default_value_t = CniArg::On)]
    pub cni: CniArg,
    /// The node's directory of CNI plugins, such as /host/opt/cni/bin.
    #[arg(long, env = "WEIR_CNI_BIN_DIR", requires = "cni_conf_dir")]
    pub cni_bin_dir: Option<PathBuf>,
    /// The node's directory of CNI configurations, such as /host/etc/cni/net.d.
    #[arg(long, env = "WEIR_CNI_CONF_DIR", requires = "cni_bin_dir")]
    pub cni_conf_dir: Option<PathBuf>,
    /// The plugin to install; the file weir-cni beside the agent's own program unless given.
    #[arg(long, env = "WEIR_CNI_PLUGIN")]
    pub cni_plugin: Option<PathBuf>,
    /// Seconds that a new pod of a mesh namespace waits for an agent. Then its sandbox fails, and the kubelet tries again.
    #[arg(long, env = "WEIR_CNI_TIMEOUT_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub cni_timeout_seconds: u64,
    /// Seconds that any other new pod waits for an agent. Then it starts all the same: it is not known to be for the mesh.
    #[arg(long, env = "WEIR_CNI_OTHERS_TIMEOUT_SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub cni_others_timeout_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CniArg {
    On,
    Off,
}

impl CniConfig {
    /// The directories of plugins and of configurations, if the plugin is to be installed there.
    #[must_use]
    pub fn directories(&self) -> Option<(&Path, &Path)> {
        self.given().filter(|_| self.cni == CniArg::On)
    }

    /// The directories of plugins and of configurations, where the plugin may be from an agent with other settings.
    #[must_use]
    pub fn given(&self) -> Option<(&Path, &Path)> {
        self.cni_bin_dir.as_deref().zip(self.cni_conf_dir.as_deref())
    }

    /// The plugin that came with the agent.
    ///
    /// # Errors
    /// When the agent's own program cannot be found.
    pub fn plugin(&self) -> std::io::Result<PathBuf> {
        match &self.cni_plugin {
            Some(plugin) => Ok(plugin.clone()),
            None => Ok(std::env::current_exe()?.with_file_name(PLUGIN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[command(flatten)]
        cni: CniConfig,
    }

    #[test]
    fn the_plugin_is_installed_where_both_directories_are_given() {
        let parse = |flags: &[&str]| Settings::try_parse_from(std::iter::once("weir").chain(flags.iter().copied()));
        for (flags, expected) in [
            (&[][..], Some(false)),
            (&["--cni-bin-dir=/b", "--cni-conf-dir=/c"][..], Some(true)),
            (&["--cni-bin-dir=/b", "--cni-conf-dir=/c", "--cni=off"][..], Some(false)),
            (&["--cni=on"][..], Some(false)),
            (&["--cni-bin-dir=/b"][..], None),
            (&["--cni-conf-dir=/c"][..], None),
            (&["--cni-timeout-seconds=0"][..], None),
            (&["--cni-timeout-seconds=101"][..], None),
        ] {
            let installed = parse(flags).ok().map(|settings| settings.cni.directories().is_some());
            assert_eq!(installed, expected, "{flags:?}");
        }
        let beside = parse(&[]).expect("nothing is required").cni.plugin().expect("we are a program");
        assert_eq!(beside.file_name().and_then(|name| name.to_str()), Some(PLUGIN));
    }
}

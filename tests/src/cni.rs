//! A container runtime in small: calls the CNI plugin for a pod as CNI's specification says, and keeps the node's two
//! directories of plugins and configurations.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::agent::binary;
use crate::world::{Node, Pod};

/// The configuration that a node's network comes with.
pub const LIST: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "node-network",
  "plugins": [
    {"type": "bridge", "bridge": "cni0"},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"#;

/// The directories of a node, and the plugin's section in them.
#[derive(Debug)]
pub struct CniNode {
    pub plugins: PathBuf,
    pub configurations: PathBuf,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Called {
    pub success: bool,
    /// What the plugin printed: a result, an error, or nothing.
    pub printed: String,
}

impl Called {
    /// The error's code and text.
    ///
    /// # Errors
    /// If the call succeeded, or printed no error.
    pub fn error(&self) -> Result<(u64, String)> {
        ensure!(!self.success, "the call succeeded: {}", self.printed);
        let error: Value = serde_json::from_str(&self.printed).with_context(|| self.printed.clone())?;
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        Ok((error["code"].as_u64().context("an error has a code")?, format!("{}; {}", text("msg"), text("details"))))
    }
}

/// A pod's sandbox, as a container runtime knows it.
#[derive(Debug, Clone)]
pub struct Sandbox<'a> {
    pub container: &'a str,
    pub netns: PathBuf,
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// The result of the plugins before.
    pub result: String,
}

impl<'a> Sandbox<'a> {
    /// The sandbox of a pod of the world, whose network is there already.
    #[must_use]
    pub fn of(pod: &'a Pod, namespace: &'a str) -> Self {
        let netns = pod.netns().path();
        let ips = [(pod.ipv4(), 32), (pod.ipv6(), 128)]
            .map(|(address, prefix)| json!({"interface": 1, "address": format!("{address}/{prefix}")}));
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "host"}, {"name": "eth0", "sandbox": netns}],
            "ips": ips, "dns": {}, "kept": 1.0e2,
        });
        Self { container: pod.name(), netns, namespace, name: pod.name(), uid: pod.name(), result: result.to_string() }
    }
}

impl CniNode {
    /// The directories of a node of the world, with a configuration and no plugin of ours.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn new(node: &Node) -> Result<Self> {
        let (plugins, configurations) = (node.folder("cni-bin")?, node.folder("cni-net.d")?);
        let this = Self { plugins, configurations };
        this.write("10-network.conflist", LIST)?;
        Ok(this)
    }

    /// The flags of an agent that installs its plugin there.
    ///
    /// # Errors
    /// If the plugin was not built.
    pub fn flags(&self) -> Result<Vec<String>> {
        Ok(vec![
            format!("--cni-bin-dir={}", self.plugins.display()),
            format!("--cni-conf-dir={}", self.configurations.display()),
            format!("--cni-plugin={}", binary("weir-cni")?.display()),
        ])
    }

    /// Writes a configuration in one go, as network agents do.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let new = self.configurations.join(format!("{name}.tmp"));
        fs::write(&new, text)?;
        Ok(fs::rename(new, self.configurations.join(name))?)
    }

    /// What a file says now.
    ///
    /// # Errors
    /// If it is not there.
    pub fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.configurations.join(name)).with_context(|| name.to_owned())
    }

    /// Names of all files in both directories.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for directory in [&self.plugins, &self.configurations] {
            for entry in fs::read_dir(directory)? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Our plugin's section in the configuration in force: the first by name.
    ///
    /// # Errors
    /// If the plugin is not chained.
    pub fn section(&self) -> Result<Value> {
        let is_one = |name: &String| [".conf", ".conflist", ".json"].iter().any(|ending| name.ends_with(ending));
        let mut names: Vec<_> = self.files()?.into_iter().filter(is_one).collect();
        names.sort();
        let first = names.first().context("the node has no CNI configuration")?;
        let list: Value = serde_json::from_str(&self.read(first)?)?;
        let plugins = list["plugins"].as_array().with_context(|| format!("{first} is no list"))?;
        let ours = plugins.iter().find(|plugin| plugin["type"] == "weir-cni");
        ours.cloned().with_context(|| format!("the plugin is not in {first}"))
    }

    /// Calls the installed plugin as its configuration says.
    ///
    /// # Errors
    /// If it is not installed or cannot be run.
    pub fn call(&self, command: &str, sandbox: &Sandbox<'_>) -> Result<Called> {
        call(&self.plugins.join("weir-cni"), self.section()?, command, sandbox)
    }
}

/// Calls a plugin with a section of its own.
///
/// # Errors
/// If it cannot be run.
pub fn call(plugin: &Path, mut section: Value, command: &str, sandbox: &Sandbox<'_>) -> Result<Called> {
    section["cniVersion"] = "1.0.0".into();
    section["name"] = "node-network".into();
    let mut configuration = serde_json::to_string(&section)?;
    // As text: what is printed must be this, byte by byte.
    configuration.truncate(configuration.len() - 1);
    configuration += &format!(",\"prevResult\":{}}}", sandbox.result);
    let arguments = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        sandbox.namespace, sandbox.name, sandbox.container, sandbox.uid
    );
    let mut child = Command::new(plugin)
        .env_clear()
        .envs([("CNI_COMMAND", command), ("CNI_CONTAINERID", sandbox.container), ("CNI_IFNAME", "eth0")])
        .env("CNI_NETNS", Path::new("/var").join(sandbox.netns.strip_prefix("/")?))
        .env("CNI_ARGS", arguments)
        .env("CNI_PATH", "/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {}", plugin.display()))?;
    child.stdin.take().expect("stdin is piped").write_all(configuration.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(Called { success: output.status.success(), printed: String::from_utf8_lossy(&output.stdout).into_owned() })
}

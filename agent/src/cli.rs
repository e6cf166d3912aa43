//! The commands that talk to a running agent, or clean up after one: `weir enroll`, `unenroll`, `pods`, `status`, `why`,
//! `plaintext` and `uninstall`.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use http::Method;

use crate::admin::status::{FetchError, ObjectStatus};
use crate::admin::{EndedPlaintext, PlaintextConnection, status, with_parameters};
use crate::capture::Capture;
use crate::cni::Installer;
use crate::enrollment::api::{EnrollmentClient, NewPod, SOCKET_NAME};
use crate::node_files;
use crate::why::{Explanation, render};

/// Where the agent's socket is.
#[derive(Debug, Args)]
pub struct SocketArgs {
    /// The agent's run directory.
    #[arg(long, env = "WEIR_RUN_DIR", default_value = "/run/weir")]
    run_dir: PathBuf,
    /// The agent's socket; `agent.sock` in the run directory unless given.
    #[arg(long)]
    socket: Option<PathBuf>,
}

impl SocketArgs {
    fn path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.run_dir.join(SOCKET_NAME))
    }
}

#[derive(Debug, Args)]
pub struct EnrollArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// The pod's network namespace: /run/netns/NAME or /proc/PID/ns/net.
    #[arg(long)]
    netns: String,
    /// Unique on this node; Kubernetes' pod uid where there is one.
    #[arg(long)]
    uid: String,
    #[arg(long)]
    name: String,
    #[arg(long, default_value = "default")]
    namespace: String,
    #[arg(long, default_value = "default")]
    service_account: String,
    /// The pod's cgroup; the enrolment ends with it.
    #[arg(long)]
    cgroup: Option<String>,
    /// An address of the pod (repeatable); those of its network namespace unless given.
    #[arg(long = "address")]
    addresses: Vec<IpAddr>,
    /// A label of the pod, as key=value (repeatable).
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// A port that the pod's probes and hooks name (repeatable): the kubelet reaches it as it is.
    #[arg(long = "probe-port")]
    probe_ports: Vec<u16>,
    /// The pod's own resolver configuration: its servers are asked, from the pod's network namespace, for names of services that are
    /// looked up. Unless given, names are looked up as the agent does.
    #[arg(long)]
    resolv_conf: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct UnenrollArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// The uid the pod was enrolled with.
    uid: String,
}

#[derive(Debug, Args)]
pub struct PodsArgs {
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The agent's admin address.
    #[arg(long, env = "WEIR_ADMIN_ADDRESS", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,
    /// Show what of the users' objects is rejected or has no effect, and why, instead of the agent's status.
    #[arg(long)]
    config: bool,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The agent's admin address.
    #[arg(long, env = "WEIR_ADMIN_ADDRESS", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,
    /// The pod of this node that sends the request: namespace/name, a name that only one has, or a uid.
    pod: String,
    /// Where the request goes: http://host:port/path, or tcp://host:port. The host is what the pod would write.
    url: String,
    /// The method of the request; GET unless given.
    #[arg(short = 'X', long = "request")]
    method: Option<String>,
    /// A field of the request, as 'name: value' (repeatable).
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    /// The token of the request (`authorization: Bearer …`), which no answer repeats; `-` reads it from the standard input.
    #[arg(long)]
    token: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct PlaintextArgs {
    /// The agent's admin address.
    #[arg(long, env = "WEIR_ADMIN_ADDRESS", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,
    /// End them: their applications connect again, over HBONE.
    #[arg(long)]
    end: bool,
    /// Only those of this pod of this node, as namespace/name.
    #[arg(long, value_parser = pod_name)]
    pod: Option<String>,
}

#[derive(Debug, Args)]
pub struct UninstallArgs {
    #[arg(long, env = "WEIR_BPF_DIR", default_value = "/sys/fs/bpf/weir")]
    bpf_dir: PathBuf,
    #[arg(long, env = "WEIR_RUN_DIR", default_value = "/run/weir")]
    run_dir: PathBuf,
    #[arg(long, env = "WEIR_STATE_DIR", default_value = "/var/lib/weir")]
    state_dir: PathBuf,
    /// The node's directory of CNI plugins, if Weir's was installed there.
    #[arg(long, env = "WEIR_CNI_BIN_DIR", requires = "cni_conf_dir")]
    cni_bin_dir: Option<PathBuf>,
    /// The node's directory of CNI configurations, likewise.
    #[arg(long, env = "WEIR_CNI_CONF_DIR", requires = "cni_bin_dir")]
    cni_conf_dir: Option<PathBuf>,
}

/// Enrols a pod.
///
/// # Errors
/// When the agent refuses; the message names the field.
pub fn enroll(args: EnrollArgs) -> anyhow::Result<()> {
    let name = format!("{}/{}", args.namespace, args.name);
    let socket = args.socket.path();
    let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let resolv_conf = args.resolv_conf.as_ref().map(read).transpose()?.unwrap_or_default();
    let pod = NewPod {
        uid: args.uid,
        name: args.name,
        namespace: args.namespace,
        service_account: args.service_account,
        netns: args.netns,
        cgroup: args.cgroup,
        addresses: args.addresses,
        labels: args.labels.into_iter().collect(),
        probe_ports: args.probe_ports,
        resolv_conf,
    };
    run(async {
        let addresses = EnrollmentClient::connect(&socket).await?.enroll(pod).await?;
        println!("{name} is enrolled with {}", addresses.join(", "));
        Ok(())
    })
}

/// Ends a pod's enrolment.
///
/// # Errors
/// When there is no such pod.
pub fn unenroll(args: &UnenrollArgs) -> anyhow::Result<()> {
    run(async {
        EnrollmentClient::connect(&args.socket.path()).await?.unenroll(&args.uid).await?;
        println!("{} is unenrolled", args.uid);
        Ok(())
    })
}

/// Lists the enrolled pods as a table.
///
/// # Errors
/// When no agent answers.
pub fn pods(args: &PodsArgs) -> anyhow::Result<()> {
    run(async {
        let pods = EnrollmentClient::connect(&args.socket.path()).await?.list().await?;
        println!("{:<24} {:<28} {:<32} {:<6} CONNECTIONS", "UID", "POD", "ADDRESSES", "KNOWN");
        for pod in pods {
            let known = if pod.known_to_mesh { "yes" } else { "no" };
            let name = format!("{}/{}", pod.namespace, pod.name);
            let addresses = pod.addresses.join(",");
            println!("{:<24} {name:<28} {addresses:<32} {known:<6} {}", pod.uid, pod.connections_open);
        }
        Ok(())
    })
}

/// Prints what the agent of this node does, in one screen.
///
/// # Errors
/// When no agent answers.
pub fn status(args: &StatusArgs) -> anyhow::Result<()> {
    run(async {
        if args.config {
            let objects: Vec<ObjectStatus> = status::fetch_as(args.admin, Method::GET, "/objects").await?;
            print!("{}", status::render_objects(&objects));
            return Ok(());
        }
        let status = status::fetch(args.admin).await?;
        print!("{}", status::render(&status));
        Ok(())
    })
}

/// Prints what the agent would do with a request of a pod, and why.
///
/// # Errors
/// When no agent answers, or it does not understand the question.
pub fn why(args: &WhyArgs) -> anyhow::Result<()> {
    run(async {
        let method = args.method.as_deref().unwrap_or_default();
        let mut parameters = vec![("pod", &*args.pod), ("url", &*args.url), ("method", method)];
        parameters.extend(args.headers.iter().map(|header| ("header", &**header)));
        let token = match args.token.as_deref() {
            Some("-") => Some(io::read_to_string(io::stdin()).context("reading the token")?),
            token => token.map(str::to_owned),
        };
        let token = token.map(|token| format!("authorization: Bearer {}", token.trim()));
        parameters.extend(token.iter().map(|field| ("header", &**field)));
        let explanation: Explanation =
            match status::fetch_as(args.admin, Method::GET, &with_parameters("/why", &parameters)).await {
                Err(FetchError::Refused(_, why)) => bail!(why),
                answer => answer?,
            };
        if args.json {
            println!("{}", serde_json::to_string_pretty(&explanation)?);
        } else {
            print!("{}", render(&explanation));
        }
        Ok(())
    })
}

/// Lists the plaintext connections between pods of the mesh that could be over HBONE by now, or ends them.
///
/// # Errors
/// When no agent answers.
pub fn plaintext(args: &PlaintextArgs) -> anyhow::Result<()> {
    run(async {
        if args.end {
            let path = args.pod.as_ref().map_or("/plaintext".to_owned(), |pod| format!("/plaintext?pod={pod}"));
            let EndedPlaintext { ended } = status::fetch_as(args.admin, Method::POST, &path).await?;
            println!("{ended} plaintext connections end");
            return Ok(());
        }
        let all: Vec<PlaintextConnection> = status::fetch_as(args.admin, Method::GET, "/plaintext").await?;
        println!("{:<32} {:<9} {:<44} {:<44} SECONDS", "POD", "DIRECTION", "SOURCE", "DESTINATION");
        for connection in all.iter().filter(|connection| args.pod.as_ref().is_none_or(|pod| *pod == connection.pod)) {
            let PlaintextConnection { pod, direction, source, destination, seconds_open } = connection;
            println!("{pod:<32} {direction:<9} {source:<44} {destination:<44} {seconds_open}");
        }
        Ok(())
    })
}

/// Removes everything that Weir left on this node.
///
/// # Errors
/// When an agent is still running here, or something could not be removed.
pub fn uninstall(args: &UninstallArgs) -> anyhow::Result<()> {
    let socket = args.run_dir.join(SOCKET_NAME);
    if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        bail!("an agent is running ({} answers): stop it first", socket.display());
    }
    if let (Some(plugins), Some(configurations)) = (&args.cni_bin_dir, &args.cni_conf_dir) {
        Installer::uninstall(plugins, configurations).context("removing the CNI plugin")?;
    }
    Capture::uninstall(&args.bpf_dir).context("removing the kernel programs")?;
    for path in node_files::remove(&args.run_dir, &args.state_dir).context("removing Weir's files")? {
        println!("{} is left: not of Weir's making", path.display());
    }
    println!("nothing of Weir is left on this node");
    Ok(())
}

/// Runs a command's task to its end, on this thread.
fn run(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

fn pod_name(text: &str) -> Result<String, String> {
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    match text.split_once('/') {
        Some((namespace, name)) if is_part(namespace) && is_part(name) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not of the form namespace/name")),
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

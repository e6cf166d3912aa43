//! One call of the plugin, from the environment to the exit code.

mod agent;
mod call;
mod configuration;
mod error;
mod verdict;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use weir_cni::namespaces::MeshNamespaces;
use weir_cni::section::Section;
use weir_cni::wire::{self, Answer, Request};

use self::agent::Silence;
use self::call::{Call, Verb};
use self::configuration::{Configuration, VERSIONS};
use self::error::CniError;
use self::verdict::Membership;

/// Longest configuration that is read from standard input, in bytes.
const MAX_CONFIGURATION_BYTES: u64 = 4 * 1024 * 1024;
/// How long the agent may take to let a sandbox go or to check one. Neither is worth waiting for: the agent sees by
/// itself when a namespace is gone.
const SHORTLY: Duration = Duration::from_secs(2);

/// Does what the container runtime asks for and says how it went.
pub(crate) fn run() -> ExitCode {
    let mut input = Vec::new();
    let read = std::io::stdin().take(MAX_CONFIGURATION_BYTES).read_to_end(&mut input);
    let done = read.map_err(|error| CniError::io("reading the configuration from standard input", &error));
    let (text, code) = match done.and_then(|_| answer(&input)) {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (error.json(&configuration::version_of(&input)), ExitCode::FAILURE),
    };
    // The container runtime reads this; without it there is nobody to tell.
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

/// What to print when all went well.
fn answer(input: &[u8]) -> Result<String, CniError> {
    let verb = call::verb(&|name| std::env::var(name).ok())?;
    if verb == Verb::Version {
        return Ok(versions(&configuration::version_of(input)));
    }
    let configuration = Configuration::parse(input)?;
    let call = || Call::from_environment(verb, &|name| std::env::var(name).ok());
    match verb {
        // Nothing is kept that could be stale, and STATUS must not report a node as unready while its agent restarts.
        Verb::Version | Verb::Gc | Verb::Status => Ok(String::new()),
        Verb::Add => add(&configuration, &call()?),
        Verb::Del => {
            release(&configuration, &call()?);
            Ok(String::new())
        }
        Verb::Check => check(&configuration, &call()?).map(|()| String::new()),
    }
}

fn add(configuration: &Configuration<'_>, call: &Call) -> Result<String, CniError> {
    let result = configuration.previous_result()?;
    let section = &configuration.section;
    if let Some(request) = request(configuration, call, wire::Command::Add)
        && !section.exclude_namespaces.contains(&request.namespace)
    {
        let limit = limit(section, membership(configuration, &request.namespace));
        let said = agent::ask_until(&section.socket, &request, limit);
        // The agent may have learned of a label, and left, while we waited.
        verdict::of(said, &request, section, membership(configuration, &request.namespace))?;
    }
    Ok(result.to_owned())
}

/// How long to wait for an agent.
fn limit(section: &Section, membership: Membership) -> Duration {
    let limits = [section.timeout_seconds, section.others_timeout_seconds].map(Duration::from_secs);
    match membership {
        Membership::Must => limits[0],
        // No agent has ever been here, or it was uninstalled: this section was forgotten.
        Membership::Unknown if !section.socket.exists() && !section.namespaces_file.exists() => Duration::ZERO,
        Membership::Unknown => limits[1].min(limits[0]),
    }
}

/// Tells the agent, if there is one.
fn release(configuration: &Configuration<'_>, call: &Call) {
    let Some(request) = request(configuration, call, wire::Command::Del) else { return };
    if !request.netns.is_empty() {
        // A sandbox must be able to go, whoever answers what.
        let _: Result<Answer, Silence> = agent::ask_once(&configuration.section.socket, &request, SHORTLY);
    }
}

/// Fails only on an agent's word: what the kernel does for a pod goes on without one.
fn check(configuration: &Configuration<'_>, call: &Call) -> Result<(), CniError> {
    let Some(request) = request(configuration, call, wire::Command::Check) else { return Ok(()) };
    match agent::ask_once(&configuration.section.socket, &request, SHORTLY) {
        Ok(Answer::Failed { reason }) => Err(verdict::refused(&request, &reason)),
        _ => Ok(()),
    }
}

/// What to ask; nothing where the sandbox belongs to no pod.
fn request(configuration: &Configuration<'_>, call: &Call, command: wire::Command) -> Option<Request> {
    let pod = call.pod.clone()?;
    Some(Request {
        command,
        container: call.container.clone(),
        netns: call.netns.clone(),
        interface: call.interface.clone(),
        namespace: pod.namespace,
        name: pod.name,
        uid: pod.uid,
        addresses: configuration.addresses(),
    })
}

fn membership(configuration: &Configuration<'_>, namespace: &str) -> Membership {
    // A damaged file says as little as none.
    let known = MeshNamespaces::read(&configuration.section.namespaces_file).unwrap_or_default();
    if known.namespaces.contains(namespace) { Membership::Must } else { Membership::Unknown }
}

fn versions(asked: &str) -> String {
    format!("{}\n", serde_json::json!({ "cniVersion": asked, "supportedVersions": VERSIONS }))
}

//! A service of the HTTP mesh: how it is described, how its routes are written, and how it is asked.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::answer::Answer;
use super::load::{HttpLoad, HttpSeen};
use crate::control_plane::ControlPlane;
use crate::mesh::NAMESPACE;
use crate::objects::ForNow;
use crate::place::Place;
use crate::program::Output;
use crate::test_app::{self, Seen};
use crate::wait;

/// A port of every service, and what it declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its name, from which Istio and Weir take the protocol.
    pub name: &'static str,
    pub number: u16,
    /// Where the pods serve it.
    pub target: u16,
}

/// The ports of every service.
pub const PORTS: [Port; 5] = [
    Port { name: "http", number: 80, target: ECHO },
    Port { name: "http2", number: 8081, target: ECHO },
    Port { name: "grpc", number: 9000, target: ECHO },
    // Declares no protocol: it carries HTTP where an object about HTTP names its service.
    Port { name: "plain", number: 8082, target: ECHO },
    Port { name: "tcp-echo", number: 7001, target: test_app::ECHO },
];
/// Where http-echo serves in a pod.
pub(super) const ECHO: u16 = 8080;
/// How long a change of an object may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);

/// A service whose endpoints are pods with a label. Dropping it removes the service and what was written about it.
#[derive(Debug)]
pub struct HttpService<'a> {
    client: &'a Place,
    control_plane: &'a ControlPlane,
    name: String,
    host: String,
    vips: [IpAddr; 2],
    _object: Option<ForNow<'a>>,
}

impl<'a> HttpService<'a> {
    pub(super) fn new(
        client: &'a Place,
        control_plane: &'a ControlPlane,
        name: &str,
        vips: [IpAddr; 2],
        object: Option<ForNow<'a>>,
    ) -> Self {
        let host = format!("{name}.{NAMESPACE}.svc.cluster.local");
        Self { client, control_plane, name: name.to_owned(), host, vips, _object: object }
    }

    /// The same by another host name.
    pub(super) fn called(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its fully qualified name.
    #[must_use]
    pub fn host(&self) -> String {
        self.host.clone()
    }

    /// Its virtual address, IPv4.
    #[must_use]
    pub fn vip(&self) -> IpAddr {
        self.vips[0]
    }

    /// Its virtual address, IPv6.
    #[must_use]
    pub fn vip6(&self) -> IpAddr {
        self.vips[1]
    }

    /// Asks it from the client by curl; `more` are further arguments of curl.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn ask(&self, path: &str, more: &[&str]) -> Result<Answer> {
        self.ask_at(self.vip(), 80, path, more)
    }

    /// As [`Self::ask`], at one of its addresses and ports.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn ask_at(&self, vip: IpAddr, port: u16, path: &str, more: &[&str]) -> Result<Answer> {
        let output = self.curl_at(vip, port, path, more)?;
        ensure!(output.success, "curl {path} {more:?}: {}", output.summary());
        Answer::parse(&output.stdout)
    }

    /// As [`Self::ask`], for exchanges that need not succeed.
    ///
    /// # Errors
    /// If curl cannot be run.
    pub fn curl(&self, path: &str, more: &[&str]) -> Result<Output> {
        self.curl_at(self.vip(), 80, path, more)
    }

    fn curl_at(&self, vip: IpAddr, port: u16, path: &str, more: &[&str]) -> Result<Output> {
        let host = self.host();
        let known = match vip {
            IpAddr::V4(vip) => format!("{host}:{port}:{vip}"),
            IpAddr::V6(vip) => format!("{host}:{port}:[{vip}]"),
        };
        let url = format!("http://{host}:{port}{path}");
        let mut command = vec!["curl", "-sS", "--include", "--path-as-is", "--max-time", "20", "--resolve", &known];
        command.extend(more);
        command.push(&url);
        self.client.output(&command)
    }

    /// Asks until an answer satisfies a condition: a change of an object may take a moment to be in effect.
    ///
    /// # Errors
    /// With the last answer, if none does in time.
    pub fn comes_to(&self, what: &str, path: &str, more: &[&str], meets: impl Fn(&Answer) -> bool) -> Result<Answer> {
        wait::until(what, DELIVERED, || {
            let answer = self.ask(path, more)?;
            ensure!(meets(&answer), "{answer:?}");
            Ok(answer)
        })
        .with_context(|| format!("control plane:\n{}", self.control_plane.tail()))
    }

    /// Sends bytes as they are on a connection of the client, and tells what came back.
    ///
    /// # Errors
    /// If the probe cannot be run.
    pub fn raw(&self, text: &str) -> Result<Seen> {
        test_app::probe(self.client, self.vip(), 80, text)
    }

    /// Runs a load that has an end on one of its ports, with arguments of `weir-test-app http-load`.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn load(&self, port: u16, arguments: &[&str]) -> Result<HttpSeen> {
        HttpSeen::of(self.client, &self.load_arguments(port, arguments))
    }

    /// Starts a load that goes on.
    ///
    /// # Errors
    /// If it does not flow in time.
    pub fn start_load(&self, port: u16, arguments: &[&str]) -> Result<HttpLoad> {
        HttpLoad::start(self.client, &self.load_arguments(port, arguments))
    }

    fn load_arguments(&self, port: u16, arguments: &[&str]) -> Vec<String> {
        let to = SocketAddr::new(self.vip(), port).to_string();
        let own = [to, format!("--host={}", self.host())];
        own.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
    }

    /// Writes an HTTPRoute for it, whose rules are YAML flow (`[{matches: …}]`).
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn http_route(&self, rules: &str) -> Result<ForNow<'a>> {
        self.gateway_route("HTTPRoute", rules)
    }

    /// As [`Self::http_route`], a GRPCRoute.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn grpc_route(&self, rules: &str) -> Result<ForNow<'a>> {
        self.gateway_route("GRPCRoute", rules)
    }

    fn gateway_route(&self, kind: &str, rules: &str) -> Result<ForNow<'a>> {
        let name = &self.name;
        let yaml = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  \
             parentRefs: [{{group: \"\", kind: Service, name: {name}}}]\n  rules: {rules}\n"
        );
        self.control_plane.objects.put_for_now(&format!("{name}-{}", kind.to_lowercase()), &yaml)
    }

    /// Writes a VirtualService for it, whose routes are YAML flow (`[{match: …, route: …}]`).
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn virtual_service(&self, http: &str) -> Result<ForNow<'a>> {
        let yaml = self.istio_object("VirtualService", &format!("hosts: [{}]\n  http: {http}", self.host()));
        self.control_plane.objects.put_for_now(&format!("{}-vs", self.name), &yaml)
    }

    /// Writes a DestinationRule for it: everything of its spec but the host, in lines of YAML.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn destination_rule(&self, spec: &str) -> Result<ForNow<'a>> {
        let yaml = self.istio_object("DestinationRule", &format!("host: {}\n  {spec}", self.host()));
        self.control_plane.objects.put_for_now(&format!("{}-dr", self.name), &yaml)
    }

    fn istio_object(&self, kind: &str, spec: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {}, namespace: {NAMESPACE}}}\nspec:\n  {spec}\n",
            self.name
        )
    }
}

//! Eight widespread servers of HTTP/1 in one place, which say what they understood of each request. nginx, Apache, HAProxy and h2o
//! pass requests on to a server that says it, each to one of its own; Node, Go, Tomcat and gunicorn say it themselves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::place::Place;
use crate::program::Program;
use crate::run::Run;
use crate::{nginx, peers, tomcat};

/// The servers, and their ports: nothing else in a pod of the HTTP mesh serves on these.
pub const ORIGINS: [(&str, u16); 8] = [
    ("nginx", 9211),
    ("apache", 9212),
    ("haproxy", 9213),
    ("h2o", 9214),
    ("node", 9215),
    ("go", 9216),
    ("tomcat", 9217),
    ("gunicorn", 9218),
];
/// What is added to the port of a server that passes requests on, for the one behind it.
const BEHIND: u16 = 10;
/// How many of them do.
const PASSING: usize = 4;
/// How long they take to start, all at once.
const START: Duration = Duration::from_secs(60);

/// What a server understood of a request that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// The name of the server.
    pub origin: &'static str,
    pub method: String,
    pub target: String,
    pub host: String,
    pub bytes: u64,
    /// The content, in hexadecimal digits.
    pub content: String,
}

/// The servers while they run.
#[derive(Debug)]
pub struct Origins {
    /// Those that say what is understood.
    telling: Vec<Program>,
    _passing: Vec<Program>,
}

impl Origins {
    /// Starts all of them and waits until they listen.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start(place: &Place, run: &Run) -> Result<Self> {
        let folder = run.folder().join(format!("origins-{}", place.name()));
        fs::create_dir_all(&folder)?;
        let behind = ORIGINS[..PASSING].iter().map(|(_, port)| port + BEHIND);
        let go = [peers::go("web")?, "told".to_owned()];
        let ports = behind.chain([port("go")]).map(|port| port.to_string());
        let [node, script] = peers::node(run)?;
        let telling = vec![
            place.spawn(&go.into_iter().chain(ports).collect::<Vec<_>>()).context("Go")?,
            place.spawn(&[node, script, "told".to_owned(), port("node").to_string()])?,
            tomcat::tell(place, run, port("tomcat"))?,
            place.spawn(&peers::gunicorn(&folder, port("gunicorn"))?)?,
        ];
        let passing = vec![
            nginx::pass_on(place, run, port("nginx"), port("nginx") + BEHIND)?,
            place.spawn(&apache(&folder)?)?,
            place.spawn(&haproxy(&folder)?)?,
            place.spawn(&h2o(&folder)?)?,
        ];
        let mut origins = Self { telling, _passing: passing };
        for (name, port) in ORIGINS {
            origins.telling[0].listens_within(START, port).with_context(|| name.to_owned())?;
        }
        Ok(origins)
    }

    /// What all of them have understood so far, in the order in which each said it.
    #[must_use]
    pub fn understood(&self) -> Vec<Understood> {
        self.telling.iter().flat_map(|program| program.stdout().lines().filter_map(read).collect::<Vec<_>>()).collect()
    }

    /// The ends of what they say, for messages.
    #[must_use]
    pub fn tails(&self) -> String {
        self.telling.iter().chain(&self._passing).map(|program| program.tail() + "\n").collect()
    }
}

/// The port of the server with this name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn port(name: &str) -> u16 {
    ORIGINS.iter().find(|(known, _)| *known == name).expect("callers name one of them").1
}

/// `9216 POST /a host 2 6162`: the words are separated by one space, and the host may be empty.
fn read(line: &str) -> Option<Understood> {
    let mut words = line.trim_end_matches('\r').split(' ');
    let port: u16 = words.next()?.parse().ok()?;
    let (origin, _) = ORIGINS.iter().find(|(_, known)| *known == port || *known + BEHIND == port)?;
    let mut next = || words.next().map(str::to_owned);
    let (method, target, host) = (next()?, next()?, next()?);
    let (bytes, content) = (next()?.parse().ok()?, next().unwrap_or_default());
    Some(Understood { origin, method, target, host, bytes, content })
}

/// The command that runs a server whose configuration is in a file of this folder.
fn command(folder: &Path, name: &str, configuration: &str, before: &[&str]) -> Result<Vec<String>> {
    let file = folder.join(format!("{name}.conf"));
    fs::write(&file, configuration)?;
    let file = file.display().to_string();
    Ok(before.iter().map(|word| (*word).to_owned()).chain([file]).collect())
}

fn apache(folder: &Path) -> Result<Vec<String>> {
    let modules = ["mpm_event", "authz_core", "proxy", "proxy_http"];
    let modules: String = modules
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let (port, folder_name) = (port("apache"), folder.display());
    let configuration = format!(
        "ServerRoot {folder_name}\nDefaultRuntimeDir {folder_name}\nPidFile apache.pid\nErrorLog apache.log\nServerName origin\n\
         User nobody\nGroup nogroup\nListen {port}\n{modules}MergeSlashes Off\nAllowEncodedSlashes NoDecode\nProxyPreserveHost On\n\
         KeepAliveTimeout 60\nMaxKeepAliveRequests 0\nProxyPass / http://127.0.0.1:{}/ nocanon\n",
        port + BEHIND
    );
    command(folder, "apache", &configuration, &["/usr/sbin/apache2", "-DFOREGROUND", "-f"])
}

fn haproxy(folder: &Path) -> Result<Vec<String>> {
    let port = port("haproxy");
    let configuration = format!(
        "global\n  maxconn 2000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend in\n  bind :{port}\n  default_backend told\nbackend told\n  server one 127.0.0.1:{}\n",
        port + BEHIND
    );
    command(folder, "haproxy", &configuration, &["/usr/sbin/haproxy", "-db", "-f"])
}

fn h2o(folder: &Path) -> Result<Vec<String>> {
    let port = port("h2o");
    let configuration = format!(
        "user: root\nnum-threads: 1\nlisten: {port}\nhosts:\n  default:\n    paths:\n      /:\n        proxy.reverse.url: \
         http://127.0.0.1:{}/\n        proxy.preserve-host: ON\n",
        port + BEHIND
    );
    command(folder, "h2o", &configuration, &["/usr/bin/h2o", "-m", "worker", "-c"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_read() {
        let understood = |origin, host: &str, content: &str| Understood {
            origin,
            method: "POST".to_owned(),
            target: "/a?b".to_owned(),
            host: host.to_owned(),
            bytes: content.len() as u64 / 2,
            content: content.to_owned(),
        };
        for (line, expected) in [
            ("9216 POST /a?b h:80 2 6162", Some(understood("go", "h:80", "6162"))),
            ("9221 POST /a?b  0 ", Some(understood("nginx", "", ""))),
            ("9218 POST /a?b h 0", Some(understood("gunicorn", "h", ""))),
            ("1 POST /a?b h 0 ", None),
            ("29-Nov-2026 22:00:00 INFO [main] x", None),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }
}

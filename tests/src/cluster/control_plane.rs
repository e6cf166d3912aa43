//! The control plane of Kubernetes in a room of its own: etcd, API server, controller manager, scheduler. It has the
//! bridge that the nodes are connected to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::api::Api;
use super::network::{API_PORT, BRIDGE, CONTROL_PLANE, SECOND_ISTIOD, SERVICES};
use super::parts::Parts;
use super::room::Room;
use crate::program::Program;
use crate::run::Run;
use crate::wait;

/// How long etcd and API server may take from nothing; a few seconds on a quiet machine.
const STARTING: Duration = Duration::from_secs(90);
/// Pause between two questions whether the API server is ready: each is a process.
const PAUSE: Duration = Duration::from_millis(50);
/// The administrator's token: the cluster is in reach of nobody but its own nodes and pods.
const TOKEN: &str = "administrator";
const ETCD: &str = "http://127.0.0.1:2379";

/// The control plane, running.
#[derive(Debug)]
pub struct ControlPlane {
    /// First: programs end before their room.
    programs: Vec<Program>,
    room: Room,
    folder: PathBuf,
}

impl ControlPlane {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// If something of it does not start; with the end of its output.
    pub fn start(run: &Run, parts: &Parts) -> Result<Self> {
        let folder = run.bulk()?.join("control-plane");
        fs::create_dir_all(&folder)?;
        let room = Room::open(run, parts, "control-plane", &[], &["control-plane"])?;
        set_up_network(&room)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("making the service accounts' key")?;
        fs::write(folder.join("service-accounts.key"), key.serialize_pem())?;
        fs::write(folder.join("service-accounts.pub"), key.public_key_pem())?;
        fs::write(folder.join("tokens.csv"), format!("{TOKEN},administrator,administrator,\"system:masters\"\n"))?;
        let mut control_plane = Self { programs: Vec::new(), room, folder };
        control_plane.start_etcd(parts)?;
        control_plane.start_api_server(parts)?;
        fs::write(control_plane.kubeconfig(), control_plane.kubeconfig_text())?;
        control_plane.wait_until_ready()?;
        control_plane.start_controllers(parts)?;
        Ok(control_plane)
    }

    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Its folder on disk: keys, etcd's data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How administrators, and nodes, reach the API server.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The API server without kubectl.
    #[must_use]
    pub fn api(&self) -> Api {
        Api {
            place: self.room.place().clone(),
            server: format!("https://{CONTROL_PLANE}:{API_PORT}"),
            token: TOKEN,
            folder: self.folder.clone(),
        }
    }

    fn start_etcd(&mut self, parts: &Parts) -> Result<()> {
        let peer = "http://127.0.0.1:2380";
        let data = self.folder.join("etcd");
        let command = [
            parts.debian("usr/bin/etcd").display().to_string(),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // The data is worth nothing when the machine goes.
            "--unsafe-no-fsync".to_owned(),
        ];
        self.programs.push(self.room.place().spawn(&command)?);
        Ok(())
    }

    fn start_api_server(&mut self, parts: &Parts) -> Result<()> {
        let key = self.folder.join("service-accounts.key");
        let command = [
            parts.program("kube-apiserver").display().to_string(),
            format!("--etcd-servers={ETCD}"),
            format!("--secure-port={API_PORT}"),
            format!("--bind-address={CONTROL_PLANE}"),
            format!("--advertise-address={CONTROL_PLANE}"),
            format!("--cert-dir={}", self.folder.join("api-server").display()),
            format!("--service-account-key-file={}", key.with_extension("pub").display()),
            format!("--service-account-signing-key-file={}", key.display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--token-auth-file={}", self.folder.join("tokens.csv").display()),
            "--authorization-mode=RBAC".to_owned(),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--allow-privileged=true".to_owned(),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ];
        self.programs.push(self.room.place().spawn(&command)?);
        Ok(())
    }

    fn start_controllers(&mut self, parts: &Parts) -> Result<()> {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig().display());
        let manager = [
            parts.program("kube-controller-manager").display().to_string(),
            kubeconfig.clone(),
            format!("--service-account-private-key-file={}", self.folder.join("service-accounts.key").display()),
            format!("--root-ca-file={}", self.certificate().display()),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--allocate-node-cidrs=false".to_owned(),
            // Pods of nodes that there are none of stay: they are what a large cluster looks like to an agent.
            "--controllers=*,-pod-garbage-collector-controller".to_owned(),
            // Many objects that come at once are not held up by a limit on questions.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            // A test of a lost node does not wait for longer than it must.
            "--node-monitor-grace-period=20s".to_owned(),
        ];
        let scheduler = [
            parts.program("kube-scheduler").display().to_string(),
            kubeconfig,
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ];
        self.programs.push(self.room.place().spawn(&manager)?);
        self.programs.push(self.room.place().spawn(&scheduler)?);
        Ok(())
    }

    /// What the API server made for itself, and shows everybody.
    fn certificate(&self) -> PathBuf {
        self.folder.join("api-server/apiserver.crt")
    }

    fn kubeconfig_text(&self) -> String {
        let certificate = self.certificate();
        format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: c, cluster: {{server: \"https://{CONTROL_PLANE}:{API_PORT}\", \
             certificate-authority: {}}}}}]\n\
             users: [{{name: u, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\n",
            certificate.display()
        )
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let certificate = self.certificate().display().to_string();
        let address = format!("https://{CONTROL_PLANE}:{API_PORT}/readyz");
        let ask = ["curl", "--silent", "--show-error", "--fail", "--max-time", "5", "--cacert", &certificate, &address];
        wait::until_every(PAUSE, "the API server is ready", STARTING, || {
            for program in &mut self.programs {
                if !program.is_running() {
                    return Ok(Err(program.tail()));
                }
            }
            ensure!(Path::new(&certificate).exists(), "it has made no certificate yet");
            self.room.place().run(&ask).map(|_| Ok(()))
        })?
        .map_err(|tail| anyhow::anyhow!("a part of the control plane ended:\n{tail}"))
    }
}

fn set_up_network(room: &Room) -> Result<()> {
    let lines = format!(
        "link set lo up\nlink add {BRIDGE} type bridge\naddr add {CONTROL_PLANE}/24 dev {BRIDGE}\naddr add {SECOND_ISTIOD}/24 dev {BRIDGE}\n\
         link set {BRIDGE} up\nroute add default dev {BRIDGE}\n"
    );
    room.ip(&lines)?;
    room.sysctl("net/ipv4/ip_forward", "1")
}

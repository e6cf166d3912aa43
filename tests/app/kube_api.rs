//! A Kubernetes API server in small: objects are JSON files of a folder, which may change at any time. It lists and watches
//! pods, namespaces and the custom resources whose kinds it was told of, gets, and merges what is written to a status back into the
//! file; of a custom resource it prints that. Enough for an agent that reads what it needs; the real one is in the tests on a real cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How often a watch looks at the folder.
const LOOK: Duration = Duration::from_millis(10);

/// Where it listens, and what there is.
#[derive(Debug, Args)]
pub(crate) struct KubeApi {
    address: SocketAddr,
    /// Folder of objects, one JSON file each.
    #[arg(long)]
    objects: PathBuf,
    /// A kind of custom resource that is defined, as group/version/plural/Kind.
    #[arg(long = "defines", value_parser = Definition::parse)]
    definitions: Vec<Definition>,
    /// Nobody may write the status of custom resources.
    #[arg(long)]
    forbids_status: bool,
}

/// A kind of objects that can be listed.
#[derive(Debug, Clone)]
struct Definition {
    /// Of the API, with the version.
    path: Vec<String>,
    kind: String,
}

/// What is there, and what has happened.
#[derive(Debug, Default)]
struct Store {
    files: BTreeMap<PathBuf, (String, Value)>,
    /// Version, kind of event, object.
    events: Vec<(u64, &'static str, Value)>,
    /// The version it began with: of what was before it knows nothing.
    first: u64,
}

/// One question, as far as anybody here understands questions.
#[derive(Debug, Default)]
struct Question {
    method: String,
    path: Vec<String>,
    node: Option<String>,
    name: Option<String>,
    watch_from: Option<u64>,
    body: Vec<u8>,
    /// The label that objects must have.
    label: Option<String>,
}

/// Serves until killed.
pub(crate) async fn serve(api: KubeApi) -> Result<()> {
    let listener = TcpListener::bind(api.address).await.with_context(|| format!("binding {}", api.address))?;
    let store = Arc::new(Mutex::new(Store { first: since_1970(), ..Store::default() }));
    let core = ["pods/Pod", "namespaces/Namespace"].map(|kind| Definition::parse(&format!("api/v1/{kind}")));
    let core = core.into_iter().collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::msg)?;
    let custom = api.definitions.into_iter().map(Definition::custom);
    let definitions = core.into_iter().chain(custom).collect::<Vec<_>>();
    let known = Arc::new(Known { objects: api.objects, definitions, forbids_status: api.forbids_status });
    loop {
        let (tcp, _) = listener.accept().await?;
        let (store, known) = (store.clone(), known.clone());
        tokio::spawn(async move {
            if let Err(error) = answer(tcp, &store, &known).await {
                eprintln!("{error:#}");
            }
        });
    }
}

/// What it was started with.
#[derive(Debug)]
struct Known {
    objects: PathBuf,
    definitions: Vec<Definition>,
    forbids_status: bool,
}

/// One question per connection: what ends an answer is the end of the connection.
async fn answer(tcp: TcpStream, store: &Mutex<Store>, known: &Known) -> Result<()> {
    let Known { objects, definitions, forbids_status } = known;
    let mut stream = BufReader::new(tcp);
    let Some(question) = Question::read(&mut stream).await? else { return Ok(()) };
    let tcp = stream.get_mut();
    let look = || {
        let mut store = store.lock().expect("nobody panics with it");
        store.look(objects);
        store
    };
    let path: Vec<&str> = question.path.iter().map(String::as_str).collect();
    let listed = definitions.iter().find(|known| question.method == "GET" && known.path == question.path);
    let (status, body) = match (question.method.as_str(), path.as_slice(), listed) {
        (_, _, Some(Definition { kind, .. })) => match question.watch_from {
            Some(from) if from < look().first => (410, too_old()),
            Some(from) => return watch(tcp, kind, &question, from, look).await,
            None => (200, look().list(kind, &question)),
        },
        ("GET", ["api", "v1", "namespaces", name], _) => found(look().get("Namespace", "", name)),
        ("GET", ["api", "v1", "namespaces", namespace, "pods", name], _) => found(look().get("Pod", namespace, name)),
        ("PATCH", ["api", "v1", "namespaces", namespace, "pods", name, "status"], _) => {
            found(look().patch(namespace, name, &question.body)?)
        }
        ("PATCH", ["apis", group, version, "namespaces", namespace, plural, name, "status"], _) => {
            let is_it = |known: &&Definition| known.path == ["apis", *group, *version, *plural];
            let answer = match definitions.iter().find(is_it) {
                Some(_) if *forbids_status => (403, failure(403, "Forbidden")),
                Some(kind) => look().write_status(&kind.kind, namespace, name, &question.body)?,
                None => found(None),
            };
            println!("status of {plural} {namespace}/{name}: {}", answer.0);
            answer
        }
        _ => found(None),
    };
    let body = serde_json::to_vec(&body)?;
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    tcp.write_all(head.as_bytes()).await?;
    Ok(tcp.write_all(&body).await?)
}

/// Versions of a server that is started again are greater than all that it gave before.
fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": reason})
}

fn too_old() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
    "message": "too old resource version"})
}

fn found(object: Option<Value>) -> (u16, Value) {
    let missing = || {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": "not found"})
    };
    object.map_or_else(|| (404, missing()), |object| (200, object))
}

async fn watch<'a>(
    tcp: &mut TcpStream,
    kind: &str,
    question: &Question,
    mut from: u64,
    look: impl Fn() -> std::sync::MutexGuard<'a, Store>,
) -> Result<()> {
    tcp.write_all(b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n").await?;
    loop {
        let mut lines = Vec::new();
        let since = from;
        for (version, event, object) in look().events.iter().filter(|(version, ..)| *version > since) {
            from = *version;
            if question.wants(kind, object) {
                lines.extend(serde_json::to_vec(&json!({ "type": event, "object": object }))?);
                lines.push(b'\n');
            }
        }
        tcp.write_all(&lines).await?;
        tokio::time::sleep(LOOK).await;
    }
}

impl Definition {
    fn parse(text: &str) -> Result<Self, String> {
        let (path, kind) = text.rsplit_once('/').ok_or_else(|| format!("{text:?} is not group/version/plural/Kind"))?;
        Ok(Self { path: path.split('/').map(str::to_owned).collect(), kind: kind.to_owned() })
    }

    /// Where the API has kinds that are not its own.
    fn custom(mut self) -> Self {
        self.path.insert(0, "apis".to_owned());
        self
    }
}

impl Question {
    async fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().context("a method")?, words.next().context("a target")?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let mut question = Self { method: method.to_owned(), path, ..Self::default() };
        let (mut is_watch, mut version) = (false, 0);
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = value.replace("%3D", "=");
            match key {
                "watch" => is_watch = value == "true",
                "resourceVersion" => version = value.parse().unwrap_or_default(),
                "fieldSelector" => {
                    question.node = value.strip_prefix("spec.nodeName=").map(str::to_owned);
                    question.name = value.strip_prefix("metadata.name=").map(str::to_owned);
                }
                // Of the forms that there are: that a label is there.
                "labelSelector" => question.label = Some(value).filter(|value| !value.is_empty()),
                _ => {}
            }
        }
        question.watch_from = is_watch.then_some(version);
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            let Some((name, value)) = header.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        question.body = vec![0; length];
        stream.read_exact(&mut question.body).await?;
        Ok(Some(question))
    }

    fn wants(&self, kind: &str, object: &Value) -> bool {
        let is_kind = object["kind"] == kind;
        let is = |wanted: &Option<String>, found: &Value| wanted.as_ref().is_none_or(|wanted| found == wanted.as_str());
        let has = |label: &String| object["metadata"]["labels"].get(label).is_some();
        is_kind
            && self.label.as_ref().is_none_or(has)
            && is(&self.node, &object["spec"]["nodeName"])
            && is(&self.name, &object["metadata"]["name"])
    }
}

impl Store {
    fn version(&self) -> u64 {
        self.events.last().map_or(self.first, |(version, ..)| *version)
    }

    /// Takes in what has become of the folder.
    fn look(&mut self, objects: &Path) {
        let listed = std::fs::read_dir(objects).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let paths: Vec<_> = listed.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
        for path in &paths {
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            let before = self.files.get(path).map(|(text, _)| text);
            let event = if before.is_some() { "MODIFIED" } else { "ADDED" };
            if before == Some(&text) {
                continue;
            }
            let Ok(object) = serde_json::from_str::<Value>(&text) else { continue };
            let object = self.happened(event, object);
            self.files.insert(path.clone(), (text, object));
        }
        let gone: Vec<_> = self.files.keys().filter(|path| !paths.contains(path)).cloned().collect();
        for path in gone {
            if let Some((_, object)) = self.files.remove(&path) {
                self.happened("DELETED", object);
            }
        }
    }

    fn happened(&mut self, event: &'static str, mut object: Value) -> Value {
        let version = self.version() + 1;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        self.events.push((version, event, object.clone()));
        object
    }

    fn list(&self, kind: &str, question: &Question) -> Value {
        let objects = self.files.values().map(|(_, object)| object);
        let items: Vec<_> = objects.filter(|object| question.wants(kind, object)).collect();
        json!({"kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {"resourceVersion": self.version().to_string()}, "items": items})
    }

    fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        self.find(kind, namespace, name).map(|(_, object)| object.clone())
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<(&PathBuf, &Value)> {
        let is_it = |object: &Value| {
            let meta = &object["metadata"];
            object["kind"] == kind
                && meta["name"] == name
                && meta["namespace"].as_str().unwrap_or_default() == namespace
        };
        self.files.iter().map(|(path, (_, object))| (path, object)).find(|(_, object)| is_it(object))
    }

    /// Merges annotations into a pod's file, where the next look finds them.
    fn patch(&self, namespace: &str, name: &str, patch: &[u8]) -> Result<Option<Value>> {
        let Some((path, object)) = self.find("Pod", namespace, name) else { return Ok(None) };
        let patch: Value = serde_json::from_slice(patch)?;
        let mut object = object.clone();
        for (key, value) in patch["metadata"]["annotations"].as_object().into_iter().flatten() {
            let annotations =
                object["metadata"].as_object_mut().context("metadata")?.entry("annotations").or_insert(json!({}));
            match value {
                Value::Null => drop(annotations.as_object_mut().context("annotations")?.remove(key)),
                value => annotations[key] = value.clone(),
            }
        }
        replace(path, &object)?;
        Ok(Some(object))
    }

    /// Puts the conditions that somebody applies into a custom resource, if it is the one that they are about and has not changed since.
    fn write_status(&self, kind: &str, namespace: &str, name: &str, applied: &[u8]) -> Result<(u16, Value)> {
        let Some((path, object)) = self.find(kind, namespace, name) else { return Ok(found(None)) };
        let applied: Value = serde_json::from_slice(applied)?;
        let (expected, is) = (&applied["metadata"], &object["metadata"]);
        let differs = |field: &str| !expected[field].is_null() && expected[field] != is[field];
        if ["uid", "resourceVersion"].into_iter().any(differs) {
            return Ok((409, failure(409, "Conflict")));
        }
        let mut object = object.clone();
        if object["status"]["conditions"] != applied["status"]["conditions"] {
            object["status"]["conditions"] = applied["status"]["conditions"].clone();
            replace(path, &object)?;
        }
        Ok((200, object))
    }
}

fn replace(path: &Path, object: &Value) -> Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, object.to_string())?;
    Ok(std::fs::rename(&new, path)?)
}

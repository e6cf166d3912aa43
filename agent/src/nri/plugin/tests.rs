//! A container runtime for tests on the other end: it says what a table wants, and hears the answers.

use std::sync::{Arc, Mutex};

use tokio::io::DuplexStream;
use tokio::sync::Notify;

use super::super::messages::{LinuxNamespace, LinuxPodSandbox};
use super::super::ttrpc::Response;
use super::*;

/// The container runtime's end.
struct Runtime {
    stream: DuplexStream,
    wires: Wires,
    last_stream: u32,
}

impl Runtime {
    async fn message(&mut self) -> Message {
        loop {
            if let Some(message) = self.wires.next().expect("valid") {
                return message;
            }
            assert_ne!(self.stream.read_buf(&mut self.wires.trunk).await.expect("open"), 0, "it hung up");
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it listens");
    }

    async fn request(&mut self, method: &str, payload: Vec<u8>, timeout_nano: i64) -> u32 {
        self.last_stream += 2;
        let (service, method) = (PLUGIN_SERVICE.to_owned(), method.to_owned());
        let request = Request { service, method, payload: payload.into(), timeout_nano };
        let piece = mux::piece(PLUGIN, &ttrpc::request(self.last_stream, &request));
        self.say(&piece).await;
        self.last_stream
    }

    async fn response(&mut self) -> (u32, Response) {
        match self.message().await {
            Message::Response(stream, response) => (stream, response),
            message => panic!("{message:?} is no response"),
        }
    }

    async fn ask(&mut self, method: &str, payload: Vec<u8>) -> Response {
        let asked = self.request(method, payload, 0).await;
        let (stream, response) = self.response().await;
        assert_eq!(stream, asked);
        response
    }

    /// Takes the plugin in, as container runtimes do.
    async fn take_in(&mut self) {
        let Message::Request(stream, request) = self.message().await else { panic!("it does not ask") };
        assert_eq!((request.service.as_str(), request.method.as_str()), (RUNTIME_SERVICE, REGISTER));
        let told = RegisterPluginRequest::decode(request.payload).expect("valid");
        assert_eq!((told.plugin_name.as_str(), told.plugin_idx.as_str()), ("weir", "90"));
        self.say(&mux::piece(RUNTIME, &ttrpc::response(stream, Ok(Vec::new())))).await;
        let told = ConfigureRequest {
            runtime_name: "containerd".into(),
            runtime_version: "v2.4.2".into(),
            request_timeout: 700,
        };
        let configured = self.ask("Configure", told.encode_to_vec()).await;
        assert_eq!(ConfigureResponse::decode(configured.payload).expect("valid").events, 0b111);
        for more in [true, false] {
            let answered = self.ask("Synchronize", SynchronizeRequest { more }.encode_to_vec()).await;
            assert_eq!(SynchronizeResponse::decode(answered.payload).expect("valid").more, more);
        }
    }
}

type Asked = Arc<Mutex<Vec<(Event, String, Duration)>>>;

/// A conversation: the runtime's end, what is asked about pods, a way to stop, and how it ended. Pods called `bad` are not
/// let in; one called `slow` is answered when all are told to go on.
struct Conversation {
    runtime: Runtime,
    asked: Asked,
    go_on: Arc<Notify>,
    stop: Arc<Notify>,
    ended: tokio::task::JoinHandle<(Result<(), NriError>, Vec<String>)>,
}

fn begin() -> Conversation {
    let (stream, ours) = tokio::io::duplex(64);
    let (asked, go_on, stop) = (Asked::default(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let answer = {
        let (asked, go_on) = (asked.clone(), go_on.clone());
        move |event, pod: PodSandbox, timeout| {
            asked.lock().expect("unharmed").push((event, pod.name.clone(), timeout));
            let go_on = go_on.clone();
            async move {
                match pod.name.as_str() {
                    "slow" => {
                        go_on.notified().await;
                        Ok(())
                    }
                    "bad" => Err("not this one".to_owned()),
                    _ => Ok(()),
                }
            }
        }
    };
    let told = stop.clone();
    let ended = tokio::spawn(async move {
        let mut runtimes = Vec::new();
        let connected = |runtime: &str| runtimes.push(runtime.to_owned());
        let ended = converse(ours, answer, connected, async move { told.notified().await }).await;
        (ended, runtimes)
    });
    let runtime = Runtime { stream, wires: Wires::default(), last_stream: 1 };
    Conversation { runtime, asked, go_on, stop, ended }
}

fn pod(name: &str) -> Option<PodSandbox> {
    let namespace = LinuxNamespace { kind: "network".into(), path: "/n".into() };
    let linux = Some(LinuxPodSandbox { namespaces: vec![namespace] });
    Some(PodSandbox { name: name.into(), linux, ..PodSandbox::default() })
}

fn of(name: &str) -> Vec<u8> {
    PodRequest { pod: pod(name) }.encode_to_vec()
}

#[tokio::test]
async fn events_are_answered_by_what_is_said_about_the_pod() {
    let mut it = begin();
    it.runtime.take_in().await;
    let change = |event, name: &str| StateChangeEvent { event, pod: pod(name) }.encode_to_vec();
    for (method, payload, code, about) in [
        ("RunPodSandbox", of("a"), 0, Some((Event::Run, "a"))),
        ("RunPodSandbox", of("bad"), 9, Some((Event::Run, "bad"))),
        ("StopPodSandbox", of("a"), 0, Some((Event::Stop, "a"))),
        ("RemovePodSandbox", of("a"), 0, Some((Event::Remove, "a"))),
        ("StateChange", change(1, "b"), 0, Some((Event::Run, "b"))),
        ("StateChange", change(1, "bad"), 9, Some((Event::Run, "bad"))),
        ("StateChange", change(3, "b"), 0, Some((Event::Remove, "b"))),
        ("StateChange", change(6, "b"), 0, None),
        ("CreateContainer", of("a"), 12, None),
        ("RunPodSandbox", vec![0xff], 3, None),
        ("Shutdown", Vec::new(), 0, None),
    ] {
        let response = it.runtime.ask(method, payload).await;
        assert_eq!(response.status.unwrap_or_default().code, code, "{method}");
        let asked = it.asked.lock().expect("unharmed").pop();
        // What the container runtime said when it configured us.
        let expected = about.map(|(event, name)| (event, name.to_owned(), Duration::from_millis(700)));
        assert_eq!(asked, expected, "{method}");
    }
    it.runtime.request("RunPodSandbox", of("a"), 1_500_000_000).await;
    it.runtime.response().await;
    let asked = it.asked.lock().expect("unharmed").pop().expect("asked");
    assert_eq!(asked.2, Duration::from_millis(1500), "what the request itself says counts");
    drop(it.runtime);
    let (ended, runtimes) = it.ended.await.expect("no panic");
    assert!(matches!(ended, Err(NriError::Closed)), "{ended:?}");
    assert_eq!(runtimes, ["containerd v2.4.2"]);
}

#[tokio::test]
async fn what_takes_long_holds_up_nobody_and_is_answered_before_the_end() {
    let mut it = begin();
    it.runtime.take_in().await;
    let slow = it.runtime.request("RunPodSandbox", of("slow"), 0).await;
    assert_eq!(it.runtime.ask("RunPodSandbox", of("quick")).await, Response::default());
    it.stop.notify_one();
    assert_eq!(it.runtime.ask("RunPodSandbox", of("late")).await, Response::default());
    it.go_on.notify_one();
    assert_eq!(it.runtime.response().await, (slow, Response::default()));
    let (ended, _) = it.ended.await.expect("no panic");
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_no_container_runtime_is_left() {
    let refusal = ttrpc::response(1, Err((Code::InvalidArgument, "invalid plugin name".to_owned())));
    let refusal = mux::piece(RUNTIME, &refusal);
    for (said, expected) in [
        (&b""[..], "the container runtime did not take the plugin in within 30 s"),
        (&refusal, "the container runtime refuses the plugin: invalid plugin name"),
        (b"HTTP/1.1 400 Bad Request\r\n", "the container runtime sends a piece of 791752241 bytes, at most"),
        (
            b"\0\0\0\x01\0\0\0\x0a\xff\xff\xff\xff\0\0\0\x01\x01\0",
            "the container runtime sends a message of 4294967295",
        ),
        (b"\0\0\0\x01\0\0\0\x0c\0\0\0\x02\0\0\0\x01\x01\0\xff\xff", "the container runtime sends a message of kind 1"),
        // Connections that nobody has, kinds that nobody knows: passed over.
        (b"\0\0\0\x07\0\0\0\x01x\0\0\0\x01\0\0\0\x0a\0\0\0\0\0\0\0\x01\x09\0", "the container runtime did not take"),
    ] {
        let mut it = begin();
        it.runtime.message().await;
        it.runtime.say(said).await;
        let (ended, runtimes) = it.ended.await.expect("no panic");
        let error = ended.expect_err("nobody stopped it").to_string();
        assert!(error.starts_with(expected) && runtimes.is_empty(), "{said:?}: {error}");
    }
}

//! The servers: each is one behaviour on one port, over IPv4 and IPv6.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, Result};
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::collector;
use crate::http_echo::HttpEcho;
use crate::pattern::Pattern;
use crate::probed;
use crate::report::shown;

const BLOCK: usize = 256 * 1024;
/// What a server that speaks first says.
const BANNER: &[u8] = b"220 ready\r\n";

/// What a server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Returns every byte; ends when the client does.
    Echo,
    /// As echo, and prints how the connection ended.
    Watch,
    /// Speaks first, then returns every byte.
    Banner,
    /// Tells the addresses it sees, and closes.
    Peer,
    /// Compares what comes with the pattern until the client ends its side, then answers with the verdict.
    Sink,
    /// Reads a number of bytes as text and a line feed, sends that much of the pattern, and closes.
    Source,
    /// Reads a byte, then resets the connection.
    Reset,
    /// HTTP, as a kubelet probes it.
    Http,
    /// gRPC's health service.
    Grpc,
    /// HTTP that tells what it received, and answers as it is asked to.
    HttpEcho,
    /// A collector of spans.
    Otlp,
}

/// A behaviour and its port, written `echo:7001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    behaviour: Behaviour,
    port: u16,
}

impl FromStr for Service {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, port) = text.split_once(':').context("a service is written behaviour:port")?;
        let behaviour = match name {
            "echo" => Behaviour::Echo,
            "watch" => Behaviour::Watch,
            "banner" => Behaviour::Banner,
            "peer" => Behaviour::Peer,
            "sink" => Behaviour::Sink,
            "source" => Behaviour::Source,
            "reset" => Behaviour::Reset,
            "http" => Behaviour::Http,
            "grpc" => Behaviour::Grpc,
            "http-echo" => Behaviour::HttpEcho,
            "otlp" => Behaviour::Otlp,
            _ => anyhow::bail!("no such behaviour: {name}"),
        };
        Ok(Self { behaviour, port: port.parse()? })
    }
}

/// Serves until killed; where it `drains`, only what is open by then once it has got SIGTERM. `pod` is what HTTP's answers call the
/// server.
pub(crate) async fn run(bind: IpAddr, services: Vec<Service>, pod: String, drains: bool) -> Result<()> {
    let mut accepting = Vec::new();
    let (told, draining) = watch::channel(false);
    let mut terminated = drains.then(|| signal(SignalKind::terminate())).transpose()?;
    let http = HttpEcho::new(pod);
    for service in services {
        let listener = listen(SocketAddr::new(bind, service.port))?;
        accepting.push(tokio::spawn(accept(listener, service.behaviour, http.clone(), draining.clone())));
    }
    if let Some(terminated) = &mut terminated {
        terminated.recv().await;
        told.send_replace(true);
    }
    for task in accepting {
        task.await??;
    }
    std::future::pending().await
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).with_context(|| format!("binding {address}"))?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into())?)
}

async fn accept(
    listener: TcpListener,
    behaviour: Behaviour,
    http: HttpEcho,
    mut draining: watch::Receiver<bool>,
) -> Result<()> {
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            // Those that wait already are not left out.
            accepted = listener.accept() => accepted?,
            _ = draining.wait_for(|draining| *draining) => return Ok(()),
        };
        let http = http.clone();
        tokio::spawn(async move {
            let served = serve(stream, peer, behaviour, http).await;
            if behaviour == Behaviour::Watch {
                let end = served.err().map_or("eof".to_owned(), |error| format!("{:?}", error.kind()));
                println!("{}", json!({ "peer": shown(peer), "end": end }));
            }
        });
    }
}

async fn serve(mut stream: TcpStream, peer: SocketAddr, behaviour: Behaviour, http: HttpEcho) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match behaviour {
        Behaviour::Echo | Behaviour::Watch => echo(&mut stream).await,
        Behaviour::Banner => {
            stream.write_all(BANNER).await?;
            echo(&mut stream).await
        }
        Behaviour::Peer => {
            let seen = json!({
                "accept": shown(peer), "getpeername": shown(stream.peer_addr()?), "getsockname": shown(stream.local_addr()?),
            });
            stream.write_all(format!("{seen}\n").as_bytes()).await?;
            stream.shutdown().await
        }
        Behaviour::Sink => sink(&mut stream).await,
        Behaviour::Source => source(&mut stream).await,
        Behaviour::Reset => {
            stream.read_u8().await?;
            SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))
        }
        Behaviour::Http => probed::http(stream, peer).await,
        Behaviour::Grpc => probed::grpc(stream).await,
        Behaviour::HttpEcho => http.serve(stream, peer).await,
        Behaviour::Otlp => collector::serve(stream).await,
    }
}

async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    // Small: there may be thousands of these at a time.
    let mut block = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut block).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&block[..length]).await?;
    }
}

async fn sink(stream: &mut TcpStream) -> io::Result<()> {
    let (mut block, mut scratch, mut pattern) = (vec![0; BLOCK], Vec::new(), Pattern::default());
    let (mut bytes, mut exact) = (0, true);
    loop {
        let length = stream.read(&mut block).await?;
        if length == 0 {
            break;
        }
        exact &= pattern.matches(&block[..length], &mut scratch);
        bytes += length;
    }
    stream.write_all(format!("{}\n", json!({ "bytes": bytes, "exact": exact })).as_bytes()).await?;
    stream.shutdown().await
}

async fn source(stream: &mut TcpStream) -> io::Result<()> {
    let mut wanted: u64 = 0;
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            digit @ b'0'..=b'9' => wanted = wanted * 10 + u64::from(digit - b'0'),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    send(stream, wanted).await?;
    stream.shutdown().await
}

/// Sends the first bytes of the pattern.
pub(crate) async fn send(stream: &mut (impl AsyncWriteExt + Unpin), mut bytes: u64) -> io::Result<()> {
    let (mut block, mut pattern) = (vec![0; BLOCK], Pattern::default());
    while bytes > 0 {
        let length = usize::try_from(bytes).unwrap_or(BLOCK).min(BLOCK);
        pattern.fill(&mut block[..length]);
        stream.write_all(&block[..length]).await?;
        bytes -= length as u64;
    }
    Ok(())
}

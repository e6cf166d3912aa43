//! `weir-test-app`: what a pod runs when a test must see every byte, errno and address. It knows nothing of Weir: it is
//! an ordinary program with ordinary sockets. Clients print one line of JSON; servers print one per connection they watch.
#![expect(clippy::disallowed_methods, reason = "it sends at a pace, or holds traffic back")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod answers;
mod ca;
mod client;
mod collector;
mod dial;
mod hostile;
mod http_echo;
mod http_load;
mod kept;
mod kube_api;
mod link;
mod load;
mod many;
mod mixed;
mod partial_ads;
mod pattern;
mod paused;
mod probed;
mod report;
mod serve;
mod smuggle;
mod tls;
mod tunnel;
mod wrong_http2;

#[derive(Debug, Parser)]
#[command(about = "Servers and clients for tests")]
struct Arguments {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Serve on ports, each with a behaviour: echo:7001 banner:7002 …
    Serve {
        #[arg(required = true)]
        services: Vec<serve::Service>,
        /// Address to listen on.
        #[arg(long, default_value = "::")]
        bind: std::net::IpAddr,
        /// What the answers of http-echo call the server.
        #[arg(long, default_value = "pod")]
        pod: String,
        /// At SIGTERM no longer listen, and serve what is open until killed: as an application does that ends in order.
        #[arg(long)]
        drain: bool,
    },
    /// Connect, send a text, tell what came back and how it ended.
    Probe {
        address: SocketAddr,
        #[arg(long, default_value = "")]
        send: String,
        /// Say nothing for so long before that.
        #[arg(long, default_value_t = 0)]
        silent_ms: u64,
        /// Bind to this source address first.
        #[arg(long)]
        source: Option<SocketAddr>,
    },
    /// Connect, send a text, then reset the connection.
    Abort {
        address: SocketAddr,
        #[arg(long, default_value = "x")]
        send: String,
    },
    /// Connect to an echo, prove that it echoes, then keep the connections until they end, and tell how.
    Hold {
        address: SocketAddr,
        #[arg(long, default_value_t = 1)]
        count: u32,
    },
    /// Send bytes to a sink, end the sending side, read the sink's verdict.
    Upload { address: SocketAddr, bytes: u64 },
    /// Ask a source for bytes and compare each.
    Download { address: SocketAddr, bytes: u64 },
    /// The same, and say at once that nothing more will be asked.
    Fetch { address: SocketAddr, bytes: u64 },
    /// Send bytes to an echo and compare what returns, both at the same time.
    Echo { address: SocketAddr, bytes: u64 },
    /// Keep connections whose data nobody reads.
    Paused(paused::Paused),
    /// Mean harm.
    #[command(subcommand)]
    Hostile(hostile::Hostile),
    /// Send requests that two readers might understand in two ways, and tell how each was answered.
    Smuggle(smuggle::Smuggle),
    /// Send requests to which two proxies must give the same answers, and tell each answer.
    Answers(answers::Answers),
    /// Make many connections to an echo; each must return its own token.
    Many(many::Many),
    /// Keep connections to an echo and use them, open new ones at a rate, and tell what happened to them.
    Load(load::Load),
    /// Send requests to an http-echo over kept connections, and tell who answered what.
    HttpLoad(http_load::HttpLoad),
    /// Send requests of many kinds to an http-echo, and hold every byte of the answers against them.
    Mixed(mixed::Mixed),
    /// Ask an http-echo for a tunnel, and send bytes through it that must come back.
    Tunnel(tunnel::Tunnel),
    /// Dial an echo before anything else, until it answers, and tell when that was.
    Dial(dial::Dial),
    /// Be a certificate authority that does what a file says.
    Ca(ca::Ca),
    /// Be a control plane that answers some types only.
    PartialAds(partial_ads::PartialAds),
    /// Be a Kubernetes API server for what is in a folder.
    KubeApi(kube_api::KubeApi),
    /// Carry frames between two tap devices, late, and lose some.
    Link(link::Link),
    /// Do the TLS handshake of an HBONE client with a certificate, and tell whether the peer goes on.
    Tls {
        address: SocketAddr,
        /// Chain and key; without them no certificate is presented.
        #[arg(long, requires = "key")]
        chain: Option<PathBuf>,
        #[arg(long)]
        key: Option<PathBuf>,
    },
    /// Be an HBONE listener with a certificate; tells how each handshake went.
    TlsServe {
        address: SocketAddr,
        #[arg(long)]
        chain: PathBuf,
        #[arg(long)]
        key: PathBuf,
        /// What follows the handshake.
        #[arg(long, value_enum, default_value = "nothing")]
        greeting: tls::Greeting,
    },
}

fn main() -> Result<()> {
    let start = Instant::now();
    let act = Arguments::parse().act;
    match act {
        Act::Tls { address, chain, key } => return tls::probe(address, chain.as_deref().zip(key.as_deref())),
        Act::TlsServe { address, chain, key, greeting } => return tls::serve(address, &chain, &key, greeting),
        Act::Link(link) => return link::carry(&link),
        Act::Dial(dial) => return dial::run(&dial, start),
        Act::Hostile(what) => return hostile::run(what),
        Act::Smuggle(smuggle) => return smuggle::run(&smuggle),
        _ => {}
    }
    // One thread: a server that answers in order is easier to reason about, and the cores belong to Weir.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match act {
            Act::Serve { services, bind, pod, drain } => serve::run(bind, services, pod, drain).await,
            Act::Probe { address, send, silent_ms, source } => client::probe(address, (silent_ms, &send), source).await,
            Act::Abort { address, send } => client::abort(address, &send).await,
            Act::Hold { address, count } => client::hold(address, count).await,
            Act::Upload { address, bytes } => client::upload(address, bytes).await,
            Act::Download { address, bytes } => client::download(address, bytes, false).await,
            Act::Fetch { address, bytes } => client::download(address, bytes, true).await,
            Act::Echo { address, bytes } => client::echo(address, bytes).await,
            Act::Load(load) => load::run(load).await,
            Act::HttpLoad(load) => http_load::run(load).await,
            Act::Mixed(mixed) => mixed::run(mixed).await,
            Act::Tunnel(tunnel) => tunnel::run(tunnel).await,
            Act::Many(many) => many::run(many).await,
            Act::Answers(answers) => answers::run(answers).await,
            Act::Paused(paused) => paused::run(paused).await,
            Act::Ca(ca) => ca::serve(ca).await,
            Act::PartialAds(ads) => partial_ads::serve(ads).await,
            Act::KubeApi(api) => kube_api::serve(api).await,
            Act::Tls { .. }
            | Act::TlsServe { .. }
            | Act::Link(_)
            | Act::Dial(_)
            | Act::Hostile(_)
            | Act::Smuggle(_) => unreachable!("handled before the runtime"),
        }
    })
}

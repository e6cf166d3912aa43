//! A control plane of a mesh without workloads that answers what ztunnel asks for, addresses and L4 policies, and nothing else until
//! it is told to. It speaks incremental ADS over TLS.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::ca::{GRPC_HEADER, acceptor, grpc_message, text_field};

/// The ends of the type URLs that are always answered.
const ANSWERED: [&str; 2] = [".Address", ".Authorization"];
/// How often it is looked whether the others are to be answered, too.
const LOOK: Duration = Duration::from_millis(50);
/// Fields of `DeltaDiscoveryRequest` and `DeltaDiscoveryResponse`.
const REQUEST_TYPE_URL: u64 = 2;
const RESPONSE_TYPE_URL: u8 = 4;
const RESPONSE_NONCE: u8 = 5;

/// Where it listens, and what it proves itself with.
#[derive(Debug, Args)]
pub(crate) struct PartialAds {
    address: SocketAddr,
    #[arg(long)]
    chain: PathBuf,
    #[arg(long)]
    key: PathBuf,
    /// Once this file exists every type is answered.
    #[arg(long)]
    all: PathBuf,
}

/// The answers of a stream, which never ends by itself.
struct Answers(UnboundedReceiver<Bytes>);

impl Body for Answers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(ready!(self.0.poll_recv(cx)).map(|answer| Ok(Frame::data(answer))))
    }
}

/// Serves until killed.
pub(crate) async fn serve(ads: PartialAds) -> Result<()> {
    let acceptor = acceptor(&ads.chain, &ads.key)?;
    let listener = TcpListener::bind(ads.address).await.with_context(|| format!("binding {}", ads.address))?;
    let ads = Arc::new(ads);
    loop {
        let (tcp, _) = listener.accept().await?;
        let (ads, acceptor) = (ads.clone(), acceptor.clone());
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let service = hyper::service::service_fn(move |request| respond(ads.clone(), request));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // An agent that ends resets it.
            let _ = server.serve_connection(TokioIo::new(tls), service).await;
        });
    }
}

async fn respond(ads: Arc<PartialAds>, request: Request<Incoming>) -> Result<Response<Answers>> {
    let (answers, body) = unbounded_channel();
    tokio::spawn(async move {
        if let Err(error) = answer(&ads, request.into_body(), &answers).await {
            eprintln!("{error:#}");
        }
    });
    Ok(Response::builder().header("content-type", "application/grpc").body(Answers(body))?)
}

/// Answers the first request for each type: there are no resources. What follows it are acknowledgements.
async fn answer(ads: &PartialAds, mut requests: Incoming, answers: &UnboundedSender<Bytes>) -> Result<()> {
    let (mut received, mut asked, mut waiting) = (Vec::new(), BTreeSet::new(), Vec::new());
    loop {
        while let Some(message) = next_message(&mut received) {
            let kind = text_field(&message, REQUEST_TYPE_URL)?;
            if asked.insert(kind.clone()) {
                waiting.push(kind);
            }
        }
        let all = ads.all.exists();
        for kind in waiting.extract_if(.., |kind| all || ANSWERED.iter().any(|answered| kind.ends_with(answered))) {
            println!("{kind}");
            answers.send(grpc_message([(RESPONSE_TYPE_URL, &*kind), (RESPONSE_NONCE, "1")]).into())?;
        }
        tokio::select! {
            frame = requests.frame() => {
                let Some(frame) = frame else { return Ok(()) };
                received.extend_from_slice(&frame?.into_data().unwrap_or_default());
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Takes a whole message of gRPC from what was received, if there is one.
fn next_message(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let header: &[u8; GRPC_HEADER] = received.first_chunk()?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if received.len() < GRPC_HEADER + length {
        return None;
    }
    Some(received.drain(..GRPC_HEADER + length).skip(GRPC_HEADER).collect())
}

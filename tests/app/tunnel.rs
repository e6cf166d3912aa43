//! A client that asks for a tunnel (CONNECT) to an http-echo, over HTTP/1.1 or HTTP/2, and sends bytes through it: each must come back. It
//! ends its side once it has sent all, and reads until the server has ended its own.

use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::TcpStream;

use crate::pattern::Pattern;

/// Bytes that are written at once.
const BLOCK: u64 = 16 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Tunnel {
    address: SocketAddr,
    bytes: u64,
    /// Where the tunnel is to lead to: `host:port`.
    #[arg(long)]
    to: String,
    /// HTTP/2 with prior knowledge.
    #[arg(long)]
    http2: bool,
}

/// Prints the status of the answer and who gave it; and of a tunnel how many bytes have come back, and whether they are those that were sent.
pub(crate) async fn run(tunnel: Tunnel) -> Result<()> {
    let request = Request::builder().method(Method::CONNECT).uri(&tunnel.to);
    let request = if tunnel.http2 { request.version(Version::HTTP_2) } else { request.header(HOST, &tunnel.to) };
    let request = request.body(Empty::<Bytes>::new())?;
    let stream = TokioIo::new(TcpStream::connect(tunnel.address).await?);
    let response = if tunnel.http2 {
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(driver);
        sender.send_request(request).await?
    } else {
        let (mut sender, driver) = http1::handshake(stream).await?;
        tokio::spawn(driver.with_upgrades());
        sender.send_request(request).await?
    };
    let status = response.status().as_u16();
    let pod = response.headers().get("x-pod").and_then(|pod| pod.to_str().ok()).map(str::to_owned);
    let (mut bytes, mut is_exact) = (0, true);
    if response.status().is_success() {
        let (mut reading, mut writing) = split(TokioIo::new(hyper::upgrade::on(response).await?));
        let sending = async {
            let (mut pattern, mut left) = (Pattern::default(), tunnel.bytes);
            while left > 0 {
                let mut block = vec![0; usize::try_from(left.min(BLOCK))?];
                pattern.fill(&mut block);
                writing.write_all(&block).await?;
                left -= block.len() as u64;
            }
            Ok::<_, anyhow::Error>(writing.shutdown().await?)
        };
        let receiving = async {
            let (mut pattern, mut scratch, mut block) = (Pattern::default(), Vec::new(), vec![0; 16 * 1024]);
            loop {
                let length = reading.read(&mut block).await?;
                if length == 0 {
                    return Ok::<_, anyhow::Error>(());
                }
                bytes += length as u64;
                is_exact &= pattern.matches(&block[..length], &mut scratch);
            }
        };
        tokio::try_join!(sending, receiving)?;
    }
    println!("{}", json!({ "status": status, "pod": pod, "bytes": bytes, "exact": is_exact }));
    Ok(())
}

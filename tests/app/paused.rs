//! Connections whose data nobody reads: downloads of which this client reads nothing, or uploads to a server that does not.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// What a server is asked for: more than anything on the way holds.
const ENDLESS: &[u8] = b"1000000000000\n";
/// For how long a server takes nothing more before an upload counts as paused.
const QUIET: Duration = Duration::from_millis(500);

/// Paused connections to one server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Paused {
    address: SocketAddr,
    /// How many.
    #[arg(long)]
    count: usize,
    /// Send to the server until it takes no more, instead of asking it for data.
    #[arg(long)]
    upload: bool,
    /// How many are opened a second, at most.
    #[arg(long)]
    per_second: Option<u32>,
}

/// Opens the connections, prints a line once all are paused, and keeps them until killed.
pub(crate) async fn run(paused: Paused) -> Result<()> {
    let (mut kept, start) = (Vec::new(), Instant::now());
    for number in 0..paused.count {
        if let Some(per_second) = paused.per_second {
            sleep_until(start + Duration::from_secs(1) * u32::try_from(number)? / per_second).await;
        }
        let mut stream = TcpStream::connect(paused.address).await?;
        if !paused.upload {
            stream.write_all(ENDLESS).await?;
        }
        kept.push(stream);
    }
    if paused.upload {
        let mut filling: JoinSet<io::Result<TcpStream>> = kept.drain(..).map(fill).collect();
        while let Some(filled) = filling.join_next().await {
            kept.push(filled??);
        }
    }
    println!("{}", json!({ "open": kept.len() }));
    std::future::pending().await
}

/// Sends until nothing more is taken.
async fn fill(mut stream: TcpStream) -> io::Result<TcpStream> {
    let block = vec![b'x'; 256 * 1024];
    while let Ok(sent) = timeout(QUIET, stream.write_all(&block)).await {
        sent?;
    }
    Ok(stream)
}

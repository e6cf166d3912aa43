//! One request, and its answer to the last byte.

use std::io;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::answer::{Fault, Seen, head};
use super::content::Content;
use super::kind::{Kind, below};
use super::stream::stream;
use super::way::Way;
use crate::pattern::Pattern;

/// Bytes of the pattern between the beginnings of two requests' parts of it: none has more, so no two have bytes in common.
const APART: u64 = 10_000_019;
/// The most bytes of a download, of a small one and of an upload; and what is asked for by a client that does not want it all.
const DOWNLOAD: u64 = 300_000;
const SMALL: u64 = 5000;
const UPLOAD: u64 = 200_000;
const LEFT: u64 = 3_000_000;
/// What an upload that is left has sent.
const LEFT_UPLOAD: usize = 30_000;
/// What a policy answers.
const DENIED: &[u8] = b"RBAC: access denied";

/// What http-echo tells of a request.
#[derive(Debug, Deserialize)]
struct Told {
    method: String,
    target: String,
    body_bytes: u64,
    body_exact: bool,
}

/// Sends a request of a kind, and reads its answer.
pub(super) async fn exchange(kind: Kind, way: &mut Way, number: u64) -> Result<Seen, Fault> {
    let from = number * APART;
    let path = kind.path(number);
    let target = |wish: &str| format!("{path}?key=mixed&from={from}&field=x-number:{number}&{wish}");
    match kind {
        Kind::Upload => upload(way, number, &target(""), from).await,
        Kind::LeftUpload => left_upload(way, &target(""), from).await,
        Kind::Stream => stream(way, number, &target("live=1"), from).await,
        Kind::LeftDownload => {
            let response = way.ask(kind, &target(&format!("size={LEFT}")), || Content::Empty).await?;
            let seen = head(kind, number, &response)?;
            let bytes = part(response, from, below(number, LEFT / 3)).await?;
            way.leave().await;
            Ok(Seen { bytes, ..seen })
        }
        _ => {
            let size = below(number, if kind == Kind::Download { DOWNLOAD } else { SMALL });
            let response = way.ask(kind, &target(&format!("size={size}")), || Content::Empty).await?;
            let seen = head(kind, number, &response)?;
            let bytes = if seen.pod.is_some() { whole(response, from, size).await? } else { denied(response).await? };
            Ok(Seen { bytes, ..seen })
        }
    }
}

async fn upload(way: &mut Way, number: u64, target: &str, from: u64) -> Result<Seen, Fault> {
    let size = below(number, UPLOAD);
    let content = || Content::Pattern { pattern: Pattern::at(from), left: size, has_length: number.is_multiple_of(2) };
    let response = way.ask(Kind::Upload, target, content).await?;
    let seen = head(Kind::Upload, number, &response)?;
    let told = response.into_body().collect().await?.to_bytes();
    let told: Told = serde_json::from_slice(&told).map_err(|error| Fault::Wrong(error.to_string()))?;
    let is_right = told.method == "POST" && told.target == target && told.body_exact && told.body_bytes == size;
    if !is_right {
        return Err(Fault::Wrong(format!("of {target} with {size} bytes the server saw {told:?}")));
    }
    Ok(Seen { bytes: size, ..seen })
}

/// Whatever comes of it, nobody waits for it.
async fn left_upload(way: &mut Way, target: &str, from: u64) -> Result<Seen, Fault> {
    let mut block = vec![0; LEFT_UPLOAD];
    Pattern::at(from).fill(&mut block);
    let block = Bytes::from(block);
    let content = || {
        let (feed, fed) = mpsc::channel(2);
        for part in [Ok(block.clone()), Err(io::ErrorKind::ConnectionAborted.into())] {
            feed.try_send(part).expect("there is room for two");
        }
        Content::Fed(fed)
    };
    let _ = way.ask(Kind::LeftUpload, target, content).await;
    way.leave().await;
    Ok(Seen::default())
}

/// Reads content that must be this part of the pattern, and nothing else; its length.
async fn whole(response: Response<Incoming>, from: u64, size: u64) -> Result<u64, Fault> {
    let bytes = part(response, from, u64::MAX).await?;
    if bytes == size { Ok(size) } else { Err(Fault::Wrong(format!("{bytes} bytes came, not {size}"))) }
}

/// Reads content until at least so many bytes of it are there, or it ends; how many there were.
async fn part(response: Response<Incoming>, from: u64, enough: u64) -> Result<u64, Fault> {
    let (mut body, mut pattern, mut scratch) = (response.into_body(), Pattern::at(from), Vec::new());
    let mut bytes = 0;
    while bytes < enough {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame?.into_data() else { continue };
        if !pattern.matches(&data, &mut scratch) {
            return Err(Fault::Wrong(format!("other bytes came after {bytes}")));
        }
        bytes += data.len() as u64;
    }
    Ok(bytes)
}

/// Nothing of what was asked for is in a denial.
async fn denied(response: Response<Incoming>) -> Result<u64, Fault> {
    let text = response.into_body().collect().await?.to_bytes();
    if text == DENIED { Ok(0) } else { Err(Fault::Wrong(format!("it is denied with {text:?}"))) }
}

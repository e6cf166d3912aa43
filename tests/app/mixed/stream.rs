//! A stream of gRPC: each message must have come back before the next one goes, and the server must end well.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::answer::{Fault, Seen, head};
use super::content::Content;
use super::kind::{Kind, below};
use super::way::Way;
use crate::pattern::Pattern;

/// The bytes before a message: whether it is compressed, and its length.
const FRAME: usize = 5;
const BETWEEN_MESSAGES: Duration = Duration::from_millis(40);

/// Sends a number of messages, whose content is the pattern from a position on.
pub(super) async fn stream(way: &mut Way, number: u64, target: &str, from: u64) -> Result<Seen, Fault> {
    let mut feed = None;
    let content = || {
        let (own, fed) = mpsc::channel(1);
        feed = Some(own);
        Content::Fed(fed)
    };
    let response = way.ask(Kind::Stream, target, content).await?;
    let feed = feed.expect("a request was made");
    let seen = head(Kind::Stream, number, &response)?;
    let (mut body, mut pattern) = (response.into_body(), Pattern::at(from));
    let (mut bytes, messages) = (0, 5 + below(number, 30));
    for serial in 0..messages {
        let message = message(&mut pattern, below(number + serial, 4000));
        bytes += message.len() as u64;
        feed.send(Ok(message.clone())).await.map_err(|_| Fault::lost("the stream ended"))?;
        comes_back(&mut body, message).await?;
        sleep(BETWEEN_MESSAGES).await;
    }
    drop(feed);
    let end = body.collect().await?;
    let status = end.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    if status.as_ref().is_none_or(|status| status != "0") || !end.to_bytes().is_empty() {
        return Err(Fault::Wrong(format!("the stream ended with {status:?}")));
    }
    Ok(Seen { bytes, messages, ..seen })
}

fn message(pattern: &mut Pattern, length: u64) -> Bytes {
    let mut block = vec![0; FRAME + usize::try_from(length).expect("it is small")];
    block[1..FRAME].copy_from_slice(&u32::try_from(length).expect("it is small").to_be_bytes());
    pattern.fill(&mut block[FRAME..]);
    block.into()
}

async fn comes_back(body: &mut Incoming, mut message: Bytes) -> Result<(), Fault> {
    while !message.is_empty() {
        let frame = body.frame().await.ok_or_else(|| Fault::lost("the stream ended"))??;
        let Ok(data) = frame.into_data() else { return Err(Fault::lost("trailers came early")) };
        if !message.starts_with(&data) {
            return Err(Fault::Wrong("other bytes came back".to_owned()));
        }
        message.advance(data.len());
    }
    Ok(())
}

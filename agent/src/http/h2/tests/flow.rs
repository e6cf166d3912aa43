//! Content that is longer than windows and queues, and readers that are slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};

use futures_util::FutureExt as _;

use super::*;

/// Content in which every byte tells where it belongs.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7 % 251).to_le_bytes()[0]).collect()
}

/// Sends all of this in parts, and receives the response meanwhile: what is sent may have no room before what comes back is taken.
async fn echoed(stream: &mut ClientStream, all: &[u8], part: usize) -> Result<Vec<u8>, ExchangeError> {
    let (mut parts, mut received, mut is_answered, mut is_ended) = (all.chunks(part), Vec::new(), false, false);
    poll_fn(|cx| {
        while !is_ended && stream.poll_room(cx)?.is_ready() {
            match parts.next() {
                Some(part) => stream.send_data(part.to_vec().into()),
                None => {
                    stream.send_end();
                    is_ended = true;
                }
            }
        }
        if !is_answered {
            ready!(stream.poll_response(cx, &mut ResponseHead::default()))?;
            is_answered = true;
        }
        loop {
            match ready!(stream.poll_receive(cx))? {
                Received::Data(data) => received.extend_from_slice(&data),
                Received::Trailers(_) | Received::End => return Poll::Ready(Ok::<_, ExchangeError>(())),
            }
        }
    })
    .await?;
    Ok(received)
}

#[tokio::test]
async fn content_longer_than_all_windows_passes_both_ways_at_once() {
    let (client, _driving) = pair(echo);
    for (bytes, part) in [(0, 1), (20_000, 1), (300_000, 100), (3_000_000, 16_384), (8_000_000, 1_000_000)] {
        let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
        let all = content(bytes);
        let received = within(echoed(&mut stream, &all, part)).await.expect("it passes");
        assert!(received == all, "{} of {bytes} bytes in parts of {part}", received.len());
    }
}

#[tokio::test]
async fn many_exchanges_pass_at_once() {
    let (client, _driving) = pair(echo);
    let client = Arc::new(client);
    let all = within(async {
        let first = client.open(&request("GET"), BodyLength::Empty).expect("there is room");
        while client.max_streams() == 100 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let asking = (0..500).map(|number| {
            let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
            tokio::spawn(async move { echoed(&mut stream, &content(number * 100), 1000).await.map(|all| all.len()) })
        });
        let mut lengths = Vec::new();
        for asked in asking.collect::<Vec<_>>() {
            lengths.push(asked.await.expect("no panic").expect("it passes"));
        }
        lengths
    })
    .await;
    assert_eq!(all, (0..500).map(|number| number * 100).collect::<Vec<_>>());
    assert_eq!(client.load(), 0);
}

/// Sends until there is no room. Returns how many bytes that took.
async fn fill(stream: &mut impl MessageStream) -> usize {
    const PART: usize = 10_000;
    let mut sent = 0;
    let mut quiet = 0;
    // No room for as long as everybody else had many turns.
    while quiet < 1000 {
        match poll_fn(|cx| stream.poll_room(cx)).now_or_never() {
            Some(room) => {
                room.expect("the stream is open");
                stream.send_data(vec![0; PART].into());
                (sent, quiet) = (sent + PART, 0);
            }
            None => {
                tokio::task::yield_now().await;
                quiet += 1;
            }
        }
    }
    sent
}

#[tokio::test]
async fn a_server_that_does_not_read_one_stream_stops_that_one_only() {
    let (client, _driving) = pair(|mut stream, head, length| async move {
        if head.method == b"PUT" {
            // Ready once the client gives it up.
            poll_fn(|cx| stream.poll_broken(cx)).await;
        } else {
            echo(stream, head, length).await;
        }
    });
    let mut paused = client.open(&request("PUT"), BodyLength::Unknown).expect("there is room");
    let sent = within(fill(&mut paused)).await;
    // The stream's window, and the queue of the stream with one part more.
    assert!((64 * 1024..64 * 1024 * 2 + 10_000).contains(&sent), "{sent}");
    let mut bystander = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    let all = content(1_000_000);
    let received = within(echoed(&mut bystander, &all, 10_000)).await.expect("it passes");
    assert!(received == all, "the bystander's content");
}

#[tokio::test]
async fn a_client_that_does_not_read_one_stream_stops_that_one_only() {
    let (filled, mut is_filled) = tokio::sync::mpsc::unbounded_channel();
    let (client, _driving) = pair(move |mut stream, head, length| {
        let filled = filled.clone();
        async move {
            if head.method != b"PUT" {
                return echo(stream, head, length).await;
            }
            stream.send_response(&response(200), BodyLength::Unknown).expect("it can be written");
            filled.send(fill(&mut stream).await).expect("the test waits for it");
            poll_fn(|cx| stream.poll_broken(cx)).await;
        }
    });
    let _paused = client.open(&request("PUT"), BodyLength::Empty).expect("there is room");
    let sent = within(is_filled.recv()).await.expect("it tells");
    // A client's windows are as large as its budget allows.
    assert!((64 * 1024..1024 * 1024 + 64 * 1024 + 10_000).contains(&sent), "{sent}");
    let mut bystander = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    let all = content(3_000_000);
    let received = within(echoed(&mut bystander, &all, 10_000)).await.expect("it passes");
    assert!(received == all, "the bystander's content");
}

#[tokio::test]
async fn a_response_that_is_whole_reaches_a_slow_client_after_its_owner_is_gone() {
    let owner = Arc::new(());
    let owned = owner.clone();
    let (client, _driving) = pair(move |mut stream, _, _| {
        let owned = owned.clone();
        async move {
            stream.send_response(&response(200), BodyLength::Unknown).expect("it can be written");
            stream.send_data(content(2_000_000).into());
            stream.send_trailers(&fields(&[("a", "b")]));
            drop((stream, owned));
        }
    });
    let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    within(head_of(&mut stream)).await.expect("a response");
    within(async {
        while Arc::strong_count(&owner) > 2 {
            tokio::task::yield_now().await
        }
    })
    .await;
    let (received, end) = within(rest_of(&mut stream)).await;
    assert!(received == content(2_000_000), "{} bytes", received.len());
    assert_eq!(end.expect("it is whole"), Some(fields(&[("a", "b")])));
    let broken = within(poll_fn(|cx| stream.poll_broken(cx))).await;
    assert!(matches!(broken, ExchangeError::Reset), "the rest of the request is of no use");
}

#[tokio::test]
async fn a_flush_waits_for_the_network() {
    let (near, mut far) = duplex(1000);
    let (client, _driving) = client_on(near);
    let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    assert!(poll_fn(|cx| stream.poll_flush(cx)).now_or_never().is_none(), "nobody has written yet");
    within(poll_fn(|cx| stream.poll_flush(cx))).await.expect("it is written");
    send(&mut stream, content(5_000)).await.expect("there is room");
    let mut flushing = std::pin::pin!(poll_fn(|cx| stream.poll_flush(cx)));
    let mut read = vec![0; 3_000];
    within(far.read_exact(&mut read)).await.expect("it is written");
    assert!(flushing.as_mut().now_or_never().is_none(), "the network holds a thousand bytes at a time");
    let reading = async { while far.read_buf(&mut read).await.is_ok_and(|count| count > 0) {} };
    tokio::select! {
        flushed = within(flushing) => flushed.expect("it is written"),
        () = reading => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn nothing_is_read_from_a_client_that_does_not_read_until_it_does() {
    const HEAD_BYTES: usize = 10_000;
    const ASKED: usize = 600;
    let (near, far) = duplex(4 * 1024);
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let serving = serve(far, move |mut stream, _, _| {
        let count = count.clone();
        async move {
            let fields = fields(&[("a", &"x".repeat(HEAD_BYTES))]);
            let head = ResponseHead { status: 200, fields, ..ResponseHead::default() };
            stream.send_response(&head, BodyLength::Empty).expect("it can be written");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let requests = (0..ASKED).map(|number| {
        let mut request = get(0);
        request[5..9].copy_from_slice(&u32::try_from(2 * number + 1).expect("a few").to_be_bytes());
        request
    });
    let all = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &requests.collect::<Vec<_>>().concat()].concat();
    let (mut reader, mut writer) = tokio::io::split(near);
    let asking = tokio::spawn(async move {
        for part in all.chunks(100) {
            writer.write_all(part).await.expect("the connection is open");
        }
        writer
    });
    let mut last = (0, 0);
    within(async {
        // Until nothing more is served for as long as everybody had many turns.
        while last.1 < 1000 {
            tokio::task::yield_now().await;
            let now = served.load(Ordering::Relaxed);
            last = (now, if now == last.0 && now > 0 { last.1 + 1 } else { 0 });
        }
    })
    .await;
    // 256 KiB of heads, and the requests that were read before they waited.
    assert!((26..ASKED / 2).contains(&last.0), "{} of {ASKED}", last.0);
    let mut read = vec![0; 64 * 1024];
    let mut bytes = 0;
    within(async {
        while bytes < ASKED * HEAD_BYTES {
            bytes += reader.read(&mut read).await.expect("the connection is open");
        }
    })
    .await;
    drop((within(asking).await.expect("no panic"), reader));
    within(serving).await.expect("no panic");
    assert_eq!(served.load(Ordering::Relaxed), ASKED);
}

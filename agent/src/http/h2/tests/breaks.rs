//! Exchanges and connections that end before they are over, or in good order.

use super::*;

/// A client, and the other end of its connection, on which a server has sent its settings and this.
async fn client_of_raw(sent: &[u8]) -> (ClientConnection, JoinHandle<String>, DuplexStream) {
    let (near, mut far) = duplex(64 * 1024);
    let (client, driving) = client_on(near);
    far.write_all(&[&frame(SETTINGS, 0, 0, &[]), sent].concat()).await.expect("it fits");
    (client, driving, far)
}

async fn outcome_of(stream: &mut ClientStream) -> String {
    match within(head_of(stream)).await {
        Ok((head, _)) => {
            let (content, end) = within(rest_of(stream)).await;
            let end = end.map_or_else(|error| error.to_string(), |_| "the end".to_owned());
            format!("{} {} {end}", head.status, String::from_utf8_lossy(&content))
        }
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_a_server_does_to_a_stream_is_what_its_owner_learns() {
    let reset = |stream: u8, reason: u8| frame(RST_STREAM, 0, stream, &[0, 0, 0, reason]);
    let goaway = |last: u8, reason: u8| frame(GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, reason]);
    let head = frame(HEADERS, END_HEADERS, 1, &[0x88]);
    let data = frame(0, 0, 1, b"hi");
    let last = frame(0, END_STREAM, 1, b"!");
    for (name, sent, closes, expected) in [
        ("a reset", reset(1, 8), false, "reset by the peer"),
        ("a refusal", reset(1, 7), false, "the peer refused the stream"),
        ("GOAWAY below it", goaway(0, 0), false, "the peer refused the stream"),
        ("GOAWAY with an error below it", goaway(0, 11), false, "the peer refused the stream"),
        ("GOAWAY with an error", goaway(1, 11), false, "reset by the peer"),
        ("a reset midway", [&head[..], &data, &reset(1, 2)].concat(), false, "200  reset by the peer"),
        ("no more is wanted", [&head[..], &data, &last, &reset(1, 0)].concat(), false, "200 hi! the end"),
        ("nothing, and the end", vec![], true, "the connection ended before a response came"),
        ("half, and the end", [&head[..], &data].concat(), true, "200 hi the connection ended before the message did"),
        ("all, and the end", [&head[..], &data, &last].concat(), true, "200 hi! the end"),
        (
            "no HTTP/2",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            false,
            "the peer broke the connection's rules: a frame is too long",
        ),
        (
            "half, and no HTTP/2 after it",
            [&head[..], &data, b"HTTP/1.1 400 Bad Request\r\n\r\n"].concat(),
            false,
            "200 hi malformed message: a frame is too long",
        ),
        (
            "no response",
            frame(HEADERS, END_HEADERS, 1, &[0x84]),
            false,
            "malformed message: an unknown pseudo-header field",
        ),
    ] {
        let (client, driving, mut far) = client_of_raw(&[]).await;
        let mut stream = client.open(&request("GET"), BodyLength::Empty).expect("there is room");
        far.write_all(&sent).await.expect("it fits");
        let far = (!closes).then_some(far);
        assert_eq!(outcome_of(&mut stream).await, expected, "{name}");
        drop((stream, client, far));
        within(driving).await.expect("no panic");
    }
}

#[tokio::test]
async fn streams_wait_for_room_and_go_elsewhere_once_the_server_leaves() {
    let one_stream = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]);
    let (client, driving, mut far) = client_of_raw(&[]).await;
    assert_eq!((client.max_streams(), client.takes_streams()), (100, true), "before the settings are read");
    far.write_all(&one_stream).await.expect("it fits");
    let first = within(async {
        while client.max_streams() != 1 {
            tokio::task::yield_now().await;
        }
        client.open(&request("GET"), BodyLength::Empty).expect("there is room")
    })
    .await;
    assert_eq!((client.load(), client.takes_streams(), client.idle_for()), (1, false, None));
    assert_eq!(client.open(&request("GET"), BodyLength::Empty).err(), Some(OpenError::Full));
    drop(first);
    assert!(client.takes_streams() && client.idle_for().is_some());
    far.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.expect("it fits");
    assert_eq!(within(driving).await.expect("no panic"), "no longer used");
    assert_eq!(client.open(&request("GET"), BodyLength::Empty).err(), Some(OpenError::GoingAway));
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_stream_that_is_dropped_midway_is_reset() {
    let (broken, mut is_broken) = tokio::sync::mpsc::unbounded_channel();
    let (client, _driving) = pair(move |mut stream, head, _| {
        let broken = broken.clone();
        async move {
            if head.method == b"GET" {
                return drop(stream);
            }
            stream.send_response(&response(100), BodyLength::Empty).expect("it can be written");
            let error = poll_fn(|cx| stream.poll_left(cx)).await;
            let (_, received) = rest_of(&mut stream).await;
            let room = poll_fn(|cx| stream.poll_room(cx)).await;
            broken.send(format!("{error}, {received:?}, {room:?}")).expect("the test waits for it");
        }
    });
    let mut unanswered = client.open(&request("GET"), BodyLength::Empty).expect("there is room");
    assert_eq!(outcome_of(&mut unanswered).await, "reset by the peer");
    let mut given_up = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    send(&mut given_up, "x").await.expect("there is room");
    assert_eq!(within(head_of(&mut given_up)).await.expect("the server has it").0.status, 100);
    drop(given_up);
    assert_eq!(within(is_broken.recv()).await.expect("it tells"), "reset by the peer, Err(Reset), Err(Reset)");
    assert_eq!(client.load(), 1, "the first is still held");
}

#[tokio::test]
async fn a_reset_has_its_reason() {
    let (mut near, far) = duplex(16 * 1024);
    let serving = serve(far, |mut stream, _, _| async move {
        stream.reset(Reason::REFUSED_STREAM);
        assert!(poll_fn(|cx| stream.poll_room(cx)).await.is_err());
    });
    near.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1)].concat()).await.expect("it fits");
    let expected = frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]);
    let mut read = Vec::new();
    within(async {
        while !read.ends_with(&expected) {
            near.read_buf(&mut read).await.expect("the connection is open");
        }
    })
    .await;
    drop(near);
    assert_eq!(within(serving).await.expect("no panic"), "the end");
}

#[tokio::test]
async fn a_server_that_leaves_ends_after_its_last_stream() {
    let (near, far) = duplex(16 * 1024);
    let (client, driving) = client_on(near);
    let mut server = ServerConnection::new(far, BytesMut::new(), budget());
    let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    let (incoming, _, _) = within(poll_fn(|cx| server.poll_request(cx))).await.expect("HTTP/2").expect("a request");
    server.leave();
    let answering = tokio::spawn(echo(incoming, request("POST"), BodyLength::Unknown));
    let serving = tokio::spawn(async move { poll_fn(|cx| server.poll_request(cx)).await.map(|next| next.is_none()) });
    within(async {
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(client.open(&request("GET"), BodyLength::Empty).err(), Some(OpenError::GoingAway));
    stream.send_data("hi".into());
    stream.send_end();
    assert_eq!(outcome_of(&mut stream).await, "200 hi the end");
    drop(stream);
    within(answering).await.expect("no panic");
    assert!(matches!(within(serving).await.expect("no panic"), Ok(true)));
    let ended = within(driving).await.expect("no panic");
    assert!(["no longer used", "closed by the peer"].contains(&&*ended), "{ended}");
}

#[tokio::test]
async fn a_client_that_is_dropped_ends_after_its_last_stream() {
    let (client, driving) = pair(echo);
    let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    drop(client);
    send(&mut stream, "hi").await.expect("there is room");
    stream.send_end();
    assert_eq!(outcome_of(&mut stream).await, "200 hi the end");
    assert!(!driving.is_finished());
    drop(stream);
    assert_eq!(within(driving).await.expect("no panic"), "no longer used");
}

#[tokio::test]
async fn streams_break_with_what_drives_them() {
    let (near, far) = duplex(16 * 1024);
    let (client, driving) = client_on(near);
    let mut server = ServerConnection::new(far, BytesMut::new(), budget());
    let mut stream = client.open(&request("POST"), BodyLength::Unknown).expect("there is room");
    let (mut incoming, _, _) = within(poll_fn(|cx| server.poll_request(cx))).await.expect("HTTP/2").expect("a request");
    drop(server);
    assert!(matches!(within(rest_of(&mut incoming)).await.1, Err(ExchangeError::Truncated)));
    assert!(matches!(poll_fn(|cx| incoming.poll_left(cx)).await, ExchangeError::Reset));
    assert_eq!(outcome_of(&mut stream).await, "the connection ended before a response came");
    assert_eq!(within(driving).await.expect("no panic"), "closed by the peer");
}

#[tokio::test]
async fn a_client_that_floods_is_cut_off_and_those_that_do_not_are_not() {
    let (mut near, far) = duplex(64 * 1024);
    let serving = serve(far, echo);
    near.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("it fits");
    // Acknowledgements, so that nothing has to be read meanwhile.
    let pings = frame(PING, 1, 0, &[0; 8]).repeat(1000);
    within(async { while near.write_all(&pings).await.is_ok() {} }).await;
    assert_eq!(
        within(serving).await.expect("no panic"),
        "HTTP/2 ENHANCE_YOUR_CALM: too many frames that carry no data"
    );
}

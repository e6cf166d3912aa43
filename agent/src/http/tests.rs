//! Exchanges between a client and a server that do what a list says.

mod local;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::*;
use crate::model::http::head::{HttpFields, ResponseHead};

/// One side of an exchange: what it sends, what was sent to it, and for how many parts it has room.
#[derive(Debug, Default)]
struct Side {
    sends: VecDeque<Result<Received, ExchangeError>>,
    responds: VecDeque<Result<(u16, BodyLength), ExchangeError>>,
    got: Vec<String>,
    room: usize,
}

impl Side {
    fn new(room: usize, sends: &[&str]) -> Self {
        let part = |text: &&str| match *text {
            "end" => Ok(Received::End),
            "trailers" => Ok(Received::Trailers([("a", "b")].into_iter().collect())),
            "reset" => Err(ExchangeError::Reset),
            data => Ok(Received::Data(Bytes::copy_from_slice(data.as_bytes()))),
        };
        Self { sends: sends.iter().map(part).collect(), room, ..Self::default() }
    }

    fn responding(mut self, responds: &[(u16, BodyLength)]) -> Self {
        self.responds = responds.iter().copied().map(Ok).collect();
        self
    }
}

impl MessageStream for Side {
    fn poll_receive(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Received, ExchangeError>> {
        self.sends.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_room(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        if self.room > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn send_data(&mut self, data: Bytes) {
        self.room -= 1;
        self.got.push(String::from_utf8_lossy(&data).into_owned());
    }

    fn send_trailers(&mut self, _trailers: &HttpFields) {
        self.got.push("trailers".into());
    }

    fn send_end(&mut self) {
        self.got.push("end".into());
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        Poll::Ready(Ok(()))
    }
}

impl Downstream for Side {
    fn send_response(&mut self, head: &ResponseHead, _length: BodyLength) -> Result<(), ExchangeError> {
        self.got.push(head.status.to_string());
        Ok(())
    }

    fn poll_left(&mut self, _cx: &mut Context<'_>) -> Poll<ExchangeError> {
        Poll::Pending
    }
}

impl Upstream for Side {
    fn poll_response(
        &mut self,
        _cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodyLength, ExchangeError>> {
        match self.responds.pop_front() {
            Some(Ok((status, length))) => {
                head.status = status;
                Poll::Ready(Ok(length))
            }
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }
}

/// Counts parts, and stops the exchange once the request has come, where it is to.
#[derive(Debug, Default)]
struct Watch {
    request_parts: usize,
    response_parts: usize,
    stops: bool,
}

impl Watcher for Watch {
    fn poll_stop(
        &mut self,
        _cx: &mut Context<'_>,
        _downstream: &mut impl Downstream,
        is_received: bool,
    ) -> Poll<Broken> {
        if self.stops && is_received { Poll::Ready(Broken::Timeout) } else { Poll::Pending }
    }

    fn request_part(&mut self, _part: &Received) {
        self.request_parts += 1;
    }

    fn response_part(&mut self, _part: &Received) {
        self.response_parts += 1;
    }
}

/// What a future comes to that has nothing to wait for; `None` where it waits.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// Sends a request as far as it goes.
fn send(client: &mut Side, server: &mut Side, request: &mut RequestBody) -> Option<Result<(), String>> {
    let sent = now(poll_fn(|cx| request.poll_send(cx, client, server, &mut Watch::default())));
    sent.map(|sent| sent.map_err(|broken| broken.to_string()))
}

#[test]
fn a_request_that_was_kept_is_sent_again_from_its_beginning() {
    let mut client = Side::new(0, &["ab", "cd"]);
    let mut first = Side::new(9, &[]);
    let mut request = RequestBody::new(BodyLength::Unknown, 8);
    assert_eq!(send(&mut client, &mut first, &mut request), None, "the client has more to say");
    request.restart();
    client.sends.extend([Ok(Received::Data("ef".into())), Ok(Received::End)]);
    let mut second = Side::new(9, &[]);
    assert_eq!(send(&mut client, &mut second, &mut request), Some(Ok(())));
    assert_eq!((first.got.join(" "), second.got.join(" ")), ("ab cd".into(), "ab cd ef end".into()));
    assert_eq!((request.is_received(), request.is_sent(), request.can_restart()), (true, true, true));
    request.restart();
    let mut third = Side::new(9, &[]);
    assert_eq!(send(&mut client, &mut third, &mut request), Some(Ok(())), "nothing more is asked of the client");
    assert_eq!(third.got.join(" "), "ab cd ef end");
}

#[test]
fn more_than_may_be_kept_is_sent_once() {
    let mut client = Side::new(0, &["ab", "cd", "ef", "trailers"]);
    let mut server = Side::new(9, &[]);
    let mut request = RequestBody::new(BodyLength::Unknown, 3);
    assert_eq!(send(&mut client, &mut server, &mut request), Some(Ok(())));
    assert_eq!((server.got.join(" "), request.can_restart()), ("ab cd ef trailers".into(), false));
}

#[test]
fn a_server_without_room_holds_the_client() {
    let mut client = Side::new(0, &["ab", "cd", "ef", "end"]);
    let mut server = Side::new(2, &[]);
    let mut request = RequestBody::new(BodyLength::Unknown, 0);
    assert_eq!(send(&mut client, &mut server, &mut request), None);
    assert_eq!((server.got.join(" "), client.sends.len()), ("ab cd".into(), 2));
    server.room = 1;
    assert_eq!(send(&mut client, &mut server, &mut request), None, "there is no room to look for the end");
    server.room = 1;
    assert_eq!(send(&mut client, &mut server, &mut request), Some(Ok(())));
    assert_eq!(server.got.join(" "), "ab cd ef end");
}

#[test]
fn a_response_may_come_before_the_request_was_read() {
    let mut client = Side::new(9, &["ab"]);
    let mut server = Side::new(0, &["no", "end"]).responding(&[(100, BodyLength::Empty), (413, BodyLength::Unknown)]);
    let (mut request, mut watch) = (RequestBody::new(BodyLength::Unknown, 8), Watch::default());
    let mut head = ResponseHead::default();
    for expected in [100, 413] {
        let response = now(until_response(&mut client, &mut server, &mut request, &mut head, &mut watch));
        assert!(matches!(response, Some(Ok(_))), "{response:?}");
        assert_eq!(head.status, expected);
    }
    let mut content = ResponseBody::new(BodyLength::Unknown);
    let relayed = now(content.relay(&mut client, &mut server, &mut request, &mut watch));
    assert!(matches!(relayed, Some(Ok(()))), "{relayed:?}");
    assert_eq!((client.got.join(" "), request.is_sent(), watch.response_parts), ("no end".into(), false, 2));
}

#[test]
fn a_client_without_room_holds_the_server() {
    let mut client = Side::new(1, &[]);
    let mut server = Side::new(0, &["ab", "cd", "end"]);
    let (mut request, mut watch) = (RequestBody::new(BodyLength::Empty, 0), Watch::default());
    let mut content = ResponseBody::new(BodyLength::Unknown);
    assert!(now(content.relay(&mut client, &mut server, &mut request, &mut watch)).is_none());
    assert_eq!((client.got.join(" "), server.sends.len()), ("ab".into(), 2));
}

#[test]
fn whoever_breaks_an_exchange_is_named() {
    for (client, server, stops, expected) in [
        (Side::new(9, &["reset"]), Side::new(9, &[]), false, "downstream: reset by the peer"),
        (
            Side::new(9, &["end"]),
            Side { responds: [Err(ExchangeError::NoResponse)].into(), ..Side::new(9, &[]) },
            false,
            "upstream: the connection ended before a response came",
        ),
        (Side::new(9, &["end"]), Side::new(9, &[]), true, "the route's timeout is over"),
    ] {
        let (mut client, mut server) = (client, server);
        let (mut request, mut head) = (RequestBody::new(BodyLength::Unknown, 8), ResponseHead::default());
        let mut watch = Watch { stops, ..Watch::default() };
        let response = now(until_response(&mut client, &mut server, &mut request, &mut head, &mut watch));
        assert_eq!(response.map(|response| response.map_err(|broken| broken.to_string())), Some(Err(expected.into())));
    }
}

#[test]
fn a_tunnel_ends_when_both_directions_have() {
    let mut client = Side::new(9, &["ping", "end"]);
    let mut server = Side::new(9, &["pong"]);
    let (mut request, mut watch) = (RequestBody::new(BodyLength::Empty, 0), Watch::default());
    request.begin_tunnel();
    let mut content = ResponseBody::new(BodyLength::Tunnel);
    assert!(now(content.relay(&mut client, &mut server, &mut request, &mut watch)).is_none());
    assert_eq!((client.got.join(" "), server.got.join(" ")), ("pong".into(), "ping end".into()));
    server.sends.push_back(Ok(Received::End));
    assert!(matches!(now(content.relay(&mut client, &mut server, &mut request, &mut watch)), Some(Ok(()))));
    assert_eq!(client.got.join(" "), "pong end");
}

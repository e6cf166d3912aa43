use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, SOA};
use hickory_resolver::proto::rr::{RData, Record};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::*;
use crate::proxy::outbound::names::answer::LookupError;

/// What a server answers: a code, records as name, TTL and value (an address or the name that an alias means), and the time in the SOA
/// record.
type Reply = (ResponseCode, &'static [(&'static str, u32, &'static str)], Option<u32>);

const NOBODY: Reply = (ResponseCode::NXDomain, &[], Some(9));
const NOTHING: Reply = (ResponseCode::NoError, &[], Some(5));
const FAILURE: Reply = (ResponseCode::ServFail, &[], None);

/// What the server of the tests knows; of the others nobody.
fn reply(name: &str, kind: RecordType) -> Reply {
    let is_v4 = kind == RecordType::A;
    match name {
        "both.example." if is_v4 => (ResponseCode::NoError, &[("both.example.", 20, "192.0.2.1")], None),
        "both.example." => (ResponseCode::NoError, &[("both.example.", 30, "2001:db8::1")], None),
        "alias.example." if is_v4 => {
            let chain = &[
                ("alias.example.", 60, "next.example."),
                ("next.example.", 4, "v4.example."),
                ("v4.example.", 50, "192.0.2.1"),
            ];
            (ResponseCode::NoError, chain, None)
        }
        // The server leaves the rest to whoever asks.
        "far-alias.example." => (ResponseCode::NoError, &[("far-alias.example.", 6, "v4.example.")], None),
        "v4.example." | "db.b.example." | "half.example." if is_v4 => match name {
            "v4.example." => (ResponseCode::NoError, &[("v4.example.", 50, "192.0.2.1")], None),
            "half.example." => (ResponseCode::NoError, &[("half.example.", 50, "192.0.2.1")], None),
            _ => (ResponseCode::NoError, &[("db.b.example.", 50, "192.0.2.2")], None),
        },
        "v4.example." | "db.b.example." | "alias.example." | "none.example." => NOTHING,
        "half.example." | "lost.a.example." | "broken.example." => FAILURE,
        "unsure.example." if is_v4 => FAILURE,
        "unsure.example." => NOTHING,
        "unsaid.example." => (ResponseCode::NXDomain, &[], None),
        _ => NOBODY,
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("tests write names")
}

fn encode(query: &Message, (code, records, negative): Reply) -> Vec<u8> {
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.metadata.response_code = code;
    message.add_queries(query.queries.clone());
    for (owner, ttl, value) in records {
        let data = match value.parse::<IpAddr>() {
            Ok(ip) => RData::from(ip),
            Err(_) => RData::CNAME(CNAME(name(value))),
        };
        message.add_answer(Record::from_rdata(name(owner), *ttl, data));
    }
    if let Some(minimum) = negative {
        let soa = SOA::new(name("ns.example."), name("admin.example."), 1, 1, 1, 1, minimum);
        message.add_authority(Record::from_rdata(name("example."), 3600, RData::SOA(soa)));
    }
    message.to_vec().expect("a message")
}

/// Serves DNS at an address, and returns the port.
async fn serve(ip: &str, port: u16, reply: fn(&str, RecordType) -> Option<Reply>) -> u16 {
    let socket = UdpSocket::bind((ip, port)).await.expect("loopback");
    let port = socket.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).expect("a query");
            let asked = &query.queries[0];
            if let Some(reply) = reply(&asked.name().to_string(), asked.query_type()) {
                socket.send_to(&encode(&query, reply), client).await.expect("sent");
            }
        }
    });
    port
}

async fn ask(port: u16, text: &str, asked: &str) -> (Result<Vec<String>, LookupError>, u64) {
    let (mut configuration, unused) = Configuration::parse(text.as_bytes());
    assert_eq!(unused, [""; 0]);
    configuration.port = port;
    let known = look_up(&configuration, asked, TokioRuntimeProvider::new()).await;
    // Rounded up: some time has passed since.
    let seconds = (known.until - Instant::now() + Duration::from_millis(999)).as_secs();
    (known.answer.map(|ips| ips.iter().map(ToString::to_string).collect()), seconds)
}

#[tokio::test]
async fn what_a_server_says_is_known_for_as_long_as_it_says() {
    let port = serve("127.0.0.1", 0, |name, kind| Some(reply(name, kind))).await;
    let text = "nameserver 127.0.0.1\nsearch a.example b.example\noptions timeout:5 attempts:1 ndots:2\n";
    let found = |ips: &[&str]| Ok(ips.iter().map(|ip| (*ip).to_owned()).collect::<Vec<_>>());
    let failed = || Err(LookupError::Failed("DNS error: error response: Server Failure".into()));
    let none = || Err(LookupError::NoAddress);
    for (asked, expected, seconds) in [
        ("both.example.", found(&["2001:db8::1", "192.0.2.1"]), 20),
        ("alias.example.", found(&["192.0.2.1"]), 4),
        ("far-alias.example.", found(&["192.0.2.1"]), 6),
        ("v4.example.", found(&["192.0.2.1"]), 50),
        ("half.example.", found(&["192.0.2.1"]), 50),
        ("none.example.", none(), 5),
        ("nobody.example.", none(), 9),
        ("unsaid.example.", none(), 1),
        ("unsure.example.", failed(), 1),
        ("broken.example.", failed(), 1),
        ("db", found(&["192.0.2.2"]), 50),
        ("lost", failed(), 1),
        ("nobody", none(), 9),
        ("a..b", Err(LookupError::Failed("it is no name that DNS can have".into())), 1),
    ] {
        assert_eq!(ask(port, text, asked).await, (expected, seconds), "{asked}");
    }
}

#[tokio::test]
async fn a_server_that_fails_or_is_silent_stands_in_the_way_of_no_other() {
    let port = serve("127.0.0.1", 0, |name, kind| Some(reply(name, kind))).await;
    serve("127.0.0.2", port, |_, _| Some((ResponseCode::Refused, &[], None))).await;
    serve("127.0.0.3", port, |_, _| None).await;
    serve("127.0.0.4", port, |_, _| Some(NOBODY)).await;
    let started = Instant::now();
    for others in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2\nnameserver 127.0.0.3"] {
        let text = format!("nameserver {others}\nnameserver 127.0.0.1\noptions timeout:20\n");
        let expected = vec!["2001:db8::1".to_owned(), "192.0.2.1".to_owned()];
        assert_eq!(ask(port, &text, "both.example").await, (Ok(expected), 20), "{others}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let silent = ask(port, "nameserver 127.0.0.3\noptions timeout:1 attempts:1\n", "both.example").await;
    assert_eq!(silent, (Err(LookupError::Failed("request timed out".into())), 1));
    for order in ["127.0.0.4\nnameserver 127.0.0.2", "127.0.0.2\nnameserver 127.0.0.4"] {
        assert_eq!(
            ask(port, &format!("nameserver {order}\n"), "both.example").await,
            (Err(LookupError::NoAddress), 9),
            "{order}"
        );
    }
}

//! Sends what `weir_tests::smuggling` makes, each case on a connection of its own, and prints a line for each: its number, the
//! statuses of the final responses in order (0 for one that was reset or broke off), and what was wrong about them.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use weir_tests::raw_http2::frame::{self, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM};
use weir_tests::raw_http2::hpack;
use weir_tests::smuggling::{heads, reader, requests, responses};

/// How long the end of a connection, or the last response, is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// Connections at once.
const WORKERS: usize = 4;
/// What [`serve`] answers to what asks for no case.
pub(crate) const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Requests of HTTP/1.
    Requests,
    /// Requests of HTTP/2.
    Heads,
    /// Requests that nobody misreads, for the responses of `hostile http1`.
    Responses,
}

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Smuggle {
    #[arg(value_enum)]
    kind: Kind,
    address: SocketAddr,
    /// The name of the server, which targets have.
    #[arg(long, default_value = "-")]
    server: String,
    #[arg(long)]
    host: String,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    count: u64,
}

/// Sends all cases.
pub(crate) fn run(smuggle: &Smuggle) -> Result<()> {
    let next = AtomicU64::new(0);
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= smuggle.count {
                return Ok(());
            }
            let (statuses, wrong) = smuggle.case(number).with_context(|| format!("case {number}"))?;
            let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
            println!("{number} {} {wrong}", statuses.join(","));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("it does not panic"))
    })
}

impl Smuggle {
    fn case(&self, number: u64) -> Result<(Vec<u16>, String)> {
        let (server, host) = (&*self.server, &*self.host);
        match self.kind {
            Kind::Requests => {
                let case = requests::case(self.seed, number, server, host);
                let is_head = case.changes.contains(&"HEAD");
                let read = reader::responses(&self.exchange(&case.bytes)?, |place| is_head && place == 1);
                Ok(told(read.map(|read| read.into_iter().map(|one| (one, true)).collect())))
            }
            Kind::Heads => Ok((self.streams(&heads::case(self.seed, number, server, host), number)?, String::new())),
            Kind::Responses => {
                let case = responses::case(self.seed, number);
                let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
                let asked = get(&format!("/r/{number}"), "") + &get("/fine", "Connection: close\r\n");
                let read = reader::responses(&self.exchange(asked.as_bytes())?, |_| false);
                // The first one is the case's, or the agent's; the second is none that a server has hidden.
                let expected = [&case.content[..], b"fine"];
                let is_right = |(place, one): (usize, reader::Response)| {
                    let is_right = one.status != 200 || expected.get(place) == Some(&&one.content[..]);
                    (one, is_right)
                };
                Ok(told(read.map(|read| read.into_iter().enumerate().map(is_right).collect())))
            }
        }
    }

    /// Sends bytes and their end; all that comes back.
    fn exchange(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // A server may have had enough before it has all.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut received = Vec::new();
        match stream.read_to_end(&mut received) {
            Ok(_) => Ok(received),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(received),
            Err(error) => bail!("{error} after {:?}", String::from_utf8_lossy(&received)),
        }
    }

    /// Sends three requests over HTTP/2, of which the second is the case's; what became of each.
    fn streams(&self, case: &heads::Case, number: u64) -> Result<Vec<u16>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let plain = |place| heads::plain(&self.server, number, place, &self.host);
        let mut bytes = [PREFACE, &frame::settings(&[(1, 0)])].concat();
        for (id, fields, content) in
            [(1, plain(0), &[][..]), (3, case.fields.clone(), &case.content[..]), (5, plain(2), &[][..])]
        {
            let block = hpack::block(fields.iter().map(|(name, value)| (&**name, &**value)));
            bytes.extend(frame::frame(HEADERS, END_HEADERS, id, &block));
            bytes.extend(frame::frame(DATA, END_STREAM, id, content));
        }
        stream.write_all(&bytes)?;
        let (mut statuses, mut left, mut received) = (vec![0; 3], 3, Vec::new());
        while left > 0 {
            let mut buffer = [0; 16 * 1024];
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => received.extend(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => bail!("{error} with {statuses:?}"),
            }
            while let Some(frame) = frame::take(&mut received) {
                let Some(status) = statuses.get_mut(frame.stream as usize / 2).filter(|_| frame.stream > 0) else {
                    continue;
                };
                match frame.kind {
                    HEADERS => {
                        *status = hpack::status(&frame.payload).filter(|status| *status >= 200).unwrap_or(*status)
                    }
                    RST_STREAM => left -= 1,
                    _ => {}
                }
                if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                    left -= 1;
                }
            }
        }
        Ok(statuses)
    }
}

/// Statuses, and what is wrong with the content that was not right.
fn told(read: Result<Vec<(reader::Response, bool)>, String>) -> (Vec<u16>, String) {
    match read {
        Err(wrong) => (Vec::new(), wrong),
        Ok(read) => {
            let wrong = read.iter().filter(|(one, is_right)| one.is_whole && !is_right);
            let wrong = wrong.map(|(one, _)| format!("content {:?}", String::from_utf8_lossy(&one.content)));
            let wrong = wrong.collect::<Vec<_>>().join(", ");
            (read.iter().map(|(one, _)| if one.is_whole { one.status } else { 0 }).collect(), wrong)
        }
    }
}

/// Serves HTTP/1: the response of case N for `/r/N`, another one for all else.
pub(crate) fn serve(port: u16, seed: u64) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).context("listening")?;
    for stream in listener.incoming() {
        let stream = stream?;
        // The client may leave at any time.
        thread::spawn(move || drop(connection(stream, seed)));
    }
    Ok(())
}

fn connection(mut stream: TcpStream, seed: u64) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        while let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = received.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            let number = head.strip_prefix("GET /r/").and_then(|rest| rest.split(' ').next()?.parse().ok());
            let Some(number) = number else {
                stream.write_all(FINE)?;
                continue;
            };
            let case = responses::case(seed, number);
            stream.write_all(&case.bytes)?;
            if case.closes {
                return Ok(());
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => received.extend(&buffer[..count]),
        }
    }
}

//! Exchanges the messages of a handshake until the connection's keys are known. Records that the peer sends after its last
//! handshake message are not opened: they are returned to the caller, who gets the keys.

use std::io;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::tls::records::HEADER_BYTES;

/// The most that is read at a time. A flight of a peer with a short chain fits.
const READ_BYTES: usize = 4096;

/// One side of a handshake, by rustls.
pub(super) trait Handshake {
    type Data;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Handshake for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Handshake for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// What the handshake needs next.
enum NextAct {
    Again,
    Send,
    Receive,
    Done,
}

/// Bytes that came, and how many of them rustls may see: whole records, one more at a time, so that it never takes a
/// record that follows the handshake.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    shown: usize,
}

impl Incoming {
    fn discard(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.shown -= count;
    }

    /// Shows one more record; false if none is complete. What is no record is shown as it is, to be refused.
    fn show_another(&mut self) -> bool {
        let Some([kind, major, _, high, low]) = self.bytes[self.shown..].first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        if !(20..=24).contains(kind) || *major != 3 {
            self.shown = self.bytes.len();
            return true;
        }
        let end = self.shown + HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
        let complete = end <= self.bytes.len();
        if complete {
            self.shown = end;
        }
        complete
    }
}

/// Handshakes to the end. Returns what was received beyond it.
pub(super) async fn complete<S, H>(stream: &mut S, side: &mut H) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handshake,
{
    let (mut incoming, mut outgoing) = (Incoming::default(), Vec::new());
    loop {
        match step(side, &mut incoming, &mut outgoing) {
            Ok(NextAct::Again) => {}
            Ok(NextAct::Send) => send(stream, &mut outgoing).await?,
            Ok(NextAct::Receive) => receive(stream, &mut incoming).await?,
            Ok(NextAct::Done) => return Ok(incoming.bytes),
            Err(error) => {
                encode_alert(side, &mut incoming, &mut outgoing);
                // The peer may be gone; what broke the handshake is the news.
                let _ = send(stream, &mut outgoing).await;
                return Err(invalid(error));
            }
        }
    }
}

fn step<H: Handshake>(side: &mut H, incoming: &mut Incoming, outgoing: &mut Vec<u8>) -> Result<NextAct, rustls::Error> {
    let shown = incoming.shown;
    let UnbufferedStatus { discard, state } = side.process(&mut incoming.bytes[..shown]);
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(mut data) => {
            encode(&mut data, outgoing);
            Ok(NextAct::Again)
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Ok(NextAct::Send)
        }
        ConnectionState::BlockedHandshake => Ok(NextAct::Receive),
        ConnectionState::WriteTraffic(_) => Ok(NextAct::Done),
        _ => Err(rustls::Error::General("the peer ended the connection in its handshake".to_owned())),
    });
    // Even after an error: rustls counts on it when it is asked for its alert.
    incoming.discard(discard);
    step
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) {
    let start = outgoing.len();
    let mut room = READ_BYTES;
    loop {
        outgoing.resize(start + room, 0);
        match data.encode(&mut outgoing[start..]) {
            Ok(written) => return outgoing.truncate(start + written),
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            Err(EncodeError::AlreadyEncoded) => return outgoing.truncate(start),
        }
    }
}

/// The alert for what went wrong, if rustls has one to send. Asked only once: it would look at the same bytes again.
fn encode_alert<H: Handshake>(side: &mut H, incoming: &mut Incoming, outgoing: &mut Vec<u8>) {
    // Its outcome is the alert in `outgoing`, or the same error again.
    let _ = step(side, incoming, outgoing);
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, outgoing: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(outgoing).await?;
    outgoing.clear();
    stream.flush().await
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S, incoming: &mut Incoming) -> io::Result<()> {
    if incoming.show_another() {
        // A record takes a signature or several to check, or to make: what waits for this thread need not wait for all of a flight.
        tokio::task::yield_now().await;
        return Ok(());
    }
    while !incoming.show_another() {
        incoming.bytes.reserve(READ_BYTES);
        if stream.read_buf(&mut incoming.bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

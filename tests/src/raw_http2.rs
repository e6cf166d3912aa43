//! An HTTP/2 client that sends any bytes over real mutual TLS, and tells how the peer took them. It keeps no rule of
//! HTTP/2 itself: what is tested is what Weir does when a peer does not.

pub mod flood;
pub mod frame;
pub mod hpack;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use self::frame::{Frame, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS};
use crate::any_server::AnyServer;
use crate::certificates::CertificateFiles;
use crate::namespace;

/// How long a connect, a handshake and a write may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one read waits before the deadline is looked at again.
const READ_TURN: Duration = Duration::from_millis(50);
/// How long something may come after the answer to a ping that followed it.
const OVERTAKEN: Duration = Duration::from_millis(300);
/// A ping of our own, which the peer's answer is told from others by.
const PROBE: [u8; 8] = *b"alive?ok";

/// How a peer took what it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// It ended the connection with this code.
    GoAway(u32),
    /// It ended the connection without a word.
    Closed,
    /// It reset a stream with this code.
    Reset(u32, u32),
    /// It answered a request with this status.
    Status(u32, u16),
    /// It went on as if nothing had been: it answers a ping.
    Alive,
    /// None of these in the time it had.
    Silent,
}

/// A connection to an HBONE listener.
#[derive(Debug)]
pub struct RawHttp2 {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
    /// The peer's SETTINGS frame.
    settings: Vec<u8>,
}

impl RawHttp2 {
    /// Connects from inside a namespace and shows a certificate; whatever the listener shows is believed. HTTP/2 has not
    /// begun.
    ///
    /// # Errors
    /// If there is no listener, or it refuses the handshake at once.
    pub fn handshake(netns: &OwnedFd, address: SocketAddr, certificate: &CertificateFiles) -> Result<Self> {
        let tcp = namespace::enter(netns.as_fd(), || TcpStream::connect_timeout(&address, PATIENCE))?
            .with_context(|| format!("connecting to {address}"))?;
        tcp.set_nodelay(true)?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let chain = CertificateDer::pem_file_iter(&certificate.chain)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&certificate.key)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer::default()))
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("peer.invalid")?)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).context("TLS handshake")?;
        }
        stream.sock.set_read_timeout(Some(READ_TURN))?;
        Ok(Self { stream, received: Vec::new(), settings: Vec::new() })
    }

    /// As [`RawHttp2::handshake`], and begins HTTP/2: preface, SETTINGS without a dynamic table, the peer's SETTINGS.
    ///
    /// # Errors
    /// If the peer does not answer with SETTINGS.
    pub fn connect(netns: &OwnedFd, address: SocketAddr, certificate: &CertificateFiles) -> Result<Self> {
        let mut connection = Self::handshake(netns, address, certificate)?;
        connection.send(frame::PREFACE)?;
        connection.send(&frame::settings(&[(1, 0)]))?;
        let first = connection.read(PATIENCE)?.context("the peer closed before its SETTINGS")?;
        anyhow::ensure!(first.kind == SETTINGS, "the peer's first frame is {first:?}");
        connection.send(&frame::frame(SETTINGS, frame::ACK, 0, &[]))?;
        connection.settings = first.payload;
        Ok(connection)
    }

    /// A value of the peer's SETTINGS by its identifier.
    #[must_use]
    pub fn setting(&self, identifier: u16) -> Option<u32> {
        let mut pairs = self.settings.chunks_exact(6);
        let pair = pairs.rfind(|pair| pair[..2] == identifier.to_be_bytes())?;
        Some(u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
    }

    /// How long a peer may take nothing before sending to it fails; ten seconds unless set.
    ///
    /// # Errors
    /// If the socket is closed.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.sock.set_write_timeout(Some(patience))
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// If the peer has closed, or takes nothing for too long.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads away what has come, without waiting for more. Whether the connection is still open.
    pub fn discard_received(&mut self) -> bool {
        if self.stream.sock.set_nonblocking(true).is_err() {
            return false;
        }
        let mut buffer = [0; 16 * 1024];
        let open = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        self.stream.sock.set_nonblocking(false).is_ok() && open
    }

    /// The next frame; `None` when the peer has closed.
    ///
    /// # Errors
    /// If none comes in time.
    pub fn read(&mut self, within: Duration) -> Result<Option<Frame>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(frame) = frame::take(&mut self.received) {
                return Ok(Some(frame));
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.received.extend(&buffer[..count]),
                Err(error) if is_timeout(&error) && Instant::now() < deadline => {}
                Err(error) if is_timeout(&error) => bail!("no frame within {:.1} s", within.as_secs_f32()),
                Err(_) => return Ok(None),
            }
        }
    }

    /// How the peer takes what was sent so far. A ping follows it: a peer that answers that has nothing more to say.
    #[must_use]
    pub fn reaction(&mut self, within: Duration) -> Reaction {
        // A peer that has closed already shows it below.
        let _ = self.send(&frame::frame(PING, 0, 0, &PROBE));
        let answered = |frame: &Frame| (frame.kind == PING && frame.payload == PROBE).then_some(Reaction::Alive);
        match self.waits_for(within, answered) {
            // The answer to a ping may overtake what a peer has to say of a stream.
            Reaction::Alive => match self.last_word(OVERTAKEN) {
                Reaction::Silent => Reaction::Alive,
                said => said,
            },
            said => said,
        }
    }

    /// The same without the ping, for what must not be followed by another frame.
    #[must_use]
    pub fn last_word(&mut self, within: Duration) -> Reaction {
        self.waits_for(within, |_| None)
    }

    fn waits_for(&mut self, within: Duration, also: impl Fn(&Frame) -> Option<Reaction>) -> Reaction {
        let deadline = Instant::now() + within;
        loop {
            let frame = match self.read(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Reaction::Closed,
                Err(_) => return Reaction::Silent,
            };
            let reaction = match frame.kind {
                GOAWAY => Some(Reaction::GoAway(frame.number_at(4))),
                RST_STREAM => Some(Reaction::Reset(frame.stream, frame.number_at(0))),
                HEADERS => hpack::status(&frame.payload).map(|status| Reaction::Status(frame.stream, status)),
                _ => also(&frame),
            };
            if let Some(reaction) = reaction {
                return reaction;
            }
        }
    }

    /// Sends a request on a stream and waits for its status.
    ///
    /// # Errors
    /// If the peer answers with anything else.
    pub fn request(&mut self, stream: u32, authority: &str) -> Result<u16> {
        self.send(&frame::headers(stream, &hpack::connect(authority)))?;
        match self.last_word(PATIENCE) {
            Reaction::Status(answered, status) if answered == stream => Ok(status),
            other => bail!("CONNECT {authority} on stream {stream}: {other:?}"),
        }
    }

    /// Sends bytes on an open stream to an echo and waits until they are back.
    ///
    /// # Errors
    /// If something else comes.
    pub fn echo(&mut self, stream: u32, text: &[u8]) -> Result<()> {
        self.send(&frame::frame(frame::DATA, 0, stream, text))?;
        self.comes_back(stream, text)
    }

    /// Waits until these bytes, and no others, come on a stream.
    ///
    /// # Errors
    /// If something else comes.
    pub fn comes_back(&mut self, stream: u32, text: &[u8]) -> Result<()> {
        let mut back = Vec::new();
        while back.len() < text.len() {
            let frame = self.read(PATIENCE)?.context("the peer closed")?;
            match frame.kind {
                frame::DATA if frame.stream == stream => back.extend(frame.payload),
                GOAWAY | RST_STREAM => bail!("instead of the echo: {frame:?}"),
                _ => {}
            }
        }
        anyhow::ensure!(back == text, "the echo is {:?}", String::from_utf8_lossy(&back));
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

//! TLS 1.3 records (RFC 8446 §5) of a connection whose handshake is over, sealed and opened where they lie: the caller
//! reads plaintext straight into a record's place and writes the sealed record straight from it, so no byte is copied
//! for the sake of encryption.
//!
//! rustls makes the handshake and keeps the secrets from which new keys come; records are sealed and opened here.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

/// Bytes before a record's content: type, version, length.
pub const HEADER_BYTES: usize = 5;
/// Bytes after a record's content: its true type, and the authentication tag.
pub const TRAILER_BYTES: usize = 1 + TAG_BYTES;
/// The most content that a record may hold (RFC 8446 §5.1).
pub const CONTENT_BYTES: usize = 1 << 14;
/// The longest protected record that a peer may send, its header included (RFC 8446 §5.2).
pub const LONGEST_RECORD: usize = HEADER_BYTES + CONTENT_BYTES + 256;
/// A whole record that announces new keys.
pub const KEY_UPDATE_RECORD_BYTES: usize = HEADER_BYTES + KEY_UPDATE_BYTES + TRAILER_BYTES;

const TAG_BYTES: usize = 16;
const KEY_UPDATE_BYTES: usize = 5;
/// Key updates that a peer may make besides those that its records have earned.
const FREE_KEY_UPDATES: u64 = 16;
/// Records of a peer that earn it one key update: new keys cost as much as opening some of them.
const RECORDS_PER_KEY_UPDATE: u64 = 1024;
/// Records under one key before it is replaced. AES-GCM's own limit is 2^24.5 of full size (RFC 8446 §5.5).
const RECORDS_PER_KEY: u64 = 1 << 23;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// Why a record is not understood. The connection is of no use after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a record of type {0} is not protected")]
    NotProtected(u8),
    #[error("a record of {0} bytes")]
    Length(usize),
    #[error("a record was forged or damaged on its way")]
    Forged,
    #[error("peer's TLS alert {0}")]
    Alert(u8),
    #[error("a record holds content of type {0}, which does not belong here")]
    Content(u8),
    #[error("new keys: {0}")]
    Keys(&'static str),
}

/// What an opened record held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Bytes of the connection, at this place of the record.
    Data(Range<usize>),
    /// Something between the TLS layers themselves, and dealt with.
    Internal,
    /// The peer will send nothing more.
    CloseNotify,
}

/// Where new keys come from.
enum Secrets {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// The keys of a connection, both ways.
pub struct RecordLayer {
    sealing: Keys,
    opening: Keys,
    secrets: Secrets,
    key_update_asked: bool,
    /// Key updates that the peer may still make.
    key_updates_left: u64,
}

impl fmt::Debug for RecordLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordLayer").finish_non_exhaustive()
    }
}

/// The length that a record's header announces for the rest of it, or why it cannot be.
///
/// # Errors
/// [`RecordError::NotProtected`] and [`RecordError::Length`].
pub fn body_length(header: [u8; HEADER_BYTES]) -> Result<usize, RecordError> {
    let [kind, _, _, high, low] = header;
    if kind != APPLICATION_DATA {
        return Err(RecordError::NotProtected(kind));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(TRAILER_BYTES..=LONGEST_RECORD - HEADER_BYTES).contains(&length) {
        return Err(RecordError::Length(length));
    }
    Ok(length)
}

impl RecordLayer {
    pub(super) fn client(
        secrets: ExtractedSecrets,
        kernel: KernelConnection<ClientConnectionData>,
    ) -> Result<Self, RecordError> {
        Self::new(secrets, Secrets::Client(kernel))
    }

    pub(super) fn server(
        secrets: ExtractedSecrets,
        kernel: KernelConnection<ServerConnectionData>,
    ) -> Result<Self, RecordError> {
        Self::new(secrets, Secrets::Server(kernel))
    }

    fn new(extracted: ExtractedSecrets, secrets: Secrets) -> Result<Self, RecordError> {
        let (sealing, opening) = (Keys::new(extracted.tx)?, Keys::new(extracted.rx)?);
        Ok(Self { sealing, opening, secrets, key_update_asked: false, key_updates_left: FREE_KEY_UPDATES })
    }

    /// Seals a record in its place: header, content, and trailer, of which only the content is filled in yet.
    pub fn seal(&mut self, record: &mut [u8]) {
        self.sealing.seal(record, APPLICATION_DATA);
    }

    /// Whether a key update is due: asked for by the peer, or because enough was sent under this key.
    #[must_use]
    pub fn key_update_due(&self) -> bool {
        self.key_update_asked || self.sealing.sequence >= RECORDS_PER_KEY
    }

    /// Makes the record that announces new keys, and seals with them from then on.
    ///
    /// # Errors
    /// [`RecordError::Keys`], which rustls gives no cause for.
    pub fn seal_key_update(&mut self, record: &mut [u8; KEY_UPDATE_RECORD_BYTES]) -> Result<(), RecordError> {
        record[HEADER_BYTES..HEADER_BYTES + KEY_UPDATE_BYTES].copy_from_slice(&[KEY_UPDATE, 0, 0, 1, 0]);
        self.sealing.seal(record, HANDSHAKE);
        self.key_update_asked = false;
        self.sealing = self.secrets.update(true)?;
        Ok(())
    }

    /// Makes the record that says that nothing more will be sent.
    #[must_use]
    pub fn close_notify(&mut self) -> [u8; HEADER_BYTES + 2 + TRAILER_BYTES] {
        let mut record = [0; HEADER_BYTES + 2 + TRAILER_BYTES];
        record[HEADER_BYTES..HEADER_BYTES + 2].copy_from_slice(&CLOSE_NOTIFY);
        self.sealing.seal(&mut record, ALERT);
        record
    }

    /// Opens a whole record in its place.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn open(&mut self, record: &mut [u8]) -> Result<Opened, RecordError> {
        let (kind, length) = self.opening.open(record)?;
        let content = HEADER_BYTES..HEADER_BYTES + length;
        match (kind, &record[content.clone()]) {
            (APPLICATION_DATA, _) => Ok(Opened::Data(content)),
            (ALERT, [_, 0]) => Ok(Opened::CloseNotify),
            (ALERT, [_, description]) => Err(RecordError::Alert(*description)),
            (HANDSHAKE, messages) => {
                self.handshake(messages)?;
                Ok(Opened::Internal)
            }
            _ => Err(RecordError::Content(kind)),
        }
    }

    /// Messages after the handshake (RFC 8446 §4.6). Tickets are not kept: an identity is proven on every connection.
    fn handshake(&mut self, mut messages: &[u8]) -> Result<(), RecordError> {
        while let [kind, high, middle, low, rest @ ..] = messages {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            let (body, following) = rest.split_at_checked(length).ok_or(RecordError::Content(HANDSHAKE))?;
            messages = following;
            match (*kind, body) {
                (NEW_SESSION_TICKET, _) if matches!(self.secrets, Secrets::Client(_)) => {}
                // What follows a key update in its record would be under keys that are gone.
                (KEY_UPDATE, [asked @ (0 | 1)]) if messages.is_empty() => {
                    self.key_update_asked |= *asked == 1;
                    self.key_updates_left += self.opening.sequence / RECORDS_PER_KEY_UPDATE;
                    self.key_updates_left =
                        self.key_updates_left.checked_sub(1).ok_or(RecordError::Keys("asked for too often"))?;
                    self.opening = self.secrets.update(false)?;
                }
                _ => return Err(RecordError::Content(HANDSHAKE)),
            }
        }
        if messages.is_empty() { Ok(()) } else { Err(RecordError::Content(HANDSHAKE)) }
    }
}

impl Secrets {
    fn update(&mut self, sending: bool) -> Result<Keys, RecordError> {
        let updated = match (self, sending) {
            (Self::Client(kernel), true) => kernel.update_tx_secret(),
            (Self::Client(kernel), false) => kernel.update_rx_secret(),
            (Self::Server(kernel), true) => kernel.update_tx_secret(),
            (Self::Server(kernel), false) => kernel.update_rx_secret(),
        };
        Keys::new(updated.map_err(|_| RecordError::Keys("not to be had"))?)
    }
}

/// The key of one direction, and how many records it has seen.
struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Keys {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, RecordError> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            _ => return Err(RecordError::Keys("for a cipher that is not offered")),
        };
        let unbound = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| RecordError::Keys("of a wrong length"))?;
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::Keys("of a wrong length"))?;
        Ok(Self { key: LessSafeKey::new(unbound), iv, sequence })
    }

    /// RFC 8446 §5.3: the record's number, under the direction's own mask. Never the same twice.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, record: &mut [u8], kind: u8) {
        let body = record.len() - HEADER_BYTES;
        let length = u16::try_from(body).expect("a record is at most 16 KiB and a little");
        let [high, low] = length.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let (head, body) = record.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&header);
        let (content, tag_place) = body.split_at_mut(body.len() - TAG_BYTES);
        if let Some(last) = content.last_mut() {
            *last = kind;
        }
        let nonce = self.nonce();
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), content)
            .expect("sealing fails only for content far longer than a record");
        tag_place.copy_from_slice(tag.as_ref());
    }

    /// The content's type and length.
    fn open(&mut self, record: &mut [u8]) -> Result<(u8, usize), RecordError> {
        let (header, body) = record.split_first_chunk_mut::<HEADER_BYTES>().ok_or(RecordError::Length(0))?;
        let nonce = self.nonce();
        let content = self.key.open_in_place(nonce, Aad::from(*header), body).map_err(|_| RecordError::Forged)?;
        // RFC 8446 §5.4: zeros may follow the type.
        let at = content.iter().rposition(|byte| *byte != 0).ok_or(RecordError::Content(0))?;
        if at > CONTENT_BYTES { Err(RecordError::Length(at)) } else { Ok((content[at], at)) }
    }
}

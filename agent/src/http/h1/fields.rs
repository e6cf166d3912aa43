//! Which fields of a head concern the connection or the framing, and what they say. All others are the message's own
//! (RFC 9110 §7.6.1).

use httparse::Header;

use super::error::HeadError;
use super::syntax::{decimal, decimal_text, is_token, members};
use crate::model::http::head::HttpFields;

/// The most options of `Connection` besides those that the codec knows: each is looked for among all fields.
const MAX_LISTED_FIELDS: usize = 16;

/// Room for what is added to the fields of a head on its way, an `x-request-id` for one, so that a head allocates once.
const ADDED_FIELDS: usize = 4;
const ADDED_BYTES: usize = 192;

/// Fields that `Connection` must not name, because who receives the message relies on them: a client that has them removed here
/// would have one hop believe what the next one does not see.
const PROTECTED: [&[u8]; 9] = [
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"authorization",
    b"cookie",
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
];

/// Protocols to which no connection is upgraded, because they would carry requests past everything that looks at requests here:
/// HTTP itself (RFC 9113 §3.1 has taken `h2c` back), and TLS with HTTP in it (RFC 2817). An upgrade may always be ignored.
const NEVER_UPGRADED_TO: [&[u8]; 4] = [b"h2c", b"h2", b"http", b"tls"];

/// Fields that are not simply passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Connection,
    ContentLength,
    Expect,
    Host,
    Te,
    TransferEncoding,
    Upgrade,
    /// Any other that ends at this hop and says nothing to us.
    HopByHop,
}

/// What a field of this name, in whichever case, is.
#[inline]
pub(super) fn special(name: &[u8]) -> Option<Special> {
    let begins_with = |letter: u8| name[0].eq_ignore_ascii_case(&letter);
    let (known, special): (&[u8], _) = match name.len() {
        2 => (b"te", Special::Te),
        4 => (b"host", Special::Host),
        6 => (b"expect", Special::Expect),
        7 => (b"upgrade", Special::Upgrade),
        10 if begins_with(b'k') => (b"keep-alive", Special::HopByHop),
        10 => (b"connection", Special::Connection),
        14 if begins_with(b'h') => (b"http2-settings", Special::HopByHop),
        14 => (b"content-length", Special::ContentLength),
        16 => (b"proxy-connection", Special::HopByHop),
        17 => (b"transfer-encoding", Special::TransferEncoding),
        _ => return None,
    };
    name.eq_ignore_ascii_case(known).then_some(special)
}

/// What the special fields of a head say.
#[derive(Debug, Default)]
pub(super) struct Control<'b> {
    pub(super) host: Option<&'b [u8]>,
    pub(super) has_several_hosts: bool,
    pub(super) content_length: Option<u64>,
    pub(super) transfer_encoding: Option<&'b [u8]>,
    pub(super) expects_continue: bool,
    /// `Connection: close`.
    pub(super) close: bool,
    /// `Connection: keep-alive`.
    pub(super) keep_alive: bool,
    /// What `Upgrade` says, if `Connection` lists it and anything is left of it.
    pub(super) upgrade: Option<Vec<u8>>,
    takes_trailers: bool,
    has_upgrade: bool,
    lists_upgrade: bool,
    /// How many fields `Connection` lists that are none of those above.
    listed: usize,
}

/// Puts the message's own fields into `fields`, and gives what the others say.
pub(super) fn sort<'b>(raw: &[Header<'b>], fields: &mut HttpFields) -> Result<Control<'b>, HeadError> {
    let mut control = Control::default();
    let bytes: usize = raw.iter().map(|field| field.name.len() + field.value.len()).sum();
    fields.reserve(raw.len() + ADDED_FIELDS, bytes + ADDED_BYTES);
    for field in raw {
        let name = field.name.as_bytes();
        match special(name) {
            None => fields.append(name, field.value),
            Some(special) => {
                control.read(special, field.value)?;
                if special == Special::Expect {
                    fields.append(name, field.value);
                }
            }
        }
    }
    if control.listed > 0 {
        fields.remove_if(|name, _| listed(raw).any(|option| option.eq_ignore_ascii_case(name)));
    }
    if control.takes_trailers {
        fields.append(b"te", b"trailers");
    }
    if let Some(length) = control.content_length {
        fields.append(b"content-length", decimal_text(length, &mut [0; 20]));
    }
    if control.has_upgrade && control.lists_upgrade {
        control.upgrade = upgrade(raw);
    }
    Ok(control)
}

/// Puts the fields of a trailer section into `fields`. Those that must not be there (RFC 9110 §6.5.1) are left out; where they
/// would change what the message is, it is refused.
pub(super) fn sort_trailers(raw: &[Header<'_>], fields: &mut HttpFields) -> Result<(), HeadError> {
    for field in raw {
        let name = field.name.as_bytes();
        match special(name) {
            None if name.eq_ignore_ascii_case(b"trailer") => {}
            None => fields.append(name, field.value),
            Some(Special::ContentLength | Special::TransferEncoding | Special::Host) => {
                return Err(HeadError::Framing("a field of framing or routing among the trailers"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What all `Connection` fields list.
fn listed<'f>(raw: &'f [Header<'_>]) -> impl Iterator<Item = &'f [u8]> {
    let connection = raw.iter().filter(|field| special(field.name.as_bytes()) == Some(Special::Connection));
    connection.flat_map(|field| members(field.value))
}

/// The protocols that all `Upgrade` fields name, in order.
fn upgrade(raw: &[Header<'_>]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let fields = raw.iter().filter(|field| special(field.name.as_bytes()) == Some(Special::Upgrade));
    for protocol in fields.flat_map(|field| members(field.value)) {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or(protocol);
        if NEVER_UPGRADED_TO.iter().any(|never| name.eq_ignore_ascii_case(never)) {
            continue;
        }
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(protocol);
    }
    (!text.is_empty()).then_some(text)
}

impl<'b> Control<'b> {
    fn read(&mut self, special: Special, value: &'b [u8]) -> Result<(), HeadError> {
        match special {
            Special::Connection => members(value).try_for_each(|option| self.read_option(option))?,
            Special::ContentLength => self.read_length(value)?,
            Special::Expect => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            Special::Host => self.has_several_hosts |= self.host.replace(value).is_some(),
            Special::Te => self.takes_trailers |= members(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")),
            Special::TransferEncoding => {
                if self.transfer_encoding.replace(value).is_some() {
                    return Err(HeadError::Framing("more than one Transfer-Encoding"));
                }
            }
            Special::Upgrade => self.has_upgrade = true,
            Special::HopByHop => {}
        }
        Ok(())
    }

    fn read_option(&mut self, option: &[u8]) -> Result<(), HeadError> {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        if is(b"keep-alive") {
            self.keep_alive = true;
        } else if is(b"close") {
            self.close = true;
        } else if is(b"upgrade") {
            self.lists_upgrade = true;
        } else if is(b"te") {
            // It is sorted out by its name.
        } else if !is_token(option) {
            return Err(HeadError::Syntax("Connection lists what is no token"));
        } else if PROTECTED.iter().any(|name| is(name)) {
            return Err(HeadError::Connection("Connection lists a field that must stay"));
        } else {
            self.listed += 1;
        }
        if self.listed > MAX_LISTED_FIELDS {
            return Err(HeadError::Connection("Connection lists too many fields"));
        }
        Ok(())
    }

    /// The same length may be said several times (RFC 9112 §6.3); it is passed on once.
    fn read_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for number in value.split(|byte| *byte == b',') {
            let number = number.trim_ascii();
            let length = decimal(number).ok_or(HeadError::Framing("Content-Length is not a number"))?;
            if self.content_length.replace(length).is_some_and(|other| other != length) {
                return Err(HeadError::Framing("Content-Lengths that differ"));
            }
        }
        Ok(())
    }
}

//! Direct connections as the kernel programs have noted them.

use std::net::SocketAddr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use weir_common::{
    DIRECT_ARRIVED, DIRECT_CLOSED, DIRECT_CUT, DIRECT_ESTABLISHED, DIRECT_TOLD, DirectConnection, got_fin,
};

use super::pod::NetnsCookie;

/// A pod that may connect to an endpoint of another one, which has this namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    pub source: NetnsCookie,
    pub server: NetnsCookie,
    pub endpoint: SocketAddr,
}

/// A direct connection as the kernel programs have noted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The cookie of the socket that connects.
    pub key: u64,
    pub pair: Pair,
    /// `None` until the SYN leaves.
    pub client: Option<SocketAddr>,
    /// What the application asked for.
    pub dialled: SocketAddr,
    /// For how long it is there.
    pub age: Duration,
    /// For how long it was there, once an end is closed.
    pub lasted: Duration,
    /// Its SYN has arrived in the server's namespace.
    pub has_arrived: bool,
    /// The programs have told that it came to nothing. It stays noted until the server's kernel was told to wait no more for the rest of
    /// its handshake.
    pub is_told: bool,
    pub client_end: End,
    pub server_end: End,
}

/// One end of a direct connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub state: EndState,
    /// It was cut off before it carried anything.
    pub is_cut: bool,
    /// It has got all that the other end sent, in order.
    pub got_all: bool,
    /// Bytes that its application can read, or could: known once it is closed.
    pub received: u64,
}

/// How far an end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndState {
    /// Not connected, or not yet.
    None,
    Open,
    /// After it was connected.
    Closed,
    /// Without having been connected.
    Failed,
}

impl Noted {
    pub(super) fn of(key: u64, connection: &DirectConnection, now: u64) -> Self {
        let &DirectConnection { source, server, began, ended, client, endpoint, dialled, .. } = connection;
        let (client_flags, server_flags) = (connection.client_flags, connection.server_flags);
        Self {
            key,
            pair: Pair { source: NetnsCookie(source), server: NetnsCookie(server), endpoint: endpoint.into() },
            client: (client.port != 0).then(|| client.into()),
            dialled: dialled.into(),
            age: Duration::from_nanos(now.saturating_sub(began)),
            lasted: Duration::from_nanos(ended.saturating_sub(began)),
            has_arrived: server_flags & DIRECT_ARRIVED != 0,
            is_told: client_flags & DIRECT_TOLD != 0,
            client_end: End::of(client_flags, server_flags, connection.to_client),
            server_end: End::of(server_flags, client_flags, connection.to_server),
        }
    }

    /// Whether both ends are closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.client_end.is_closed() && self.server_end.is_closed()
    }

    /// Whether the client's end is closed, and the server's is not there.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.client_end.is_closed() && self.server_end.state == EndState::None
    }
}

impl End {
    fn is_closed(&self) -> bool {
        matches!(self.state, EndState::Closed | EndState::Failed)
    }

    fn of(own: u32, other: u32, received: u64) -> Self {
        let state = match (own & DIRECT_ESTABLISHED != 0, own & DIRECT_CLOSED != 0) {
            (false, false) => EndState::None,
            (true, false) => EndState::Open,
            (true, true) => EndState::Closed,
            (false, true) => EndState::Failed,
        };
        let got_all = got_fin(own, other);
        Self { state, is_cut: own & DIRECT_CUT != 0, got_all, received: received.saturating_sub(u64::from(got_all)) }
    }
}

/// Nanoseconds of the clock that the programs read.
pub(super) fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| nanoseconds(time.into()))
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use weir_common::{Address, DIRECT_CLOSED_WAITING, DIRECT_GOT_FIN, DIRECT_SENT_FIN, DirectPair};

    use super::*;

    #[test]
    fn ends_are_told_with_what_their_applications_could_read() {
        const OPEN: u32 = DIRECT_ESTABLISHED;
        const OVER: u32 = DIRECT_ESTABLISHED | DIRECT_CLOSED;
        for (client, server, to_client, to_server, (is_over, is_unanswered), received) in [
            (OPEN, OPEN, 0, 0, (false, false), (0, 0)),
            // The client ends first, then the server: each has got a FIN.
            (
                OVER | DIRECT_SENT_FIN | DIRECT_CLOSED_WAITING,
                OVER | DIRECT_GOT_FIN | DIRECT_SENT_FIN,
                6,
                11,
                (true, false),
                (5, 10),
            ),
            // The server resets.
            (OVER, OVER, 5, 10, (true, false), (5, 10)),
            // Nobody listens, or the SYN did not even arrive.
            (DIRECT_CLOSED | DIRECT_TOLD, DIRECT_ARRIVED, 0, 0, (false, true), (0, 0)),
            (DIRECT_CLOSED, 0, 0, 0, (false, true), (0, 0)),
            // Somebody has completed the handshake of a socket that is gone, which was cut off and has ended.
            (DIRECT_CLOSED | DIRECT_TOLD, OVER | DIRECT_ARRIVED | DIRECT_CUT, 0, 0, (true, false), (0, 0)),
            // The server has not closed yet.
            (OVER | DIRECT_SENT_FIN, OPEN | DIRECT_GOT_FIN, 5, 0, (false, false), (5, 0)),
        ] {
            let address = Address::new("10.0.0.1".parse::<std::net::IpAddr>().expect("an address").into(), 1);
            let mut connection = DirectConnection::new(DirectPair::new(1, 2, address), address, 0);
            (connection.client_flags, connection.server_flags) = (client, server);
            (connection.to_client, connection.to_server) = (to_client, to_server);
            let noted = Noted::of(7, &connection, 0);
            assert_eq!((noted.is_over(), noted.is_unanswered()), (is_over, is_unanswered), "{client} {server}");
            assert_eq!((noted.client_end.received, noted.server_end.received), received, "{client} {server}");
        }
    }
}

//! Packets of JSON with descriptors beside them, over a pair of Unix sockets (`SOCK_SEQPACKET`, `SCM_RIGHTS`): each is sent
//! whole or not at all, and bounded in size.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg,
    socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message: a pod's uid and the names of its sockets are far shorter.
const MAX_BYTES: usize = 4096;
/// Descriptors beside one message.
const MAX_DESCRIPTORS: usize = 16;

/// A message with the descriptors that came with it.
pub(super) type Packet<T> = (T, Vec<OwnedFd>);

/// One end of a connection, which never blocks: what cannot be sent now is queued.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    outgoing: VecDeque<(Vec<u8>, Vec<Arc<OwnedFd>>)>,
}

impl Channel {
    /// Two connected ends. The second is for another process, and blocks.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self::new(own)?, other))
    }

    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { socket, outgoing: VecDeque::new() })
    }

    /// Sends now, or queues the message. That the other side is gone shows when receiving.
    pub(super) fn send(&mut self, message: &impl Serialize, descriptors: Vec<Arc<OwnedFd>>) {
        self.outgoing.push_back((encode(message), descriptors));
        self.flush();
    }

    /// Sends what is queued, as far as the other side takes it.
    pub(super) fn flush(&mut self) {
        while let Some((bytes, descriptors)) = self.outgoing.front() {
            let raw: Vec<RawFd> = descriptors.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
            match transmit(self.socket.as_fd(), bytes, &raw) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(()) => drop(self.outgoing.pop_front()),
                Err(_) => return self.outgoing.clear(),
            }
        }
    }

    pub(super) fn has_more_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The next message; `None` if none has come yet.
    ///
    /// # Errors
    /// When the other side is gone, or has sent something else.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<Packet<T>>> {
        match receive(self.socket.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            received => received.map(Some),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends a message; blocks if the socket does.
///
/// # Errors
/// Those of sendmsg(2).
pub(super) fn send(socket: BorrowedFd<'_>, message: &impl Serialize, descriptors: &[RawFd]) -> io::Result<()> {
    transmit(socket, &encode(message), descriptors)
}

/// Receives a message; blocks if the socket does.
///
/// # Errors
/// When the other side is gone, or has sent something else.
pub(super) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Packet<T>> {
    let mut bytes = [0; MAX_BYTES];
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let (length, flags, descriptors) = loop {
        let received =
            recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC);
        match received {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(received) => break (received.bytes, received.flags, into_owned(received.cmsgs()?)),
        }
    };
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    Ok((serde_json::from_slice(&bytes[..length])?, descriptors))
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages have no maps with keys that JSON refuses")
}

fn transmit(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
    loop {
        let sent =
            sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None);
        match sent {
            Err(Errno::EINTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

fn into_owned(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    let mut owned = Vec::new();
    for message in messages {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            // SAFETY: the kernel has just made these descriptors for us; nobody else knows them.
            #[expect(unsafe_code, reason = "recvmsg(2) gives bare descriptors")]
            owned.extend(descriptors.into_iter().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }));
        }
    }
    owned
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn descriptors_travel_with_their_message_and_what_cannot_be_sent_yet_waits() {
        let (mut ours, theirs) = Channel::pair().expect("a socketpair");
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        File::from(writer).write_all(b"through").expect("a pipe takes seven bytes");
        let reader = Arc::new(reader);
        let many = 2000_u32;
        for number in 0..many {
            ours.send(&number, vec![reader.clone()]);
        }
        assert!(ours.has_more_to_send(), "a socket takes no 2000 messages at once");
        let mut last = None;
        for expected in 0..many {
            let (number, mut descriptors): Packet<u32> = receive(theirs.as_fd()).expect("a message");
            assert_eq!((number, descriptors.len()), (expected, 1));
            last = descriptors.pop();
            ours.flush();
        }
        let mut text = [0; 7];
        File::from(last.expect("the last came with one")).read_exact(&mut text).expect("it is the pipe");
        assert_eq!(&text, b"through");
        assert!(ours.receive::<u32>().expect("it is open").is_none());
        drop(theirs);
        assert!(ours.receive::<u32>().is_err(), "the other side is gone");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (mut ours, theirs) = Channel::pair().expect("a socketpair");
        send(theirs.as_fd(), &"text", &[]).expect("sent");
        assert!(ours.receive::<u32>().is_err());
    }
}

//! How many gRPC messages a body carries. Each begins with a prefix of five bytes: whether it is compressed, and its length
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, Length-Prefixed-Message).

/// Bytes of a prefix, and of these the flag byte comes first.
const PREFIX_BYTES: u8 = 5;

/// Counts the messages of one body, whose bytes come in pieces of any size. Keeps nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GrpcMessageCounter {
    /// Of the prefix that comes next, or of which the message is being read, so many bytes came.
    prefix: u8,
    /// The length that the bytes of the prefix give so far; then how much of the message is still to come.
    length: u32,
}

impl GrpcMessageCounter {
    /// Takes the next piece of the body, and says how many messages ended in it.
    pub fn take(&mut self, mut piece: &[u8]) -> u64 {
        let mut messages = 0;
        loop {
            while self.prefix < PREFIX_BYTES {
                let Some((byte, rest)) = piece.split_first() else { return messages };
                if self.prefix > 0 {
                    self.length = self.length << 8 | u32::from(*byte);
                }
                (self.prefix, piece) = (self.prefix + 1, rest);
            }
            let taken = piece.len().min(self.length as usize);
            piece = &piece[taken..];
            // No more than what it had.
            self.length -= taken as u32;
            if self.length > 0 {
                return messages;
            }
            messages += 1;
            self.prefix = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).expect("tests have short messages").to_be_bytes());
        bytes.resize(bytes.len() + length, 0xff);
        bytes
    }

    #[test]
    fn messages_count_once_they_are_whole_however_they_are_cut() {
        for (lengths, missing, expected) in [
            (&[][..], 0, 0),
            (&[0], 0, 1),
            (&[3], 0, 1),
            (&[3], 1, 0),
            (&[0, 0, 300, 70_000, 1], 0, 5),
            (&[10, 10], 10, 1),
            (&[10, 10], 12, 1),
        ] {
            let mut body: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            body.truncate(body.len() - missing);
            for size in [1, 2, 5, 7, 1000, 100_000] {
                let mut counter = GrpcMessageCounter::default();
                let counted: u64 = body.chunks(size).map(|piece| counter.take(piece)).sum();
                assert_eq!(counted, expected, "{lengths:?} without {missing}, in pieces of {size}");
            }
        }
    }
}

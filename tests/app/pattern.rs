//! A stream of bytes that both ends can make: one that differs at every place, so that a lost, doubled or moved block
//! shows wherever it happens.

/// Makes the stream, block after block.
#[derive(Debug, Default)]
pub(crate) struct Pattern {
    position: u64,
}

impl Pattern {
    /// The stream from a position on.
    pub(crate) fn at(position: u64) -> Self {
        Self { position }
    }

    /// Fills a buffer with the next bytes of the stream.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = mixed(self.position / 8).to_le_bytes();
            let from = usize::from(self.position.to_le_bytes()[0] & 7);
            let length = rest.len().min(8 - from);
            rest[..length].copy_from_slice(&word[from..from + length]);
            rest = &mut rest[length..];
            self.position += length as u64;
        }
    }

    /// True if the bytes are the next of the stream.
    pub(crate) fn matches(&mut self, bytes: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.resize(bytes.len(), 0);
        self.fill(scratch);
        scratch == bytes
    }
}

/// The stream's n-th word: a multiplicative hash, so that neighbours share no bits.
fn mixed(n: u64) -> u64 {
    let x = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

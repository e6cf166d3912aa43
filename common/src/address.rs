//! Addresses as the kernel programs see them. IPv4 is always written as v4-mapped IPv6, so that both families and
//! v4-mapped sockets take one path and meet under one key.

/// An IPv6 or v4-mapped IPv4 address: 16 bytes in network order, held as the four words the kernel's contexts show.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ip {
    words: [u32; 4],
}

const MAPPED: u32 = 0xffff_u32.to_be();
const V6_LOOPBACK: u32 = 1_u32.to_be();

impl Ip {
    /// `::`, the unspecified address: stands for "none".
    pub const UNSPECIFIED: Self = Self { words: [0; 4] };
    /// `::1`.
    pub const LOOPBACK_V6: Self = Self { words: [0, 0, 0, V6_LOOPBACK] };

    /// `ff02::1`, all nodes of a link (RFC 4291 section 2.7.1).
    pub const ALL_NODES_V6: Self = Self { words: [0xff02_0000_u32.to_be(), 0, 0, 1_u32.to_be()] };
    /// `224.0.0.1`, all hosts of a link (RFC 1112 section 4).
    pub const ALL_HOSTS_V4: Self = Self::from_v4_word(0xe000_0001_u32.to_be());

    /// From four words in network order, as in the kernel's `user_ip6` and `remote_ip6`.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// From an IPv4 address in network order, as in the kernel's `user_ip4` and `remote_ip4`.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self { words: [0, 0, MAPPED, word] }
    }

    /// The four words in network order.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 4] {
        self.words
    }

    /// The 16 bytes in network order.
    #[inline(always)]
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        let [a, b, c, d] = [
            self.words[0].to_ne_bytes(),
            self.words[1].to_ne_bytes(),
            self.words[2].to_ne_bytes(),
            self.words[3].to_ne_bytes(),
        ];
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// The IPv4 address in network order, if this is a v4-mapped address.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(&self) -> Option<u32> {
        if self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED { Some(self.words[3]) } else { None }
    }

    /// `0.0.0.0`, `::` or `::ffff:0.0.0.0`.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        self.words[0] == 0
            && self.words[1] == 0
            && (self.words[2] == 0 || self.words[2] == MAPPED)
            && self.words[3] == 0
    }

    /// `127.0.0.0/8` or `::1`.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        match self.v4_word() {
            Some(word) => u32::from_be(word) >> 24 == 127,
            None => self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && self.words[3] == V6_LOOPBACK,
        }
    }

    /// `169.254.0.0/16` or `fe80::/10`.
    #[inline(always)]
    #[must_use]
    pub const fn is_link_local(&self) -> bool {
        match self.v4_word() {
            Some(word) => u32::from_be(word) >> 16 == 0xa9fe,
            None => u32::from_be(self.words[0]) >> 22 == 0xfe80 >> 6,
        }
    }

    /// `224.0.0.0/4` or `ff00::/8`.
    #[inline(always)]
    #[must_use]
    pub const fn is_multicast(&self) -> bool {
        match self.v4_word() {
            Some(word) => u32::from_be(word) >> 28 == 0xe,
            None => u32::from_be(self.words[0]) >> 24 == 0xff,
        }
    }

    /// `255.255.255.255`.
    #[inline(always)]
    #[must_use]
    pub const fn is_broadcast(&self) -> bool {
        matches!(self.v4_word(), Some(u32::MAX))
    }
}

/// An IP address and a TCP port.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Address {
    pub ip: Ip,
    /// In host order.
    pub port: u16,
    padding: u16,
}

impl Address {
    /// An address; `port` is in host order.
    #[inline(always)]
    #[must_use]
    pub const fn new(ip: Ip, port: u16) -> Self {
        Self { ip, port, padding: 0 }
    }
}

/// One TCP connection within a network namespace. All pods have the same loopback, hence the namespace in the key.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The end that sends the SYN.
    pub client: Address,
    pub server: Address,
    pub netns_cookie: u64,
}

const _: () = assert!(size_of::<Ip>() == 16);
const _: () = assert!(size_of::<Address>() == 20);
const _: () = assert!(size_of::<Flow>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ip {
        let octets = match text.parse().expect("an address") {
            core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            core::net::IpAddr::V6(v6) => v6.octets(),
        };
        let word = |i: usize| u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
        Ip::from_words([word(0), word(4), word(8), word(12)])
    }

    #[test]
    fn classes_hold_for_both_families() {
        for (text, class) in [
            ("127.0.0.1", "loopback"),
            ("127.255.0.1", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.9.9.9", "loopback"),
            ("0.0.0.0", "unspecified"),
            ("::", "unspecified"),
            ("169.254.169.254", "link-local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("224.0.0.1", "multicast"),
            ("239.1.2.3", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("10.0.0.1", "unicast"),
            ("169.253.0.1", "unicast"),
            ("126.0.0.1", "unicast"),
            ("fec0::1", "unicast"),
            ("fd00::1", "unicast"),
            ("::2", "unicast"),
        ] {
            let ip = ip(text);
            let found = if ip.is_loopback() {
                "loopback"
            } else if ip.is_unspecified() {
                "unspecified"
            } else if ip.is_link_local() {
                "link-local"
            } else if ip.is_multicast() {
                "multicast"
            } else if ip.is_broadcast() {
                "broadcast"
            } else {
                "unicast"
            };
            assert_eq!(found, class, "{text}");
        }
    }

    #[test]
    fn a_v4_word_and_a_mapped_address_are_the_same_key() {
        let word = u32::from_ne_bytes([10, 1, 2, 3]);
        assert_eq!(Ip::from_v4_word(word), ip("::ffff:10.1.2.3"));
        assert_eq!(Ip::from_v4_word(word).v4_word(), Some(word));
        assert_eq!(ip("fd00::1").v4_word(), None);
    }
}

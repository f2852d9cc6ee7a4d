//! Where a connection comes from, as far as limits tell one from another.
//!
//! 1. An IPv4 address is one source, also where it is written as an IPv6 one.
//! 2. Of an IPv6 address the first 64 bits are: whoever has a network of that size has 2^64 addresses, and
//!    would be as many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One source of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// An address.
    V4(Ipv4Addr),
    /// A network: the first 64 bits of its addresses.
    V6(u64),
}

impl Source {
    /// The source of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source::V4(address),
            IpAddr::V6(address) => Source::V6(network(address)),
        }
    }
}

fn network(address: Ipv6Addr) -> u64 {
    u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one_source_and_what_is_two() {
        let source = |text: &str| Source::of(text.parse().expect("an address"));
        for (one, other, same) in [
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("10.0.0.7", "::ffff:10.0.0.7", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("127.0.0.1", "::1", false),
        ] {
            assert_eq!(source(one) == source(other), same, "{one} {other}");
        }
    }
}

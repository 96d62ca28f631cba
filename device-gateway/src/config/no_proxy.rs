//! Hosts that are reached straight, though there is a proxy.

use std::{net::IpAddr, str::FromStr};

/// What such an entry is.
pub(super) const EXPECTED: &str = "a host name, which stands for the hosts below it too, an address, or a network such as 10.0.0.0/8";

/// Hosts that are reached straight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoProxy {
    /// The host of this name in small letters, and those below it.
    Name(String),
    /// Hosts that are given by an address of this network.
    Network {
        /// One of its addresses.
        address: IpAddr,
        /// How many bits its addresses have in common.
        bits: u8,
    },
}

/// A text is no host and no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is neither a host nor a network")]
pub struct NoProxyError;

impl NoProxy {
    /// Says whether a host, a name or an address without brackets, is one of these. No name is looked up.
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => {
                let host = host.to_ascii_lowercase();
                let host = host.strip_suffix('.').unwrap_or(&host);
                let above = host.strip_suffix(name.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            Self::Network { address, bits } => {
                let host = host.parse::<IpAddr>();
                host.is_ok_and(|host| is_within(*address, *bits, host))
            }
        }
    }
}

impl FromStr for NoProxy {
    type Err = NoProxyError;

    fn from_str(text: &str) -> Result<Self, NoProxyError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| NoProxyError)?)),
            None => (text, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let bits = bits.unwrap_or(most(address));
            let fits = bits <= most(address);
            return fits
                .then_some(Self::Network { address, bits })
                .ok_or(NoProxyError);
        }
        let name = text.strip_prefix('.').unwrap_or(text);
        let good = |label: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !label.is_empty() && label.chars().all(plain)
        };
        // Digits at its end make it an address that went wrong.
        let named = name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.parse::<u64>().is_err());
        (named && name.split('.').all(good))
            .then(|| Self::Name(name.to_ascii_lowercase()))
            .ok_or(NoProxyError)
    }
}

fn most(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(network: IpAddr, bits: u8, host: IpAddr) -> bool {
    let high =
        |address: u128, width: u32| address.checked_shr(width - u32::from(bits)).unwrap_or(0);
    match (network, host) {
        (IpAddr::V4(network), IpAddr::V4(host)) => {
            let high = |address: u32| high(u128::from(address), 32);
            high(network.to_bits()) == high(host.to_bits())
        }
        (IpAddr::V6(network), IpAddr::V6(host)) => {
            high(network.to_bits(), 128) == high(host.to_bits(), 128)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(entry: &str, covered: &[&str], others: &[&str]) {
        let entry: NoProxy = entry.parse().unwrap();
        for host in covered {
            assert!(entry.covers(host), "{entry:?} {host}");
        }
        for host in others {
            assert!(!entry.covers(host), "{entry:?} {host}");
        }
    }

    #[test]
    fn a_name_stands_for_the_hosts_below_it() {
        let others = [
            "example.com",
            "badsite.example",
            "site.example.com",
            "10.0.0.1",
            "",
        ];
        check(
            "Site.Example",
            &["site.example", "HUB.site.example", "site.example."],
            &others,
        );
        check(
            ".site.example",
            &["site.example", "a.b.site.example"],
            &others,
        );
    }

    #[test]
    fn an_address_stands_for_itself_and_a_network_for_what_is_in_it() {
        check(
            "10.1.2.3",
            &["10.1.2.3"],
            &["10.1.2.4", "::ffff:10.1.2.3", "10.1.2.3.example"],
        );
        check("10.0.0.0/8", &["10.255.0.1"], &["11.0.0.1", "localhost"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["::1", "hub.example"]);
        check("fd00::/8", &["fd12::1"], &["fe80::1", "253.0.0.1"]);
        check("::/0", &["fe80::1"], &["1.2.3.4"]);
    }

    #[test]
    fn anything_else_is_a_mistake() {
        let wrong = [
            "",
            ".",
            "*",
            "a..b",
            "a b",
            "10.0.0.0/33",
            "10.0.0/8",
            "1.2.3",
            "::/129",
            "a/8",
            "a:80",
        ];
        for wrong in wrong {
            assert!(wrong.parse::<NoProxy>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_network_covers_exactly_the_addresses_that_begin_as_it_does(
            network: u32, host: u32, bits in 0_u8..=32,
        ) {
            let entry = format!("{}/{bits}", std::net::Ipv4Addr::from_bits(network));
            let common = (network ^ host).leading_zeros();
            let covers = entry.parse::<NoProxy>().unwrap();
            let host = std::net::Ipv4Addr::from_bits(host).to_string();
            prop_assert_eq!(covers.covers(&host), common >= u32::from(bits));
        }

        #[test]
        fn no_text_panics_and_a_name_covers_itself_and_no_longer_word(
            text: String, name in "[a-z]{1,5}(\\.[a-z]{1,5}){0,3}", host: String,
        ) {
            if let Ok(entry) = text.parse::<NoProxy>() {
                let _ = entry.covers(&host);
            }
            let entry: NoProxy = name.parse().unwrap();
            let (below, longer, other) = (format!("x.{name}"), format!("x{name}"), format!("{name}.0"));
            prop_assert!(entry.covers(&name) && entry.covers(&below));
            prop_assert!(!entry.covers(&longer) && !entry.covers(&other));
        }
    }
}

//! From which addresses a URL works: networks, IPv4 and IPv6. Pure.
//!
//! Invariant: a set of networks is not empty, and it is written in one way only, however it was given. So two grants that mean the
//! same addresses carry the same condition.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Networks, as few as there can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceIps(Arc<[IpNet]>);

/// The text names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSourceIp {
    /// Not an address, nor one with a prefix length.
    #[error("is no IP address and no network: write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32")]
    NotANetwork,
    /// An address within a network, rather than the network.
    #[error(
        "has bits beyond its prefix length: write {0} for the whole network, or the address alone"
    )]
    HostBits(IpNet),
    /// An IPv4 address in the guise of IPv6. Stores compare with the IPv4 address.
    #[error("is an IPv4 address written as IPv6: write the IPv4 address")]
    Mapped,
}

/// Reads an address or a network, such as `203.0.113.7` or `2001:db8::/32`.
///
/// # Errors
/// If it is neither; the message says what to write.
pub fn parse(text: &str) -> Result<IpNet, InvalidSourceIp> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| InvalidSourceIp::NotANetwork)?,
    };
    if network != network.trunc() {
        return Err(InvalidSourceIp::HostBits(network.trunc()));
    }
    match network.network() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(InvalidSourceIp::Mapped),
        _ => Ok(network),
    }
}

impl SourceIps {
    /// The addresses of any of these networks. `None`: there are no networks.
    #[must_use]
    pub fn of(networks: impl IntoIterator<Item = IpNet>) -> Option<Self> {
        let networks = IpNet::aggregate(&networks.into_iter().collect());
        (!networks.is_empty()).then(|| Self(networks.into()))
    }

    /// Whether every address of the other is one of these. Neighbours are one network here, so one network holds what many do.
    #[must_use]
    pub fn include(&self, other: &Self) -> bool {
        let held = |inner: &IpNet| self.0.iter().any(|outer| outer.contains(inner));
        other.0.iter().all(held)
    }

    /// The networks.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(texts: &[&str]) -> SourceIps {
        SourceIps::of(texts.iter().map(|text| parse(text).unwrap())).unwrap()
    }

    #[test]
    fn addresses_and_networks_are_read() {
        for (text, network) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:DB8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(parse(text).map(|n| n.to_string()), Ok(network.to_owned()));
        }
        for text in [
            "",
            "*",
            "any",
            "10",
            "10.0.0.0/33",
            "10.0.0.0/",
            "/8",
            "10.0.0",
            "010.0.0.1",
            "10.0.0.1 ",
            "host.test",
            "::/129",
            "10.0.0.1:80",
            "fe80::1%eth0",
            "10.0.0.0/+8",
        ] {
            assert_eq!(parse(text), Err(InvalidSourceIp::NotANetwork), "{text:?}");
        }
        let whole = "10.0.0.0/8".parse().unwrap();
        assert_eq!(parse("10.1.2.3/8"), Err(InvalidSourceIp::HostBits(whole)));
        assert_eq!(parse("::ffff:10.0.0.1"), Err(InvalidSourceIp::Mapped));
    }

    #[test]
    fn a_set_is_written_in_one_way() {
        let halves = of(&[
            "10.0.1.0/24",
            "10.0.0.0/24",
            "10.0.1.7",
            "2001:db8::/33",
            "2001:db8:8000::/33",
        ]);
        let whole = of(&["2001:db8::/32", "10.0.0.0/23"]);
        assert_eq!(halves, whole);
        assert_eq!(SourceIps::of([]), None);
    }

    #[test]
    fn a_set_includes_what_its_networks_hold_together() {
        let office = of(&["10.0.0.0/24", "10.0.1.0/24", "2001:db8::/32"]);
        for (asked, included) in [
            (&["10.0.0.7"][..], true),
            (&["10.0.0.0/23"], true),
            (&["10.0.0.7", "2001:db8::1"], true),
            (&["10.0.0.0/22"], false),
            (&["10.0.0.7", "192.0.2.1"], false),
            (&["0.0.0.0/0"], false),
            (&["::/0"], false),
            (&["::a00:7"], false),
        ] {
            assert_eq!(office.include(&of(asked)), included, "{asked:?}");
        }
    }

    proptest! {
        /// What is included has no address that the including set lacks.
        #[test]
        fn inclusion_is_of_addresses(
            outer in proptest::collection::vec((any::<u32>(), 0..=4u8), 1..4),
            inner in proptest::collection::vec((any::<u32>(), 0..=6u8), 1..4),
            probe: u32,
        ) {
            let set = |parts: Vec<(u32, u8)>| {
                let networks = parts.into_iter().map(|(bits, length)| {
                    ipnet::Ipv4Net::new(bits.into(), length).unwrap().trunc().into()
                });
                SourceIps::of(networks).unwrap()
            };
            let (outer, inner) = (set(outer), set(inner));
            let holds = |set: &SourceIps| {
                let address = IpAddr::from(std::net::Ipv4Addr::from(probe));
                set.networks().iter().any(|network| network.contains(&address))
            };
            prop_assert!(!outer.include(&inner) || !holds(&inner) || holds(&outer));
        }
    }
}

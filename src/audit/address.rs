//! Addresses as text, as the standard library writes them: by hand where each request has one.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use arrayvec::ArrayString;

/// The longest text of an IP address.
const IP: usize = 45;
/// The longest text of a socket address: an IPv6 address with its zone and port.
const SOCKET: usize = 58;

/// An IP address.
pub(super) fn ip(address: IpAddr) -> ArrayString<IP> {
    let mut text = ArrayString::new();
    push(&mut text, address);
    text
}

/// An IP address and a port.
pub(super) fn socket(address: SocketAddr) -> ArrayString<SOCKET> {
    let mut text = ArrayString::new();
    if address.is_ipv4() {
        push(&mut text, address.ip());
        text.push(':');
        text.push_str(itoa::Buffer::new().format(address.port()));
    } else {
        // It always has room.
        let _ = write!(text, "{address}");
    }
    text
}

fn push<const N: usize>(text: &mut ArrayString<N>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let mut number = itoa::Buffer::new();
            for (index, part) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push('.');
                }
                text.push_str(number.format(part));
            }
        }
        IpAddr::V6(address) => {
            // It always has room.
            let _ = write!(text, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_are_written_as_the_standard_library_does(address: IpAddr, port: u16) {
            let socket_address = SocketAddr::new(address, port);
            prop_assert_eq!(ip(address).to_string(), address.to_string());
            prop_assert_eq!(socket(socket_address).to_string(), socket_address.to_string());
        }
    }

    #[test]
    fn the_longest_addresses_have_room() {
        let mapped = "::ffff:255.255.255.255".parse().unwrap();
        let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        for address in [mapped, full] {
            let longest = SocketAddrV6::new(address, u16::MAX, u32::MAX, u32::MAX);
            assert_eq!(socket(longest.into()).as_str(), longest.to_string());
            assert_eq!(ip(address.into()).as_str(), address.to_string());
        }
    }
}

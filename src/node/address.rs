//! Which addresses are on this machine, on its networks, or out in the world.
//!
//! It classifies; it never resolves a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From anywhere, as far as the address tells.
    Public,
    /// Only on some private network, or from nowhere (multicast, documentation, reserved).
    Private,
    /// Only on the machine itself.
    Loopback,
}

/// Whether the host is this machine, on a private network, or nowhere.
///
/// A name that is not local by itself may still resolve to a local address: check the result with
/// [`is_local_ip`].
pub fn is_local(host: &Host<&str>) -> bool {
    reach(host) != Reach::Public
}

/// Whether the address is this machine, on a private network, or nowhere.
pub fn is_local_ip(address: IpAddr) -> bool {
    reach_of_ip(address) != Reach::Public
}

/// Classifies the host of a URL.
pub fn reach(host: &Host<&str>) -> Reach {
    match host {
        Host::Domain(name) => reach_of_name(name),
        Host::Ipv4(address) => reach_of_v4(*address),
        Host::Ipv6(address) => reach_of_v6(*address),
    }
}

/// Classifies an address.
pub fn reach_of_ip(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_of_v4(address),
        IpAddr::V6(address) => reach_of_v6(address),
    }
}

fn reach_of_name(name: &str) -> Reach {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if let Ok(address) = name.parse() {
        return reach_of_ip(address);
    }
    match name.rsplit_once('.') {
        None if name == "localhost" => Reach::Loopback,
        // A single label is looked up in the machine's own search domains.
        None => Reach::Private,
        Some((_, "localhost")) | Some(("localhost", "localdomain")) => Reach::Loopback,
        Some((_, "local" | "internal" | "localdomain" | "lan")) => Reach::Private,
        Some((rest, "arpa")) if rest == "home" || rest.ends_with(".home") => Reach::Private,
        Some(_) => Reach::Public,
    }
}

fn reach_of_v4(address: Ipv4Addr) -> Reach {
    // Linux connects 0.0.0.0 to the machine itself.
    if address.is_loopback() || address.is_unspecified() {
        return Reach::Loopback;
    }
    let special = address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        // IANA's special-purpose registry: this network, shared (carrier NAT), protocol
        // assignments, benchmarking, reserved and broadcast.
        || matches!(
            address.octets(),
            [0, ..] | [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..]
        );
    if special { Reach::Private } else { Reach::Public }
}

fn reach_of_v6(address: Ipv6Addr) -> Reach {
    if address.is_loopback() || address.is_unspecified() {
        return Reach::Loopback;
    }
    match address.segments() {
        // IPv4-mapped, IPv4-compatible and NAT64 addresses lead to the IPv4 address in them.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            reach_of_v4(embedded(high, low))
        }
        // 6to4, likewise.
        [0x2002, high, low, ..] => reach_of_v4(embedded(high, low)),
        // Teredo and documentation.
        [0x2001, 0 | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Private,
        // Global unicast, as far as it is assigned (RFC 4291).
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Private,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_url(text: &str) -> Reach {
        let url = url::Url::parse(text).unwrap();
        reach(&url.host().unwrap())
    }

    #[test]
    fn every_way_to_write_this_machine_is_loopback() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.b.localhost",
            "localhost.localdomain",
            "127.0.0.1",
            "127.255.1.2",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
        ] {
            assert_eq!(of_url(&format!("ws://{host}:7777")), Reach::Loopback, "{host}");
        }
    }

    #[test]
    fn private_networks_and_addresses_of_nobody_are_private() {
        for host in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.1.2.3",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "[fd00::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[2001::1]",
            "[::ffff:192.168.1.1]",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::1]",
            "[2002:c0a8:101::]",
            "nas.local",
            "metadata.google.internal",
            "router.lan",
            "box.home.arpa",
            "strfry",
        ] {
            assert_eq!(of_url(&format!("wss://{host}/")), Reach::Private, "{host}");
        }
    }

    #[test]
    fn public_names_and_addresses_are_public() {
        for host in [
            "relay.example",
            "localhost.example",
            "internal.example",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "[2606:4700::1111]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::808:808]",
        ] {
            assert_eq!(of_url(&format!("wss://{host}/")), Reach::Public, "{host}");
        }
    }

    #[test]
    fn a_name_that_is_an_address_is_that_address() {
        assert_eq!(reach(&Host::Domain("127.0.0.1")), Reach::Loopback);
        assert_eq!(reach(&Host::Domain("")), Reach::Private);
    }

    proptest! {
        #[test]
        fn an_ipv4_address_in_ipv6_clothes_stays_what_it_is(bits: u32) {
            let plain = Ipv4Addr::from_bits(bits);
            let mapped = IpAddr::V6(plain.to_ipv6_mapped());
            prop_assert_eq!(reach_of_ip(mapped), reach_of_ip(IpAddr::V4(plain)));
        }

        #[test]
        fn whatever_the_standard_library_calls_special_is_local(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            if v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast() {
                prop_assert!(is_local_ip(v6.into()));
            }
            let v4 = Ipv4Addr::from_bits(bits as u32);
            if v4.is_private() || v4.is_multicast() || v4.is_link_local() || v4.is_documentation() {
                prop_assert!(is_local_ip(v4.into()));
            }
        }

        #[test]
        fn any_name_is_classified(name: String) {
            let _ = is_local(&Host::Domain(&name));
        }
    }
}

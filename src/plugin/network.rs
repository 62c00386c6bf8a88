//! The servers that a step's `allow.http` names, and which addresses a request may go to.
//!
//! Pure. A request's scheme, host and port have to be listed, and then each address that its host resolves to is looked at: those of
//! the machine itself, of private networks and of clouds' metadata services are refused unless they are listed, too. A name can
//! resolve to another address at any time, so it is the address of the connection that counts.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// What a step's `allow.http` grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// The servers.
    pub origins: Vec<Origin>,
    /// The methods of requests, in upper case.
    pub methods: Vec<String>,
    /// The networks whose addresses may be connected to though they aren't public.
    pub networks: Vec<Network>,
    /// The most bytes of the body of a request, and of that of a response.
    pub body_bytes: u64,
}

impl HttpGrant {
    /// No server at all.
    #[must_use]
    pub fn nowhere() -> HttpGrant {
        HttpGrant { origins: Vec::new(), methods: Vec::new(), networks: Vec::new(), body_bytes: 0 }
    }

    /// Whether requests may go to this server, by its name.
    #[must_use]
    pub fn lists(&self, asked: &Origin) -> bool {
        self.origins.iter().any(|origin| origin.covers(asked))
    }

    /// Whether a connection to this host may go to this address.
    ///
    /// # Errors
    /// What kind of address it is, if it may not.
    pub fn reaches(&self, host: &str, address: IpAddr) -> Result<(), &'static str> {
        let Some(kind) = special(address) else { return Ok(()) };
        let is_written = self.origins.iter().any(|origin| origin.host == host)
            && (host == address.to_string() || (host == "localhost" && address.is_loopback()));
        match is_written || self.networks.iter().any(|network| network.holds(address)) {
            true => Ok(()),
            false => Err(kind),
        }
    }
}

/// A server: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    is_tls: bool,
    /// In lower case; an IPv6 address without brackets; or `*.` and a domain, for all names below it.
    host: String,
    port: u16,
}

impl Origin {
    /// The server of a request.
    #[must_use]
    pub fn of(is_tls: bool, host: &str, port: Option<u16>) -> Origin {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // `::1` and `0:0:0:0:0:0:0:1` are one address.
        let host = bare.parse::<IpAddr>().map_or_else(|_| bare.to_ascii_lowercase(), |address| address.to_string());
        Origin { is_tls, host, port: port.unwrap_or(if is_tls { 443 } else { 80 }) }
    }

    /// Its host, in lower case and without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    fn covers(&self, asked: &Origin) -> bool {
        let is_host = match self.host.strip_prefix('*') {
            Some(domain) => {
                asked.host.parse::<IpAddr>().is_err()
                    && asked.host.strip_suffix(domain).is_some_and(|name| !name.is_empty())
            }
            None => self.host == asked.host,
        };
        is_host && (self.is_tls, self.port) == (asked.is_tls, asked.port)
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Origin, String> {
        const EXAMPLE: &str = "write scheme, host and, if need be, the port: `https://tiers.internal:8443`";
        let (is_tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(EXAMPLE.to_owned()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(format!("a path, a query or a user can't be granted; {EXAMPLE}"));
        }
        let domain = authority.strip_prefix("*.");
        let parsed: http::uri::Authority = domain.unwrap_or(authority).parse().map_err(|_| EXAMPLE.to_owned())?;
        let has_port = parsed.as_str().len() > parsed.host().len();
        if parsed.host().contains('*') || (has_port && parsed.port_u16().is_none_or(|port| port == 0)) {
            return Err(EXAMPLE.to_owned());
        }
        let origin = Origin::of(is_tls, parsed.host(), parsed.port_u16());
        Ok(match domain {
            Some(_) => Origin { host: format!("*.{}", origin.host), ..origin },
            None => origin,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]", self.host)?,
            false => write!(f, "{scheme}://{}", self.host)?,
        }
        if self.port != if self.is_tls { 443 } else { 80 } {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// A range of addresses, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        match (self.first, plain(address)) {
            (IpAddr::V4(first), IpAddr::V4(address)) => shared(first.into(), address.into(), self.bits),
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differing = (u128::from(first) ^ u128::from(address)).leading_zeros();
                differing >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

/// Whether the addresses begin with the same bits.
fn shared(a: u32, b: u32, bits: u8) -> bool {
    (a ^ b).leading_zeros() >= u32::from(bits)
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        const EXAMPLE: &str = "write a network, `10.0.0.0/8`, or one address, `10.1.2.3`";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| EXAMPLE.to_owned())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(|| EXAMPLE.to_owned())?,
            None => most,
        };
        Ok(Network { first, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// The IPv4 address that an IPv6 address stands for, if it does; else the address itself.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The IPv4 address inside: mapped (`::ffff:a.b.c.d`), compatible (`::a.b.c.d`), translated (NAT64, `64:ff9b::/96`) or 6to4 (`2002::/16`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let low = |g: u16, h: u16| Ipv4Addr::from(u32::from(g) << 16 | u32::from(h));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] if (g, h) != (0, 0) && (g, h) != (0, 1) => Some(low(g, h)),
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(low(g, h)),
        [0x2002, ..] => Some(low(b, c)),
        _ => None,
    }
}

/// What kind of address it is, if it is none of the public internet's: by the registries of special-purpose addresses (RFC 6890),
/// and the metadata service of a cloud whose address is public.
fn special(address: IpAddr) -> Option<&'static str> {
    match plain(address) {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    const RANGES: [([u8; 4], u8, &str); 15] = [
        ([0, 0, 0, 0], 8, "of this machine"),
        ([127, 0, 0, 0], 8, "of this machine"),
        ([169, 254, 0, 0], 16, "link-local, where clouds have their metadata"),
        ([168, 63, 129, 16], 32, "of a cloud's metadata"),
        ([10, 0, 0, 0], 8, "of a private network"),
        ([172, 16, 0, 0], 12, "of a private network"),
        ([192, 168, 0, 0], 16, "of a private network"),
        ([100, 64, 0, 0], 10, "of a private network"),
        ([198, 18, 0, 0], 15, "of a private network"),
        ([192, 0, 0, 0], 24, "reserved"),
        ([192, 0, 2, 0], 24, "reserved"),
        ([198, 51, 100, 0], 24, "reserved"),
        ([203, 0, 113, 0], 24, "reserved"),
        ([192, 88, 99, 0], 24, "reserved"),
        // Multicast, reserved, and broadcast.
        ([224, 0, 0, 0], 3, "reserved"),
    ];
    let is_in = |first: [u8; 4], bits| shared(Ipv4Addr::from(first).into(), address.into(), bits);
    RANGES.iter().find(|(first, bits, _)| is_in(*first, *bits)).map(|(_, _, kind)| *kind)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, third, ..] = address.segments();
    match first {
        _ if address.is_loopback() || address.is_unspecified() => Some("of this machine"),
        0xfe80..=0xfebf => Some("link-local, where clouds have their metadata"),
        0xfc00..=0xfdff | 0xfec0..=0xfeff => Some("of a private network"),
        // NAT64 inside a network.
        0x64 if (second, third) == (0xff9b, 1) => Some("of a private network"),
        // Only 2000::/3 is the internet; of it, 2001::/23 is for protocols (Teredo among them), and 2001:db8::/32 for documents.
        0x2001 if second < 0x200 || second == 0xdb8 => Some("reserved"),
        0x2000..=0x3fff => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(origins: &[&str], networks: &[&str]) -> HttpGrant {
        HttpGrant {
            origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
            networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            ..HttpGrant::nowhere()
        }
    }

    #[test]
    fn a_server_is_its_scheme_its_host_and_its_port() {
        let grant = grant(&["https://Tiers.internal", "http://[0:0::1]:8080/", "https://*.example.com:8443"], &[]);
        let lists = |is_tls, host: &str, port| grant.lists(&Origin::of(is_tls, host, port));
        assert!(lists(true, "tiers.INTERNAL", None) && lists(true, "tiers.internal", Some(443)));
        assert!(lists(false, "[::1]", Some(8080)) && lists(true, "a.b.example.com", Some(8443)));
        for (is_tls, host, port) in [
            (false, "tiers.internal", Some(443)),
            (true, "tiers.internal", Some(444)),
            (true, "tiers.internal.", None),
            (true, "tiers.internal.evil.com", None),
            (true, "example.com", Some(8443)),
            (true, ".example.com", Some(8443)),
            (true, "notexample.com", Some(8443)),
        ] {
            assert!(!lists(is_tls, host, port), "{host}");
        }
        let shown: Vec<String> = grant.origins.iter().map(Origin::to_string).collect();
        assert_eq!(shown, ["https://tiers.internal", "http://[::1]:8080", "https://*.example.com:8443"]);
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in [
            "tiers.internal",
            "ftp://tiers.internal",
            "https://",
            "https://tiers.internal/path",
            "https://me@tiers.internal",
            "https://tiers.internal:",
            "https://tiers.internal:0",
            "https://tiers.internal:65536",
            "https://ti*rs.internal",
            "https://*",
            "https://a b",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "::1/129", "tiers.internal", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    /// Also the names by which people try to get around it.
    #[test]
    fn addresses_that_are_not_public_are_refused() {
        let grant = grant(&["https://tiers.internal"], &[]);
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.192",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:db8::1",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "100::1",
            "4000::1",
        ] {
            assert!(grant.reaches("tiers.internal", address.parse().unwrap()).is_err(), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1", "::ffff:1.1.1.1"] {
            assert_eq!(grant.reaches("tiers.internal", address.parse().unwrap()), Ok(()), "{address}");
        }
    }

    #[test]
    fn a_listed_network_or_address_is_reached_and_nothing_beside_it() {
        let grant = grant(
            &["https://tiers.internal", "http://127.0.0.1:8080", "http://localhost:8081", "http://*.0.0.2"],
            &["10.1.0.0/16", "fd00::/8", "192.168.0.7"],
        );
        let reaches = |host: &str, address: &str| grant.reaches(host, address.parse().unwrap()).is_ok();
        assert!(reaches("tiers.internal", "10.1.255.1") && !reaches("tiers.internal", "10.2.0.1"));
        assert!(reaches("tiers.internal", "::ffff:10.1.0.1") && reaches("tiers.internal", "fd12::1"));
        assert!(reaches("tiers.internal", "192.168.0.7") && !reaches("tiers.internal", "192.168.0.8"));
        // A name may not lead to what another entry lists by its address.
        assert!(reaches("127.0.0.1", "127.0.0.1") && !reaches("tiers.internal", "127.0.0.1"));
        assert!(reaches("localhost", "127.0.0.1") && reaches("localhost", "::1") && !reaches("localhost", "10.9.0.1"));
        assert!(!grant.lists(&Origin::of(false, "127.0.0.2", None)));
    }
}

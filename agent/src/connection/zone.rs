//! Where a client is: by what it says of itself in its `client.id` (tags, separated by `,`, `;`, `&` or
//! spaces, as in `billing,zone=eu-west-1a`), by the rack that its Fetch requests name, by a map of
//! networks, or by the listener that it came to, in this order.

use std::{fmt, net::IpAddr, str::FromStr};

/// Names of the zone tag: our own, and those of other systems on object storage, so that their users
/// can move over without a change of their clients.
const ZONE_TAGS: [&str; 7] = [
    "zone",
    "aquifer_zone",
    "ws_az",
    "warpstream_az",
    "zone_id",
    "diskless_az",
    "automq_az",
];
/// The tag that replaces the host in all addresses that the client is told.
const HOST_TAG: &str = "host_override";
/// Longest value of a tag; longer ones are ignored. 253 is the longest host name.
const VALUE_CHARS_MAX: usize = 253;

/// Tags of a `client.id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHints {
    /// The client's zone; empty = it did not say.
    pub zone: String,
    /// Host to name in all addresses instead of the agents' own; None = it did not say.
    pub host_override: Option<String>,
}

impl ClientHints {
    /// Reads the tags of a `client.id`; of several zone tags the first one counts.
    #[must_use]
    pub fn of(client_id: &str) -> Self {
        let mut hints = Self::default();
        for part in client_id.split([',', ';', '&', ' ']) {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            if value.is_empty() || value.len() > VALUE_CHARS_MAX {
                continue;
            }
            if ZONE_TAGS.contains(&name) && hints.zone.is_empty() {
                value.clone_into(&mut hints.zone);
            } else if name == HOST_TAG && hints.host_override.is_none() {
                hints.host_override = Some(value.to_owned());
            }
        }
        hints
    }
}

/// How a client's zone is known, the weakest way first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ZoneSource {
    /// It is not.
    #[default]
    Unknown,
    /// The listener serves one zone.
    Listener,
    /// Its address is in a network of that zone.
    Network,
    /// Its Fetch requests name it as `client.rack`.
    Rack,
    /// A tag in its `client.id`.
    Tag,
}

/// A client's zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientZone {
    /// The zone; empty = unknown.
    pub name: String,
    /// How it is known.
    pub source: ZoneSource,
}

impl ClientZone {
    /// This zone, unless `name` (where it is not empty) is known in a better way.
    #[must_use]
    fn or_better(self, name: &str, source: ZoneSource) -> Self {
        if name.is_empty() || self.source >= source {
            return self;
        }
        Self {
            name: name.to_owned(),
            source,
        }
    }

    /// The same client, after it named its rack.
    #[must_use]
    pub fn with_rack(self, rack: &str) -> Self {
        self.or_better(rack, ZoneSource::Rack)
    }
}

/// How clients without a tag are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneSettings {
    /// Networks and the zones that they lie in. Of several that hold an address the smallest counts.
    pub networks: Vec<(Network, String)>,
    /// True = whoever comes to this agent's listener is in the agent's own zone (each zone has an
    /// address of its own, say). False, the default: who gives no hint gets the same answer from every
    /// agent.
    pub listener_is_zonal: bool,
}

impl ZoneSettings {
    /// The zone of a client of an agent in `own` zone: by its hints, the rack that it named (empty = none
    /// yet) and its address.
    #[must_use]
    pub fn zone_of(&self, hints: &ClientHints, rack: &str, peer: IpAddr, own: &str) -> ClientZone {
        let listener = if self.listener_is_zonal { own } else { "" };
        let holding = self.networks.iter().filter(|(net, _)| net.holds(peer));
        let network = holding.max_by_key(|(net, _)| net.prefix);
        ClientZone::default()
            .or_better(&hints.zone, ZoneSource::Tag)
            .or_better(rack, ZoneSource::Rack)
            .or_better(network.map_or("", |(_, zone)| zone), ZoneSource::Network)
            .or_better(listener, ZoneSource::Listener)
    }
}

/// A range of addresses, written as `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no network; write an address and the length of its prefix, as in 10.1.0.0/16")]
pub struct NetworkError {
    /// What was given.
    pub text: String,
}

impl Network {
    /// Whether an address lies in it. IPv4 addresses that are written as IPv6 (`::ffff:10.0.0.1`) count
    /// as what they are.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let keeps = |bits: u128, width: u32| {
            let drop = width - u32::from(self.prefix);
            bits.checked_shr(drop).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                keeps(net.to_bits().into(), 32) == keeps(ip.to_bits().into(), 32)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                keeps(net.to_bits(), 128) == keeps(ip.to_bits(), 128)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let network = Self {
                address: address.parse().ok()?,
                prefix: prefix.parse().ok()?,
            };
            let width = if network.address.is_ipv4() { 32 } else { 128 };
            (network.prefix <= width).then_some(network)
        };
        parse().ok_or_else(|| NetworkError {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_a_client_id_are_read() {
        for (client_id, zone, host) in [
            ("", "", None),
            ("billing", "", None),
            ("zone=a", "a", None),
            ("billing,zone=eu-west-1a", "eu-west-1a", None),
            ("ws_az=us-east-1a", "us-east-1a", None),
            ("x,warpstream_az=b,y", "b", None),
            ("zone_id=c;other=1", "c", None),
            ("diskless_az=d", "d", None),
            ("automq_type=producer&automq_az=e", "e", None),
            ("aquifer_zone=f zone=g", "f", None),
            ("zone=", "", None),
            ("timezone=z", "", None),
            (
                "zone=a,host_override=kafka.example",
                "a",
                Some("kafka.example"),
            ),
        ] {
            let hints = ClientHints::of(client_id);
            assert_eq!(hints.zone, zone, "{client_id}");
            assert_eq!(hints.host_override.as_deref(), host, "{client_id}");
        }
    }

    #[test]
    fn networks_hold_addresses_by_their_prefix() {
        for (network, address, holds) in [
            ("10.1.0.0/16", "10.1.255.3", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.0.0/16", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "200.1.2.3", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            let address = address.parse().unwrap();
            assert_eq!(parsed.holds(address), holds, "{network} {address}");
            assert_eq!(parsed.to_string(), network);
        }
        for wrong in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "a/8",
            "10.0.0.0/-1",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tag_counts_before_a_rack_before_a_network_before_the_listener() {
        let settings = ZoneSettings {
            networks: vec![
                ("10.0.0.0/8".parse().unwrap(), "wide".to_owned()),
                ("10.1.0.0/16".parse().unwrap(), "narrow".to_owned()),
            ],
            listener_is_zonal: true,
        };
        let far = "192.168.0.1";
        for (client_id, rack, peer, zone, source) in [
            ("zone=t", "r", "10.1.0.1", "t", ZoneSource::Tag),
            ("app", "r", "10.1.0.1", "r", ZoneSource::Rack),
            ("app", "", "10.1.0.1", "narrow", ZoneSource::Network),
            ("app", "", "10.2.0.1", "wide", ZoneSource::Network),
            ("app", "", far, "own", ZoneSource::Listener),
        ] {
            let hints = ClientHints::of(client_id);
            let found = settings.zone_of(&hints, rack, peer.parse().unwrap(), "own");
            assert_eq!((found.name.as_str(), found.source), (zone, source));
        }
        let hints = ClientHints::default();
        let unknown = ZoneSettings::default().zone_of(&hints, "", far.parse().unwrap(), "own");
        assert_eq!(unknown, ClientZone::default());
        assert_eq!(unknown.with_rack("r").name, "r");
        let tagged = ZoneSettings::default().zone_of(
            &ClientHints::of("zone=t"),
            "",
            far.parse().unwrap(),
            "own",
        );
        assert_eq!(tagged.with_rack("r").name, "t");
    }
}

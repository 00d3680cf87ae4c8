//! What a client says of itself in its `client.id`: tags, separated by `,`, `;`, `&` or spaces, as in
//! `billing,zone=eu-west-1a`.

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
}

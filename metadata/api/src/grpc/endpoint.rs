//! Where a metadata process listens.

use std::{fmt, str::FromStr};

/// Host and port of a metadata process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint(String);

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not a host and a port.
    #[error("{text:?} is no endpoint of a metadata service: write host:port or http://host:port")]
    Form {
        /// What was written.
        text: String,
    },
    /// It asks for encryption.
    #[error(
        "{text:?}: the wire between agents and metadata is not encrypted; write http:// and keep it inside a network that is"
    )]
    Encrypted {
        /// What was written.
        text: String,
    },
}

impl Endpoint {
    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.0
    }

    /// The URI that requests to it begin with.
    pub(super) fn origin(&self) -> Result<http::Uri, EndpointError> {
        let uri = http::Uri::builder()
            .scheme("http")
            .authority(self.0.as_str())
            .path_and_query("/")
            .build();
        uri.map_err(|_| EndpointError::Form {
            text: self.0.clone(),
        })
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let trimmed = text.trim();
        let wrong = || EndpointError::Form {
            text: text.to_owned(),
        };
        if trimmed.starts_with("https://") {
            return Err(EndpointError::Encrypted {
                text: text.to_owned(),
            });
        }
        let authority = trimmed.strip_prefix("http://").unwrap_or(trimmed);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let parsed: http::uri::Authority = authority.parse().map_err(|_| wrong())?;
        let port = parsed.port_u16().filter(|port| *port > 0);
        if port.is_none() || parsed.host().is_empty() || authority.contains('@') {
            return Err(wrong());
        }
        Ok(Self(authority.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_a_host_and_a_port() {
        for (text, authority) in [
            ("metadata-0:7700", Some("metadata-0:7700")),
            ("http://10.0.0.1:7700/", Some("10.0.0.1:7700")),
            (" [::1]:7700 ", Some("[::1]:7700")),
            ("metadata-0", None),
            ("metadata-0:0", None),
            ("metadata-0:70000", None),
            ("https://metadata-0:7700", None),
            ("user@metadata-0:7700", None),
            (":7700", None),
            ("http://metadata-0:7700/path", None),
            ("", None),
        ] {
            let endpoint = text.parse::<Endpoint>();
            let parsed = endpoint.as_ref().ok().map(Endpoint::authority);
            assert_eq!(parsed, authority, "{text:?}");
            if let Ok(endpoint) = endpoint {
                assert!(endpoint.origin().is_ok(), "{text:?}");
            }
        }
    }
}

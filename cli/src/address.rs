//! Addresses to listen on.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

/// `127.0.0.1:9092`, `[::1]:9092`, `localhost:9092`, `:9092` (every address of the machine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let full = match text.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => text.to_owned(),
        };
        let mut found = full.to_socket_addrs().map_err(|error| {
            format!("{text:?} is no address to listen on ({error}); write 127.0.0.1:9092")
        })?;
        let address = found
            .next()
            .ok_or_else(|| format!("the name in {text:?} has no address"))?;
        Ok(Self(address))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What others are told to connect to: a host, and a port where it is another one than that listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advertised {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no host to be reached at; write agent-1.example:9092");
        let (host, port) = match text.rsplit_once(':') {
            // An IPv6 address without a port has colons too.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                let port = port.parse().map_err(|_| wrong())?;
                (host, Some(port))
            }
            _ => (text, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let visible = host.bytes().all(|c| c.is_ascii_graphic() && c != b'/');
        if host.is_empty() || !visible || port == Some(0) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Reads a host whose port is set elsewhere.
pub(crate) fn host_only(text: &str) -> Result<Advertised, String> {
    let advertised: Advertised = text.parse()?;
    match advertised.port {
        None => Ok(advertised),
        Some(_) => Err("give the host alone: its port is the one that is listened on".to_owned()),
    }
}

impl Advertised {
    /// Host and port, where something listens on `bound`. A wildcard address is no address for others:
    /// then it is this machine's name.
    pub(crate) fn resolve(
        advertised: Option<&Self>,
        bound: SocketAddr,
        flag: &str,
    ) -> (String, u16) {
        let host = match advertised {
            Some(advertised) => advertised.host.clone(),
            None if bound.ip().is_unspecified() => {
                let host = machine_name().unwrap_or_else(|| "127.0.0.1".to_owned());
                tracing::warn!(
                    host,
                    "others are told this machine's name; set {flag} if they cannot resolve it"
                );
                host
            }
            None => bound.ip().to_string(),
        };
        let port = advertised.and_then(|a| a.port).unwrap_or(bound.port());
        (host, port)
    }
}

fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Host and port as one text; IPv6 addresses in brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_addresses_are_read() {
        let check = |text: &str, host: &str, port: Option<u16>| {
            let found: Advertised = text.parse().unwrap();
            assert_eq!((found.host.as_str(), found.port), (host, port), "{text}");
        };
        check("agent-1", "agent-1", None);
        check("agent-1.example:9092", "agent-1.example", Some(9092));
        check("[fd00::1]:9092", "fd00::1", Some(9092));
        check("fd00::1", "fd00::1", None);
        for wrong in ["", ":9092", "a:0", "a:b", "a b:1", "http://a:1"] {
            assert!(wrong.parse::<Advertised>().is_err(), "{wrong:?}");
        }
        assert_eq!(host_only("a").unwrap().host, "a");
        assert!(host_only("a:9092").is_err());
        let bound = "10.0.0.1:1234".parse().unwrap();
        let resolved = Advertised::resolve(None, bound, "--x");
        assert_eq!(resolved, ("10.0.0.1".to_owned(), 1234));
        let host_only = "b".parse().unwrap();
        let resolved = Advertised::resolve(Some(&host_only), bound, "--x");
        assert_eq!(resolved, ("b".to_owned(), 1234));
        assert_eq!(authority("fd00::1", 1), "[fd00::1]:1");
    }

    #[test]
    fn addresses_are_read() {
        let check = |text: &str, shown: &str| {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), shown);
        };
        check("127.0.0.1:9092", "127.0.0.1:9092");
        check(":9092", "0.0.0.0:9092");
        check("[::1]:0", "[::1]:0");
        for wrong in ["", "nonsense", "127.0.0.1", "127.0.0.1:99999", ":"] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong:?}");
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

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

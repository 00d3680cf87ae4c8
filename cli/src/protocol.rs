//! A Kafka client for administration: one connection, one request at a time.
//!
//! librdkafka's wrapper lacks some of these requests, and leaves out what brokers say of a refusal.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use aquifer_store::{Clock, Monotonic, Ports};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{ApiVersionsRequest, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};

use crate::arguments::Bootstrap;

/// Longest answer that is read. One of another kind of server looks longer than this.
const ANSWER_BYTES_MAX: usize = 100 << 20;
/// The port of addresses that have none.
const PORT: u16 = 9092;

/// A connection to a broker.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    address: String,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    correlation: i32,
    /// Versions that the broker knows, by api key.
    versions: BTreeMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects to the first broker of the cluster that answers.
    pub(crate) fn open(bootstrap: &Bootstrap) -> Result<Self> {
        check_settings(bootstrap)?;
        let mut seen = Vec::new();
        for address in addresses(&bootstrap.bootstrap) {
            match Self::open_at(&address, bootstrap.timeout.0) {
                Ok(connection) => return Ok(connection),
                Err(error) => seen.push(format!("{address}: {error:#}")),
            }
        }
        let seen = seen.join("; ");
        bail!(
            "no Kafka cluster answers at {} ({seen}); start one with `aquifer dev`, or name another with \
             --bootstrap",
            bootstrap.bootstrap
        )
    }

    /// Connects to the broker at `address` (`host:port`).
    pub(crate) fn open_at(address: &str, timeout: Duration) -> Result<Self> {
        let clock = Ports::system().clock;
        let until = clock.now().plus(timeout);
        let stream = connect(address, &*clock, until)?;
        let mut connection = Self {
            stream,
            address: address.to_owned(),
            clock,
            timeout,
            correlation: 0,
            versions: BTreeMap::from([(ApiVersionsRequest::KEY, (0, 0))]),
        };
        let answer = connection.call(&ApiVersionsRequest::default(), 0..=0)?;
        refusal(answer.error_code, None).map_or(Ok(()), Err)?;
        connection.versions = answer
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        Ok(connection)
    }

    /// Asks, in the newest of `versions` that the broker knows, and waits for the answer.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        versions: RangeInclusive<i16>,
    ) -> Result<R::Response> {
        let version = self.version(R::KEY, &versions)?;
        self.correlation = self.correlation.wrapping_add(1);
        let until = self.clock.now().plus(self.timeout);
        let frame = encode(self.correlation, version, request)?;
        let address = self.address.clone();
        let asked = self
            .send(&frame, until)
            .and_then(|()| self.receive(until))
            .with_context(|| format!("broker {address} did not answer"))?;
        let mut answer = asked;
        let unreadable = || format!("what {address} answered is no Kafka");
        let header = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut answer, header).with_context(unreadable)?;
        if header.correlation_id != self.correlation {
            bail!("{}: it answers another request", unreadable());
        }
        R::Response::decode(&mut answer, version).with_context(unreadable)
    }

    /// Whether the broker knows one of these versions of a request.
    pub(crate) fn knows<R: Request>(&self, versions: &RangeInclusive<i16>) -> bool {
        self.version(R::KEY, versions).is_ok()
    }

    fn version(&self, key: i16, wanted: &RangeInclusive<i16>) -> Result<i16> {
        let known = self.versions.get(&key).copied();
        let common = known.and_then(|(lowest, highest)| newest_common(lowest, highest, wanted));
        common.ok_or_else(|| {
            anyhow!(
                "broker {} does not know this request (api key {key}, version {} to {}): it is of an \
                 older or newer release",
                self.address,
                wanted.start(),
                wanted.end()
            )
        })
    }

    fn send(&mut self, frame: &[u8], until: Monotonic) -> Result<()> {
        self.stream.set_write_timeout(Some(self.left(until)?))?;
        self.stream.write_all(frame).map_err(io_error)
    }

    fn receive(&mut self, until: Monotonic) -> Result<Bytes> {
        let mut length = [0; 4];
        self.read(&mut length, until)?;
        let length = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .filter(|length| *length <= ANSWER_BYTES_MAX)
            .ok_or_else(|| anyhow!("what is there does not speak the Kafka protocol"))?;
        let mut frame = vec![0; length];
        self.read(&mut frame, until)?;
        Ok(frame.into())
    }

    fn read(&mut self, buffer: &mut [u8], until: Monotonic) -> Result<()> {
        let mut rest = buffer;
        while !rest.is_empty() {
            self.stream.set_read_timeout(Some(self.left(until)?))?;
            match self.stream.read(rest) {
                Ok(0) => bail!("it closed the connection"),
                Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(error)),
            }
        }
        Ok(())
    }

    fn left(&self, until: Monotonic) -> Result<Duration> {
        left(&*self.clock, until)
    }
}

/// The time that is left.
fn left(clock: &dyn Clock, until: Monotonic) -> Result<Duration> {
    let left = until.since(clock.now());
    if left.is_zero() {
        bail!("the time is up (--timeout)");
    }
    Ok(left)
}

fn io_error(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        // What sockets say of a time-out differs by system.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!("the time is up (--timeout)"),
        _ => error.into(),
    }
}

/// The settings are librdkafka's; what protects a connection must not be passed over.
fn check_settings(bootstrap: &Bootstrap) -> Result<()> {
    for setting in &bootstrap.client_setting {
        let (key, value) = (setting.key.as_str(), setting.value.as_str());
        let plain = key != "security.protocol" || value.eq_ignore_ascii_case("plaintext");
        if !plain || key.starts_with("sasl.") || key.starts_with("ssl.") {
            bail!("this command speaks plain text only: {key} of --client-setting is not for it");
        }
        tracing::debug!(key, "--client-setting does nothing for this command");
    }
    Ok(())
}

/// Addresses of a list, with ports.
fn addresses(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(|address| {
            // librdkafka takes a protocol in front.
            let address = address.rsplit("://").next().unwrap_or(address);
            let after_brackets = address.rsplit(']').next().unwrap_or(address);
            if after_brackets.contains(':') {
                address.to_owned()
            } else {
                format!("{address}:{PORT}")
            }
        })
        .collect()
}

fn connect(address: &str, clock: &dyn Clock, until: Monotonic) -> Result<TcpStream> {
    let found: Vec<SocketAddr> = address
        .to_socket_addrs()
        .with_context(|| format!("{address} is no address"))?
        .collect();
    let mut failed = anyhow!("{address} has no address");
    for socket in found {
        match TcpStream::connect_timeout(&socket, left(clock, until)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = io_error(error),
        }
    }
    Err(failed)
}

fn encode<R: Request>(correlation: i32, version: i16, request: &R) -> Result<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("aquifer-cli")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version))?;
    request.encode(&mut body, version)?;
    let length = i32::try_from(body.len()).context("the request is too large")?;
    let mut frame = BytesMut::with_capacity(body.len().saturating_add(4));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame.freeze())
}

fn newest_common(lowest: i16, highest: i16, wanted: &RangeInclusive<i16>) -> Option<i16> {
    let newest = highest.min(*wanted.end());
    (newest >= lowest && newest >= *wanted.start()).then_some(newest)
}

/// What a broker refuses, in its words; None = it does not.
pub(crate) fn refusal(code: i16, message: Option<&StrBytes>) -> Option<anyhow::Error> {
    let error = ResponseError::try_from_code(code)?;
    let name = match error {
        ResponseError::Unknown(code) => format!("error {code}"),
        error => constant_name(&error.to_string()),
    };
    let message = message.filter(|message| !message.is_empty());
    Some(match message {
        Some(message) => anyhow!("{name}: {message}"),
        None => anyhow!("{name}"),
    })
}

/// `POLICY_VIOLATION` of `PolicyViolation`: as Kafka writes it.
fn constant_name(name: &str) -> String {
    let mut constant = String::with_capacity(name.len() + 4);
    for (at, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            constant.push('_');
        }
        constant.push(c.to_ascii_uppercase());
    }
    constant
}

/// A text as the protocol crate has it.
pub(crate) fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;
    use crate::{key_value::KeyValue, units::Span};

    fn bootstrap(list: &str, settings: &[&str]) -> Bootstrap {
        Bootstrap {
            bootstrap: list.to_owned(),
            client_setting: settings
                .iter()
                .map(|setting| setting.parse::<KeyValue>().unwrap())
                .collect(),
            timeout: Span(Duration::from_secs(5)),
        }
    }

    #[test]
    fn addresses_have_ports() {
        for (list, expected) in [
            ("a:1,b:2", vec!["a:1", "b:2"]),
            ("a, b:2,", vec!["a:9092", "b:2"]),
            ("[::1],[::1]:3", vec!["[::1]:9092", "[::1]:3"]),
            ("PLAINTEXT://a:1", vec!["a:1"]),
        ] {
            assert_eq!(addresses(list), expected, "{list}");
        }
    }

    #[test]
    fn the_newest_version_that_both_know_is_spoken() {
        for (known, wanted, version) in [
            ((0, 4), 1..=4, Some(4)),
            ((0, 2), 1..=4, Some(2)),
            ((0, 9), 1..=4, Some(4)),
            ((5, 9), 1..=4, None),
            ((0, 0), 1..=4, None),
        ] {
            assert_eq!(newest_common(known.0, known.1, &wanted), version);
        }
    }

    #[test]
    fn refusals_are_told_in_the_brokers_words() {
        assert!(refusal(0, None).is_none());
        let told = |code, message: Option<&str>| {
            refusal(code, message.map(string).as_ref()).map(|error| error.to_string())
        };
        let policy = told(44, Some("it is protected")).unwrap();
        assert_eq!(policy, "POLICY_VIOLATION: it is protected");
        assert_eq!(told(40, Some("")).unwrap(), "INVALID_CONFIG");
        assert_eq!(told(30_000, None).unwrap(), "error 30000");
    }

    #[test]
    fn what_protects_a_connection_is_not_passed_over() {
        for wrong in [
            "security.protocol=SSL",
            "sasl.password=x",
            "ssl.ca.location=/x",
        ] {
            let refused = check_settings(&bootstrap("a", &[wrong])).unwrap_err();
            assert!(refused.to_string().contains("plain text only"), "{wrong}");
            assert!(!refused.to_string().contains("=x"), "{refused}");
        }
        let fine = ["security.protocol=plaintext", "socket.timeout.ms=5000"];
        check_settings(&bootstrap("a", &fine)).unwrap();
    }

    /// Takes one connection and answers its first bytes with `answer`.
    fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
        });
        address
    }

    #[test]
    fn other_servers_are_told_from_brokers() {
        for (answer, says) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                "does not speak the Kafka protocol",
            ),
            (b"", "closed the connection"),
            (&[0, 0, 0, 4, 0, 0, 0, 9], "answers another request"),
            (&[0, 0, 0, 2, 0, 0], "is no Kafka"),
            (&[0, 0, 0, 6, 0, 0, 0, 1, 0, 35], "is no Kafka"),
        ] {
            let address = server(answer);
            let error = Connection::open(&bootstrap(&address, &[])).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(says), "{error}");
            assert!(error.contains("no Kafka cluster answers at"), "{error}");
        }
    }
}

//! Addresses of servers that are not the service's own.

/// Whether `endpoint` is reached over plain http (without one: whether that is `allowed` at all). An error
/// says that it must be allowed first, which it is by itself only on this machine.
pub(super) fn plain(endpoint: Option<&str>, allowed: Option<bool>) -> Result<bool, String> {
    let Some(endpoint) = endpoint else {
        return Ok(allowed.unwrap_or(false));
    };
    let plain = endpoint.starts_with("http://");
    if plain && !allowed.unwrap_or(is_local(endpoint)) {
        return Err(format!(
            "endpoint {endpoint} is not encrypted; use https, or add ?allow_http=true"
        ));
    }
    Ok(plain)
}

/// Whether the endpoint is on this machine.
fn is_local(endpoint: &str) -> bool {
    url::Url::parse(endpoint).is_ok_and(|url| match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_on_this_machine_are_known() {
        for (endpoint, local) in [
            ("http://127.0.0.1:9000", true),
            ("http://[::1]:9000/", true),
            ("http://localhost:9000", true),
            ("http://minio:9000", false),
            ("http://127.0.0.1.example.com", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_local(endpoint), local, "{endpoint}");
        }
    }

    #[test]
    fn plain_http_elsewhere_must_be_asked_for() {
        for (endpoint, allowed, expected) in [
            (None, None, Some(false)),
            (None, Some(true), Some(true)),
            (Some("https://minio:9000"), None, Some(false)),
            (Some("https://minio:9000"), Some(true), Some(false)),
            (Some("http://localhost:9000"), None, Some(true)),
            (Some("http://localhost:9000"), Some(false), None),
            (Some("http://minio:9000"), None, None),
            (Some("http://minio:9000"), Some(true), Some(true)),
        ] {
            let found = plain(endpoint, allowed);
            assert_eq!(found.ok(), expected, "{endpoint:?} {allowed:?}");
        }
    }
}

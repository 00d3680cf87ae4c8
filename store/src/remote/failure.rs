//! What an error of `object_store` means: try again, slow down, or tell a person.

use object_store::Error as StoreError;

/// A failed request.
#[derive(Debug)]
pub(super) struct Failure {
    /// What was seen, and what to do about it where that is known.
    pub(super) reason: String,
    /// Trying again is of no use.
    pub(super) is_final: bool,
    /// The store asked for fewer requests.
    pub(super) slow_down: bool,
    /// The server takes the credentials for expired: new ones are needed.
    pub(super) credentials_expired: bool,
}

/// HTTP status of the server's answer, where there was one. `object_store` shows its type for failed
/// requests to nobody; the text names the status in all of them.
pub(super) fn status_of(text: &str) -> Option<u16> {
    const BEFORE: &str = "status code: ";
    let start = text.find(BEFORE)? + BEFORE.len();
    text.get(start..start + 3)?.parse().ok()
}

/// The text of an XML element in an S3 error.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let start = body.find(&format!("<{name}>"))? + name.len() + 2;
    let length = body[start..].find("</")?;
    Some(&body[start..start + length])
}

/// Judges an error.
pub(super) fn classify(error: &StoreError) -> Failure {
    let text = error.to_string();
    let code = element(&text, "Code").unwrap_or_default();
    judge(error, status_of(&text), code, element(&text, "Message"))
}

fn judge(error: &StoreError, status: Option<u16>, code: &str, message: Option<&str>) -> Failure {
    let said = match (status, code, message) {
        (Some(_), "", _) => chain(error),
        (Some(status), code, message) => {
            format!("{code} ({status}): {}", message.unwrap_or("no message"))
        }
        (None, ..) => chain(error),
    };
    let expired = matches!(
        code,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired"
    );
    let slow_down = matches!(status, Some(429 | 503))
        || matches!(code, "SlowDown" | "Throttling" | "RequestLimitExceeded");
    let advice = advice(error, status, code);
    Failure {
        is_final: !expired && advice.is_some(),
        slow_down,
        credentials_expired: expired,
        reason: match advice {
            Some(advice) if !advice.is_empty() => format!("{said}; {advice}"),
            _ => said,
        },
    }
}

/// An error with those causes that it does not repeat, which is where an HTTP client says what
/// happened to its connection.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// For errors that do not go away by themselves: what to do ("" = the error says it).
fn advice(error: &StoreError, status: Option<u16>, code: &str) -> Option<&'static str> {
    Some(match (code, error, status) {
        ("NoSuchBucket", ..) => "create the bucket, or correct its name",
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch", ..) => "check the AWS credentials",
        ("RequestTimeTooSkewed", ..) => "set this machine's clock",
        ("AccessDenied", ..) => {
            "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on it"
        }
        ("PermanentRedirect" | "AuthorizationHeaderMalformed", ..) | (_, _, Some(301 | 307)) => {
            "the bucket is in another region: set AWS_REGION or ?region=..."
        }
        (_, StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. }, _) => {
            "check credentials and permissions"
        }
        (
            _,
            StoreError::InvalidPath { .. }
            | StoreError::NotSupported { .. }
            | StoreError::NotImplemented { .. }
            | StoreError::UnknownConfigurationKey { .. },
            _,
        )
        | (_, _, Some(400 | 405 | 411 | 413 | 501)) => "",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic() -> StoreError {
        StoreError::Generic {
            store: "S3",
            source: "x".into(),
        }
    }

    #[test]
    fn errors_that_go_away_by_themselves_are_told_from_those_that_do_not() {
        for (status, code, is_final, slow_down) in [
            (Some(500), "InternalError", false, false),
            (Some(503), "SlowDown", false, true),
            (Some(429), "", false, true),
            (None, "", false, false),
            (Some(404), "NoSuchBucket", true, false),
            (Some(403), "AccessDenied", true, false),
            (Some(400), "ExpiredToken", false, false),
            (Some(400), "EntityTooLarge", true, false),
            (Some(301), "PermanentRedirect", true, false),
        ] {
            let failure = judge(&generic(), status, code, None);
            assert_eq!(failure.is_final, is_final, "{status:?} {code}");
            assert_eq!(failure.slow_down, slow_down, "{status:?} {code}");
        }
        let failure = judge(&generic(), Some(404), "NoSuchBucket", Some("no such thing"));
        assert_eq!(
            failure.reason,
            "NoSuchBucket (404): no such thing; create the bucket, or correct its name"
        );
    }

    #[test]
    fn the_status_is_found() {
        let text = "Generic S3 error: Error performing PUT http://x in 5ms - Server returned non-2xx \
                    status code: 503 Service Unavailable: <Code>SlowDown</Code>";
        assert_eq!(status_of(text), Some(503));
        assert_eq!(status_of("connection reset"), None);
        assert_eq!(status_of("status code: 5"), None);
    }

    #[test]
    fn elements_are_found() {
        let body = "<?xml?><Error><Code>SlowDown</Code><Message>a b</Message></Error>";
        assert_eq!(element(body, "Code"), Some("SlowDown"));
        assert_eq!(element(body, "Message"), Some("a b"));
        assert_eq!(element(body, "Bucket"), None);
        assert_eq!(element("<Code>cut", "Code"), None);
    }
}

//! What an error of `object_store` means: try again, slow down, or tell a person.

use object_store::Error as StoreError;

use super::Service;

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

/// Who tells a machine in the cloud its identity: asked where no other credentials are configured.
const IDENTITY_HOSTS: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

/// HTTP status of the server's answer, where there was one. `object_store` shows its type for failed
/// requests to nobody; the text names the status in all of them.
pub(super) fn status_of(text: &str) -> Option<u16> {
    const BEFORE: &str = "status code: ";
    let start = text.find(BEFORE)? + BEFORE.len();
    text.get(start..start + 3)?.parse().ok()
}

/// The text of an XML element in an error's body, which is the same for all services.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let start = body.find(&format!("<{name}>"))? + name.len() + 2;
    let length = body[start..].find("</")?;
    Some(&body[start..start + length])
}

/// Judges an error.
pub(super) fn classify(service: Service, error: &StoreError) -> Failure {
    let text = error.to_string();
    let code = element(&text, "Code").unwrap_or_default();
    // Azure adds lines with ids and times.
    let message = element(&text, "Message").and_then(|message| message.lines().next());
    judge(service, error, status_of(&text), code, message)
}

fn judge(
    service: Service,
    error: &StoreError,
    status: Option<u16>,
    code: &str,
    message: Option<&str>,
) -> Failure {
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
        || matches!(
            code,
            "SlowDown" | "Throttling" | "RequestLimitExceeded" | "ServerBusy"
        );
    let advice = advice(service, error, status, code);
    let (is_final, advice) = if IDENTITY_HOSTS.iter().any(|host| said.contains(host)) {
        // That the machine's identity cannot be had may pass, or nobody gave it one.
        (false, Some(service.wrong_credentials()))
    } else {
        (!expired && advice.is_some(), advice)
    };
    Failure {
        is_final,
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
fn advice(
    service: Service,
    error: &StoreError,
    status: Option<u16>,
    code: &str,
) -> Option<&'static str> {
    Some(match (code, error, status) {
        ("NoSuchBucket" | "ContainerNotFound", ..) => service.missing_bucket(),
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "NoAuthenticationInformation"
            | "AuthenticationRequired",
            ..,
        ) => service.wrong_credentials(),
        ("RequestTimeTooSkewed", ..) => "set this machine's clock",
        (
            "AccessDenied"
            | "AuthorizationFailure"
            | "AuthorizationPermissionMismatch"
            | "InsufficientAccountPermissions",
            ..,
        ) => service.missing_rights(),
        ("BlobArchived" | "BlobBeingRehydrated", ..) => {
            "rehydrate it, and remove the rule that moves objects to the archive tier"
        }
        ("BlobImmutableDueToPolicy", ..) => {
            "remove the container's immutability policy: a cluster deletes and replaces objects"
        }
        ("PermanentRedirect" | "AuthorizationHeaderMalformed", ..) | (_, _, Some(301 | 307))
            if service == Service::S3 =>
        {
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
            let failure = judge(Service::S3, &generic(), status, code, None);
            assert_eq!(failure.is_final, is_final, "{status:?} {code}");
            assert_eq!(failure.slow_down, slow_down, "{status:?} {code}");
        }
        let failure = judge(
            Service::S3,
            &generic(),
            Some(404),
            "NoSuchBucket",
            Some("no such thing"),
        );
        assert_eq!(
            failure.reason,
            "NoSuchBucket (404): no such thing; create the bucket, or correct its name"
        );
    }

    /// An answer as `object_store` tells of it.
    fn answer(status: &str, body: &str) -> StoreError {
        let text = format!("Server returned non-2xx status code: {status}: {body}");
        let (path, source) = ("k".to_owned(), text.into());
        match status.get(..3) {
            Some("404") => StoreError::NotFound { path, source },
            Some("403") => StoreError::PermissionDenied { path, source },
            Some("401") => StoreError::Unauthenticated { path, source },
            Some("409") => StoreError::AlreadyExists { path, source },
            _ => StoreError::Generic {
                store: "test",
                source,
            },
        }
    }

    #[test]
    fn what_google_and_azure_answer_is_understood() {
        // (service, status, code, is final, slow down, what is said)
        let cases = [
            (
                Service::Google,
                "404 Not Found",
                "NoSuchBucket",
                true,
                false,
                "create the bucket",
            ),
            (
                Service::Google,
                "404 Not Found",
                "NoSuchKey",
                false,
                false,
                "",
            ),
            (
                Service::Google,
                "403 Forbidden",
                "AccessDenied",
                true,
                false,
                "objectUser",
            ),
            (
                Service::Google,
                "401 Unauthorized",
                "AuthenticationRequired",
                true,
                false,
                "GOOGLE_",
            ),
            (
                Service::Google,
                "429 Too Many Requests",
                "SlowDown",
                false,
                true,
                "",
            ),
            (
                Service::Google,
                "503 Service Unavailable",
                "ServiceUnavailable",
                false,
                true,
                "",
            ),
            (
                Service::Google,
                "500 Internal",
                "InternalError",
                false,
                false,
                "",
            ),
            (
                Service::Azure,
                "404 Not Found",
                "ContainerNotFound",
                true,
                false,
                "the container",
            ),
            (
                Service::Azure,
                "404 Not Found",
                "BlobNotFound",
                false,
                false,
                "",
            ),
            (
                Service::Azure,
                "403 Forbidden",
                "AuthenticationFailed",
                true,
                false,
                "AZURE_",
            ),
            (
                Service::Azure,
                "403 Forbidden",
                "AuthorizationFailure",
                true,
                false,
                "Contributor",
            ),
            (
                Service::Azure,
                "403 Forbidden",
                "AuthorizationPermissionMismatch",
                true,
                false,
                "Contributor",
            ),
            (
                Service::Azure,
                "503 Service Unavailable",
                "ServerBusy",
                false,
                true,
                "",
            ),
            (
                Service::Azure,
                "500 Internal",
                "OperationTimedOut",
                false,
                false,
                "",
            ),
            (
                Service::Azure,
                "409 Conflict",
                "BlobArchived",
                true,
                false,
                "archive tier",
            ),
            (
                Service::Azure,
                "409 Conflict",
                "ContainerBeingDeleted",
                false,
                false,
                "",
            ),
        ];
        for (service, status, code, is_final, slow_down, says) in cases {
            let body = format!(
                "<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is\nRequestId:1</Message></Error>"
            );
            let failure = classify(service, &answer(status, &body));
            assert_eq!(
                failure.is_final, is_final,
                "{service:?} {code}: {failure:?}"
            );
            assert_eq!(
                failure.slow_down, slow_down,
                "{service:?} {code}: {failure:?}"
            );
            assert!(
                failure.reason.contains(says),
                "{service:?} {code}: {failure:?}"
            );
            assert!(failure.reason.contains(code), "{failure:?}");
            assert!(!failure.reason.contains("RequestId"), "{failure:?}");
        }
    }

    #[test]
    fn a_machine_without_identity_is_told_of_credentials() {
        for host in IDENTITY_HOSTS {
            let error = StoreError::Generic {
                store: "GCS",
                source: format!("Error performing GET http://{host}/token: status code: 400 x")
                    .into(),
            };
            let failure = classify(Service::Google, &error);
            assert!(!failure.is_final, "{failure:?}");
            assert!(failure.reason.contains("GOOGLE_"), "{failure:?}");
        }
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

//! Buckets behind the S3 protocol, through the AWS SDK.

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{BucketVersioningStatus, Delete, ObjectIdentifier},
};
use futures::future;

use super::{
    Report, Subject, Verdict, judge_race,
    lifecycle::{Harm, harm},
};
use crate::remote::{AccessKeys, RemoteError, S3Settings, connection::Connection, failure::chain};

const CONTENT: &[u8] = b"aquifer bucket check";
/// Races of two creators each that must end well.
const RACES: usize = 3;
/// Races at most: those of which an answer was lost say nothing.
const RACES_MAX: usize = 20;

/// Something that stops the whole check: every other request would say the same.
struct Stop(String);

/// Why a request has no answer.
enum Trouble {
    /// See [`Stop`].
    All(String),
    /// The credentials have no right to it.
    Denied(String),
    /// The store said no with this code.
    Said { code: String, text: String },
}

impl Trouble {
    /// What it says of the subject that was looked at.
    fn text(self) -> Result<String, Stop> {
        match self {
            Self::All(text) => Err(Stop(text)),
            Self::Denied(text) | Self::Said { text, .. } => Ok(text),
        }
    }

    fn verdict(self) -> Result<Verdict, Stop> {
        self.text().map(Verdict::Refused)
    }
}

struct Bucket {
    client: Client,
    settings: S3Settings,
    /// Server, for people.
    server: String,
    /// Prefix of everything that the check writes; ends with a slash.
    probe: String,
}

pub(super) async fn check(
    settings: S3Settings,
    keys: Option<AccessKeys>,
    probe: &str,
) -> Result<Report, RemoteError> {
    let connection = Connection::resolve(&settings, keys).await?;
    let prefix = match settings.prefix.as_str() {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let mut report = Report::new(format!("s3://{}/{prefix}", settings.bucket));
    let bucket = Bucket {
        server: connection
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("AWS in region {}", connection.region)),
        client: connection.client(),
        probe: format!("{prefix}{probe}/"),
        settings,
    };
    let looked = bucket.look(&mut report).await;
    if let Err(Stop(reason)) = looked {
        report
            .findings
            .retain(|(_, verdict)| *verdict == Verdict::Good);
        report.add(Subject::Access, Verdict::Refused(reason));
    }
    Ok(report)
}

impl Bucket {
    /// What to say of a failed request, for which `action` is needed.
    fn trouble<E>(&self, error: &SdkError<E, HttpResponse>, action: &str) -> Trouble
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let name = &self.settings.bucket;
        let Some(said) = error.as_service_error() else {
            return Trouble::All(match error {
                SdkError::ConstructionFailure(_) => no_credentials(&chain(error)),
                // a connection that ends before the answer has a kind, what the SDK itself finds has none
                SdkError::DispatchFailure(failure)
                    if !failure.is_io()
                        && !failure.is_timeout()
                        && failure.as_other().is_none() =>
                {
                    no_credentials(&chain(error))
                }
                SdkError::ResponseError(_) => {
                    format!(
                        "{} does not answer as S3 does: {}",
                        self.server,
                        chain(error)
                    )
                }
                _ => format!("{} cannot be reached: {}", self.server, chain(error)),
            });
        };
        let status = status_of(error).unwrap_or(0);
        let code = said.code().unwrap_or_default().to_owned();
        let message = said.message().unwrap_or("no message");
        match (code.as_str(), status) {
            ("NoSuchBucket", _) => Trouble::All(format!(
                "there is no bucket {name} at {}; create it, or correct its name",
                self.server
            )),
            (
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "ExpiredToken"
                | "TokenRefreshRequired"
                | "AuthFailure"
                | "InvalidClientTokenId",
                _,
            ) => Trouble::All(format!(
                "{} does not accept the credentials ({code}: {message}); check AWS_ACCESS_KEY_ID \
                 and AWS_SECRET_ACCESS_KEY, the profile or the role",
                self.server
            )),
            ("RequestTimeTooSkewed", _) => {
                Trouble::All("this machine's clock is wrong: set it".to_owned())
            }
            ("PermanentRedirect" | "AuthorizationHeaderMalformed", _) | (_, 301 | 307) => {
                Trouble::All(format!(
                    "bucket {name} is in another region: set AWS_REGION or ?region=..."
                ))
            }
            ("AccessDenied" | "AllAccessDisabled", _) | ("", 403) => {
                Trouble::Denied(self.denied(action))
            }
            // some servers answer what S3 does not
            ("", 200..=299) => Trouble::Said {
                text: format!("{action}: the answer is not understood"),
                code,
            },
            _ => Trouble::Said {
                text: format!("{action}: {code} ({status}): {message}"),
                code,
            },
        }
    }

    fn denied(&self, action: &str) -> String {
        format!(
            "the credentials have no right to {action} on {}; allow {action} in their policy or \
             the bucket's",
            self.resource(action)
        )
    }

    /// What a policy names.
    fn resource(&self, action: &str) -> String {
        let S3Settings { bucket, prefix, .. } = &self.settings;
        match (action, prefix.as_str()) {
            (
                "s3:PutObject" | "s3:GetObject" | "s3:DeleteObject" | "s3:AbortMultipartUpload",
                prefix,
            ) => match prefix {
                "" => format!("arn:aws:s3:::{bucket}/*"),
                prefix => format!("arn:aws:s3:::{bucket}/{prefix}/*"),
            },
            _ => format!("arn:aws:s3:::{bucket}"),
        }
    }

    async fn look(&self, report: &mut Report) -> Result<(), Stop> {
        let looked = async {
            let written = self.write().await?;
            let wrote = written == Verdict::Good;
            report.add(Subject::Write, written);
            if wrote {
                report.add(Subject::CreateOnce, self.create_once().await?);
                report.add(Subject::Read, self.read().await?);
                report.add(Subject::Upload, self.upload().await?);
            }
            report.add(Subject::List, self.list(wrote).await?);
            report.add(Subject::Lifecycle, self.lifecycle().await?);
            report.add(Subject::Versioning, self.versioning().await?);
            Ok::<(), Stop>(())
        };
        let looked = looked.await;
        // Whatever was found on the way: what was written goes, also if its answer was lost.
        let deleted = self.delete().await;
        looked?;
        report.add(Subject::Delete, deleted?);
        Ok(())
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.probe)
    }

    async fn write(&self) -> Result<Verdict, Stop> {
        let put = self
            .client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(self.key("object"))
            .body(ByteStream::from_static(CONTENT))
            .send()
            .await;
        match put {
            Ok(_) => Ok(Verdict::Good),
            Err(error) => self.trouble(&error, "s3:PutObject").verdict(),
        }
    }

    /// One creator: whether it surely won.
    async fn create(&self, key: &str, content: &'static [u8]) -> Result<bool, Trouble> {
        let put = self
            .client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(key)
            .if_none_match("*")
            .body(ByteStream::from_static(content))
            .send()
            .await;
        match put {
            Ok(_) => Ok(true),
            // taken, or a conflict with another creator
            Err(error) if matches!(status_of(&error), Some(409 | 412)) => Ok(false),
            Err(error) => Err(self.trouble(&error, "s3:PutObject")),
        }
    }

    async fn is_there(&self, key: &str) -> Result<bool, Trouble> {
        let head = self
            .client
            .head_object()
            .bucket(&self.settings.bucket)
            .key(key)
            .send()
            .await;
        match head {
            Ok(_) => Ok(true),
            Err(error) if status_of(&error) == Some(404) => Ok(false),
            Err(error) => Err(self.trouble(&error, "s3:GetObject")),
        }
    }

    async fn create_once(&self) -> Result<Verdict, Stop> {
        let mut good = 0;
        for race in 0..RACES_MAX {
            match self.race(&self.race_key(race)).await {
                Ok(Some(Verdict::Good)) => good += 1,
                Ok(Some(verdict)) => return Ok(verdict),
                Ok(None) => {}
                Err(trouble) => return trouble.verdict(),
            }
            if good == RACES {
                return Ok(Verdict::Good);
            }
        }
        Ok(Verdict::Refused(format!(
            "whether the store honours conditional puts (If-None-Match: *) is not known: of {RACES_MAX} races \
             of two creators only {good} ended without a lost answer; see to the network, and check again"
        )))
    }

    /// A race of two creators; None = it says nothing, because the winner did not hear that it won.
    async fn race(&self, key: &str) -> Result<Option<Verdict>, Trouble> {
        let (one, two) = (self.create(key, b"one"), self.create(key, b"two"));
        // Boxed: the SDK's futures are large.
        let (one, two) = future::join(Box::pin(one), Box::pin(two)).await;
        // After the race: somebody wins where both met a conflict, nobody where one won.
        let three = self.create(key, b"three").await;
        let winners = usize::from(one?) + usize::from(two?) + usize::from(three?);
        // A put that the SDK repeats because its answer was lost finds its own object.
        if winners == 0 && self.is_there(key).await? {
            return Ok(None);
        }
        Ok(Some(judge_race(winners)))
    }

    fn race_key(&self, race: usize) -> String {
        self.key(&format!("race-{race}"))
    }

    async fn read(&self) -> Result<Verdict, Stop> {
        for (range, expected) in [(None, CONTENT), (Some("bytes=8-13"), &b"bucket"[..])] {
            let got = self
                .client
                .get_object()
                .bucket(&self.settings.bucket)
                .key(self.key("object"))
                .set_range(range.map(str::to_owned))
                .send()
                .await;
            let body = match got {
                Ok(got) => got.body.collect().await,
                Err(error) => return self.trouble(&error, "s3:GetObject").verdict(),
            };
            let same = match body {
                Ok(bytes) => bytes.into_bytes() == expected,
                Err(error) => return Ok(Verdict::Refused(chain(&error))),
            };
            if !same {
                return Ok(Verdict::Refused(format!(
                    "what is read is not what was written (range {})",
                    range.unwrap_or("none")
                )));
            }
        }
        Ok(Verdict::Good)
    }

    /// Begins an upload in parts, looks for it, and aborts it.
    async fn upload(&self) -> Result<Verdict, Stop> {
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(self.key("upload"))
            .send()
            .await;
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => return self.trouble(&error, "s3:PutObject").verdict(),
        };
        let listed = self
            .client
            .list_multipart_uploads()
            .bucket(&self.settings.bucket)
            .prefix(&self.probe)
            .send()
            .await;
        let aborted = self
            .client
            .abort_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(self.key("upload"))
            .set_upload_id(begun.upload_id().map(str::to_owned))
            .send()
            .await;
        if let Err(error) = aborted {
            return self.trouble(&error, "s3:AbortMultipartUpload").verdict();
        }
        match listed {
            Ok(_) => Ok(Verdict::Good),
            Err(error) => Ok(Verdict::Warning(format!(
                "uploads in parts that compactors leave when they die cannot be seen, so they stay and are paid for: \
                 {}; or let a lifecycle rule abort incomplete multipart uploads",
                self.trouble(&error, "s3:ListBucketMultipartUploads")
                    .text()?
            ))),
        }
    }

    /// Whether a listing shows the object of the check.
    async fn shows(&self) -> Result<bool, Trouble> {
        let listed = self
            .client
            .list_objects_v2()
            .bucket(&self.settings.bucket)
            .prefix(&self.probe)
            .max_keys(100)
            .send()
            .await
            .map_err(|error| self.trouble(&error, "s3:ListBucket"))?;
        let object = self.key("object");
        let is_ours = |key: Option<&str>| key == Some(object.as_str());
        Ok(listed.contents().iter().any(|found| is_ours(found.key())))
    }

    async fn list(&self, wrote: bool) -> Result<Verdict, Stop> {
        match self.shows().await {
            Ok(shows) if shows == wrote => Ok(Verdict::Good),
            Ok(_) => Ok(Verdict::Refused(
                "a listing does not show what was written just before".to_owned(),
            )),
            Err(trouble) => trouble.verdict(),
        }
    }

    async fn delete(&self) -> Result<Verdict, Stop> {
        let races = (0..RACES_MAX).map(|race| self.race_key(race));
        let objects = races.chain([self.key("object")]).map(|key| {
            ObjectIdentifier::builder()
                .key(key)
                .build()
                .expect("the key is set")
        });
        let delete = Delete::builder()
            .set_objects(Some(objects.collect()))
            .build()
            .expect("the objects are set");
        let deleted = self
            .client
            .delete_objects()
            .bucket(&self.settings.bucket)
            .delete(delete)
            .send()
            .await;
        let failed = match deleted {
            Ok(deleted) => match deleted.errors().first() {
                None => None,
                Some(error) if error.code() == Some("AccessDenied") => {
                    Some(self.denied("s3:DeleteObject"))
                }
                Some(error) => Some(format!(
                    "s3:DeleteObject: {}: {}",
                    error.code().unwrap_or("no code"),
                    error.message().unwrap_or("no message")
                )),
            },
            Err(error) => Some(self.trouble(&error, "s3:DeleteObject").text()?),
        };
        if let Some(reason) = failed {
            let left = format!("{reason} (the check's objects below {} stay)", self.probe);
            return Ok(Verdict::Refused(left));
        }
        match self.shows().await {
            Ok(true) => Ok(Verdict::Refused(
                "deleted objects are still listed".to_owned(),
            )),
            Err(Trouble::All(text)) => Err(Stop(text)),
            // that listing does not work was said before
            Ok(false) | Err(_) => Ok(Verdict::Good),
        }
    }

    async fn lifecycle(&self) -> Result<Verdict, Stop> {
        let told = self
            .client
            .get_bucket_lifecycle_configuration()
            .bucket(&self.settings.bucket)
            .send()
            .await;
        let told = match told {
            Ok(told) => told,
            Err(error) => {
                return match self.trouble(&error, "s3:GetLifecycleConfiguration") {
                    Trouble::Said { code, .. } if code == "NoSuchLifecycleConfiguration" => {
                        Ok(Verdict::Good)
                    }
                    trouble => Ok(Verdict::Warning(format!(
                        "whether a rule deletes objects cannot be seen: {}",
                        trouble.text()?
                    ))),
                };
            }
        };
        let harms = told
            .rules()
            .iter()
            .filter_map(|rule| harm(rule, &self.settings.prefix));
        let (mut takes, mut moves) = (Vec::new(), Vec::new());
        for found in harms {
            match found {
                Harm::Takes(text) => takes.push(text),
                Harm::Moves(text) => moves.push(text),
            }
        }
        Ok(match (takes.is_empty(), moves.is_empty()) {
            (false, _) => Verdict::Refused(format!(
                "the bucket's lifecycle would eat data: {}; remove it or limit it to another prefix",
                takes.join("; ")
            )),
            (true, false) => Verdict::Warning(moves.join("; ")),
            (true, true) => Verdict::Good,
        })
    }

    async fn versioning(&self) -> Result<Verdict, Stop> {
        let told = self
            .client
            .get_bucket_versioning()
            .bucket(&self.settings.bucket)
            .send()
            .await;
        match told {
            Ok(told) if told.status() == Some(&BucketVersioningStatus::Enabled) => {
                Ok(Verdict::Warning(
                    "versioning is on: objects that the cluster deletes stay as old versions and \
                     are paid for; switch it off, or add a rule that expires noncurrent versions"
                        .to_owned(),
                ))
            }
            Ok(_) => Ok(Verdict::Good),
            Err(error) => Ok(Verdict::Warning(format!(
                "whether deleted objects stay as versions cannot be seen: {}",
                self.trouble(&error, "s3:GetBucketVersioning").text()?
            ))),
        }
    }
}

/// The status of the answer, where there was one.
fn status_of<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

fn no_credentials(reason: &str) -> String {
    format!(
        "no AWS credentials ({reason}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, \
         or give the machine a role"
    )
}

//! Is this bucket fit for a cluster? Tried, not believed: a few small objects are written, raced for, read,
//! listed and deleted below a prefix of their own, and the bucket's rules are looked at.

use std::fmt;

use crate::{
    folder::FolderStore,
    location::{Location, OpenError},
    memory::MemoryStore,
    port::ObjectStore,
    remote::AccessKeys,
    runtime::Ports,
};

pub(crate) mod cloud;
mod lifecycle;
mod port;
mod s3;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Whether it can be reached with these credentials.
    Access,
    /// Whether objects can be written.
    Write,
    /// Whether of two creators of one object exactly one succeeds.
    CreateOnce,
    /// Whether objects and ranges of them can be read.
    Read,
    /// Whether objects can be written in parts.
    Upload,
    /// Whether objects can be listed.
    List,
    /// Whether objects can be deleted.
    Delete,
    /// Whether rules of the bucket delete or freeze objects.
    Lifecycle,
    /// Whether deleted objects stay.
    Versioning,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Access => "access",
            Self::Write => "write",
            Self::CreateOnce => "create-once",
            Self::Read => "read",
            Self::Upload => "upload",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Lifecycle => "lifecycle",
            Self::Versioning => "versioning",
        })
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works; what a person should know all the same.
    Warning(String),
    /// A cluster must not run on it: why, and what to do about it. One line.
    Refused(String),
}

/// All that was found of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The bucket, for people.
    pub bucket: String,
    /// In the order in which it was looked at. What could not be looked at because of an earlier finding is
    /// missing.
    pub findings: Vec<(Subject, Verdict)>,
}

impl Report {
    fn new(bucket: String) -> Self {
        Self {
            bucket,
            findings: Vec::new(),
        }
    }

    fn add(&mut self, subject: Subject, verdict: Verdict) {
        self.findings.push((subject, verdict));
    }

    /// Every reason against this bucket.
    pub fn refusals(&self) -> impl Iterator<Item = (Subject, &str)> {
        self.findings
            .iter()
            .filter_map(|(subject, verdict)| match verdict {
                Verdict::Refused(reason) => Some((*subject, reason.as_str())),
                Verdict::Good | Verdict::Warning(_) => None,
            })
    }

    /// What was found of one subject.
    #[must_use]
    pub fn of(&self, subject: Subject) -> Option<&Verdict> {
        let found = self.findings.iter().find(|(s, _)| *s == subject);
        found.map(|(_, verdict)| verdict)
    }
}

/// Looks at the bucket at `url`: one of S3 with `keys` or those of the AWS environment, others with what their
/// environment has. Leaves nothing behind, unless deleting fails. A folder is made if it isn't there.
///
/// # Errors
/// The URL is wrong, or the bucket cannot be opened. What the bucket itself says is in the report.
pub async fn check(
    url: &str,
    ports: &Ports,
    keys: Option<AccessKeys>,
) -> Result<Report, OpenError> {
    let location: Location = url.parse()?;
    let probe = format!("aquifer-check-{:016x}", ports.rand.next_u64());
    match location {
        Location::Memory => Ok(port::check(&MemoryStore::new(), &probe).await),
        Location::Folder(path) => {
            let store: &dyn ObjectStore = &FolderStore::open(path)?;
            Ok(port::check(store, &probe).await)
        }
        Location::S3(settings) => {
            // Boxed: the SDK's futures are large.
            Ok(Box::pin(s3::check(settings, keys, &probe)).await?)
        }
        Location::Google(settings) => Ok(cloud::check(settings.open()?, ports, &probe).await),
        Location::Azure(settings) => Ok(cloud::check(settings.open()?, ports, &probe).await),
    }
}

/// The verdict on a race of creators, of which `winners` succeeded.
fn judge_race(winners: usize) -> Verdict {
    match winners {
        1 => Verdict::Good,
        0 => Verdict::Refused(
            "of two creators of one object none succeeded; the store's conditional puts \
             (in S3's terms If-None-Match: *) do not work"
                .to_owned(),
        ),
        _ => Verdict::Refused(
            "two creators of one object both succeeded; the store does not honour conditional \
             puts (in S3's terms If-None-Match: *), which keep two clusters or leaders from overwriting each other"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;

//! S3's operations on [`Objects`].

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use hyper::StatusCode;
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::{S3Auth, SecretKey},
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, BucketVersioningStatus,
        CommonPrefix, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
        CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, DeleteBucketLifecycleInput, DeleteBucketLifecycleOutput,
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        DeletedObject, ETag, ETagCondition, GetBucketLifecycleConfigurationInput,
        GetBucketLifecycleConfigurationOutput, GetBucketVersioningInput, GetBucketVersioningOutput,
        GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
        HeadObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
        ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, Object,
        PutBucketLifecycleConfigurationInput, PutBucketLifecycleConfigurationOutput,
        PutBucketVersioningInput, PutBucketVersioningOutput, PutObjectInput, PutObjectOutput,
        StreamingBlob, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use crate::{
    faults::Faults,
    objects::{Condition, Listing, Objects, Refusal, Version, length},
};

/// Most objects in one page of a listing (S3's limit).
const PAGE_MAX: usize = 1_000;

/// What a key keeps as it is under `encoding-type=url`.
const KEY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'+')
    .add(b'<')
    .add(b'>')
    .add(b'&');

/// The service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) objects: Arc<Objects>,
    pub(crate) faults: Arc<Mutex<Faults>>,
}

/// The only access key that there is.
pub(crate) struct Keys {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(SecretKey::from(self.secret_key.clone()));
        }
        Err(s3_error!(InvalidAccessKeyId, "there is no such access key"))
    }
}

type Answer<T> = S3Result<S3Response<T>>;

fn answer<T>(output: T) -> Answer<T> {
    Ok(S3Response::new(output))
}

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchBucket => s3_error!(NoSuchBucket, "the specified bucket does not exist"),
            Refusal::NoSuchKey => s3_error!(NoSuchKey, "the specified key does not exist"),
            Refusal::NoSuchUpload => s3_error!(NoSuchUpload, "there is no such upload"),
            Refusal::InvalidPart => s3_error!(InvalidPart, "a part is missing or out of order"),
            Refusal::PreconditionFailed => s3_error!(
                PreconditionFailed,
                "at least one of the pre-conditions you specified did not hold"
            ),
            Refusal::Full { bytes_max } => {
                let mut error = Self::with_message(
                    S3ErrorCode::Custom("StorageFull".into()),
                    format!("the test server holds at most {bytes_max} bytes"),
                );
                error.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
                error
            }
        }
    }
}

async fn collected(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else {
        return Ok(Bytes::new());
    };
    let broken = |error| {
        let mut refused = s3_error!(IncompleteBody, "the body could not be read to its end");
        refused.set_source(error);
        refused
    };
    let Some(first) = body.try_next().await.map_err(broken)? else {
        return Ok(Bytes::new());
    };
    let Some(second) = body.try_next().await.map_err(broken)? else {
        return Ok(first);
    };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    while let Some(more) = body.try_next().await.map_err(broken)? {
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

fn condition(
    if_none_match: Option<&ETagCondition>,
    if_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    match (if_none_match, if_match) {
        (None, None) => Ok(Condition::Always),
        (Some(absent), None) if absent.is_any() => Ok(Condition::Absent),
        (None, Some(is)) => is
            .as_etag()
            .map(|etag| Condition::Is(etag.value().to_owned()))
            .ok_or_else(|| s3_error!(NotImplemented, "If-Match takes an entity tag here")),
        _ => Err(s3_error!(
            NotImplemented,
            "a write takes If-None-Match: * or If-Match, not both"
        )),
    }
}

/// What a read finds, under its If-Match and If-None-Match.
fn read(
    found: Result<Version, Refusal>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Version> {
    let version = found?;
    let is = |condition: &ETagCondition| {
        condition.is_any()
            || condition
                .as_etag()
                .is_some_and(|e| e.value() == version.etag)
    };
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(version)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn tag(etag: &str) -> Option<ETag> {
    Some(ETag::Strong(etag.to_owned()))
}

impl Service {
    fn late(&self) -> Duration {
        Duration::from_millis(self.faults.lock().late_ms)
    }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let input = request.input;
        let condition = condition(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let bytes = collected(input.body).await?;
        let late = self.late();
        let put = self
            .objects
            .put(&input.bucket, &input.key, bytes, &condition, late)?;
        answer(PutObjectOutput {
            e_tag: tag(&put),
            ..PutObjectOutput::default()
        })
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = request.input;
        let found = self.objects.get(&input.bucket, &input.key);
        let version = read(found, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let whole = length(&version.bytes);
        let (bytes, content_range) = match &input.range {
            None => (version.bytes, None),
            Some(range) => {
                let range = range.check(whole).map_err(S3Error::from)?;
                let index = |at| usize::try_from(at).unwrap_or(usize::MAX);
                let bytes = version.bytes.slice(index(range.start)..index(range.end));
                let last = range.end.saturating_sub(1);
                (bytes, Some(format!("bytes {}-{last}/{whole}", range.start)))
            }
        };
        answer(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed(length(&bytes))),
            content_range,
            body: Some(StreamingBlob::wrap(futures::stream::iter([Ok::<
                _,
                std::io::Error,
            >(
                bytes
            )]))),
            e_tag: tag(&version.etag),
            last_modified: Some(version.modified.into()),
            ..GetObjectOutput::default()
        })
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let input = request.input;
        let found = self.objects.get(&input.bucket, &input.key);
        let version = read(found, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        answer(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed(length(&version.bytes))),
            e_tag: tag(&version.etag),
            last_modified: Some(version.modified.into()),
            ..HeadObjectOutput::default()
        })
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        let token = input
            .continuation_token
            .as_deref()
            .map(from_token)
            .transpose()?;
        let limit = input
            .max_keys
            .map_or(PAGE_MAX, |max| usize::try_from(max).unwrap_or(0));
        let page = self.objects.list(
            &input.bucket,
            Listing {
                prefix: input.prefix.as_deref().unwrap_or_default(),
                delimiter: input.delimiter.as_deref().unwrap_or_default(),
                after: token
                    .as_deref()
                    .or(input.start_after.as_deref())
                    .unwrap_or_default(),
                limit: limit.min(PAGE_MAX),
            },
        )?;
        let encodes = input.encoding_type.is_some();
        let shown = |key: String| match encodes {
            true => utf8_percent_encode(&key, KEY).to_string(),
            false => key,
        };
        let found = page.objects.len() + page.prefixes.len();
        let objects = page.objects.into_iter().map(|(key, version)| Object {
            key: Some(shown(key)),
            size: Some(signed(length(&version.bytes))),
            e_tag: tag(&version.etag),
            last_modified: Some(version.modified.into()),
            ..Object::default()
        });
        let prefixes = page.prefixes.into_iter().map(|prefix| CommonPrefix {
            prefix: Some(shown(prefix)),
        });
        answer(ListObjectsV2Output {
            contents: Some(objects.collect()),
            common_prefixes: Some(prefixes.collect()),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_deref().map(to_token),
            key_count: i32::try_from(found).ok(),
            max_keys: i32::try_from(limit).ok(),
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            ..ListObjectsV2Output::default()
        })
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> Answer<DeleteObjectOutput> {
        self.objects
            .delete(&request.input.bucket, &request.input.key)?;
        answer(DeleteObjectOutput::default())
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> Answer<DeleteObjectsOutput> {
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        if delete.objects.len() > PAGE_MAX {
            return Err(s3_error!(
                MalformedXML,
                "at most 1000 keys can be deleted at once"
            ));
        }
        let mut deleted = Vec::new();
        for object in delete.objects {
            self.objects.delete(&bucket, &object.key)?;
            deleted.push(DeletedObject {
                key: Some(object.key),
                ..DeletedObject::default()
            });
        }
        let quiet = delete.quiet.unwrap_or(false);
        answer(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            ..DeleteObjectsOutput::default()
        })
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = request.input;
        let upload = self.objects.begin_upload(&input.bucket, &input.key)?;
        answer(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload),
            ..CreateMultipartUploadOutput::default()
        })
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let input = request.input;
        let bytes = collected(input.body).await?;
        let put = self.objects.put_part(
            &input.bucket,
            &input.key,
            &input.upload_id,
            input.part_number,
            bytes,
        )?;
        answer(UploadPartOutput {
            e_tag: tag(&put),
            ..UploadPartOutput::default()
        })
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = request.input;
        let condition = condition(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let named = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let parts: Vec<(i32, String)> = named
            .into_iter()
            .map(|part| {
                let etag = part.e_tag.map(ETag::into_value).unwrap_or_default();
                (part.part_number.unwrap_or_default(), etag)
            })
            .collect();
        let etag = self.objects.complete_upload(
            &input.bucket,
            &input.key,
            &input.upload_id,
            &parts,
            &condition,
            self.late(),
        )?;
        answer(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: tag(&etag),
            ..CompleteMultipartUploadOutput::default()
        })
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let input = request.input;
        self.objects
            .abort_upload(&input.bucket, &input.key, &input.upload_id)?;
        answer(AbortMultipartUploadOutput::default())
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        let limit = input
            .max_uploads
            .map_or(PAGE_MAX, |max| usize::try_from(max).unwrap_or(0));
        let after = (
            input.key_marker.as_deref().unwrap_or_default(),
            input.upload_id_marker.as_deref().unwrap_or_default(),
        );
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let (found, more) =
            self.objects
                .uploads(&input.bucket, prefix, after, limit.min(PAGE_MAX))?;
        let last = found.last().filter(|_| more).cloned();
        let (next_key_marker, next_upload_id_marker) = last.unzip();
        let uploads = found.into_iter().map(|(key, id)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            ..MultipartUpload::default()
        });
        answer(ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            is_truncated: Some(more),
            next_key_marker,
            next_upload_id_marker,
            bucket: Some(input.bucket),
            prefix: input.prefix,
            ..ListMultipartUploadsOutput::default()
        })
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> Answer<CreateBucketOutput> {
        if self.objects.create_bucket(&request.input.bucket) {
            answer(CreateBucketOutput::default())
        } else {
            Err(s3_error!(BucketAlreadyOwnedByYou))
        }
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        if self.objects.has_bucket(&request.input.bucket) {
            answer(HeadBucketOutput::default())
        } else {
            Err(Refusal::NoSuchBucket.into())
        }
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> Answer<GetBucketVersioningOutput> {
        let status = self.objects.versioning(&request.input.bucket)?;
        answer(GetBucketVersioningOutput {
            status: status.map(BucketVersioningStatus::from),
            ..GetBucketVersioningOutput::default()
        })
    }

    async fn put_bucket_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> Answer<PutBucketVersioningOutput> {
        let input = request.input;
        let status = input.versioning_configuration.status;
        let status = status.map(|status| status.as_str().to_owned());
        self.objects.set_versioning(&input.bucket, status)?;
        answer(PutBucketVersioningOutput::default())
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Answer<GetBucketLifecycleConfigurationOutput> {
        let Some(rules) = self.objects.lifecycle(&request.input.bucket)? else {
            return Err(s3_error!(
                NoSuchLifecycleConfiguration,
                "the lifecycle configuration does not exist"
            ));
        };
        answer(GetBucketLifecycleConfigurationOutput {
            rules: Some(rules),
            ..GetBucketLifecycleConfigurationOutput::default()
        })
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        request: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> Answer<PutBucketLifecycleConfigurationOutput> {
        let input = request.input;
        let rules = input
            .lifecycle_configuration
            .map(|configuration| configuration.rules);
        self.objects.set_lifecycle(&input.bucket, rules)?;
        answer(PutBucketLifecycleConfigurationOutput::default())
    }

    async fn delete_bucket_lifecycle(
        &self,
        request: S3Request<DeleteBucketLifecycleInput>,
    ) -> Answer<DeleteBucketLifecycleOutput> {
        self.objects.set_lifecycle(&request.input.bucket, None)?;
        answer(DeleteBucketLifecycleOutput::default())
    }
}

/// A continuation token: the place in hexadecimal, so that clients take it for opaque.
fn to_token(place: &str) -> String {
    place.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn from_token(token: &str) -> S3Result<String> {
    let bytes: Option<Vec<u8>> = token
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of mine"))
}

//! Objects that are written in parts.

use aquifer_format::limits::UPLOAD_PART_BYTES;
use bytes::Bytes;
use futures::future;

use super::{Suite, one};
use crate::port::{GetError, PutError, UnfinishedUpload, Upload};

/// Part `number` of an object: no two parts are alike.
fn content(number: u32, bytes: usize) -> Bytes {
    let seed = usize::try_from(number).expect("small");
    (0..bytes)
        .map(|i| u8::try_from((i + 7 * seed) % 251).expect("below 251"))
        .collect()
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("lengths fit")
}

impl Suite<'_> {
    pub(super) async fn uploads(&self) {
        self.an_upload_shows_once_it_is_finished().await;
        self.a_part_that_is_written_again_replaces_what_was_there()
            .await;
        self.what_is_not_whole_is_not_finished().await;
        self.an_aborted_upload_never_shows().await;
        self.unfinished_uploads_are_told_and_aborted().await;
    }

    async fn begin(&self, name: &str) -> Box<dyn Upload> {
        let begun = self.store.begin_upload(&self.key(name)).await;
        begun.expect("an upload of a new key begins")
    }

    async fn assert_missing(&self, name: &str) {
        let head = self.store.head(&self.key(name)).await;
        assert!(
            matches!(head, Err(GetError::NotFound { .. })),
            "nothing of {name} is seen, not {head:?}"
        );
    }

    async fn an_upload_shows_once_it_is_finished(&self) {
        for sizes in [
            vec![1],
            vec![UPLOAD_PART_BYTES],
            vec![UPLOAD_PART_BYTES, 1],
            vec![UPLOAD_PART_BYTES, UPLOAD_PART_BYTES, 100],
        ] {
            let name = format!("parts/{}", sizes.iter().sum::<usize>());
            let upload = self.begin(&name).await;
            let contents: Vec<Bytes> = (0..).zip(&sizes).map(|(n, s)| content(n, *s)).collect();
            // In any order, several at a time.
            let mut parts: Vec<(u32, &Bytes)> = (0..).zip(&contents).collect();
            parts.reverse();
            let parts = parts.into_iter();
            let written = future::join_all(
                parts.map(|(number, part)| upload.part(number, one(part.clone()))),
            )
            .await;
            assert!(written.iter().all(Result::is_ok), "{written:?}");
            self.assert_missing(&name).await;
            assert!(
                self.names("parts/", None, 100)
                    .await
                    .iter()
                    .all(|n| *n != name)
            );
            let whole = contents.concat();
            let (parts, bytes) = (
                u32::try_from(sizes.len()).expect("few"),
                length(whole.len()),
            );
            upload
                .finish(parts, bytes)
                .await
                .expect("all parts are there");
            let read = self.store.get(&self.key(&name)).await.expect("it is there");
            assert!(read == whole, "{name} comes back as it was written");
            let meta = self.store.head(&self.key(&name)).await;
            assert_eq!(meta.expect("it is there").bytes, bytes);
            let again = upload.finish(parts, bytes).await;
            assert!(again.is_ok(), "what is finished stays so: {again:?}");
        }
    }

    async fn a_part_that_is_written_again_replaces_what_was_there(&self) {
        let upload = self.begin("twice").await;
        for wrong in [content(5, UPLOAD_PART_BYTES), content(9, 10)] {
            upload.part(0, one(wrong)).await.expect("a part is written");
        }
        let right = content(0, 1_000);
        let part = upload.part(0, one(right.clone())).await;
        part.expect("a part is written");
        upload.finish(1, 1_000).await.expect("it is whole");
        let read = self.store.get(&self.key("twice")).await;
        assert!(read.expect("it is there") == right);
    }

    async fn what_is_not_whole_is_not_finished(&self) {
        let upload = self.begin("not-whole").await;
        let empty = upload.part(0, vec![Bytes::new()]).await;
        let large = upload.part(0, one(content(0, UPLOAD_PART_BYTES + 1))).await;
        for refused in [empty, large] {
            assert!(
                matches!(refused, Err(PutError::Refused { .. })),
                "{refused:?}"
            );
        }
        let part = upload.part(1, one(content(1, 10))).await;
        part.expect("parts come in any order");
        for (parts, bytes) in [
            (0, 0),
            (1, 10),
            (2, 10),
            (2, length(UPLOAD_PART_BYTES) + 10),
        ] {
            let refused = upload.finish(parts, bytes).await;
            assert!(
                matches!(refused, Err(PutError::Refused { .. })),
                "{parts} parts of {bytes} bytes: {refused:?}"
            );
        }
        self.assert_missing("not-whole").await;
        upload.abort().await.expect("an upload can be aborted");
        for bad in ["", "/a", "a//b", "../a"] {
            let begun = self.store.begin_upload(bad).await;
            assert!(
                matches!(begun, Err(PutError::Refused { .. })),
                "key {bad:?} is refused, not {begun:?}"
            );
        }
    }

    async fn an_aborted_upload_never_shows(&self) {
        let upload = self.begin("aborted").await;
        let part = upload.part(0, one(content(0, 10))).await;
        part.expect("a part is written");
        for _ in 0..2 {
            upload.abort().await.expect("an upload can be aborted");
        }
        self.assert_missing("aborted").await;
        // The key is free for another one.
        let upload = self.begin("aborted").await;
        let part = upload.part(0, one(content(3, 20))).await;
        part.expect("a part is written");
        upload.finish(1, 20).await.expect("it is whole");
        let read = self.store.get(&self.key("aborted")).await;
        assert!(read.expect("it is there") == content(3, 20));
    }

    async fn unfinished(
        &self,
        after: Option<&UnfinishedUpload>,
        limit: usize,
    ) -> Vec<UnfinishedUpload> {
        self.store
            .unfinished_uploads(&self.key("left/"), after, limit)
            .await
            .expect("a listing succeeds")
    }

    /// Of stores that tell of them.
    async fn unfinished_uploads_are_told_and_aborted(&self) {
        let mut uploads = Vec::new();
        for name in ["left/c", "left/a", "left/b", "lefty"] {
            let upload = self.begin(name).await;
            let part = upload.part(0, one(content(0, 10))).await;
            part.expect("a part is written");
            uploads.push(upload);
        }
        let mut all = self.unfinished(None, 10).await;
        all.sort_by(|one, other| one.key.cmp(&other.key));
        if all.is_empty() {
            return;
        }
        let keys: Vec<&str> = all.iter().map(|upload| upload.key.as_str()).collect();
        let expected = ["left/a", "left/b", "left/c"].map(|name| self.key(name));
        assert_eq!(keys, expected);
        for _ in 0..2 {
            let aborted = self.store.abort_upload(&all[1]).await;
            aborted.expect("an upload can be aborted, also twice");
        }
        uploads[0].finish(1, 10).await.expect("it is whole");
        assert_eq!(self.unfinished(None, 9).await, all[..1]);
        let ended = uploads[2].finish(1, 10).await;
        assert!(ended.is_err(), "{ended:?}");
        self.assert_missing("left/b").await;
        let aborted = self.store.abort_upload(&all[0]).await;
        aborted.expect("an upload can be aborted");
    }

    /// Of stores that tell of them, in pieces.
    pub(super) async fn unfinished_uploads_are_listed_in_order(&self) {
        let mut uploads = Vec::new();
        for name in ["left/f", "left/d", "left/e", "lefty"] {
            let upload = self.begin(name).await;
            let part = upload.part(0, one(content(0, 10))).await;
            part.expect("a part is written");
            uploads.push(upload);
        }
        let all = self.unfinished(None, 10).await;
        if all.is_empty() {
            return;
        }
        let keys: Vec<&str> = all.iter().map(|upload| upload.key.as_str()).collect();
        let expected = ["left/d", "left/e", "left/f"].map(|name| self.key(name));
        assert_eq!(keys, expected);
        assert_eq!(self.unfinished(None, 2).await, all[..2]);
        assert_eq!(self.unfinished(all.first(), 1).await, all[1..2]);
        assert!(self.unfinished(all.last(), 9).await.is_empty());
        for upload in &all {
            let aborted = self.store.abort_upload(upload).await;
            aborted.expect("an upload can be aborted");
        }
        let ended = uploads[0].finish(1, 10).await;
        assert!(matches!(ended, Err(PutError::Refused { .. })), "{ended:?}");
    }
}

//! Uploading an object while it is built: a few parts at a time, or one put where it is small.

use std::{collections::VecDeque, sync::Arc};

use aquifer_format::{limits::UPLOAD_PART_BYTES, object::StreamBuilder};
use aquifer_store::{ObjectStore, PutError, PutMode, Upload};
use tokio::sync::oneshot;

use super::{JobError, JobLease};

/// Parts under way at once.
const PARALLEL_PARTS: usize = 2;

/// An object on its way.
#[derive(Debug)]
pub(super) struct PartUpload {
    store: Arc<dyn ObjectStore>,
    lease: JobLease,
    key: String,
    /// None = nothing was sent so far.
    upload: Option<Arc<dyn Upload>>,
    parts: u32,
    /// The answers that parts under way will get, in order.
    under_way: VecDeque<oneshot::Receiver<Result<(), PutError>>>,
}

impl PartUpload {
    pub(super) fn new(store: Arc<dyn ObjectStore>, lease: JobLease, key: String) -> Self {
        Self {
            store,
            lease,
            key,
            upload: None,
            parts: 0,
            under_way: VecDeque::new(),
        }
    }

    /// Memory of the parts under way.
    pub(super) fn memory_bytes(&self) -> usize {
        self.under_way.len().saturating_mul(UPLOAD_PART_BYTES)
    }

    /// Sends whole parts of what is ready, but for the last bytes: they may be all.
    pub(super) async fn send(&mut self, builder: &mut StreamBuilder) -> Result<(), JobError> {
        while builder.ready_bytes() > UPLOAD_PART_BYTES {
            self.part(builder).await?;
        }
        Ok(())
    }

    /// Sends the rest and makes an object of `bytes` bytes of it.
    pub(super) async fn finish(
        &mut self,
        builder: &mut StreamBuilder,
        bytes: u64,
    ) -> Result<(), JobError> {
        self.send(builder).await?;
        if self.upload.is_none() {
            // Nobody else has the key: an earlier try whose answer was lost wrote the same.
            let payload = builder.take(UPLOAD_PART_BYTES);
            let put = self.store.put(&self.key, payload, PutMode::Overwrite);
            return unless_lost(&self.lease, put).await;
        }
        if builder.ready_bytes() > 0 {
            self.part(builder).await?;
        }
        while !self.under_way.is_empty() {
            self.wait().await?;
        }
        if let Some(upload) = &self.upload {
            unless_lost(&self.lease, upload.finish(self.parts, bytes)).await?;
        }
        Ok(())
    }

    /// Sends a part, once there is room for it.
    async fn part(&mut self, builder: &mut StreamBuilder) -> Result<(), JobError> {
        while self.under_way.len() >= PARALLEL_PARTS {
            self.wait().await?;
        }
        let upload = match &self.upload {
            Some(upload) => Arc::clone(upload),
            None => {
                let begun = unless_lost(&self.lease, self.store.begin_upload(&self.key)).await?;
                Arc::clone(self.upload.insert(Arc::from(begun)))
            }
        };
        let number = self.parts;
        self.parts = self.parts.saturating_add(1);
        let payload = builder.take(UPLOAD_PART_BYTES);
        let (mut answer, answered) = oneshot::channel();
        // In a task of its own, so that it goes on while the next part is built.
        self.lease.ports().tasks.spawn(async move {
            let sent = tokio::select! {
                biased;
                () = answer.closed() => return,
                sent = upload.part(number, payload) => sent,
            };
            // Who does not listen has given the job up.
            let _ = answer.send(sent);
        });
        self.under_way.push_back(answered);
        Ok(())
    }

    /// Waits for the part that was sent first of those under way.
    async fn wait(&mut self) -> Result<(), JobError> {
        let Some(answer) = self.under_way.front_mut() else {
            return Ok(());
        };
        let answered = tokio::select! {
            biased;
            lost = self.lease.lost() => return Err(lost),
            answered = answer => answered,
        };
        self.under_way.pop_front();
        let stopped = |_| PutError::Failed {
            key: self.key.clone(),
            reason: "the process stops".to_owned(),
            slow_down: false,
        };
        answered.map_err(stopped)??;
        Ok(())
    }

    /// Throws away what was sent, if anything was.
    pub(super) async fn abort(self) -> Result<(), PutError> {
        // Those under way end by this.
        drop(self.under_way);
        match self.upload {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}

async fn unless_lost<T>(
    lease: &JobLease,
    call: impl Future<Output = Result<T, PutError>>,
) -> Result<T, JobError> {
    tokio::select! {
        biased;
        lost = lease.lost() => Err(lost),
        answered = call => Ok(answered?),
    }
}

//! What this model knows: a partition's log, objects, workers, backups, and a reader.

use super::{Fence, Upkeep};

/// Epochs above an output's own at which its swap is still taken (10 in the product, `COMMIT_AGE_EPOCHS_MAX`).
const SWAP_AGE_MAX: u8 = 0;
/// Epochs above an object's own up to which the sweeper leaves it alone (60 in the product).
const SWEEP_AGE_MAX: u8 = 1;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Records, each committed by an agent in an object of its own.
    pub(crate) records: u8,
    /// Workers: any of them may be at any job at any time.
    pub(crate) workers: usize,
    /// Jobs in all.
    pub(crate) jobs: usize,
    /// Swaps that are decided: first tries, and those after an answer that was lost.
    pub(crate) swaps: u8,
    /// Workers that die.
    pub(crate) deaths: u8,
    /// Upload epochs.
    pub(crate) epochs: u8,
    /// Calls of `DeleteRecords`.
    pub(crate) deletions: u8,
    /// Backups.
    pub(crate) backups: u8,
    /// Whether a reader remembers where something was.
    pub(crate) reader: bool,
}

/// A range of offsets and the object that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Extent {
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) object: usize,
}

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Known {
    /// It was never named by a decision, or is forgotten.
    No,
    /// Extents are in it.
    Live,
    /// None is any more, since this upload epoch.
    Released(u8),
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    /// In its key.
    pub(crate) epoch: u8,
    /// Offsets of its records.
    pub(crate) records: Vec<u8>,
    pub(crate) in_bucket: bool,
    pub(crate) known: Known,
    /// It may be deleted, however much later that happens.
    pub(crate) doomed: bool,
    pub(crate) deleted: bool,
}

/// A job that a worker is at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) inputs: Vec<usize>,
    pub(crate) from: u8,
    pub(crate) to: u8,
    /// What it writes, once it has read.
    pub(crate) output: Option<usize>,
}

/// A backup on its way: the upload epoch that it was begun in, and what it refers to once the snapshot stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Backup {
    pub(crate) epoch: u8,
    pub(crate) refers: Option<Vec<usize>>,
}

/// Promises that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// A record is not in the log, or twice.
    Log,
    /// A referenced object is not there.
    Missing,
    /// A reader was not served.
    Reader,
    /// The newest backup refers to what is gone.
    Backup,
}

/// What is left of the bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Spent {
    jobs: usize,
    swaps: u8,
    deaths: u8,
    deletions: u8,
    backups: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) epoch: u8,
    pub(crate) log_start: u8,
    pub(crate) log: Vec<Extent>,
    pub(crate) objects: Vec<Object>,
    pub(crate) workers: Vec<Option<Job>>,
    pub(crate) backup: Option<Backup>,
    pub(crate) backing_up: Option<Backup>,
    /// Where a reader was told that an offset is.
    pub(crate) located: Option<(u8, usize)>,
    pub(crate) broken: Option<Broken>,
    pub(crate) spent: Spent,
}

/// One step. In brackets: the code that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A worker gets a job of two objects, whoever else has them [`Planner::lease`].
    Lease {
        worker: usize,
        first: usize,
        second: usize,
    },
    /// It reads its inputs and begins its output [`merge`, `Outputs`].
    Build(usize),
    /// The output becomes durable, even if its worker is gone [`Upload::finish`].
    Put(usize),
    /// The leader decides a swap, and the worker hears of it [`decide::swap`].
    Swap(usize),
    /// The same, and the answer is lost.
    SwapUnheard(usize),
    /// A worker dies.
    Die(usize),
    /// An upload epoch begins.
    Advance,
    /// The log start moves past the first record that is left [`decide::delete_records`].
    DeleteRecords,
    /// A worker is told to delete a released object [`planner::release`].
    Delete(usize),
    /// The sweeper hears that nobody knows an old object [`Metadata::live_objects`].
    Doom(usize),
    /// A doomed object goes.
    Sweep(usize),
    /// A backup begins: the upload epoch is asked for [`backup::Writer`].
    BeginBackup,
    /// Its snapshot stands.
    Snapshot,
    /// Its manifest is there.
    EndBackup,
    /// A reader asks where an offset is [`Metadata::locate`].
    Locate(u8),
    /// It reads there.
    Read,
}

impl World {
    /// Agents have written and committed everything; nothing is merged.
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let object = |offset| Object {
            epoch: 0,
            records: vec![offset],
            in_bucket: true,
            known: Known::Live,
            doomed: false,
            deleted: false,
        };
        let extent = |offset: u8| Extent {
            from: offset,
            to: offset + 1,
            object: usize::from(offset),
        };
        Self {
            epoch: 0,
            log_start: 0,
            log: (0..bounds.records).map(extent).collect(),
            objects: (0..bounds.records).map(object).collect(),
            workers: vec![None; bounds.workers],
            backup: None,
            backing_up: None,
            located: None,
            broken: None,
            spent: Spent::default(),
        }
    }

    /// Everything that can happen next; some of it may turn out to change nothing.
    pub(crate) fn actions(&self, model: &Upkeep, actions: &mut Vec<Action>) {
        // workers are alike: the first idle one gets the next job
        let idle = self.workers.iter().position(Option::is_none);
        if let Some(worker) = idle {
            self.jobs(worker, actions);
        }
        for worker in (0..self.workers.len()).filter(|at| self.workers[*at].is_some()) {
            actions.extend([
                Action::Build(worker),
                Action::Swap(worker),
                Action::SwapUnheard(worker),
                Action::Die(worker),
            ]);
        }
        for object in 0..self.objects.len() {
            actions.extend([
                Action::Put(object),
                Action::Delete(object),
                Action::Doom(object),
                Action::Sweep(object),
            ]);
        }
        actions.extend([Action::Advance, Action::DeleteRecords]);
        actions.extend([Action::BeginBackup, Action::Snapshot, Action::EndBackup]);
        if model.bounds.reader {
            actions.push(Action::Read);
            actions.extend((self.log_start..model.bounds.records).map(Action::Locate));
        }
    }

    /// Jobs of any two objects, neighbours or not: whoever plans may know little.
    fn jobs(&self, worker: usize, actions: &mut Vec<Action>) {
        for (at, first) in self.log.iter().enumerate() {
            for second in &self.log[at + 1..] {
                actions.push(Action::Lease {
                    worker,
                    first: first.object,
                    second: second.object,
                });
            }
        }
    }

    /// Carries an action out; false = it cannot happen now, or changes nothing.
    pub(crate) fn act(&mut self, model: &Upkeep, action: Action) -> bool {
        let happened = match action {
            Action::Lease {
                worker,
                first,
                second,
            } => self.lease(model, worker, [first, second]),
            Action::Build(worker) => self.build(worker),
            Action::Put(object) => self.put(object),
            Action::Swap(worker) => {
                let decided = self.swap(model, worker);
                self.workers[worker] = None;
                decided
            }
            Action::SwapUnheard(worker) => self.swap(model, worker),
            Action::Die(worker) => {
                self.spent.deaths += 1;
                self.workers[worker] = None;
                self.spent.deaths <= model.bounds.deaths
            }
            Action::Advance => {
                self.epoch += 1;
                self.epoch <= model.bounds.epochs
            }
            Action::DeleteRecords => self.delete_records(model),
            Action::Delete(object) => self.delete(model, object),
            Action::Doom(object) => self.doom(model, object),
            Action::Sweep(object) => self.sweep(object),
            Action::BeginBackup => self.begin_backup(model),
            Action::Snapshot => self.snapshot(),
            Action::EndBackup => self.end_backup(model),
            Action::Locate(offset) => {
                let extent = self.find(offset);
                let located = extent.map(|extent| (offset, extent.object));
                located.is_some() && std::mem::replace(&mut self.located, located) != located
            }
            Action::Read => self.read(model),
        };
        if happened {
            self.check(model);
        }
        happened
    }

    fn find(&self, offset: u8) -> Option<Extent> {
        let covers = |extent: &&Extent| (extent.from..extent.to).contains(&offset);
        self.log.iter().find(covers).copied()
    }

    fn lease(&mut self, model: &Upkeep, worker: usize, inputs: [usize; 2]) -> bool {
        self.spent.jobs += 1;
        let of_inputs = |extent: &&Extent| inputs.contains(&extent.object);
        let from = self.log.iter().filter(of_inputs).map(|e| e.from).min();
        let to = self.log.iter().filter(of_inputs).map(|e| e.to).max();
        let (Some(from), Some(to)) = (from, to) else {
            return false;
        };
        self.workers[worker] = Some(Job {
            inputs: inputs.to_vec(),
            from,
            to,
            output: None,
        });
        self.spent.jobs <= model.bounds.jobs
    }

    fn build(&mut self, worker: usize) -> bool {
        let Some(job) = &mut self.workers[worker] else {
            return false;
        };
        if job.output.is_some() {
            return false;
        }
        let read: Option<Vec<&Object>> = job
            .inputs
            .iter()
            .map(|input| self.objects.get(*input).filter(|object| object.in_bucket))
            .collect();
        let Some(read) = read else {
            // "not found": the job failed
            self.workers[worker] = None;
            return true;
        };
        let of_range = |offset: &u8| (job.from..job.to).contains(offset);
        let all = read.iter().flat_map(|object| &object.records).copied();
        let mut records: Vec<u8> = all.filter(of_range).collect();
        records.sort_unstable();
        records.dedup();
        job.output = Some(self.objects.len());
        self.objects.push(Object {
            epoch: self.epoch,
            records,
            in_bucket: false,
            known: Known::No,
            doomed: false,
            deleted: false,
        });
        true
    }

    fn put(&mut self, object: usize) -> bool {
        let object = &mut self.objects[object];
        !object.deleted && !std::mem::replace(&mut object.in_bucket, true)
    }

    fn swap(&mut self, model: &Upkeep, worker: usize) -> bool {
        self.spent.swaps += 1;
        let Some(job) = self.workers[worker].clone() else {
            return false;
        };
        let Some(output) = job.output else {
            return false;
        };
        let durable = self.objects[output].in_bucket || !model.has(Fence::OutputIsDurable);
        if self.spent.swaps > model.bounds.swaps || !durable {
            return false;
        }
        if self.log.iter().any(|extent| extent.object == output) {
            return true;
        }
        let age = self.epoch.saturating_sub(self.objects[output].epoch);
        if age > SWAP_AGE_MAX && model.has(Fence::OutputAge) {
            return true;
        }
        let from = job.from.max(self.log_start);
        let overlaps = |extent: &Extent| extent.from < job.to && extent.to > from;
        let read = |extent: &Extent| job.inputs.contains(&extent.object);
        let ends = |extent: &Extent| {
            extent.to <= job.to && (extent.from >= job.from || job.from < self.log_start)
        };
        let found: Vec<Extent> = self.log.iter().copied().filter(overlaps).collect();
        let good = |extent: &Extent| (read(extent) || !model.has(Fence::Inputs)) && ends(extent);
        if found.is_empty() || !found.iter().all(good) {
            return true;
        }
        let within = |extent: &Extent| extent.from >= job.from && extent.to <= job.to;
        self.log.retain(|extent| !within(extent));
        self.log.push(Extent {
            from: job.from,
            to: job.to,
            object: output,
        });
        self.log.sort_unstable();
        self.objects[output].known = Known::Live;
        self.release();
        true
    }

    /// Objects that lost their last extent are released.
    fn release(&mut self) {
        for (at, object) in self.objects.iter_mut().enumerate() {
            let live = self.log.iter().any(|extent| extent.object == at);
            if object.known == Known::Live && !live {
                object.known = Known::Released(self.epoch);
            }
        }
    }

    fn delete_records(&mut self, model: &Upkeep) -> bool {
        self.spent.deletions += 1;
        self.log_start += 1;
        let start = self.log_start;
        self.log.retain(|extent| extent.to > start);
        self.release();
        self.spent.deletions <= model.bounds.deletions && start < model.bounds.records
    }

    fn delete(&mut self, model: &Upkeep, at: usize) -> bool {
        let object = &mut self.objects[at];
        let Known::Released(since) = object.known else {
            return false;
        };
        let backed_up = match &self.backup {
            Some(backup) => since < backup.epoch,
            // without backups nothing waits for them
            None => model.bounds.backups == 0,
        };
        let may = backed_up || !model.has(Fence::NewerBackup);
        may && !std::mem::replace(&mut object.doomed, true)
    }

    fn doom(&mut self, model: &Upkeep, at: usize) -> bool {
        let object = &mut self.objects[at];
        let age = self.epoch.saturating_sub(object.epoch);
        let old = age > SWEEP_AGE_MAX || !model.has(Fence::SweepAge);
        object.in_bucket
            && object.known == Known::No
            && old
            && !std::mem::replace(&mut object.doomed, true)
    }

    fn sweep(&mut self, at: usize) -> bool {
        let object = &mut self.objects[at];
        if !object.doomed || object.deleted {
            return false;
        }
        object.in_bucket = false;
        object.deleted = true;
        if let Known::Released(_) = object.known {
            object.known = Known::No;
        }
        true
    }

    fn begin_backup(&mut self, model: &Upkeep) -> bool {
        self.spent.backups += 1;
        let begins = self.backing_up.is_none() && self.spent.backups <= model.bounds.backups;
        self.backing_up = Some(Backup {
            epoch: self.epoch,
            refers: None,
        });
        begins
    }

    fn snapshot(&mut self) -> bool {
        let Some(backup) = &mut self.backing_up else {
            return false;
        };
        if backup.refers.is_some() {
            return false;
        }
        let mut refers: Vec<usize> = self.log.iter().map(|extent| extent.object).collect();
        refers.sort_unstable();
        refers.dedup();
        backup.refers = Some(refers);
        true
    }

    fn end_backup(&mut self, model: &Upkeep) -> bool {
        let done = self.backing_up.take_if(|backup| backup.refers.is_some());
        let Some(mut backup) = done else {
            return false;
        };
        if !model.has(Fence::EpochBeforeSnapshot) {
            backup.epoch = self.epoch;
        }
        self.backup = Some(backup);
        true
    }

    fn read(&mut self, model: &Upkeep) -> bool {
        let Some((offset, at)) = self.located.take() else {
            return false;
        };
        // what was deleted for everybody may be refused
        if offset < self.log_start {
            return true;
        }
        let served = |object: &Object| object.in_bucket && object.records.contains(&offset);
        let again = self.find(offset).filter(|_| model.has(Fence::Relocation));
        let again = again.is_some_and(|extent| served(&self.objects[extent.object]));
        if !served(&self.objects[at]) && !again {
            self.broken.get_or_insert(Broken::Reader);
        }
        true
    }

    fn check(&mut self, model: &Upkeep) {
        for offset in self.log_start..model.bounds.records {
            let covers = |extent: &&Extent| (extent.from..extent.to).contains(&offset);
            let mut found = self.log.iter().filter(covers);
            let (first, second) = (found.next(), found.next());
            let has = |extent: &Extent| self.objects[extent.object].records.contains(&offset);
            if second.is_some() || !first.is_some_and(has) {
                self.broken.get_or_insert(Broken::Log);
            }
        }
        let is_there = |at: usize| self.objects[at].in_bucket;
        if !self.log.iter().all(|extent| is_there(extent.object)) {
            self.broken.get_or_insert(Broken::Missing);
        }
        let backup = self.backup.iter().flat_map(|backup| &backup.refers);
        if !backup.flatten().all(|at| is_there(*at)) {
            self.broken.get_or_insert(Broken::Backup);
        }
    }
}

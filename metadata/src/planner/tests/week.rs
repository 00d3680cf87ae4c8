//! The planner at work for days: agents that write without a pause, compactors that take as long as real ones and
//! move no bytes, of which some die and some stand still, retention, backups. What the leader keeps and what the
//! bucket is asked for must stay bounded.
//!
//! In its short form half a day of a small cluster. `AQUIFER_TEST_WEEK=1` makes it 7 days of 1 GiB/s into 10,000
//! partitions (best in a release build), and
//! `AQUIFER_TEST_WEEK_{HOURS,PARTITIONS,MIB,OBJECT_MIB,RUNS,FINE_HOURS,FINE_RUNS}` change that: MiB per second, size and
//! partitions of an agent's object in those days, and what comes after them. Records are kept for a third of the days.
//!
//! # What is scaled
//!
//! At 1 GiB/s agents write 128 objects of 8 MiB a second, 77 million in a week, in which each of 10,000 partitions has
//! bytes every second: six thousand million extents, which no machine drives through a leader's code in minutes. So
//! in those days agents write objects of 256 MiB with runs of 8 MiB, a 32nd of the objects, and the planner looks at
//! everything every 320 s instead of 10 s. Bytes, partitions, retention, jobs of 1 GiB and all the large runs are as they
//! would be; too small in these rows is what small objects cost: extents of levels 0 and 1, those of level 2 that wait for
//! a third merge and what that writes, agents' PUTs, GETs, calls. The last row has that: hours of 8 MiB objects with a run
//! for every partition every second, looked at every 10 s, on top of what the days left. A third merge comes 68 minutes
//! after its first bytes, so one hour would not show it.
//!
//! Blocks are as large as they were ingested. Questions of workers that have nothing to do are not counted. What a call
//! costs is deciding and applying, without the journal's encoding.

mod bed;
mod compactor;
mod leader;
mod merging;

use std::fmt::Write as _;

use self::bed::{Bed, Sample};
use crate::{planner::Level, state::budget};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: u64 = 3_600;
/// Size of agents' objects where nothing is scaled.
const AGENT_OBJECT_BYTES: u64 = 8 * MIB;

/// What agents write.
#[derive(Clone, Copy, Debug)]
struct Load {
    object_bytes: u64,
    /// Partitions that an object has.
    runs: u64,
}

/// What is simulated.
#[derive(Clone, Copy, Debug)]
struct Shape {
    hours: u64,
    partitions: u64,
    bytes_per_second: u64,
    /// In those hours.
    coarse: Load,
    /// After them.
    fine_hours: u64,
    fine: Load,
}

impl Shape {
    fn of_environment() -> Self {
        let number = |name: &str, default: u64| {
            let name = format!("AQUIFER_TEST_WEEK{name}");
            std::env::var(&name).map_or(default, |text| text.parse().expect(&name))
        };
        let [
            hours,
            partitions,
            mib,
            object_mib,
            runs,
            fine_hours,
            fine_runs,
        ] = if number("", 0) == 0 {
            [12, 64, 16, 32, 8, 1, 16]
        } else {
            [168, 10_000, 1_024, 256, 32, 2, 80]
        };
        let shape = Self {
            // three rows from when as much goes as comes
            hours: number("_HOURS", hours).max(12),
            // so that a merge of 1 GiB has extents that fill a run to seven eighths
            partitions: number("_PARTITIONS", partitions).max(32),
            bytes_per_second: number("_MIB", mib).max(1) * MIB,
            coarse: Load {
                object_bytes: number("_OBJECT_MIB", object_mib).max(8) * MIB,
                runs: number("_RUNS", runs),
            },
            fine_hours: number("_FINE_HOURS", fine_hours),
            fine: Load {
                object_bytes: AGENT_OBJECT_BYTES,
                runs: number("_FINE_RUNS", fine_runs),
            },
        };
        for load in [shape.coarse, shape.fine] {
            assert!((1..=shape.partitions).contains(&load.runs), "{shape:?}");
        }
        shape
    }

    /// For how long records are kept; the planner merges once what is kept for less than two hours.
    fn retention_seconds(&self) -> u64 {
        (self.hours / 3).max(3) * HOUR
    }

    fn retained_bytes(&self) -> u64 {
        self.bytes_per_second * self.retention_seconds()
    }

    /// A row of the table is about a day of a week.
    fn period_hours(&self) -> u64 {
        self.hours.div_ceil(7)
    }
}

/// What may be there at any time, from what the planner says that it does.
struct Bounds {
    small_objects: u64,
    extents: [u64; 3],
    objects: u64,
    released: u64,
    metadata_bytes: u64,
}

impl Bounds {
    fn of(shape: &Shape, load: &Load) -> Self {
        let objects_per_second = shape.bytes_per_second.div_ceil(load.object_bytes);
        let jobs_per_second = (4 * shape.bytes_per_second).div_ceil(GIB);
        // some jobs, and what comes in a minute: until they end, be it that their workers died
        let small_objects = 4 * 128 + 60 * objects_per_second;
        let of_partition = shape.retained_bytes() / shape.partitions;
        let extents = [
            // those that an earlier load left are fewer than its objects had
            small_objects * shape.coarse.runs.max(load.runs),
            // 64 are merged, or some of 256 MiB: as many again until that is done, and what came meanwhile
            shape.partitions * 3 * 64,
            // from 64 MiB on they stay; of smaller ones 64 are merged
            shape.partitions * (2 * 64 + of_partition / (64 * MIB)),
        ];
        // an object goes with its last extent: of level 1 after an hour or two, of level 2 some live longer than
        // most of what they had, and are smaller where their inputs were in many objects
        let merged_once = 2 * HOUR * shape.bytes_per_second / GIB;
        let merged_twice = 4 * shape.retained_bytes() / GIB;
        let objects = small_objects + 512 + merged_once + merged_twice;
        Self {
            small_objects,
            extents,
            objects,
            // ten minutes of grace, and as long again for rounds and jobs, thrice
            released: 2_048 + 1_800 * (objects_per_second + jobs_per_second),
            metadata_bytes: extents.iter().sum::<u64>() * budget::EXTENT_BYTES
                + objects * budget::OBJECT_BYTES,
        }
    }

    fn check(&self, shape: &Shape, sample: &Sample) {
        let text = format!("{shape:?}: {sample:#?}");
        for (level, most) in sample.extents_max.iter().zip(self.extents) {
            assert!(*level <= most, "{level} extents, not {most}: {text}");
        }
        for (what, found, most) in [
            ("small objects", sample.small_max, self.small_objects),
            ("objects", sample.objects_max, self.objects),
            ("released objects", sample.released_max, self.released),
            ("bytes", sample.metadata_bytes_max, self.metadata_bytes),
        ] {
            assert!(found <= most, "{found} {what}, not {most}: {text}");
        }
        assert!(!sample.throttled, "the leader's budget is used up: {text}");
        // once or twice, and a third time in small partitions
        let written = sample.written_per_byte();
        assert!(written <= 3.2, "{written} bytes per byte: {text}");
        let per_object = sample.gets as f64 * AGENT_OBJECT_BYTES as f64;
        let per_object = per_object / sample.ingested_bytes as f64;
        assert!(per_object <= 32.0, "{per_object} GETs per 8 MiB: {text}");
        let useless = sample.not_done * 100;
        assert!(useless <= sample.done, "swaps in vain: {text}");
    }
}

/// Rows with their labels.
fn table(rows: &[(String, Sample)]) -> String {
    let mut text = String::from(
        "| | extents L0 | L1 | L2 | metadata MiB | objects | released | waiting | agents' PUT/s | compactors' GET/s | PUT/s | \
         DELETE/s | calls/s | written per byte | looks' steps, mean µs | largest |\n\
         |--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|--|\n",
    );
    for (label, sample) in rows {
        let rate = |count: u64| count as f64 / sample.seconds as f64;
        let [l0, l1, l2] = sample.extents_max;
        let step = sample.costs.get(leader::STEP).copied();
        let step = step.unwrap_or_default();
        let _ = writeln!(
            text,
            "| {label} | {l0} | {l1} | {l2} | {:.1} | {} | {} | {} | {:.2} | {:.1} | {:.1} | {:.3} | {:.1} | {:.2} | {:.0} | \
             {:.0} |",
            sample.metadata_bytes_max as f64 / MIB as f64,
            sample.objects_max,
            sample.released_max,
            sample.small_max,
            rate(sample.agent_puts),
            rate(sample.gets),
            rate(sample.puts),
            rate(sample.deletes),
            rate(sample.calls),
            sample.written_per_byte(),
            step.mean_micros(),
            step.largest_micros(),
        );
    }
    text
}

/// What the leader's calls took.
fn costs(sample: &Sample) -> String {
    let mut text = String::from(
        "| call | per second | mean µs | largest µs | ms of a second |\n|--|--|--|--|--|\n",
    );
    for (call, cost) in &sample.costs {
        let per_second = cost.count as f64 / sample.seconds as f64;
        let _ = writeln!(
            text,
            "| {call} | {per_second:.2} | {:.1} | {:.0} | {:.3} |",
            cost.mean_micros(),
            cost.largest_micros(),
            per_second * cost.mean_micros() / 1_000.0,
        );
    }
    text
}

#[test]
fn days_of_load_leave_metadata_objects_and_requests_bounded() {
    let shape = Shape::of_environment();
    let mut bed = Bed::new(shape);
    let mut rows: Vec<(String, Sample)> = Vec::new();
    let bounds = Bounds::of(&shape, &shape.coarse);
    let hours = shape.period_hours();
    for period in 1..=shape.hours / hours {
        let sample = bed.run(&shape.coarse, hours * HOUR);
        bounds.check(&shape, &sample);
        rows.push((format!("hour {}", period * hours), sample));
    }
    check_growth(&shape, &rows);
    let coarse = costs(&rows[rows.len() - 1].1);
    if shape.fine_hours > 0 {
        let sample = bed.run(&shape.fine, shape.fine_hours * HOUR);
        Bounds::of(&shape, &shape.fine).check(&shape, &sample);
        let label = format!("{} h of 8 MiB objects", shape.fine_hours);
        rows.push((label, sample));
    }
    println!("{shape:?}\n{}", table(&rows));
    println!("calls in the last of the rows by hours:\n{coarse}");
    let (label, last) = &rows[rows.len() - 1];
    println!("calls in the row \"{label}\":\n{}", costs(last));
    let sum = |of: fn(&Sample) -> u64| rows.iter().map(|(_, sample)| of(sample)).sum::<u64>();
    println!(
        "{} jobs were lost with their workers or given to others, {} objects swept",
        sum(|sample| sample.lost_jobs),
        sum(|sample| sample.swept),
    );
    bed.check();
    let [_, merged, twice]: [Level; 3] = bed.levels();
    assert!(
        merged.extents > 0 && twice.extents > 0,
        "{merged:?}, {twice:?}"
    );
}

/// Once as much goes as comes, nothing grows any more.
fn check_growth(shape: &Shape, rows: &[(String, Sample)]) {
    let period = shape.period_hours() * HOUR;
    let full = shape.retention_seconds().div_ceil(period);
    let full = usize::try_from(full).expect("few periods");
    assert!(full + 1 < rows.len(), "what is kept is a third of it");
    let (first, last) = (&rows[full].1, &rows[rows.len() - 1].1);
    let extents = |sample: &Sample, level: usize| sample.extents_max[level];
    for (of, first, last) in [
        ("L1 extents", extents(first, 1), extents(last, 1)),
        ("L2 extents", extents(first, 2), extents(last, 2)),
        (
            "metadata bytes",
            first.metadata_bytes_max,
            last.metadata_bytes_max,
        ),
        ("objects", first.objects_max, last.objects_max),
        ("released objects", first.released_max, last.released_max),
        ("GETs", first.gets, last.gets),
        ("PUTs", first.puts, last.puts),
        ("calls", first.calls, last.calls),
    ] {
        assert!(
            last * 10 <= first * 13 + 1_000,
            "{of}: {first}, then {last}"
        );
    }
}

//! The planner at work for days: agents that write without a pause, compactors that take as long as real ones and
//! move no bytes, retention, backups. What the leader keeps and what the bucket is asked for must stay bounded.
//!
//! In its short form half a day of a small cluster. `AQUIFER_TEST_WEEK=1` makes it 7 days of 1 GiB/s into 10,000
//! partitions; `AQUIFER_TEST_WEEK_{HOURS,PARTITIONS,MIB,RUNS}` change that: MiB per second, and partitions that an
//! agent's object of 8 MiB has. Records are kept for a third of the time.

#[path = "week/bed.rs"]
mod bed;
#[path = "week/compactor.rs"]
mod compactor;

use std::fmt::Write as _;

use self::bed::{Bed, Sample};
use crate::{planner::Level, state::budget};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: u64 = 3_600;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
struct Shape {
    hours: u64,
    partitions: u64,
    bytes_per_second: u64,
    /// Partitions that an agent's object has.
    runs: u64,
}

impl Shape {
    fn of_environment() -> Self {
        let number = |name: &str, default: u64| {
            let name = format!("AQUIFER_TEST_WEEK{name}");
            std::env::var(&name).map_or(default, |text| text.parse().expect(&name))
        };
        let [hours, partitions, mib, runs] = if number("", 0) == 0 {
            [12, 64, 16, 8]
        } else {
            [168, 10_000, 1_024, 32]
        };
        let shape = Self {
            hours: number("_HOURS", hours).max(4),
            partitions: number("_PARTITIONS", partitions),
            bytes_per_second: number("_MIB", mib) * MIB,
            runs: number("_RUNS", runs),
        };
        assert!((1..=shape.partitions).contains(&shape.runs), "{shape:?}");
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
    fn of(shape: &Shape) -> Self {
        let objects_per_second = shape.bytes_per_second.div_ceil(bed::OBJECT_BYTES);
        // some jobs, and what comes in until a worker has time
        let small_objects = 4 * 128 + 30 * objects_per_second;
        let of_partition = shape.retained_bytes() / shape.partitions;
        let extents = [
            small_objects * shape.runs,
            // 64 are merged, or some of 256 MiB: as many again until that is done, and what came meanwhile
            shape.partitions * 3 * 64,
            // from 64 MiB on they stay; of smaller ones 64 are merged
            shape.partitions * (2 * 64 + of_partition / (64 * MIB)),
        ];
        // an object goes with its last extent: some live longer than most of what they had
        let objects = small_objects + 512 + 4 * shape.retained_bytes() / GIB;
        Self {
            small_objects,
            extents,
            objects,
            // ten minutes of grace, five until a backup, and as long again for rounds and jobs
            released: 2_048 + 1_800 * objects_per_second,
            metadata_bytes: extents.iter().sum::<u64>() * budget::EXTENT_BYTES
                + objects * budget::OBJECT_BYTES,
        }
    }

    fn check(&self, shape: &Shape, sample: &Sample) {
        let text = format!("{shape:?}: {sample:#?}");
        for (level, most) in sample.extents_max.iter().zip(self.extents) {
            assert!(*level <= most, "{level} extents, not {most}: {text}");
        }
        assert!(sample.small_max <= self.small_objects, "{text}");
        assert!(sample.objects_max <= self.objects, "{text}");
        assert!(sample.released_max <= self.released, "{text}");
        assert!(sample.metadata_bytes_max <= self.metadata_bytes, "{text}");
        // once or twice, and a third time in small partitions
        let written = sample.written_bytes as f64 / sample.ingested_bytes as f64;
        assert!(written <= 3.1, "{written} bytes per byte: {text}");
        let per_put = sample.gets as f64 / sample.agent_puts as f64;
        assert!(per_put <= 16.0, "{per_put} GETs per PUT of agents: {text}");
        let useless = sample.not_done * 100;
        assert!(useless <= sample.done, "swaps in vain: {text}");
    }
}

fn table(shape: &Shape, samples: &[Sample]) -> String {
    let mut text = String::new();
    let days = shape.period_hours() == 24;
    let unit = if days { "day" } else { "hour" };
    let _ = writeln!(
        text,
        "| {unit} | extents L0 | L1 | L2 | metadata MiB | objects | released | waiting | agents' PUT/s | compactors' GET/s | \
         PUT/s | DELETE/s | calls/s | written per byte |\n|--|--|--|--|--|--|--|--|--|--|--|--|--|--|"
    );
    let seconds = (shape.period_hours() * HOUR) as f64;
    let rate = |count: u64| count as f64 / seconds;
    for (period, sample) in (1..).zip(samples) {
        let [l0, l1, l2] = sample.extents_max;
        let at = if days { period } else { period * shape.period_hours() };
        let _ = writeln!(
            text,
            "| {at} | {l0} | {l1} | {l2} | {:.1} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.3} | {:.1} | {:.2} |",
            sample.metadata_bytes_max as f64 / MIB as f64,
            sample.objects_max,
            sample.released_max,
            sample.small_max,
            rate(sample.agent_puts),
            rate(sample.gets),
            rate(sample.puts),
            rate(sample.deletes),
            rate(sample.calls),
            sample.written_bytes as f64 / sample.ingested_bytes as f64,
        );
    }
    text
}

#[test]
fn days_of_load_leave_metadata_objects_and_requests_bounded() {
    let shape = Shape::of_environment();
    let bounds = Bounds::of(&shape);
    let mut bed = Bed::new(shape);
    let mut samples: Vec<Sample> = Vec::new();
    let periods = shape.hours / shape.period_hours();
    for _ in 0..periods {
        let sample = bed.run(shape.period_hours() * HOUR);
        bounds.check(&shape, &sample);
        samples.push(sample);
    }
    println!("{shape:?}\n{}", table(&shape, &samples));
    bed.check_logs();

    // once as much goes as comes, it grows no more
    let full = shape.retention_seconds().div_ceil(shape.period_hours() * HOUR);
    let full = usize::try_from(full).expect("few periods");
    let (first, last) = (&samples[full], &samples[samples.len() - 1]);
    assert!(full + 2 < samples.len(), "what is kept is a third of it");
    for (of, first, last) in [
        ("L1 extents", first.extents_max[1], last.extents_max[1]),
        ("L2 extents", first.extents_max[2], last.extents_max[2]),
        ("metadata bytes", first.metadata_bytes_max, last.metadata_bytes_max),
        ("objects", first.objects_max, last.objects_max),
        ("released objects", first.released_max, last.released_max),
        ("GETs", first.gets, last.gets),
        ("PUTs", first.puts, last.puts),
        ("calls", first.calls, last.calls),
    ] {
        assert!(last * 10 <= first * 13 + 1_000, "{of}: {first}, then {last}");
    }
    let [_, merged, twice]: [Level; 3] = bed.levels();
    assert!(merged.extents > 0 && twice.extents > 0, "{merged:?}, {twice:?}");
}

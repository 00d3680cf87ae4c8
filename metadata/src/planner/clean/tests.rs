use super::*;

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_000 * HOUR;

/// Extents of 10 offsets and 100 bytes each; per extent its age in hours and whether it was merged.
fn log(from: i64, extents: &[(i64, bool)]) -> Vec<LogExtent> {
    (0..)
        .zip(extents)
        .map(|(i, (age, merged))| LogExtent {
            base_offset: Offset(from + 10 * i),
            end_offset: Offset(from + 10 * i + 10),
            bytes: 100,
            max_timestamp: NOW - age * HOUR,
            merged: *merged,
        })
        .collect()
}

fn bounds() -> CleanBounds {
    CleanBounds {
        min_dirty_ratio: 0.5,
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        now_ms: NOW,
        cleaned_through: Offset(0),
        last_stable: Offset(1_000),
    }
}

fn range(log: Option<CleanLog>) -> Option<(i64, i64, i64)> {
    log.map(|log| (log.from.0, log.first_dirty.0, log.to.0))
}

#[test]
fn each_bound_ends_the_part_that_may_be_compacted() {
    let old = [(9, true), (8, true), (7, true), (6, true)];
    let tail = [(9, true), (8, true), (7, false), (6, true)];
    let young = [(9, true), (8, true), (1, true), (6, true)];
    let lag = CleanBounds {
        min_lag_ms: 2 * HOUR,
        ..bounds()
    };
    let unstable = CleanBounds {
        last_stable: Offset(25),
        ..bounds()
    };
    type Row<'a> = (
        &'a str,
        &'a [(i64, bool)],
        CleanBounds,
        Option<(i64, i64, i64)>,
    );
    let rows: [Row<'_>; 7] = [
        ("all of it", &old, bounds(), Some((0, 0, 40))),
        ("nothing is there", &[], bounds(), None),
        ("nothing is merged", &[(9, false)], bounds(), None),
        ("what is not merged", &tail, bounds(), Some((0, 0, 20))),
        ("what is too young", &young, lag, Some((0, 0, 20))),
        ("no such lag", &young, bounds(), Some((0, 0, 40))),
        ("the last stable offset", &old, unstable, Some((0, 0, 20))),
    ];
    for (name, extents, bounds, expected) in rows {
        let due = due(log(0, extents).into_iter(), &bounds);
        assert_eq!(range(due), expected, "{name}");
    }
}

#[test]
fn a_log_is_due_by_its_dirty_share_or_its_oldest_dirty_record() {
    let extents = [(9, true), (8, true), (7, true), (6, true)];
    let at = |cleaned: i64, ratio: f64, max_lag_ms: i64| CleanBounds {
        cleaned_through: Offset(cleaned),
        min_dirty_ratio: ratio,
        max_lag_ms,
        ..bounds()
    };
    let rows = [
        (at(10, 0.5, i64::MAX), Some((0, 10, 40))),
        // The share must be above the ratio, not at it.
        (at(20, 0.5, i64::MAX), None),
        (at(20, 0.49, i64::MAX), Some((0, 20, 40))),
        (at(30, 0.5, i64::MAX), None),
        // 6 hours old: due after 5, not after 6 or 8, though older ones are clean.
        (at(30, 0.5, 5 * HOUR), Some((0, 30, 40))),
        (at(30, 0.5, 6 * HOUR), None),
        (at(30, 0.5, 8 * HOUR), None),
        (at(30, 1.0, -1), Some((0, 30, 40))),
        (at(40, 0.0, 0), None),
    ];
    for (bounds, expected) in rows {
        let due = due(log(0, &extents).into_iter(), &bounds);
        assert_eq!(range(due), expected, "{bounds:?}");
    }
}

#[test]
fn what_is_too_young_is_no_obstacle_where_it_is_clean_already() {
    let bounds = CleanBounds {
        min_lag_ms: 2 * HOUR,
        cleaned_through: Offset(10),
        ..bounds()
    };
    let due = due(
        log(0, &[(1, true), (9, true), (8, true)]).into_iter(),
        &bounds,
    );
    assert_eq!(range(due), Some((0, 10, 30)));
}

#[test]
fn a_log_start_behind_what_was_compacted_makes_the_rest_dirty() {
    let bounds = CleanBounds {
        cleaned_through: Offset(15),
        ..bounds()
    };
    let due = due(log(100, &[(9, true), (8, true)]).into_iter(), &bounds);
    assert_eq!(range(due), Some((100, 100, 120)));
}

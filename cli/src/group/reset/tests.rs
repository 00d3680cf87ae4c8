use std::time::Duration;

use super::*;
use crate::{
    arguments::{Bootstrap, Output, OutputForm},
    group::{cluster::Node, members::Member},
    units::Span,
    usage::Usage,
};

fn reset() -> GroupReset {
    GroupReset {
        group: "g".to_owned(),
        of: OfTopics {
            topic: Vec::new(),
            all_topics: true,
        },
        to_earliest: false,
        to_latest: false,
        to_offset: None,
        to_datetime: None,
        by_duration: None,
        shift_by: None,
        execute: false,
        output: Output {
            output: OutputForm::Text,
        },
        bootstrap: Bootstrap {
            bootstrap: "a:1".to_owned(),
            client_setting: Vec::new(),
            timeout: Span(Duration::from_secs(1)),
        },
    }
}

#[test]
fn offsets_stay_within_the_log() {
    let log = (100, 200);
    for (to, before, by_time, after, wanted) in [
        (To::Earliest, Some(150), None, 100, None),
        (To::Earliest, None, None, 100, None),
        (To::Latest, Some(150), None, 200, None),
        (To::Offset(170), Some(150), None, 170, None),
        (To::Offset(0), None, None, 100, Some(0)),
        (To::Offset(-5), None, None, 100, Some(-5)),
        (To::Offset(201), None, None, 200, Some(201)),
        (To::Time(5), None, Some(120), 120, None),
        // nothing is as late
        (To::Time(5), None, Some(-1), 200, None),
        (To::Shift(10), Some(150), None, 160, None),
        (To::Shift(-10), Some(150), None, 140, None),
        (To::Shift(0), Some(150), None, 150, None),
        (To::Shift(-51), Some(150), None, 100, Some(99)),
        (To::Shift(i64::MAX), Some(150), None, 200, Some(i64::MAX)),
    ] {
        let expected = Change {
            before,
            after,
            wanted,
        };
        assert_eq!(change(to, before, log, by_time), Some(expected), "{to:?}");
    }
    assert_eq!(change(To::Shift(1), None, log, None), None);
}

#[test]
fn one_place_is_said() {
    let now = 1_000_000;
    let of = |change: fn(&mut GroupReset)| {
        let mut reset = reset();
        change(&mut reset);
        target(&reset, now)
    };
    assert!(of(|_| {}).is_err());
    assert!(of(|r| (r.to_latest, r.to_offset) = (true, Some(0))).is_err());
    assert_eq!(of(|r| r.to_earliest = true).unwrap(), To::Earliest);
    assert_eq!(of(|r| r.to_latest = true).unwrap(), To::Latest);
    assert_eq!(of(|r| r.to_offset = Some(7)).unwrap(), To::Offset(7));
    assert_eq!(of(|r| r.to_datetime = Some(7)).unwrap(), To::Time(7));
    assert_eq!(of(|r| r.shift_by = Some(-7)).unwrap(), To::Shift(-7));
    let ago = |millis: u64| {
        let mut reset = reset();
        reset.by_duration = Some(Span(Duration::from_millis(millis)));
        target(&reset, now).unwrap()
    };
    assert_eq!(ago(1_000), To::Time(999_000));
    // times below 0 are words of their own
    assert_eq!(ago(5_000_000), To::Time(0));
}

#[test]
fn a_group_with_members_keeps_its_offsets() {
    let mut group = Described {
        kind: "classic",
        state: "Empty".to_owned(),
        coordinator: Node {
            id: 0,
            address: "a:1".to_owned(),
        },
        protocol: String::new(),
        assignor: String::new(),
        epochs: None,
        members: Vec::new(),
    };
    check_idle("g", None).unwrap();
    check_idle("g", Some(&group)).unwrap();
    group.state = "Stable".to_owned();
    group.members.push(Member::default());
    let refused = check_idle("g", Some(&group)).unwrap_err().to_string();
    assert!(
        refused.contains("it is Stable and has 1 members"),
        "{refused}"
    );
}

#[test]
fn refusals_say_what_to_do() {
    let at = TopicPartition {
        topic: "t".to_owned(),
        partition: 3,
    };
    check("g", &at, Some(0)).unwrap();
    for (code, says) in [
        (None, "is not known"),
        (Some(25), "members joined group g meanwhile"),
        (
            Some(12),
            "the offset of t:3 was not set: OFFSET_METADATA_TOO_LARGE",
        ),
    ] {
        let error = check("g", &at, code).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Nobody answers at the address: whoever looks for a cluster first says that, with another exit code.
#[test]
fn regression_flags_are_checked_before_a_cluster_is_looked_for() {
    let error = run(&reset()).unwrap_err();
    assert!(error.downcast_ref::<Usage>().is_some(), "{error:#}");
}

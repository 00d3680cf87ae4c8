use super::{offsets::CommittedOffset, *};
use crate::{arguments::group::TopicPartitions, usage::Usage};

fn of(topics: &[&str], all_topics: bool) -> OfTopics {
    let topics = topics
        .iter()
        .map(|spec| spec.parse::<TopicPartitions>().unwrap());
    OfTopics {
        topic: topics.collect(),
        all_topics,
    }
}

#[test]
fn topics_are_named_or_all_are_meant() {
    check_topics(&of(&["t"], false)).unwrap();
    check_topics(&of(&[], true)).unwrap();
    for wrong in [of(&[], false), of(&["t"], true)] {
        let error = check_topics(&wrong).unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some(), "{error}");
    }
}

#[test]
fn what_is_committed_is_chosen_by_topic_and_partition() {
    let committed: Committed = [("a", 0), ("a", 1), ("b", 0)]
        .into_iter()
        .map(|(topic, partition)| {
            let at = TopicPartition {
                topic: topic.to_owned(),
                partition,
            };
            let offset = CommittedOffset {
                offset: 1,
                leader_epoch: -1,
                metadata: String::new(),
            };
            (at, offset)
        })
        .collect();
    for (topics, all, expected) in [
        (&["a"][..], false, vec!["a:0", "a:1"]),
        (&[], true, vec!["a:0", "a:1", "b:0"]),
        (&["a:1,7"], false, vec!["a:1"]),
        (&["b", "a:0"], false, vec!["a:0", "b:0"]),
    ] {
        let found = of_committed("g", &of(topics, all), &committed).unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{topics:?}");
    }
    let none = of_committed("g", &of(&["c", "b:1"], false), &committed).unwrap_err();
    assert!(none.to_string().contains("no committed offsets"), "{none}");
}

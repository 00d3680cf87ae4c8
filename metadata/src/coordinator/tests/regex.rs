//! Subscriptions by regular expression.

use kafka_protocol::ResponseError;

use super::{
    bed::Bed,
    member::{Member, create, delete, group, send, settle, text},
};
use crate::state::tests::world::Counting;

/// A bed with these topics of one partition each.
fn bed(topics: &[&str]) -> (Bed, Counting) {
    let (mut bed, rand) = (Bed::new(), Counting::default());
    for topic in topics {
        create(&mut bed, &rand, topic, 1);
    }
    (bed, rand)
}

/// How many of three topics an expression matches; the code where it is refused.
fn matched(regex: &str) -> Result<usize, i16> {
    let (mut bed, _) = bed(&["orders", "orders.eu", "my-orders"]);
    let mut a = Member::matching("a", regex);
    match a.join(&mut bed) {
        0 => Ok(a.has()),
        code => {
            let found = bed.ledger.state.group_by_name(super::member::GROUP);
            assert!(found.is_none(), "{regex} left a group behind");
            Err(code)
        }
    }
}

#[test]
fn an_expression_matches_whole_names() {
    let invalid = Err(ResponseError::InvalidRegularExpression.code());
    let long = "o".repeat(2_000);
    for (regex, expected) in [
        ("orders", Ok(1)),
        ("orders.*", Ok(2)),
        (".*orders", Ok(2)),
        ("ord|orders", Ok(1)),
        ("orders|orders[.]eu", Ok(2)),
        (r"\Qorders.eu\E", Ok(1)),
        (r"\Qorders.\E..", Ok(1)),
        (r"orders\.eu", Ok(1)),
        ("(?i)ORDERS", Ok(1)),
        ("nothing", Ok(0)),
        ("", Ok(0)),
        ("[a", invalid),
        ("a)(?:b", invalid),
        ("(?x)orders # all of it", invalid),
        ("(a", invalid),
        ("(?=a)", invalid),
        ("((a{900}){900}){900}", invalid),
        (long.as_str(), invalid),
    ] {
        assert_eq!(matched(regex), expected, "{regex}");
    }
}

#[test]
fn a_refusal_says_what_is_wrong() {
    let (mut bed, _) = bed(&[]);
    let answer = send(&mut bed, &Member::matching("a", "[a").joining);
    let said = answer.error_message.unwrap();
    let expected =
        "SubscribedTopicRegex `[a` is not a valid regular expression: unclosed character class.";
    assert_eq!(said.as_str(), expected);
}

#[test]
fn topics_that_come_and_go_are_matched_with_the_next_heartbeat() {
    let (mut bed, rand) = bed(&["orders", "other"]);
    let mut a = Member::matching("a", "orders.*");
    a.join(&mut bed);
    assert_eq!(a.has(), 1);
    create(&mut bed, &rand, "orders.eu", 4);
    settle(&mut bed, &mut [&mut a]);
    assert_eq!(a.has(), 5);
    delete(&mut bed, "orders");
    settle(&mut bed, &mut [&mut a]);
    assert_eq!(a.has(), 4);
    let rows = bed.ledger.rows;
    create(&mut bed, &rand, "unrelated", 4);
    let created = bed.ledger.rows;
    assert!(created > rows);
    a.beat(&mut bed);
    assert_eq!(bed.ledger.rows, created);
}

#[test]
fn names_and_an_expression_go_together_and_an_empty_one_takes_it_back() {
    let (mut bed, _) = bed(&["orders", "orders.eu", "other"]);
    let mut a = Member::matching("a", "orders.*");
    let names = Member::new("a", &["other", "orders"]).joining;
    a.joining.subscribed_topic_names = names.subscribed_topic_names;
    a.join(&mut bed);
    assert_eq!((a.has(), a.epoch), (3, 1));
    let answer = send(
        &mut bed,
        &a.beating().with_subscribed_topic_regex(Some(text(""))),
    );
    a.hear(&answer);
    settle(&mut bed, &mut [&mut a]);
    assert_eq!((a.has(), a.epoch), (2, 2));
}

#[test]
fn a_group_is_subscribed_to_what_its_members_name_or_match() {
    let (mut bed, _) = bed(&["orders", "orders.eu", "other", "more"]);
    Member::matching("a", "orders.*").join(&mut bed);
    Member::new("b", &["other"]).join(&mut bed);
    let group = group(&bed).1.clone();
    let state = &bed.ledger.state;
    let subscriptions = &mut bed.coordinator.subscriptions;
    for (topic, subscribed) in [
        ("orders", true),
        ("orders.eu", true),
        ("other", true),
        ("more", false),
        ("orders.us", false),
    ] {
        let is = subscriptions.is_subscribed(state, &group, topic);
        assert_eq!(is, subscribed, "{topic}");
    }
}

#[test]
fn members_with_one_expression_share_what_it_matches() {
    let (mut bed, _) = bed(&["orders", "orders.eu", "orders.us", "other"]);
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|id| Member::matching(id, "orders.*"));
    for member in [&mut a, &mut b, &mut c] {
        member.join(&mut bed);
    }
    settle(&mut bed, &mut [&mut a, &mut b, &mut c]);
    assert_eq!([a.has(), b.has(), c.has()], [1, 1, 1]);
}

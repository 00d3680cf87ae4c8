//! Which of a bucket's lifecycle rules would take data away from a cluster.

use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, TransitionStorageClass};

/// What a rule does to the cluster's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// It deletes them, or makes them unreadable until they are restored.
    Takes(String),
    /// It moves them into a class that is paid for by each read.
    Moves(String),
}

/// What `rule` does to objects below `prefix` (without a slash at its end; empty = the whole bucket). None =
/// nothing.
pub(super) fn harm(rule: &LifecycleRule, prefix: &str) -> Option<Harm> {
    if *rule.status() != ExpirationStatus::Enabled || needs_tags(rule) {
        return None;
    }
    let below = prefix_of(rule);
    if !overlap(below, prefix) {
        return None;
    }
    let name = rule
        .id()
        .filter(|id| !id.is_empty())
        .unwrap_or("without a name");
    let reach = match below {
        "" => "every object".to_owned(),
        below => format!("objects below {below:?}"),
    };
    if let Some(expiration) = rule.expiration()
        && (expiration.days().is_some() || expiration.date().is_some())
    {
        let when = match (expiration.days(), expiration.date()) {
            (Some(days), _) => format!("after {days} days"),
            (None, date) => date.map_or_else(String::new, |date| format!("on {date}")),
        };
        return Some(Harm::Takes(format!("rule {name:?} deletes {reach} {when}")));
    }
    let classes = || rule.transitions().iter().filter_map(|t| t.storage_class());
    if let Some(class) = classes().find(|class| is_frozen(class)) {
        return Some(Harm::Takes(format!(
            "rule {name:?} moves {reach} to {}, from where they cannot be read",
            class.as_str()
        )));
    }
    let class = classes().find(|class| **class != TransitionStorageClass::IntelligentTiering)?;
    Some(Harm::Moves(format!(
        "rule {name:?} moves {reach} to {}, where each read is paid for",
        class.as_str()
    )))
}

fn is_frozen(class: &TransitionStorageClass) -> bool {
    matches!(
        class,
        TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive
    )
}

/// Objects of a cluster have no tags, so a rule that asks for some does not see them.
fn needs_tags(rule: &LifecycleRule) -> bool {
    rule.filter().is_some_and(|filter| {
        filter.tag().is_some() || filter.and().is_some_and(|and| !and.tags().is_empty())
    })
}

#[allow(
    deprecated,
    reason = "old rules have their prefix outside of the filter"
)]
fn prefix_of(rule: &LifecycleRule) -> &str {
    let filter = rule.filter();
    filter
        .and_then(|filter| filter.prefix().or_else(|| filter.and()?.prefix()))
        .or_else(|| rule.prefix())
        .unwrap_or_default()
}

/// Whether some key begins with both.
fn overlap(rule: &str, prefix: &str) -> bool {
    let ours = match prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    ours.starts_with(rule) || rule.starts_with(&ours)
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{
        LifecycleExpiration, LifecycleRuleAndOperator, LifecycleRuleFilter, Tag, Transition,
    };

    use super::*;

    fn rule(filter: LifecycleRuleFilter) -> aws_sdk_s3::types::builders::LifecycleRuleBuilder {
        LifecycleRule::builder()
            .id("r")
            .status(ExpirationStatus::Enabled)
            .filter(filter)
    }

    fn below(prefix: &str) -> LifecycleRuleFilter {
        LifecycleRuleFilter::builder().prefix(prefix).build()
    }

    fn days() -> LifecycleExpiration {
        LifecycleExpiration::builder().days(7).build()
    }

    fn takes(rule: aws_sdk_s3::types::builders::LifecycleRuleBuilder, prefix: &str) -> bool {
        let harm = harm(&rule.build().unwrap(), prefix);
        matches!(harm, Some(Harm::Takes(_)))
    }

    #[test]
    fn rules_that_reach_our_prefix_take_data() {
        for (of_rule, ours, expected) in [
            ("", "", true),
            ("", "prod", true),
            ("logs/", "", true),
            ("logs/", "prod", false),
            ("prod", "prod", true),
            ("prod/", "prod", true),
            ("prod/x/", "prod", true),
            ("pro", "prod", true),
            ("production/", "prod", false),
            ("prod", "production", true),
        ] {
            let with = rule(below(of_rule)).expiration(days());
            assert_eq!(takes(with, ours), expected, "{of_rule:?} {ours:?}");
        }
    }

    #[test]
    fn harmless_rules_are_let_pass() {
        let all = || LifecycleRuleFilter::builder().build();
        let off = rule(all())
            .expiration(days())
            .status(ExpirationStatus::Disabled);
        assert!(!takes(off, ""));
        assert!(!takes(rule(all()), ""));
        let markers = LifecycleExpiration::builder().expired_object_delete_marker(true);
        assert!(!takes(rule(all()).expiration(markers.build()), ""));
        let tag = Tag::builder().key("k").value("v").build().unwrap();
        let tagged = LifecycleRuleFilter::builder().tag(tag.clone()).build();
        assert!(!takes(rule(tagged).expiration(days()), ""));
        let and = LifecycleRuleAndOperator::builder()
            .prefix("")
            .tags(tag)
            .build();
        let tagged = LifecycleRuleFilter::builder().and(and).build();
        assert!(!takes(rule(tagged).expiration(days()), ""));
    }

    #[test]
    fn rules_by_size_old_rules_and_frozen_classes_take_data() {
        let size = LifecycleRuleFilter::builder().object_size_greater_than(1_000);
        assert!(takes(rule(size.build()).expiration(days()), "p"));
        let and = LifecycleRuleAndOperator::builder()
            .prefix("p/")
            .object_size_less_than(9)
            .build();
        let and = LifecycleRuleFilter::builder().and(and).build();
        assert!(takes(rule(and.clone()).expiration(days()), "p"));
        assert!(!takes(rule(and).expiration(days()), "q"));
        #[allow(deprecated, reason = "what old buckets have")]
        let old = LifecycleRule::builder()
            .status(ExpirationStatus::Enabled)
            .prefix("p")
            .expiration(days());
        assert!(takes(old, "p"));
        for (class, expected) in [
            (TransitionStorageClass::Glacier, "Takes"),
            (TransitionStorageClass::DeepArchive, "Takes"),
            (TransitionStorageClass::StandardIa, "Moves"),
            (TransitionStorageClass::GlacierIr, "Moves"),
            (TransitionStorageClass::IntelligentTiering, "None"),
        ] {
            let transition = Transition::builder().days(1).storage_class(class.clone());
            let with = rule(below("")).transitions(transition.build()).build();
            let found = format!("{:?}", harm(&with.unwrap(), ""));
            assert!(found.contains(expected), "{class:?}: {found}");
        }
    }
}

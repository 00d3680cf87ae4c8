//! Features of the cluster that clients are told of (KIP-584): which protocols work, at which level.
//!
//! `group.version` 1 is the consumer group protocol (KIP-848). `transaction.version` would steer clients to a
//! protocol that does not work here so far, and Kafka's `metadata.version` is the format of a metadata log that
//! does not exist here.

use kafka_protocol::{
    messages::{
        api_versions_response::{ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey},
        update_features_request::FeatureUpdateKey,
    },
    protocol::StrBytes,
};

use super::shown;

/// A feature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feature {
    /// Its name.
    pub(super) name: &'static str,
    /// Lowest level that this release knows.
    pub(super) min: i16,
    /// Highest level that it knows.
    pub(super) max: i16,
    /// Level that is in force; 0 = none.
    pub(super) level: i16,
}

/// Every feature.
pub(super) const FEATURES: &[Feature] = &[Feature {
    name: "group.version",
    min: 0,
    max: 1,
    level: 1,
}];

/// First version of ApiVersions that has features.
const FEATURES_VERSION: i16 = 3;
/// First version of ApiVersions in which a feature's lowest level may be 0: older clients would refuse the
/// whole answer (KAFKA-17492).
const LEVEL_ZERO_VERSION: i16 = 4;

/// Adds the features to an answer to ApiVersions.
pub(super) fn add_features(
    features: &[Feature],
    response: ApiVersionsResponse,
    version: i16,
) -> ApiVersionsResponse {
    if version < FEATURES_VERSION {
        return response;
    }
    let name = |feature: &Feature| StrBytes::from_static_str(feature.name);
    let supported = features
        .iter()
        .filter(|feature| feature.min > 0 || version >= LEVEL_ZERO_VERSION)
        .map(|feature| {
            SupportedFeatureKey::default()
                .with_name(name(feature))
                .with_min_version(feature.min)
                .with_max_version(feature.max)
        });
    let finalized = features
        .iter()
        .filter(|feature| feature.level > 0)
        .map(|feature| {
            FinalizedFeatureKey::default()
                .with_name(name(feature))
                .with_min_version_level(feature.level)
                .with_max_version_level(feature.level)
        });
    response
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        // 0 in Kafka where none was ever set; -1 means "unknown".
        .with_finalized_features_epoch(0)
}

/// Kinds of change that UpdateFeatures knows: up, down if nothing is lost, down whatever is lost.
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Checks a change that UpdateFeatures of `version` asks for, in Kafka's order and words. `controller`: the
/// node that is named as controller.
///
/// # Errors
/// Why it cannot be done. Levels belong to the release: only what is in force already can be asked for.
pub(super) fn judge(
    features: &[Feature],
    update: &FeatureUpdateKey,
    version: i16,
    controller: i32,
) -> Result<(), String> {
    let level = update.max_version_level;
    let name = shown(&update.feature);
    let refused = |why: &str| {
        Err(format!(
            "Invalid update version {level} for feature {name}. {why}"
        ))
    };
    let kind = match (version, update.allow_downgrade) {
        (0, true) => SAFE_DOWNGRADE,
        (0, false) => UPGRADE,
        _ => update.upgrade_type,
    };
    if !matches!(kind, UPGRADE | SAFE_DOWNGRADE | UNSAFE_DOWNGRADE) {
        return refused("The controller does not support the given upgrade type.");
    }
    if level < 0 {
        return refused("A feature version cannot be less than 0.");
    }
    let Some(feature) = features.iter().find(|feature| feature.name == name) else {
        return refused(&if level == 0 {
            format!("Feature {name} not found.")
        } else {
            format!("Local controller {controller} does not support this feature.")
        });
    };
    if !(feature.min..=feature.max).contains(&level) {
        let (min, max) = (feature.min, feature.max);
        return refused(&format!(
            "Local controller {controller} only supports versions {min}-{max}"
        ));
    }
    if level < feature.level && kind == UPGRADE {
        return refused(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
             unsafe downgrade.",
        );
    }
    if level > feature.level && kind != UPGRADE {
        return refused("Can't downgrade to a newer version.");
    }
    if level != feature.level {
        return refused("The level of a feature belongs to the release and cannot be changed.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &[Feature] = &[
        Feature {
            name: "from.zero",
            min: 0,
            max: 2,
            level: 1,
        },
        Feature {
            name: "from.seven",
            min: 7,
            max: 9,
            level: 9,
        },
        Feature {
            name: "off",
            min: 0,
            max: 1,
            level: 0,
        },
    ];

    #[test]
    fn features_are_told_from_version_3_and_levels_of_zero_from_4() {
        let names = |version| {
            let response = add_features(SOME, ApiVersionsResponse::default(), version);
            let supported = response
                .supported_features
                .iter()
                .map(|f| f.name.to_string());
            let finalized = response.finalized_features.iter().map(|f| {
                assert_eq!(f.min_version_level, f.max_version_level);
                format!("{}={}", f.name, f.max_version_level)
            });
            (
                supported.collect::<Vec<_>>().join(" "),
                finalized.collect::<Vec<_>>().join(" "),
                response.finalized_features_epoch,
            )
        };
        let strings = |supported: &str, finalized: &str, epoch| {
            (supported.to_owned(), finalized.to_owned(), epoch)
        };
        let finalized = "from.zero=1 from.seven=9";
        assert_eq!(names(2), strings("", "", -1));
        assert_eq!(names(3), strings("from.seven", finalized, 0));
        assert_eq!(names(4), strings("from.zero from.seven off", finalized, 0));
    }

    #[test]
    fn changes_are_judged_as_kafka_does() {
        for (name, level, kind, refusal) in [
            ("from.zero", 1, UPGRADE, None),
            ("from.zero", 1, SAFE_DOWNGRADE, None),
            ("from.zero", 1, 0, Some("upgrade type")),
            ("from.zero", 1, 4, Some("upgrade type")),
            ("from.zero", -1, UPGRADE, Some("less than 0")),
            ("from.zero", 3, UPGRADE, Some("only supports versions 0-2")),
            ("from.seven", 6, UPGRADE, Some("only supports versions 7-9")),
            (
                "from.seven",
                8,
                UPGRADE,
                Some("without setting the upgrade type"),
            ),
            (
                "from.seven",
                8,
                UNSAFE_DOWNGRADE,
                Some("belongs to the release"),
            ),
            ("from.zero", 2, SAFE_DOWNGRADE, Some("to a newer version")),
            ("from.zero", 2, UPGRADE, Some("belongs to the release")),
            ("off", 0, SAFE_DOWNGRADE, None),
            ("nix", 1, UPGRADE, Some("16 does not support this feature")),
            ("nix", 0, SAFE_DOWNGRADE, Some("Feature nix not found.")),
        ] {
            let update = FeatureUpdateKey::default()
                .with_feature(StrBytes::from_static_str(name))
                .with_max_version_level(level)
                .with_upgrade_type(kind);
            let judged = judge(SOME, &update, 1, 16).err();
            match refusal {
                None => assert_eq!(judged, None, "{name} {level} {kind}"),
                Some(why) => {
                    let text = judged.unwrap_or_default();
                    assert!(text.contains(why), "{name} {level} {kind}: {text}");
                }
            }
        }
        for (allow_downgrade, why) in [(false, "without setting"), (true, "belongs to")] {
            let update = FeatureUpdateKey::default()
                .with_feature(StrBytes::from_static_str("from.seven"))
                .with_max_version_level(8)
                .with_allow_downgrade(allow_downgrade);
            let text = judge(SOME, &update, 0, 16).unwrap_err();
            assert!(text.contains(why), "{text}");
        }
    }
}

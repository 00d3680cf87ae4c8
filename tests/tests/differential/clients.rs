//! What a cluster knows of its clients: ListGroups, DescribeClientQuotas, DescribeUserScramCredentials.

use kafka_protocol::messages::{
    DescribeClientQuotasRequest, DescribeUserScramCredentialsRequest, ListGroupsRequest,
    describe_client_quotas_request::ComponentData,
    describe_user_scram_credentials_request::UserName,
};

use crate::case::{Case, case, generated, text};

/// ListGroups of a cluster without groups, by states and types.
pub(crate) fn list_groups() -> Vec<Case> {
    let of = |states: &[&str], types: &[&str]| {
        ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|state| text(state)).collect())
            .with_types_filter(types.iter().map(|kind| text(kind)).collect())
    };
    vec![
        case("all", move |_| of(&[], &[])),
        case("states", move |_| of(&["Stable", "Empty"], &[])),
        case("state-unknown", move |_| of(&["Sleeping"], &[])),
        case("state-without-a-name", move |_| of(&[""], &[])),
        case("types", move |_| of(&[], &["classic", "consumer"])),
        case("type-unknown", move |_| of(&[], &["crowd"])),
        case("states-and-types", move |_| of(&["stable"], &["Consumer"])),
        generated(6, move |ask| {
            let mut states = ask
                .random
                .among(&["Stable", "Empty", "dead", "Sleeping", ""]);
            let mut types = ask.random.among(&["classic", "Consumer", "share"]);
            if ask.version < 4 {
                states.clear();
            }
            if ask.version < 5 {
                types.clear();
            }
            of(&states, &types)
        }),
    ]
}

/// DescribeClientQuotas where there are none.
pub(crate) fn describe_client_quotas() -> Vec<Case> {
    // what a component matches: 0 a name, 1 the default, 2 any
    let of = |components: &[(&str, i8, Option<&str>)], strict| {
        let one = |(kind, match_type, name): &(&str, i8, Option<&str>)| {
            ComponentData::default()
                .with_entity_type(text(kind))
                .with_match_type(*match_type)
                .with_match(name.map(text))
        };
        DescribeClientQuotasRequest::default()
            .with_components(components.iter().map(one).collect())
            .with_strict(strict)
    };
    vec![
        case("all", move |_| of(&[], false)),
        case("strictly-nothing", move |_| of(&[], true)),
        case("user", move |_| of(&[("user", 0, Some("a"))], false)),
        case("default-user", move |_| of(&[("user", 1, None)], false)),
        case("any-client", move |_| of(&[("client-id", 2, None)], true)),
        case("user-and-client", move |_| {
            of(&[("user", 2, None), ("client-id", 2, None)], false)
        }),
        case("ip", move |_| of(&[("ip", 2, None)], false)),
        case("ip-and-user", move |_| {
            of(&[("ip", 2, None), ("user", 2, None)], false)
        }),
        case("twice", move |_| {
            of(&[("user", 2, None), ("user", 2, None)], false)
        }),
        case("kind-unknown", move |_| of(&[("tenant", 2, None)], false)),
        case("kind-without-a-name", move |_| of(&[("", 2, None)], false)),
        case("match-unknown", move |_| of(&[("user", 9, None)], false)),
        case("name-without-a-name", move |_| {
            of(&[("user", 0, None)], false)
        }),
        case("default-with-a-name", move |_| {
            of(&[("user", 1, Some("a"))], false)
        }),
        generated(12, move |ask| {
            let mut components = Vec::new();
            for kind in ask.random.among(&["user", "client-id", "ip"]) {
                let matching = [(0, Some("127.0.0.1")), (1, None), (2, None)];
                let (match_type, name) = ask.random.pick(&matching);
                components.push((kind, match_type, name));
            }
            of(&components, ask.random.pick(&[true, false]))
        }),
    ]
}

/// DescribeUserScramCredentials where there are none.
pub(crate) fn describe_user_scram_credentials() -> Vec<Case> {
    let of = |users: &[&str]| {
        let users = users
            .iter()
            .map(|user| UserName::default().with_name(text(user)));
        DescribeUserScramCredentialsRequest::default().with_users(Some(users.collect()))
    };
    vec![
        case("all", |_| {
            DescribeUserScramCredentialsRequest::default().with_users(None)
        }),
        case("nobody", move |_| of(&[])),
        case("one", move |_| of(&["a"])),
        case("twice", move |_| of(&["a", "a", "b"])),
        case("without-a-name", move |_| of(&[""])),
        generated(6, move |ask| {
            of(&ask
                .random
                .some(4, |random| random.pick(&["a", "b", "ü", "a b"])))
        }),
    ]
}

//! DescribeClientQuotas (48), versions 0 and 1: there are no quotas. Filters are checked as Kafka does.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeClientQuotasRequest, DescribeClientQuotasResponse,
        describe_client_quotas_request::ComponentData,
    },
    protocol::StrBytes,
};

use super::{Close, Reply, RequestContext, shown};
use crate::broker::Broker;

/// How a component is matched: a name, the default, or whatever was given.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    context: &RequestContext,
    body: Bytes,
) -> Result<Reply, Close> {
    let request: DescribeClientQuotasRequest = context.decode(body)?;
    let response = match check(&request.components) {
        Ok(()) => DescribeClientQuotasResponse::default().with_entries(Some(Vec::new())),
        Err((error, why)) => DescribeClientQuotasResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(why)))
            .with_entries(None),
    };
    context.reply(&response)
}

fn check(components: &[ComponentData]) -> Result<(), (ResponseError, String)> {
    let mut types = BTreeSet::new();
    let invalid = |why: String| Err((ResponseError::InvalidRequest, why));
    for component in components {
        let kind = component.entity_type.as_str();
        let named = component._match.is_some();
        match component.match_type {
            EXACT if !named => {
                return invalid(
                    "Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned(),
                );
            }
            DEFAULT if named => {
                return invalid(
                    "Request specified MATCH_TYPE_DEFAULT, but also specified a match string."
                        .to_owned(),
                );
            }
            SPECIFIED if named => {
                return invalid(
                    "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."
                        .to_owned(),
                );
            }
            EXACT | DEFAULT | SPECIFIED => {}
            unknown => return invalid(format!("Unknown match type {unknown}")),
        }
        if kind.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if !matches!(kind, "user" | "client-id" | "ip") {
            let why = format!("Unsupported entity type {}", shown(kind));
            return Err((ResponseError::UnsupportedVersion, why));
        }
        if !types.insert(kind) {
            return invalid(format!(
                "Entity type {kind} cannot appear more than once in the filter."
            ));
        }
    }
    if types.contains("ip") && types.len() > 1 {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user \
             or clientId filter component."
                .to_owned(),
        );
    }
    Ok(())
}

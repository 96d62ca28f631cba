//! A configuration as a service asks for it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use iot_hub::error::{ErrorCode, HubError};
use iot_hub::identity::DeviceId;
use iot_hub::query::{Query, Source};
use iot_hub::twin::{Properties, merge};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::hub::kept;
use crate::hub::target::target;

const DESIRED: &str = "properties.desired";
/// How many names a path may have below that. A twin is not nested as deeply; what a megabyte of points
/// would make is, and takes the stack of whoever walks it.
const MAX_NAMES: usize = 16;

/// A configuration's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConfigurationId(DeviceId);

impl ConfigurationId {
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

impl FromStr for ConfigurationId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text
            .parse()
            .map_err(|error| invalid(format!("Invalid configuration id: {error}")))?;
        Ok(Self(id))
    }
}

impl fmt::Display for ConfigurationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A configuration as a service asks for it.
#[derive(Clone, Debug)]
pub(crate) struct ConfigurationRequest {
    body: Body,
    pub(super) priority: i64,
    /// None finds nothing.
    target: Option<Query>,
    device: Properties,
    module: Properties,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    id: Option<String>,
    schema_version: Option<String>,
    labels: Option<Map<String, Value>>,
    content: Option<Content>,
    target_condition: Option<String>,
    priority: Option<i64>,
    metrics: Option<Metrics>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Content {
    pub(super) device_content: Option<Map<String, Value>>,
    pub(super) modules_content: Option<Map<String, Value>>,
    module_content: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metrics {
    queries: Option<BTreeMap<String, String>>,
}

impl ConfigurationRequest {
    /// Reads the body of a PUT.
    pub(crate) fn read(id: &ConfigurationId, body: &[u8]) -> Result<Self, HubError> {
        let body: Body = kept::read(body)
            .map_err(|error| invalid(format!("the configuration cannot be read: {error}")))?;
        if body.id.as_deref().is_some_and(|other| other != id.as_str()) {
            return Err(invalid(
                "id in the body must be the one in the path".to_owned(),
            ));
        }
        let condition = body.target_condition.as_deref().unwrap_or_default();
        let target = match condition.trim() {
            "" => None,
            condition => Some(target(condition)?),
        };
        for text in body.metric_queries().map(|(_, text)| text) {
            Query::parse(text)
                .map_err(|error| invalid(format!("The metric query is invalid: {error}")))?;
        }
        let content = body.content.clone().unwrap_or_default();
        Ok(Self {
            priority: body.priority.unwrap_or_default(),
            target,
            device: desired(content.device_content.as_ref())?,
            module: desired(content.module_content.as_ref())?,
            body,
        })
    }

    /// Whether a twin is meant.
    pub(super) fn finds(&self, source: Source, twin: &Value) -> bool {
        self.target.as_ref().is_some_and(|target| {
            let mut row = std::iter::once(twin.clone());
            target.source() == source && !target.evaluate(&mut row).is_empty()
        })
    }

    /// What a twin is to hold.
    pub(super) fn desired(&self, source: Source) -> &Properties {
        match source {
            Source::Modules => &self.module,
            Source::Devices | Source::Jobs => &self.device,
        }
    }

    /// The metrics that every configuration has.
    pub(super) fn system_queries(&self, id: &ConfigurationId) -> [(&'static str, String); 2] {
        let condition = self.body.target_condition.as_deref().unwrap_or_default();
        let source = match &self.target {
            Some(target) if target.source() == Source::Modules => "devices.modules",
            Some(_) | None => "devices",
        };
        let is_whole = target_is_whole(condition);
        let targeted = match condition.trim() {
            "*" => "SELECT deviceId FROM devices".to_owned(),
            condition if is_whole => format!("SELECT deviceId {condition}"),
            condition => format!("SELECT deviceId FROM {source} WHERE {condition}"),
        };
        let applied = format!(
            "SELECT deviceId FROM {source} WHERE configurations.[[{id}]].status = 'Applied'"
        );
        [("targetedCount", targeted), ("appliedCount", applied)]
    }

    /// The metrics that the service asks for.
    pub(super) fn metrics(&self) -> impl Iterator<Item = (&String, &String)> {
        self.body.metric_queries()
    }

    /// The body that asks for this configuration.
    pub(super) fn to_body(&self) -> Value {
        let mut body = self.to_value();
        let queries: BTreeMap<&String, &String> = self.metrics().collect();
        body["metrics"] = json!({"queries": queries});
        body
    }

    /// The fields that the service chose, as the API prints them.
    pub(super) fn to_value(&self) -> Value {
        let content = self.body.content.clone().unwrap_or_default();
        json!({
            "schemaVersion": self.body.schema_version.as_deref().unwrap_or("1.0"),
            "labels": self.body.labels.clone().unwrap_or_default(),
            "content": {
                "deviceContent": content.device_content,
                "modulesContent": content.modules_content,
                "moduleContent": content.module_content,
            },
            "targetCondition": self.body.target_condition.as_deref().unwrap_or_default(),
            "priority": self.priority,
        })
    }
}

impl Body {
    fn metric_queries(&self) -> impl Iterator<Item = (&String, &String)> {
        let queries = self
            .metrics
            .as_ref()
            .and_then(|metrics| metrics.queries.as_ref());
        queries.into_iter().flatten()
    }
}

/// What `POST /configurations/testQueries` answers: what is wrong with each query.
pub(crate) fn test_queries(body: &[u8]) -> Result<Value, HubError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Queries {
        target_condition: Option<String>,
        custom_metric_queries: Option<BTreeMap<String, String>>,
    }
    let queries: Queries = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the queries cannot be read: {error}")))?;
    let condition = queries.target_condition.unwrap_or_default();
    let target_error = match condition.trim() {
        "" => None,
        condition => target(condition).err(),
    };
    let metric_errors: Map<String, Value> = queries
        .custom_metric_queries
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, text)| {
            let error = Query::parse(&text).err()?;
            Some((name, json!(error.to_string())))
        })
        .collect();
    Ok(json!({
        "targetConditionError": target_error.map(|error| error.message).unwrap_or_default(),
        "customMetricQueryErrors": metric_errors,
    }))
}

/// Whether the condition names its own source.
fn target_is_whole(condition: &str) -> bool {
    let start = condition.trim().get(..5);
    start.is_some_and(|start| start.eq_ignore_ascii_case("from "))
}

/// Reads `{"properties.desired.a.b": value}`: the keys are paths into the twin.
pub(super) fn desired(content: Option<&Map<String, Value>>) -> Result<Properties, HubError> {
    let mut wanted = Properties::new();
    for (path, value) in content.into_iter().flatten() {
        let rest = path
            .strip_prefix(DESIRED)
            .filter(|rest| rest.is_empty() || rest.starts_with('.'))
            .ok_or_else(|| invalid(format!("{path} is not below {DESIRED}")))?;
        let names: Vec<&str> = rest.split('.').skip(1).take(MAX_NAMES + 1).collect();
        if names.len() > MAX_NAMES {
            return Err(invalid(format!(
                "a path has more than {MAX_NAMES} names below {DESIRED}"
            )));
        }
        let nested = names
            .into_iter()
            .rev()
            .fold(value.clone(), |value, name| json!({name: value}));
        match nested {
            Value::Object(nested) => merge(&mut wanted, &nested),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                return Err(invalid(format!("{path} must be a JSON object")));
            }
        }
    }
    Ok(wanted)
}

pub(super) fn invalid(text: String) -> HubError {
    HubError::new(ErrorCode::ArgumentInvalid, text)
}

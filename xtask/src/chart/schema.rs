//! `values.schema.json`: strict, so that a misspelt value fails, but for what is Kubernetes' own or another chart's.

use anyhow::{Context, Result};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::values::Values;

/// The schema. Draft 7, which every Helm understands.
pub fn schema() -> Result<Value> {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<Values>();
    let mut schema = serde_json::to_value(schema).context("failed to write the schema of the values")?;
    close(&mut schema);
    Ok(schema)
}

/// Nothing but what is named, in every object that names something.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // The names of Rust's types and numbers mean nothing to Helm.
            object.remove("title");
            object.remove("format");
            if let Some(Value::Object(properties)) = object.get_mut("properties") {
                properties.values_mut().for_each(close);
                // values.yaml has the defaults.
                object.remove("default");
                object.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            for (name, part) in object.iter_mut() {
                if !["properties", "default", "enum", "const"].contains(&name.as_str()) {
                    close(part);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// What a value is for, found by its path as in `operator.image.tag`.
pub fn description<'a>(schema: &'a Value, path: &str) -> Option<&'a str> {
    let mut at = schema;
    for name in path.split('.') {
        at = at.get("properties")?.get(name)?;
    }
    at.get("description")?.as_str()
}

/// Every value that holds no others of ours, in the schema's order.
pub fn leaves(schema: &Value) -> Vec<String> {
    fn walk(properties: &Map<String, Value>, above: &str, leaves: &mut Vec<String>) {
        for (name, schema) in properties {
            let path = format!("{above}{name}");
            match schema.get("properties").and_then(Value::as_object) {
                Some(properties) => walk(properties, &format!("{path}."), leaves),
                None => leaves.push(path),
            }
        }
    }
    let mut all = Vec::new();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        walk(properties, "", &mut all);
    }
    all
}

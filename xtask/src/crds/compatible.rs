//! What a later definition takes away from those who have objects of an earlier one: nothing, or the build fails.
//!
//! An apiserver accepts a definition with a field less or a bound that is tighter, and whoever has an object that no longer
//! fits cannot change it any more. A field may come, a bound may widen, a rule may go.

use std::collections::BTreeSet;

use serde_json::Value;

/// Bounds above, which may rise or go.
const AT_MOST: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];

/// Bounds below, which may fall or go.
const AT_LEAST: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];

/// What is as it was, or no longer said.
const SAME_OR_GONE: [&str; 3] = ["pattern", "format", "exclusiveMaximum"];

/// What is as it was: another default changes what objects mean that do not name it, and other lists are merged otherwise.
const SAME: [&str; 5] = [
    "type",
    "default",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
];

/// What is said of objects at large, which is as it was.
const NAMES: [&str; 4] = [
    "/spec/group",
    "/spec/scope",
    "/spec/names/kind",
    "/spec/names/plural",
];

/// What the later of two definitions takes away, a sentence for each place. An earlier one that is gone is `null`.
pub fn taken_away(earlier: &Value, later: &Value) -> Vec<String> {
    if later.is_null() {
        return vec!["the kind is gone".to_owned()];
    }
    let mut found = Vec::new();
    for name in NAMES {
        if earlier.pointer(name) != later.pointer(name) {
            found.push(format!("{name}: it is another one"));
        }
    }
    let versions = |definition: &Value| {
        let versions = definition["spec"]["versions"].as_array().cloned();
        versions.unwrap_or_default()
    };
    let after = versions(later);
    for version in versions(earlier)
        .iter()
        .filter(|version| version["served"] == true)
    {
        let name = version["name"].as_str().unwrap_or_default();
        match after
            .iter()
            .find(|other| other["name"] == version["name"] && other["served"] == true)
        {
            None => found.push(format!("{name}: the version is not served any more")),
            Some(other) => {
                let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
                compare(&schema(version), &schema(other), name, &mut found);
                for subresource in keys(&version["subresources"]) {
                    if other["subresources"][subresource].is_null() {
                        found.push(format!("{name}: the subresource {subresource} is gone"));
                    }
                }
            }
        }
    }
    found
}

fn compare(earlier: &Value, later: &Value, at: &str, found: &mut Vec<String>) {
    for word in SAME {
        if earlier[word] != later[word] {
            found.push(format!(
                "{at}: {word} is {}, and was {}",
                later[word], earlier[word]
            ));
        }
    }
    for word in SAME_OR_GONE {
        if !later[word].is_null() && earlier[word] != later[word] {
            found.push(format!("{at}: {word} is another one"));
        }
    }
    for (words, is_tighter) in [
        (AT_MOST, (|now, then| now < then) as fn(f64, f64) -> bool),
        (AT_LEAST, |now, then| now > then),
    ] {
        for word in words {
            let Some(now) = later[word].as_f64() else { continue };
            if earlier[word].as_f64().is_none_or(|then| is_tighter(now, then)) {
                found.push(format!("{at}: {word} is {now}, which is tighter than before"));
            }
        }
    }
    for flag in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-int-or-string",
    ] {
        if earlier[flag] == true && later[flag] != true {
            found.push(format!("{at}: {flag} is gone"));
        }
    }
    values(earlier, later, at, found);
    for rule in missing(&rules(later), &rules(earlier)) {
        found.push(format!("{at}: there is a new rule: {rule}"));
    }
    fields(earlier, later, at, found);
    for (word, step) in [("items", "[]"), ("additionalProperties", "{}")] {
        match (&earlier[word], &later[word]) {
            (Value::Null, Value::Null) => {}
            (before, after) => compare(before, after, &format!("{at}{step}"), found),
        }
    }
}

/// Values that may be no longer.
fn values(earlier: &Value, later: &Value, at: &str, found: &mut Vec<String>) {
    let listed = |schema: &Value| -> BTreeSet<String> {
        let values = schema["enum"].as_array().into_iter().flatten();
        values.map(ToString::to_string).collect()
    };
    if later["enum"].is_null() {
        return;
    }
    if earlier["enum"].is_null() {
        found.push(format!("{at}: it has to be one of a list now"));
    }
    for value in missing(&listed(earlier), &listed(later)) {
        found.push(format!("{at}: {value} may not be any more"));
    }
}

/// Fields that are gone, and those that were not needed.
fn fields(earlier: &Value, later: &Value, at: &str, found: &mut Vec<String>) {
    let (before, after) = (&earlier["properties"], &later["properties"]);
    for name in keys(before) {
        let place = format!("{at}.{name}");
        match &after[name] {
            Value::Null => found.push(format!("{place}: the field is gone")),
            schema => compare(&before[name], schema, &place, found),
        }
    }
    let required = |schema: &Value| -> BTreeSet<String> {
        let names = schema["required"].as_array().into_iter().flatten();
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    for name in missing(&required(later), &required(earlier)) {
        // What has a default is there whoever leaves it out.
        if after[&name]["default"].is_null() {
            found.push(format!("{at}.{name}: it is required now"));
        }
    }
}

fn rules(schema: &Value) -> BTreeSet<String> {
    let rules = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten();
    rules
        .filter_map(|rule| rule["rule"].as_str().map(str::to_owned))
        .collect()
}

fn keys(object: &Value) -> impl Iterator<Item = &String> {
    object.as_object().into_iter().flat_map(serde_json::Map::keys)
}

/// What the second does not have of the first.
fn missing(of: &BTreeSet<String>, than: &BTreeSet<String>) -> Vec<String> {
    of.difference(than).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> Value {
        let key = culvert_crds::crds()
            .into_iter()
            .find(|crd| crd.spec.names.kind == "WireGuardKey");
        serde_json::to_value(key.unwrap()).unwrap()
    }

    const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

    /// What is said when something of the real definition is set, or taken away.
    fn said(place: &str, value: Option<Value>) -> Vec<String> {
        let mut later = key();
        let (parent, name) = place.rsplit_once('/').unwrap();
        let parent = later.pointer_mut(parent).unwrap();
        match value {
            Some(value) => parent[name] = value,
            None => {
                parent.as_object_mut().unwrap().remove(name).unwrap();
            }
        }
        taken_away(&key(), &later)
    }

    fn at(path: &str) -> String {
        format!("{SCHEMA}/properties/spec/properties/{path}")
    }

    #[test]
    fn a_definition_takes_nothing_from_itself() {
        for crd in culvert_crds::crds() {
            let crd = serde_json::to_value(crd).unwrap();
            assert_eq!(taken_away(&crd, &crd), Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_taken_away_is_found_where_it_was() {
        let other_pattern = at("publicKey/pattern");
        for (place, value, expected) in [
            (at("suspend"), None, "v1alpha1.spec.suspend: the field is gone"),
            (
                at("publicKey/maxLength"),
                Some(json!(10)),
                "v1alpha1.spec.publicKey: maxLength is 10",
            ),
            (
                at("publicKey/minLength"),
                Some(json!(50)),
                "v1alpha1.spec.publicKey: minLength is 50",
            ),
            (
                other_pattern,
                Some(json!("^a$")),
                "v1alpha1.spec.publicKey: pattern is another one",
            ),
            (
                at("publicKey/enum"),
                Some(json!(["a"])),
                "v1alpha1.spec.publicKey: it has to be one of a list now",
            ),
            (
                at("suspend/type"),
                Some(json!("string")),
                "v1alpha1.spec.suspend: type is \"string\", and was \"boolean\"",
            ),
            (
                at("publicKey/x-kubernetes-validations"),
                Some(json!([{ "rule": "self != ''" }])),
                "v1alpha1.spec.publicKey: there is a new rule: self != ''",
            ),
            (
                format!("{SCHEMA}/properties/spec/required"),
                Some(json!(["publicKey", "expireAfter"])),
                "v1alpha1.spec.expireAfter: it is required now",
            ),
            (
                "/spec/versions/0/served".to_owned(),
                Some(json!(false)),
                "v1alpha1: the version is not served any more",
            ),
            (
                "/spec/versions/0/subresources/status".to_owned(),
                None,
                "v1alpha1: the subresource status is gone",
            ),
            (
                "/spec/scope".to_owned(),
                Some(json!("Cluster")),
                "/spec/scope: it is another one",
            ),
        ] {
            let found = said(&place, value);
            assert_eq!(found.len(), 1, "{place}: {found:#?}");
            assert!(found[0].starts_with(expected), "{expected}: {found:#?}");
        }
        assert_eq!(taken_away(&key(), &Value::Null), ["the kind is gone"]);
    }

    #[test]
    fn what_is_added_or_eased_takes_nothing() {
        for (place, value) in [
            (at("note"), Some(json!({ "type": "string" }))),
            (at("expireAfter/maxLength"), Some(json!(100))),
            (format!("{SCHEMA}/properties/spec/x-kubernetes-validations"), None),
            (format!("{SCHEMA}/properties/spec/required"), None),
        ] {
            assert_eq!(said(&place, value), Vec::<String>::new(), "{place}");
        }
    }
}

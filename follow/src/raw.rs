//! Any object of the API, as little of it as its reader needs.
//!
//! A whole typed object costs 6 KB, most of it managed fields. Here the metadata that matters are read, and spec and
//! status stay texts until their kind is known; so one object that makes no sense hides no other of its list. None of
//! it prints: a peer's name is a tunnel address, and its spec has it and a public key.

use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Uid of an object: Kubernetes makes them as UUIDs.
pub type Uid = uuid::Uuid;

/// An object.
#[derive(Clone, Deserialize)]
pub struct Raw {
    /// What every object has.
    #[serde(default)]
    pub metadata: Meta,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
    endpoints: Option<Box<RawValue>>,
}

/// A page of a list.
#[derive(Deserialize)]
pub struct Page {
    /// Its place.
    pub metadata: PageMeta,
    /// Its objects.
    pub items: Vec<Raw>,
}

/// Where a page stands in its list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageMeta {
    /// Version of the whole list.
    #[serde(deserialize_with = "number")]
    pub resource_version: u64,
    /// How to get the next page.
    #[serde(rename = "continue")]
    pub more: Option<String>,
}

/// Metadata of an object.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Uid; `None` where it is missing or no UUID.
    #[serde(deserialize_with = "uid")]
    pub uid: Option<Uid>,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: Option<String>,
    /// Version; 0 where it is missing.
    #[serde(deserialize_with = "number")]
    pub resource_version: u64,
    /// Generation of the spec.
    pub generation: i64,
    /// Creation.
    pub creation_timestamp: Option<Timestamp>,
    /// Somebody has asked for its deletion.
    #[serde(rename = "deletionTimestamp", deserialize_with = "there")]
    pub deleting: bool,
    /// Who has to agree to its going.
    pub finalizers: Vec<String>,
    labels: Option<Box<RawValue>>,
    annotations: Option<Box<RawValue>>,
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("items", &self.items.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meta")
            .field("uid", &self.uid)
            .field("resource_version", &self.resource_version)
            .finish_non_exhaustive()
    }
}

impl Raw {
    /// The spec as the kind's own type, which may borrow from it.
    pub fn spec<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.spec.as_ref()?.get()).ok()
    }

    /// The status as the kind's own type; what cannot be read is as good as none, and is written again.
    pub fn status<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.status.as_ref()?.get()).ok()
    }

    /// What an `EndpointSlice` has in place of a spec.
    pub fn endpoints<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.endpoints.as_ref()?.get()).ok()
    }
}

impl Meta {
    /// Labels, where somebody wants them.
    pub fn labels<T: DeserializeOwned + Default>(&self) -> T {
        read(self.labels.as_deref())
    }

    /// Annotations, where somebody wants them.
    pub fn annotations<T: DeserializeOwned + Default>(&self) -> T {
        read(self.annotations.as_deref())
    }
}

fn read<T: DeserializeOwned + Default>(text: Option<&RawValue>) -> T {
    text.and_then(|text| serde_json::from_str(text.get()).ok())
        .unwrap_or_default()
}

fn uid<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Uid>, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(from)?;
    Ok(text.and_then(|text| Uid::try_parse(&text).ok()))
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(from)?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn there<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(from)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::WatchEvent;

    const OBJECT: &str = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"a","uid":"6f8c3b1e-52a7-4d0e-9f6d-0f1f0a1b2c3d","resourceVersion":"42","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"one":"1"},"managedFields":[{"manager":"x","fieldsV1":{"f:spec":{}}}]},"spec":{"odd":[1,2]},"status":5}"#;

    #[test]
    fn an_object_of_a_watch_is_read_like_one_of_a_list() {
        let list = format!(r#"{{"metadata":{{"resourceVersion":"50","continue":"x"}},"items":[{OBJECT}]}}"#);
        let page: Page = serde_json::from_str(&list).unwrap();
        assert_eq!(
            (page.metadata.resource_version, page.metadata.more.as_deref()),
            (50, Some("x"))
        );
        let event = format!(r#"{{"type":"ADDED","object":{OBJECT}}}"#);
        let WatchEvent::Added(object) = serde_json::from_str::<WatchEvent<Raw>>(&event).unwrap() else {
            panic!("not added")
        };
        for raw in [&page.items[0], &object] {
            assert_eq!(
                (raw.metadata.name.as_str(), raw.metadata.resource_version),
                ("a", 42)
            );
            assert!(raw.metadata.uid.is_some() && !raw.metadata.deleting);
            let labels: std::collections::BTreeMap<String, String> = raw.metadata.labels();
            assert_eq!(labels["one"], "1");
            assert!(raw.spec::<serde_json::Value>().is_some() && raw.spec::<u8>().is_none());
        }
    }

    #[test]
    fn what_is_read_does_not_print() {
        let text = OBJECT.replace(r#""name":"a""#, r#""name":"10.64.0.9""#);
        let text = text.replace(r#"{"odd":[1,2]}"#, r#"{"publicKey":"yAnz5TF"}"#);
        let list = format!(r#"{{"metadata":{{"resourceVersion":"50"}},"items":[{text}]}}"#);
        let page: Page = serde_json::from_str(&list).unwrap();
        let event = format!(r#"{{"type":"ADDED","object":{text}}}"#);
        let event: WatchEvent<Raw> = serde_json::from_str(&event).unwrap();
        let raw = &page.items[0];
        assert_eq!(raw.metadata.name, "10.64.0.9");
        let printed = format!("{page:?} {raw:?} {:#?} {event:?}", raw.metadata);
        assert!(
            !printed.contains("10.64.0.9") && !printed.contains("yAnz5TF"),
            "{printed}"
        );
        assert!(printed.contains("6f8c3b1e"), "nothing was printed");
    }

    #[test]
    fn what_is_missing_or_odd_is_absent() {
        let raw: Raw =
            serde_json::from_str(r#"{"metadata":{"uid":"odd","deletionTimestamp":"2026-01-02T03:04:05Z"}}"#)
                .unwrap();
        assert_eq!((raw.metadata.uid, raw.metadata.resource_version), (None, 0));
        assert!(raw.metadata.deleting && raw.status::<u8>().is_none());
    }
}

//! Which kinds have objects in an older version than the one that is stored now, and what is to be done about it (pure):
//! `commands/migrate.rs` does it.
//!
//! An apiserver stores an object in the version that was the stored one when it was last written. A definition lists every
//! version that has ever been, and none of them can be taken away until all objects are written again and the list is cut.
//!
//! Of several apiservers each hears of a new stored version by itself. One that has not heard yet finds an object as it
//! would write it, and writes nothing: so nobody begins before all have had their time ([`settles`]).

use std::time::Duration;

use culvert_crds::GROUP;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use kube::core::ApiResource;
use serde_json::{Value, json};

/// The plurals of the kinds.
pub const KINDS: [&str; 5] = [
    "ippools",
    "wireguardgateways",
    "wireguardkeys",
    "wireguardpeers",
    "gatewaynodes",
];

/// The name of a kind's definition.
pub fn definition_of(resource: &str) -> String {
    format!("{resource}.{GROUP}")
}

/// What is to be done about a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The version that objects are stored in once they are written.
    pub stored: String,

    /// Those that objects may still be stored in, and that the definition lists as such.
    pub older: Vec<String>,

    /// The definition's generation: what was written under another one may be stored otherwise.
    pub generation: Option<i64>,

    /// How the kind's objects are reached: in a version that the apiserver serves.
    pub through: ApiResource,
}

/// What is to be done about a kind; `None` when the stored version is the only one it has ever been.
pub fn plan(definition: &CustomResourceDefinition) -> Option<Migration> {
    let spec = &definition.spec;
    let stored = &spec.versions.iter().find(|version| version.storage)?.name;
    let listed = definition
        .status
        .iter()
        .flat_map(|status| &status.stored_versions);
    let older: Vec<String> = listed
        .flatten()
        .filter(|version| *version != stored)
        .cloned()
        .collect();
    if older.is_empty() {
        return None;
    }
    let mut served = spec.versions.iter().filter(|version| version.served);
    let through = served
        .clone()
        .find(|version| version.storage)
        .or_else(|| served.next())
        .map_or(stored, |version| &version.name);
    Some(Migration {
        stored: stored.clone(),
        older,
        generation: definition.metadata.generation,
        through: ApiResource {
            group: spec.group.clone(),
            version: through.clone(),
            api_version: format!("{}/{through}", spec.group),
            kind: spec.names.kind.clone(),
            plural: spec.names.plural.clone(),
        },
    })
}

/// How long an apiserver may take to hear of a definition: it watches them, and is not ready while it cannot.
const HEARD: Duration = Duration::from_secs(30);

/// How long it takes yet until every apiserver knows this definition; `now` is the time there.
pub fn settles(definition: &CustomResourceDefinition, now: Timestamp) -> Duration {
    let metadata = &definition.metadata;
    let written = metadata
        .managed_fields
        .iter()
        .flatten()
        .filter_map(|entry| entry.time.as_ref())
        .chain(&metadata.creation_timestamp)
        .map(|time| time.0)
        .max();
    let Some(written) = written else { return HEARD };
    let age = Duration::try_from(now.duration_since(written)).unwrap_or_default();
    HEARD.saturating_sub(age)
}

/// The patch of the status that cuts the list. It carries the version of the definition that the plan was made from: were
/// another version stored by now, objects would be lost.
pub fn cut(definition: &CustomResourceDefinition, migration: &Migration) -> Value {
    json!({
        "metadata": { "resourceVersion": definition.resource_version() },
        "status": { "storedVersions": [migration.stored] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    /// A definition with these versions, each `(name, served, stored)`, and this list.
    fn definition(versions: &[(&str, bool, bool)], listed: &[&str]) -> CustomResourceDefinition {
        let mut definition = culvert_crds::crds().remove(0);
        let version = definition.spec.versions.remove(0);
        definition.spec.versions = versions
            .iter()
            .map(|(name, served, stored)| {
                let mut version = version.clone();
                (*name).clone_into(&mut version.name);
                version.served = *served;
                version.storage = *stored;
                version
            })
            .collect();
        definition.metadata.resource_version = Some("7".to_owned());
        let status = definition.status.get_or_insert_default();
        status.stored_versions = Some(listed.iter().map(|&version| version.to_owned()).collect());
        definition
    }

    #[test]
    fn every_kind_is_looked_at() {
        let defined = culvert_crds::crds();
        let named: Vec<String> = defined.iter().map(kube::ResourceExt::name_any).collect();
        assert_eq!(named, KINDS.map(definition_of));
    }

    #[test]
    fn one_version_leaves_nothing_to_do() {
        assert_eq!(plan(&definition(&[("v1", true, true)], &["v1"])), None);
        // One that is served beside it has never been stored.
        let two = [("v1", true, true), ("v2", true, false)];
        assert_eq!(plan(&definition(&two, &["v1"])), None);
        // Nor has one that no apiserver has taken up.
        assert_eq!(plan(&definition(&[("v1", true, true)], &[])), None);
    }

    #[test]
    fn older_versions_go_and_the_list_is_cut_to_what_is_stored() {
        let three = [("v1", true, false), ("v2", false, false), ("v3", true, true)];
        let definition = definition(&three, &["v1", "v2", "v3"]);
        let migration = plan(&definition).unwrap();
        assert_eq!(migration.older, ["v1", "v2"]);
        assert_eq!(migration.through.api_version, "culvert.dev/v3");
        assert_eq!(migration.through.plural, "ippools");
        let patch = cut(&definition, &migration);
        assert_eq!(patch["status"], json!({ "storedVersions": ["v3"] }));
        assert_eq!(patch["metadata"], json!({ "resourceVersion": "7" }));
    }

    #[test]
    fn a_definition_settles_half_a_minute_after_its_last_change() {
        let mut definition = definition(&[("v1", true, true)], &["v1"]);
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let time = |second| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second));
        // Nobody says when it was changed.
        assert_eq!(settles(&definition, at(0)), HEARD);
        definition.metadata.creation_timestamp = Some(time(0));
        assert_eq!(settles(&definition, at(10)), Duration::from_secs(20));
        assert_eq!(settles(&definition, at(31)), Duration::ZERO);
        let changes = [20, 25, 22].map(|second| ManagedFieldsEntry {
            time: Some(time(second)),
            ..ManagedFieldsEntry::default()
        });
        definition.metadata.managed_fields = Some(changes.to_vec());
        assert_eq!(settles(&definition, at(31)), Duration::from_secs(24));
        // A clock that was set back there.
        assert_eq!(settles(&definition, at(0)), HEARD);
    }

    #[test]
    fn a_stored_version_that_is_not_served_is_reached_through_another() {
        let versions = [("v1", true, false), ("v2", false, true)];
        let migration = plan(&definition(&versions, &["v1", "v2"])).unwrap();
        assert_eq!(migration.through.version, "v1");
        assert_eq!(migration.stored, "v2");
    }
}

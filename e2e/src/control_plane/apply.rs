//! Objects as they are written in files, applied without kubectl: each call of that one costs a slow machine seconds.
//!
//! The apiserver is asked as `kubectl apply --server-side --force-conflicts` asks it, with unknown fields refused, one
//! object after the other. Where a kind is in the API, the apiserver says itself.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use kube::{Client, Error};
use serde_json::Value;

use super::{ControlPlane, READY_WITHIN};
use crate::{documents, wait};

/// Under which name the fields of these objects are held.
const MANAGER: &str = "culvert-e2e";

/// Where definitions are in the API.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Applies objects, written as one or several documents of YAML or JSON; those without a namespace go to `default`.
pub async fn apply(client: &Client, text: &str) -> Result<()> {
    let mut known: HashMap<String, Vec<APIResource>> = HashMap::new();
    for object in objects(text)? {
        let (object, what) = (&object, &name(&object));
        let group = &field(object, "/apiVersion")?;
        // A kind that has just been defined takes a moment to be served, in its group's list and by itself.
        if path(object, group, known.get(group).map_or(&[], Vec::as_slice))?.is_none() {
            let listed = wait::until(&format!("the kind of {what}"), READY_WITHIN, || async move {
                let kinds = kinds(client, group).await?;
                Ok(path(object, group, &kinds)?.is_some().then_some(kinds))
            })
            .await?;
            known.insert(group.clone(), listed);
        }
        let path = &path(object, group, &known[group])?.with_context(|| format!("{what} has no place"))?;
        let answer = wait::until(&format!("the API to take {what}"), READY_WITHIN, || async move {
            match client.request::<Value>(patch(path, object)?).await {
                Err(Error::Api(status)) if status.code == 404 || status.code >= 500 => bail!("{status}"),
                answer => Ok(Some(answer)),
            }
        })
        .await?;
        answer.with_context(|| format!("failed to apply {what}"))?;
    }
    Ok(())
}

impl ControlPlane {
    /// Applies a file with definitions, or a folder of them, and waits until their kinds are served.
    pub async fn define(&self, files: &str) -> Result<()> {
        let client = self.client().await?;
        let text = read(Path::new(files))?;
        apply(&client, &text).await?;
        for object in objects(&text)? {
            if object["kind"] != "CustomResourceDefinition" {
                continue;
            }
            let name = field(&object, "/metadata/name")?;
            let (client, path) = (&client, &format!("{DEFINITIONS}/{name}"));
            wait::until(&format!("{name} to be served"), READY_WITHIN, || async move {
                let now: Value = client.request(Request::get(path).body(Vec::new())?).await?;
                let mut conditions = now["status"]["conditions"].as_array().into_iter().flatten();
                let is_served =
                    |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
                Ok(conditions.any(is_served).then_some(()))
            })
            .await?;
        }
        Ok(())
    }
}

/// The text of a file, or of every file of a folder in the order of their names.
fn read(path: &Path) -> Result<String> {
    if path.is_file() {
        return documents::read(path);
    }
    let entries = fs::read_dir(path).with_context(|| format!("failed to list {}", path.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "{} has no file of YAML", path.display());
    let texts = files
        .iter()
        .map(|file| documents::read(file))
        .collect::<Result<Vec<_>>>()?;
    Ok(texts.join("\n---\n"))
}

/// The objects of a text; those of a list are taken out of it.
fn objects(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in documents::objects(text)? {
        match document["items"].as_array() {
            Some(items) if document["kind"] == "List" => objects.extend(items.iter().cloned()),
            _ => objects.push(document),
        }
    }
    Ok(objects)
}

/// The kinds of a group and version.
async fn kinds(client: &Client, group: &str) -> Result<Vec<APIResource>> {
    let list: Result<APIResourceList, _> = match group.split_once('/') {
        Some(_) => client.list_api_group_resources(group).await,
        None => client.list_core_api_resources(group).await,
    };
    let list = list.with_context(|| format!("failed to ask for the kinds of {group}"))?;
    Ok(list.resources)
}

/// Where an object is in the API; nothing when its kind is not there.
fn path(object: &Value, group: &str, kinds: &[APIResource]) -> Result<Option<String>> {
    let kind = field(object, "/kind")?;
    let is_it = |resource: &&APIResource| resource.kind == kind && !resource.name.contains('/');
    let Some(resource) = kinds.iter().find(is_it) else {
        return Ok(None);
    };
    let root = if group.contains('/') { "apis" } else { "api" };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let place = if resource.namespaced {
        format!("namespaces/{namespace}/")
    } else {
        String::new()
    };
    let (plural, name) = (&resource.name, field(object, "/metadata/name")?);
    Ok(Some(format!("/{root}/{group}/{place}{plural}/{name}")))
}

fn patch(path: &str, object: &Value) -> Result<Request<Vec<u8>>> {
    Request::patch(format!(
        "{path}?fieldManager={MANAGER}&force=true&fieldValidation=Strict"
    ))
    .header("content-type", "application/apply-patch+yaml")
    .body(object.to_string().into_bytes())
    .context("failed to make a request")
}

fn field(object: &Value, pointer: &str) -> Result<String> {
    let found = object.pointer(pointer).and_then(Value::as_str);
    let found = found.with_context(|| format!("an object has no {pointer}: {object}"))?;
    Ok(found.to_owned())
}

/// What an object is called, for messages.
fn name(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{} {}", word(&object["kind"]), word(&object["metadata"]["name"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(name: &str, kind: &str, namespaced: bool) -> APIResource {
        APIResource {
            name: name.to_owned(),
            kind: kind.to_owned(),
            namespaced,
            ..APIResource::default()
        }
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "# a word\nkind: A\n---\n---\n{\"kind\": \"List\", \"items\": [{\"kind\": \"B\"}, {\"kind\": \"C\"}]}\n";
        let kinds: Vec<String> = objects(text)
            .unwrap()
            .iter()
            .map(|object| field(object, "/kind").unwrap())
            .collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }

    #[test]
    fn objects_are_where_the_api_says() {
        let kinds = [
            resource("things/status", "Thing", true),
            resource("things", "Thing", true),
            resource("places", "Place", false),
        ];
        let object = |kind: &str, namespace: Option<&str>| json!({ "kind": kind, "metadata": { "name": "x", "namespace": namespace } });
        let at = |kind, namespace, group| path(&object(kind, namespace), group, &kinds).unwrap();
        assert_eq!(
            at("Thing", None, "v1").unwrap(),
            "/api/v1/namespaces/default/things/x"
        );
        assert_eq!(
            at("Thing", Some("n"), "g/v1").unwrap(),
            "/apis/g/v1/namespaces/n/things/x"
        );
        assert_eq!(at("Place", Some("n"), "g/v1").unwrap(), "/apis/g/v1/places/x");
        assert_eq!(at("Other", None, "g/v1"), None);
    }
}

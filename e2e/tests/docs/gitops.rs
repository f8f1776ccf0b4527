//! What Flux and Argo CD make of Culvert's objects: kstatus and Argo CD's Lua, run as they run them, and our own `Ready`, say the same
//! of one table of objects.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use culvert_crds::Reason;
use culvert_e2e::{
    documents::{checkout, read},
    programs::Tool,
};
use serde_json::{Value, json};

/// Argo CD's own layout.
const CUSTOMIZATIONS: &str = "examples/argocd/resource_customizations/culvert.dev";

fn folder() -> PathBuf {
    checkout().join(CUSTOMIZATIONS)
}

fn yaml(path: &str) -> Result<Value> {
    let text = read(&folder().join(path))?;
    serde_saphyr::from_str(&text).with_context(|| format!("failed to read {path}"))
}

/// What the program `verdict` says of each object.
fn verdicts(what: &str, script: &str, objects: &[String]) -> Result<Vec<Value>> {
    let output = Command::new(Tool::Verdict.find()?)
        .arg(what)
        .arg(script)
        .args(objects)
        .current_dir(folder())
        .output()
        .context("failed to run verdict")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(
        lines.len() == objects.len(),
        "verdict answered {} times",
        lines.len()
    );
    Ok(lines)
}

/// The table: an object's file, and Argo CD's verdict.
fn table() -> Result<Vec<(String, Value)>> {
    let tests = yaml("_/health_test.yaml")?;
    let tests = tests["tests"].as_array().context("no tests")?;
    let row = |test: &Value| {
        let path = test["inputPath"].as_str().context("no inputPath")?;
        Ok((format!("_/{path}"), test["healthStatus"].clone()))
    };
    tests.iter().map(row).collect()
}

/// What the documentation promises: `Ready` is True, and for the present spec.
fn is_ready(object: &Value) -> bool {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let ready = conditions.find(|condition| condition["type"] == "Ready");
    metadata["deletionTimestamp"].is_null()
        && status["observedGeneration"] == metadata["generation"]
        && ready.is_some_and(|ready| {
            ready["status"] == "True" && ready["observedGeneration"] == metadata["generation"]
        })
}

#[test]
fn gitops_kstatus_lua_and_ready_agree() -> Result<()> {
    let (paths, healths): (Vec<_>, Vec<_>) = table()?.into_iter().unzip();
    for ((path, health), said) in paths
        .iter()
        .zip(healths)
        .zip(verdicts("health", "_/health.lua", &paths)?)
    {
        ensure!(said["lua"] == health, "{path}: Argo CD says {}", said["lua"]);
        let ready = is_ready(&yaml(path)?);
        let kstatus = said["kstatus"].as_str();
        ensure!(
            (health["status"] == "Healthy") == ready,
            "{path}: Argo CD says {health}, and Ready is {ready}"
        );
        ensure!(
            (kstatus == Some("Current")) == ready,
            "{path}: kstatus says {kstatus:?}, and Ready is {ready}"
        );
        // Nothing of ours has failed for good: whoever waits is told so by the time that it takes.
        ensure!(
            matches!(kstatus, Some("Current" | "InProgress" | "Terminating")),
            "{path}: kstatus says {kstatus:?}"
        );
    }
    Ok(())
}

#[test]
fn gitops_table_has_every_state_of_a_key_and_every_kind() -> Result<()> {
    let (mut states, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for (path, _) in table()? {
        let object = yaml(&path)?;
        let kind = object["kind"].as_str().context("no kind")?.to_owned();
        for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
            let reason = condition["reason"].as_str().context("no reason")?;
            let known = Reason::ALL.iter().find(|known| known.as_str() == reason);
            let known = known.with_context(|| format!("{path}: there is no reason {reason}"))?;
            ensure!(
                condition["message"] == known.message(),
                "{path}: {reason} says something else by now: {}",
                known.message()
            );
            if kind == "WireGuardKey" && condition["type"] == "Ready" {
                states.insert(reason.to_owned());
            }
        }
        kinds.insert(kind);
    }
    // The operator's metrics have a series for each state that a key can be in.
    let text = culvert_operator::metrics::Metrics::new("0.0.0").encode()?;
    let series = text.lines().filter_map(|line| {
        let (state, _) = line.strip_prefix("culvert_keys{state=\"")?.split_once('"')?;
        Some(state.to_owned())
    });
    ensure!(states == series.collect(), "the table has the states {states:?}");
    let expected = ["GatewayNode", "IPPool", "WireGuardGateway", "WireGuardKey"];
    ensure!(kinds.iter().eq(expected), "the table has the kinds {kinds:?}");
    Ok(())
}

#[test]
fn gitops_actions_do_what_their_table_says() -> Result<()> {
    let actions = "WireGuardKey/actions";
    let tests = yaml(&format!("{actions}/action_test.yaml"))?;
    let place = |path: &Value| Some(format!("{actions}/{}", path.as_str()?));
    let discoveries = tests["discoveryTests"].as_array().context("no discoveryTests")?;
    for test in discoveries {
        let object = place(&test["inputPath"]).context("no inputPath")?;
        let offered = verdicts("discover", &format!("{actions}/discovery.lua"), &[object])?;
        let mut expected = json!({});
        for action in test["result"].as_array().context("no result")? {
            let name = action["name"].as_str().context("no name")?;
            expected[name] = json!({ "disabled": action["disabled"] == true });
        }
        ensure!(
            offered[0]["lua"] == expected,
            "{test}: offered is {}",
            offered[0]["lua"]
        );
    }
    let acts = tests["actionTests"].as_array().context("no actionTests")?;
    ensure!(acts.len() >= 2 && discoveries.len() >= 2, "hardly any tests");
    for test in acts {
        let (Some(action), Some(object), Some(expected)) = (
            test["action"].as_str(),
            place(&test["inputPath"]),
            place(&test["expectedOutputPath"]),
        ) else {
            bail!("{test} is not whole")
        };
        let changed = verdicts("act", &format!("{actions}/{action}/action.lua"), &[object])?;
        ensure!(
            changed[0]["lua"] == yaml(&expected)?,
            "{action} makes {}",
            changed[0]["lua"]
        );
    }
    Ok(())
}

#[test]
fn gitops_config_map_has_the_same_scripts() -> Result<()> {
    let map: Value = serde_saphyr::from_str(&read(&checkout().join("examples/argocd/argocd-cm.yaml"))?)?;
    let inner = |key: &str| -> Result<Value> {
        let text = map["data"][key].as_str().with_context(|| format!("no {key}"))?;
        Ok(serde_saphyr::from_str(text)?)
    };
    let script = |path: &str| read(&folder().join(path));
    let health = inner("resource.customizations")?;
    ensure!(health["culvert.dev/*"]["health.lua"] == script("_/health.lua")?);
    let actions = inner("resource.customizations.actions.culvert.dev_WireGuardKey")?;
    ensure!(actions["discovery.lua"] == script("WireGuardKey/actions/discovery.lua")?);
    let definitions = actions["definitions"].as_array().context("no definitions")?;
    for definition in definitions {
        let name = definition["name"].as_str().context("no name")?;
        let expected = script(&format!("WireGuardKey/actions/{name}/action.lua"))?;
        ensure!(definition["action.lua"] == expected, "{name} differs");
    }
    ensure!(definitions.len() == 2, "{} actions", definitions.len());
    Ok(())
}

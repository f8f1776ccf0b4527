//! Values that are wrong, or do not go together: each fails, and says what to change.

use std::fs;

use anyhow::{Result, ensure};
use culvert_e2e::{chart, scratch::Scratch};
use serde_json::Value;

use crate::upgrade::copy;

/// What Helm says when it refuses these flags.
fn refusal(flags: &[&str]) -> Result<String> {
    let output = chart::template(&chart::folder(), flags)?;
    ensure!(!output.status.success(), "{flags:?} renders");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn values_that_do_not_go_together_fail_with_the_fix() -> Result<()> {
    for (values, fix) in [
        ("agent.createNamespace=true", "set agent.namespace"),
        (
            "agent.createNamespace=true,agent.namespace=culvert-system",
            "name another one",
        ),
        ("agent.probePort=9821", "change one"),
        ("metrics.operatorPort=8080", "choose another"),
        (
            "agent.lingerSeconds=60",
            "raise agent.terminationGracePeriodSeconds",
        ),
        (
            "metrics.enabled=false,metrics.serviceMonitor.render=always",
            "set metrics.enabled=true",
        ),
        (
            "metrics.enabled=false,metrics.prometheusRule.render=always",
            "set metrics.enabled=true",
        ),
        (
            "metrics.enabled=false,metrics.tlsSecret=a",
            "set metrics.enabled=true",
        ),
        ("roles.create=false,roles.aggregate=true", "set roles.create=true"),
        (
            "networkPolicy.enabled=false,networkPolicy.egress[0].ports[0].port=443",
            "set it to true",
        ),
        (
            "networkPolicy.enabled=false,networkPolicy.metricsFrom[0].ipBlock.cidr=::/0",
            "set it to true",
        ),
        (
            "operator.extraArgs[0]=--concurrency=9",
            "use operator.concurrency instead",
        ),
        (
            "operator.extraArgs[0]=--leader-elect",
            "use operator.replicas instead",
        ),
        ("agent.extraArgs[0]=--backend=auto", "use agent.backend instead"),
        ("agent.extraEnv[0].name=NODE_NAME", "take it out"),
        ("operator.extraEnv[0].name=RUST_LOG", "take it out"),
        (
            "operator.extraVolumes[0].name=metrics-tls",
            "give it another name",
        ),
        ("agent.extraVolumes[0].name=state", "give it another name"),
        (
            "operator.extraVolumeMounts[0].name=a",
            "add it to operator.extraVolumes",
        ),
        ("agent.podLabels.app\\.kubernetes\\.io/name=a", "take it out"),
    ] {
        let said = refusal(&["--set", values])?;
        ensure!(said.contains(fix), "{values}: {said}");
    }
    Ok(())
}

#[test]
fn values_that_are_wrong_by_themselves_fail() -> Result<()> {
    for (value, place) in [
        ("operator.replicas=0", "operator/replicas"),
        ("operator.image.digest=latest", "operator/image/digest"),
        ("operator.image.pullPolicy=Sometimes", "operator/image/pullPolicy"),
        ("agent.backend=kernal", "agent/backend"),
        ("agent.stateDir=relative", "agent/stateDir"),
        ("agent.maxUnavailable=0", "agent/maxUnavailable"),
        ("agent.probePort=80", "agent/probePort"),
        (
            "metrics.serviceMonitor.interval=often",
            "metrics/serviceMonitor/interval",
        ),
        (
            "metrics.serviceMonitor.render=perhaps",
            "metrics/serviceMonitor/render",
        ),
        ("logs.format=xml", "logs/format"),
        ("uninstall.wait=soon", "uninstall/wait"),
        ("ipFamily=IPv5", "ipFamily"),
        ("crds.keep=perhaps", "crds/keep"),
    ] {
        let said = refusal(&["--set", value])?;
        ensure!(
            said.contains(place) || said.contains(&place.replace('/', ".")),
            "{value}: {said}"
        );
    }
    Ok(())
}

/// Every place that names its values.
fn places(schema: &Value, above: &str, found: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        found.push(above.to_owned());
        for (name, schema) in properties {
            places(schema, &format!("{above}{name}."), found);
        }
    }
}

#[test]
fn a_misspelt_value_fails_at_every_place() -> Result<()> {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(chart::folder().join("values.schema.json"))?)?;
    let mut found = Vec::new();
    places(&schema, "", &mut found);
    ensure!(found.len() > 12, "{found:?}");
    for place in found {
        let flag = format!("{place}misspelt=1");
        // Other charts' values may stand there.
        if place == "global." {
            chart::render(&["--set", &flag])?;
        } else {
            let said = refusal(&["--set", &flag])?;
            ensure!(said.contains("misspelt"), "{flag}: {said}");
        }
    }
    Ok(())
}

#[test]
fn an_older_kubernetes_is_refused() -> Result<()> {
    let folder = chart::folder();
    let folder = folder.to_string_lossy();
    let output = chart::helm(&["template", "culvert", &*folder, "--kube-version", "1.34.9"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("1.35"), "{said}");
    // One of a provider is a prerelease by its name.
    let output = chart::helm(&[
        "template",
        "culvert",
        &*folder,
        "--kube-version",
        "1.35.2-gke.100",
    ])?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn an_umbrella_chart_renders_with_words_of_its_own() -> Result<()> {
    let scratch = Scratch::new("culvert-umbrella-")?;
    let umbrella = scratch.path().join("umbrella");
    fs::create_dir_all(umbrella.join("charts"))?;
    copy(&umbrella.join("charts/culvert"))?;
    fs::write(
        umbrella.join("Chart.yaml"),
        "apiVersion: v2\nname: umbrella\nversion: 1.0.0\ndependencies:\n  - name: culvert\n    version: \">=0\"\n    condition: culvert.enabled\n",
    )?;
    fs::write(
        umbrella.join("values.yaml"),
        "global:\n  imageRegistry: r.test\n  storageClass: fast\nculvert:\n  enabled: true\n  operator:\n    replicas: 3\n",
    )?;
    let objects = crate::read(&chart::render_in(&umbrella, &[])?)?;
    let operator = crate::object(&objects, "Deployment", "culvert-operator")?;
    ensure!(operator["spec"]["replicas"] == 3);
    let image = &operator["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(
        image.as_str().is_some_and(|image| image.starts_with("r.test/")),
        "{image}"
    );
    ensure!(
        chart::render_in(&umbrella, &["--set", "culvert.enabled=false"])?
            .trim()
            .is_empty()
    );
    Ok(())
}

#[test]
fn helm_finds_nothing_to_say() -> Result<()> {
    let folder = chart::folder();
    let output = chart::helm(&["lint", "--strict", &folder.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{said}");
    Ok(())
}

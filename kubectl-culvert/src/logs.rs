//! Whose logs there are, and their lines (pure): `commands/logs.rs` reads them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

/// One of the programs that run in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The operator.
    Operator,
    /// The agent of a node.
    Agent,
}

impl Component {
    /// The name of its container, and the chart's label for its pods.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Agent => "agent",
        }
    }

    /// What its pods are selected by: there may be several releases, by other names.
    pub fn selector(self) -> String {
        format!(
            "app.kubernetes.io/name=culvert,app.kubernetes.io/component={}",
            self.name()
        )
    }
}

/// A container that has written something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What its lines are marked with: `agent/NODE`, `operator/POD`.
    pub label: String,

    /// Whose it is.
    pub component: Component,

    /// The pod's namespace.
    pub namespace: String,

    /// The pod's name.
    pub pod: String,

    /// The pod's UID.
    pub uid: String,
}

/// A container that has written nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// As that of a [`Source`].
    pub label: String,

    /// Why, in a word of the kubelet's where it has one.
    pub why: String,
}

/// Which containers of a component have written something, those of the run before the last start if `previous`; by label.
pub fn sources(component: Component, pods: &[Pod], previous: bool) -> (Vec<Source>, Vec<Silent>) {
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for pod in pods {
        let label = label(component, pod);
        let said = if previous {
            has_run_before(component, pod)
        } else {
            has_started(component, pod)
        };
        match said {
            Ok(()) => found.push(Source {
                label,
                component,
                namespace: pod.namespace().unwrap_or_default(),
                pod: pod.name_any(),
                uid: pod.uid().unwrap_or_default(),
            }),
            Err(why) => silent.push(Silent { label, why }),
        }
    }
    found.sort_by(|one, other| one.label.cmp(&other.label));
    silent.sort_by(|one, other| one.label.cmp(&other.label));
    (found, silent)
}

/// The node that a pod is on.
pub fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn label(component: Component, pod: &Pod) -> String {
    let name = pod.name_any();
    let of = match component {
        Component::Agent => node(pod).unwrap_or(&name),
        Component::Operator => &name,
    };
    format!("{}/{of}", component.name())
}

fn container(component: Component, pod: &Pod) -> Option<&ContainerStatus> {
    let all = pod.status.as_ref()?.container_statuses.as_ref()?;
    all.iter().find(|container| container.name == component.name())
}

fn has_started(component: Component, pod: &Pod) -> Result<(), String> {
    let Some(container) = container(component, pod) else {
        let is_placed = node(pod).is_some();
        let why = if is_placed {
            "it has not started"
        } else {
            "it is on no node yet"
        };
        return Err(why.to_owned());
    };
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    match waiting {
        // What it wrote before it ended is still there.
        Some(waiting) if container.restart_count == 0 => Err(match &waiting.reason {
            Some(reason) => format!("it has not started: {reason}"),
            None => "it has not started".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn has_run_before(component: Component, pod: &Pod) -> Result<(), String> {
    match container(component, pod) {
        Some(container) if container.restart_count > 0 => Ok(()),
        _ => Err("it has not been restarted".to_owned()),
    }
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written, where the kubelet says so.
    pub time: Option<Timestamp>,

    /// What was written, without the end of the line.
    pub text: Vec<u8>,
}

/// Reads a line as a kubelet gives it that was asked for times: `2026-01-02T03:04:05.000000006Z text`.
pub fn line(bytes: &[u8]) -> Line {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let space = bytes.iter().position(|byte| *byte == b' ');
    let stamp = space.and_then(|space| {
        let time = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        Some((time, &bytes[space + 1..]))
    });
    let (time, text) = stamp.map_or((None, bytes), |(time, text)| (Some(time), text));
    let text = text.to_vec();
    Line { time, text }
}

/// Which of these lines is the oldest; one without a time comes at once, as it belongs to what was before it.
pub fn oldest<'a>(lines: impl Iterator<Item = Option<&'a Line>>) -> Option<usize> {
    lines
        .enumerate()
        .filter_map(|(number, line)| Some((line?.time, number)))
        .min()
        .map(|(_, number)| number)
}

/// No pod has a log to read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogsError {
    /// No pod of this component is in this namespace.
    #[error("no pod of Culvert's {} is in namespace `{namespace}`", component.name())]
    Nobody {
        /// Whose log was asked for.
        component: Component,
        /// Where it was looked for.
        namespace: String,
    },

    /// No agent is on a node of this name.
    #[error("no agent is on a node called `{name}`")]
    NoNode {
        /// What was asked for.
        name: String,
        /// The nodes that agents are on.
        known: Vec<String>,
    },
}

impl LogsError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Nobody { component, .. } => {
                let (selector, flag) = (component.selector(), component.flag());
                format!(
                    "name another namespace with {flag}; `kubectl get pods -A -l {selector}` finds the pods"
                )
            }
            Self::NoNode { known, .. } => format!("there are: {}", known.join(", ")),
        }
    }
}

impl Component {
    fn flag(self) -> &'static str {
        match self {
            Self::Operator => "--system-namespace",
            Self::Agent => "--agent-namespace",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, node: Option<&str>, status: &Value) -> Pod {
        let containers: Vec<&Value> = [status].into_iter().filter(|status| !status.is_null()).collect();
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "culvert-system", "uid": format!("uid-{name}") },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "containerStatuses": containers },
        }))
        .unwrap()
    }

    fn status(component: Component, state: &Value, restarts: i32) -> Value {
        json!({
            "name": component.name(), "image": "i", "imageID": "i", "ready": false,
            "restartCount": restarts, "state": state,
        })
    }

    fn agents() -> Vec<Pod> {
        let runs = json!({ "running": {} });
        let waits = |reason: &str| json!({ "waiting": { "reason": reason } });
        let of = |state: &Value, restarts| status(Component::Agent, state, restarts);
        vec![
            pod("culvert-agent-e", None, &Value::Null),
            pod(
                "culvert-agent-d",
                Some("gateway-4"),
                &of(&waits("CrashLoopBackOff"), 3),
            ),
            pod(
                "culvert-agent-c",
                Some("gateway-3"),
                &of(&waits("ErrImagePull"), 0),
            ),
            pod("culvert-agent-b", Some("gateway-2"), &Value::Null),
            pod("culvert-agent-a", Some("gateway-1"), &of(&runs, 0)),
        ]
    }

    fn labels(sources: &[Source]) -> Vec<&str> {
        sources.iter().map(|source| source.label.as_str()).collect()
    }

    #[test]
    fn an_agent_is_called_by_its_node_and_an_operator_by_its_pod() {
        let (found, _) = sources(Component::Agent, &agents(), false);
        assert_eq!(labels(&found), ["agent/gateway-1", "agent/gateway-4"]);
        let runs = status(Component::Operator, &json!({ "running": {} }), 0);
        let operator = pod("culvert-operator-x", Some("gateway-1"), &runs);
        let (found, _) = sources(Component::Operator, &[operator], false);
        assert_eq!(labels(&found), ["operator/culvert-operator-x"]);
        assert_eq!(found[0].uid, "uid-culvert-operator-x");
    }

    #[test]
    fn whoever_has_written_nothing_is_named_with_the_reason() {
        let (_, silent) = sources(Component::Agent, &agents(), false);
        let said: Vec<(&str, &str)> = silent
            .iter()
            .map(|one| (one.label.as_str(), one.why.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                ("agent/culvert-agent-e", "it is on no node yet"),
                ("agent/gateway-2", "it has not started"),
                ("agent/gateway-3", "it has not started: ErrImagePull"),
            ]
        );
    }

    #[test]
    fn the_run_before_is_there_after_a_restart_alone() {
        let (found, silent) = sources(Component::Agent, &agents(), true);
        assert_eq!(labels(&found), ["agent/gateway-4"]);
        assert_eq!(silent.len(), 4);
    }

    #[test]
    fn a_line_is_read_with_and_without_its_time() {
        let time: Timestamp = "2026-01-02T03:04:05.000000006Z".parse().unwrap();
        let said = line(b"2026-01-02T03:04:05.000000006Z INFO  ready\n");
        assert_eq!(said.time, Some(time));
        assert_eq!(said.text, b"INFO  ready");
        // Kubelets have been seen to write the node's own time zone.
        assert_eq!(line(b"2026-01-02T05:04:05.000000006+02:00 x").time, Some(time));
        assert_eq!(line(b"2026-01-02T03:04:05.000000006Z \n").text, b"");
        for text in [
            &b"no time here"[..],
            b"",
            b"2026-13-45T00:00:00Z x",
            b"\xff\xfe x",
        ] {
            assert_eq!(
                line(text),
                Line {
                    time: None,
                    text: text.to_vec()
                }
            );
        }
    }

    #[test]
    fn the_oldest_line_comes_first_and_one_without_a_time_at_once() {
        let at = |second: i64| Line {
            time: Some(Timestamp::from_second(second).unwrap()),
            text: Vec::new(),
        };
        let timeless = Line {
            time: None,
            text: Vec::new(),
        };
        let (two, one) = (at(2), at(1));
        assert_eq!(oldest([Some(&two), None, Some(&one)].into_iter()), Some(2));
        assert_eq!(oldest([Some(&one), Some(&timeless)].into_iter()), Some(1));
        // As they came, where both say the same.
        assert_eq!(oldest([Some(&one), Some(&one)].into_iter()), Some(0));
        assert_eq!(oldest([None, None].into_iter()), None);
    }
}

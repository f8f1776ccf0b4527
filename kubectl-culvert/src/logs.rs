//! Whose logs there are, their lines, and where a log that ended is gone on with (pure): `commands/logs.rs` reads them.

use std::collections::BTreeSet;

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

    /// What names its namespace on the command line.
    fn flag(self) -> &'static str {
        match self {
            Self::Operator => "--system-namespace",
            Self::Agent => "--agent-namespace",
        }
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

    /// The container's own name with its runtime: another one after each restart.
    pub run: Option<String>,

    /// It runs: more may come.
    pub is_running: bool,
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
        let container = container(component, pod);
        let has_written = if previous { has_run_before } else { has_started };
        if let Some(container) = container.filter(|container| has_written(container)) {
            let state = container.state.as_ref();
            found.push(Source {
                label,
                component,
                namespace: pod.namespace().unwrap_or_default(),
                pod: pod.name_any(),
                uid: pod.uid().unwrap_or_default(),
                run: container.container_id.clone(),
                is_running: state.is_some_and(|state| state.running.is_some()),
            });
        } else {
            let why = if previous && container.is_some() {
                "it has not been restarted".to_owned()
            } else {
                why(pod, container)
            };
            silent.push(Silent { label, why });
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

/// Those of these names that are of no node with an agent.
pub fn without_agent(agents: &[Pod], names: &[String]) -> Vec<LogsError> {
    let known: BTreeSet<&str> = agents.iter().filter_map(node).collect();
    let none = names.iter().filter(|name| !known.contains(name.as_str()));
    let error = |name: &String| LogsError::NoNode {
        name: name.clone(),
        known: known.iter().map(|&name| name.to_owned()).collect(),
    };
    none.map(error).collect()
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

/// Whether there is a log of the run that is now, or was last: what waits for its next start has one of the run before.
fn has_started(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        || has_run_before(container)
}

/// Whether a run has ended of which the log is still there.
fn has_run_before(container: &ContainerStatus) -> bool {
    let last = container.last_state.as_ref();
    last.is_some_and(|last| last.terminated.is_some())
}

/// Why a container has not started.
fn why(pod: &Pod, container: Option<&ContainerStatus>) -> String {
    let waiting = container.and_then(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_ref());
    let of_pod = pod.status.as_ref().and_then(|status| status.reason.as_ref());
    match waiting.or(of_pod) {
        Some(reason) => format!("it has not started: {reason}"),
        None if node(pod).is_none() => "it is on no node yet".to_owned(),
        None => "it has not started".to_owned(),
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

/// What is known of a container's log that is followed: where to go on when it breaks off, and whether there will be more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// It is being read.
    pub is_open: bool,

    /// From when on its lines were asked for, until there is one.
    began: Option<Timestamp>,

    /// When the last line was written.
    last: Option<Timestamp>,

    /// Lines up to this one have been read before.
    read_until: Option<Timestamp>,

    /// The run whose log has been read to its end.
    ended: Option<String>,
}

impl Followed {
    /// Of one whose lines are asked for from a time on, or all.
    pub fn from(began: Option<Timestamp>) -> Self {
        Self {
            began,
            ..Self::default()
        }
    }

    /// Whether there may be more of this container than has been read.
    pub fn wants(&self, source: &Source) -> bool {
        !self.is_open && (source.is_running || self.ended.is_none() || self.ended != source.run)
    }

    /// Begins to read a log, and says from when on: from the whole second in which the last line was written, as whole
    /// seconds are what can be asked for.
    pub fn open(&mut self) -> Option<Timestamp> {
        self.is_open = true;
        self.read_until = self.last;
        let from = self.last.or(self.began)?;
        Timestamp::from_second(from.as_second()).ok()
    }

    /// Whether a line is new. Once one is, all that follow are, whatever time they say it is.
    pub fn takes(&mut self, line: &Line) -> bool {
        if line.time.is_some() && line.time <= self.read_until {
            return false;
        }
        if line.time.is_some() {
            self.last = line.time;
            self.read_until = None;
        }
        true
    }

    /// It is not read any more; `whole` when it came to its end, and did not break off.
    pub fn close(&mut self, source: &Source, whole: bool) {
        self.is_open = false;
        self.ended = source.run.clone().filter(|_| whole && !source.is_running);
    }
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

    fn status(component: Component, state: &Value, last: &Value) -> Value {
        json!({
            "name": component.name(), "image": "i", "imageID": "i", "ready": false, "containerID": "c",
            "restartCount": 7, "state": state, "lastState": last,
        })
    }

    fn agents() -> Vec<Pod> {
        let runs = json!({ "running": {} });
        let waits = |reason: &str| json!({ "waiting": { "reason": reason } });
        let of = |state: &Value, last: &Value| status(Component::Agent, state, last);
        let (ended, none) = (json!({ "terminated": { "exitCode": 1 } }), json!({}));
        let mut evicted = pod("culvert-agent-f", Some("gateway-5"), &Value::Null);
        evicted.status.get_or_insert_default().reason = Some("Evicted".to_owned());
        let (loops, pulls) = (waits("CrashLoopBackOff"), waits("ErrImagePull"));
        vec![
            evicted,
            pod("culvert-agent-e", None, &Value::Null),
            pod("culvert-agent-d", Some("gateway-4"), &of(&loops, &ended)),
            pod("culvert-agent-c", Some("gateway-3"), &of(&pulls, &none)),
            pod("culvert-agent-b", Some("gateway-2"), &Value::Null),
            pod("culvert-agent-a", Some("gateway-1"), &of(&runs, &none)),
        ]
    }

    fn labels(sources: &[Source]) -> Vec<&str> {
        sources.iter().map(|source| source.label.as_str()).collect()
    }

    #[test]
    fn an_agent_is_called_by_its_node_and_an_operator_by_its_pod() {
        let (found, _) = sources(Component::Agent, &agents(), false);
        assert_eq!(labels(&found), ["agent/gateway-1", "agent/gateway-4"]);
        let runs = status(Component::Operator, &json!({ "running": {} }), &json!({}));
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
                ("agent/gateway-5", "it has not started: Evicted"),
            ]
        );
    }

    #[test]
    fn the_run_before_is_there_after_a_restart_alone() {
        let (found, silent) = sources(Component::Agent, &agents(), true);
        assert_eq!(labels(&found), ["agent/gateway-4"]);
        assert!(!found[0].is_running);
        let runs = silent.iter().find(|one| one.label == "agent/gateway-1").unwrap();
        assert_eq!(runs.why, "it has not been restarted");
        assert_eq!(silent.len(), 5);
    }

    fn source(run: &str, is_running: bool) -> Source {
        Source {
            label: "agent/gateway-1".to_owned(),
            component: Component::Agent,
            namespace: "culvert-system".to_owned(),
            pod: "culvert-agent-a".to_owned(),
            uid: "u".to_owned(),
            run: Some(run.to_owned()),
            is_running,
        }
    }

    fn at(milliseconds: i64) -> Line {
        Line {
            time: Some(Timestamp::from_millisecond(milliseconds).unwrap()),
            text: Vec::new(),
        }
    }

    #[test]
    fn a_log_that_breaks_off_is_gone_on_with_without_a_gap_or_a_line_twice() {
        let mut followed = Followed::default();
        let runs = source("one", true);
        assert!(followed.wants(&runs));
        assert_eq!(followed.open(), None);
        assert!(!followed.wants(&runs));
        for line in [at(10_100), at(10_700), at(10_700)] {
            assert!(followed.takes(&line));
        }
        followed.close(&runs, false);
        assert!(followed.wants(&runs));
        // Not from the next second on, to which 10.7 s would be rounded.
        assert_eq!(followed.open(), Some(Timestamp::from_second(10).unwrap()));
        let again = [at(10_100), at(10_700), at(10_700), at(10_710), at(10_705)];
        let taken = again.map(|line| followed.takes(&line));
        // What comes after a new line is new, though its clock was set back.
        assert_eq!(taken, [false, false, false, true, true]);
    }

    #[test]
    fn a_log_that_has_said_nothing_is_gone_on_with_from_when_it_was_first_read() {
        let began = Timestamp::from_millisecond(5_900).unwrap();
        let mut followed = Followed::from(Some(began));
        assert_eq!(followed.open(), Some(Timestamp::from_second(5).unwrap()));
        assert!(followed.takes(&at(5_950)));
    }

    #[test]
    fn a_container_that_has_ended_is_read_once_and_again_after_it_has_restarted() {
        let mut followed = Followed::default();
        let ended = source("one", false);
        followed.open();
        followed.close(&ended, true);
        assert!(!followed.wants(&ended));
        assert!(followed.wants(&source("two", false)) && followed.wants(&source("two", true)));
        // It broke off before its end.
        followed.open();
        followed.close(&ended, false);
        assert!(followed.wants(&ended));
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
        let timeless = Line {
            time: None,
            text: Vec::new(),
        };
        let (two, one) = (at(2000), at(1000));
        assert_eq!(oldest([Some(&two), None, Some(&one)].into_iter()), Some(2));
        assert_eq!(oldest([Some(&one), Some(&timeless)].into_iter()), Some(1));
        // As they came, where both say the same.
        assert_eq!(oldest([Some(&one), Some(&one)].into_iter()), Some(0));
        assert_eq!(oldest([None, None].into_iter()), None);
    }
}

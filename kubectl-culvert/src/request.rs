//! One request to the apiserver, and what its failure means to the person who asked.

use std::error::Error as StdError;
use std::fmt;

use kube::api::PatchParams;
use kube::runtime::watcher;

use crate::exit::Exit;
use crate::keys::{MANAGED_BY, NAME_RULE};

/// What was asked of the apiserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The verb as roles name it.
    pub verb: &'static str,

    /// The plural of the kind.
    pub resource: &'static str,

    /// The namespace, for kinds that have one.
    pub namespace: Option<String>,

    /// The object, for requests about one.
    pub name: Option<String>,

    /// The role that allows it and everything else that the command asks, where one does.
    pub granted_by: Option<Role>,
}

impl Ask {
    /// About objects of the whole cluster.
    pub fn cluster(verb: &'static str, resource: &'static str) -> Self {
        Self {
            verb,
            resource,
            namespace: None,
            name: None,
            granted_by: None,
        }
    }

    /// About objects of a namespace.
    pub fn within(verb: &'static str, resource: &'static str, namespace: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            ..Self::cluster(verb, resource)
        }
    }

    /// About one object.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The word for one object.
    fn kind(&self) -> &'static str {
        self.resource.strip_suffix('s').unwrap_or(self.resource)
    }

    /// What to do about a cause that a schema has given, which names its pattern and no more. Rules of our own say it
    /// themselves.
    fn rule(&self, cause: &str) -> Option<String> {
        let (field, said) = cause.split_once(": ")?;
        let is_of_schema = ["regex used for validation", " in body "]
            .iter()
            .any(|words| said.contains(words));
        if !is_of_schema {
            return None;
        }
        if field == "metadata.name" {
            return Some(format!("choose another: {NAME_RULE}"));
        }
        let field = field.split('[').next().unwrap_or(field);
        Some(format!(
            "`kubectl explain {}.{field}` says what may stand there",
            self.kind()
        ))
    }

    /// Whether it is passed on to a node's kubelet.
    fn is_of_kubelet(&self) -> bool {
        self.resource == "pods/log"
    }

    /// The role that lets a user do this, as in `examples/roles.yaml`.
    pub fn role(&self) -> Role {
        if let Some(role) = self.granted_by {
            return role;
        }
        match (self.resource, self.verb) {
            ("pods" | "pods/log", _) => Role::Logs,
            ("wireguardkeys", _) if self.namespace.is_some() => Role::User,
            ("ippools" | "wireguardgateways" | "gatewaynodes", "get" | "list" | "watch") => Role::Reader,
            _ => Role::Admin,
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, .. } = self;
        match &self.name {
            Some(name) => write!(f, "{verb} {} `{name}`", self.kind())?,
            None => write!(f, "{verb} {resource}")?,
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace `{namespace}`"),
            None => Ok(()),
        }
    }
}

/// A role of `examples/roles.yaml`, or the cluster's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Keys of a namespace.
    User,
    /// Pools, gateways and their nodes, to look at.
    Reader,
    /// All that an administrator does.
    Admin,
    /// What Culvert's programs write down.
    Logs,
    /// What whoever installs Culvert has: no role of ours.
    Installer,
}

impl Role {
    /// The name of the `ClusterRole`.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "culvert-user",
            Self::Reader => "culvert-reader",
            Self::Admin => "culvert-admin",
            Self::Logs => "culvert-logs",
            Self::Installer => "cluster-admin",
        }
    }

    /// How whoever lacks it comes by it.
    fn advice(self, namespace: Option<&str>) -> String {
        let role = self.name();
        let grant = match (self, namespace) {
            (Self::Installer, _) => {
                return format!(
                    "it is done by whoever installs Culvert, as with the cluster's role `{role}`"
                );
            }
            (Self::User | Self::Logs, Some(namespace)) => {
                format!("kubectl create rolebinding {role} --clusterrole={role} --user=USER -n {namespace}")
            }
            _ => format!("kubectl create clusterrolebinding {role} --clusterrole={role} --user=USER"),
        };
        format!("ask the cluster's administrator for the role `{role}` (examples/roles.yaml): {grant}")
    }
}

/// Why a request failed.
#[derive(Debug)]
pub enum Why {
    /// No role lets this user do it.
    Denied,
    /// A policy forbids it; its message says what to do.
    Policy(String),
    /// Who the user is could not be told.
    Unauthenticated,
    /// There is no such object.
    NotFound,
    /// There is no such namespace.
    NoNamespace,
    /// There is no such kind: Culvert is not installed.
    NoSuchKind,
    /// The name is taken.
    AlreadyExists,
    /// Somebody else has changed the object.
    Conflict,
    /// The object is refused; the messages say what to do.
    Invalid(Vec<String>),
    /// The apiserver cannot do it now.
    Unavailable(u16),
    /// The apiserver will not do it.
    Refused(u16),
    /// A node's kubelet does not, or not yet; its message, or the apiserver's about it, says why.
    Kubelet(String),
    /// No answer in time.
    TimedOut,
    /// No connection.
    Unreachable(kube::Error),
    /// An answer that makes no sense.
    Unreadable(kube::Error),
}

/// A request that failed.
#[derive(Debug)]
pub struct Failure {
    /// What was asked.
    pub ask: Box<Ask>,

    /// Why it failed.
    pub why: Why,
}

impl Failure {
    /// What a client error means for this request.
    pub fn of(ask: Ask, error: kube::Error) -> Self {
        let why = match error {
            kube::Error::Api(status) if ask.is_of_kubelet() => of_kubelet(*status),
            kube::Error::Api(status) => of_status(*status),
            error @ (kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) => Why::Unreadable(error),
            error => Why::Unreachable(error),
        };
        Self { ask: ask.into(), why }
    }

    /// There was nothing to ask about.
    pub fn of_absence(ask: Ask) -> Self {
        let ask = ask.into();
        Self {
            ask,
            why: Why::NotFound,
        }
    }

    /// Whether the cluster does not know the kind: Culvert is not installed.
    pub fn is_of_no_kind(&self) -> bool {
        matches!(self.why, Why::NoSuchKind)
    }

    /// Whether the request may have been carried out all the same.
    pub fn is_unclear(&self) -> bool {
        matches!(
            self.why,
            Why::TimedOut | Why::Unreachable(_) | Why::Unreadable(_) | Why::Unavailable(_)
        )
    }

    /// Whether trying again later may help, with nothing else changed.
    pub fn may_pass(&self) -> bool {
        self.is_unclear() || matches!(self.why, Why::Conflict)
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self.why {
            Why::Denied | Why::Policy(_) | Why::Unauthenticated => Exit::Denied,
            Why::NotFound | Why::NoNamespace | Why::NoSuchKind => Exit::NotFound,
            Why::AlreadyExists | Why::Conflict | Why::Invalid(_) | Why::Refused(_) => Exit::Refused,
            Why::TimedOut => Exit::TimedOut,
            Why::Unavailable(_) | Why::Unreachable(_) | Why::Unreadable(_) | Why::Kubelet(_) => Exit::Failed,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match &self.why {
            Why::Denied => self.ask.role().advice(self.ask.namespace.as_deref()),
            Why::Unauthenticated => {
                "log in again, or choose another --context; `kubectl auth whoami` says who you are".to_owned()
            }
            Why::NotFound => {
                let of = match &self.ask.namespace {
                    Some(namespace) => format!(" -n {namespace}"),
                    None => String::new(),
                };
                format!(
                    "`kubectl get {}.culvert.dev{of}` lists those there are",
                    self.ask.resource
                )
            }
            Why::Kubelet(_) => {
                let (of, pod) = (self.ask.namespace.as_deref(), self.ask.name.as_deref());
                format!(
                    "`kubectl -n {} describe pod {}` says more",
                    of.unwrap_or_default(),
                    pod.unwrap_or_default()
                )
            }
            Why::NoNamespace => "name another with -n; `kubectl get namespaces` lists those there are".to_owned(),
            Why::NoSuchKind => {
                "Culvert is not installed in this cluster, or an older one: see `kubectl culvert install generate`".to_owned()
            }
            Why::AlreadyExists => "choose another name, or delete the object first".to_owned(),
            Why::Conflict => "somebody else has changed the object meanwhile; run the command again".to_owned(),
            Why::Unavailable(_) => "the apiserver is busy; run the command again in a moment".to_owned(),
            Why::TimedOut => {
                "the apiserver did not answer in time; run the command again, with a longer --request-timeout".to_owned()
            }
            Why::Unreachable(_) => {
                "see whether `kubectl version` reaches the cluster, with the same --context".to_owned()
            }
            Why::Unreadable(_) => {
                "the cluster's version of Culvert is another than this program's: see `kubectl culvert version`".to_owned()
            }
            Why::Invalid(causes) if causes.is_empty() && self.ask.verb == "list" => {
                "see whether the selector is one: labels as in `app=vpn,tier!=test`".to_owned()
            }
            Why::Invalid(causes) => return causes.iter().find_map(|cause| self.ask.rule(cause)),
            Why::Policy(_) | Why::Refused(_) => return None,
        };
        Some(hint)
    }
}

/// A kubelet's answers come through with their codes; the apiserver's own, about who asks, are told by their words.
fn of_kubelet(status: kube::core::Status) -> Why {
    let is_of_roles = status.message.contains(" is forbidden: User ");
    match status.code {
        401 if status.message == "Unauthorized" => Why::Unauthenticated,
        403 if is_of_roles => Why::Denied,
        _ => Why::Kubelet(status.message),
    }
}

fn of_status(status: kube::core::Status) -> Why {
    match status.code {
        401 => Why::Unauthenticated,
        403 if status.message.contains("ValidatingAdmissionPolicy") => {
            let said = status.message.rsplit_once(" denied request: ");
            Why::Policy(said.map_or(status.message.clone(), |(_, said)| said.to_owned()))
        }
        403 => Why::Denied,
        404 => {
            let about = status.details.as_ref();
            if about.is_some_and(|about| about.kind == "namespaces") {
                Why::NoNamespace
            } else if about.is_some_and(|about| !about.name.is_empty()) {
                Why::NotFound
            } else {
                Why::NoSuchKind
            }
        }
        409 if status.reason == "AlreadyExists" => Why::AlreadyExists,
        409 => Why::Conflict,
        408 | 504 => Why::TimedOut,
        422 | 400 => {
            // A cause repeats the value that it is about, before its message; what a user pasted by mistake may be secret.
            let causes = status
                .details
                .into_iter()
                .flat_map(|about| about.causes)
                .map(|cause| {
                    let message = cause
                        .message
                        .rsplit_once("\": ")
                        .map_or(cause.message.as_str(), |(_, m)| m);
                    match cause.field.as_str() {
                        "" | "<nil>" => message.to_owned(),
                        field => format!("{field}: {message}"),
                    }
                })
                .collect();
            Why::Invalid(causes)
        }
        429 | 500.. => Why::Unavailable(status.code),
        code => Why::Refused(code),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ask = &self.ask;
        match &self.why {
            Why::Denied => write!(f, "you may not {ask}"),
            Why::Policy(said) => write!(f, "you may not {ask}: {said}"),
            Why::Unauthenticated => write!(f, "failed to {ask}: the cluster does not know who you are"),
            Why::NotFound => write!(f, "failed to {ask}: it does not exist"),
            Why::NoNamespace => write!(f, "failed to {ask}: there is no such namespace"),
            Why::NoSuchKind => write!(
                f,
                "failed to {ask}: the cluster does not know this kind of culvert.dev"
            ),
            Why::AlreadyExists => write!(f, "failed to {ask}: the name is taken"),
            Why::Conflict => write!(f, "failed to {ask}: it has changed meanwhile"),
            Why::Invalid(causes) if causes.is_empty() => {
                write!(f, "failed to {ask}: it is refused as invalid")
            }
            Why::Invalid(causes) => write!(f, "failed to {ask}: {}", causes.join("; ")),
            Why::Unavailable(code) | Why::Refused(code) => {
                write!(f, "failed to {ask}: the apiserver answered with code {code}")
            }
            Why::Kubelet(said) => write!(f, "failed to {ask}: {said}"),
            Why::TimedOut => write!(f, "failed to {ask}: no answer in time"),
            Why::Unreachable(_) => write!(f, "failed to {ask}: no connection to the apiserver"),
            Why::Unreadable(_) => write!(f, "failed to {ask}: the apiserver's answer makes no sense"),
        }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.why {
            Why::Unreachable(error) => error.source(),
            Why::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

/// How a patch is made: in this program's name.
pub fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGED_BY.to_owned()),
        ..PatchParams::default()
    }
}

/// What a watch failed of.
pub fn cause(error: watcher::Error) -> kube::Error {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => kube::Error::Api(status),
        watcher::Error::NoResourceVersion => kube::Error::Api(
            kube::core::Status {
                code: 500,
                ..kube::core::Status::default()
            }
            .boxed(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_log(code: u16, message: &str) -> Failure {
        let ask = Ask::within("get", "pods/log", "culvert-system").named("culvert-agent-x");
        let status = kube::core::Status {
            code,
            message: message.to_owned(),
            ..kube::core::Status::default()
        };
        Failure::of(ask, kube::Error::Api(status.boxed()))
    }

    #[test]
    fn a_kubelets_words_are_passed_on_and_blamed_on_nobody() {
        for (code, message) in [
            (
                400,
                "container \"agent\" in pod \"culvert-agent-x\" is waiting to start: ContainerCreating",
            ),
            (
                403,
                "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource(s)=[proxy])",
            ),
            (
                401,
                "the server has asked for the client to provide credentials (get pods culvert-agent-x)",
            ),
            (404, "pods \"culvert-agent-x\" not found"),
            (
                500,
                "Get \"https://192.0.2.11:10250/containerLogs/…\": dial tcp 192.0.2.11:10250: connect: no route to host",
            ),
        ] {
            let failure = of_log(code, message);
            assert!(failure.to_string().ends_with(message), "{failure}");
            assert_eq!(failure.exit(), Exit::Failed);
            assert_eq!(
                failure.hint().as_deref(),
                Some("`kubectl -n culvert-system describe pod culvert-agent-x` says more")
            );
        }
    }

    #[test]
    fn a_log_that_no_role_lets_read_is_told_as_any_other_refusal() {
        let refusal = of_log(
            403,
            "pods \"culvert-agent-x\" is forbidden: User \"alice\" cannot get resource \"pods/log\" in API group",
        );
        assert_eq!(refusal.exit(), Exit::Denied);
        assert!(matches!(of_log(401, "Unauthorized").why, Why::Unauthenticated));
        let hint = refusal.hint().unwrap();
        let grant = "--clusterrole=culvert-logs --user=USER -n culvert-system";
        assert!(hint.ends_with(grant), "{hint}");
    }
}

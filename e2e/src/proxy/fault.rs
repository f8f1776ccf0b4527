//! What the proxy does to which write, and how a test learns of it.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use http::{Method, Request, StatusCode};
use tokio::sync::oneshot;

/// A fault at the n-th write since it was armed, counted from 1. Writes are POST, PUT, PATCH and DELETE.
///
/// After a hold the proxy lets no further write through: the test is about to kill the program there, and what the
/// program would still do on other connections must not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Everything passes.
    #[default]
    None,

    /// The write is held for ever before it is sent: the apiserver never sees it.
    HoldBefore(usize),

    /// The write is done, its reply is held for ever: the program never learns of it.
    HoldAfter(usize),

    /// The connection is cut before the write is sent. The program goes on.
    CutBefore(usize),

    /// The write is done, then the connection is cut: the reply is lost. The program goes on.
    CutAfter(usize),

    /// The write is answered with this status by the proxy, and never sent. The program goes on.
    Answer(usize, StatusCode),
}

impl Fault {
    /// What happens to the write with this number.
    pub(super) fn at(self, number: usize) -> Action {
        match self {
            Self::HoldBefore(n) if n == number => Action::HoldBefore,
            Self::HoldAfter(n) if n == number => Action::HoldAfter,
            Self::CutBefore(n) if n == number => Action::CutBefore,
            Self::CutAfter(n) if n == number => Action::CutAfter,
            Self::Answer(n, status) if n == number => Action::Answer(status),
            Self::HoldBefore(n) | Self::HoldAfter(n) if n < number => Action::Stall,
            _ => Action::Pass,
        }
    }
}

/// [`Fault`] at one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Pass,
    HoldBefore,
    HoldAfter,
    CutBefore,
    CutAfter,
    Answer(StatusCode),
    /// Held without a word: it came after the one that counts.
    Stall,
}

/// One request that the proxy saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// GET, POST, …
    pub method: Method,

    /// The resource's plural with a subresource, as in `wireguardpeers` or `wireguardkeys/status`; the whole path
    /// for what is no resource.
    pub kind: String,

    /// The namespace, where the request has one.
    pub namespace: Option<String>,

    /// The object's name, where the request has one.
    pub name: Option<String>,

    /// What follows the path; empty where nothing does.
    pub query: String,

    /// The number among the counted writes since a fault was armed last; `None` for reads and ignored kinds.
    pub write: Option<usize>,
}

/// What is read of a kind without naming an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A watch.
    Watch,

    /// One object, as an example: its list's version is what is asked for.
    One,

    /// The first page of a list, or all of it.
    List,

    /// A further page.
    Page,
}

/// A fault of every list of a kind, for as long as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoilt {
    /// The first page comes, every further one is answered with 500.
    Halved,

    /// It comes without its objects, at its own version.
    Emptied,
}

impl Call {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest: &[&str] = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        // `namespaces` is a prefix where a further resource follows, and a resource of its own otherwise.
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
                (Some((*namespace).to_owned()), rest)
            }
            rest => (None, rest),
        };
        let (kind, name) = match rest {
            [] => (path.to_owned(), None),
            [plural] => ((*plural).to_owned(), None),
            [plural, name] => ((*plural).to_owned(), Some((*name).to_owned())),
            [plural, name, sub @ ..] => (format!("{plural}/{}", sub.join("/")), Some((*name).to_owned())),
        };
        Self {
            method: request.method().clone(),
            kind,
            namespace,
            name,
            query: request.uri().query().unwrap_or_default().to_owned(),
            write: None,
        }
    }

    /// What it reads; `None` for a write, and where an object is named.
    pub fn reading(&self) -> Option<Reading> {
        if self.method != Method::GET || self.name.is_some() {
            return None;
        }
        let mut reading = Reading::List;
        for part in self.query.split('&') {
            match part {
                "watch" | "watch=1" | "watch=true" => return Some(Reading::Watch),
                "limit=1" => reading = Reading::One,
                _ if part.starts_with("continue=") => reading = Reading::Page,
                _ => {}
            }
        }
        Some(reading)
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        matches!(
            self.method,
            Method::POST | Method::PUT | Method::PATCH | Method::DELETE
        )
    }
}

/// `POST wireguardpeers`, for assertions on a sequence.
impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.method, self.kind)
    }
}

/// Tells when an armed fault has struck.
#[derive(Debug)]
pub struct Struck {
    pub(super) call: oneshot::Receiver<Call>,
}

impl Struck {
    /// Waits for the fault, and gives the write that it struck.
    pub async fn wait(self, within: Duration) -> Result<Call> {
        tokio::time::timeout(within, self.call)
            .await
            .with_context(|| format!("the armed write did not come within {} s", within.as_secs_f32()))?
            .context("another fault was armed meanwhile")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: &str) -> Call {
        Call::of(&Request::post(format!("{path}?dryRun=All")).body(()).unwrap())
    }

    #[test]
    fn paths_are_read_as_the_apiserver_reads_them() {
        for (path, kind, namespace, name) in [
            (
                "/apis/culvert.dev/v1alpha1/wireguardpeers",
                "wireguardpeers",
                None,
                None,
            ),
            (
                "/apis/culvert.dev/v1alpha1/wireguardpeers/10.64.0.9",
                "wireguardpeers",
                None,
                Some("10.64.0.9"),
            ),
            (
                "/apis/culvert.dev/v1alpha1/namespaces/a/wireguardkeys/b/status",
                "wireguardkeys/status",
                Some("a"),
                Some("b"),
            ),
            ("/api/v1/namespaces", "namespaces", None, None),
            ("/api/v1/namespaces/a", "namespaces", None, Some("a")),
            (
                "/api/v1/namespaces/a/finalize",
                "namespaces/finalize",
                None,
                Some("a"),
            ),
            ("/api/v1/namespaces/a/pods", "pods", Some("a"), None),
            ("/readyz", "/readyz", None, None),
        ] {
            let call = call(path);
            assert_eq!(
                (
                    call.kind.as_str(),
                    call.namespace.as_deref(),
                    call.name.as_deref()
                ),
                (kind, namespace, name)
            );
        }
    }

    #[test]
    fn what_is_read_of_a_kind_is_told_from_the_query() {
        let reading = |path: &str| Call::of(&Request::get(path).body(()).unwrap()).reading();
        for (path, wanted) in [
            ("/api/v1/secrets", Some(Reading::List)),
            ("/api/v1/secrets?limit=500", Some(Reading::List)),
            ("/api/v1/secrets?&limit=1", Some(Reading::One)),
            ("/api/v1/secrets?limit=500&continue=x", Some(Reading::Page)),
            (
                "/api/v1/secrets?watch=true&resourceVersion=1",
                Some(Reading::Watch),
            ),
            ("/api/v1/namespaces/a/secrets/b", None),
        ] {
            assert_eq!(reading(path), wanted, "{path}");
        }
        assert_eq!(call("/api/v1/secrets").reading(), None);
    }

    #[test]
    fn nothing_passes_after_a_hold_and_everything_after_a_cut() {
        assert_eq!(
            [1, 2, 3].map(|n| Fault::HoldAfter(2).at(n)),
            [Action::Pass, Action::HoldAfter, Action::Stall]
        );
        assert_eq!(
            [1, 2, 3].map(|n| Fault::CutAfter(2).at(n)),
            [Action::Pass, Action::CutAfter, Action::Pass]
        );
    }
}

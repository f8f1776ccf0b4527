//! One page of a list.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use http_body_util::BodyExt;
use kube::Client;
use kube::api::ListParams;
use kube::client::Body;
use kube::core::{Request, Status};

use crate::failure::Failure;
use crate::raw::Page;

/// A request that says nothing for so long is dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// What a silent one says.
pub(crate) const SILENT: Failure = Failure::Unclear("silence");

/// Nobody who asks to be left alone is left alone for longer.
const LONGEST: Duration = Duration::from_secs(60);

/// A failed request, and for how long the apiserver asks to be left alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub failure: Failure,
    pub after: Duration,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            after: Duration::ZERO,
        }
    }
}

/// One page of a list, answered from a quorum of etcd.
pub async fn page(client: &Client, path: &str, params: &ListParams) -> Result<Page, Failure> {
    page_within(client, path, params, SILENCE)
        .await
        .map_err(|refusal| refusal.failure)
}

/// As [`page`], and given up after this time.
pub(crate) async fn page_within(
    client: &Client,
    path: &str,
    params: &ListParams,
    silence: Duration,
) -> Result<Page, Refusal> {
    let page = tokio::time::timeout(silence, ask(client, path, params)).await;
    page.map_err(|_| SILENT)?
}

/// What kube's own `Client::request` keeps to itself is when to ask again.
async fn ask(client: &Client, path: &str, params: &ListParams) -> Result<Page, Refusal> {
    let request = Request::new(path).list(params);
    let request = request.map_err(|_| Failure::Unclear("request failed"))?;
    let reply = client.send(request.map(Body::from)).await.map_err(Failure::of)?;
    let (head, body) = reply.into_parts();
    let body = body.collect().await.map_err(Failure::of)?.to_bytes();
    if head.status.is_success() {
        let page = serde_json::from_slice(&body);
        return page.map_err(|_| Failure::Unclear("unreadable reply").into());
    }
    // Where too much is asked of it, the apiserver answers in plain text.
    let status: Status = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Status::failure("", "").with_code(head.status.as_u16()));
    Err(Refusal {
        failure: Failure::of(kube::Error::Api(status.boxed())),
        after: retry_after(&head.headers),
    })
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST)
}

//! One page of a list.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use http_body_util::BodyExt;
use kube::Client;
use kube::api::ListParams;
use kube::client::Body;
use kube::core::{Request, Status};
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::raw::Page;

/// A request that says nothing for so long is dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// What a silent one says.
pub(crate) const SILENT: Failure = Failure::Unclear("silence");

/// Nobody who asks to be left alone is left alone for longer.
const LONGEST: Duration = Duration::from_secs(60);

/// One page of a list, answered from a quorum of etcd.
pub async fn page(client: &Client, path: &str, params: &ListParams) -> Result<Page, Failure> {
    page_within(client, path, params, SILENCE).await
}

/// As [`page`], and given up after this time.
pub(crate) async fn page_within(
    client: &Client,
    path: &str,
    params: &ListParams,
    silence: Duration,
) -> Result<Page, Failure> {
    let request = Request::new(path).list(params);
    let request = request.map_err(|_| Failure::Unclear("request failed"))?;
    let page = tokio::time::timeout(silence, ask(client, request)).await;
    page.map_err(|_| SILENT)?
}

/// Sends a request and reads the reply. What kube's own `Client::request` keeps to itself is when to ask again.
pub async fn ask<T: DeserializeOwned>(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<T, Failure> {
    let reply = client.send(request.map(Body::from)).await.map_err(Failure::of)?;
    let (head, body) = reply.into_parts();
    let body = body.collect().await.map_err(Failure::of)?.to_bytes();
    if head.status.is_success() {
        return serde_json::from_slice(&body).map_err(|_| Failure::Unclear("unreadable reply"));
    }
    // Where too much is asked of it, the apiserver answers in plain text.
    let status: Status = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Status::failure("", "").with_code(head.status.as_u16()));
    Err(match Failure::of(kube::Error::Api(status.boxed())) {
        Failure::Unavailable(code, _) => Failure::Unavailable(code, retry_after(&head.headers)),
        failure => failure,
    })
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST)
}

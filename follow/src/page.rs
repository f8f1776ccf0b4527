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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::error::Error;

    use http::{Response, StatusCode};
    use serde_json::{Value, json};

    use super::*;

    /// A claim's name, and its key.
    const NAME: &str = "10.64.0.9";
    const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

    /// What becomes of a request that is answered so.
    async fn answered<T: DeserializeOwned>(code: u16, body: String) -> Result<T, Failure> {
        let reply = move |_: http::Request<Body>| {
            let mut response = Response::new(Body::from(body.clone().into_bytes()));
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        };
        let client = Client::new(tower::service_fn(reply), "default");
        let path = format!("/apis/culvert.dev/v1alpha1/wireguardpeers/{NAME}");
        ask(&client, http::Request::get(path).body(Vec::new()).unwrap()).await
    }

    /// Everything that can be printed of a failure.
    fn printed(failure: &Failure) -> String {
        let mut text = format!("{failure} {failure:?} {failure:#?}");
        let mut cause = failure.source();
        while let Some(error) = cause {
            text = format!("{text} {error} {error:?}");
            cause = error.source();
        }
        text
    }

    #[tokio::test]
    async fn what_the_apiserver_says_of_a_failure_goes_no_further() {
        let said = format!("wireguardpeers \"{NAME}\" with {KEY}: no");
        for reason in ["AlreadyExists", "Conflict", "NotFound", "Invalid", "Expired", ""] {
            for code in [400, 401, 403, 404, 409, 410, 422, 429, 500, 503, 504] {
                let causes = json!([{ "field": NAME, "message": said }]);
                let details = json!({ "name": NAME, "uid": NAME, "causes": causes });
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                    "message": said, "details": details,
                });
                for body in [status.to_string(), said.clone()] {
                    let failure = answered::<Value>(code, body).await.unwrap_err();
                    let printed = printed(&failure);
                    assert!(
                        !printed.contains(NAME) && !printed.contains(KEY),
                        "{code}: {printed}"
                    );
                }
            }
        }
        // What is taken for another type is repeated by whoever reads it.
        let failure = answered::<u8>(200, format!("\"{NAME}\"")).await.unwrap_err();
        assert_eq!(failure, Failure::Unclear("unreadable reply"));
    }

    #[test]
    fn what_a_library_says_of_a_failure_goes_no_further() {
        let io = || std::io::Error::other(format!("{NAME} {KEY}"));
        let utf8 = String::from_utf8(vec![0xff]).unwrap_err();
        let json = serde_json::from_str::<u8>(&format!("\"{NAME}\"")).unwrap_err();
        assert!(json.to_string().contains(NAME), "it repeats nothing by itself");
        for error in [
            kube::Error::Service(io().into()),
            kube::Error::ReadEvents(io()),
            kube::Error::SerdeError(json),
            kube::Error::FromUtf8(utf8),
            kube::Error::LinesCodecMaxLineLengthExceeded,
        ] {
            let printed = printed(&Failure::of(error));
            assert!(!printed.contains(NAME) && !printed.contains(KEY), "{printed}");
        }
    }
}

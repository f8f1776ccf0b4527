//! Which answer a request gets.

use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::guard::{Guard, Verdict};
use super::{METRICS_TYPE, State};

pub type Answer = Response<Full<Bytes>>;

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What is said to who asks at the plain door. The request's body is not looked at.
pub fn plain<B>(request: &Request<B>, state: &State, with_metrics: bool) -> Answer {
    let respond: fn(&State) -> Answer = match request.uri().path() {
        "/livez" => livez,
        "/readyz" => readyz,
        "/metrics" if with_metrics => scraped,
        "/metrics" => {
            return text(
                StatusCode::NOT_FOUND,
                "not here: /metrics is served by TLS at --metrics-listen, or here with --metrics-plain\n",
            );
        }
        _ => {
            return text(
                StatusCode::NOT_FOUND,
                "not found: see /livez, /readyz and /metrics\n",
            );
        }
    };
    only_get(request).unwrap_or_else(|| respond(state))
}

/// The same at the guarded one.
pub async fn guarded<B>(request: &Request<B>, state: &State, guard: &Guard) -> Answer {
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "not found: see /metrics\n");
    }
    if let Some(refused) = only_get(request) {
        return refused;
    }
    let Some(token) = token(request) else {
        return unknown("send a token of the cluster's, as in `Authorization: Bearer …`\n");
    };
    match guard.judge(token, state.program.now()).await {
        Verdict::Allowed => scraped(state),
        Verdict::Unknown => unknown("the apiserver does not know this token\n"),
        Verdict::Forbidden => text(
            StatusCode::FORBIDDEN,
            "the right `get` on the non-resource URL /metrics is missing: bind the role culvert-metrics-reader\n",
        ),
        Verdict::Unasked => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the apiserver cannot be asked about this token: it is away, or does not let this program create tokenreviews and subjectaccessreviews\n",
        ),
    }
}

fn token<B>(request: &Request<B>) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.trim())
}

fn unknown(why: &'static str) -> Answer {
    let mut refused = text(StatusCode::UNAUTHORIZED, why);
    refused
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refused
}

fn only_get<B>(request: &Request<B>) -> Option<Answer> {
    (request.method() != Method::GET).then(|| {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed\n");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        refused
    })
}

fn livez(state: &State) -> Answer {
    if state.health.is_alive(state.program.now()) {
        text(StatusCode::OK, "ok\n")
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the main loop has not turned for a minute\n",
        )
    }
}

fn readyz(state: &State) -> Answer {
    if state.health.is_ready() {
        text(StatusCode::OK, "ok\n")
    } else {
        let why = format!("{}\n", state.program.unready());
        text(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

fn scraped(state: &State) -> Answer {
    match state.program.metrics() {
        Ok(told) => {
            let mut response = text(StatusCode::OK, told);
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
            response
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "unable to write the metrics\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    response
}

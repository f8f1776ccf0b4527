//! Which answer a request gets.

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::{METRICS_TYPE, State};

type Answer = Response<Full<Bytes>>;

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What is said to who asks. The request's body is not looked at.
pub fn answer<B>(request: &Request<B>, state: &State) -> Answer {
    let respond: fn(&State) -> Answer = match request.uri().path() {
        "/livez" => livez,
        "/readyz" => readyz,
        "/metrics" => scraped,
        _ => {
            return text(
                StatusCode::NOT_FOUND,
                "not found: see /livez, /readyz and /metrics\n",
            );
        }
    };
    if request.method() != Method::GET {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed\n");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        return refused;
    }
    respond(state)
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

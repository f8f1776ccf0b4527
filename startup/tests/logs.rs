//! Logs as programs have them, in a process of its own: libraries are provoked to say what must not be said, and the same
//! process without Culvert's set-up says it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test, and one is to panic"
)]

use std::convert::Infallible;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::process::Command;

use culvert_startup::logs::{self, LogArgs, LogFormat};
use futures::TryStreamExt as _;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// What the process is told: a filter, and whose set-up it has.
const FILTER: &str = "CULVERT_TEST_FILTER";
const SET_UP: &str = "CULVERT_TEST_SET_UP";

/// The name of an object, in the URL of a request and in the apiserver's refusal.
const NAME: &str = "10.64.0.9";
/// An address that the kernel tells over netlink.
const TOLD: &str = "Address(127.0.0.1)";
/// What panics say.
const PANICS: [&str; 2] = ["198.51.100.77", "198.51.100.78"];

/// An apiserver that refuses whatever it is asked, and names what that was.
async fn refuse() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let refused = service_fn(|_| async {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "AlreadyExists",
                    "message": format!("wireguardpeers \"{NAME}\" already exists"), "details": { "name": NAME },
                });
                let mut response = Response::new(Full::<Bytes>::from(status.to_string()));
                *response.status_mut() = hyper::StatusCode::CONFLICT;
                Ok::<_, Infallible>(response)
            });
            // The client ends it when it has heard enough.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), refused)
                .await;
        }
    });
    Ok(address)
}

/// A conflict over a claim that is named by its address.
async fn provoke_the_client() {
    let server = refuse().await.unwrap();
    let config = Config::new(format!("http://{server}").parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let path = format!("/apis/culvert.dev/v1alpha1/wireguardpeers/{NAME}");
    let request = Request::get(path).body(Vec::new()).unwrap();
    let refused = client.request::<Value>(request).await.unwrap_err();
    assert!(
        refused.to_string().contains(NAME),
        "it repeats no name: {refused}"
    );
}

/// A dump of addresses.
async fn provoke_netlink() {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let found: Vec<_> = handle.address().get().execute().try_collect().await.unwrap();
    assert!(!found.is_empty());
}

/// Panics in a thread with a name, and in a task.
async fn provoke_panics() {
    let thread = std::thread::Builder::new().name("worker".to_owned());
    let ended = thread
        .spawn(|| panic!("the client is at {}", PANICS[0]))
        .unwrap()
        .join();
    assert!(ended.is_err());
    let task = async { assert!(PANICS.is_empty(), "the client is at {}", PANICS[1]) };
    assert!(tokio::spawn(task).await.is_err());
}

#[tokio::test]
#[ignore = "the process that the others start"]
async fn process() {
    let filter = env::var(FILTER).unwrap();
    if env::var(SET_UP).unwrap() == "culvert" {
        let args = LogArgs {
            log_format: LogFormat::Text,
            log: filter,
        };
        logs::start(&args).unwrap();
    } else {
        let logs = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter));
        logs.with_writer(io::stderr).init();
    }
    provoke_the_client().await;
    provoke_netlink().await;
    provoke_panics().await;
}

/// What the process writes.
fn written(set_up: &str, filter: &str) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "process", "--ignored", "--nocapture"])
        .envs([(SET_UP, set_up), (FILTER, filter)])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn no_library_and_no_panic_says_what_must_not_be_said_at_any_level() {
    for filter in [
        "trace",
        "info",
        "kube_client=trace,netlink_proto=trace,info",
        "[HTTP]=trace,info",
    ] {
        let written = written("culvert", filter);
        for canary in [&[NAME, "127.0.0.1", "127, 0, 0, 1"][..], &PANICS].concat() {
            assert!(!written.contains(canary), "{canary}, of {filter}: {written}");
        }
        for said in ["panicked", "worker", "tests/logs.rs:"] {
            assert!(written.contains(said), "no {said}, of {filter}: {written}");
        }
    }
}

#[test]
fn without_the_set_up_each_of_them_says_it() {
    let written = written("library", "trace");
    for canary in [&[NAME, TOLD][..], &PANICS].concat() {
        assert!(written.contains(canary), "nothing provokes {canary}: {written}");
    }
}

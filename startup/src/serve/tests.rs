use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Longer than anything takes.
const SOON: Duration = Duration::from_secs(60);

/// A program whose clock stands still.
#[derive(Debug)]
struct Still;

impl Program for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        Ok("culvert_tests_total 1\n# EOF\n".to_owned())
    }

    fn unready(&self) -> &'static str {
        "the test has not begun"
    }
}

fn state() -> State {
    State {
        health: Arc::default(),
        program: Arc::new(Still),
    }
}

/// A server with these limits, for as long as the tasks are kept.
async fn served(state: &State, limits: Limits) -> (SocketAddr, JoinSet<Infallible>) {
    at_door(Door::Open { with_metrics: true }, state, limits).await
}

async fn at_door(door: Door, state: &State, limits: Limits) -> (SocketAddr, JoinSet<Infallible>) {
    let listener = bind(LOOPBACK, "--listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, door, state.clone(), limits));
    (address, tasks)
}

/// Everything the server says to `request` before it closes the connection.
async fn said(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(stream).await
}

async fn rest(mut stream: TcpStream) -> String {
    let mut reply = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut reply))
        .await
        .expect("the connection is still open");
    String::from_utf8(reply).unwrap()
}

async fn status(address: SocketAddr, method: &str, path: &str) -> String {
    let reply = said(
        address,
        &format!("{method} {path} HTTP/1.1\r\nHost: culvert\r\n\r\n"),
    )
    .await;
    reply.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn probes_say_what_the_loop_said() {
    let state = state();
    let (address, _tasks) = served(&state, LIMITS).await;
    assert_eq!(status(address, "GET", "/livez").await, "200");
    let unready = said(address, "GET /readyz HTTP/1.1\r\nHost: culvert\r\n\r\n").await;
    assert!(unready.starts_with("HTTP/1.1 503 "), "{unready}");
    assert!(unready.ends_with("\r\nthe test has not begun\n"), "{unready}");
    state.health.set_ready(true);
    assert_eq!(status(address, "GET", "/readyz").await, "200");
    assert_eq!(status(address, "GET", "/readyz?verbose").await, "200");
    state.health.set_ready(false);
    assert_eq!(status(address, "GET", "/readyz").await, "503");
}

#[test]
fn loop_that_is_silent_for_a_minute_is_not_alive() {
    let health = Health::default();
    let seconds = Duration::from_secs;
    assert!(health.is_alive(seconds(59)), "it has just started");
    assert!(!health.is_alive(seconds(60)));
    health.beat(seconds(100));
    assert!(health.is_alive(seconds(99)) && health.is_alive(seconds(159)));
    assert!(!health.is_alive(seconds(160)));
    health.beat(seconds(200));
    assert!(health.is_alive(seconds(200)), "it cannot recover");
    assert!(!health.is_ready());
}

#[tokio::test]
async fn metrics_are_text_of_their_own_type() {
    let (address, _tasks) = served(&state(), LIMITS).await;
    let reply = said(address, "GET /metrics HTTP/1.1\r\nHost: culvert\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(
        reply.contains(&format!("content-type: {METRICS_TYPE}\r\n")),
        "{reply}"
    );
    assert!(reply.contains("connection: close\r\n"), "{reply}");
    assert!(reply.ends_with("\r\nculvert_tests_total 1\n# EOF\n"), "{reply}");
}

#[tokio::test]
async fn everything_else_is_refused() {
    let (address, _tasks) = served(&state(), LIMITS).await;
    for path in ["/", "/healthz", "/livez/", "/metrics/x", "/debug/pprof"] {
        assert_eq!(status(address, "GET", path).await, "404", "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(status(address, method, "/livez").await, "405", "{method}");
    }
    assert!(
        said(address, "POST /livez HTTP/1.1\r\nHost: culvert\r\n\r\n")
            .await
            .contains("allow: GET\r\n")
    );
}

#[tokio::test]
async fn head_that_is_too_large_is_refused() {
    let (address, _tasks) = served(&state(), LIMITS).await;
    let line = format!("X-Long: {}\r\n", "x".repeat(LARGEST_HEAD));
    let many = "X-Many: 1\r\n".repeat(MOST_HEADERS + 1);
    for headers in [line, many] {
        let reply = said(address, &format!("GET /livez HTTP/1.1\r\n{headers}\r\n")).await;
        // With the rest of the request unread, the end may be a reset that overtakes the answer.
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431 "), "{reply}");
    }
    assert_eq!(status(address, "GET", "/livez").await, "200");
}

#[tokio::test]
async fn client_that_takes_its_time_is_cut_off() {
    let limits = Limits {
        time: Duration::from_millis(200),
        ..LIMITS
    };
    let (address, _tasks) = served(&state(), limits).await;
    for beginning in ["", "GET /livez HTTP/1.1\r\nX-"] {
        assert_eq!(said(address, beginning).await, "");
    }
}

#[tokio::test]
async fn idle_connections_keep_no_probe_out() {
    let limits = Limits {
        connections: 4,
        time: SOON * 10,
    };
    let (address, _tasks) = served(&state(), limits).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(status(address, "GET", "/livez").await, "200");
    // It was the oldest that had to go.
    assert_eq!(rest(idle.remove(0)).await, "");
    let mut last = idle.pop().unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(rest(last).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn port_in_use_is_an_error_that_names_it() {
    let listener = bind(LOOPBACK, "--listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = bind(address, "--metrics-listen").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("failed to listen on {address}; name another with --metrics-listen")
    );
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn metrics_are_not_at_the_plain_door_unless_asked_for() {
    let door = Door::Open { with_metrics: false };
    let (address, _tasks) = at_door(door, &state(), LIMITS).await;
    assert_eq!(status(address, "GET", "/livez").await, "200");
    let reply = said(address, "GET /metrics HTTP/1.1\r\nHost: culvert\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 404 "), "{reply}");
    assert!(reply.contains("--metrics-listen"), "{reply}");
}

#[tokio::test]
async fn guarded_door_wants_a_token_and_an_apiserver_that_judges_it() {
    // Nobody is there to judge.
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let guard = Guard::new(kube::Client::try_from(config).unwrap());
    let state = state();
    for (header, expected) in [
        (None, 401),
        (Some("Basic YTpi"), 401),
        (Some("Bearer "), 401),
        (Some("bearer abc"), 503),
    ] {
        let mut request = Request::builder().uri("/metrics");
        if let Some(value) = header {
            request = request.header("Authorization", value);
        }
        let answer = answer::guarded(&request.body(()).unwrap(), &state, &guard).await;
        assert_eq!(answer.status(), expected, "{header:?}");
    }
    let probe = Request::builder().uri("/livez").body(()).unwrap();
    assert_eq!(answer::guarded(&probe, &state, &guard).await.status(), 404);
}

#[tokio::test]
async fn guarded_door_answers_nobody_without_tls() {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let door = Door::Guarded {
        certificate: Arc::new(Certificate::new(None).unwrap()),
        guard: Arc::new(Guard::new(kube::Client::try_from(config).unwrap())),
    };
    let (address, _tasks) = at_door(door, &state(), LIMITS).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    // An alert of TLS, or nothing.
    assert!(!reply.starts_with(b"HTTP"));
}

//! Against an apiserver that is a list of answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::stream;
use http::{Request as HttpRequest, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;

type Bytes = hyper::body::Bytes;
type Reply = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

/// What the apiserver says to one request.
enum Answer {
    /// This, with this code.
    Say(u16, String),
    /// Not now, but after so many seconds.
    Wait(&'static str),
    /// These lines, and then not a word more.
    Hang(String),
}

/// Answers in turn; the request after the last is never answered.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
    done: Arc<Notify>,
}

impl Server {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let server = Self::default();
        server.answers.lock().unwrap().extend(answers);
        server
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let server = server.clone();
            let query = request.uri().query().unwrap_or_default().to_owned();
            async move { Ok::<_, std::convert::Infallible>(server.answer(query).await) }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, query: String) -> Reply {
        self.asked.lock().unwrap().push(query);
        let Some(answer) = self.answers.lock().unwrap().pop_front() else {
            self.done.notify_one();
            return std::future::pending().await;
        };
        match answer {
            Answer::Say(code, text) => {
                let body = Full::new(Bytes::from(text)).boxed_unsync();
                Response::builder().status(code).body(body).unwrap()
            }
            Answer::Wait(seconds) => {
                let body =
                    Full::new(Bytes::from("Too many requests, please try again later.")).boxed_unsync();
                let reply = Response::builder().status(429).header("retry-after", seconds);
                reply.body(body).unwrap()
            }
            Answer::Hang(text) => {
                let lines = stream::iter([Ok(hyper::body::Frame::data(Bytes::from(text)))]);
                let body = StreamBody::new(lines.chain(stream::pending())).boxed_unsync();
                Response::new(body)
            }
        }
    }

    /// Follows until every answer has been given and taken in; what was heard, and what was asked, in order.
    async fn follow(&self, listener: Ear) -> (Vec<String>, Vec<String>) {
        let heard = listener.heard.clone();
        let params = Params {
            fields: Some("spec.nodeName=a".to_owned()),
            page: 2,
            silence: Duration::from_millis(200),
            pause: (Duration::from_millis(1), Duration::from_millis(2)),
            ..Params::new("Thing".to_owned(), "/things".to_owned())
        };
        tokio::select! {
            () = follow(self.client(), params, listener) => {}
            () = self.done.notified() => {}
        }
        let heard = heard.lock().unwrap().clone();
        let asked = self
            .asked
            .lock()
            .unwrap()
            .iter()
            .map(|query| brief(query))
            .collect();
        (heard, asked)
    }
}

/// What a request asks for, in a word.
fn brief(query: &str) -> String {
    let value = |name: &str| {
        let mut parts = query.split('&').filter_map(|part| part.split_once('='));
        parts
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    assert_eq!(
        value("fieldSelector").as_deref(),
        Some("spec.nodeName%3Da"),
        "{query}"
    );
    if value("watch").is_some() {
        return format!("watch {}", value("resourceVersion").unwrap());
    }
    // From a quorum: a list of any version may be older than what was seen.
    assert!(!query.contains("resourceVersion"), "{query}");
    match (value("limit").unwrap().as_str(), value("continue")) {
        ("1", None) => "one".to_owned(),
        ("2", None) => "list".to_owned(),
        ("2", Some(token)) => format!("list {token}"),
        odd => panic!("{odd:?}"),
    }
}

/// How long a list that is worth nothing has to wait for the next.
const AGAIN: Duration = Duration::from_millis(50);

/// Writes down what it hears.
#[derive(Default)]
struct Ear {
    heard: Arc<Mutex<Vec<String>>>,
    /// It wants to hear nothing after history went back.
    ends: bool,
    /// How many lists are worth nothing by themselves.
    doubts: usize,
}

impl Ear {
    fn write(&self, word: String) {
        self.heard.lock().unwrap().push(word);
    }
}

impl Listener for Ear {
    async fn list_begins(&mut self, version: u64) -> Told {
        self.write(format!("list {version}"));
        Ok(())
    }

    async fn now_is(&mut self, object: &Raw) -> Told {
        self.write(format!(
            "{} {}",
            object.metadata.name, object.metadata.resource_version
        ));
        Ok(())
    }

    async fn gone(&mut self, uid: Uid, version: u64) -> Told {
        self.write(format!("gone {} {version}", uid.as_u128()));
        Ok(())
    }

    async fn seen(&mut self, version: u64) -> Told {
        self.write(format!("seen {version}"));
        Ok(())
    }

    async fn list_complete(&mut self, version: u64) -> Result<Next, Deaf> {
        self.write(format!("whole {version}"));
        if self.doubts == 0 {
            return Ok(Next::Watch);
        }
        self.doubts -= 1;
        Ok(Next::ListAgain(AGAIN))
    }

    async fn rewound(&mut self) -> Told {
        self.write("rewound".to_owned());
        if self.ends { Err(Deaf) } else { Ok(()) }
    }

    fn failed(&mut self) {
        self.write("failed".to_owned());
    }
}

fn object(name: &str, n: u128, version: u64) -> Value {
    json!({ "metadata": {
        "name": name,
        "uid": Uid::from_u128(n).to_string(),
        "resourceVersion": version.to_string(),
    } })
}

fn page(version: u64, more: &str, items: &[Value]) -> Answer {
    let page =
        json!({ "metadata": { "resourceVersion": version.to_string(), "continue": more }, "items": items });
    Answer::Say(200, page.to_string())
}

fn event(kind: &str, object: &Value) -> String {
    json!({ "type": kind, "object": object }).to_string() + "\n"
}

fn bookmark(version: u64) -> String {
    let about = json!({ "resourceVersion": version.to_string(), "annotations": {} });
    event(
        "BOOKMARK",
        &json!({ "apiVersion": "v1", "kind": "Thing", "metadata": about }),
    )
}

/// Events, and the end of the watch.
fn events(events: &[String]) -> Answer {
    Answer::Say(200, events.concat())
}

fn refusal(code: u16) -> String {
    json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": "no", "reason": "x", "code": code })
        .to_string()
}

#[tokio::test]
async fn a_kind_is_listed_page_by_page_and_then_watched() {
    let server = Server::new([
        page(9, "x", &[object("a", 1, 3), object("b", 2, 4)]),
        page(9, "", &[object("c", 3, 5)]),
        events(&[
            event("ADDED", &object("d", 4, 10)),
            bookmark(15),
            event("DELETED", &object("a", 1, 16)),
        ]),
    ]);
    let (heard, asked) = server.follow(Ear::default()).await;
    let wanted = [
        "list 9",
        "a 3",
        "b 4",
        "c 5",
        "whole 9",
        "d 10",
        "seen 10",
        "seen 15",
        "gone 1 16",
        "seen 16",
    ];
    assert_eq!(heard, wanted);
    assert_eq!(asked, ["list", "list x", "watch 9", "one"]);
}

#[tokio::test]
async fn a_watch_is_preceded_by_where_history_stands() {
    let server = Server::new([
        page(9, "", &[]),
        events(&[bookmark(12)]),
        page(12, "more", &[]),
        events(&[bookmark(13)]),
        page(20, "more", &[]),
        // Nothing is heard of what has just been asked: it need not concern this kind.
        Answer::Say(200, String::new()),
    ]);
    let (heard, asked) = server.follow(Ear::default()).await;
    assert_eq!(heard, ["list 9", "whole 9", "seen 12", "seen 13"]);
    assert_eq!(
        asked,
        ["list", "watch 9", "one", "watch 12", "one", "watch 13", "one"]
    );
}

#[tokio::test]
async fn a_history_that_went_back_between_two_watches_is_told_and_listed() {
    let server = Server::new([
        page(90, "", &[]),
        events(&[bookmark(95)]),
        page(94, "more", &[]),
        page(94, "", &[object("a", 1, 30)]),
    ]);
    let (heard, asked) = server.follow(Ear::default()).await;
    assert_eq!(
        heard,
        [
            "list 90", "whole 90", "seen 95", "rewound", "list 94", "a 30", "whole 94"
        ]
    );
    assert_eq!(asked, ["list", "watch 90", "one", "list", "watch 94"]);
}

#[tokio::test]
async fn an_event_of_before_what_was_seen_is_another_history() {
    let server = Server::new([
        page(90, "", &[]),
        events(&[event("MODIFIED", &object("a", 1, 89))]),
        page(91, "", &[object("a", 1, 89)]),
    ]);
    let (heard, asked) = server.follow(Ear::default()).await;
    assert_eq!(
        heard,
        [
            "list 90", "whole 90", "a 89", "rewound", "list 91", "a 89", "whole 91"
        ]
    );
    assert_eq!(asked, ["list", "watch 90", "list", "watch 91"]);
}

#[tokio::test]
async fn a_list_of_before_what_was_seen_is_another_history() {
    let server = Server::new([
        page(90, "", &[]),
        Answer::Say(410, refusal(410)),
        page(80, "", &[object("a", 1, 30)]),
    ]);
    let (heard, asked) = server.follow(Ear::default()).await;
    assert_eq!(
        heard,
        ["list 90", "whole 90", "rewound", "list 80", "a 30", "whole 80"]
    );
    // The list that told of it is the one that is taken in.
    assert_eq!(asked, ["list", "watch 90", "list", "watch 80"]);
}

#[tokio::test]
async fn whoever_begins_anew_by_itself_hears_nothing_after_history_went_back() {
    let server = Server::new([page(90, "", &[]), events(&[bookmark(80)])]);
    let ear = Ear {
        ends: true,
        ..Ear::default()
    };
    let (heard, asked) = server.follow(ear).await;
    assert_eq!(heard, ["list 90", "whole 90", "rewound"]);
    assert_eq!(asked, ["list", "watch 90"]);
}

#[tokio::test]
async fn a_place_that_is_forgotten_is_listed_again() {
    for lost in [
        Answer::Say(410, refusal(410)),
        events(&[event("ERROR", &serde_json::from_str(&refusal(410)).unwrap())]),
    ] {
        let server = Server::new([page(9, "", &[]), lost, page(12, "", &[])]);
        let (heard, asked) = server.follow(Ear::default()).await;
        assert_eq!(heard, ["list 9", "whole 9", "list 12", "whole 12"]);
        assert_eq!(asked, ["list", "watch 9", "list", "watch 12"]);
    }
}

#[tokio::test]
async fn a_watch_that_says_nothing_more_is_given_up() {
    let server = Server::new([
        page(9, "", &[]),
        Answer::Hang(bookmark(12)),
        page(15, "more", &[]),
        events(&[bookmark(16)]),
    ]);
    let (heard, asked) = server.follow(Ear::default()).await;
    assert_eq!(heard, ["list 9", "whole 9", "seen 12", "failed", "seen 16"]);
    assert_eq!(asked, ["list", "watch 9", "one", "watch 12", "one"]);
}

#[tokio::test]
async fn a_list_that_fails_halfway_is_never_whole() {
    let server = Server::new([
        page(9, "x", &[object("a", 1, 3)]),
        Answer::Say(500, refusal(500)),
        Answer::Say(
            200,
            "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[".to_owned(),
        ),
        page(11, "x", &[object("a", 1, 3)]),
        Answer::Say(410, refusal(410)),
        page(12, "", &[object("b", 2, 12)]),
    ]);
    let (heard, asked) = server.follow(Ear::default()).await;
    assert_eq!(
        heard,
        [
            "list 9", "a 3", "failed", "failed", "list 11", "a 3", "failed", "list 12", "b 12", "whole 12"
        ]
    );
    assert_eq!(
        asked,
        ["list", "list x", "list", "list", "list x", "list", "watch 12"]
    );
}

#[tokio::test]
async fn an_outage_costs_one_small_list_each_time_and_no_whole_one() {
    let away = || Answer::Say(503, refusal(503));
    let server = Server::new([
        page(9, "", &[]),
        events(&[bookmark(10)]),
        away(),
        away(),
        away(),
        page(10, "more", &[]),
        events(&[bookmark(11)]),
    ]);
    let (heard, asked) = server.follow(Ear::default()).await;
    assert_eq!(
        heard,
        [
            "list 9", "whole 9", "seen 10", "failed", "failed", "failed", "seen 11"
        ]
    );
    assert_eq!(
        asked,
        ["list", "watch 9", "one", "one", "one", "one", "watch 10", "one"]
    );
}

#[tokio::test]
async fn a_list_that_is_doubted_is_asked_for_again_and_watched_meanwhile() {
    let server = Server::new([
        page(9, "", &[]),
        Answer::Hang(event("ADDED", &object("a", 1, 10))),
        page(10, "", &[]),
        Answer::Say(410, refusal(410)),
        page(11, "", &[]),
    ]);
    let ear = Ear {
        doubts: 2,
        ..Ear::default()
    };
    let (heard, asked) = server.follow(ear).await;
    assert_eq!(
        heard,
        [
            "list 9", "whole 9", "a 10", "seen 10", "list 10", "whole 10", "list 11", "whole 11"
        ]
    );
    assert_eq!(asked, ["list", "watch 9", "list", "watch 10", "list", "watch 11"]);
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the clock stands still")]
async fn a_second_list_waits_for_its_time_also_when_the_watch_has_ended_before() {
    for watch in [Answer::Say(410, refusal(410)), Answer::Hang(bookmark(9))] {
        let server = Server::new([page(9, "", &[]), watch, page(10, "", &[])]);
        let ear = Ear {
            doubts: 1,
            ..Ear::default()
        };
        let begun = tokio::time::Instant::now();
        let (_, asked) = server.follow(ear).await;
        assert_eq!(asked, ["list", "watch 9", "list", "watch 10"]);
        assert!(begun.elapsed() >= AGAIN, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn an_apiserver_with_too_much_to_do_says_when_to_ask_again() {
    let server = Server::new([Answer::Wait("7"), Answer::Wait("soon"), Answer::Wait("86400")]);
    let client = server.client();
    for seconds in [7, 0, 60] {
        let params = ListParams::default().limit(2).fields("spec.nodeName=a");
        let failure = page_within(&client, "/things", &params, SILENCE)
            .await
            .unwrap_err();
        assert_eq!(failure, Failure::Unavailable(429, Duration::from_secs(seconds)));
    }
}

#[tokio::test]
async fn a_watch_that_ends_at_once_is_waited_for_longer_each_time() {
    let (server, client) = {
        let server = Server::default();
        (server.clone(), server.client())
    };
    let mut feed = Feed {
        client,
        params: Params {
            pause: (Duration::from_millis(1), Duration::from_millis(4)),
            fields: Some("spec.nodeName=a".to_owned()),
            ..Params::new("Thing".to_owned(), "/things".to_owned())
        },
        listener: Ear::default(),
        version: 9,
        patience: Patience::new((Duration::from_millis(1), Duration::from_millis(4))),
        failed: false,
    };
    for answer in [
        Answer::Say(200, String::new()),
        page(9, "", &[]),
        events(&[event("ERROR", &serde_json::from_str(&refusal(500)).unwrap())]),
        page(9, "", &[]),
        Answer::Say(410, refusal(410)),
    ] {
        server.answers.lock().unwrap().push_back(answer);
    }
    assert_eq!(feed.stay().await, Ok(()));
    // Neither an empty watch nor an error was a word.
    assert_eq!(feed.patience.next(Duration::ZERO, 1.0), Duration::from_millis(4));
    assert_eq!(*feed.listener.heard.lock().unwrap(), ["failed"]);
}

//! Events: what a person who describes an object should have heard of.
//!
//! The conditions are the truth; an Event is posted once, without a promise. It carries a reason and its fixed text,
//! never a key or an address. A flood of them is cut: beyond so many in a few seconds they are dropped.

use std::sync::Arc;
use std::time::Duration;

use culvert_crds::Reason;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::Semaphore;

use super::FIELD_MANAGER;
use super::retry::Failure;
use crate::world::Uid;

/// So many Events in each [`SPAN`].
const BURST: usize = 100;

/// See [`BURST`].
const SPAN: Duration = Duration::from_secs(10);

/// Posts Events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    permits: Arc<Semaphore>,
}

impl Events {
    /// Posts as this operator.
    pub fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client, reporter),
            permits: Arc::new(Semaphore::new(BURST)),
        }
    }

    /// Posts one, in a task of its own.
    pub fn tell<K: Resource<DynamicType = ()>>(
        &self,
        namespace: Option<String>,
        name: String,
        uid: Uid,
        reason: Reason,
    ) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::debug!(reason = reason.as_str(), "too many events, one is dropped");
            return;
        };
        let about = ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            namespace,
            name: Some(name),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.as_str().to_owned(),
            note: Some(reason.message().to_owned()),
            action: "Publish".to_owned(),
            secondary: None,
        };
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &about).await {
                tracing::debug!(error = %Failure::of(error), "unable to post an event");
            }
            crate::clock::pause(SPAN).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use culvert_crds::WireGuardKey;
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::Value;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_event_is_a_reason_with_its_fixed_text_about_the_object_and_nothing_more() {
        let (sender, mut posted) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let sender = sender.clone();
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                sender
                    .send(serde_json::from_slice::<Value>(&body).unwrap())
                    .unwrap();
                Ok::<_, Infallible>(http::Response::new(Body::from(body.to_vec())))
            }
        });
        let events = Events::new(Client::new(service, "default"));
        let (namespace, name) = (Some("tenant".to_owned()), "laptop".to_owned());
        events.tell::<WireGuardKey>(namespace, name, Uid::from_u128(7), Reason::DuplicateKey);
        let mut event = posted.recv().await.unwrap();
        assert_eq!(event["note"], Reason::DuplicateKey.message());
        assert_eq!(event["reason"], "DuplicateKey");
        let about = event["regarding"].as_object().unwrap();
        let about: Vec<_> = about.keys().map(String::as_str).collect();
        assert_eq!(about, ["apiVersion", "kind", "name", "namespace", "uid"]);
        // What else there is says who posts it, and when.
        let event = event.as_object_mut().unwrap();
        let known = [
            "action",
            "apiVersion",
            "eventTime",
            "kind",
            "metadata",
            "note",
            "reason",
            "regarding",
            "reportingController",
            "reportingInstance",
            "type",
        ];
        event.retain(|field, _| !known.contains(&field.as_str()));
        assert!(event.is_empty(), "{event:?}");
    }
}

//! An API server in this process, with one Secret and one Unit. It follows tokio's clock, also a paused one.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{StreamExt as _, future};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::service_fn;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// No connection.
    Away,
    /// It takes connections and says nothing.
    Silent,
    /// It answers everything with this code.
    Refuses(u16),
    /// It answers writes with this code.
    RefusesWrites(u16),
}

/// The two kinds of objects.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    Unit,
    Secret,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Watches cannot begin before this version.
    forgotten: u64,
    unit: Option<Value>,
    secret: Option<Value>,
    events: Vec<(u64, Kind, Bytes)>,
    watches: Vec<(Kind, UnboundedSender<Bytes>)>,
    fault: Option<Fault>,
    requests: Vec<(Instant, String)>,
}

/// The server. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        Client::new(service_fn(move |request| server.clone().answer(request)), "ns")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn fault(&self, fault: impl Into<Option<Fault>>) {
        self.state().fault = fault.into();
    }

    /// Makes or replaces the object, or deletes it.
    pub(super) fn put(&self, kind: Kind, object: Option<Value>) {
        self.state().put(kind, object);
    }

    /// The Unit's report.
    pub(super) fn report(&self) -> Value {
        self.state().unit.as_ref().map_or(Value::Null, |unit| unit["status"]["report"].clone())
    }

    /// Changes the Unit as somebody else would.
    pub(super) fn edit_unit(&self, edit: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let mut unit = state.unit.clone().unwrap();
        edit(&mut unit);
        state.put(Kind::Unit, Some(unit));
    }

    /// Ends all watches; with `forget`, those that begin where they ended are told to list anew.
    pub(super) fn cut(&self, forget: bool) {
        let mut state = self.state();
        state.watches.clear();
        if forget {
            state.forgotten = state.version + 1;
        }
    }

    /// When requests were made whose line begins like this.
    pub(super) fn requests(&self, line: &str) -> Vec<Instant> {
        let state = self.state();
        state.requests.iter().filter(|(_, l)| l.starts_with(line)).map(|(at, _)| *at).collect()
    }

    /// When the report was written, or tried to be.
    pub(super) fn writes(&self) -> Vec<Instant> {
        self.requests("PATCH /apis/muster.dev/v1alpha1/namespaces/ns/units/app-0/status")
    }

    async fn answer(self, request: Request<Body>) -> Result<Answer, tower::BoxError> {
        let (parts, body) = request.into_parts();
        let line = format!("{} {}", parts.method, parts.uri);
        let fault = {
            let mut state = self.state();
            state.requests.push((Instant::now(), line.clone()));
            state.fault
        };
        match fault {
            Some(Fault::Away) => return Err("connection refused".into()),
            Some(Fault::Silent) => return future::pending().await,
            Some(Fault::Refuses(code)) => return Ok(refusal(code)),
            Some(Fault::RefusesWrites(code)) if parts.method == Method::PATCH => return Ok(refusal(code)),
            _ => {}
        }
        let query = parts.uri.query().unwrap_or_default();
        let kind = if parts.uri.path().contains("/units") { Kind::Unit } else { Kind::Secret };
        if parts.method == Method::PATCH {
            let body = body.collect().await?.to_bytes();
            return Ok(self.patch(&serde_json::from_slice(&body)?));
        }
        let name = if kind == Kind::Unit { "app-0" } else { "app-cluster" };
        assert!(query.contains(&format!("fieldSelector=metadata.name%3D{name}")), "{line}");
        if query.contains("watch=true") {
            let from = query.split("resourceVersion=").nth(1).unwrap().split('&').next().unwrap();
            return Ok(self.watch(kind, from.parse()?));
        }
        let mut state = self.state();
        let items = Vec::from_iter(state.object(kind).clone());
        let list = json!({"kind": format!("{kind:?}List"), "apiVersion": "v1", "items": items,
            "metadata": {"resourceVersion": state.version.to_string()}});
        Ok(json_body(&list))
    }

    fn patch(&self, patch: &Value) -> Answer {
        let mut state = self.state();
        let Some(mut unit) = state.unit.clone() else { return refusal(404) };
        let operation = &patch[0];
        assert_eq!((&operation["op"], &operation["path"]), (&json!("add"), &json!("/status")));
        if unit["status"] != operation["value"] {
            unit["status"] = operation["value"].clone();
            state.put(Kind::Unit, Some(unit));
        }
        json_body(state.unit.as_ref().unwrap())
    }

    fn watch(&self, kind: Kind, from: u64) -> Answer {
        let mut state = self.state();
        let (sender, receiver) = unbounded();
        if from < state.forgotten {
            let _ = sender.unbounded_send(event("ERROR", &status(410)));
        } else {
            for (_, _, event) in state.events.iter().filter(|(at, k, _)| *at > from && *k == kind) {
                let _ = sender.unbounded_send(event.clone());
            }
            state.watches.push((kind, sender));
        }
        let frames = receiver.map(|line| Ok::<_, Infallible>(Frame::data(line)));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

impl State {
    fn object(&mut self, kind: Kind) -> &mut Option<Value> {
        match kind {
            Kind::Unit => &mut self.unit,
            Kind::Secret => &mut self.secret,
        }
    }

    fn put(&mut self, kind: Kind, object: Option<Value>) {
        self.version += 1;
        let version = self.version;
        let place = self.object(kind);
        let (what, mut told) = match (&object, place.take()) {
            (Some(new), None) => ("ADDED", new.clone()),
            (Some(new), Some(_)) => ("MODIFIED", new.clone()),
            (None, Some(old)) => ("DELETED", old),
            (None, None) => return,
        };
        told["metadata"]["resourceVersion"] = json!(version.to_string());
        *place = object.map(|_| told.clone());
        let line = event(what, &told);
        self.events.push((version, kind, line.clone()));
        self.watches.retain(|(k, watch)| *k != kind || watch.unbounded_send(line.clone()).is_ok());
    }
}

fn event(what: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": what, "object": object})))
}

fn status(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": "Test", "message": "no"})
}

fn json_body(value: &Value) -> Answer {
    Response::new(Full::from(value.to_string()).boxed_unsync())
}

fn refusal(code: u16) -> Answer {
    let mut answer = json_body(&status(code));
    *answer.status_mut() = code.try_into().unwrap();
    answer
}

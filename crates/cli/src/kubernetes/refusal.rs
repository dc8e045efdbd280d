//! What the API server refused, and what to do about it.

use std::error::Error;

use kube::core::Status;

use crate::failure::Failure;

const BAD_REQUEST: u16 = 400;
const UNAUTHORIZED: u16 = 401;
/// The status code of a request that these credentials lack the right for.
pub(crate) const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;
const INVALID: u16 = 422;
const TOO_MANY_REQUESTS: u16 = 429;
const INTERNAL_ERROR: u16 = 500;

/// What a namespace is called in the details of a refusal.
const NAMESPACES: &str = "namespaces";

/// Why a request was not answered with what it asked for.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The API server says no.
    Server(Box<Status>),
    /// It cannot be reached, or what it says cannot be understood.
    Broken(kube::Error),
    /// It does not answer in time.
    Silent,
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Server(status),
            other => Self::Broken(other),
        }
    }
}

// By their codes: an answer that is no `Status`, such as a proxy's, has no reason.
impl Refusal {
    fn is(&self, question: impl Fn(&Status) -> bool) -> bool {
        matches!(self, Self::Server(status) if question(status))
    }

    /// Whether these credentials lack the right.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.is(|status| status.code == FORBIDDEN)
    }

    /// Whether these credentials are not accepted, or lack the right.
    pub(crate) fn is_denied(&self) -> bool {
        self.is(|status| status.code == UNAUTHORIZED || status.code == FORBIDDEN)
    }

    /// Whether an object of that name is there.
    pub(crate) fn is_already_exists(&self) -> bool {
        self.is(Status::is_already_exists)
    }

    /// Whether the object is not the one that was read any more.
    pub(crate) fn is_conflict(&self) -> bool {
        self.is(|status| status.code == CONFLICT && !status.is_already_exists())
    }

    /// Whether the named object is not there. Where the kind itself is not known, no object is named.
    pub(crate) fn is_object_gone(&self) -> bool {
        let of_object = |status: &Status| {
            status
                .details
                .as_ref()
                .is_some_and(|details| !details.name.is_empty() && details.kind != NAMESPACES)
        };
        self.is(|status| status.code == NOT_FOUND && of_object(status))
    }

    /// The refusal in words, with the next step.
    pub(crate) fn failure(self, server: &str, namespace: &str) -> Failure {
        match self {
            Self::Server(status) => refused(&status, namespace),
            Self::Silent => Failure::passing(format!("the API server at {server} does not answer"))
                .hint("see whether kubectl get namespaces answers; another cluster is chosen with --context"),
            Self::Broken(kube::Error::Auth(error)) => {
                Failure::new(format!("failed to get credentials for {server}: {}", chain(&error))).hint(
                    "see whether kubectl get namespaces works; another cluster is chosen with --context",
                )
            }
            Self::Broken(kube::Error::Service(error)) => unreachable(server, error.as_ref()),
            Self::Broken(kube::Error::HyperError(error)) => unreachable(server, &error),
            Self::Broken(error) => {
                Failure::new(format!("failed to talk to the API server at {server}: {}", chain(&error)))
            }
        }
    }
}

fn refused(status: &Status, namespace: &str) -> Failure {
    let details = status.details.as_ref();
    let said = format!("the API server refuses: {}", status.message);
    let failure = Failure::new(&said);
    match status.code {
        NOT_FOUND if details.is_some_and(|details| details.kind == NAMESPACES) => {
            Failure::new(format!("namespace {namespace} does not exist"))
                .hint(format!("make it: kubectl create namespace {namespace}"))
        }
        NOT_FOUND => {
            Failure::new("the cluster does not know coordinators and workers: Muster is not installed on it")
                .hint("install it: kubectl apply -f deploy/install.yaml")
        }
        UNAUTHORIZED => Failure::new("the API server does not accept the credentials")
            .hint("log in anew, or choose another context: --context NAME"),
        FORBIDDEN => failure.hint(format!("list what you may do: kubectl auth can-i --list -n {namespace}")),
        BAD_REQUEST | INVALID => {
            let kind = details.map(|details| details.kind.to_lowercase());
            let kind = kind.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "worker".to_owned());
            failure.hint(format!("what can be written: kubectl explain {kind}.spec"))
        }
        TOO_MANY_REQUESTS | INTERNAL_ERROR.. => Failure::passing(said),
        _ => failure,
    }
}

fn unreachable(server: &str, error: &(dyn Error + 'static)) -> Failure {
    Failure::passing(format!("the API server at {server} cannot be reached: {}", chain(error)))
        .hint("see whether the cluster runs; another one is chosen with --context")
}

/// An error with its causes. Libraries wrap errors in others that say the same, or nothing: each text is said once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        match texts.last_mut() {
            Some(last) if last.contains(&text) => {}
            Some(last) if text.contains(last.as_str()) => *last = text,
            _ => texts.push(text),
        }
        next = error.source();
    }
    texts.join(": ")
}

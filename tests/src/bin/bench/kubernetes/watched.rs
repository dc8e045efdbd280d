//! One object, as its watch tells of it: nothing is asked again and again, so nothing is found late.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// How long an event may take.
const SOON: Duration = Duration::from_secs(30);

pub(super) struct Watched<K> {
    name: String,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
}

impl<K> Watched<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    /// The object of that name, which is there. Answers once the watch has begun.
    pub(super) async fn start(api: Api<K>, name: &str) -> anyhow::Result<Self> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut watched = Self { name: name.to_owned(), events: watcher(api, config).boxed() };
        watched.until("there", |_| true).await?;
        Ok(watched)
    }

    /// Waits for an event that shows the object so.
    pub(super) async fn until(&mut self, what: &str, is: impl Fn(&K) -> bool) -> anyhow::Result<()> {
        let seen = async {
            while let Some(event) = self.events.next().await {
                if let Event::Apply(object) | Event::InitApply(object) = event?
                    && is(&object)
                {
                    return Ok(());
                }
            }
            bail!("the watch ended")
        };
        let said = || format!("{} {} is not {what}", K::kind(&()), self.name);
        tokio::time::timeout(SOON, seen).await.with_context(said)?
    }
}

//! What the API server last said of one kind of object, by name and by the coordinator that it belongs to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;

use crate::key::Key;

/// What the kinds that are watched have in common.
pub(crate) trait Watched:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The objects of one kind. Cheap to clone.
pub(crate) struct Cache<K> {
    objects: Arc<RwLock<Objects<K>>>,
    /// Under which coordinators an object is found.
    index: fn(&K) -> Vec<Key>,
}

struct Objects<K> {
    all: BTreeMap<Key, Arc<K>>,
    by_coordinator: HashMap<Key, BTreeSet<Key>>,
    /// What a list that is under way has brought so far.
    listed: Option<BTreeMap<Key, Arc<K>>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { objects: Arc::clone(&self.objects), index: self.index }
    }
}

impl<K: Resource + Clone + PartialEq> Cache<K> {
    /// Takes in an event as [`Cache::note`] does, but answers nothing where all that is cached of the object is as it was.
    pub(crate) fn note_changes(&self, event: Event<K>) -> Vec<Arc<K>> {
        let is_same = match &event {
            Event::Apply(object) => self.get(&Key::of(object)).is_some_and(|before| {
                let mut before = K::clone(&before);
                before.meta_mut().resource_version.clone_from(&object.meta().resource_version);
                before == *object
            }),
            _ => false,
        };
        let touched = self.note(event);
        if is_same { Vec::new() } else { touched }
    }
}

impl<K: Resource> Cache<K> {
    pub(crate) fn new(index: fn(&K) -> Vec<Key>) -> Self {
        let objects = Objects { all: BTreeMap::new(), by_coordinator: HashMap::new(), listed: None };
        Self { objects: Arc::new(RwLock::new(objects)), index }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().all.get(key).cloned()
    }

    /// All objects, in order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read().all.values().cloned().collect()
    }

    /// The objects that belong to a coordinator, in order of their names.
    pub(crate) fn of(&self, coordinator: &Key) -> Vec<Arc<K>> {
        let objects = self.read();
        let keys = objects.by_coordinator.get(coordinator);
        keys.into_iter().flatten().filter_map(|key| objects.all.get(key).cloned()).collect()
    }

    /// Takes in an event. Answers the objects that it touched, as they are and as they were.
    pub(crate) fn note(&self, event: Event<K>) -> Vec<Arc<K>> {
        let mut objects = self.write();
        match event {
            Event::Apply(object) => objects.change(Arc::new(object), self.index),
            Event::Delete(object) => {
                let before = objects.take(&Key::of(&object), self.index);
                before.into_iter().chain([Arc::new(object)]).collect()
            }
            Event::Init => {
                objects.listed = Some(BTreeMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let object = Arc::new(object);
                objects.listed.get_or_insert_default().insert(Key::of(object.as_ref()), object);
                Vec::new()
            }
            Event::InitDone => {
                let listed = objects.listed.take().unwrap_or_default();
                objects.replace(listed.into_values(), self.index)
            }
        }
    }

    /// The same with what `store` made of the event, and without what is in no list yet.
    pub(crate) fn note_stored(&self, event: &Event<K>, store: &Store<K>) -> Vec<Arc<K>>
    where
        K: Watched,
    {
        match event {
            Event::Apply(object) => {
                let object = store.get(&ObjectRef::from_obj(object));
                object.map(|object| self.write().change(object, self.index)).unwrap_or_default()
            }
            Event::Delete(object) => self.note(Event::Delete(object.clone())),
            Event::Init | Event::InitApply(_) => Vec::new(),
            Event::InitDone => self.write().replace(store.state(), self.index),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Objects<K>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<K>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource> Objects<K> {
    /// Puts these in the place of all others. Answers what was there before and what is now.
    fn replace(
        &mut self,
        listed: impl IntoIterator<Item = Arc<K>>,
        index: fn(&K) -> Vec<Key>,
    ) -> Vec<Arc<K>> {
        let mut touched: Vec<_> = std::mem::take(&mut self.all).into_values().collect();
        self.by_coordinator.clear();
        for object in listed {
            touched.push(Arc::clone(&object));
            self.put(object, index);
        }
        touched
    }

    /// Puts an object. Answers it as it was and as it is.
    fn change(&mut self, object: Arc<K>, index: fn(&K) -> Vec<Key>) -> Vec<Arc<K>> {
        let before = self.put(Arc::clone(&object), index);
        before.into_iter().chain([object]).collect()
    }

    fn put(&mut self, object: Arc<K>, index: fn(&K) -> Vec<Key>) -> Option<Arc<K>> {
        let key = Key::of(object.as_ref());
        let before = self.take(&key, index);
        for coordinator in index(&object) {
            self.by_coordinator.entry(coordinator).or_default().insert(key.clone());
        }
        self.all.insert(key, object);
        before
    }

    fn take(&mut self, key: &Key, index: fn(&K) -> Vec<Key>) -> Option<Arc<K>> {
        let object = self.all.remove(key)?;
        for coordinator in index(&object) {
            if let Some(keys) = self.by_coordinator.get_mut(&coordinator) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_coordinator.remove(&coordinator);
                }
            }
        }
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn object(name: &str, coordinator: &str) -> ConfigMap {
        let labels = [("c".to_owned(), coordinator.to_owned())].into();
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("n".to_owned()),
                name: Some(name.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn index(object: &ConfigMap) -> Vec<Key> {
        let label = object.metadata.labels.as_ref().and_then(|labels| labels.get("c"));
        label.map(|label| Key::new("n", label)).into_iter().collect()
    }

    fn names(objects: &[Arc<ConfigMap>]) -> Vec<&str> {
        objects.iter().filter_map(|o| o.metadata.name.as_deref()).collect()
    }

    #[test]
    fn objects_are_found_by_their_coordinator_whatever_happens_to_them() {
        let cache = Cache::new(index);
        let (x, y) = (Key::new("n", "x"), Key::new("n", "y"));
        cache.note(Event::Apply(object("a", "x")));
        cache.note(Event::Apply(object("b", "x")));
        assert_eq!(names(&cache.of(&x)), ["a", "b"]);
        let touched = cache.note(Event::Apply(object("b", "y")));
        assert_eq!(touched.len(), 2, "the former and the new coordinator are concerned");
        assert_eq!((names(&cache.of(&x)), names(&cache.of(&y))), (vec!["a"], vec!["b"]));
        cache.note(Event::Delete(object("b", "y")));
        assert!(cache.of(&y).is_empty() && cache.get(&Key::new("n", "b")).is_none());
    }

    #[test]
    fn a_new_version_of_the_same_is_no_change() {
        let cache = Cache::new(index);
        let versioned = |version: &str, coordinator: &str| {
            let mut object = object("a", coordinator);
            object.metadata.resource_version = Some(version.to_owned());
            Event::Apply(object)
        };
        assert_eq!(cache.note_changes(versioned("1", "x")).len(), 1);
        assert_eq!(cache.note_changes(versioned("2", "x")).len(), 0);
        let cached = cache.get(&Key::new("n", "a")).unwrap();
        assert_eq!(cached.metadata.resource_version.as_deref(), Some("2"));
        assert_eq!(cache.note_changes(versioned("3", "y")).len(), 2);
    }

    #[test]
    fn a_new_list_replaces_what_was_there_at_its_end() {
        let cache = Cache::new(index);
        let x = Key::new("n", "x");
        cache.note(Event::Apply(object("a", "x")));
        cache.note(Event::Init);
        cache.note(Event::InitApply(object("b", "x")));
        assert_eq!(names(&cache.of(&x)), ["a"], "half a list says nothing");
        let touched = cache.note(Event::InitDone);
        assert_eq!(names(&touched), ["a", "b"], "what vanished meanwhile is touched too");
        assert_eq!(names(&cache.of(&x)), ["b"]);
    }
}

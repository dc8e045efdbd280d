//! Listing a bucket's objects in S3's order, page by page.
//!
//! A walk of the directory tree in key order that leaves out subtrees that cannot match and stops when the page is
//! full. Objects that vanish during the walk are left out, as S3 allows.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

/// What to list.
#[derive(Debug, Default, Clone)]
pub(super) struct Query {
    /// Only keys that start with this.
    pub(super) prefix: String,
    /// Keys that have this after the prefix are gathered into common prefixes.
    pub(super) delimiter: Option<String>,
    /// Only keys and common prefixes after this, in byte order.
    pub(super) after: String,
    /// The most keys and common prefixes to return.
    pub(super) limit: usize,
}

/// One page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Objects, in byte order of their keys.
    pub(super) objects: Vec<Entry>,
    /// Common prefixes, in byte order.
    pub(super) prefixes: Vec<String>,
    /// Where the next page goes on, if there is one: to be its [`Query::after`].
    pub(super) next: Option<String>,
}

/// One object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Its length in bytes.
    pub(super) size: u64,
    /// When it was written.
    pub(super) modified: SystemTime,
}

/// Lists the bucket whose directory is `bucket`.
pub(super) fn list(bucket: &Path, query: &Query) -> io::Result<Page> {
    let mut walk = Walk { query, page: Page::default(), last: String::new() };
    if query.limit > 0 {
        // The outcome is in the page already.
        let _ = walk.directory(bucket, "")?;
    }
    Ok(walk.page)
}

struct Walk<'a> {
    query: &'a Query,
    page: Page,
    /// The last key or common prefix of the page.
    last: String,
}

impl Walk<'_> {
    /// Walks one directory whose objects' keys start with `base` (empty, or ending with '/').
    fn directory(&mut self, path: &Path, base: &str) -> io::Result<ControlFlow<()>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !base.is_empty() => {
                return Ok(ControlFlow::Continue(()));
            }
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // Names that are no UTF-8 were not written through S3.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if kind.is_dir() {
                names.push((format!("{base}{name}/"), entry));
            } else if kind.is_file() {
                names.push((format!("{base}{name}"), entry));
            }
        }
        // With its slash a directory sorts exactly where the keys below it belong.
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, entry) in names {
            let flow = if name.ends_with('/') {
                self.subtree(&entry.path(), &name)?
            } else {
                self.object(&entry, name)?
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn subtree(&mut self, path: &Path, base: &str) -> io::Result<ControlFlow<()>> {
        let Query { prefix, after, .. } = self.query;
        let may_match = base.starts_with(prefix.as_str()) || prefix.starts_with(base);
        let passed = base < after.as_str() && !after.starts_with(base);
        let gathered = self.common_prefix(base).is_some_and(|common| common == self.last || common <= *after);
        if !may_match || passed || gathered {
            Ok(ControlFlow::Continue(()))
        } else {
            self.directory(path, base)
        }
    }

    /// The common prefix that `key`, or every key that starts with it, is gathered into.
    fn common_prefix(&self, key: &str) -> Option<String> {
        let rest = key.strip_prefix(self.query.prefix.as_str())?;
        // An empty one, which some clients send, gathers nothing.
        let delimiter = self.query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
        let end = rest.find(delimiter)? + delimiter.len();
        Some(format!("{}{}", self.query.prefix, &rest[..end]))
    }

    fn object(&mut self, entry: &fs::DirEntry, key: String) -> io::Result<ControlFlow<()>> {
        if !key.starts_with(self.query.prefix.as_str()) {
            return Ok(ControlFlow::Continue(()));
        }
        let common = self.common_prefix(&key);
        let shown = common.as_deref().unwrap_or(&key);
        // Keys come in order, so a common prefix repeats only directly after itself.
        if shown <= self.query.after.as_str() || (common.is_some() && shown == self.last) {
            return Ok(ControlFlow::Continue(()));
        }
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ControlFlow::Continue(())),
            Err(error) => return Err(error),
        };
        if self.page.objects.len() + self.page.prefixes.len() == self.query.limit {
            self.page.next = Some(std::mem::take(&mut self.last));
            return Ok(ControlFlow::Break(()));
        }
        self.last = shown.to_owned();
        match common {
            Some(common) => self.page.prefixes.push(common),
            None => {
                let modified = metadata.modified()?;
                self.page.objects.push(Entry { key, size: metadata.len(), modified });
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KEYS: &[&str] = &["a", "a-b/c", "a/b", "a/c/d", "a/c/e", "a0", "b/x", "b/y", "c", "d/e/f/g"];

    fn bucket() -> tempfile::TempDir {
        let bucket = tempfile::tempdir().unwrap();
        for key in KEYS.iter().filter(|key| **key != "a") {
            let path = bucket.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, key).unwrap();
        }
        fs::create_dir_all(bucket.path().join("empty/directory")).unwrap();
        bucket
    }

    /// What S3's rules give, from the set of keys alone.
    fn expected(query: &Query) -> (Vec<String>, Vec<String>) {
        let (mut objects, mut prefixes) = (Vec::new(), BTreeSet::new());
        for key in KEYS.iter().filter(|key| **key != "a") {
            let Some(rest) = key.strip_prefix(query.prefix.as_str()) else { continue };
            let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
            match delimiter.and_then(|d| rest.find(d).map(|at| at + d.len())) {
                Some(end) => {
                    prefixes.insert(format!("{}{}", query.prefix, &rest[..end]));
                }
                None => objects.push((*key).to_owned()),
            }
        }
        objects.sort();
        (objects, prefixes.into_iter().collect())
    }

    #[test]
    fn every_page_size_gives_the_same_listing() {
        let bucket = bucket();
        for prefix in ["", "a", "a/", "a/c", "a/c/", "b/", "b/x", "c", "d/e", "empty", "nothing", "z"] {
            for delimiter in [None, Some(""), Some("/"), Some("c"), Some("/c/")] {
                for limit in [1, 2, 3, 1000] {
                    let mut query = Query {
                        prefix: prefix.to_owned(),
                        delimiter: delimiter.map(str::to_owned),
                        after: String::new(),
                        limit,
                    };
                    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
                    loop {
                        let page = list(bucket.path(), &query).unwrap();
                        assert!(page.objects.len() + page.prefixes.len() <= limit);
                        objects.extend(page.objects.into_iter().map(|o| o.key));
                        prefixes.extend(page.prefixes);
                        match page.next {
                            Some(next) => query.after = next,
                            None => break,
                        }
                    }
                    assert_eq!((objects, prefixes), expected(&query), "{prefix:?} {delimiter:?} {limit}");
                }
            }
        }
    }

    #[test]
    fn a_missing_bucket_is_an_error_and_no_limit_is_no_page() {
        let bucket = bucket();
        let query = Query { limit: 10, ..Query::default() };
        assert!(list(&bucket.path().join("missing"), &query).is_err());
        assert_eq!(list(bucket.path(), &Query::default()).unwrap(), Page::default());
    }
}

//! Container images as OCI archives, made without a daemon. Equal files give equal bytes: times and owners are fixed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use muster_testkit::servers::hex_digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// The user and group that images run as.
const USER: &str = "10001:10001";

/// An image with one layer.
#[derive(Debug, Default)]
pub(super) struct Image {
    entries: BTreeMap<PathBuf, Entry>,
    entrypoint: Vec<String>,
}

#[derive(Debug)]
enum Entry {
    Directory { mode: u32 },
    File { source: PathBuf, mode: u32 },
    Text { text: String },
    Link { target: PathBuf },
}

impl Image {
    pub(super) fn new(entrypoint: &[&str]) -> Self {
        let mut image =
            Self { entrypoint: entrypoint.iter().map(|s| (*s).to_owned()).collect(), ..Self::default() };
        image.directory("/tmp", 0o1777);
        image.text("/etc/passwd", "root:x:0:0::/:/none\nmuster:x:10001:10001::/:/none\n");
        image
    }

    /// Puts a file of this machine into the image.
    pub(super) fn file(&mut self, source: &Path, target: impl AsRef<Path>, mode: u32) {
        self.put(target.as_ref(), Entry::File { source: source.to_owned(), mode });
    }

    pub(super) fn text(&mut self, target: &str, text: &str) {
        self.put(Path::new(target), Entry::Text { text: text.to_owned() });
    }

    pub(super) fn directory(&mut self, target: &str, mode: u32) {
        self.put(Path::new(target), Entry::Directory { mode });
    }

    pub(super) fn link(&mut self, link: impl AsRef<Path>, target: impl AsRef<Path>) {
        self.put(link.as_ref(), Entry::Link { target: target.as_ref().to_owned() });
    }

    fn put(&mut self, target: &Path, entry: Entry) {
        let path = target.strip_prefix("/").unwrap_or(target);
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            self.entries.entry(parent.to_owned()).or_insert(Entry::Directory { mode: 0o755 });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes the archive, for `ctr images import` and `docker load`. Answers the size of all files in the image, in bytes.
    pub(super) fn write(&self, name: &str, archive: &Path) -> anyhow::Result<u64> {
        let layer = self.layer()?;
        let size = layer.len() as u64;
        let diff = digest(&layer);
        let config = to_json(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "User": USER, "Entrypoint": self.entrypoint, "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [diff] },
        }));
        let manifest = to_json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }));
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
        });
        let index = to_json(&json!({ "schemaVersion": 2, "manifests": [entry] }));
        let file = File::create(archive).with_context(|| format!("failed to write {}", archive.display()))?;
        let mut tar = Builder::new(BufWriter::new(file));
        append(&mut tar, Path::new("oci-layout"), b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
        append(&mut tar, Path::new("index.json"), &index)?;
        for blob in [&layer, &config, &manifest] {
            append(&mut tar, &Path::new("blobs/sha256").join(hex_digest(blob)), blob)?;
        }
        tar.into_inner()?.flush()?;
        Ok(size)
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            match entry {
                Entry::Directory { mode } => {
                    let mut header = header(EntryType::Directory, *mode, 0);
                    tar.append_data(&mut header, path, io::empty())?;
                }
                Entry::File { source, mode } => {
                    let content =
                        fs::read(source).with_context(|| format!("failed to read {}", source.display()))?;
                    let mut header = header(EntryType::Regular, *mode, content.len());
                    tar.append_data(&mut header, path, content.as_slice())?;
                }
                Entry::Text { text } => append(&mut tar, path, text.as_bytes())?,
                Entry::Link { target } => {
                    let mut header = header(EntryType::Symlink, 0o777, 0);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }
}

fn append(tar: &mut Builder<impl Write>, path: &Path, content: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, 0o644, content.len()), path, content)
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(blob), "size": blob.len() })
}

fn digest(blob: &[u8]) -> String {
    format!("sha256:{}", hex_digest(blob))
}

fn to_json(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The machine's architecture in the words of OCI.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_files_give_equal_archives() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "x").unwrap();
        let write = |name: &str| {
            let mut image = Image::new(&["/program"]);
            image.file(&program, "/bin/program", 0o755);
            image.link("/program", "bin/program");
            let archive = directory.path().join(name);
            image.write("localhost/x:1", &archive).unwrap();
            fs::read(archive).unwrap()
        };
        let first = write("one.tar");
        fs::write(&program, "x").unwrap();
        assert_eq!(first, write("two.tar"));
        let mut names = Vec::new();
        let mut archive = tar::Archive::new(first.as_slice());
        for entry in archive.entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().display().to_string());
        }
        assert_eq!(names[..2], ["oci-layout", "index.json"]);
        assert_eq!(names.len(), 5);
    }
}

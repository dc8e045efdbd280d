//! A unit's disk: what clients wrote, as the three products keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use muster_model::Product;

/// One write of a client.
pub type Write = u64;

/// Some writes in one piece that is uploaded as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What is in it.
    pub writes: BTreeSet<Write>,
    /// Whether the product noted that the object store has it.
    pub uploaded: bool,
}

/// What a unit has on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// Writes that are in the log alone.
    pub log: BTreeSet<Write>,
    /// Whether the log holds anything, also what was put into blocks by now.
    pub has_log: bool,
    /// Blocks, the oldest first.
    pub blocks: Vec<Block>,
}

impl Disk {
    /// Takes a write.
    pub fn append(&mut self, write: Write) {
        self.log.insert(write);
        self.has_log = true;
    }

    /// Puts what is in the log into a block.
    pub fn cut(&mut self) {
        if !self.log.is_empty() {
            let writes = std::mem::take(&mut self.log);
            self.blocks.push(Block { writes, uploaded: false });
        }
    }

    /// Uploads every block that is not noted as uploaded.
    pub fn upload(&mut self, bucket: &mut BTreeSet<Write>) {
        for block in &mut self.blocks {
            bucket.extend(&block.writes);
            block.uploaded = true;
        }
    }

    /// Everything that is on the disk.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.log.iter().chain(self.blocks.iter().flat_map(|block| &block.writes))
    }

    /// The files as `product` lays them out.
    #[must_use]
    pub fn files(&self, product: Product) -> Files {
        let mut files = BTreeMap::new();
        let mut add = |path: String, text: String| drop(files.insert(path, text));
        match product {
            Product::Mimir => {
                if self.has_log {
                    add("tsdb/anonymous/wal/00000000".to_owned(), "x".to_owned());
                }
                let mut shipped = BTreeMap::new();
                for (number, block) in self.blocks.iter().enumerate() {
                    let name = format!("01KB3Q{number:020}");
                    add(format!("tsdb/anonymous/{name}/meta.json"), "{}".to_owned());
                    if block.uploaded {
                        shipped.insert(name, 1);
                    }
                }
                let notes = serde_json::json!({ "version": 1, "shipped": shipped });
                add("tsdb/anonymous/mimir.shipper.json".to_owned(), notes.to_string());
            }
            Product::Loki => {
                if self.has_log {
                    add("wal/00000000".to_owned(), "x".to_owned());
                }
            }
            Product::Tempo => {
                if !self.log.is_empty() {
                    add("wal/u+single-tenant+vParquet4/0000000001".to_owned(), "x".to_owned());
                }
                for (number, block) in self.blocks.iter().enumerate() {
                    let directory = format!("wal/blocks/single-tenant/u{number}");
                    add(format!("{directory}/data.parquet"), "x".to_owned());
                    if block.uploaded {
                        add(format!("{directory}/flushed"), String::new());
                    }
                }
            }
        }
        Files(files)
    }
}

/// Files by path.
#[derive(Debug, Clone)]
pub struct Files(BTreeMap<String, String>);

impl muster_products::Disk for Files {
    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let inner = self.0.keys().filter_map(|path| path.strip_prefix(directory)?.strip_prefix('/'));
        let mut names: Vec<_> = inner.filter_map(|path| Some(path.split('/').next()?.to_owned())).collect();
        names.dedup();
        Ok(names)
    }

    fn text(&self, file: &str) -> io::Result<Option<String>> {
        Ok(self.0.get(file).cloned())
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        self.0.get(file).map(|text| text.len() as u64).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

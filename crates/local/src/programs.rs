//! Where the products' own programs are.

use std::env;
use std::path::PathBuf;

use muster_model::Product;

/// The product's binary: in the given directories, else on `PATH`.
#[must_use]
pub fn workload_binary(directories: &[PathBuf], product: Product) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_it =
        |file: &PathBuf| file.is_file() && file.file_name().is_some_and(|name| name == product.as_str());
    let places = directories.iter().cloned().chain(env::split_paths(&path));
    places.map(|place| if place.is_dir() { place.join(product.as_str()) } else { place }).find(is_it)
}

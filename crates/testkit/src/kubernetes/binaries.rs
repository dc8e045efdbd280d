//! The binaries of a Kubernetes cluster and of its clients, built from the modules in `tests/servers/kubernetes/go`.
//!
//! Every module has a directory of its own in the cache, named after its pin, so that a change of one rebuilds no other. The
//! cluster's script wants all binaries in one directory: that one holds links to them.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::servers::{cache, digest, workspace};

/// What Go's linker writes into variables: a package, the variable, its value.
type Stamp = (&'static str, &'static str, &'static str);

/// The version that the binaries say of themselves: the one of `go/k8s/go.mod`.
const KUBERNETES: &[Stamp] = &[
    ("k8s.io/component-base/version", "gitVersion", "v1.34.4"),
    ("k8s.io/component-base/version", "gitMajor", "1"),
    ("k8s.io/component-base/version", "gitMinor", "34"),
    ("k8s.io/component-base/version", "gitTreeState", "clean"),
    ("k8s.io/client-go/pkg/version", "gitVersion", "v1.34.4"),
];
/// helm's own version, the one of `go/helm/go.mod`, and the cluster's, which it holds charts against that it only renders.
const HELM: &[Stamp] = &[
    ("helm.sh/helm/v3/internal/version", "version", "v3.19.5"),
    ("helm.sh/helm/v3/pkg/chartutil", "k8sVersionMajor", "1"),
    ("helm.sh/helm/v3/pkg/chartutil", "k8sVersionMinor", "34"),
    ("helm.sh/helm/v3/pkg/lint/rules", "k8sVersionMajor", "1"),
    ("helm.sh/helm/v3/pkg/lint/rules", "k8sVersionMinor", "34"),
];

/// A binary of the cluster, or of a client of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    /// Its name.
    pub name: &'static str,
    /// The directory of its module below `tests/servers/kubernetes/go`.
    pub module: &'static str,
    /// The Go package of its main function.
    pub package: &'static str,
}

impl Binary {
    /// The directory with its `go.mod` and `go.sum`.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        kit().join("go").join(self.module)
    }

    /// Where it is, or is to be built: in the directory of its module's present pin.
    ///
    /// # Errors
    /// A file of the module cannot be read, or there is no place for caches.
    pub fn path(&self) -> io::Result<PathBuf> {
        let directory = format!("kubernetes-{}-{}", self.module, pin(self.module)?);
        Ok(cache()?.join("servers").join(directory).join(self.name))
    }
}

/// All that are built with Go.
pub const BINARIES: &[Binary] = &[
    Binary { name: "kube-apiserver", module: "k8s", package: "k8s.io/kubernetes/cmd/kube-apiserver" },
    Binary {
        name: "kube-controller-manager",
        module: "k8s",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
    },
    Binary { name: "kube-scheduler", module: "k8s", package: "k8s.io/kubernetes/cmd/kube-scheduler" },
    Binary { name: "kubelet", module: "k8s", package: "k8s.io/kubernetes/cmd/kubelet" },
    Binary { name: "kube-proxy", module: "k8s", package: "k8s.io/kubernetes/cmd/kube-proxy" },
    Binary { name: "kubectl", module: "k8s", package: "k8s.io/kubernetes/cmd/kubectl" },
    Binary { name: "etcd", module: "etcd", package: "go.etcd.io/etcd/server/v3" },
    Binary { name: "coredns", module: "coredns", package: "." },
    Binary { name: "helm", module: "helm", package: "helm.sh/helm/v3/cmd/helm" },
];

/// `tests/servers/kubernetes`: the script that starts a cluster, its configs and the modules.
#[must_use]
pub fn kit() -> PathBuf {
    workspace().join("tests/servers/kubernetes")
}

/// What Go's linker is told about the binaries of a module: small ones that know their version, which clients ask for.
#[must_use]
pub fn linker_flags(module: &str) -> String {
    let own = if module == "helm" { HELM } else { &[] };
    let stamps = KUBERNETES.iter().chain(own);
    let stamps: String =
        stamps.map(|(package, name, value)| format!(" -X {package}.{name}={value}")).collect();
    format!("-s -w{stamps}")
}

/// The directory with all binaries of the present pins: links to those built with Go, and `pause`.
///
/// # Errors
/// A file that is part of the pin cannot be read, or there is no place for caches.
pub fn directory() -> io::Result<PathBuf> {
    let mut parts = vec![fs::read(kit().join("pause.c"))?];
    for Binary { name, module, .. } in BINARIES {
        parts.push(format!("{name} {}", pin(module)?).into_bytes());
    }
    let pin = digest(parts.iter().map(Vec::as_slice));
    Ok(cache()?.join("servers").join(format!("kubernetes-{pin}")))
}

/// A built binary of [`directory`].
///
/// # Panics
/// It is not built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let binary = directory().expect("the cluster's pin can be read").join(name);
    assert!(binary.is_file(), "{} is missing: run `cargo xtask servers kubernetes` first", binary.display());
    binary
}

/// Names one build of a module: 16 hexadecimal digits over its files and flags.
fn pin(module: &str) -> io::Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(kit().join("go").join(module))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    // What an editor leaves behind does not count.
    files.retain(|file| file.extension().and_then(OsStr::to_str).is_some_and(is_source));
    files.sort();
    let mut parts = files.iter().map(fs::read).collect::<io::Result<Vec<_>>>()?;
    parts.push(linker_flags(module).into_bytes());
    Ok(digest(parts.iter().map(Vec::as_slice)))
}

fn is_source(extension: &str) -> bool {
    matches!(extension, "mod" | "sum" | "go")
}

/// Where `cargo xtask images` puts the images.
#[must_use]
pub fn images() -> PathBuf {
    workspace().join("target/images")
}

/// The target that the image's program is built for.
#[must_use]
pub fn image_target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

/// The profile that Muster's image is built with, as it is shipped.
pub const IMAGE_PROFILE: &str = "image";

/// The program of Muster's image, built with a profile.
#[must_use]
pub fn image_program(profile: &str) -> PathBuf {
    workspace().join("target").join(image_target()).join(profile).join("muster-bundle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binary_has_its_module_with_the_version_it_says() {
        for binary in BINARIES {
            assert!(binary.path().unwrap().ends_with(binary.name), "{}", binary.name);
        }
        let requires = |module: &str, line: &str| {
            let text = fs::read_to_string(kit().join("go").join(module).join("go.mod")).unwrap();
            assert!(text.contains(line), "{module} does not require {line}");
        };
        requires("k8s", &format!("k8s.io/kubernetes {}\n", KUBERNETES[0].2));
        requires("helm", &format!("helm.sh/helm/v3 {} ", HELM[0].2));
    }

    #[test]
    fn modules_are_built_apart_and_gathered() {
        let module = |name: &str| {
            let binary = BINARIES.iter().find(|binary| binary.name == name).unwrap();
            binary.path().unwrap().parent().unwrap().to_owned()
        };
        assert_eq!(module("kubelet"), module("kubectl"));
        assert_ne!(module("kubelet"), module("helm"));
        assert_eq!(module("helm").parent(), directory().unwrap().parent());
    }
}

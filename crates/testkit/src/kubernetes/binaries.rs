//! The binaries of a Kubernetes cluster, built from the modules in `tests/servers/kubernetes/go`.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::servers::{cache, digest, workspace};

/// The version that the binaries say of themselves: the one of `go/k8s/go.mod`.
const VERSION: &str = "v1.34.4";

/// A binary of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    /// Its name.
    pub name: &'static str,
    /// The directory of its module below `tests/servers/kubernetes/go`.
    pub module: &'static str,
    /// The Go package of its main function.
    pub package: &'static str,
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
];

/// `tests/servers/kubernetes`: the script that starts a cluster, its configs and the modules.
#[must_use]
pub fn kit() -> PathBuf {
    workspace().join("tests/servers/kubernetes")
}

/// What Go's linker is told: small binaries that know their version, which clients ask for.
#[must_use]
pub fn linker_flags() -> String {
    let stamp = |name: &str, value: &str| format!(" -X k8s.io/component-base/version.{name}={value}");
    let client = format!(" -X k8s.io/client-go/pkg/version.gitVersion={VERSION}");
    let stamps = [("gitVersion", VERSION), ("gitMajor", "1"), ("gitMinor", "34"), ("gitTreeState", "clean")];
    let stamps: String = stamps.iter().map(|(name, value)| stamp(name, value)).collect();
    format!("-s -w{stamps}{client}")
}

/// Where the binaries of the present pins are, or are to be.
///
/// # Errors
/// A file that is part of the pin cannot be read, or there is no place for caches.
pub fn directory() -> io::Result<PathBuf> {
    let mut files = vec![kit().join("pause.c"), kit().join("go/coredns/main.go")];
    for module in ["k8s", "etcd", "coredns"] {
        files.push(kit().join("go").join(module).join("go.mod"));
        files.push(kit().join("go").join(module).join("go.sum"));
    }
    let mut parts = files.iter().map(fs::read).collect::<io::Result<Vec<_>>>()?;
    parts.push(linker_flags().into_bytes());
    let pin = digest(parts.iter().map(Vec::as_slice));
    Ok(cache()?.join("servers").join(format!("kubernetes-{pin}")))
}

/// Where `cargo xtask images` puts the images.
#[must_use]
pub fn images() -> PathBuf {
    workspace().join("target/images")
}

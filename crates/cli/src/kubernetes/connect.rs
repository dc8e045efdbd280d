//! Which cluster: kubeconfig files, their context, and the cluster that a pod is on.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::refusal::chain;
use super::{Kubernetes, proxy};
use crate::args::Cluster;
use crate::failure::Failure;

/// How long a connection may take to come up: less than a request may, so that it can be said which of the two failed.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Where a pod finds its identity.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Whether there is a kubeconfig, or this is a pod.
pub(crate) fn is_cluster_known() -> bool {
    !kubeconfigs().is_empty() || is_pod()
}

fn is_pod() -> bool {
    env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(POD_TOKEN).exists()
}

/// The kubeconfig files that are there, the most important first. As kubectl does, `$KUBECONFIG` may name some that
/// are not.
fn kubeconfigs() -> Vec<PathBuf> {
    let named = env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    let named: Option<Vec<PathBuf>> = named.map(|list| env::split_paths(&list).collect());
    let usual = || env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    let paths = named.unwrap_or_else(|| usual().into_iter().collect());
    paths.into_iter().filter(|path| path.is_file()).collect()
}

impl Kubernetes {
    /// Makes a client for the cluster that the flags name, or for the current one. Sends nothing yet.
    pub(crate) async fn connect(flags: &Cluster) -> Result<Self, Failure> {
        let files = flags.kubeconfig.as_ref().map_or_else(kubeconfigs, |file| vec![file.clone()]);
        let (mut config, context) = if files.is_empty() && flags.context.is_none() && is_pod() {
            let config = Config::incluster_env().map_err(|error| Failure::of(&error))?;
            (config, None)
        } else {
            let (config, context) = from_files(&files, flags.context.as_deref()).await?;
            (config, Some(context))
        };
        config.connect_timeout = Some(CONNECT_DEADLINE);
        let namespace = flags.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| no_client(&server, &chain(&error)))?;
        Ok(Self::new(client, namespace, context, server))
    }
}

fn no_client(server: &str, why: &str) -> Failure {
    let failure = Failure::new(format!("no client can be made for {server}: {why}"));
    if why.contains("UnsupportedCertVersion") {
        return failure.hint("the kubeconfig's client certificate is X.509 version 1: make one of version 3");
    }
    failure
}

/// What kubeconfig files say of a context, or of the current one, and its name.
async fn from_files(files: &[PathBuf], context: Option<&str>) -> Result<(Config, String), Failure> {
    if files.is_empty() {
        return Err(Failure::new("no cluster is known: there is no kubeconfig")
            .hint("name one: --kubeconfig FILE, or $KUBECONFIG"));
    }
    let unusable = |error: KubeconfigError| {
        let paths: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        Failure::new(format!("kubeconfig {}: {}", paths.join(", "), Failure::of(&error)))
    };
    let mut kubeconfig = Kubeconfig::default();
    for file in files {
        let next = Kubeconfig::read_from(file).map_err(unusable)?;
        kubeconfig = kubeconfig.merge(next).map_err(unusable)?;
    }
    let (context, own_proxy) = chosen(&kubeconfig, context)?;
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?;
    // The library compares NO_PROXY with the proxy's own host.
    let exceptions = env::var("NO_PROXY").or_else(|_| env::var("no_proxy")).unwrap_or_default();
    if !own_proxy && proxy::is_direct(&exceptions, config.cluster_url.host().unwrap_or_default()) {
        config.proxy_url = None;
    }
    Ok((config, context))
}

/// The context's name, and whether its cluster names a proxy of its own.
fn chosen(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(String, bool), Failure> {
    let names = || {
        let names: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
        if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) }
    };
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let name = context.or(current).ok_or_else(|| {
        Failure::new(format!("the kubeconfig has no current context; {}", names()))
            .hint("choose one: --context NAME, or kubectl config use-context NAME")
    })?;
    let found = kubeconfig.contexts.iter().find(|context| context.name == name);
    let context = found
        .and_then(|named| named.context.as_ref())
        .ok_or_else(|| Failure::new(format!("the kubeconfig has no context {name:?}; {}", names())))?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let proxy = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_ref());
    Ok((name.to_owned(), proxy.is_some_and(|proxy| !proxy.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters:
- {name: near, cluster: {server: 'https://127.0.0.1:6443'}}
- {name: far, cluster: {server: 'https://far.example:6443', proxy-url: 'http://proxy:3128'}}
contexts:
- {name: dev, context: {cluster: near, user: me, namespace: team}}
- {name: prod, context: {cluster: far, user: me}}
users: [{name: me, user: {token: abc}}]
";

    fn kubeconfig(current: &str) -> Kubeconfig {
        Kubeconfig::from_yaml(&format!("{KUBECONFIG}{current}")).unwrap()
    }

    #[test]
    fn the_context_is_the_one_that_is_named_or_the_current_one() {
        let current = kubeconfig("current-context: dev");
        assert_eq!(chosen(&current, None).unwrap(), ("dev".to_owned(), false));
        assert_eq!(chosen(&current, Some("prod")).unwrap(), ("prod".to_owned(), true));
        let unknown = chosen(&current, Some("other")).unwrap_err().to_string();
        assert!(unknown.contains("dev, prod"), "{unknown}");
        for none in ["", "current-context: ''"] {
            let error = chosen(&kubeconfig(none), None).unwrap_err().to_string();
            assert!(error.contains("no current context"), "{error}");
        }
    }

    #[tokio::test]
    async fn files_are_merged_and_mistakes_in_them_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a"), "current-context: dev\n").unwrap();
        std::fs::write(path("b"), KUBECONFIG).unwrap();
        std::fs::write(path("bad"), "contexts: 3\n").unwrap();
        let (config, context) = from_files(&[path("a"), path("b")], None).await.unwrap();
        assert_eq!((context.as_str(), config.default_namespace.as_str()), ("dev", "team"));
        assert_eq!(config.cluster_url.host(), Some("127.0.0.1"));
        for (files, expected) in
            [(vec![], "no kubeconfig"), (vec![path("none")], "none"), (vec![path("bad")], "bad")]
        {
            let error = from_files(&files, None).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

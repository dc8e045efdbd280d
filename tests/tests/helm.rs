//! The Helm chart, as helm itself renders it: by default it is `deploy/operator.yaml`.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use muster_model::yaml;
use muster_testkit::kubernetes::binaries;
use muster_testkit::servers::workspace;
use serde_json::{Value, json};

/// Objects by kind, namespace (empty for the cluster's) and name.
type Objects = BTreeMap<(String, String, String), Value>;

/// The labels that only the chart gives.
const CHART_LABELS: [&str; 4] = [
    "helm.sh/chart",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
];

fn helm(arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::built("helm"));
    command.current_dir(workspace().join("deploy/helm")).args(arguments);
    // Nothing of the user's: no namespace, no cluster, no plugins.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HELM_")) {
        command.env_remove(name);
    }
    command.env_remove("KUBECONFIG").output().expect("helm can be started")
}

fn template(release: &str, namespace: &str, settings: &[&str]) -> Output {
    let mut arguments = vec!["template", release, "muster", "--namespace", namespace];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
    helm(&arguments)
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("helm writes UTF-8")
}

fn refusal(settings: &[&str]) -> String {
    let output = template("muster", "muster-system", settings);
    assert!(!output.status.success(), "helm takes {settings:?}");
    String::from_utf8(output.stderr).expect("helm writes UTF-8")
}

/// What the chart renders to, without the labels that only it gives.
fn rendered(release: &str, namespace: &str, settings: &[&str]) -> Objects {
    let mut objects = objects(&text(template(release, namespace, settings)));
    for (key, object) in &mut objects {
        let metadata = object["metadata"].as_object_mut().expect("every object has metadata");
        let labels = metadata["labels"].as_object_mut().expect("the chart labels everything");
        for label in CHART_LABELS {
            assert!(labels.remove(label).is_some(), "{key:?} has no {label}");
        }
        if labels.is_empty() {
            metadata.remove("labels");
        }
    }
    objects
}

fn objects(text: &str) -> Objects {
    let mut objects = Objects::new();
    for object in yaml::documents::<Value>(text).expect("what helm renders is YAML") {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let key = (word(&object["kind"]), word(&metadata["namespace"]), word(&metadata["name"]));
        assert!(objects.insert(key.clone(), object).is_none(), "{key:?} is there twice");
    }
    objects
}

fn the<'a>(objects: &'a Objects, kind: &str) -> &'a Value {
    let all: Vec<_> = objects.iter().filter(|((of, ..), _)| of == kind).map(|(_, object)| object).collect();
    assert_eq!(all.len(), 1, "objects of kind {kind}");
    all[0]
}

fn keys(objects: &Objects) -> Vec<[&str; 3]> {
    objects.keys().map(|(kind, namespace, name)| [kind.as_str(), namespace.as_str(), name.as_str()]).collect()
}

#[test]
fn by_default_it_is_the_operator_of_the_plain_manifests() {
    let path = workspace().join("deploy/operator.yaml");
    let mut plain = objects(&std::fs::read_to_string(path).unwrap());
    // `helm install --create-namespace` makes it.
    plain.retain(|(kind, ..), _| kind != "Namespace");
    let chart = rendered("muster", "muster-system", &[]);
    assert_eq!(keys(&chart), keys(&plain));
    for (key, object) in &plain {
        assert_eq!(chart[key], *object, "{key:?}");
    }
}

#[test]
fn it_installs_the_custom_resources_of_the_plain_manifests() {
    let kinds = objects(&text(helm(&["show", "crds", "muster"])));
    assert_eq!(kinds.len(), 3);
    for ((_, _, name), object) in kinds {
        let path = workspace().join("deploy/crds").join(format!("{name}.yaml"));
        assert_eq!(yaml::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap(), object);
    }
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    text(helm(&["lint", "--strict", "muster"]));
}

#[test]
fn values_that_it_does_not_know_are_refused() {
    for (setting, word) in [
        ("replica=2", "replica"),
        ("image.name=x", "name"),
        ("replicas=many", "replicas"),
        ("logFormat=xml", "logFormat"),
        ("watchNamespace=Team_A", "watchNamespace"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
    ] {
        let said = refusal(&[setting]);
        assert!(said.contains("values don't meet the specifications") && said.contains(word), "{said}");
    }
}

#[test]
fn in_one_namespace_it_has_rights_there_only() {
    let everywhere = rendered("muster", "muster-system", &[]);
    let objects = rendered("muster", "muster-system", &["watchNamespace=team-a"]);
    assert_eq!(
        keys(&objects),
        [
            ["Deployment", "muster-system", "muster-operator"],
            ["Role", "muster-system", "muster-operator"],
            ["Role", "team-a", "muster-operator-muster-system"],
            ["RoleBinding", "muster-system", "muster-operator"],
            ["RoleBinding", "team-a", "muster-operator-muster-system"],
            ["ServiceAccount", "muster-system", "muster-operator"],
            ["ValidatingAdmissionPolicy", "", "muster-deletion-team-a"],
            ["ValidatingAdmissionPolicy", "", "muster-nesting-team-a"],
            ["ValidatingAdmissionPolicy", "", "muster-unit-reports-team-a"],
            ["ValidatingAdmissionPolicyBinding", "", "muster-deletion-team-a"],
            ["ValidatingAdmissionPolicyBinding", "", "muster-nesting-team-a"],
            ["ValidatingAdmissionPolicyBinding", "", "muster-unit-reports-team-a"],
        ]
    );
    let of = |kind: &str| {
        &objects[&(kind.to_owned(), "team-a".to_owned(), "muster-operator-muster-system".to_owned())]
    };
    assert_eq!(of("Role")["rules"], the(&everywhere, "ClusterRole")["rules"]);
    assert_eq!(of("RoleBinding")["subjects"], the(&everywhere, "ClusterRoleBinding")["subjects"]);
    assert_eq!(
        of("RoleBinding")["roleRef"],
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "muster-operator-muster-system" })
    );
    for name in ["muster-deletion-team-a", "muster-nesting-team-a", "muster-unit-reports-team-a"] {
        let binding = ("ValidatingAdmissionPolicyBinding".to_owned(), String::new(), name.to_owned());
        assert_eq!(
            objects[&binding]["spec"],
            json!({
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "team-a" } } },
            })
        );
    }
    assert_eq!(
        the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["command"],
        json!(["/coordinator", "operate", "--namespace", "team-a"])
    );
}

#[test]
fn releases_do_not_share_names() {
    let names = |release, namespace, settings: &[&str]| -> Vec<_> {
        rendered(release, namespace, settings).into_keys().collect()
    };
    let first = names("muster", "muster-system", &[]);
    for other in [
        names("other", "muster-other", &[]),
        names("other", "muster-system", &[]),
        names("muster", "team-a", &["watchNamespace=team-a"]),
        names("muster", "muster-other", &["watchNamespace=team-a"]),
    ] {
        assert!(other.iter().all(|name| !first.contains(name)), "{other:?}");
    }
    // A namespace of digits is a text all the same, and the longest release still fits a label.
    let long = "m".repeat(53);
    let objects = rendered(&long, "123", &[]);
    let deployment = the(&objects, "Deployment");
    assert_eq!(deployment["metadata"]["namespace"], "123");
    let name = format!("{long}-operator");
    assert_eq!(deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"], name);
    assert!(name.len() <= 63);
}

#[test]
fn values_reach_the_pods() {
    let objects = rendered(
        "muster",
        "muster-system",
        &[
            "replicas=2",
            "image.repository=registry.example/muster",
            "image.tag=1.2.3",
            "image.pullPolicy=Always",
            "imagePullSecrets[0].name=pull",
            "logFormat=text",
            "resources.limits.memory=1Gi",
            "nodeSelector.disk=ssd",
            "tolerations[0].operator=Exists",
            "affinity.nodeAffinity.x=y",
            "priorityClassName=high",
            "podLabels.team=metrics",
            r"podLabels.app\.kubernetes\.io/name=mine",
            "podAnnotations.note=text",
        ],
    );
    let spec = &the(&objects, "Deployment")["spec"];
    assert_eq!(spec["replicas"], 2);
    let template = &spec["template"];
    // What the Deployment finds its pods by is not for values to change.
    assert_eq!(
        template["metadata"],
        json!({
            "labels": { "app.kubernetes.io/name": "muster-operator", "team": "metrics" },
            "annotations": { "note": "text" },
        })
    );
    let pod = &template["spec"];
    for (field, value) in [
        ("imagePullSecrets", json!([{ "name": "pull" }])),
        ("nodeSelector", json!({ "disk": "ssd" })),
        ("tolerations", json!([{ "operator": "Exists" }])),
        ("affinity", json!({ "nodeAffinity": { "x": "y" } })),
        ("priorityClassName", json!("high")),
    ] {
        assert_eq!(pod[field], value, "{field}");
    }
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example/muster:1.2.3");
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
    let variable = |name: &str| {
        let all = container["env"].as_array().unwrap();
        all.iter().find(|variable| variable["name"] == name).map(|variable| variable["value"].clone())
    };
    // Units take their agent from the operator's own image.
    assert_eq!(variable("MUSTER_IMAGE"), Some(json!("registry.example/muster:1.2.3")));
    assert_eq!(variable("MUSTER_LOG_FORMAT"), Some(json!("text")));
}

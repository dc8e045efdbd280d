//! `muster export`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use muster_api::{Document, secret_values};
use muster_model::{AppName, yaml};
use serde_json::{Map, Value, json};

use crate::applications::{Applications, Nature, nature};
use crate::args::{self, Format};
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::settings::HIDDEN;
use crate::substrate::Substrate;

/// Stands beside a value that is not shown.
const NOT_SHOWN: &str = "# not shown without --show-secrets";

/// Prints the model as documents that `muster up` and `kubectl apply` take.
pub(crate) async fn run(
    args: args::Export,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let apps = Applications::new(substrate.documents().await?);
    let certificates: BTreeSet<&str> =
        apps.iter().filter_map(|(_, document)| certificate(document)).collect();
    let is_of_model = |name: &AppName, document: &Document| {
        !substrate.is_shared()
            || nature(document) != Nature::Certificate
            || certificates.contains(name.as_str())
    };
    // What the coordinator made for a while is nobody's to make elsewhere.
    let is_lasting = |document: &Document| !matches!(document, Document::Worker(w) if w.is_temporary());
    let exported = apps.iter().filter(|(name, document)| is_of_model(name, document) && is_lasting(document));
    let exported = exported.map(|(_, document)| export(document, args.show_secrets));
    let exported = exported.collect::<Result<Vec<_>, _>>()?;
    match args.output {
        Format::Json => {
            printer.value(&exported.iter().map(Exported::whole).collect::<Vec<_>>(), Format::Json)?
        }
        Format::Yaml => {
            let texts = exported.iter().map(Exported::yaml).collect::<Result<Vec<_>, _>>()?;
            printer.data(&texts.join("---\n"))?;
        }
    }
    for remark in substrate.left_out() {
        printer.say(remark);
    }
    Ok(Answer::Yes)
}

/// The Secret with the certificate that a coordinator names.
fn certificate(document: &Document) -> Option<&str> {
    match document {
        Document::Coordinator(coordinator) => coordinator.spec.tls.as_ref().map(|tls| tls.secret.as_str()),
        Document::Worker(_) | Document::Secret(_) => None,
    }
}

/// A document without what only its substrate knows.
struct Exported {
    document: Value,
    /// The texts of a Secret; `None` is not shown.
    texts: Vec<(String, Option<String>)>,
}

fn export(document: &Document, show_secrets: bool) -> Result<Exported, Failure> {
    let mut value = serde_json::to_value(document).map_err(Failure::new)?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|key, _| key != "status" && key != "data" && key != "stringData");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            metadata.retain(|key, _| matches!(key.as_str(), "name" | "labels" | "annotations"));
        }
    }
    let texts = match document {
        Document::Secret(secret) => texts(secret, nature(document), show_secrets)?,
        Document::Coordinator(_) | Document::Worker(_) => Vec::new(),
    };
    Ok(Exported { document: value, texts })
}

/// A Secret's values. Without `show_secrets` only what an S3 Secret holds beside its keys.
fn texts(
    secret: &Secret,
    nature: Nature,
    show_secrets: bool,
) -> Result<Vec<(String, Option<String>)>, Failure> {
    let public = |key: &str| nature == Nature::ObjectStore && is_public(key);
    let values = secret_values(secret).map_err(Failure::new)?;
    let shown = |(key, value): (String, muster_model::Secret)| {
        let text = (show_secrets || public(&key)).then(|| value.expose().to_owned());
        (key, text)
    };
    Ok(values.into_iter().map(shown).collect())
}

/// Whether an S3 Secret's key is an option that is no secret.
fn is_public(key: &str) -> bool {
    !HIDDEN.contains(&key) && muster_products::charm::s3_integrator().options.contains_key(key)
}

impl Exported {
    /// The document with its texts, hidden ones empty: what is applied like that is reported as missing.
    fn whole(&self) -> Value {
        let mut document = self.document.clone();
        if !self.texts.is_empty() {
            let texts = self
                .texts
                .iter()
                .map(|(key, text)| (key.clone(), json!(text.as_deref().unwrap_or_default())));
            document["stringData"] = Value::Object(texts.collect::<Map<_, _>>());
        }
        document
    }

    /// The document with its texts, and a remark where one is hidden.
    fn yaml(&self) -> Result<String, Failure> {
        let mut text = yaml::to_string(&self.document).map_err(Failure::new)?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if !self.texts.is_empty() {
            text.push_str("stringData:\n");
        }
        for (key, value) in &self.texts {
            let line = yaml::to_string(&json!({ key: value.as_deref().unwrap_or_default() }))
                .map_err(Failure::new)?;
            let remark = if value.is_none() { format!(" {NOT_SHOWN}") } else { String::new() };
            for line in line.trim_end().lines() {
                text.push_str(&format!("  {line}{remark}\n"));
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use muster_api::Document;

    use crate::fake::{Fake, model};
    use crate::verbs::tests::{data, run, said};

    const CERTIFICATE: &str = "
apiVersion: v1
kind: Secret
metadata: {name: cert, uid: 1-2}
type: kubernetes.io/tls
data: {tls.key: LS0tLS1CRUdJTgpQUklWQVRFIEtFWQo=}
";

    #[tokio::test]
    async fn with_secrets_the_model_comes_back_as_it_was() {
        let mut fake = Fake::with_model("");
        let text = data(&run(&mut fake, &["export", "--show-secrets"]).await);
        let mut again = Document::parse_stream(&text).unwrap();
        again.sort_by_key(|d| d.name().unwrap());
        let before: Vec<Document> = model("").iter().map(|(_, d)| d.clone()).collect();
        assert_eq!(again, before, "{text}");
        let json = data(&run(&mut fake, &["export", "--show-secrets", "-o", "json"]).await);
        assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&json).unwrap().len(), 3);
    }

    #[tokio::test]
    async fn what_others_keep_beside_the_model_is_not_exported() {
        let more = "{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: loki}, spec: {product: loki, tls: {secret: cert}}}\n---\n";
        let other = CERTIFICATE.replace("name: cert", "name: other");
        let mut fake = Fake::with_model(&format!("{more}{CERTIFICATE}---{other}"));
        assert!(data(&run(&mut fake, &["export"]).await).contains("name: other"));
        fake.shared = true;
        fake.left_out = vec!["a Secret may not be read".to_owned()];
        let done = run(&mut fake, &["export"]).await;
        assert!(!data(&done).contains("name: other") && data(&done).contains("name: cert"));
        assert_eq!(said(&done), "a Secret may not be read\n");
    }

    #[tokio::test]
    async fn without_it_no_secret_is_printed() {
        let mut fake = Fake::with_model(CERTIFICATE);
        for format in ["json", "yaml"] {
            let text = data(&run(&mut fake, &["export", "-o", format]).await);
            for hidden in ["hunter2", "key-id", "PRIVATE", "LS0tLS1", "1-2"] {
                assert!(!text.contains(hidden), "{text}");
            }
            assert!(text.contains("http://127.0.0.1:9000"), "{text}");
        }
        let text = data(&run(&mut fake, &["export"]).await);
        assert!(text.contains("secret-key: \"\" # not shown without --show-secrets"), "{text}");
        assert_eq!(Document::parse_stream(&text).unwrap().len(), 4);
        let shown = data(&run(&mut fake, &["export", "--show-secrets"]).await);
        assert!(shown.contains("PRIVATE KEY"), "{shown}");
    }
}

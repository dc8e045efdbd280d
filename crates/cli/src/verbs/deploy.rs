//! `muster deploy`.

use muster_api::Document;
use muster_model::AppName;

use crate::applications::{Applications, Nature, nature};
use crate::args;
use crate::deploy;
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::settings;
use crate::substrate::{Substrate, Write};
use crate::text::counted;

/// Makes an application.
pub(crate) async fn run(
    args: args::Deploy,
    substrate: &mut impl Substrate,
    printer: &mut Printer<'_>,
) -> Result<Answer, Failure> {
    let charm = deploy::find(&args.charm)?;
    let name = match args.name {
        Some(name) => name,
        None => AppName::new(charm.name.to_string()).map_err(Failure::new)?,
    };
    let mut given = args.settings;
    if let Some(file) = args.secret_key_file {
        if charm.kind != muster_products::charm::CharmKind::S3Integrator {
            return Err(deploy::DeployError::NoSecretKey(charm.name.to_string()).into());
        }
        given.push(format!("secret-key=@{file}"));
    }
    let settings = settings::parse(&given, settings::read_file).map_err(Failure::new)?;
    let document = deploy::document(charm, &name, args.units, &settings)?;

    let apps = Applications::new(substrate.documents().await?);
    if takes_name(&apps, &name, &document) {
        return Err(Failure::new(format!("application {name} is in the model already"))
            .hint(format!("choose another name: muster deploy {} NAME", charm.name)));
    }
    let has_units = document.kind() != muster_api::Kind::Secret;
    let next = next_step(&apps, &name, &document);
    substrate.apply(vec![document], Write::Create).await?;
    let units = if has_units { format!(", {}", counted(args.units, "unit")) } else { String::new() };
    printer.say(&format!("Deployed {name} from charm {}{units}", charm.name));
    if let Some(next) = next {
        printer.say(&format!("hint: {next}"));
    }
    Ok(Answer::Yes)
}

/// Whether the name is taken. A certificate is no application: it takes a name from other Secrets only.
fn takes_name(apps: &Applications, name: &AppName, document: &Document) -> bool {
    let is_secret = document.kind() == muster_api::Kind::Secret;
    apps.get(name)
        .is_ok_and(|there| is_secret || !matches!(nature(there), Nature::Certificate | Nature::OtherSecret))
}

/// What a new application needs next.
fn next_step(apps: &Applications, name: &AppName, document: &Document) -> Option<String> {
    let product_of = |document: &Document| match document {
        Document::Coordinator(coordinator) => Some(coordinator.spec.product.clone()),
        Document::Worker(worker) => worker.spec.product.clone(),
        Document::Secret(_) => None,
    };
    match document {
        Document::Coordinator(_) => {
            Some(format!("it needs an object store: muster integrate {name} S3-APPLICATION"))
        }
        Document::Worker(_) => {
            let product = product_of(document)?;
            let coordinator = apps.iter().find(|(_, other)| {
                matches!(other, Document::Coordinator(_)) && product_of(other).as_deref() == Some(&product)
            });
            Some(match coordinator {
                Some((coordinator, _)) => {
                    format!("it needs its coordinator: muster integrate {coordinator} {name}")
                }
                None => format!("it needs a coordinator: muster deploy {product}-coordinator-k8s"),
            })
        }
        Document::Secret(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Fake, app};
    use crate::verbs::tests::{run, said};

    #[tokio::test]
    async fn a_worker_is_made_and_the_next_step_said() {
        let mut fake = Fake::with_model("");
        let done = run(&mut fake, &["deploy", "mimir-worker-k8s", "mimir-write", "-n", "2"]).await;
        assert_eq!(
            said(&done),
            "Deployed mimir-write from charm mimir-worker-k8s, 2 units\n\
             hint: it needs its coordinator: muster integrate mimir mimir-write\n"
        );
        assert!(fake.applications().get(&app("mimir-write")).is_ok());
        assert_eq!(fake.writes, ["Create Worker mimir-write"]);
    }

    #[tokio::test]
    async fn names_are_unique_across_kinds() {
        for charm in ["mimir-worker-k8s", "mimir-coordinator-k8s", "s3-integrator"] {
            let mut fake = Fake::with_model("");
            let error = run(&mut fake, &["deploy", charm, "mimir"]).await.unwrap_err().to_string();
            assert!(error.contains("in the model already"), "{error}");
            assert!(fake.writes.is_empty());
        }
    }

    #[tokio::test]
    async fn secret_keys_come_from_files_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter3\n").unwrap();
        let path = file.path().to_str().unwrap();
        let mut fake = Fake::with_model("");
        let shown =
            said(&run(&mut fake, &["deploy", "s3-integrator", "s4", "--secret-key-file", path]).await);
        assert!(!shown.contains("hunter3"));
        let muster_api::Document::Secret(secret) = fake.documents.pop().unwrap() else { panic!() };
        assert_eq!(secret.string_data.unwrap()["secret-key"], "hunter3");
        let plain =
            run(&mut fake, &["deploy", "s3-integrator", "s5", "--config", "secret-key=hunter3"]).await;
        assert!(plain.unwrap_err().to_string().contains("secret-key=@FILE"));
        assert!(run(&mut fake, &["deploy", "mimir-worker-k8s", "--secret-key-file", path]).await.is_err());
    }
}

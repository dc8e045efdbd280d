//! `muster check`: what the planner would say of documents, and the workloads' binaries of their configs, without a model. The object
//! store is taken to answer: whether it does is for a model that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use muster_api::{Coordinator, Document, DocumentError, S3_SECRET_TYPE, Worker, secret_values};
use muster_model::{
    AppName, Finding, ObjectStorage, Reason, Secret, Subject, TlsMaterial, WorkloadStatus, yaml,
};
use muster_planner::{
    CarryOver, Claim, ObjectStore, Observed, ObservedWorker, Probe, RemoteWriteTarget, Seeds, Tls, contested,
    plan,
};

use crate::applications::TLS_SECRET_TYPE;
use crate::config_check::{Checkers, Said};
use crate::failure::{Answer, Failure};
use crate::printer::Printer;
use crate::table::{Cell, Column, Table};
use crate::{args, programs, status_view, text};

/// Why files cannot be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// A file cannot be read.
    #[error("cannot read {}: {problem}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// Reads the files and prints every finding.
pub(crate) async fn run(args: args::Check, printer: &mut Printer<'_>) -> Result<Answer, Failure> {
    programs::directories(&args.search)?;
    let checkers = Checkers { search: args.search, nginx: programs::nginx(args.nginx)? };
    let mut documents = Vec::new();
    let mut unreadable = Vec::new();
    for path in &args.files {
        let text = read(path).map_err(Failure::new)?;
        match parse(&text) {
            Ok(more) => documents.extend(more),
            Err(problem) => unreadable.push(format!("{}: {problem}", path.display())),
        }
    }
    if !unreadable.is_empty() {
        // What the rest means cannot be judged while a part of it is unknown.
        for problem in unreadable {
            printer.say(&format!("ERROR {problem}"));
        }
        return Ok(Answer::No);
    }
    let mut said = Said::default();
    for (observed, _) in observe(&named(&documents)) {
        checkers.ask(&observed, &mut said).await?;
    }
    let mut findings = findings(&documents);
    findings.extend(said.findings);
    sort(&mut findings);
    let errors = findings.iter().filter(|f| f.status > WorkloadStatus::Active).count();
    match args.output {
        Some(format) => printer.value(&findings, format)?,
        None if findings.is_empty() => {}
        None => printer.data(&table(&findings, printer))?,
    }
    said.lines.iter().for_each(|line| printer.say(line));
    if !said.failed.is_empty() {
        return Err(Failure::new(said.failed.join("; ")));
    }
    let read = text::counted(u32::try_from(documents.len()).unwrap_or(u32::MAX), "document");
    printer.say(&match errors {
        0 => format!("{read} checked, nothing is wrong"),
        _ => format!(
            "{read} checked, {} to fix",
            text::counted(u32::try_from(errors).unwrap_or(u32::MAX), "thing")
        ),
    });
    Ok(if errors == 0 { Answer::Yes } else { Answer::No })
}

/// Reads a file, `-` meaning standard input, within the limit of YAML texts.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CheckError> {
    let failed =
        |problem: std::io::Error| CheckError::Read { path: path.to_owned(), problem: problem.to_string() };
    let mut bytes = Vec::new();
    let limit = yaml::MAX_LEN as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(failed)?;
    }
    Ok(bytes)
}

/// Reads documents within the limits of size and encoding.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Document>, String> {
    if bytes.len() > yaml::MAX_LEN {
        return Err(format!("it has more than {} bytes", yaml::MAX_LEN));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|e| format!("byte {} is not UTF-8", e.valid_up_to() + 1))?;
    Document::parse_stream(text).map_err(|e: DocumentError| e.to_string())
}

/// Findings as a table, every message in full below its line where it had to be cut.
fn table(findings: &[Finding], printer: &Printer<'_>) -> String {
    let mut table = Table::new([Column::new("App"), Column::new("Status").cut(8, 11), Column::new("Reason")]);
    for finding in findings {
        let status = Cell::new(finding.status.as_str()).styled(status_view::colour_of(finding.status));
        table.push([Cell::new(subject(finding)), status, Cell::new(finding.reason.as_str())]);
    }
    let width = printer.screen.width;
    let mut rows = table.lay_out(width, printer.screen.colour).lines.into_iter();
    let mut lines: Vec<String> = rows.next().into_iter().collect();
    for (row, finding) in rows.zip(findings) {
        lines.push(row);
        let message = text::wrap(&text::plain(&finding.message), width.saturating_sub(4));
        lines.extend(message.into_iter().map(|line| format!("    {line}")));
    }
    lines.join("\n")
}

/// What a finding is about.
pub(crate) fn subject(finding: &Finding) -> String {
    match &finding.subject {
        Subject::Application(name) => name.to_string(),
        Subject::Unit(name) => name.to_string(),
    }
}

/// Everything that is wrong with the documents, by application, the worst first.
pub(crate) fn findings(documents: &[Document]) -> Vec<Finding> {
    let named = named(documents);
    let mut findings = duplicates(&named);
    for (observed, note) in observe(&named) {
        findings.extend(note);
        findings.extend(plan(&observed, Timestamp::UNIX_EPOCH).findings);
    }
    let coordinators: BTreeSet<&str> = coordinators(&named).map(|(name, _)| name.as_str()).collect();
    for (name, worker) in workers(&named, None) {
        let coordinator = worker.spec.coordinator.as_deref();
        if !coordinator.is_some_and(|name| coordinators.contains(name)) {
            let status = muster_planner::unrelated_worker(name, coordinator);
            findings.push(Finding::application(
                name,
                status.status,
                Reason::CoordinatorMissing,
                status.message,
            ));
        }
    }
    sort(&mut findings);
    findings.dedup();
    findings
}

/// By application, the worst first.
fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| (finding.subject.clone(), std::cmp::Reverse(finding.status)));
}

/// Documents with their names.
pub(crate) fn named(documents: &[Document]) -> Vec<(AppName, &Document)> {
    documents.iter().filter_map(|document| Some((document.name().ok()?, document))).collect()
}

fn coordinators<'a>(
    named: &'a [(AppName, &Document)],
) -> impl Iterator<Item = (&'a AppName, &'a Coordinator)> {
    named.iter().filter_map(|(name, document)| match document {
        Document::Coordinator(coordinator) => Some((name, coordinator.as_ref())),
        Document::Worker(_) | Document::Secret(_) => None,
    })
}

/// What the planner would observe of each coordinator, were the documents a model of which nothing runs yet; with a remark where they
/// leave something to whoever runs them.
pub(crate) fn observe(named: &[(AppName, &Document)]) -> Vec<(Observed, Option<Finding>)> {
    let stores = object_stores(named);
    let coordinators: BTreeMap<&AppName, &Coordinator> = coordinators(named).collect();
    let claims = coordinators.iter().filter_map(|(name, coordinator)| {
        let store = stores.get(coordinator.spec.s3.as_ref()?.secret.as_str())?;
        Some(Claim { coordinator: (*name).clone(), storage: store.as_ref().ok()?, carry: None })
    });
    let taken = contested(claims);
    let of = |(name, coordinator): (&&AppName, &&Coordinator)| {
        let (object_store, note) = object_store(name, coordinator, &stores, taken.get(*name));
        let observed = Observed {
            name: (*name).clone(),
            cluster_id: name.to_string(),
            spec: coordinator.spec.clone(),
            removing: false,
            balancers: BTreeMap::new(),
            workers: workers(named, Some(name))
                .map(|(name, worker)| (name.clone(), observed(worker)))
                .collect(),
            object_store,
            tls: tls(coordinator, named),
            remote_write: remote_write(coordinator, &coordinators, named),
            // Where it will be makes no difference here.
            gateway: Some(name.to_string()),
            temporary_name_taken: false,
            seeds: Seeds::Units,
            obstacles: Vec::new(),
            carry: CarryOver::default(),
        };
        (observed, note)
    };
    coordinators.iter().map(of).collect()
}

/// Names that several documents have.
fn duplicates(named: &[(AppName, &Document)]) -> Vec<Finding> {
    let mut kinds: BTreeMap<&AppName, Vec<String>> = BTreeMap::new();
    for (name, document) in named {
        kinds.entry(name).or_default().push(document.kind().to_string());
    }
    let several = kinds.into_iter().filter(|(_, kinds)| kinds.len() > 1);
    several
        .map(|(name, kinds)| {
            let message = format!(
                "{} documents have this name ({}); names are unique in a model: give each its own",
                kinds.len(),
                kinds.join(", ")
            );
            Finding::application(name, WorkloadStatus::Error, Reason::NameTaken, message)
        })
        .collect()
}

fn object_stores<'a>(named: &'a [(AppName, &Document)]) -> BTreeMap<&'a str, Result<ObjectStorage, String>> {
    secrets(named, S3_SECRET_TYPE)
        .map(|(name, values)| {
            let storage =
                values.and_then(|values| ObjectStorage::from_secret(&values).map_err(|e| e.to_string()));
            (name.as_str(), storage)
        })
        .collect()
}

/// The values of all Secrets of a type.
fn secrets<'a>(
    named: &'a [(AppName, &Document)],
    kind: &'static str,
) -> impl Iterator<Item = (&'a AppName, Result<BTreeMap<String, Secret>, String>)> {
    named.iter().filter_map(move |(name, document)| match document {
        Document::Secret(secret) if secret.type_.as_deref() == Some(kind) => {
            Some((name, secret_values(secret)))
        }
        _ => None,
    })
}

/// Workers of that coordinator; all of them where none is given.
fn workers<'a>(
    named: &'a [(AppName, &Document)],
    coordinator: Option<&'a AppName>,
) -> impl Iterator<Item = (&'a AppName, &'a Worker)> {
    named.iter().filter_map(move |(name, document)| match document {
        Document::Worker(worker)
            if coordinator.is_none_or(|c| worker.spec.coordinator.as_deref() == Some(c.as_str())) =>
        {
            Some((name, worker.as_ref()))
        }
        _ => None,
    })
}

fn observed(worker: &Worker) -> ObservedWorker {
    ObservedWorker { spec: worker.spec.clone(), ..ObservedWorker::default() }
}

/// The coordinator's object store, and a remark where the documents leave it to whoever runs them.
fn object_store(
    name: &AppName,
    coordinator: &Coordinator,
    stores: &BTreeMap<&str, Result<ObjectStorage, String>>,
    taken_by: Option<&AppName>,
) -> (ObjectStore, Option<Finding>) {
    let Some(reference) = &coordinator.spec.s3 else { return (ObjectStore::NotRelated, None) };
    let secret = reference.secret.clone();
    match (stores.get(secret.as_str()), taken_by) {
        (Some(Err(problem)), _) => (ObjectStore::Invalid { secret, problem: problem.clone() }, None),
        (Some(Ok(storage)), Some(by)) => {
            (ObjectStore::Taken { bucket: storage.bucket.clone(), by: by.to_string() }, None)
        }
        (Some(Ok(storage)), None) => (answering(storage.clone()), None),
        (None, _) => {
            let message = format!(
                "S3 application {secret:?} is not in the files: on one machine an embedded one is started, \
                 on Kubernetes it must be there"
            );
            let note =
                Finding::application(name, WorkloadStatus::Active, Reason::ObjectStoreMissing, message);
            (answering(embedded(name)), Some(note))
        }
    }
}

/// What the coordinators are that metrics are to be written to. Where their load balancers will be makes no difference here.
fn remote_write(
    coordinator: &Coordinator,
    coordinators: &BTreeMap<&AppName, &Coordinator>,
    named: &[(AppName, &Document)],
) -> BTreeMap<String, RemoteWriteTarget> {
    let target = |name: &String| {
        let found = coordinators.iter().find(|(other, _)| other.as_str() == name);
        let target = found.map_or(RemoteWriteTarget::Missing, |(_, found)| {
            RemoteWriteTarget::of(name, &found.spec, Some(name), &tls(found, named))
        });
        (name.clone(), target)
    };
    coordinator.spec.remote_write.iter().map(target).collect()
}

fn answering(storage: ObjectStorage) -> ObjectStore {
    ObjectStore::Related { storage: Box::new(storage), probe: Probe::Ready { at: Timestamp::UNIX_EPOCH } }
}

/// Stands for a store of which nothing is known, but that it will be there.
fn embedded(name: &AppName) -> ObjectStorage {
    ObjectStorage {
        endpoint: muster_model::Endpoint {
            scheme: muster_model::Scheme::Http,
            authority: "127.0.0.1".to_owned(),
        },
        bucket: format!("muster-{name}"),
        access_key: Secret::default(),
        secret_key: Secret::default(),
        region: ObjectStorage::DEFAULT_REGION.to_owned(),
        path: None,
        tls_ca_chain: None,
        create_bucket: false,
    }
}

fn tls(coordinator: &Coordinator, named: &[(AppName, &Document)]) -> Tls {
    let Some(reference) = &coordinator.spec.tls else { return Tls::Off };
    let name = &reference.secret;
    let found = secrets(named, TLS_SECRET_TYPE).find(|(other, _)| other.as_str() == name);
    let Some((_, values)) = found else {
        return Tls::Invalid(format!(
            "Secret {name:?} of type {TLS_SECRET_TYPE} is not in the files; add one, or remove spec.tls"
        ));
    };
    match values.and_then(|values| TlsMaterial::from_secret(&values).map_err(|e| e.to_string())) {
        Ok(material) => Tls::On(material),
        Err(problem) => Tls::Invalid(format!("Secret {name:?}: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::MODEL;

    fn found(text: &str) -> Vec<(String, WorkloadStatus, Reason)> {
        let documents = parse(text.as_bytes()).unwrap();
        findings(&documents).iter().map(|f| (subject(f), f.status, f.reason)).collect()
    }

    fn coherent() -> String {
        MODEL.replace("{all: false, read: true}", "{all: true}")
    }

    #[test]
    fn a_good_model_has_no_findings() {
        let found = found(&coherent());
        assert!(found.iter().all(|(_, status, _)| *status == WorkloadStatus::Active), "{found:?}");
    }

    #[test]
    fn every_mistake_is_found() {
        let model = coherent();
        for (from, to, app, reason) in [
            ("{all: true}", "{read: true}", "mimir", Reason::MissingRequiredRoles),
            ("{all: true}", "{all: false}", "mimir-read", Reason::NoRole),
            ("{all: true}", "{colour: true}", "mimir-read", Reason::UnknownRole),
            ("{all: true}", "{querier: true, query-scheduler: true}", "mimir-read", Reason::RoleConflict),
            ("coordinator: mimir,", "units: 0, coordinator: mimir,", "mimir-read", Reason::NoUnits),
            ("coordinator: mimir,", "coordinator: loki,", "mimir-read", Reason::CoordinatorMissing),
            ("coordinator: mimir,", "", "mimir-read", Reason::CoordinatorMissing),
            (
                "product: mimir, coordinator",
                "product: loki, coordinator",
                "mimir-read",
                Reason::ProductMismatch,
            ),
            (", s3: {secret: s3}", "", "mimir", Reason::ObjectStoreMissing),
            ("bucket: mimir", "bucket: M", "mimir", Reason::ObjectStoreInvalid),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/path", "mimir", Reason::ObjectStoreInvalid),
            ("s3: {secret: s3}", "s3: {secret: s3}, tls: {secret: none}", "mimir", Reason::TlsInvalid),
            ("s3: {secret: s3}", "s3: {secret: s3}, config: {colour: red}", "mimir", Reason::UnknownOption),
            (
                "s3: {secret: s3}",
                "s3: {secret: s3}, config: {replication-factor: x}",
                "mimir",
                Reason::InvalidOption,
            ),
            ("product: mimir, s3", "product: cortex, s3", "mimir", Reason::UnsupportedProduct),
            ("name: mimir-read", "name: mimir", "mimir", Reason::NameTaken),
        ] {
            assert!(model.contains(from), "{from}");
            let found = found(&model.replace(from, to));
            let fits = |(name, status, found): &(String, WorkloadStatus, Reason)| {
                name == app && *found == reason && *status > WorkloadStatus::Active
            };
            assert!(found.iter().any(fits), "{to}: {found:?}");
        }
    }

    #[test]
    fn one_bucket_belongs_to_one_coordinator() {
        let second = "\n---\n{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: second}, spec: {product: mimir, s3: {secret: s3}}}";
        let found = found(&(coherent() + second));
        assert!(
            found.iter().any(|(app, _, reason)| app == "second" && *reason == Reason::BucketTaken),
            "{found:?}"
        );
    }

    #[test]
    fn a_store_that_is_left_to_the_machine_is_only_worth_a_remark() {
        let without: String = coherent().rsplitn(2, "---").last().unwrap().to_owned();
        let found = found(&without);
        assert!(
            found.contains(&("mimir".to_owned(), WorkloadStatus::Active, Reason::ObjectStoreMissing)),
            "{found:?}"
        );
        assert!(found.iter().all(|(_, status, _)| *status == WorkloadStatus::Active), "{found:?}");
    }

    #[test]
    fn texts_that_are_no_documents_are_refused() {
        for bad in [&b"\xff"[..], b"a: 1\na: 2", b"kind: Pod", b"[", &vec![b' '; yaml::MAX_LEN + 1]] {
            assert!(parse(bad).is_err());
        }
        assert_eq!(parse(b"").unwrap(), []);
    }
}

//! `muster explain`: what things mean. Needs no model, except for applications.

use muster_api::{ApplicationStatus, ConditionStatus, ModelStatus};
use muster_model::{AppName, Product, Reason, Role, RoleSet, Version, WorkloadStatus};
use muster_planner::UNITS_FOR_THREE_COPIES;
use muster_products::charm::{self, Charm, CharmKind};

use crate::args;
use crate::failure::Failure;
use crate::options;
use crate::table::{Cell, Column, Table};
use crate::text;

/// The option that has a rule of its own.
const REPLICATION_FACTOR: &str = "replication-factor";

/// What is to be explained.
#[derive(Debug, PartialEq)]
pub(crate) enum Topic {
    /// What can be explained.
    Overview,
    /// A product's roles at a version.
    Roles(Product, Version),
    /// A charm's options.
    Charm(&'static Charm),
    /// One status.
    Status(WorkloadStatus),
    /// All statuses and reasons.
    Statuses,
    /// One reason, with its meaning.
    Reason(Reason, &'static str),
    /// The rule by which the replication factor is chosen.
    ReplicationFactor,
    /// An application of the model.
    Application(AppName),
}

/// Why a topic is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TopicError {
    /// Nothing has that name and no application can.
    #[error("{0:?} is nothing that can be explained: see muster explain")]
    Unknown(String),
    /// The version is no version, or not one whose roles are known.
    #[error("{0}")]
    Version(String),
    /// No charm has that name.
    #[error(transparent)]
    Charm(#[from] crate::deploy::DeployError),
}

/// Finds out what is meant. Fixed words win over applications, which `application NAME` always means.
pub(crate) fn topic(words: &[String]) -> Result<Topic, TopicError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let application =
        |name: &str| AppName::new(name).map_err(|_| TopicError::Unknown(name.chars().take(80).collect()));
    match words.as_slice() {
        [] => Ok(Topic::Overview),
        ["statuses"] => Ok(Topic::Statuses),
        [REPLICATION_FACTOR] => Ok(Topic::ReplicationFactor),
        ["options", name] => Ok(Topic::Charm(crate::deploy::find(name)?)),
        ["application" | "app", name] => Ok(Topic::Application(application(name)?)),
        [name] => {
            if let Ok(product) = name.parse::<Product>() {
                return Ok(Topic::Roles(product, default_version(product)));
            }
            if let Some(charm) = charm::charm(name) {
                return Ok(Topic::Charm(charm));
            }
            if let Ok(status) = args::status_word(name) {
                return Ok(Topic::Status(status));
            }
            let reason = Reason::ALL.iter().find(|(reason, _)| reason.as_str().eq_ignore_ascii_case(name));
            match reason {
                Some((reason, meaning)) => Ok(Topic::Reason(*reason, meaning)),
                None => Ok(Topic::Application(application(name)?)),
            }
        }
        [name, version] => {
            let product =
                name.parse::<Product>().map_err(|_| TopicError::Unknown(name.chars().take(80).collect()))?;
            let version = version.parse::<Version>().map_err(|e| TopicError::Version(e.to_string()))?;
            let known = muster_products::role_table(product, version);
            known.map_err(|e| TopicError::Version(e.to_string()))?;
            Ok(Topic::Roles(product, version))
        }
        _ => Err(TopicError::Unknown(words.join(" ").chars().take(80).collect())),
    }
}

/// The version lines that can be deployed.
fn versions(product: Product) -> String {
    muster_products::supported_versions(product)
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn default_version(product: Product) -> Version {
    *muster_products::supported_versions(product).first().expect("every product has a supported version line")
}

/// The explanation of everything but an application.
pub(crate) fn text(topic: &Topic, width: usize) -> Result<String, Failure> {
    Ok(match topic {
        Topic::Overview => overview(width),
        Topic::Roles(product, version) => roles(*product, *version, width)?,
        Topic::Charm(charm) => of_charm(charm, width),
        Topic::Statuses => statuses(width),
        Topic::Status(status) => {
            definitions(&[(status.as_str().to_owned(), meaning(*status).to_owned())], width)
        }
        Topic::Reason(reason, meaning) => {
            definitions(&[(reason.as_str().to_owned(), meaning.trim().to_owned())], width)
        }
        Topic::ReplicationFactor => replication_factor(width),
        Topic::Application(name) => return Err(Failure::new(format!("application {name} needs its model"))),
    })
}

/// Names with what they mean, the meanings wrapped beside them.
fn definitions(list: &[(String, String)], width: usize) -> String {
    const INDENT: usize = 2;
    let longest = list.iter().map(|(name, _)| text::width(name)).max().unwrap_or(0);
    let names = longest.min(width / 2);
    let rest = width.saturating_sub(INDENT + names + 2).max(10);
    let mut lines = String::new();
    for (name, meaning) in list {
        let name = text::cut(&text::plain(name), names);
        let pad = " ".repeat(names - text::width(&name));
        let mut wrapped = text::wrap(&text::plain(meaning), rest).into_iter();
        let first = wrapped.next().unwrap_or_default();
        lines.push_str(format!("{}{name}{pad}  {first}", " ".repeat(INDENT)).trim_end());
        lines.push('\n');
        for line in wrapped {
            lines.push_str(&format!("{}{line}\n", " ".repeat(INDENT + names + 2)));
        }
    }
    lines
}

fn section(title: &str, list: &[(String, String)], width: usize) -> String {
    if list.is_empty() { String::new() } else { format!("\n{title}\n{}", definitions(list, width)) }
}

fn overview(width: usize) -> String {
    let own = |(topic, meaning): (&str, &str)| (topic.to_owned(), meaning.to_owned());
    let topics = [
        ("muster explain mimir", "the roles of a product; a version line can follow"),
        ("muster explain options mimir-worker-k8s", "the options of a charm"),
        ("muster explain statuses", "what statuses and reasons mean"),
        ("muster explain blocked", "one status; a reason such as NoRole works too"),
        (
            "muster explain replication-factor",
            "how many units keep each piece of fresh data, and why that stays",
        ),
        ("muster explain application mimir", "why an application of the model is as it is"),
    ];
    let products = Product::ALL.map(|product| (product.to_string(), versions(product)));
    let charms: Vec<_> = charm::charms().map(|charm| (charm.name.clone(), charm.summary.clone())).collect();
    format!(
        "Topics\n{}{}{}",
        definitions(&topics.map(own), width),
        section("Products and supported version lines", &products, width),
        section("Charms", &charms, width)
    )
}

fn roles(product: Product, version: Version, width: usize) -> Result<String, Failure> {
    let table = muster_products::role_table(product, version).map_err(Failure::new)?;
    let options = &charm::worker(product).options;
    let described = |role: Role| {
        let help = options.get(&format!("role-{role}")).map(|option| option.description.clone());
        (role.to_string(), help.unwrap_or_default())
    };
    let list = |roles: &RoleSet| roles.iter().map(described).collect::<Vec<_>>();
    let supported = match muster_products::check_version(product, version) {
        Ok(()) => String::new(),
        Err(_) => format!(" (cannot be deployed with this build: use {})", versions(product)),
    };
    let takes = if table.exclusive { "exactly one role" } else { "any roles together" };
    let head = format!(
        "{product} {version}{supported}: a worker takes {takes}; switch one on with muster config WORKER role-NAME=true"
    );
    let meta: Vec<_> = table
        .meta
        .iter()
        .map(|(role, parts)| (role.to_string(), parts.to_string().replace(',', ", ")))
        .collect();
    Ok([
        text::wrap(&head, width).join("\n") + "\n",
        section("Required: without one of these everything stops", &list(&table.required), width),
        section("Optional: without one of these the deployment is degraded", &list(&table.optional), width),
        section("Accepted, never missed", &list(&table.uncounted), width),
        section("Meta roles, and what they stand for", &meta, width),
    ]
    .concat())
}

fn of_charm(charm: &Charm, width: usize) -> String {
    let options: Vec<_> = charm
        .options
        .iter()
        .map(|(name, option)| {
            let kind = options::kind_name(option.kind);
            let default = match &option.default {
                Some(value) => format!("{kind}, default {value}"),
                None => format!("{kind}, no default"),
            };
            (name.clone(), format!("{} ({default})", option.description.trim_end()))
        })
        .collect();
    let kind = match charm.kind {
        CharmKind::Coordinator(product) => format!("the coordinator of {product}"),
        CharmKind::Worker(product) => format!("a worker of {product}"),
        CharmKind::S3Integrator => "the credentials of an object store".to_owned(),
    };
    let head =
        text::wrap(&text::plain(&format!("{}: {kind}. {}", charm.name, charm.summary)), width).join("\n");
    format!("{head}\n{}", section("Options", &options, width))
}

/// What each status means.
fn meaning(status: WorkloadStatus) -> &'static str {
    match status {
        WorkloadStatus::Active => "works as asked",
        WorkloadStatus::Waiting => "will go on by itself once something else is there; the message says what",
        WorkloadStatus::Maintenance => "Muster is changing something right now",
        WorkloadStatus::Blocked => {
            "a person must act; the message says what is wrong and which command fixes it"
        }
        WorkloadStatus::Error => "something failed and is being tried again; the message says what",
    }
}

fn statuses(width: usize) -> String {
    let statuses = args::STATUSES.map(|status| (status.as_str().to_owned(), meaning(status).to_owned()));
    let reasons: Vec<_> = Reason::ALL
        .iter()
        .map(|(reason, meaning)| (reason.as_str().to_owned(), meaning.trim().to_owned()))
        .collect();
    format!(
        "Statuses, from the best to the worst; the worst of an application's findings is shown\n{}{}",
        definitions(&statuses, width),
        section("Reasons, in conditions and findings", &reasons, width)
    )
}

/// The rule of the replication factor, as the planner follows it.
fn replication_factor(width: usize) -> String {
    let head = "replication-factor: how many units keep each piece of fresh data until it is in the object store. \
                A coordinator remembers it.";
    let three = UNITS_FOR_THREE_COPIES;
    let rule = [
        (
            "asked for",
            "what muster config COORDINATOR replication-factor=N says before the first rollout".to_owned(),
        ),
        (
            "chosen",
            format!(
                "where that is 0 or not set: 3 if {three} or more units run the role below at the first rollout, else 1"
            ),
        ),
        ("kept", "the number of the first rollout stays, however many units come and go later".to_owned()),
        (
            "raised",
            "a higher number later: as soon as that many units with the role are ready, all are restarted with it, one after the \
             other"
                .to_owned(),
        ),
        (
            "refused",
            "a lower number later: the coordinator is blocked, and the units go on with the one they have"
                .to_owned(),
        ),
        (
            "needed",
            "more than half of that number of units with the role; with fewer, writes are refused".to_owned(),
        ),
    ];
    let why = [
        (
            "lower",
            "one unit that is away is then one too many: writes and queries would fail during every restart from then on",
        ),
        (
            "higher",
            "what was written before keeps the one copy that it has until it is in the object store, and a querier that expects \
             three tolerates a unit that is missing: while the unit with that copy restarts, queries answer without it and say nothing",
        ),
        (
            "instead",
            "ask for 3 before the first rollout where three units are to come; a new coordinator with a bucket or path of its own \
             chooses anew",
        ),
    ];
    let own = |(name, meaning): (&str, &str)| (name.to_owned(), meaning.to_owned());
    let roles = Product::ALL.map(|product| {
        let role = muster_products::workload(product).replicated_role();
        (product.to_string(), format!("{role}, and all or any meta role that includes it"))
    });
    [
        text::wrap(head, width).join("\n") + "\n",
        section("Rule", &rule.map(|(name, meaning)| (name.to_owned(), meaning)), width),
        section("Role whose units count, by product", &roles, width),
        section("Why it stays", &why.map(own), width),
    ]
    .concat()
}

/// Why an application is as it is: its message in full, its conditions, coverage and units.
pub(crate) fn application(name: &AppName, status: &ModelStatus, width: usize) -> Option<String> {
    let application: &ApplicationStatus = status.applications.get(name)?;
    let message = text::plain(&application.status.message);
    let head = text::wrap(&format!("{name} is {}. {message}", application.status.status), width).join("\n");
    let mut facts = vec![("charm".to_owned(), application.charm.clone())];
    if application.product.is_some() {
        facts.push(("units".to_owned(), format!("{} of {}", application.units.len(), application.scale)));
    }
    if !application.roles.is_empty() {
        facts.push(("roles".to_owned(), application.roles.join(", ")));
    }
    let relations = application.relations.iter().map(|(end, app)| (end.as_str(), app));
    let remote_write = application.remote_write.iter().map(|app| ("send-remote-write", app));
    facts.extend(
        relations.chain(remote_write).map(|(end, app)| (format!("related by {end}"), app.to_string())),
    );
    facts.extend(application.endpoints.iter().map(|(purpose, url)| (purpose.clone(), url.clone())));
    facts.extend(application.revision.iter().map(|revision| ("revision".to_owned(), revision.clone())));
    let mut text = format!("{head}\n{}", section("Facts", &facts, width));
    let mut conditions = Table::new([
        Column::new("Condition"),
        Column::new("Holds").cut(8, 7),
        Column::new("Reason"),
        Column::new("Message").cut(0, 16),
    ]);
    for condition in &application.conditions {
        let holds = match condition.status {
            ConditionStatus::True => "yes",
            ConditionStatus::False => "no",
            ConditionStatus::Unknown => "unknown",
        };
        let kind = format!("{:?}", condition.kind);
        conditions.push([kind.as_str(), holds, &condition.reason, &condition.message].map(Cell::new));
    }
    if !conditions.is_empty() {
        text.push_str(&format!("\n{}\n", conditions.lay_out(width, false).lines.join("\n")));
    }
    if let Some(coverage) = &application.coverage {
        let mut roles: Vec<_> = coverage
            .units
            .iter()
            .map(|(role, units)| (role.to_string(), text::counted(*units, "unit")))
            .collect();
        roles.extend(
            coverage.missing_required.iter().map(|role| (role.to_string(), "missing, required".to_owned())),
        );
        roles.extend(
            coverage.missing_optional.iter().map(|role| (role.to_string(), "missing, optional".to_owned())),
        );
        roles.sort();
        text.push_str(&section("Roles", &roles, width));
    }
    let units: Vec<_> =
        application.units.iter().map(|(name, unit)| (name.to_string(), unit.status.to_string())).collect();
    text.push_str(&section("Units", &units, width));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{app, starting};

    fn explained(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        text(&topic(&words).unwrap(), 100).unwrap()
    }

    #[test]
    fn every_topic_fits_and_says_something() {
        let mut topics =
            vec![vec![], vec!["statuses"], vec!["blocked"], vec!["norole"], vec!["mimir", "3.0"]];
        topics.push(vec!["replication-factor"]);
        topics.extend(["tempo", "mimir", "loki"].map(|product| vec![product]));
        topics.extend(charm::charms().map(|charm| vec!["options", charm.name.as_str()]));
        for words in topics {
            let shown = explained(&words);
            assert!(shown.len() > 20, "{words:?}");
            for line in shown.lines() {
                assert!(text::width(line) <= 100 && !line.ends_with(' '), "{words:?}: {line:?}");
            }
        }
    }

    #[test]
    fn roles_are_the_table_s() {
        let shown = explained(&["mimir"]);
        for role in muster_products::role_table(Product::Mimir, default_version(Product::Mimir))
            .unwrap()
            .roles()
            .iter()
        {
            assert!(shown.contains(&format!("\n  {role} ")), "{role} is not in\n{shown}");
        }
        assert!(shown.contains("Required") && shown.contains("distributor, ingester"), "{shown}");
        assert!(explained(&["tempo"]).contains("exactly one role"));
        let newer = explained(&["mimir", "3.0"]);
        assert!(newer.contains("cannot be deployed") && !newer.contains("\n  read "), "{newer}");
    }

    #[test]
    fn the_rule_of_the_replication_factor_names_the_role_of_every_product() {
        let shown = explained(&["replication-factor"]);
        for line in ["mimir  ingester", "tempo  ingester", "loki   write", "3 if 3 or more units", "stays"] {
            assert!(shown.contains(line), "{line:?} is not in\n{shown}");
        }
        assert!(explained(&[]).contains("muster explain replication-factor"));
    }

    #[test]
    fn what_is_nothing_is_refused() {
        let refused = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            topic(&words).unwrap_err()
        };
        assert!(matches!(refused(&["No Such"]), TopicError::Unknown(_)));
        assert!(matches!(refused(&["mimir", "x"]), TopicError::Version(_)));
        assert!(matches!(refused(&["mimir", "9.9"]), TopicError::Version(_)));
        assert!(matches!(refused(&["options", "x"]), TopicError::Charm(_)));
        assert_eq!(topic(&["application".into(), "mimir".into()]), Ok(Topic::Application(app("mimir"))));
        assert_eq!(topic(&["mimir-read".into()]), Ok(Topic::Application(app("mimir-read"))));
    }

    #[test]
    fn an_application_is_explained_in_full() {
        let shown = application(&app("mimir"), &starting(), 100).unwrap();
        assert!(shown.starts_with("mimir is blocked. missing required roles: alertmanager"), "{shown}");
        assert!(shown.contains("role-backend=true") && shown.contains("mimir/0"), "{shown}");
        assert!(shown.lines().all(|line| text::width(line) <= 100));
        assert_eq!(application(&app("nobody"), &starting(), 100), None);
    }
}

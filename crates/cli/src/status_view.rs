//! A model's status as tables.

use anstyle::{AnsiColor, Style};
use muster_api::{ApplicationStatus, ModelStatus};
use muster_model::{Product, Role, RoleSet, Status, WorkloadStatus};

use crate::printer::Screen;
use crate::table::{Cell, Column, Table};
use crate::text;

/// Which applications and units are shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    words: Vec<String>,
}

impl Selection {
    /// Names of applications, names of units, and statuses. Without any, everything is selected.
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words }
    }

    /// The status with only what is selected. An application is shown with all its units where it is named itself,
    /// else with those units that are.
    pub(crate) fn of(&self, status: &ModelStatus) -> ModelStatus {
        let mut selected = status.clone();
        if self.words.is_empty() {
            return selected;
        }
        let chosen = |name: &str, status: &Status| {
            self.words.iter().any(|word| word == name || word == status.status.as_str())
        };
        selected.applications.retain(|name, application| {
            let whole = self.words.iter().any(|word| word == name.as_str());
            if !whole {
                application.units.retain(|unit, view| chosen(&unit.to_string(), &view.status));
            }
            chosen(name.as_str(), &application.status) || !application.units.is_empty()
        });
        selected
    }
}

/// The tables, within the screen's width. Messages that had to be cut and need a person follow in full.
pub(crate) fn tables(status: &ModelStatus, screen: Screen) -> String {
    let width = screen.width;
    let colour = screen.colour;
    let mut sections = vec![header(status, width, colour)];
    let mut in_full = Vec::new();
    if let Some(problem) = &status.problem {
        sections.push(text::wrap(&format!("Problem: {problem}"), width));
    }

    let mut applications = Table::new([
        Column::new("App"),
        Column::new("Status").cut(8, 11),
        Column::new("Scale").right().cut(8, 7),
        Column::new("Charm").cut(2, 12),
        Column::new("Related to").cut(1, 12),
        Column::new("Message").cut(0, 16),
    ]);
    for (name, application) in &status.applications {
        applications.push([
            Cell::new(name.as_str()),
            status_cell(application.status.status),
            scale(application),
            Cell::new(&application.charm),
            Cell::new(related(application)),
            Cell::new(&application.status.message),
        ]);
    }
    if !applications.is_empty() {
        let laid = applications.lay_out(width, colour);
        let shown =
            status.applications.iter().map(|(name, application)| (name.to_string(), &application.status));
        in_full.extend(cut_messages(shown, &laid.last_cut));
        sections.push(laid.lines);
    }

    let mut units = Table::new([
        Column::new("Unit"),
        Column::new("Workload").cut(8, 11),
        Column::new("Address").cut(7, 15),
        Column::new("Roles").cut(1, 12),
        Column::new("Revision").cut(2, 8),
        Column::new("Message").cut(0, 16),
    ]);
    let mut statuses = Vec::new();
    for application in status.applications.values() {
        for (name, view) in &application.units {
            let revision = view.revision.as_deref().unwrap_or_default();
            units.push([
                Cell::new(name.to_string()),
                status_cell(view.status.status),
                Cell::new(view.address.as_deref().unwrap_or_default()),
                Cell::new(roles(application.product, &view.roles)),
                Cell::new(revision.get(..8).unwrap_or(revision)),
                Cell::new(&view.status.message),
            ]);
            statuses.push((name.to_string(), &view.status));
        }
    }
    if !units.is_empty() {
        let laid = units.lay_out(width, colour);
        in_full.extend(cut_messages(statuses, &laid.last_cut));
        sections.push(laid.lines);
    }

    let mut endpoints = Table::new([Column::new("Endpoint").cut(0, 12), Column::new("URL").cut(9, 40)]);
    for (name, application) in &status.applications {
        for (purpose, url) in &application.endpoints {
            endpoints.push([Cell::new(format!("{name} {purpose}")), Cell::new(url)]);
        }
    }
    if !endpoints.is_empty() {
        sections.push(endpoints.lay_out(width, colour).lines);
    }

    let mut abandoned = Table::new([
        Column::new("Abandoned").cut(8, 12),
        Column::new("At").cut(1, 20),
        Column::new("Lost").cut(0, 16),
    ]);
    let records = || status.applications.values().flat_map(|application| &application.abandoned);
    for record in records() {
        let at = record.at.split('.').next().unwrap_or_default();
        abandoned.push([Cell::new(&record.unit), Cell::new(at), Cell::new(&record.lost)]);
    }
    if records().next().is_some() {
        sections.push(abandoned.lay_out(width, colour).lines);
    }

    if !in_full.is_empty() {
        let mut lines = vec!["Messages".to_owned()];
        for (name, status) in in_full {
            lines.extend(message_in_full(&name, status, width));
        }
        sections.push(lines);
    }
    sections.iter().map(|lines| lines.join("\n") + "\n").collect::<Vec<_>>().join("\n")
}

/// Which model this is, and where.
fn header(status: &ModelStatus, width: usize, colour: bool) -> Vec<String> {
    let [model, substrate] = [Column::new("Model"), Column::new("Substrate")];
    let cells = [Cell::new(&status.model), Cell::new(&status.substrate)];
    let Some(context) = &status.context else {
        let mut table = Table::new([model, substrate]);
        table.push(cells);
        return table.lay_out(width, colour).lines;
    };
    let mut table = Table::new([model, substrate, Column::new("Context").cut(0, 12)]);
    let [model, substrate] = cells;
    table.push([model, substrate, Cell::new(context)]);
    table.lay_out(width, colour).lines
}

/// Those statuses whose message was cut and that are not active.
fn cut_messages<'a>(
    statuses: impl IntoIterator<Item = (String, &'a Status)>,
    cut: &[bool],
) -> Vec<(String, &'a Status)> {
    statuses.into_iter().zip(cut).filter(|(_, cut)| **cut).map(|(shown, _)| shown).collect()
}

fn message_in_full(name: &str, status: &Status, width: usize) -> Vec<String> {
    const INDENT: &str = "  ";
    let text = text::plain(&format!("{name}: {}", status.message));
    let lines = text::wrap(&text, width.saturating_sub(INDENT.len()));
    lines
        .iter()
        .enumerate()
        .map(|(n, line)| if n == 0 { line.clone() } else { format!("{INDENT}{line}") })
        .collect()
}

/// The colour of a status: green what works, yellow what goes on by itself, red what needs a person.
pub(crate) fn colour_of(status: WorkloadStatus) -> Style {
    match status {
        WorkloadStatus::Active => AnsiColor::Green.on_default(),
        WorkloadStatus::Waiting | WorkloadStatus::Maintenance => AnsiColor::Yellow.on_default(),
        WorkloadStatus::Blocked | WorkloadStatus::Error => AnsiColor::Red.on_default(),
    }
}

fn status_cell(status: WorkloadStatus) -> Cell {
    Cell::new(status.as_str()).styled(colour_of(status))
}

/// How many units are wanted, as Juju shows it: `2/3` where others are there than are wanted. Nothing for what has
/// no units.
fn scale(application: &ApplicationStatus) -> Cell {
    let (have, want) = (application.units.len(), application.scale as usize);
    match (have, want) {
        (0, 0) if application.product.is_none() => Cell::default(),
        _ if have == want => Cell::new(want.to_string()),
        _ => Cell::new(format!("{have}/{want}")).styled(colour_of(WorkloadStatus::Waiting)),
    }
}

fn related(application: &ApplicationStatus) -> String {
    let related = application.relations.values().chain(&application.remote_write);
    related.map(|name| name.as_str()).collect::<Vec<_>>().join(",")
}

/// Roles as short as they can be said: atomic roles that make up a meta role are shown by its name.
fn roles(product: Option<Product>, roles: &[Role]) -> String {
    let roles: RoleSet = roles.iter().copied().collect();
    let table = product.and_then(|product| {
        let version = muster_products::supported_versions(product).first()?;
        muster_products::role_table(product, *version).ok()
    });
    let Some(table) = table else { return roles.to_string() };
    let mut metas: Vec<(Role, &RoleSet)> = table.meta.iter().map(|(meta, parts)| (*meta, parts)).collect();
    metas.sort_by_key(|(meta, parts)| (std::cmp::Reverse(parts.len()), *meta));
    let mut left = roles.clone();
    let mut names = RoleSet::new();
    for (meta, parts) in metas {
        if left.is_superset(parts) {
            left = left.difference(parts);
            names.insert(meta);
        }
    }
    names.union(&left).to_string()
}

/// One line per thing that changed between two statuses, for outputs that cannot be redrawn.
pub(crate) fn changes(before: Option<&ModelStatus>, after: &ModelStatus) -> Vec<String> {
    let mut lines = Vec::new();
    let said = |name: &str, status: &Status| text::plain(&format!("{name}: {status}"));
    for (name, application) in &after.applications {
        let old = before.and_then(|status| status.applications.get(name));
        if old.map(|old| &old.status) != Some(&application.status) {
            lines.push(said(name.as_str(), &application.status));
        }
        for (purpose, url) in &application.endpoints {
            if old.and_then(|old| old.endpoints.get(purpose)) != Some(url) {
                lines.push(text::plain(&format!("{name}: {purpose} at {url}")));
            }
        }
        for record in &application.abandoned {
            if !old.is_some_and(|old| old.abandoned.contains(record)) {
                lines
                    .push(text::plain(&format!("{name}: {} is let go without {}", record.unit, record.lost)));
            }
        }
        for (unit, view) in &application.units {
            if old.and_then(|old| old.units.get(unit)).map(|old| &old.status) != Some(&view.status) {
                lines.push(said(&unit.to_string(), &view.status));
            }
        }
        for unit in old.into_iter().flat_map(|old| old.units.keys()) {
            if !application.units.contains_key(unit) {
                lines.push(format!("{unit}: removed"));
            }
        }
    }
    for name in before.into_iter().flat_map(|status| status.applications.keys()) {
        if !after.applications.contains_key(name) {
            lines.push(format!("{name}: removed"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fake::{app, application, in_transition, model_status, starting, unit};

    fn screen(width: usize, colour: bool) -> Screen {
        Screen { width, height: None, colour, interactive: false }
    }

    /// Compares with a file of `src/golden/`; `MUSTER_BLESS=1` writes it.
    fn check_golden(name: &str, actual: &str) {
        let path = format!("{}/src/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("MUSTER_BLESS").is_some() {
            std::fs::write(&path, actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(actual == expected, "{path} differs; MUSTER_BLESS=1 writes it. Now:\n{actual}");
    }

    #[test]
    fn tables_are_as_they_were() {
        for width in [80, 100, 200] {
            let shown = tables(&starting(), screen(width, false));
            assert!(shown.lines().all(|line| text::width(line) <= width), "{shown}");
            check_golden(&format!("status-{width}"), &shown);
        }
        let under_way = tables(&in_transition(), screen(100, false));
        assert!(under_way.contains("mimir: transition 2/3: draining mimir-read/10"), "{under_way}");
        check_golden("status-colour", &tables(&starting(), screen(100, true)));
        check_golden("status-empty", &tables(&model_status([]), screen(100, false)));
        let none =
            model_status([("idle", application("mimir-worker-k8s", WorkloadStatus::Blocked, "no units", 0))]);
        check_golden("status-no-units", &tables(&none, screen(100, false)));
        let cluster = muster_api::ModelStatus {
            substrate: "kubernetes".to_owned(),
            context: Some("admin@production".to_owned()),
            problem: Some("Secrets may not be read".to_owned()),
            ..starting()
        };
        check_golden("status-context", &tables(&cluster, screen(100, false)));
        let mut hostile = application(
            "mimir-worker-k8s",
            WorkloadStatus::Error,
            "日本語\u{1b}[2J\nこわれた 😀 ".repeat(9).as_str(),
            1,
        );
        hostile
            .units
            .insert(app("a").unit(0), unit(WorkloadStatus::Error, "é\u{202e}\u{7}", "::1", Role::ALL));
        check_golden("status-unicode", &tables(&model_status([("a", hostile)]), screen(100, false)));
    }

    #[test]
    fn colour_is_all_that_colour_adds() {
        let plain = tables(&starting(), screen(100, false));
        let painted = tables(&starting(), screen(100, true));
        assert_ne!(plain, painted);
        assert_eq!(text::plain_lines(&painted), plain.trim_end());
    }

    #[test]
    fn roles_are_shown_as_meta_roles() {
        use Role::{Distributor, Ingester, Querier, QueryFrontend, Ruler};
        let shown = |list: &[Role]| roles(Some(Product::Mimir), list);
        assert_eq!(shown(&[Querier, QueryFrontend]), "read");
        assert_eq!(shown(&[Querier, QueryFrontend, Ingester, Distributor, Ruler]), "read,ruler,write");
        assert_eq!(shown(&[Querier]), "querier");
        assert_eq!(shown(&[Role::All]), "all");
        assert_eq!(roles(None, &[Querier, QueryFrontend]), "querier,query-frontend");
    }

    #[test]
    fn selections() {
        let names = |words: &[&str]| {
            let selection = Selection::new(words.iter().map(|w| (*w).to_owned()).collect());
            let selected = selection.of(&starting());
            let all = selected.applications.iter();
            all.map(|(name, application)| format!("{name}:{}", application.units.len()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names(&[]), "mimir:1 mimir-read:3 s3:0");
        assert_eq!(names(&["mimir"]), "mimir:1");
        assert_eq!(names(&["mimir-read/10"]), "mimir-read:1");
        assert_eq!(names(&["blocked"]), "mimir:0");
        assert_eq!(names(&["waiting"]), "mimir-read:1");
        assert_eq!(names(&["nothing"]), "");
    }

    #[test]
    fn only_changes_are_said() {
        let before = starting();
        let mut after = before.clone();
        assert!(changes(Some(&before), &after).is_empty());
        after.applications.get_mut(&app("mimir-read")).unwrap().units.remove(&app("mimir-read").unit(2));
        after.applications.get_mut(&app("mimir")).unwrap().status = Status::new(WorkloadStatus::Active, "");
        after.applications.remove(&app("s3"));
        assert_eq!(changes(Some(&before), &after), ["mimir: active", "mimir-read/2: removed", "s3: removed"]);
        assert_eq!(changes(None, &before).len(), 9);
    }

    fn any_status() -> impl Strategy<Value = WorkloadStatus> {
        prop::sample::select(crate::args::STATUSES.to_vec())
    }

    proptest! {
        #[test]
        fn no_line_exceeds_the_width(
            width in 40_usize..220,
            rows in prop::collection::vec(("[a-z]{1,53}", any_status(), any::<String>(), any::<String>(), 0_u32..20_000), 0..5),
        ) {
            let mut status = model_status([]);
            for (name, state, message, address, scale) in rows {
                let mut one = application("mimir-coordinator-k8s", state, &message, scale);
                one.relations.insert("cluster".to_owned(), app(&name));
                one.endpoints.insert("push".to_owned(), address.clone());
                one.units.insert(app(&name).unit(scale), unit(state, &message, &address, Role::ALL));
                status.applications.insert(app(&name), one);
            }
            for line in tables(&status, screen(width, false)).lines() {
                prop_assert!(text::width(line) <= width, "{} > {width}: {line:?}", text::width(line));
                prop_assert!(!line.chars().any(char::is_control));
            }
        }
    }
}

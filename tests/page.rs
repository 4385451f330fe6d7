//! The page of a comparison: golden, whole, and as a real browser shows it.

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{PATIENCE, WAITCOPY, scratch, skip, watchdog};
use waitcopy::json::Value;
use waitcopy::lab::compare::{Cell, Comparison, Figure};
use waitcopy::lab::page::{self, Claim, Section};
use waitcopy::model::CATALOGUE;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pages/recorded.html");

/// A real run: all models, 1 to 1,100 clients, 1,000 idle ones, two rounds.
fn recorded() -> Comparison {
    let value = Value::parse(include_str!("pages/recorded.json")).unwrap();
    Comparison::from_json(&value).unwrap()
}

/// `WAITCOPY_BLESS=1` writes the golden page anew; the diff is then to be read.
#[test]
fn the_page_of_a_recorded_run_is_golden() {
    let page = page::render(&recorded(), &[]);
    if std::env::var_os("WAITCOPY_BLESS").is_some() {
        fs::write(GOLDEN, &page).unwrap();
    }
    let golden = fs::read_to_string(GOLDEN).unwrap();
    let differs = page.lines().zip(golden.lines()).find(|(new, old)| new != old);
    assert!(page == golden, "WAITCOPY_BLESS=1 accepts it. First line that differs:\n{differs:?}");
}

#[test]
fn the_program_writes_the_same_page() {
    watchdog(PATIENCE, || {
        let path = scratch("same.html");
        fs::write(&path, "longer ".repeat(100_000)).unwrap();
        let mut command = Command::new(WAITCOPY);
        command.args(["compare", "--from", "tests/pages/recorded.json", "--html"]).arg(&path);
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("page: {}\n", path.canonicalize().unwrap().display()));
        assert_eq!(fs::read_to_string(path).unwrap(), page::render(&recorded(), &[]));
    });
}

/// The elements of a page in their order, each with its attributes; panics where one is not closed, or not opened.
fn elements(page: &str) -> Vec<(String, HashMap<String, String>)> {
    const VOID: [&str; 3] = ["meta", "link", "!DOCTYPE"];
    let (mut open, mut all, mut rest): (Vec<String>, _, _) = (Vec::new(), Vec::new(), page);
    while let Some(start) = rest.find('<') {
        let end = rest[start..].find('>').expect("an open tag") + start;
        let (text, tag) = (&rest[..start], &rest[start + 1..end]);
        assert!(!text.contains('>'), "a bare '>' in {text}");
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed before {rest:.80}");
            continue;
        }
        let body = tag.strip_suffix('/').unwrap_or(tag);
        let (name, attributes) = body.split_once(' ').unwrap_or((body, ""));
        all.push((
            name.to_owned(),
            if VOID.contains(&name) { HashMap::new() } else { pairs(attributes) },
        ));
        if body == tag && !VOID.contains(&name) {
            open.push(name.to_owned());
        }
        if name == "style" {
            rest = &rest[rest.find("</style>").expect("the end of the style")..];
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    all
}

/// `a="1" b="2"`.
fn pairs(mut attributes: &str) -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    while let Some((name, rest)) = attributes.split_once("=\"") {
        let (value, rest) = rest.split_once('"').expect("a closing quote");
        assert!(pairs.insert(name.trim().to_owned(), value.to_owned()).is_none(), "{name} twice");
        attributes = rest;
    }
    assert!(attributes.trim().is_empty(), "{attributes}");
    pairs
}

#[test]
fn the_page_is_well_formed_and_alone() {
    let page = page::render(&recorded(), &[]);
    let all = elements(&page);
    let mut ids: Vec<&str> = all.iter().filter_map(|(_, a)| Some(a.get("id")?.as_str())).collect();
    for (_, attributes) in &all {
        if let Some(to) = attributes.get("href").and_then(|to| to.strip_prefix('#')) {
            assert!(ids.contains(&to), "a link to nowhere: {to}");
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id twice");
    // Nothing is fetched and nothing runs.
    for foreign in ["<script", "<img", "<iframe", " src=", "url(", "@import", "https:", " on"] {
        let found = all.iter().any(|(name, _)| format!("<{name}") == foreign);
        assert!(!found && (foreign == " on" || !page.contains(foreign)), "{foreign}");
    }
    assert_eq!(page.matches("http:").count(), page.matches("xmlns=\"http:").count());
    assert!(all.iter().flat_map(|(_, a)| a.keys()).all(|name| !name.starts_with("on")));
}

/// The texts of an element without attributes, within a section.
fn texts<'p>(page: &'p str, section: &str, name: &str) -> Vec<&'p str> {
    let section = page.split(&format!("<section id=\"{section}\">")).nth(1).expect("a section");
    let section = section.split("</section>").next().unwrap();
    let tag = format!("<{name}>");
    section.split(&tag).skip(1).map(|text| text.split('<').next().unwrap()).collect()
}

#[test]
fn every_row_and_chart_has_a_title_of_its_own() {
    let mut comparison = recorded();
    // Models that are younger than the recording: more than one row holds.
    let known: Vec<_> = comparison.models().into_iter().map(str::to_owned).collect();
    let epoll: Vec<_> =
        comparison.cells.iter().filter(|cell| cell.model == "epoll").cloned().collect();
    for model in CATALOGUE.iter().filter(|model| known.iter().all(|name| name != model.name)) {
        let as_model = |cell: &Cell| Cell { model: model.name.to_owned(), ..cell.clone() };
        comparison.cells.extend(epoll.iter().map(as_model));
    }
    // A point's cells stand together, as they are measured.
    comparison.cells.sort_by_key(|cell| (cell.point.idle, cell.point.connections));
    let page = page::render(&comparison, &[]);
    let rows = texts(&page, "busy", "h3");
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(texts(&page, "busy", "b").len(), 3 * rows.len());
    for (section, name) in [("busy", "h3"), ("idle", "b"), ("time", "b")] {
        let titles = texts(&page, section, name);
        let mut once = titles.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), titles.len(), "{section}: {titles:?}");
    }
}

/// Each value of each series is drawn once in colour, and says what it is.
#[test]
fn every_figure_of_the_charts_is_drawn_with_its_value() {
    let comparison = recorded();
    let all = elements(&page::render(&comparison, &[]));
    let dots: Vec<_> =
        all.iter().map(|(_, a)| a).filter(|a| a.contains_key("data-connections")).collect();
    let mut expected = 0;
    for cell in &comparison.cells {
        for figure in [Figure::Rate, Figure::P99, Figure::Cpu] {
            let Some(value) = cell.value(figure) else { continue };
            let value = value.to_string();
            let drawn = dots.iter().filter(|dot| {
                dot["data-model"] == cell.model
                    && dot["data-figure"] == figure.key()
                    && dot["data-connections"] == cell.point.connections.to_string()
                    && dot["data-idle"] == cell.point.idle.to_string()
                    && dot["data-value"] == value
            });
            // CPU under the 10 busy clients alone also begins the idle chart.
            let alone =
                figure == Figure::Cpu && cell.point.connections == 10 && cell.point.idle == 0;
            let wanted = match (cell.point.idle, figure) {
                (1.., Figure::Cpu) => 1,
                (1.., _) => 0,
                _ => 1 + usize::from(alone),
            };
            assert_eq!(drawn.count(), wanted, "{} {} {}", cell.model, cell.point, figure.key());
            expected += wanted;
        }
    }
    assert_eq!(dots.len(), expected);
    // A bar of time for each part of each cell, and they fill it.
    for cell in comparison.cells.iter().filter(|cell| cell.end.is_none()) {
        let parts = all
            .iter()
            .filter(|(_, a)| a.get("data-share").is_some() && a["data-model"] == cell.model);
        assert!(parts.count() > 0, "{}", cell.model);
    }
    let shares: f64 =
        all.iter().filter_map(|(_, a)| a.get("data-share")?.parse::<f64>().ok()).sum();
    let whole = comparison.cells.iter().filter(|cell| cell.end.is_none()).count();
    assert!((shares - 100.0 * whole as f64).abs() < 0.001, "{shares}");
}

#[test]
fn every_end_is_on_the_page_with_its_reason() {
    let comparison = recorded();
    let page = page::render(&comparison, &[]);
    let ended: Vec<_> =
        comparison.cells.iter().filter_map(|cell| Some((cell, cell.end.as_ref()?))).collect();
    assert!(ended.len() >= 8);
    for (cell, end) in ended {
        let said = format!("<li><b>{}</b>, {}: {}</li>", cell.model, cell.point, end.reason);
        assert!(page.contains(&said), "{said}");
        assert!(page.contains(&format!("id=\"ends-{}\"", end.kind.name())));
    }
    // On the charts: select stops short of 1,100, the pools of 100.
    for why in ["set is full", "pool is full", "one at a time"] {
        assert!(page.contains(&format!("{why}</text>")), "{why}");
    }
}

#[test]
fn claims_have_their_section_and_nothing_escapes_its_place() {
    let hostile = "<script>alert(1)</script>\" onload='x' & </style>";
    let mut comparison = recorded();
    comparison.about.command = hostile.to_owned();
    comparison.about.environment =
        Value::object([("cpu", hostile.into()), (hostile, hostile.into())]);
    for cell in comparison.cells.iter_mut().filter(|cell| cell.model == "epoll") {
        cell.model = hostile.to_owned();
    }
    let claim = Claim {
        claim: hostile.to_owned(),
        translation: "in English".to_owned(),
        test: format!("a & b {hostile}"),
        figures: "1.0 and 2.0".to_owned(),
        verdict: "depends".to_owned(),
        condition: "on the machine".to_owned(),
    };
    let section = Section {
        id: "claims",
        title: "The claims".to_owned(),
        intro: hostile.to_owned(),
        claims: vec![claim],
    };
    let page = page::render(&comparison, &[section]);
    let all = elements(&page);
    assert!(all.iter().all(|(name, a)| name != "script" && !a.contains_key("onload")));
    assert!(page.contains("<a href=\"#claims\">The claims</a>"));
    assert!(page.contains("<span class=\"verdict\">depends</span>: on the machine"));
    assert!(page.contains("<p class=\"test\">Tested by: a &amp; b &lt;script&gt;"));
}

#[test]
fn an_empty_comparison_is_a_page_too() {
    let mut comparison = recorded();
    comparison.cells.clear();
    elements(&page::render(&comparison, &[]));
    let mut comparison = recorded();
    comparison.cells.retain(|cell| cell.model == "blocking" && cell.end.is_some());
    let page = page::render(&comparison, &[]);
    elements(&page);
    assert!(page.contains("never served"));
}

#[path = "page/browser.rs"]
mod browser;

#[test]
fn a_browser_shows_all_of_it_at_every_width() {
    watchdog(PATIENCE, || {
        let Some(chromium) = browser::find() else { return };
        let page = page::render(&recorded(), &[]);
        let charts = elements(&page).iter().filter(|(_, a)| a.contains_key("data-points")).count();
        for width in [390, 1440] {
            let shown = chromium.look(&page, width);
            assert_eq!(shown["innerWidth"], width.to_string());
            assert_eq!(
                shown["scrollWidth"],
                width.to_string(),
                "the page is wider than the window"
            );
            assert_eq!(shown["closing"], "1", "parsed to its end");
            assert_eq!(shown["charts"], charts.to_string());
            assert_eq!(
                shown["points"], shown["drawn"],
                "points that a figure promises and that are drawn"
            );
            assert_eq!(shown["outside"], "", "texts that leave their figure");
            assert_eq!(shown["upon"], "", "names that lie upon each other");
            let picture = chromium.screenshot(&page, width);
            assert!(picture > 50_000, "{width}: an empty picture of {picture} bytes");
        }
    });
}

#[test]
fn a_browser_would_say_what_is_wrong() {
    watchdog(PATIENCE, || {
        let Some(chromium) = browser::find() else { return };
        let page = page::render(&recorded(), &[]);
        assert_eq!(chromium.complaints(&page), "");
        let broken = page.replace("</main>", "<script>console.error('heard')</script></main>");
        assert!(chromium.complaints(&broken).contains("heard"));
        let wide = page.replace("</main>", "<p style='width:2000px'>wide</p></main>");
        assert_ne!(chromium.look(&wide, 390)["scrollWidth"], "390");
        let cut = page.split_once("<footer").unwrap().0;
        assert_eq!(chromium.look(cut, 390)["closing"], "0");
    });
}

fn written(page: &str, name: &str) -> PathBuf {
    let path = scratch(name);
    fs::write(&path, page).unwrap();
    path
}

fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path);
}

fn missing() -> Option<browser::Chromium> {
    skip("no chromium here: apt-get install chromium");
    None
}

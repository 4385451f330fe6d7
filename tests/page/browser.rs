//! A browser without a screen: what it parses, measures, complains of, and paints.

use super::{missing, remove, scratch, written};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Chromium(&'static str);

/// Chromium by one of its names; skips aloud where it is not installed.
pub(super) fn find() -> Option<Chromium> {
    let runs = |name: &&str| {
        Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success())
    };
    let name = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(runs);
    name.map(Chromium).or_else(missing)
}

/// What the page is asked once it is laid out. It stands in a frame, since a window is never narrower than 500 pixels; its
/// answers are attributes of the root around it, which --dump-dom prints.
const QUESTIONS: &str = r"<script>addEventListener('load', () => {
  const root = document.documentElement, around = parent.document.documentElement, all = (s, of = document) => [...of.querySelectorAll(s)];
  const say = (name, value) => around.setAttribute('data-said-' + name, value);
  say('innerWidth', innerWidth);
  say('scrollWidth', root.scrollWidth);
  say('closing', all('#end').length);
  const figures = all('figure');
  say('charts', figures.filter(f => f.querySelector('svg').getBoundingClientRect().height > 50).length);
  say('points', figures.map(f => f.dataset.points).join());
  say('drawn', figures.map(f => f.id.startsWith('chart-time')
    ? new Set(all('[data-share]', f).map(p => p.dataset.model)).size : all('[data-value]', f).length).join());
  const box = e => e.getBoundingClientRect();
  const inside = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
  say('outside', all('svg text').filter(t => !inside(box(t), box(t.closest('svg')))).map(t => t.textContent).join());
  // A line's box is taller than its letters.
  const upon = (a, b) => Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > .35 * Math.min(a.height, b.height)
    && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1;
  say('upon', all('svg').flatMap(svg => {
    const texts = all('text', svg);
    return texts.flatMap((a, i) => texts.slice(i + 1).filter(b => upon(box(a), box(b))).map(b => a.textContent + '/' + b.textContent));
  }).join());
})</script></main>";

impl Chromium {
    fn run(&self, page: &Path, flags: &[&str]) -> Output {
        static PROFILES: AtomicUsize = AtomicUsize::new(0);
        let profile = scratch(&format!("profile-{}", PROFILES.fetch_add(1, Ordering::Relaxed)));
        let mut command = Command::new("timeout");
        command.args([
            "50",
            self.0,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ]);
        command.args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ]);
        command.arg(format!("--user-data-dir={}", profile.display()));
        let output =
            command.args(flags).arg(format!("file://{}", page.display())).output().unwrap();
        remove(&profile);
        assert!(output.status.success(), "{output:?}");
        output
    }

    /// The answers to [`QUESTIONS`] at that width.
    pub(super) fn look(&self, page: &str, width: u32) -> HashMap<String, String> {
        let asked = if page.contains("</main>") {
            page.replacen("</main>", QUESTIONS, 1)
        } else {
            format!("{page}{QUESTIONS}")
        };
        let frame = format!(
            "<!DOCTYPE html><html><body><iframe style=\"border:0;width:{width}px;height:900px\" srcdoc=\"{}\"></iframe></body></html>",
            asked.replace('&', "&amp;").replace('"', "&quot;")
        );
        let path = written(&frame, &format!("asked-{width}.html"));
        let output = self.run(&path, &["--window-size=1600,1000", "--dump-dom"]);
        let dom = String::from_utf8(output.stdout).unwrap();
        let root = dom.split_once("<html").expect("a page").1.split_once('>').unwrap().0;
        // HTML has its attributes in lower case.
        let answer = |name: &str| {
            let start = format!("data-said-{}=\"", name.to_lowercase());
            let found =
                root.split_once(&start).unwrap_or_else(|| panic!("no answer to {name}: {root}"));
            (name.to_owned(), found.1.split_once('"').unwrap().0.to_owned())
        };
        ["innerWidth", "scrollWidth", "closing", "charts", "points", "drawn", "outside", "upon"]
            .map(answer)
            .into()
    }

    /// What it writes to its console.
    pub(super) fn complaints(&self, page: &str) -> String {
        let path = written(page, "complaints.html");
        let output = self.run(&path, &["--enable-logging=stderr", "--v=0", "--dump-dom"]);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        log.lines().filter(|line| line.contains("CONSOLE")).collect()
    }

    /// Bytes of a picture of that width.
    pub(super) fn screenshot(&self, page: &str, width: u32) -> u64 {
        let (path, picture) =
            (written(page, &format!("shot-{width}.html")), scratch(&format!("page-{width}.png")));
        let flag = format!("--screenshot={}", picture.display());
        self.run(&path, &[&format!("--window-size={width},4000"), &flag]);
        let bytes = std::fs::read(&picture).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
        assert_eq!(bytes[16..20], width.to_be_bytes(), "its width");
        bytes.len() as u64
    }
}

//! `remote put -r` and `remote get -r`: one tree, what became of it, and what did not work, by name.

use super::copy::Way;
use super::parallel::Parallel;
use super::progress::Bar;
use super::show::{self, Size};
use super::{Trouble, warn};
use crate::cli::flags::Parsed;
use crate::cli::{Exit, print};
use crate::json::Value;
use crate::remote::sftp::{Event, Links, Progress, Sftp, Summary, Tree};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The flags of a tree.
pub(super) struct Plan {
    links: Links,
    preserve: bool,
    resume: bool,
    sync: bool,
    depth: Option<usize>,
    entries: Option<usize>,
    json: bool,
}

impl Plan {
    /// `None`: no tree is meant.
    pub(super) fn of(parsed: &Parsed) -> Result<Option<Self>, Exit> {
        let alone = |flags: &[&str], why: &str| match flags.iter().find(|flag| parsed.has(flag)) {
            Some(flag) => Err(Exit::usage(format!("--{flag}: {why}"))),
            None => Ok(()),
        };
        if !parsed.has("recursive") {
            alone(&["links", "max-depth", "max-entries"], "for trees: --recursive")?;
            return Ok(None);
        }
        alone(&["in-place", "mode"], "not for trees")?;
        let links = match parsed.value("links") {
            None | Some("skip") => Links::Skip,
            Some("keep") => Links::Keep,
            Some("follow") => Links::Follow,
            Some(other) => {
                return Err(Exit::usage(format!("--links {other}: skip, keep or follow")));
            }
        };
        Ok(Some(Self {
            links,
            preserve: parsed.has("preserve"),
            resume: parsed.has("resume"),
            sync: parsed.has("sync"),
            depth: parsed.number("max-depth", 0).map_err(Exit::usage)?,
            entries: parsed.number("max-entries", 1).map_err(Exit::usage)?,
            json: parsed.has("json"),
        }))
    }

    /// Copies one tree; its part of the JSON, and how many things failed.
    pub(super) async fn copy(
        &self,
        sftp: &Sftp,
        way: Way,
        (from, to): (&OsStr, &OsStr),
        parallel: Option<&Parallel>,
    ) -> Result<(Value, u64), Trouble> {
        let begun = Instant::now();
        let bar = RefCell::new(Bar::new(&from.to_string_lossy()));
        let told = |event: Event<'_>| {
            let mut bar = bar.borrow_mut();
            if let (Event::Bytes(done), Some(bar)) = (event, bar.as_mut()) {
                return bar.tell(Progress { done, total: None });
            }
            let line = match event {
                Event::Bytes(_) => return,
                Event::Failed(failed) => format!("{}: {}", show::name(&failed.path), failed.error),
                Event::Skipped(path, why) => format!("{}: {why}, left out", show::name(path)),
            };
            bar.iter_mut().for_each(Bar::clear);
            warn(&line);
        };
        let mut how = Tree::new().links(self.links).preserve(self.preserve).sync(self.sync);
        how = how.resume(self.resume);
        if let Some(depth) = self.depth {
            how = how.depth(depth);
        }
        if let Some(entries) = self.entries {
            how = how.entries(entries as u64);
        }
        if let Some(parallel) = parallel {
            how = how.parallel(parallel.further, parallel.client());
        }
        let how = how.told(told);
        let summary = match way {
            Way::Put => sftp.put_tree(Path::new(from), to, how).await?,
            Way::Get => sftp.get_tree(from, Path::new(to), how).await?,
        };
        drop(bar);
        let took = begun.elapsed();
        if !self.json {
            print(format_args!("{}\n", sentence(from, to, &summary, took)))?;
        }
        Ok((json(from, to, &summary, took), summary.failed))
    }
}

/// `photos -> backup/photos: 10000 files, 12 directories, 9.8 MiB in 1.2 s; 3 left out, 1 failed`
fn sentence(from: &OsStr, to: &OsStr, of: &Summary, took: Duration) -> String {
    let plural = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let mut text = format!(
        "{} -> {}: {}, {}, {} in {:.1} s",
        show::name(from.as_bytes()),
        show::name(to.as_bytes()),
        plural(of.files, "file", "files"),
        plural(of.directories, "directory", "directories"),
        Size(of.bytes),
        took.as_secs_f64(),
    );
    let others = [
        (of.links, "links made"),
        (of.unchanged, "there already"),
        (of.skipped, "left out"),
        (of.failed, "failed"),
    ];
    for (at, (n, what)) in others.iter().filter(|(n, _)| *n > 0).enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{} {n} {what}", if at == 0 { ";" } else { "," });
    }
    text
}

fn json(from: &OsStr, to: &OsStr, of: &Summary, took: Duration) -> Value {
    let failures = of.failures.iter().map(|failed| {
        let message = failed.error.to_string();
        Value::object([("path", show::json(&failed.path)), ("message", message.as_str().into())])
    });
    Value::object([
        ("from", show::json(from.as_bytes())),
        ("to", show::json(to.as_bytes())),
        ("files", of.files.into()),
        ("directories", of.directories.into()),
        ("links", of.links.into()),
        ("bytes", of.bytes.into()),
        ("unchanged", of.unchanged.into()),
        ("left_out", of.skipped.into()),
        ("failed", of.failed.into()),
        ("failures", Value::List(failures.collect())),
        ("ns", (took.as_nanos() as u64).into()),
    ])
}

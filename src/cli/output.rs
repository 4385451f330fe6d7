//! The files that a command leaves.

use super::{Exit, Parsed};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Refuses to write what `flag` names onto the file that `--from` reads, whatever name either goes by: what was measured would be lost.
pub(super) fn apart(parsed: &Parsed, flag: &str) -> Result<(), Exit> {
    let (Some(from), Some(to)) = (parsed.value("from"), parsed.value(flag)) else { return Ok(()) };
    // Where one of them cannot be looked at, they are not the same; what is no file, a terminal or a pipe, holds nothing.
    let file = |path| fs::metadata(path).ok().filter(fs::Metadata::is_file);
    let same = file(from)
        .zip(file(to))
        .is_some_and(|(from, to)| (from.dev(), from.ino()) == (to.dev(), to.ino()));
    if same {
        return Err(Exit::usage(format!(
            "--{flag} {to} is the file that --from reads: it would be lost"
        )));
    }
    Ok(())
}

//! Running `ssh -G`.

use super::ConfigError;
use crate::remote::target::Target;
use crate::sys::{self, PollFd};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long ssh may take: a `Match exec` of the user's may run in it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// More output than this is none of ssh's, in bytes.
const MOST: usize = 1 << 20;
const LATE: &str = "no answer in time (does a Match exec of its configuration hang?)";

/// What `program -G` prints of a target; `None` where there is no such program.
pub(super) fn ssh_g(
    program: &OsStr,
    target: &Target,
    file: Option<&Path>,
    patience: Duration,
) -> Result<Option<String>, ConfigError> {
    let deadline = Instant::now() + patience;
    let mut command = Command::new(program);
    command.arg("-G").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(file) = file {
        command.arg("-F").arg(file);
    }
    if let Some(user) = target.user() {
        command.args(["-l", user]);
    }
    if let Some(port) = target.port() {
        command.args(["-p", &port.to_string()]);
    }
    // The host stands behind "--", and a target never begins with '-' anyway.
    let mut child = match command.args(["--", target.host()]).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let output = collect(&mut child, deadline);
    if output.is_err() {
        // It may have ended by itself by now; it is reaped below in either case.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| failed(&error))?;
    let [said, errors] = output.map_err(|error| failed(&error))?;
    if !status.success() {
        return Err(ConfigError(format!("ssh -G: {}", first_lines(&errors, &status.to_string()))));
    }
    let text = String::from_utf8(said);
    text.map(Some).map_err(|_| ConfigError(String::from("ssh -G: its output is not UTF-8")))
}

fn failed(error: &io::Error) -> ConfigError {
    ConfigError(format!("ssh -G: {}", sys::describe(error)))
}

/// What the child writes on standard output and standard error, until both have ended.
fn collect(child: &mut Child, deadline: Instant) -> io::Result<[Vec<u8>; 2]> {
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut said = [Vec::new(), Vec::new()];
    // Only what is open is polled: a pipe at its end is ready for ever.
    let mut open = vec![(0, File::from(OwnedFd::from(output))), (1, OwnedFd::from(errors).into())];
    while !open.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, LATE));
        }
        let mut list: Vec<_> =
            open.iter().map(|(_, pipe)| PollFd::new(pipe, true, false)).collect();
        match sys::poll(&mut list, Some(left)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        // Backwards, so that what is removed moves nothing that is still to be looked at.
        for at in (0..list.len()).rev().filter(|&at| list[at].readable()) {
            let (which, pipe) = &mut open[at];
            if !read_some(pipe, &mut said[*which])? {
                open.remove(at);
            }
        }
    }
    Ok(said)
}

/// One read of a pipe that is ready; whether more may come.
fn read_some(source: &mut File, said: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 8192];
    let count = source.read(&mut piece)?;
    if said.len() + count > MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it prints more than 1 MiB"));
    }
    said.extend_from_slice(&piece[..count]);
    Ok(count > 0)
}

/// ssh says the file and line of each fault, then how many there were. The first faults say most.
fn first_lines(errors: &[u8], otherwise: &str) -> String {
    let text = String::from_utf8_lossy(errors);
    // Said on a standard input that is no terminal, whatever happens.
    let lines =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with("Pseudo-terminal"));
    let shown: Vec<_> = lines.take(3).map(|line| line.escape_debug().to_string()).collect();
    if shown.is_empty() { otherwise.to_owned() } else { shown.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::ssh_g;
    use crate::remote::target::Target;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    /// A program in ssh's place.
    fn script(name: &str, body: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("waitcopy-test-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(name);
        // Written under another name by another process: a fork of a parallel test could hold it open for writing,
        // and then it could not be run (ETXTBSY).
        let text = format!("#!/bin/sh\n{body}\n");
        let copied = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$1\" > \"$2\"", "sh", &text])
            .arg(&path)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn run(program: &Path, patience: Duration) -> Result<Option<String>, String> {
        let target = Target::new(Some("bob"), "::1", Some(2222)).unwrap();
        let file = Some(Path::new("-odd file"));
        ssh_g(program.as_os_str(), &target, file, patience).map_err(|error| error.to_string())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn its_arguments_come_one_by_one() {
        let program = script("arguments", "printf '%s|' \"$@\"; cat; echo aside >&2");
        let said = run(&program, LONG).unwrap().unwrap();
        assert_eq!(said, "-G|-F|-odd file|-l|bob|-p|2222|--|::1|");
    }

    #[test]
    fn what_goes_wrong_is_said() {
        assert_eq!(run(Path::new("/none/ssh"), LONG), Ok(None));
        let program = script("fails", "echo 'conf line 5: bad\\033' >&2; echo 'bye' >&2; exit 255");
        let said = run(&program, LONG).unwrap_err();
        assert!(said.starts_with("ssh -G: conf line 5: bad") && said.ends_with("; bye"), "{said}");
        assert!(!said.contains('\x1b'), "{said:?}");
        let said = run(&script("silent", "exit 3"), LONG).unwrap_err();
        assert_eq!(said, "ssh -G: exit status: 3");
        let said = run(&script("endless", "while :; do echo endless; done"), LONG).unwrap_err();
        assert_eq!(said, "ssh -G: it prints more than 1 MiB");
        let said = run(&script("binary", "printf '\\377'"), LONG).unwrap_err();
        assert_eq!(said, "ssh -G: its output is not UTF-8");
    }

    #[test]
    fn a_program_that_hangs_is_ended_at_the_deadline() {
        let start = Instant::now();
        // It has closed standard error: that must not make the wait a busy one, nor end it.
        let program = script("hangs", "echo host x; exec 2>&-; exec sleep 600");
        let (done, ended) = mpsc::channel();
        thread::spawn(move || done.send(run(&program, Duration::from_millis(300))));
        let said = ended.recv_timeout(LONG).expect("an end").unwrap_err();
        assert!(said.starts_with("ssh -G: no answer in time"), "{said}");
        assert!((Duration::from_millis(300)..LONG).contains(&start.elapsed()));
    }
}

//! Many small files: a tree to the server, or from it, by us, by OpenSSH's sftp and by rsync.

use super::{Bench, Figures, Who};
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use waitcopy::sys;

/// Files of the tree, in a hundred directories, and bytes of each.
const FILES: usize = 10_000;
const SIZE: usize = 1024;

impl Bench {
    /// Random bytes, made when they are first asked for.
    fn tree(&self) -> PathBuf {
        let root = self.folder.join("tree");
        if root.exists() {
            return root;
        }
        let mut random = File::open("/dev/urandom").expect("urandom");
        let mut bytes = vec![0; SIZE];
        for n in 0..FILES {
            let folder = root.join(format!("{:02}", n % 100));
            fs::create_dir_all(&folder).expect("a folder");
            random.read_exact(&mut bytes).expect("random bytes");
            fs::write(folder.join(n.to_string()), &bytes).expect("a file");
        }
        root
    }

    /// One tree; both ends are here, and every file is compared. rsync's ssh is waited for by rsync, and counted with it.
    pub(super) fn copy_tree(&self, who: Who, job: &'static str) -> Figures {
        let (from, to) = (self.tree(), self.folder.join("tree-copy"));
        let verb = job.strip_suffix("-tree").expect("a job of trees");
        let mut command = match who {
            Who::Rsync => self.rsync(verb, &from, &to),
            _ => {
                let mut words = vec![from.clone().into(), to.clone().into()];
                let further = [(Who::Ours, "0"), (Who::OursTwice, "1")];
                words.extend(further.iter().find(|(one, _)| *one == who).map(|(_, n)| n.into()));
                self.client(who, job, &words)
            }
        };
        let start = Instant::now();
        let mut child = command.spawn().expect("a client");
        let line = format!("{verb} -r {} {}\n", from.display(), to.display());
        let _ = child.stdin.take().map(|mut input| input.write_all(line.as_bytes()));
        let (status, used) = sys::wait4(child).expect("its end");
        let wall = start.elapsed().as_secs_f64();
        let compared = Command::new("diff").arg("-rq").args([&from, &to]).status();
        let same = compared.is_ok_and(|status| status.success());
        assert!(status.success() && same, "{}: {job}: {status}", who.name());
        fs::remove_dir_all(&to).expect("the copy");
        vec![
            ("seconds", wall),
            ("CPU seconds", (used.user + used.system).as_secs_f64()),
            ("peak memory, MiB", used.max_rss_kib as f64 / 1024.0),
        ]
    }

    fn rsync(&self, verb: &str, from: &Path, to: &Path) -> Command {
        let addr = self.sshd.addr();
        let shell = format!(
            "ssh -F none -p {} -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile={}",
            addr.port(),
            self.key.display(),
            self.known_hosts.display()
        );
        let there = |path: &Path| format!("{}@{}:{}/", self.sshd.user(), addr.ip(), path.display());
        let here = |path: &Path| format!("{}/", path.display());
        let mut command = Command::new("rsync");
        command.args(["-a", "-e", &shell]);
        match verb {
            "put" => command.args([here(from), there(to)]),
            _ => command.args([there(from), here(to)]),
        };
        sys::die_with_parent(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

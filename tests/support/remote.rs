//! The library's clients against a private SSH server: none of them looks at the agent or the known_hosts files of the
//! user who runs the tests.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "as in mod.rs")]

use crate::ssh::or_skip;
use crate::support::{PATIENCE, watchdog};
use std::cell::RefCell;
use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::task::Poll;
use waitcopy::lab::sshd::{Options, Sshd};
use waitcopy::remote::config::IdentityAgent;
use waitcopy::remote::secret::Secret;
use waitcopy::remote::{Ask, Client, Error, blocking};
use waitcopy::sys::ssh::Prompt;

/// A test with its server, under a watchdog.
pub fn with(options: Options, test: impl FnOnce(Sshd) + Send + 'static) {
    watchdog(PATIENCE, move || {
        if let Some(sshd) = or_skip(Sshd::start(options)) {
            test(sshd);
        }
    });
}

/// A client that knows the server's keys, and has nothing to log in with yet.
pub fn client(sshd: &Sshd) -> Client {
    let known = sshd.folder().join("known_hosts_of_the_test");
    fs::write(&known, sshd.known_hosts()).unwrap();
    client_of(sshd.user(), sshd.addr(), &known)
}

/// The same of any server, with the hosts of a file.
pub fn client_of(user: &str, addr: SocketAddr, known: &Path) -> Client {
    let client = Client::new(&format!("{user}@{}:{}", addr.ip(), addr.port())).unwrap();
    client.agent(IdentityAgent::Off).known_hosts(known)
}

pub fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

/// Why there is no session.
#[track_caller]
pub fn refusal(client: &Client) -> Error {
    match client.connect() {
        Ok(ssh) => panic!("it connected: {:?}", ssh.about()),
        Err(error) => error,
    }
}

/// Connects, asks the server who is in, and ends; what the server took.
#[track_caller]
pub fn login(sshd: &Sshd, client: &Client) -> String {
    let ssh = client.connect().unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()));
    let login = ssh.about().login.clone();
    assert_eq!(who(&ssh), sshd.user());
    ssh.close().unwrap();
    login
}

/// The user that a command runs as.
#[track_caller]
pub fn who(ssh: &blocking::Session) -> String {
    String::from_utf8(ssh.exec("id -un").unwrap().stdout).unwrap().trim_end().to_owned()
}

/// Whether a text holds all of these.
#[track_caller]
pub fn holds(error: &Error, words: &[&str]) {
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "no '{word}' in: {text}"));
}

/// What a [`Person`] was asked, in order.
pub type Asked = Rc<RefCell<Vec<String>>>;

/// Answers from a list: a question that holds the first word gets the next of the answers behind it.
pub struct Person {
    answers: Vec<(&'static str, Vec<String>)>,
    asked: Asked,
}

impl Person {
    pub fn new(answers: &[(&'static str, &[&str])]) -> (Self, Asked) {
        let list = |list: &[&str]| list.iter().rev().map(|&answer| answer.to_owned()).collect();
        let answers = answers.iter().map(|&(word, answers)| (word, list(answers))).collect();
        let asked = Asked::default();
        (Self { answers, asked: Rc::clone(&asked) }, asked)
    }

    fn answer(&mut self, question: String) -> Option<Secret> {
        let found = self.answers.iter_mut().find(|(word, _)| question.contains(word));
        let answer = found.and_then(|(_, answers)| answers.pop());
        self.asked.borrow_mut().push(question);
        answer.map(Secret::from)
    }
}

impl Ask for Person {
    fn passphrase(&mut self, file: &Path) -> Option<Secret> {
        self.answer(format!("passphrase of {}", file.display()))
    }

    fn password(&mut self, user: &str, host: &str, attempt: usize) -> Option<Secret> {
        self.answer(format!("password {attempt} of {user}@{host}"))
    }

    fn answers(&mut self, _: &str, _: &str, prompts: &[Prompt]) -> Option<Vec<Secret>> {
        prompts.iter().map(|prompt| self.answer(prompt.text.clone())).collect()
    }
}

/// A real ssh-agent(1), up to its drop.
pub struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    /// Starts one whose socket is in the server's folder.
    pub fn start(sshd: &Sshd) -> Self {
        Self::start_at(sshd.folder().join("agent"))
    }

    pub fn start_at(socket: PathBuf) -> Self {
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::piped());
        // Nobody is asked to confirm anything.
        agent.env_remove("DISPLAY").env("SSH_ASKPASS", "/bin/false").stderr(Stdio::null());
        let mut child = agent.spawn().unwrap();
        // It tells its socket once it listens.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("SSH_AUTH_SOCK"), "{line}");
        Self { child, socket }
    }

    pub fn add(&self, keys: &[PathBuf]) {
        self.add_with(&[], keys);
    }

    pub fn add_with(&self, words: &[&str], keys: &[PathBuf]) {
        let mut add = Command::new("ssh-add");
        add.arg("-q")
            .args(words)
            .args(keys)
            .env("SSH_AUTH_SOCK", &self.socket)
            .stdin(Stdio::null());
        let output = add.output().unwrap();
        assert!(output.status.success(), "{}", crate::ssh::said(&output));
    }

    /// To be asked by a client.
    pub fn at(&self) -> IdentityAgent {
        IdentityAgent::Socket(self.socket.clone())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Killed, it leaves its socket.
        let _ = fs::remove_file(&self.socket);
    }
}

/// A new key of nobody's, by ssh-keygen(1).
pub fn new_key(folder: &Path, name: &str, words: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name]).args(words).arg("-f").arg(&path);
    let output = keygen.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", crate::ssh::said(&output));
    path
}

/// Runs futures side by side on the reactor that polls this one; what they came to, in their order.
pub async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if let Some(Poll::Ready(output)) = future.as_mut().map(|f| f.as_mut().poll(cx)) {
                (*done, *future) = (Some(output), None);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

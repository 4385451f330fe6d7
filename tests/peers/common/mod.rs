//! What the paired measurements share: a server that somebody wrote, and figures of rounds.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench is a program of its own and uses some of it"
)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use waitcopy::net::Endpoint;
use waitcopy::sys;

/// The program that is measured.
pub const WAITCOPY: &str = env!("CARGO_BIN_EXE_waitcopy");

/// A running server that has told its address in the words of `waitcopy serve`. It ends with its owner.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts it on a core.
    ///
    /// # Errors
    /// What it said instead of its address.
    pub fn start(command: &mut Command, core: usize) -> Result<Self, String> {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = sys::run_on(sys::die_with_parent(command), core)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().to_string_lossy()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        let read = BufReader::new(stdout).read_line(&mut line);
        let address = line.trim_end().strip_prefix("listening on ");
        let address = address.and_then(|words| Endpoint::parse(words)?.address().ip());
        match address.filter(|_| read.is_ok()) {
            Some(address) => Ok(Self { child, address }),
            None => {
                let _ = child.kill();
                let end = child.wait();
                Err(format!("said {line:?} and ended with {end:?}"))
            }
        }
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// The process and its children.
    pub fn family(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|number| number.parse().ok());
        [pid].into_iter().chain(children).collect()
    }

    /// A line of smaps_rollup, in KiB, of all processes.
    pub fn memory(&self, field: &str) -> u64 {
        let of = |pid: &u32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
            kib(&text.unwrap_or_default(), field)
        };
        self.family().iter().map(of).sum()
    }

    /// Asks it to stop, and waits for a second or two; how long it takes is nobody's figure.
    pub fn stop(&mut self) {
        let _ = sys::kill(self.child.id(), sys::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2)
            && self.child.try_wait().is_ok_and(|end| end.is_none())
        {
            let _ = sys::ppoll(&mut [], Some(Duration::from_millis(5)));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The number of a line `Name:   12 kB`.
pub fn kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// In rising order.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The median of sorted values.
pub fn middle(values: &[f64]) -> f64 {
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

/// The median of values and the ends of its 95 % interval, which holds whatever their distribution is: the k-th smallest
/// and the k-th largest, with the largest k for which at most 5 % of all samples would miss (the binomial's two tails). Of fewer than
/// six values not even the extremes are so sure; they are what is returned.
pub fn interval(values: Vec<f64>) -> [f64; 3] {
    let values = sorted(values);
    let n = values.len();
    let (mut tail, mut chance, mut inside) = (0.0, 0.5_f64.powi(n as i32), 0);
    // Of k values that fall below the median: chance, and the sum up to there.
    for k in 0..n / 2 {
        tail += chance;
        if 2.0 * tail > 0.05 {
            break;
        }
        inside = k;
        chance *= (n - k) as f64 / (k + 1) as f64;
    }
    [middle(&values), values[inside], values[n - 1 - inside]]
}

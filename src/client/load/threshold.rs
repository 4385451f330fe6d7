//! A limit for a run's figures, as CI states it: `p99>5ms` fails the run when it is so.

use super::Outcome;
use crate::phase::Nanos;
use std::fmt;

/// A figure of the outcome.
#[derive(Clone, Copy, Debug)]
enum Metric {
    /// A quantile of the latency; 1 is the largest.
    Latency(f64),
    /// Answers per second.
    Rate,
    /// A share of a core, of the busiest thread.
    Busiest,
    /// A count.
    Count(fn(&Outcome) -> u64),
}

/// What can be named. Latencies are those of the outcome: corrected ones, where requests are planned.
const METRICS: [(&str, Metric); 17] = [
    ("p50", Metric::Latency(0.5)),
    ("p90", Metric::Latency(0.9)),
    ("p99", Metric::Latency(0.99)),
    ("p99.9", Metric::Latency(0.999)),
    ("max", Metric::Latency(1.0)),
    ("rate", Metric::Rate),
    ("cpu", Metric::Busiest),
    ("requests", Metric::Count(|o| o.requests)),
    ("errors", Metric::Count(|o| o.errors().iter().map(|(_, n)| n).sum())),
    ("wrong", Metric::Count(|o| o.wrong)),
    ("dead", Metric::Count(|o| o.dead as u64)),
    ("unanswered", Metric::Count(|o| o.unanswered as u64)),
    ("unserved", Metric::Count(|o| o.unserved as u64)),
    ("lost", Metric::Count(|o| o.lost)),
    ("late", Metric::Count(|o| o.late)),
    ("unreachable", Metric::Count(|o| o.unreachable)),
    ("unsent", Metric::Count(|o| o.unsent)),
];

const TIMES: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];

/// Holds where the run fails.
#[derive(Clone, Debug)]
pub struct Threshold {
    text: String,
    name: &'static str,
    metric: Metric,
    above: bool,
    equal: bool,
    /// Nanoseconds for latencies; of a count in percent, the share of all requests.
    limit: f64,
    percent: bool,
}

impl Threshold {
    /// Reads `p99>5ms`, `rate<10000`, `lost>1%`: a figure, one of `> >= < <=`, and a limit with its unit. What holds for every run,
    /// or for none, is no limit.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: String| Err(format!("'{text}': {what}"));
        let Some(at) = text.find(['<', '>']) else {
            return wrong("a limit is expected, such as p99>5ms".to_owned());
        };
        let (name, rest) = (text[..at].trim(), &text[at + 1..]);
        let above = text.as_bytes()[at] == b'>';
        let (equal, value) = rest.strip_prefix('=').map_or((false, rest), |value| (true, value));
        let Some((name, metric)) = METRICS.into_iter().find(|(known, _)| *known == name) else {
            let names = METRICS.map(|(name, _)| name).join(", ");
            return wrong(format!("no figure '{name}'; there are {names}"));
        };
        let (value, percent) = (value.trim(), value.trim().ends_with('%'));
        let limit = match metric {
            Metric::Latency(_) => TIMES.into_iter().find_map(|(unit, nanos)| {
                // "5ms" ends with "s" too: what is left then is no number.
                Some(number(value.strip_suffix(unit)?)? * nanos)
            }),
            Metric::Busiest => value.strip_suffix('%').and_then(number).map(|n| n / 100.0),
            Metric::Rate => number(value.strip_suffix("/s").unwrap_or(value)),
            Metric::Count(_) if name == "requests" => number(value),
            Metric::Count(_) if percent => number(&value[..value.len() - 1]).map(|n| n / 100.0),
            Metric::Count(_) => number(value),
        };
        let Some(limit) = limit else {
            let expected = match metric {
                Metric::Latency(_) => "a time with its unit is expected, such as 250us, 5ms, 1.5s",
                Metric::Busiest => "a share of a core is expected, such as 85%",
                Metric::Rate => "requests per second are expected, such as 10000",
                Metric::Count(_) if name == "requests" => "a number is expected, such as 1000",
                Metric::Count(_) => "a number, or a share of the requests, is expected: 0, 1%",
            };
            return wrong(expected.to_owned());
        };
        let (least, most, range) = match metric {
            Metric::Latency(_) => (1.0, f64::INFINITY, "a latency is above 0"),
            Metric::Busiest => {
                (0.0, 1.0, "it is a share of one core, of the busiest thread: from 0 to 100 %")
            }
            Metric::Count(_) if percent => (0.0, 1.0, "a share of the requests is from 0 to 100 %"),
            Metric::Rate | Metric::Count(_) => (0.0, f64::INFINITY, "a number is 0 or more"),
        };
        let text = text.trim().to_owned();
        let threshold = Self { text, name, metric, above, equal, limit, percent };
        // It turns once on the way from the least to the most, or never.
        let [at_least, at_most] = [least, most].map(|value| threshold.holds(value));
        if at_least == at_most {
            let what = if at_most { "that always holds" } else { "that can never hold" };
            return wrong(format!("{what}: {range}"));
        }
        Ok(threshold)
    }

    fn holds(&self, value: f64) -> bool {
        let beyond = if self.above { value > self.limit } else { value < self.limit };
        beyond || (self.equal && value == self.limit)
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is about the figure of this name.
    #[must_use]
    pub fn is_about(&self, name: &str) -> bool {
        self.name == name
    }

    /// The figure, and whether the run fails by it. A run without a single answer has no latency: it fails.
    #[must_use]
    pub fn check(&self, outcome: &Outcome) -> (Seen, bool) {
        let seen = match self.metric {
            Metric::Latency(_) if outcome.requests == 0 => return (Seen::Nothing, true),
            Metric::Latency(1.0) => Seen::Time(outcome.latency.max()),
            Metric::Latency(quantile) => Seen::Time(outcome.latency.quantile(quantile)),
            Metric::Rate => Seen::Number(outcome.rate()),
            Metric::Busiest => Seen::Share(outcome.busiest),
            Metric::Count(count) if self.percent => {
                let n = count(outcome) as f64;
                Seen::Share(if n == 0.0 { 0.0 } else { n / (n + outcome.requests as f64) })
            }
            Metric::Count(count) => Seen::Number(count(outcome) as f64),
        };
        let value = match seen {
            Seen::Nothing => return (seen, true),
            Seen::Time(nanos) => nanos as f64,
            Seen::Number(n) | Seen::Share(n) => n,
        };
        (seen, self.holds(value))
    }
}

/// A number that is not negative.
fn number(text: &str) -> Option<f64> {
    // "inf", "nan", "+1", "1e3" are numbers to the standard library, and nonsense or surprising here.
    let plain = text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.trim().parse().ok().filter(|_| plain)
}

/// A figure as it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// Nothing was measured.
    Nothing,
    /// Nanoseconds.
    Time(u64),
    /// A count or a rate.
    Number(f64),
    /// A share of 1.
    Share(f64),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => f.write_str("nothing measured"),
            Self::Time(nanos) => Nanos(nanos).fmt(f),
            Self::Number(n) => write!(f, "{n:.0}"),
            Self::Share(share) => write!(f, "{:.3} %", 100.0 * share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Part, Score};
    use super::super::{Load, Outcome};
    use super::{Seen, Threshold};
    use crate::net::{Endpoint, Transport};
    use std::sync::Arc;
    use std::time::Duration;

    /// Latencies 1 to 1,000 us in a second, 10 of 1,010 datagrams lost.
    fn outcome() -> Outcome {
        let server = Endpoint::resolve(Transport::Tcp, "127.0.0.1:1").unwrap()[0];
        let score = Arc::new(Score::new(&Load::new(server)).unwrap());
        (1..=1_000).for_each(|us| score.latency.record(us * 1_000));
        score.lost.add(10);
        let part = Part {
            wall: Duration::from_secs(1),
            cpu: Duration::from_millis(900),
            ..Part::default()
        };
        Outcome::of(&[part], &[score]).unwrap()
    }

    #[test]
    fn limits_hold_and_fail_by_the_figure() {
        let outcome = outcome();
        let fails = |text: &str| Threshold::parse(text).unwrap().check(&outcome).1;
        for text in [
            "p50>400us",
            "p99 > 0.9ms",
            "p99.9>=0.99ms",
            "max>=1ms",
            "max<=1ms",
            "rate<2000",
            "rate<1001/s",
            "errors>0",
            "lost>=10",
            "lost>0.9%",
            "cpu>85%",
            "requests<1001",
            "wrong<=0",
            "lost>=0.9%",
        ] {
            assert!(fails(text), "{text}");
        }
        for text in [
            "p50>600us",
            "p99>1s",
            "max>1ms",
            "max<1ms",
            "rate<1000",
            "lost>10",
            "lost>1%",
            "cpu>95%",
            "errors<10",
            "dead>0",
            "unsent>0",
            "requests<1000",
        ] {
            assert!(!fails(text), "{text}");
        }
        assert_eq!(Threshold::parse("lost>1%").unwrap().check(&outcome).0.to_string(), "0.990 %");
        assert_eq!(Threshold::parse("max>1ms").unwrap().check(&outcome).0, Seen::Time(1_000_000));
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        for text in [
            "",
            "p99",
            "p99>",
            "p99>5",
            "p99=5ms",
            "p99>>5ms",
            "p98>5ms",
            ">5ms",
            "p99>-5ms",
            "p99>nans",
            "p99>infs",
            "p99>1e3ms",
            "rate<fast",
            "rate<1ms",
            "lost>x%",
            "lost>5ms",
            "cpu>0.85",
            "p99>5 m s",
            "requests<1%",
            "p99>5ms,p50>1ms",
            "p99>.ms",
        ] {
            let error = Threshold::parse(text).expect_err(text);
            assert!(error.starts_with(&format!("'{text}': ")), "{error}");
        }
    }

    #[test]
    fn what_holds_always_or_never_is_refused() {
        let said = |text: &str| Threshold::parse(text).expect_err(text);
        for text in [
            "p99<0ms",
            "max<=0s",
            "p50<1ns",
            "rate<0",
            "requests<0",
            "errors<0",
            "lost<0%",
            "cpu<0%",
            "cpu>100%",
            "cpu>500%",
            "errors>100%",
            "errors>=200%",
        ] {
            assert!(said(text).starts_with(&format!("'{text}': that can never hold: ")), "{text}");
        }
        for text in [
            "p99>=0ms",
            "p99>0ms",
            "p99>=1ns",
            "rate>=0",
            "requests>=0",
            "errors>=0",
            "lost>=0%",
            "cpu<=100%",
            "errors<101%",
        ] {
            assert!(said(text).starts_with(&format!("'{text}': that always holds: ")), "{text}");
        }
        for text in [
            "p99>1ns",
            "p99<=1ns",
            "rate<=0",
            "rate>0",
            "errors>0",
            "lost<=0%",
            "lost>=100%",
            "cpu>=100%",
            "cpu<100%",
        ] {
            assert!(Threshold::parse(text).is_ok(), "{text}");
        }
    }
}

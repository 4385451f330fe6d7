//! The notes' claims, each put to the test on the machine at hand.
//!
//! [`list`](mod@list) has the notes' words; [`evidence`] measures; [`verdict`] judges, and does nothing else: the same figures
//! always give the same verdict, so every verdict of every claim is tested on made-up figures.

pub mod evidence;
pub mod list;
mod sockets;
pub mod verdict;

pub use evidence::{Evidence, Plan};
pub use list::{CLAIMS, Claim};

use crate::json::Value;
use crate::phase::Nanos;
use std::fmt;

/// What the figures say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the notes say.
    Holds,
    /// Not on this machine, or not as it is said.
    DoesNotHold,
    /// On a condition, which the finding names.
    Depends,
    /// Nothing to measure: a source is named.
    Documented,
}

impl Verdict {
    /// As the table and the JSON have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::DoesNotHold => "does not hold here",
            Self::Depends => "depends",
            Self::Documented => "documented",
        }
    }
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// A share of a whole, in percent.
    Percent,
    /// How many times one is the other.
    Times,
    /// Things counted, per request or in all.
    Count,
    /// Per second.
    Rate,
    /// Bytes.
    Bytes,
    /// 1 is yes, 0 is no.
    YesNo,
}

/// One measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
}

impl Figure {
    fn new(what: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { what: what.into(), value, unit }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        match self.unit {
            Unit::Time => write!(f, "{}", Nanos(value as u64)),
            Unit::Percent if value < 1.0 => write!(f, "{value:.3} %"),
            Unit::Percent => write!(f, "{value:.1} %"),
            Unit::Times => write!(f, "{value:.2} times"),
            Unit::Count if value.fract() == 0.0 => write!(f, "{value:.0}"),
            Unit::Count => write!(f, "{value:.2}"),
            Unit::Rate => write!(f, "{value:.0}/s"),
            Unit::Bytes => write!(f, "{value:.0} B"),
            Unit::YesNo => f.write_str(if value == 0.0 { "no" } else { "yes" }),
        }
    }
}

/// A judgement: the verdict, why, and the figures it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// One sentence: what was seen, or the condition, or what the source says.
    pub because: String,
    /// What was measured.
    pub figures: Vec<Figure>,
}

/// A claim with its judgement.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What the notes say.
    pub claim: &'static Claim,
    /// What came of it.
    pub judgement: Judgement,
}

impl Finding {
    /// For programs. Times are nanoseconds, shares percent.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Judgement { verdict, because, figures } = &self.judgement;
        let figures = figures.iter().map(|figure| {
            Value::object([
                ("what", figure.what.as_str().into()),
                ("value", figure.value.into()),
                ("unit", format!("{:?}", figure.unit).to_lowercase().into()),
                ("shown", figure.to_string().into()),
            ])
        });
        Value::object([
            ("name", self.claim.name.into()),
            ("notes", self.claim.words.into()),
            ("translation", self.claim.translation.into()),
            ("test", self.claim.test.into()),
            ("verdict", verdict.name().into()),
            ("because", because.as_str().into()),
            ("figures", Value::List(figures.collect())),
            ("source", self.claim.source.into()),
        ])
    }
}

/// Judges every claim by the evidence.
#[must_use]
pub fn judge(evidence: &Evidence) -> Vec<Finding> {
    let of = |claim: &'static Claim| Finding { claim, judgement: (claim.judge)(evidence) };
    CLAIMS.iter().map(of).collect()
}

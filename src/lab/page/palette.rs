//! How each model looks, in every chart: a colour, a dash and a marker.
//!
//! Colours are those of Okabe and Ito, which colour-blind readers tell apart, a little darker on light ground and lighter on
//! dark. There are fewer of them than models: models that share one differ in marker and dash, and every line bears its name.

use std::fmt::Write as _;

/// A model's look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Name of the colour in the style sheet.
    pub(super) colour: &'static str,
    /// `stroke-dasharray`.
    pub(super) dash: &'static str,
    /// Its marker.
    pub(super) marker: Marker,
    /// Whether the marker is only an outline.
    pub(super) hollow: bool,
}

/// A shape of about 9 units around the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// Round.
    Circle,
    /// On its side.
    Square,
    /// On its point.
    Diamond,
    /// Point up.
    Up,
    /// Point down.
    Down,
    /// Two strokes.
    Cross,
    /// Six corners.
    Hexagon,
}

impl Marker {
    /// As the data of an SVG path.
    #[must_use]
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Circle => "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
            Self::Square => "M-3.6 -3.6h7.2v7.2h-7.2z",
            Self::Diamond => "M0 -5l5 5l-5 5l-5 -5z",
            Self::Up => "M0 -4.8l4.6 8.2h-9.2z",
            Self::Down => "M0 4.8l4.6 -8.2h-9.2z",
            Self::Cross => "M-3.8 -3.8l7.6 7.6M3.8 -3.8l-7.6 7.6",
            Self::Hexagon => "M-2.3 -4h4.6l2.3 4l-2.3 4h-4.6l-2.3 -4z",
        }
    }
}

const SOLID: &str = "none";
const LONG: &str = "7 3";
const SHORT: &str = "3 3";
const MIXED: &str = "8 3 2 3";

const fn look(colour: &'static str, dash: &'static str, marker: Marker, hollow: bool) -> Look {
    Look { colour, dash, marker, hollow }
}

/// The models that have a look of their own. Where all are compared, those of one chart have no colour twice (a test in
/// `charts.rs` holds that).
const LOOKS: [(&str, Look); 14] = [
    ("blocking", look("fg", SOLID, Marker::Circle, false)),
    ("nonblocking", look("purple", SHORT, Marker::Cross, true)),
    ("select", look("orange", LONG, Marker::Square, true)),
    ("poll", look("red", MIXED, Marker::Diamond, true)),
    ("epoll", look("blue", SOLID, Marker::Circle, false)),
    ("epoll-et", look("sky", LONG, Marker::Up, true)),
    ("threads", look("blue", SOLID, Marker::Square, false)),
    ("thread-pool", look("sky", LONG, Marker::Diamond, false)),
    ("fork", look("red", SOLID, Marker::Up, false)),
    ("prefork", look("orange", LONG, Marker::Down, false)),
    ("reuseport", look("green", SOLID, Marker::Hexagon, false)),
    ("io-uring", look("fg", MIXED, Marker::Hexagon, true)),
    ("sigio", look("purple", MIXED, Marker::Down, true)),
    ("async", look("orange", MIXED, Marker::Diamond, true)),
];

/// A model's look; of one that this version does not know, always the same for the same name.
#[must_use]
pub(super) fn of(model: &str) -> Look {
    let known = LOOKS.iter().find(|(name, _)| *name == model);
    known.map_or_else(|| unknown(model), |(_, look)| *look)
}

fn unknown(model: &str) -> Look {
    let sum: usize = model.bytes().map(usize::from).sum();
    let colours = ["purple", "green", "orange", "blue", "red", "sky"];
    let markers = [Marker::Hexagon, Marker::Down, Marker::Up, Marker::Square, Marker::Cross];
    look(colours[sum % colours.len()], SHORT, markers[sum / 7 % markers.len()], true)
}

/// The class of a model's elements.
#[must_use]
pub(super) fn class(model: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("m-{}", model.chars().map(safe).collect::<String>())
}

/// The rules for these models: their colour and dash as variables, which the style sheet uses.
#[must_use]
pub(super) fn rules(models: &[&str]) -> String {
    let mut rules = String::new();
    for model in models {
        let Look { colour, dash, .. } = of(model);
        // Writing to a String cannot fail.
        let _ = writeln!(rules, ".{}{{--ink:var(--{colour});--dash:{dash}}}", class(model));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::{LOOKS, of, rules};
    use crate::model::CATALOGUE;

    #[test]
    fn every_model_of_the_catalogue_has_a_look_that_no_other_has() {
        for model in &CATALOGUE {
            assert!(LOOKS.iter().any(|(name, _)| *name == model.name), "{}", model.name);
        }
        for (i, (name, look)) in LOOKS.iter().enumerate() {
            let same = |(_, other): &&(&str, super::Look)| {
                (other.colour, other.marker, other.hollow)
                    == (look.colour, look.marker, look.hollow)
            };
            assert!(!LOOKS[..i].iter().any(|entry| same(&entry)), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_cannot_leave_the_style_sheet() {
        assert!(rules(&["a}b{"]).starts_with(".m-a_b_{--ink:var(--"));
        assert_eq!(of("kqueue"), of("kqueue"));
    }
}

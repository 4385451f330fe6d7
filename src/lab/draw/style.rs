//! Colours and letters. The colours follow Okabe and Ito's, which colour-blind readers can tell apart, darker on light paper and lighter
//! on dark; none stands without a pattern, a letter or a word that says the same.

use super::canvas::Ink;

/// A client's colours: for light pages, for dark ones, in a terminal's 256 colours.
const CLIENTS: [(&str, &str, u8); 8] = [
    ("#0072b2", "#56a8dd", 32),
    ("#c25400", "#e8833a", 166),
    ("#00795a", "#2fb892", 36),
    ("#a8568a", "#d48bb8", 175),
    ("#8a6200", "#e0a83c", 172),
    ("#2f7fae", "#8cc8ee", 74),
    ("#6b6a00", "#d8cf4a", 142),
    ("#555555", "#b0b0b0", 245),
];

/// As many clients as have a colour.
pub(super) const MOST_CLIENTS: usize = CLIENTS.len();

/// A client's letter.
pub(super) fn letter(client: usize) -> char {
    (b'A' + (client % 26) as u8) as char
}

/// How a terminal is told.
pub(super) fn sgr(ink: Ink) -> String {
    match ink {
        Ink::Plain => "\x1b[0m".to_owned(),
        Ink::Faint => "\x1b[0;2m".to_owned(),
        Ink::Strong => "\x1b[0;1m".to_owned(),
        Ink::Wait => "\x1b[0;38;5;172m".to_owned(),
        Ink::Copy => "\x1b[0;38;5;32m".to_owned(),
        Ink::Client(n) => format!("\x1b[0;38;5;{}m", CLIENTS[n % CLIENTS.len()].2),
    }
}

/// The style sheet of every picture: light, and dark where the reader's system is.
pub(super) fn sheet() -> String {
    let mut light = String::from(
        "\ntext{font-family:ui-sans-serif,system-ui,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif;font-size:13px;fill:#1c1c1c}\
         \n.mono{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12.5px}\
         \n.title{font-size:18px;font-weight:600}.head{font-weight:600}.small{font-size:11px}.faint{fill:#595959}\
         \n.middle{text-anchor:middle}.end{text-anchor:end}\
         \n.paper{fill:#fff}.band{fill:#f5f5f5}.line{stroke:#1c1c1c;stroke-width:1.3;fill:none}\
         \n.thin{stroke:#8a8a8a;stroke-width:1;fill:none}.dash{stroke-dasharray:3 3}.tip{fill:#1c1c1c}\
         \n.wait{fill:#fbe6bd;stroke:#b87a00}.copy{fill:#0072b2;stroke:#0072b2}.hatch{stroke:#b87a00;stroke-width:1}\
         \n.blocked{fill:#1c1c1c}.runs{fill:#fff;stroke:#1c1c1c}.incopy{fill:#fff}.gap{stroke:#fff;stroke-width:5;fill:none}\
         \n.half{fill-opacity:0.25}.faintly{fill-opacity:0.1}.asks{fill:#b87a00}\n",
    );
    let mut dark = String::from(
        "text{fill:#e8e8e8}.faint{fill:#a6a6a6}.paper{fill:#15181c}.band{fill:#1e2328}.line{stroke:#e8e8e8}\
         .thin{stroke:#757575}.tip{fill:#e8e8e8}.wait{fill:#463510;stroke:#e69f00}.copy{fill:#0072b2;stroke:#56b4e9}\
         .hatch{stroke:#e69f00}.blocked{fill:#e8e8e8}.runs{fill:#15181c;stroke:#e8e8e8}.incopy{fill:#fff}.gap{stroke:#15181c}.asks{fill:#e69f00}",
    );
    for (n, (on_light, on_dark, _)) in CLIENTS.iter().enumerate() {
        let rule = |colour: &str, letter: &str| {
            format!(
                ".c{n}{{fill:{colour};stroke:{colour}}}.t{n}{{fill:{colour}}}.l{n}{{fill:{letter}}}"
            )
        };
        light.push_str(&rule(on_light, "#fff"));
        light.push('\n');
        dark.push_str(&rule(on_dark, "#111"));
    }
    format!("{light}@media (prefers-color-scheme:dark){{{dark}}}\n")
}

//! Frames as an SVG that plays by itself, over and over. Where nothing plays, it shows the last
//! frame. A row that stays the same for a while is written once, so the file stays small.

use std::{fmt::Write, time::Duration};

use super::terminal::{Frame, Piece, Row};

const COLUMN: f64 = 8.0;
const LINE: f64 = 18.0;
const MARGIN: f64 = 16.0;
/// A pause of the program is shown at most this long.
const LONGEST_PAUSE: Duration = Duration::from_millis(1200);
/// How long the last frame stays.
const AT_THE_END: Duration = Duration::from_secs(6);

/// The terminal's sixteen colours, legible on the dark ground.
const COLOURS: [&str; 16] = [
    "#6e7681", "#ff7b72", "#7ee787", "#f2cc60", "#79c0ff", "#d2a8ff", "#56d4dd", "#c9d1d9",
    "#8b949e", "#ffa198", "#aff5b4", "#f8e3a1", "#a5d6ff", "#e2c5ff", "#b3f0ff", "#ffffff",
];

/// A row's text for as long as it stayed.
struct Stay<'a> {
    line: usize,
    row: &'a Row,
    from: Duration,
    /// `None`: to the end.
    until: Option<Duration>,
}

/// The picture: the command, then what it showed.
pub(super) fn animated(command: &str, frames: &[Frame]) -> String {
    let times = times(frames);
    let whole = times.last().copied().unwrap_or_default() + AT_THE_END;
    let lines = frames
        .iter()
        .map(|frame| frame.rows.len())
        .max()
        .unwrap_or(0)
        + 1;
    let columns = frames
        .iter()
        .flat_map(|frame| &frame.rows)
        .filter_map(|row| row.last())
        .map(|piece| usize::from(piece.column) + piece.text.chars().count())
        .chain([command.chars().count()])
        .max()
        .unwrap_or(0);
    #[allow(clippy::cast_precision_loss, reason = "a screen is not that large")]
    let (width, height) = (
        MARGIN.mul_add(2.0, columns as f64 * COLUMN),
        MARGIN.mul_add(2.0, lines as f64 * LINE),
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" xml:space=\"preserve\">\n\
         <title>{}</title>\n\
         <style>text{{font:13px ui-monospace,Menlo,Consolas,\"DejaVu Sans Mono\",monospace;\
         fill:#c9d1d9;white-space:pre}}.b{{font-weight:bold}}.d{{opacity:.6}}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <rect width=\"0\" height=\"0\"><animate id=\"loop\" attributeName=\"width\" values=\"0;0\" \
         dur=\"{}\" begin=\"0s;loop.end\"/></rect>\n",
        escaped(command),
        seconds(whole),
    );
    let prompt = vec![Piece {
        column: 0,
        text: command.to_owned(),
        colour: None,
        bold: true,
        dim: false,
    }];
    svg.push_str(&text(0, &prompt, ""));
    for stay in stays(frames, &times) {
        svg.push_str(&text(stay.line + 1, stay.row, &stay.shown()));
    }
    svg.push_str("</svg>\n");
    svg
}

/// When each frame is shown, pauses shortened.
fn times(frames: &[Frame]) -> Vec<Duration> {
    let (mut shown, mut before) = (Duration::ZERO, Duration::ZERO);
    frames
        .iter()
        .map(|frame| {
            shown += (frame.at - before).min(LONGEST_PAUSE);
            before = frame.at;
            shown
        })
        .collect()
}

fn stays<'a>(frames: &'a [Frame], times: &[Duration]) -> Vec<Stay<'a>> {
    let lines = frames
        .iter()
        .map(|frame| frame.rows.len())
        .max()
        .unwrap_or(0);
    let mut stays: Vec<Stay<'a>> = Vec::new();
    for line in 0..lines {
        let mut open: Option<Stay<'a>> = None;
        for (frame, at) in frames.iter().zip(times) {
            let row = frame.rows.get(line).filter(|row| !row.is_empty());
            if open.as_ref().map(|stay| stay.row) == row {
                continue;
            }
            if let Some(stay) = open.take() {
                stays.push(Stay {
                    until: Some(*at),
                    ..stay
                });
            }
            open = row.map(|row| Stay {
                line,
                row,
                from: *at,
                until: None,
            });
        }
        stays.extend(open);
    }
    stays
}

impl Stay<'_> {
    /// Hides what is not shown yet, or shows what is not there in the end.
    fn shown(&self) -> String {
        match self.until {
            None => format!(
                "<set attributeName=\"visibility\" to=\"hidden\" begin=\"loop.begin\" dur=\"{}\"/>",
                seconds(self.from.max(Duration::from_millis(1)))
            ),
            Some(until) => format!(
                "<set attributeName=\"visibility\" to=\"visible\" begin=\"loop.begin+{}\" dur=\"{}\"/>",
                seconds(self.from),
                seconds(until - self.from)
            ),
        }
    }
}

fn text(line: usize, row: &Row, shown: &str) -> String {
    // What is there only for a while is hidden wherever nothing plays.
    let hidden = if shown.contains("\"visible\"") {
        " visibility=\"hidden\""
    } else {
        ""
    };
    #[allow(clippy::cast_precision_loss, reason = "a screen is not that large")]
    let y = LINE.mul_add(line as f64 + 0.75, MARGIN);
    let mut svg = format!("<text y=\"{y}\"{hidden}>{shown}");
    for piece in row {
        let x = f64::from(piece.column).mul_add(COLUMN, MARGIN);
        let mut looks = String::new();
        match (piece.bold, piece.dim) {
            (true, true) => looks.push_str(" class=\"b d\""),
            (true, false) => looks.push_str(" class=\"b\""),
            (false, true) => looks.push_str(" class=\"d\""),
            (false, false) => {}
        }
        if let Some(colour) = piece
            .colour
            .and_then(|number| COLOURS.get(usize::from(number)))
        {
            // An attribute would give way to the style sheet.
            let _ = write!(looks, " style=\"fill:{colour}\"");
        }
        let _ = write!(
            svg,
            "<tspan x=\"{x}\"{looks}>{}</tspan>",
            escaped(&piece.text)
        );
    }
    svg.push_str("</text>\n");
    svg
}

fn seconds(time: Duration) -> String {
    format!("{:.2}s", time.as_secs_f64())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(at: u64, rows: &[&str]) -> Frame {
        let piece = |text: &&str| Piece {
            column: 0,
            text: (*text).to_owned(),
            colour: None,
            bold: false,
            dim: false,
        };
        Frame {
            at: Duration::from_millis(at),
            rows: rows.iter().map(|text| vec![piece(text)]).collect(),
        }
    }

    #[test]
    fn a_row_that_stays_is_written_once() {
        let frames = [
            frame(0, &["plan", "node-1 waits"]),
            frame(500, &["plan", "node-1 <done>"]),
        ];
        let svg = animated("$ x", &frames);
        assert_eq!(svg.matches("plan").count(), 1);
        assert!(svg.contains("node-1 &lt;done&gt;"));
        let gone = svg.lines().find(|line| line.contains("waits")).unwrap();
        assert!(
            gone.contains("visibility=\"hidden\"") && gone.contains("dur=\"0.50s\""),
            "{gone}"
        );
    }

    #[test]
    fn long_pauses_are_shortened() {
        let frames = [
            frame(0, &["a"]),
            frame(60_000, &["b"]),
            frame(60_100, &["c"]),
        ];
        let times = times(&frames);
        assert_eq!(times[1], LONGEST_PAUSE);
        assert_eq!(times[2] - times[1], Duration::from_millis(100));
    }
}

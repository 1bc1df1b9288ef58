//! A program on a terminal of its own, and what the terminal showed at each moment.

use std::{ffi::OsString, num::NonZeroU16, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use pty_process::{Command, Size};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, timeout},
};

const ROWS: NonZeroU16 = NonZeroU16::new(30).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(100).unwrap();
/// Two pictures closer than this become one.
const APART: Duration = Duration::from_millis(400);
/// Far more than a rollout of a few nodes takes.
const LONGEST: Duration = Duration::from_secs(300);

/// What the terminal showed from this moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Since the start.
    pub(super) at: Duration,
    /// Without the empty rows at the end.
    pub(super) rows: Vec<Row>,
}

/// One row of the screen, without the blanks at its end.
pub(super) type Row = Vec<Piece>;

/// Letters of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it begins, from 0.
    pub(super) column: u16,
    pub(super) text: String,
    /// The colour's number, of the terminal's 16.
    pub(super) colour: Option<u8>,
    pub(super) bold: bool,
    pub(super) dim: bool,
}

/// Runs the program to its end.
///
/// # Errors
/// It cannot be started, does not end in time, or ends badly.
pub(super) async fn run(
    program: &Path,
    arguments: &[OsString],
    folder: &Path,
) -> Result<Vec<Frame>> {
    let (mut terminal, other_end) = pty_process::open().context("cannot open a terminal")?;
    terminal
        .resize(Size::new(ROWS.get(), COLUMNS.get()))
        .context("cannot size the terminal")?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("TERM", "xterm-256color")
        .env_remove("TOGATHER_FLEET")
        .kill_on_drop(true)
        .spawn(other_end)
        .with_context(|| format!("cannot start {}", program.display()))?;

    let begun = Instant::now();
    let mut screen = vt100::Parser::new(ROWS, COLUMNS, 0);
    let mut frames: Vec<Frame> = Vec::new();
    let mut bytes = vec![0; 16 * 1024];
    let reading = async {
        // The kernel's way to say that nobody holds the other end any more is an error.
        while let Ok(count @ 1..) = terminal.read(&mut bytes).await {
            screen.process(&bytes[..count]);
            see(&mut frames, begun.elapsed(), rows(screen.screen()));
        }
    };
    timeout(LONGEST, reading)
        .await
        .with_context(|| format!("{} did not end within {LONGEST:?}", program.display()))?;
    let status = child.wait().await?;
    ensure!(
        status.success(),
        "{} ended with {status}:\n{}",
        program.display(),
        screen.screen().contents()
    );
    Ok(frames)
}

/// Adds a frame, in place of the last one if that is very recent.
fn see(frames: &mut Vec<Frame>, at: Duration, rows: Vec<Row>) {
    match frames.last_mut() {
        Some(last) if last.rows == rows => {}
        Some(last) if at < last.at + APART => last.rows = rows,
        Some(_) | None => frames.push(Frame { at, rows }),
    }
}

fn rows(screen: &vt100::Screen) -> Vec<Row> {
    let mut rows: Vec<Row> = (0..ROWS.get()).map(|row| pieces(screen, row)).collect();
    while rows.last().is_some_and(Vec::is_empty) {
        rows.pop();
    }
    rows
}

fn pieces(screen: &vt100::Screen, row: u16) -> Row {
    let mut pieces: Row = Vec::new();
    for column in 0..COLUMNS.get() {
        let Some(cell) = screen.cell(row, column).filter(|cell| cell.has_contents()) else {
            continue;
        };
        let colour = match cell.fgcolor() {
            vt100::Color::Idx(number @ 0..16) => Some(number),
            vt100::Color::Idx(_) | vt100::Color::Rgb(..) | vt100::Color::Default => None,
        };
        let (bold, dim) = (cell.bold(), cell.dim());
        match pieces.last_mut() {
            Some(last)
                if (last.colour, last.bold, last.dim) == (colour, bold, dim)
                    && usize::from(last.column) + last.text.chars().count()
                        == usize::from(column) =>
            {
                last.text.push_str(cell.contents());
            }
            Some(_) | None => pieces.push(Piece {
                column,
                text: cell.contents().to_owned(),
                colour,
                bold,
                dim,
            }),
        }
    }
    while let Some(last) = pieces.last_mut() {
        last.text.truncate(last.text.trim_end().len());
        if !last.text.is_empty() {
            break;
        }
        pieces.pop();
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_shown_is_kept_with_its_looks() {
        let arguments = [
            "-c",
            "test -t 1 && printf 'plain \\033[1;32mgreen\\033[0m\\nsecond'",
        ];
        let arguments = arguments.map(OsString::from);
        let frames = run(Path::new("/bin/sh"), &arguments, Path::new("/"))
            .await
            .unwrap();
        let rows = &frames.last().unwrap().rows;
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][1].text, "green");
        assert_eq!(
            (rows[0][1].column, rows[0][1].colour, rows[0][1].bold),
            (6, Some(2), true)
        );
        assert_eq!(rows[1][0].text, "second");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_no_picture() {
        let arguments = ["-c", "echo why; exit 3"].map(OsString::from);
        let error = run(Path::new("/bin/sh"), &arguments, Path::new("/"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }
}

//! Text for a terminal: cut where it is too long, and in columns.

use std::fmt::{self, Display, Write};

/// What a value looks like, cut after [`LONGEST`] characters. One that is longer is not even written to
/// its end.
pub(super) fn show(value: &impl Display) -> String {
    let mut cut = Cut { text: String::new(), left: LONGEST };
    if write!(cut, "{value}").is_err() {
        _ = write!(cut.text, " … (only the first {LONGEST} characters are shown)");
    }
    cut.text
}

struct Cut {
    text: String,
    left: usize,
}

impl Write for Cut {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        match part.char_indices().nth(self.left) {
            None => {
                self.left -= part.chars().count();
                self.text.push_str(part);
                Ok(())
            }
            Some((end, _)) => {
                self.text.push_str(part.get(..end).unwrap_or_default());
                self.left = 0;
                Err(fmt::Error)
            }
        }
    }
}

/// Rows with aligned columns, without control characters (other nodes choose names, too), at most [`MOST_ROWS`] of them.
pub(super) fn table<const N: usize>(head: Option<[&str; N]>, rows: &[[String; N]]) -> String {
    let shown = rows.get(..MOST_ROWS).unwrap_or(rows);
    let head = head.map(|head| head.map(str::to_owned));
    let clean = |cell: &String| cell.replace(char::is_control, "\u{fffd}");
    let lines: Vec<[String; N]> = head.iter().chain(shown).map(|row| row.each_ref().map(clean)).collect();
    let width = |column: usize| lines.iter().map(|row| length(&row[column])).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &lines {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let gap = width.saturating_sub(length(cell)) + GAP;
            _ = write!(line, "{cell}{:gap$}", "");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if rows.len() > shown.len() {
        _ = writeln!(text, "… and {} more", rows.len() - shown.len());
    }
    text.truncate(text.trim_end().len());
    text
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

/// What one command may show: some screens full. More would only run past, and fill the memory of a slow terminal.
const LONGEST: usize = 20_000;
/// The rows of a table.
const MOST_ROWS: usize = 200;
/// Between columns.
const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::Term;

    #[test]
    fn what_is_too_long_is_cut_with_a_note() {
        assert_eq!(show(&"grün"), "grün");
        let exact = "ü".repeat(LONGEST);
        assert_eq!(show(&exact), exact);
        let cut = show(&format!("{exact}x"));
        assert_eq!(cut, format!("{exact} … (only the first {LONGEST} characters are shown)"));
        let huge = Term::from(vec![Term::from(-7); 1_000_000]);
        assert!(show(&huge).len() < LONGEST + 100);
    }

    #[test]
    fn columns_are_aligned_and_rows_are_limited() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        assert_eq!(table(Some(["a", "b"]), &[row("grün", "1"), row("x", "")]), "a     b\ngrün  1\nx");
        assert_eq!(table(None, &[row("\u{1b}[2J", "x")]), "\u{fffd}[2J  x");
        let many = vec![row("x", "y"); MOST_ROWS + 3];
        let text = table(None, &many);
        assert_eq!(text.lines().count(), MOST_ROWS + 1);
        assert!(text.ends_with("… and 3 more"));
    }
}

//! Tables that never exceed a width.

use anstyle::Style;

use crate::text;

/// The space between two columns.
const GAP: usize = 2;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// The heading.
    pub(crate) title: &'static str,
    /// Whether numbers stand to the right.
    pub(crate) right: bool,
    /// How many display columns the column keeps when the table is too wide. It is cut further only when all
    /// columns are down to this.
    pub(crate) keep: usize,
    /// Columns of a lower rank are cut first.
    pub(crate) rank: u8,
}

impl Column {
    /// A column that is cut last, and never below 12 columns before all others are.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self { title, right: false, keep: 12, rank: 9 }
    }

    /// The same column with its content to the right.
    pub(crate) const fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// The same column with another place in the order of cutting, and what it keeps.
    pub(crate) const fn cut(mut self, rank: u8, keep: usize) -> Self {
        self.rank = rank;
        self.keep = keep;
        self
    }
}

/// One cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell with a text that is made plain.
    pub(crate) fn new(content: impl AsRef<str>) -> Self {
        Self { text: text::plain(content.as_ref()), style: Style::new() }
    }

    /// The same cell in a style, for terminals with colours.
    pub(crate) fn styled(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

/// A table of which every row has one cell per column.
#[derive(Debug, Clone)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
}

/// A laid out table.
pub(crate) struct Laid {
    /// The heading and one line per row, without line breaks.
    pub(crate) lines: Vec<String>,
    /// Per row whether its last cell was cut.
    pub(crate) last_cut: Vec<bool>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Lays the table out within `width` display columns (at least four per column are needed and taken).
    pub(crate) fn lay_out(&self, width: usize, colour: bool) -> Laid {
        let widths = self.widths(width);
        let titles = self.columns.map(|column| Cell::new(column.title));
        let line = |row: &[Cell; N], colour: bool| {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
                if index > 0 {
                    line.push_str(&" ".repeat(GAP));
                }
                let shown = text::cut(&cell.text, width);
                let space = " ".repeat(width - text::width(&shown));
                let (before, after) =
                    if self.columns[index].right { (space.as_str(), "") } else { ("", space.as_str()) };
                let painted = colour && cell.style != Style::new() && !shown.is_empty();
                let shown = if painted { format!("{}{shown}{:#}", cell.style, cell.style) } else { shown };
                line.push_str(before);
                line.push_str(&shown);
                line.push_str(after);
            }
            line.truncate(line.trim_end().len());
            line
        };
        let last = |row: &[Cell; N]| {
            row.iter().zip(widths).next_back().is_some_and(|(cell, w)| text::width(&cell.text) > w)
        };
        let lines = std::iter::once(line(&titles, false))
            .chain(self.rows.iter().map(|row| line(row, colour)))
            .collect();
        Laid { lines, last_cut: self.rows.iter().map(last).collect() }
    }

    /// The width of each column: what its content needs, less what has to be cut.
    fn widths(&self, width: usize) -> [usize; N] {
        let mut widths = self.columns.map(|column| text::width(column.title));
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate() {
                widths[index] = widths[index].max(text::width(&cell.text));
            }
        }
        let mut order: [usize; N] = std::array::from_fn(|index| index);
        order.sort_by_key(|index| self.columns[*index].rank);
        let available = width.saturating_sub(GAP * N.saturating_sub(1));
        let keeps = self.columns.map(|column| column.keep);
        for least in [keeps, [3; N], [1; N]] {
            for &index in &order {
                let excess = widths.iter().sum::<usize>().saturating_sub(available);
                widths[index] -= excess.min(widths[index].saturating_sub(least[index]));
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 3] =
        [Column::new("Name"), Column::new("N").right(), Column::new("Message").cut(0, 5)];

    #[test]
    fn cells_stand_under_their_titles() {
        let mut table = Table::new(COLUMNS);
        table.push(["a", "1", "fine"].map(Cell::new));
        table.push(["日本", "10", "one two three"].map(Cell::new));
        assert_eq!(
            table.lay_out(40, false).lines,
            ["Name   N  Message", "a      1  fine", "日本  10  one two three"]
        );
        let narrow = table.lay_out(17, false);
        assert_eq!(narrow.lines, ["Name   N  Message", "a      1  fine", "日本  10  one tw…"]);
        assert_eq!(narrow.last_cut, [false, true]);
    }

    #[test]
    fn colours_take_no_space() {
        let mut table = Table::new(COLUMNS);
        table.push([Cell::new("a").styled(AnsiColor::Red.on_default()), Cell::new("1"), Cell::new("x")]);
        assert_eq!(table.lay_out(40, true).lines[1], "\u{1b}[31ma\u{1b}[0m     1  x");
        assert_eq!(table.lay_out(40, false).lines[1], "a     1  x");
    }

    proptest! {
        #[test]
        fn no_line_exceeds_the_width(rows in prop::collection::vec([any::<String>(), any::<String>(), any::<String>()], 0..6), width in 7_usize..120) {
            let mut table = Table::new(COLUMNS);
            for row in rows {
                table.push(row.map(Cell::new));
            }
            for line in table.lay_out(width, false).lines {
                prop_assert!(text::width(&line) <= width, "{:?}", line);
            }
        }
    }
}

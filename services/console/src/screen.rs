//! The grid that a page is drawn on, and the bytes that bring a terminal from one page to the next.
//!
//! Only what a VT100 knows is sent: cursor position, erase to the end, and attributes. Nothing is
//! ever asked of the terminal. Only cells that changed are sent, so that a page whose clock moves
//! costs some twenty bytes.

use std::io::Write as _;

/// How a cell looks. Meaning comes first: the terminal may have no colours at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    #[default]
    Plain,
    Title,
    Selected,
    Good,
    Warning,
    Bad,
}

impl Style {
    fn attributes(self, colours: bool) -> &'static [u8] {
        match (self, colours) {
            (Self::Plain, _) | (Self::Good, false) => b"\x1b[0m",
            (Self::Title | Self::Warning | Self::Bad, false) => b"\x1b[0;1m",
            (Self::Title, true) => b"\x1b[0;1;36m",
            (Self::Selected, _) => b"\x1b[0;7m",
            (Self::Good, true) => b"\x1b[0;32m",
            (Self::Warning, true) => b"\x1b[0;1;33m",
            (Self::Bad, true) => b"\x1b[0;1;31m",
        }
    }
}

/// What a terminal holds, within sane bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    columns: usize,
    rows: usize,
}

impl Size {
    /// The size of a terminal of which nothing is known.
    pub const VT100: Self = Self {
        columns: 80,
        rows: 24,
    };

    /// Zero means unknown; the rest is brought within 40 to 160 columns and 12 to 400 rows.
    #[must_use]
    pub fn new(columns: u16, rows: u16) -> Self {
        let or = |given: u16, default| match given {
            0 => default,
            _ => usize::from(given),
        };
        Self {
            columns: or(columns, Self::VT100.columns).clamp(40, 160),
            rows: or(rows, Self::VT100.rows).clamp(12, 400),
        }
    }

    /// Columns that are written to. The last one stays empty: terminals disagree on where the
    /// cursor is after it.
    #[must_use]
    pub fn columns(self) -> usize {
        self.columns - 1
    }

    #[must_use]
    pub fn rows(self) -> usize {
        self.rows
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    byte: u8,
    style: Style,
}

const BLANK: Cell = Cell {
    byte: b' ',
    style: Style::Plain,
};

/// One page. It holds nothing but printable ASCII, whatever is put on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    size: Size,
    cells: Vec<Cell>,
}

impl Frame {
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self {
            size,
            cells: vec![BLANK; size.columns() * size.rows()],
        }
    }

    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Writes `text` and returns the column after it. What does not fit is left out; what is not
    /// printable ASCII becomes `?`: the last guard between hostile text and the terminal.
    pub fn put(&mut self, row: usize, column: usize, style: Style, text: &str) -> usize {
        let columns = self.size.columns();
        if row >= self.size.rows() {
            return column;
        }
        let mut at = column;
        for c in text.chars() {
            if at >= columns {
                break;
            }
            let byte = u8::try_from(c).ok().filter(|b| (0x20..0x7f).contains(b));
            self.cells[row * columns + at] = Cell {
                byte: byte.unwrap_or(b'?'),
                style,
            };
            at += 1;
        }
        at
    }

    /// Writes `text` so that it ends at the right edge.
    pub fn put_right(&mut self, row: usize, style: Style, text: &str) {
        let column = self.size.columns().saturating_sub(text.len());
        self.put(row, column, style, text);
    }

    /// Gives a whole row one style.
    pub fn paint(&mut self, row: usize, style: Style) {
        let columns = self.size.columns();
        if row < self.size.rows() {
            for cell in &mut self.cells[row * columns..(row + 1) * columns] {
                cell.style = style;
            }
        }
    }

    /// The rows as text, without trailing blanks.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.rows().map(|row| {
            let text: String = row.iter().map(|cell| char::from(cell.byte)).collect();
            text.trim_end().to_owned()
        })
    }

    fn rows(&self) -> impl Iterator<Item = &[Cell]> {
        self.cells.chunks_exact(self.size.columns())
    }
}

/// Knows what one terminal shows.
#[derive(Debug)]
pub struct Painter {
    colours: bool,
    shown: Option<Frame>,
}

/// Sent when a terminal is taken over or cannot be trusted to show what was sent last: attributes
/// off, scrolling region and cursor mode set back, cursor hidden.
const RESET: &[u8] = b"\x1b[0m\x1b[r\x1b[?7h\x1b[?25l";

/// Sent when the terminal is given back: attributes off, cursor on its own line and visible.
pub const GOODBYE: &[u8] = b"\x1b[0m\x1b[?25h\n";

/// Sent before a person's session: everything as after switching on, and an empty screen.
pub const CLEAR: &[u8] = b"\x1b[0m\x1b[r\x1b[?7h\x1b[?25h\x1b[H\x1b[J";

/// Equal cells between two changes are sent rather than jumped over up to this number: a jump
/// costs as many bytes.
const GAP: usize = 6;

impl Painter {
    #[must_use]
    pub fn new(colours: bool) -> Self {
        Self {
            colours,
            shown: None,
        }
    }

    /// Something else has written to the terminal: the next page is sent in full.
    pub fn forget(&mut self) {
        self.shown = None;
    }

    /// Colours on or off; returns what is on now.
    pub fn toggle_colours(&mut self) -> bool {
        self.colours = !self.colours;
        self.forget();
        self.colours
    }

    /// Appends to `out` what makes the terminal show `frame`. The cursor ends at the beginning of
    /// the last row, where the kernel's own messages then scroll the page away instead of running
    /// through it.
    pub fn paint(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let begin = out.len();
        let shown = self.shown.take().filter(|shown| shown.size == frame.size);
        if shown.is_none() {
            out.extend_from_slice(RESET);
        }
        let mut style = None;
        for (row, cells) in frame.rows().enumerate() {
            match &shown {
                Some(shown) => {
                    let columns = frame.size.columns();
                    let old = &shown.cells[row * columns..(row + 1) * columns];
                    self.change(row, old, cells, &mut style, out);
                }
                None => self.whole(row, cells, &mut style, out),
            }
        }
        if out.len() > begin {
            out.extend_from_slice(Style::Plain.attributes(self.colours));
            jump(frame.size.rows() - 1, 0, out);
        }
        self.shown = Some(frame.clone());
    }

    fn whole(&self, row: usize, cells: &[Cell], style: &mut Option<Style>, out: &mut Vec<u8>) {
        jump(row, 0, out);
        let used = cells.len()
            - cells
                .iter()
                .rev()
                .take_while(|cell| **cell == BLANK)
                .count();
        self.send(&cells[..used], style, out);
        // The attributes must be off, or some terminals erase in reverse video.
        self.set(Style::Plain, style, out);
        out.extend_from_slice(b"\x1b[K");
    }

    fn change(
        &self,
        row: usize,
        old: &[Cell],
        new: &[Cell],
        style: &mut Option<Style>,
        out: &mut Vec<u8>,
    ) {
        let differs = |at: &usize| old[*at] != new[*at];
        let mut from = 0;
        while let Some(first) = (from..new.len()).find(differs) {
            let mut last = first;
            while let Some(next) = (last + 1..new.len().min(last + 1 + GAP)).find(differs) {
                last = next;
            }
            jump(row, first, out);
            self.send(&new[first..=last], style, out);
            from = last + 1;
        }
    }

    fn send(&self, cells: &[Cell], style: &mut Option<Style>, out: &mut Vec<u8>) {
        for cell in cells {
            self.set(cell.style, style, out);
            out.push(cell.byte);
        }
    }

    fn set(&self, wanted: Style, style: &mut Option<Style>, out: &mut Vec<u8>) {
        if *style != Some(wanted) {
            out.extend_from_slice(wanted.attributes(self.colours));
            *style = Some(wanted);
        }
    }
}

fn jump(row: usize, column: usize, out: &mut Vec<u8>) {
    write!(out, "\x1b[{};{}H", row + 1, column + 1).expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Just enough of a VT100 to see what it would show.
    fn show(screen: &mut [Vec<u8>], bytes: &[u8]) {
        let (mut row, mut column, mut at) = (0, 0, 0);
        while at < bytes.len() {
            if bytes[at] != 0x1b {
                screen[row][column] = bytes[at];
                column += 1;
                at += 1;
                continue;
            }
            assert_eq!(bytes[at + 1], b'[', "only CSI sequences are sent");
            let length = bytes[at + 2..]
                .iter()
                .position(|b| (0x40..0x7f).contains(b))
                .unwrap();
            let parameters = std::str::from_utf8(&bytes[at + 2..at + 2 + length]).unwrap();
            match bytes[at + 2 + length] {
                b'H' => {
                    let (r, c) = parameters.split_once(';').unwrap();
                    row = r.parse::<usize>().unwrap() - 1;
                    column = c.parse::<usize>().unwrap() - 1;
                }
                b'K' => screen[row][column..].fill(b' '),
                b'm' | b'r' | b'h' | b'l' => {}
                other => panic!("unknown sequence ending in {other}"),
            }
            at += 3 + length;
        }
    }

    fn text(screen: &[Vec<u8>]) -> Vec<String> {
        let line = |row: &Vec<u8>| String::from_utf8_lossy(row).trim_end().to_owned();
        screen.iter().map(line).collect()
    }

    #[test]
    fn an_equal_page_sends_nothing_and_a_clock_little() {
        let mut painter = Painter::new(true);
        let mut frame = Frame::new(Size::VT100);
        frame.put(0, 60, Style::Plain, "up 3h 07m 11s");
        let mut out = Vec::new();
        painter.paint(&frame, &mut out);
        out.clear();
        painter.paint(&frame, &mut out);
        assert_eq!(out, b"");
        frame.put(0, 60, Style::Plain, "up 3h 07m 13s");
        painter.paint(&frame, &mut out);
        assert_eq!(out, b"\x1b[1;72H\x1b[0m3\x1b[0m\x1b[24;1H");
    }

    #[test]
    fn nothing_but_printable_ascii_gets_on_a_page() {
        let mut frame = Frame::new(Size::VT100);
        frame.put(3, 0, Style::Plain, "a\x1b[2J\u{9b}\n\u{e9}b");
        assert_eq!(frame.lines().nth(3).unwrap(), "a?[2J???b");
        frame.put(24, 0, Style::Plain, "outside");
        frame.put(0, 78, Style::Plain, "edge");
        assert!(frame.lines().all(|line| line.len() < 80));
    }

    #[test]
    fn sizes_are_kept_sane() {
        assert_eq!(Size::new(0, 0), Size::VT100);
        assert_eq!(Size::new(1, 1), Size::new(40, 12));
        assert_eq!(Size::new(9999, 9999), Size::new(160, 400));
    }

    proptest! {
        #[test]
        fn the_terminal_shows_the_last_page(
            pages in prop::collection::vec(
                prop::collection::vec((0_usize..14, 0_usize..45, 0_usize..3, "[ -~]{0,30}"), 0..12),
                1..6,
            ),
            lost in any::<bool>(),
        ) {
            let size = Size::new(40, 12);
            let mut screen = vec![vec![b'#'; 80]; 12];
            let mut painter = Painter::new(false);
            for (number, page) in pages.iter().enumerate() {
                let mut frame = Frame::new(size);
                for (row, column, style, text) in page {
                    let style = [Style::Plain, Style::Selected, Style::Bad][*style];
                    frame.put(*row, *column, style, text);
                }
                if lost && number == 1 {
                    show(&mut screen, b"\x1b[5;3Hkernel was here");
                    painter.forget();
                }
                let mut out = Vec::new();
                painter.paint(&frame, &mut out);
                show(&mut screen, &out);
                prop_assert_eq!(text(&screen), frame.lines().collect::<Vec<_>>());
            }
        }
    }
}

//! A man page in the making: headings, prose and lists as roff. Prose is written
//! as in help texts and comments: lines of a paragraph, indented lines for what
//! is shown as it stands, words between backticks for what is typed.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// An empty argument, as roff has it.
const NO_DATE: &str = "\"\"";

/// A paragraph, and by how much more than its left margin it is indented.
type Paragraph = (&'static str, &'static str);
const OUTSIDE: Paragraph = ("PP", "2");
const IN_ITEM: Paragraph = ("IP", "9");

/// A man page.
pub(super) struct Page {
    name: &'static str,
    section: &'static str,
    body: String,
}

impl Page {
    /// A page of that name in that section of the manual.
    pub(super) fn new(name: &'static str, section: &'static str, summary: &str) -> Self {
        let mut page = Self {
            name,
            section,
            body: String::new(),
        };
        page.heading("NAME");
        page.line([roman(format!("{name} - {summary}"))]);
        page
    }

    /// `NAME.SECTION`.
    pub(super) fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// The whole page.
    pub(super) fn to_roff(&self) -> String {
        let source = format!("{} {}", super::PROGRAM, env!("CARGO_PKG_VERSION"));
        let mut head = Roff::new();
        head.control("TH", [self.name, self.section, NO_DATE, &source]);
        head.render() + &self.body
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.control("SH", [text]);
    }

    pub(super) fn subheading(&mut self, text: &str) {
        self.control("SS", [text]);
    }

    /// An item of a list: its name, or several that share what follows.
    pub(super) fn item(&mut self, names: impl IntoIterator<Item = Vec<Inline>>, text: &str) {
        for (number, name) in names.into_iter().enumerate() {
            self.control(if number == 0 { "TP" } else { "TQ" }, []);
            self.line(name);
        }
        // Indented as the item is, with paragraphs of their own.
        let mut blocks = Block::all(text).into_iter();
        match blocks.next() {
            Some(Block::Paragraph(text)) => self.line(inlines(&text)),
            Some(block) => self.block(IN_ITEM, block),
            None => self.line([]),
        }
        blocks.for_each(|block| self.block(IN_ITEM, block));
    }

    /// Paragraphs, and blocks shown as they stand.
    pub(super) fn prose(&mut self, text: &str) {
        for block in Block::all(text) {
            self.block(OUTSIDE, block);
        }
    }

    /// What `clap_mangen` writes, without its headings.
    pub(super) fn without_headings(&mut self, roff: &[u8]) {
        let text = String::from_utf8_lossy(roff);
        for line in body(&text).lines().filter(|line| !line.starts_with(".SH ")) {
            self.body.push_str(line);
            self.body.push('\n');
        }
    }

    pub(super) fn control<'a>(&mut self, name: &str, arguments: impl IntoIterator<Item = &'a str>) {
        let mut roff = Roff::new();
        roff.control(name, arguments);
        self.push(&roff);
    }

    fn line(&mut self, text: impl Into<Vec<Inline>>) {
        let mut roff = Roff::new();
        roff.text(text);
        self.push(&roff);
    }

    fn block(&mut self, (paragraph, indentation): Paragraph, block: Block) {
        self.control(paragraph, []);
        match block {
            Block::Paragraph(text) => self.line(inlines(&text)),
            Block::Verbatim(lines) => {
                self.control("RS", [indentation]);
                self.control("EX", []);
                for line in lines {
                    self.line([roman(line)]);
                }
                self.control("EE", []);
                self.control("RE", []);
            }
        }
    }

    fn push(&mut self, roff: &Roff) {
        self.body.push_str(body(&roff.render()));
    }
}

/// What was rendered without the lines that every rendering begins with, and
/// that a page has once.
fn body(rendered: &str) -> &str {
    rendered
        .strip_prefix(&Roff::new().render())
        .unwrap_or(rendered)
}

enum Block {
    Paragraph(String),
    Verbatim(Vec<String>),
}

impl Block {
    fn all(text: &str) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut goes_on = false;
        for line in text.lines() {
            let shown = line.strip_prefix("  ");
            match (blocks.last_mut(), shown) {
                _ if line.is_empty() => {}
                (Some(Self::Verbatim(lines)), Some(line)) if goes_on => lines.push(line.to_owned()),
                (_, Some(line)) => blocks.push(Self::Verbatim(vec![line.to_owned()])),
                (Some(Self::Paragraph(words)), None) if goes_on => {
                    words.push(' ');
                    words.push_str(line);
                }
                (_, None) => blocks.push(Self::Paragraph(line.to_owned())),
            }
            goes_on = !line.is_empty();
        }
        blocks
    }
}

/// Text with what stands between backticks in bold.
fn inlines(text: &str) -> Vec<Inline> {
    text.split('`')
        .enumerate()
        .map(|(number, part)| match number % 2 {
            0 => roman(part),
            _ => bold(part),
        })
        .collect()
}

//! What goes to standard output, and in which colours.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use serde_json::json;

/// How objects are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The objects, as JSON.
    Json,
    /// The objects, as YAML.
    Yaml,
    /// A table with every column.
    Wide,
    /// `kind/name`, one a line.
    Name,
}

/// Reads a format of what is no list of objects: JSON or YAML.
pub fn of_data() -> impl TypedValueParser<Value = Format> {
    let known = PossibleValuesParser::new(["json", "yaml"]);
    known.map(|text| {
        if text == "json" {
            Format::Json
        } else {
            Format::Yaml
        }
    })
}

/// When there is colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Flags about the screen.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ScreenArgs {
    /// When to use colour; `NO_COLOR` counts as `never` with `auto`.
    #[arg(
        long,
        value_enum,
        default_value_t,
        global = true,
        help_heading = "Global options"
    )]
    pub color: ColorChoice,
}

impl ScreenArgs {
    /// Looks at where output goes.
    pub fn look(self) -> Screen {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = |terminal: bool| match self.color {
            ColorChoice::Auto => terminal && !plain,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Screen {
            colour: colour(out),
            colour_err: colour(err),
            terminal: Terminal { out, err },
        }
    }
}

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Standard output may be coloured.
    pub colour: bool,

    /// Standard error may be coloured.
    pub colour_err: bool,

    /// Which of the two are a terminal.
    pub terminal: Terminal,
}

/// What is a terminal: a person reads it, and nothing keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Standard output.
    pub out: bool,

    /// Standard error.
    pub err: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// Wrong.
    Bad,
}

/// The text, coloured if `colour` is set.
pub fn paint(colour: bool, mood: Mood, text: &str) -> String {
    let code = match mood {
        Mood::Good => 32,
        Mood::Odd => 33,
        Mood::Bad => 31,
    };
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Standard output failed, or an object cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output is closed or full.
    #[error("failed to write to standard output")]
    Write(#[source] io::Error),

    /// An object has no text.
    #[error("failed to write the object as JSON")]
    Json(#[source] serde_json::Error),

    /// An object has no text.
    #[error("failed to write the object as YAML")]
    Yaml(#[source] serde_saphyr::ser::Error),
}

/// Writes bytes to standard output as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(OutputError::Write)
}

/// Writes the parts of a secret to standard output: past its buffer, which keeps what it has seen.
pub fn secret(parts: &[&[u8]]) -> Result<(), OutputError> {
    io::stdout().lock().flush().map_err(OutputError::Write)?;
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(io::stdout(), rest));
            let written = written.map_err(|error| OutputError::Write(error.into()))?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
    Ok(())
}

/// Writes a line to standard output.
pub fn line(text: &str) -> Result<(), OutputError> {
    bytes(format!("{text}\n").as_bytes())
}

/// Says something on standard error: what was done, or what to do next. That it cannot be said is no failure.
pub fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// What to do next, as a line of its own without the end of one.
pub fn next(hint: &str, colour: bool) -> String {
    format!("{} {hint}", paint(colour, Mood::Odd, "next:"))
}

/// Shows what is waited for, on a terminal alone; the next call, or [`Progress::end`], takes its place.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    last: String,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(screen: Screen) -> Self {
        Self {
            shown: screen.terminal.err,
            last: String::new(),
        }
    }

    /// Shows this, unless it is shown already.
    pub fn show(&mut self, text: &str) {
        if self.shown && self.last != text {
            drop(write!(io::stderr().lock(), "\r\x1b[K… {text}"));
            text.clone_into(&mut self.last);
        }
    }

    /// Takes it away.
    pub fn end(&mut self) {
        if self.shown && !self.last.is_empty() {
            drop(write!(io::stderr().lock(), "\r\x1b[K"));
            self.last.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// One value as JSON or YAML.
pub fn value(format: Format, value: &impl Serialize) -> Result<String, OutputError> {
    match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(OutputError::Yaml),
        _ => serde_json::to_string_pretty(value)
            .map(|text| text + "\n")
            .map_err(OutputError::Json),
    }
}

/// Objects as kubectl prints several: a `List`.
pub fn list(format: Format, items: &impl Serialize) -> Result<String, OutputError> {
    value(
        format,
        &json!({ "apiVersion": "v1", "kind": "List", "items": items }),
    )
}

/// Rows under headings, in columns as kubectl writes them: three blanks apart, none at the end of a line.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(headings[column].chars().count())
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width) in cells.into_iter().zip(&widths) {
            text.push_str(cell);
            text.push_str(&" ".repeat(width + 3 - cell.chars().count()));
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(headings.to_vec());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["laptop".to_owned(), "10.64.0.9".to_owned()],
            vec!["p".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "ADDRESS"], &rows),
            "NAME     ADDRESS\nlaptop   10.64.0.9\np\n"
        );
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert_eq!(paint(false, Mood::Bad, "no"), "no");
        assert_eq!(paint(true, Mood::Bad, "no"), "\x1b[31mno\x1b[0m");
    }
}

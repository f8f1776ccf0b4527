//! QR codes of a configuration: for a terminal, as SVG, as PNG.
//!
//! The level of error correction is the highest with which the code fits: into a code at all, and where it is shown on a
//! terminal, into its window.

use qrcode::render::svg;
use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel, QrCode};

/// Modules of quiet around a code, as the standard asks.
pub const QUIET: usize = 4;

/// Pixels of a module in a picture.
const SCALE: usize = 8;

const LEVELS: [EcLevel; 4] = [EcLevel::H, EcLevel::Q, EcLevel::M, EcLevel::L];

/// There is no code.
#[derive(Debug, thiserror::Error)]
pub enum QrError {
    /// The text is longer than any code.
    #[error("the configuration is too long for a QR code")]
    TooLong,

    /// The picture could not be written.
    #[error("failed to write the QR code as PNG")]
    Png(#[source] png::EncodingError),
}

impl QrError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooLong => Some("route fewer ranges, or use `kubectl culvert key config`".to_owned()),
            Self::Png(_) => None,
        }
    }
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Characters in a line.
    pub columns: usize,

    /// Lines.
    pub rows: usize,
}

impl Window {
    /// That of standard output, if it is a terminal that tells.
    pub fn of_output() -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        let window = Self {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        };
        (window.columns > 0 && window.rows > 0).then_some(window)
    }

    /// Whether a code is seen whole: two rows of modules share a line, and one line is the prompt's.
    fn shows(self, code: &QrCode) -> bool {
        let width = code.width() + 2 * QUIET;
        width <= self.columns && width.div_ceil(2) < self.rows
    }
}

/// A code.
pub struct Code(QrCode);

impl Code {
    /// The code of a text, at the highest level with which it fits into the window; where none does, the smallest.
    pub fn of(text: &str, window: Option<Window>) -> Result<Self, QrError> {
        let mut last = None;
        for level in LEVELS {
            let Ok(code) = QrCode::with_error_correction_level(text, level) else {
                continue;
            };
            if window.is_none_or(|window| window.shows(&code)) {
                return Ok(Self(code));
            }
            last = Some(code);
        }
        last.map(Self).ok_or(QrError::TooLong)
    }

    /// The level.
    pub fn level(&self) -> EcLevel {
        self.0.error_correction_level()
    }

    /// Whether the window shows it whole.
    pub fn fits(&self, window: Option<Window>) -> bool {
        window.is_none_or(|window| window.shows(&self.0))
    }

    /// Half blocks, two modules a character. With `colour` black on white, whatever the terminal's own colours are; without,
    /// for light letters on dark ground.
    pub fn terminal(&self, colour: bool) -> String {
        let mut renderer = self.0.render::<Dense1x2>();
        renderer.quiet_zone(true);
        if colour {
            let text = renderer.build();
            let line = |line: &str| format!("\x1b[30;107m{line}\x1b[0m\n");
            text.lines().map(line).collect::<Vec<_>>().concat()
        } else {
            renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
            renderer.build() + "\n"
        }
    }

    /// As SVG.
    pub fn svg(&self) -> String {
        let mut renderer = self.0.render::<svg::Color<'_>>();
        renderer.quiet_zone(true).build() + "\n"
    }

    /// As PNG, black and white.
    pub fn png(&self) -> Result<Vec<u8>, QrError> {
        let modules = self.0.width() + 2 * QUIET;
        let side = modules * SCALE;
        let is_light = |x: usize, y: usize| {
            let inside = |at: usize| (at / SCALE).checked_sub(QUIET).filter(|at| *at < self.0.width());
            match (inside(x), inside(y)) {
                (Some(x), Some(y)) => self.0[(x, y)] == Color::Light,
                _ => true,
            }
        };
        let mut pixels = Vec::with_capacity(side * side / 8);
        for y in 0..side {
            // A module is eight pixels wide: a byte is a module.
            pixels.extend((0..modules).map(|module| if is_light(module * SCALE, y) { 0xff_u8 } else { 0 }));
        }
        let mut picture = Vec::new();
        let length = u32::try_from(side).map_err(|_| QrError::TooLong)?;
        let mut encoder = png::Encoder::new(&mut picture, length, length);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut writer = encoder.write_header().map_err(QrError::Png)?;
        writer.write_image_data(&pixels).map_err(QrError::Png)?;
        writer.finish().map_err(QrError::Png)?;
        Ok(picture)
    }
}

#[cfg(test)]
mod tests;

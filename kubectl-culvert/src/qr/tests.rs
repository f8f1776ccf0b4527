//! What a camera would read, by a decoder that others have written.

use super::*;

/// A client with both families, of the longest sort that is usual.
const CONFIGURATION: &str = "[Interface]
PrivateKey = SGb+ojrRNDuMePufwtIYhXzA//k6wF3R21tEBgKlzlM=
Address = 10.93.165.221/32, fd64:cafe:1:0:9930:c16f:6b43:335f/128
DNS = 10.64.0.1, fd64:cafe:1::1
MTU = 1420

[Peer]
PublicKey = DD5yKRfzExcV5+kDnTroDgCU15latdMjiQ59j1hEuk8=
Endpoint = [2001:db8:85a3:1319:8a2e:370:7344:1234]:51820
AllowedIPs = 0.0.0.0/0, ::/0
";

/// Decodes a picture of `side` pixels.
fn decode(side: usize, is_light: impl Fn(usize, usize) -> bool) -> (rqrr::MetaData, String) {
    let shade = |x, y| if is_light(x, y) { 255 } else { 0 };
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(side, side, shade);
    let grids = picture.detect_grids();
    assert_eq!(grids.len(), 1, "no code, or several");
    grids[0].decode().unwrap()
}

/// Rows of modules as a picture, quiet included.
fn decode_modules(modules: &[Vec<bool>]) -> (rqrr::MetaData, String) {
    const PIXELS: usize = 4;
    decode(modules.len() * PIXELS, |x, y| {
        modules[y / PIXELS].get(x / PIXELS).copied().unwrap_or(true)
    })
}

/// The modules that half blocks show: true where the letter's colour is.
fn ink(text: &str) -> Vec<Vec<bool>> {
    let half = |upper: bool| {
        move |c: char| match c {
            '█' => true,
            '▀' => upper,
            '▄' => !upper,
            ' ' => false,
            other => panic!("{other:?} is no half block"),
        }
    };
    let mut rows: Vec<Vec<bool>> = text
        .lines()
        .flat_map(|line| {
            [
                line.chars().map(half(true)).collect(),
                line.chars().map(half(false)).collect(),
            ]
        })
        .collect();
    // An odd number of rows leaves half a line.
    let width = rows[0].len();
    rows.truncate(width);
    rows
}

#[test]
fn terminal_code_decodes_to_the_configuration() {
    let code = Code::of(CONFIGURATION, None).unwrap();
    // Light letters on dark ground.
    let (meta, text) = decode_modules(&ink(&code.terminal(false)));
    assert_eq!(text, CONFIGURATION);
    assert_eq!(meta.ecc_level, 2, "not the highest level");
    // Black letters on white.
    let coloured = code
        .terminal(true)
        .replace("\x1b[30;107m", "")
        .replace("\x1b[0m", "");
    let light: Vec<Vec<bool>> = ink(&coloured)
        .iter()
        .map(|row| row.iter().map(|ink| !ink).collect())
        .collect();
    assert_eq!(decode_modules(&light).1, CONFIGURATION);
}

#[test]
fn png_decodes_to_the_configuration() {
    let png = Code::of(CONFIGURATION, None).unwrap().png().unwrap();
    let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let side = info.width as usize;
    assert_eq!(decode(side, |x, y| pixels[y * side + x] > 127).1, CONFIGURATION);
}

#[test]
fn svg_decodes_to_the_configuration() {
    let svg = Code::of(CONFIGURATION, None).unwrap().svg();
    let side: usize = svg
        .split("viewBox=\"0 0 ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let path = svg.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
    // `M8 8h64v8H8V8`: one rectangle each.
    let mut dark = vec![vec![false; side]; side];
    for rectangle in path.split('M').skip(1) {
        let numbers: Vec<usize> = rectangle
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse().ok())
            .collect();
        let [x, y, width, height, ..] = numbers[..] else {
            panic!("{rectangle}")
        };
        for row in &mut dark[y..y + height] {
            row[x..x + width].fill(true);
        }
    }
    assert_eq!(decode(side, |x, y| !dark[y][x]).1, CONFIGURATION);
}

#[test]
fn level_is_the_highest_that_the_window_shows() {
    let level = |columns, rows| {
        let window = Some(Window { columns, rows });
        let code = Code::of(CONFIGURATION, window).unwrap();
        (code.level(), code.fits(window))
    };
    assert_eq!(level(200, 200), (EcLevel::H, true));
    let (between, fits) = level(82, 60);
    assert!(fits && matches!(between, EcLevel::Q | EcLevel::M), "{between:?}");
    // Too small for any: the smallest code, and it is said.
    assert_eq!(level(20, 10), (EcLevel::L, false));
    assert_eq!(level(200, 10), (EcLevel::L, false));
}

#[test]
fn level_gives_way_to_length() {
    let level = |length: usize| Code::of(&"x".repeat(length), None).map(|code| code.level());
    assert_eq!(level(1273).unwrap(), EcLevel::H);
    assert_eq!(level(1274).unwrap(), EcLevel::Q);
    assert_eq!(level(2953).unwrap(), EcLevel::L);
    assert!(matches!(level(2954), Err(QrError::TooLong)));
}

//! Durations as people write them: `30s`, `5m`, `24h`, `7d`, or joined as in `1h30m`.

use std::time::Duration;

/// The text is no duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a duration as in 30s, 5m, 24h or 7d")]
pub struct BadDuration;

/// Reads a duration.
pub fn parse(text: &str) -> Result<Duration, BadDuration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(BadDuration)?;
        let number: u64 = rest[..digits].parse().map_err(|_| BadDuration)?;
        let mut after = rest[digits..].chars();
        let seconds = match after.next() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(BadDuration),
        };
        let part = number.checked_mul(seconds).ok_or(BadDuration)?;
        sum = sum.checked_add(Duration::from_secs(part)).ok_or(BadDuration)?;
        rest = after.as_str();
    }
    if text.is_empty() {
        Err(BadDuration)
    } else {
        Ok(sum)
    }
}

/// Reads a timeout as kubectl does: seconds where there is no unit, and `0` for none.
pub fn parse_timeout(text: &str) -> Result<Duration, BadDuration> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => parse(text),
    }
}

/// Writes a duration in its two largest units, whole: `29d`, `1h30m`, `12s`.
pub fn text(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        let count = rest / seconds;
        rest %= seconds;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.concat()
    }
}

/// Writes a duration as the API's definitions take it: hours, minutes and seconds.
pub fn api_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3_600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let texts: Vec<String> = parts.map(|(count, unit)| format!("{count}{unit}")).collect();
    let text = texts.concat();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_read_and_joined() {
        for (text, seconds) in [
            ("30s", 30),
            ("5m", 300),
            ("24h", 86_400),
            ("7d", 604_800),
            ("1h30m", 5_400),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "h", "5 m", "-5m", "1.5h", "99999999999999999999s", "5w"] {
            assert_eq!(parse(text), Err(BadDuration), "{text}");
        }
        assert_eq!(parse_timeout("0"), Ok(Duration::ZERO));
        assert_eq!(parse_timeout("10"), Ok(Duration::from_secs(10)));
    }

    #[test]
    fn two_largest_units_are_written() {
        for (seconds, expected) in [
            (0, "0s"),
            (12, "12s"),
            (90, "1m30s"),
            (3_600, "1h"),
            (86_399, "23h59m"),
            (90_061, "1d1h"),
        ] {
            assert_eq!(text(Duration::from_secs(seconds)), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_no_more(seconds in 0_u64..10_000_000) {
            let written = parse(&text(Duration::from_secs(seconds))).unwrap().as_secs();
            prop_assert!(written <= seconds);
            prop_assert!(seconds - written < 3_600 || seconds >= 86_400);
        }

        #[test]
        fn what_the_api_is_told_is_exact(seconds in 0_u64..31_536_000) {
            let text = api_text(Duration::from_secs(seconds));
            prop_assert_eq!(parse(&text), Ok(Duration::from_secs(seconds)));
        }
    }
}

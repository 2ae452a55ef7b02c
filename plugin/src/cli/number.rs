//! Numbers and durations, refused in kubectl's words.

use std::time::Duration;

/// Items a page; all of them in one if it is 0, or negative as kubectl takes it.
pub(super) fn chunk(text: &str) -> Result<usize, String> {
    let number = whole(text)?;
    Ok(usize::try_from(number).unwrap_or_default())
}

/// A whole number.
pub(super) fn whole(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let what = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing \"{text}\": {what}")
    })
}

/// A duration with its unit, or seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| format!("time: invalid duration \"{text}\": as 5s, 2m or 1h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, expected) in [("500", Some(500)), ("0", Some(0)), ("-1", Some(0))] {
            assert_eq!(chunk(text).ok(), expected, "{text}");
        }
        for (text, expected) in [
            ("", "strconv.ParseInt: parsing \"\": invalid syntax"),
            ("1x", "strconv.ParseInt: parsing \"1x\": invalid syntax"),
            (
                "9223372036854775808",
                "strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
            ),
        ] {
            assert_eq!(whole(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [("5", 5), ("5s", 5), ("1m30s", 90), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(expected)), "{text}");
        }
        for wrong in ["", "-1s", "soon"] {
            let why = duration(wrong).unwrap_err();
            assert!(why.starts_with(&format!("time: invalid duration \"{wrong}\"")));
        }
    }
}

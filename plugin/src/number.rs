//! Numbers and durations of the command line, with kubectl's errors.

use std::{num::IntErrorKind, time::Duration};

/// Parses the items per page. 0 and, like kubectl, negative numbers mean all items in one page.
pub(crate) fn chunk(text: &str) -> Result<usize, String> {
    let number = integer(text)?;
    Ok(usize::try_from(number).unwrap_or_default())
}

/// Parses a decimal number, with kubectl's error for anything else.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing \"{text}\": {reason}")
    })
}

/// Parses a duration with a unit, or seconds.
#[cfg(any(unix, test))]
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).map_err(|_| {
            format!("time: invalid duration \"{text}\": expected a value like 5s, 2m or 1h")
        }),
    }
}

/// Parses a duration in Go's syntax, which requires a unit. A negative duration expires at once.
pub(crate) fn with_unit(text: &str) -> Result<Duration, String> {
    let wrong = || format!("time: invalid duration \"{text}\"");
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest.is_empty() {
        return Err(wrong());
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (integer, after) = rest.split_at(digits(rest));
        let (part, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if integer.is_empty() && part.is_empty() {
            return Err(wrong());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let unit: i128 = match unit {
            "" => return Err(format!("time: missing unit in duration \"{text}\"")),
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            unit => {
                return Err(format!("time: unknown unit \"{unit}\" in duration \"{text}\""));
            }
        };
        let number = |digits: &str| match digits {
            "" => Some(0),
            digits => digits.parse::<i64>().ok().map(i128::from),
        };
        // More digits are below a nanosecond, even of hours.
        let part = &part[..part.len().min(13)];
        let scale = (0..part.len()).fold(1_i128, |scale, _| scale * 10);
        let (integer, part) = (number(integer).ok_or_else(wrong)?, number(part).ok_or_else(wrong)?);
        total += integer * unit + part * unit / scale;
        if total > i128::from(i64::MAX) {
            return Err(wrong());
        }
        rest = after;
    }
    let nanos = u64::try_from(total).unwrap_or(u64::MAX);
    Ok(if is_negative && nanos > 0 { Duration::from_nanos(1) } else { Duration::from_nanos(nanos) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_decimal_numbers() {
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
            assert_eq!(integer(text), Err(expected.to_owned()), "{text}");
        }
        for (text, expected) in [
            ("+3", Some(3)),
            ("007", Some(7)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("0x10", None),
            ("1_000", None),
            ("+-1", None),
            ("0\u{e9}", None),
            ("\u{661}", None),
        ] {
            let reason = format!("strconv.ParseInt: parsing \"{text}\": invalid syntax");
            assert_eq!(integer(text), expected.ok_or(reason), "{text}");
        }
    }

    #[test]
    fn parses_durations() {
        for (text, expected) in [("5", 5), ("5s", 5), ("1m30s", 90), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(expected)), "{text}");
        }
        for wrong in ["", "-1s", "soon"] {
            let why = duration(wrong).unwrap_err();
            assert!(why.starts_with(&format!("time: invalid duration \"{wrong}\"")));
        }
    }

    #[test]
    fn parses_durations_with_required_unit() {
        for (text, millis) in [
            ("0", 0),
            ("-0", 0),
            ("5s", 5_000),
            ("+1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("1h2m3s4ms", 3_723_004),
            ("2500000ns500us", 3),
            ("0.00000000000000000000001h", 0),
        ] {
            assert_eq!(with_unit(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(with_unit("-1s"), Ok(Duration::from_nanos(1)));
        for (text, expected) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("x", "time: invalid duration \"x\""),
            (".s", "time: invalid duration \".s\""),
            ("1s-", "time: unknown unit \"s-\" in duration \"1s-\""),
            ("5", "time: missing unit in duration \"5\""),
            ("1m5", "time: missing unit in duration \"1m5\""),
            ("1day", "time: unknown unit \"day\" in duration \"1day\""),
            ("1 s", "time: unknown unit \" s\" in duration \"1 s\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
            ("99999999999999999999s", "time: invalid duration \"99999999999999999999s\""),
        ] {
            assert_eq!(with_unit(text), Err(expected.to_owned()), "{text}");
        }
    }
}

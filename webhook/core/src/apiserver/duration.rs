//! Durations in the format of kubectl's tables.

/// Formats seconds like `HumanDuration` of Kubernetes, with at most two units.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let two_units = |big: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two_units(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two_units(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two_units(hours / 24, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{}d", hours / 24),
        63_072_000..252_288_000 => two_units(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn formats_like_kubernetes() {
        const DAY: i64 = 86_400;
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (192, "3m12s"),
            (601, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 65, "3h1m"),
            (9 * 3600 + 65, "9h"),
            (2 * DAY + 3600, "2d1h"),
            (7 * DAY, "7d"),
            (30 * DAY, "30d"),
            (2 * 365 * DAY, "2y"),
            (2 * 365 * DAY + DAY, "2y1d"),
            (9 * 365 * DAY, "9y"),
        ] {
            assert_eq!(super::human_duration(seconds), text);
        }
    }
}

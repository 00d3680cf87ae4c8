//! Ages as people read them.

/// `250ms`, `12.3s`, `5m2s`, `3h5m`, `2d4h`: two units are more than enough.
pub(super) fn shown(millis: u64) -> String {
    let (seconds, minutes, hours) = (millis / 1_000, millis / 60_000, millis / 3_600_000);
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{seconds}.{}s", millis % 1_000 / 100),
        60_000..3_600_000 => format!("{minutes}m{}s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{}d{}h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        for (millis, expected) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (59_999, "59.9s"),
            (60_000, "1m0s"),
            (302_999, "5m2s"),
            (3_600_000, "1h0m"),
            (86_399_999, "23h59m"),
            (187_200_000, "2d4h"),
        ] {
            assert_eq!(shown(millis), expected, "{millis}");
        }
    }
}

//! Points in time as people write them (RFC 3339, UTC or with an offset), without a calendar library.

/// Milliseconds since 1970 of `2026-11-22`, `2026-11-22T17:00:00Z`, `2026-11-22T17:00:00.250+01:00`. Without
/// an offset it is UTC. None = it is no such time.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (date, rest) = match text.split_once(['T', 't', ' ']) {
        Some((date, rest)) => (date, rest),
        None => (text, "00:00:00Z"),
    };
    let [year, month, day] = numbers::<3>(date, '-')?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let (time, offset_minutes) = split_offset(rest)?;
    let (time, millis) = match time.split_once('.') {
        Some((time, fraction)) => (time, parse_millis(fraction)?),
        None => (time, 0),
    };
    let [hour, minute, second] = match time.matches(':').count() {
        1 => {
            let [hour, minute] = numbers::<2>(time, ':')?;
            [hour, minute, 0]
        }
        _ => numbers::<3>(time, ':')?,
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = ((days_from_1970(year, month, day) * 24 + hour) * 60 + minute - offset_minutes)
        * 60
        + second;
    Some(seconds * 1000 + millis)
}

/// `2026-11-22T17:00:00.250Z`.
pub(crate) fn format(unix_millis: i64) -> String {
    let (days, in_day) = (
        unix_millis.div_euclid(86_400_000),
        unix_millis.rem_euclid(86_400_000),
    );
    let (year, month, day) = date_of(days);
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Unsigned numbers between separators, of at most four digits each.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(separator);
    for number in &mut found {
        let part = parts.next()?;
        let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        *number = digits.then(|| part.parse().ok()).flatten()?;
    }
    parts.next().is_none().then_some(found)
}

/// Separates `Z` or `+01:00` from a time; the offset is in minutes east of UTC.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    match text.rfind(['+', '-']) {
        Some(at) => {
            let [hours, minutes] = numbers::<2>(&text[at + 1..], ':')?;
            let minutes = hours * 60 + minutes;
            let east = text.as_bytes()[at] == b'+';
            Some((&text[..at], if east { minutes } else { -minutes }))
        }
        None => Some((text, 0)),
    }
}

fn parse_millis(fraction: &str) -> Option<i64> {
    let digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    let three: String = fraction.chars().chain("000".chars()).take(3).collect();
    digits.then(|| three.parse().ok()).flatten()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in
/// March, so that the leap day is the last one).
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse of [`days_from_1970`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:01Z", 1_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2026-11-22T17:00:00Z", 1_795_366_800_000),
            ("2026-11-22 17:00", 1_795_366_800_000),
            ("2026-11-22T18:00:00.25+01:00", 1_795_366_800_250),
            ("2026-11-22T12:00:00-05:00", 1_795_366_800_000),
        ] {
            assert_eq!(parse(text), Some(millis), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-13-01",
            "2026-02-29",
            "2026-11-22T25:00:00Z",
            "2026-11-22T",
            "2026-11-22T17:00:00.Z",
            "26-11",
            "2026-11-22T17:00:00+1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        assert_eq!(format(1_795_366_800_250), "2026-11-22T17:00:00.250Z");
        for day in -800_000_i64..800_000 {
            let millis = day * 86_400_000 / 17;
            if (0..=9999).contains(&date_of(millis.div_euclid(86_400_000)).0) {
                assert_eq!(parse(&format(millis)), Some(millis));
            }
        }
    }
}

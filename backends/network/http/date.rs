//! Dates as HTTP writes them (RFC 9110 §5.6.7), and pauses that a service asks for (§10.2.3).

use std::time::{Duration, SystemTime};

/// The longest pause that is believed.
const MAX_PAUSE: Duration = Duration::from_secs(86_400);

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// What `Retry-After` says, as a time from now; nothing for what is neither seconds nor a date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_PAUSE));
    }
    let until = http_date(value)?;
    // A date that has passed asks for no pause.
    Some(until.duration_since(now).unwrap_or_default().min(MAX_PAUSE))
}

/// A date in any of the three forms that a recipient has to take; the day of the week is not looked at.
pub(super) fn http_date(value: &str) -> Option<SystemTime> {
    let value = value.trim();
    if !value.is_ascii() || value.len() > 64 {
        return None;
    }
    let fields: Vec<&str> = value
        .split([' ', ',', '-'])
        .filter(|field| !field.is_empty())
        .collect();
    let (day, month, year, time) = match fields.as_slice() {
        // Sun, 06 Nov 1994 08:49:37 GMT; Sunday, 06-Nov-94 08:49:37 GMT
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| name == month)?;
    let month = i64::try_from(month).ok()? + 1;
    let year = match (number(year)?, year.len()) {
        (year, 4) => year,
        // Two digits are of the last century only if they would lie more than 50 years ahead.
        (year, 2) if year < 70 => 2000 + year,
        (year, 2) => 1900 + year,
        _ => return None,
    };
    let day = number(day).filter(|day| (1..=31).contains(day))?;
    let mut clock = time.splitn(3, ':');
    let mut part = |most: i64| number(clock.next()?).filter(|part| *part <= most);
    // A leap second counts as the one after.
    let seconds = part(23)? * 3600 + part(59)? * 60 + part(60)?;
    let since = days(year, month, day) * 86_400 + seconds;
    let since = Duration::from_secs(u64::try_from(since).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// A day as people write it, `2026-11-23`; of a time before 1970, that year's first.
pub(super) fn day(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let all_days = since.map_or(0, |since| since.as_secs() / 86_400);
    // The year is at least this one's: years are counted as the longest.
    let all_days = i64::try_from(all_days).unwrap_or_default();
    let mut year = 1970 + all_days / 366;
    while days(year + 1, 1, 1) <= all_days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= all_days {
        month += 1;
    }
    let day = all_days - days(year, month, 1) + 1;
    format!("{year:04}-{month:02}-{day:02}")
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits && text.len() <= 4)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. Years are counted from March, so that the leap day is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: &str) -> Option<u64> {
        let since = http_date(value)?.duration_since(SystemTime::UNIX_EPOCH);
        Some(since.unwrap().as_secs())
    }

    #[test]
    fn dates_are_read_in_all_three_forms() {
        for (value, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Mon, 23 Nov 2026 22:47:49 GMT", 1_795_474_069),
            ("Fri, 31 Dec 2100 23:59:59 GMT", 4_133_980_799),
        ] {
            assert_eq!(seconds(value), Some(expected), "{value}");
        }
        for wrong in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:+9:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 994 08:49:37 GMT",
            "Sun, 06 Nov 1960 08:49:37 GMT",
            "Sün, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_are_written_as_they_are_read() {
        for (date, expected) in [
            ("Thu, 01 Jan 1970 23:59:59 GMT", "1970-01-01"),
            ("Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29"),
            ("Wed, 01 Mar 2000 00:00:00 GMT", "2000-03-01"),
            ("Sun, 31 Dec 2023 23:59:59 GMT", "2023-12-31"),
            ("Tue, 31 Dec 2024 23:59:59 GMT", "2024-12-31"),
            ("Mon, 23 Nov 2026 22:47:49 GMT", "2026-11-23"),
        ] {
            assert_eq!(day(http_date(date).unwrap()), expected);
        }
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_and_at_most_a_day() {
        let now = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (value, pause) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("86401", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 2094 08:00:00 GMT", Some(86_400)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = pause.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }
}

//! Points in time as AWS writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// `YYYYMMDDThhmmssZ` in UTC; its first eight characters are the day. Times before 1970 count as that.
pub(super) fn stamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// A time in ISO 8601, with or without punctuation and fraction: `2015-08-30T12:36:00.5Z`, `20150830T123600Z`,
/// `2015-08-30T12:36:00+02:00`. Fractions are dropped. `None` for anything else and for times before 1970.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let (day, time) = text.trim().split_once(['T', ' '])?;
    let (time, zone) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => time.split_at_checked(at)?,
        None => return None,
    };
    let time = time.split_once(['.', ',']).map_or(time, |(time, _)| time);
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let seconds = days(year, month, day)? * DAY + hour * 3600 + minute * 60 + second;
    let east = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, zone) => {
            let [hours, minutes] = numbers(zone, ':', [2, 2])?;
            let seconds = i64::try_from(hours * 3600 + minutes * 60).ok()?;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    let seconds = seconds.checked_add_signed(-east)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Numbers of these many digits, with or without `separator` between all of them.
fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[u64; N]> {
    let digits: String = match text.contains(separator) {
        true => {
            let mut parts = text.split(separator);
            let fits = lengths
                .iter()
                .all(|len| parts.next().is_some_and(|part| part.len() == *len));
            if !fits || parts.next().is_some() {
                return None;
            }
            text.split(separator).collect()
        }
        false => text.to_owned(),
    };
    let mut rest = digits.as_str();
    let mut numbers = [0; N];
    for (number, len) in numbers.iter_mut().zip(lengths) {
        let (part, after) = rest.split_at_checked(len)?;
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        (*number, rest) = (part.parse().ok()?, after);
    }
    rest.is_empty().then_some(numbers)
}

/// The civil date of a day since 1970 (proleptic Gregorian). Years are counted from March, so that the leap day is the
/// last of its year and months have the lengths 31, 30, 31, 30, 31 over and over.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

/// The day since 1970 of a civil date; `None` before that.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
    (year / 400 * 146_097 + of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn stamps_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (1_709_251_199, "20240229T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(at(seconds)), text);
            assert_eq!(parse(text), Some(at(seconds)));
        }
        for day in 0..80_000 {
            let (year, month, date) = date(day);
            assert_eq!(days(year, month, date), Some(day), "{year}-{month}-{date}");
        }
    }

    #[test]
    fn times_are_read_in_all_their_forms() {
        let noon = Some(at(1_440_938_160));
        for text in [
            "2015-08-30T12:36:00Z",
            "2015-08-30T12:36:00.123456Z",
            "2015-08-30T12:36:00+00:00",
            "2015-08-30 14:36:00+0200",
            "2015-08-30T10:06:00-02:30",
            " 20150830T123600Z\n",
        ] {
            assert_eq!(parse(text), noon, "{text}");
        }
        for text in [
            "",
            "T",
            "2015-08-30",
            "2015-08-30T12:36:00",
            "2015-13-30T12:36:00Z",
            "1969-12-31T23:59:59Z",
            "2015-08-30T24:00:00Z",
            "20150-8-30T12:36:00Z",
            "2015-08-30T12:36:00Zx",
            "2015-08-30T12:36Z",
            "1970-01-01T00:00:00+01:00",
            "2015-08-30T12:36:00+",
            "+015-08-30T12:36:00Z",
            "é015-08-30T12:36:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

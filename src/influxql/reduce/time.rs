//! Date strings: `2020-01-01`, `2020-01-01 10:00:00.5`, `2020-01-01T10:00:00Z`.

use jiff::civil;
use jiff::tz::TimeZone;

use crate::influxql::reduce::time::Shape::DateTime;
use crate::model::Timestamp;

/// An instant of the years 0 to 9999, further than a timestamp reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Nanoseconds since 1970.
    pub ns: i128,
    /// Seconds east of UTC it was written in.
    pub utc_offset_s: i32,
}

impl Date {
    /// As a timestamp, the nearest one where it does not fit.
    pub fn saturated(self) -> Timestamp {
        self.ns.clamp(i64::MIN.into(), i64::MAX.into()) as Timestamp
    }

    /// As stock shows it in a complaint: to the second, in its own zone.
    pub fn shown(self) -> String {
        let local = self.ns.div_euclid(1_000_000_000) + i128::from(self.utc_offset_s);
        let days = local.div_euclid(86_400) as i64;
        let second = local.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(days);
        let (sign, offset) = (if self.utc_offset_s < 0 { '-' } else { '+' }, self.utc_offset_s.unsigned_abs() / 60);
        let zone =
            if self.utc_offset_s == 0 { "Z".into() } else { format!("{sign}{:02}:{:02}", offset / 60, offset % 60) };
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{zone}", second / 3600, second / 60 % 60, second % 60)
    }
}

/// `text` looks like a date but is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadDate;

/// What a string has to look like to be read as a date.
enum Shape {
    Date,
    DateTime,
}

fn shape(text: &str) -> Option<Shape> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
    let dash = |index| bytes.get(index) == Some(&b'-');
    if !(digits(0..4) && dash(4) && digits(5..7) && dash(7) && digits(8..10)) {
        return None;
    }
    match text[10..].chars().next() {
        None => Some(Shape::Date),
        Some('\n') => None,
        Some(_) => Some(Shape::DateTime),
    }
}

/// Whether `text` is meant as a date.
pub fn is_date(text: &str) -> bool {
    shape(text).is_some()
}

/// The instant `text` names; without a zone of its own it is local to `zone`.
pub fn parse_date(text: &str, zone: &TimeZone) -> Result<Date, BadDate> {
    let shape = shape(text).ok_or(BadDate)?;
    let mut reader = Reader { rest: &text.as_bytes()[10..] };
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().map_err(|_| BadDate);
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (year, month, day) = (year as i16, month as i8, day as i8);
    let date = civil::Date::new(year, month, day).map_err(|_| BadDate)?;
    let days = days_from_civil(date);
    if !matches!(shape, DateTime) {
        return Ok(local(days * 86_400, 0, zone));
    }
    let separator = reader.take().ok_or(BadDate)?;
    let (second, fraction) = reader.clock()?;
    let clock = days * 86_400 + second;
    match separator {
        b' ' if reader.rest.is_empty() => Ok(local(clock, fraction, zone)),
        b'T' => {
            let offset = reader.offset()?;
            Ok(Date { ns: nanoseconds(clock - i64::from(offset), fraction), utc_offset_s: offset })
        }
        _ => Err(BadDate),
    }
}

fn nanoseconds(second: i64, fraction: u32) -> i128 {
    i128::from(second) * 1_000_000_000 + i128::from(fraction)
}

/// The instant at which clocks in `zone` show `clock` (in seconds since 1970). A reading that happens twice is the
/// first one; a reading that is skipped is taken with the offset of after the jump.
fn local(clock: i64, fraction: u32, zone: &TimeZone) -> Date {
    let at = |second: i64| {
        let time = jiff::Timestamp::from_second(second).unwrap_or(if second < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        i64::from(zone.to_offset(time).seconds())
    };
    // The offset at the reading taken as if it were UTC is right, unless a change lies between that and the instant it
    // gives; then the offset on the other side of the change is.
    let offset = at(clock - at(clock));
    Date { ns: nanoseconds(clock - offset, fraction), utc_offset_s: offset as i32 }
}

/// Reads the part behind the date.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn require(&mut self, wanted: u8) -> Result<(), BadDate> {
        if self.take() == Some(wanted) { Ok(()) } else { Err(BadDate) }
    }

    fn digit(&mut self) -> Option<i64> {
        let digit = self.rest.first().filter(|b| b.is_ascii_digit())?;
        self.rest = &self.rest[1..];
        Some(i64::from(digit - b'0'))
    }

    fn two_digits(&mut self) -> Result<i64, BadDate> {
        Ok(self.digit().ok_or(BadDate)? * 10 + self.digit().ok_or(BadDate)?)
    }

    /// `15:04:05` with an optional fraction. The hour may have one digit.
    fn clock(&mut self) -> Result<(i64, u32), BadDate> {
        let first = self.digit().ok_or(BadDate)?;
        let hour = self.digit().map_or(first, |second| first * 10 + second);
        self.require(b':')?;
        let minute = self.two_digits()?;
        self.require(b':')?;
        let second = self.two_digits()?;
        if hour > 23 || minute > 59 || second > 59 {
            return Err(BadDate);
        }
        Ok((hour * 3600 + minute * 60 + second, self.fraction()))
    }

    /// Any number of digits behind a point or a comma; what is finer than a nanosecond is cut.
    fn fraction(&mut self) -> u32 {
        if !matches!(self.rest, [b'.' | b',', b'0'..=b'9', ..]) {
            return 0;
        }
        self.rest = &self.rest[1..];
        let (mut value, mut unit) = (0, 100_000_000);
        while let Some(digit) = self.digit() {
            value += digit as u32 * unit;
            unit /= 10;
        }
        value
    }

    /// `Z`, `+01:00`, and nothing behind it.
    fn offset(&mut self) -> Result<i32, BadDate> {
        let sign = match self.take().ok_or(BadDate)? {
            b'Z' => 0,
            b'+' => 1,
            b'-' => -1,
            _ => return Err(BadDate),
        };
        let mut offset = 0;
        if sign != 0 {
            let hour = self.two_digits()?;
            self.require(b':')?;
            let minute = self.two_digits()?;
            if hour > 24 || minute > 60 {
                return Err(BadDate);
            }
            offset = sign * (hour * 3600 + minute * 60) as i32;
        }
        if self.rest.is_empty() { Ok(offset) } else { Err(BadDate) }
    }
}

/// Days since 1970 of a date.
fn days_from_civil(date: civil::Date) -> i64 {
    let epoch = civil::date(1970, 1, 1);
    i64::from(date.since((jiff::Unit::Day, epoch)).map_or(0, |span| span.get_days()))
}

/// Year, month and day of a day since 1970, for the years a date string can name and some around them.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // Counted in eras of 400 years from 0000-03-01, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

//! Dates and times of Elixir's calendar, which is that of ISO 8601.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The atom `Calendar.ISO`. Dates of another calendar are refused: their numbers mean something else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename = "Elixir.Calendar.ISO")]
pub struct Iso;

/// A day. Displayed as `2024-02-29`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename = "Elixir.Date")]
pub struct Date {
    /// -9999 to 9999; the year 0 exists.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// How the numbers are meant.
    pub calendar: Iso,
}

/// The years that Elixir takes.
const YEARS: std::ops::RangeInclusive<i32> = -9999..=9999;

impl Date {
    /// A day that exists.
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let exists = YEARS.contains(&year) && (1..=12).contains(&month) && (1..=last).contains(&day);
        exists.then_some(Self { year, month, day, calendar: Iso })
    }

    /// How many days after 1970-01-01 it is; `None` for a day that does not exist.
    pub fn unix_days(&self) -> Option<i64> {
        let Self { year, month, day, .. } = Self::new(self.year, self.month, self.day)?;
        // Years that start in March end with the leap day, so that the months before do not depend on it.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (year, month) = (i64::from(year), i64::from(month));
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        Some(year * 365 + leap_days + (month * 153 + 2) / 5 + i64::from(day) - 1 - EPOCH)
    }

    /// So many days after 1970-01-01; `None` where the year is out of range.
    pub fn from_unix_days(days: i64) -> Option<Self> {
        let days = days.checked_add(EPOCH)?;
        let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
        // The last day of 4, of 100 and of 400 years is one more than their number suggests.
        let year = (day - day / 1460 + day / 36_524 - day / (ERA - 1)) / 365;
        let day = day - (year * 365 + year / 4 - year / 100);
        let month = (day * 5 + 2) / 153;
        let day = day - (month * 153 + 2) / 5 + 1;
        let year = era.checked_mul(400)?.checked_add(year)?;
        let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
        Self::new(i32::try_from(year).ok()?, month as u8, day as u8)
    }
}

/// The days of 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;
/// The days from March 1 of the year 0 to 1970-01-01.
const EPOCH: i64 = 719_468;

/// A time of day. Displayed as `12:00:00.123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename = "Elixir.Time")]
pub struct Time {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Microseconds, and how many digits of them are shown: 0 to 6.
    pub microsecond: (u32, u8),
    /// How the numbers are meant.
    pub calendar: Iso,
}

impl Time {
    /// A time of day that exists, in whole seconds.
    pub fn new(hour: u8, minute: u8, second: u8) -> Option<Self> {
        let exists = hour < 24 && minute < 60 && second < 60;
        exists.then_some(Self { hour, minute, second, microsecond: (0, 0), calendar: Iso })
    }

    /// The same with microseconds, all six digits of them.
    pub fn with_micros(self, micros: u32) -> Option<Self> {
        (micros < 1_000_000).then_some(Self { microsecond: (micros, 6), ..self })
    }

    fn micros(&self) -> Option<i64> {
        Self::new(self.hour, self.minute, self.second)?.with_micros(self.microsecond.0)?;
        let seconds = (i64::from(self.hour) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        Some(seconds * 1_000_000 + i64::from(self.microsecond.0))
    }

    fn from_micros(micros: i64) -> Option<Self> {
        let seconds = micros / 1_000_000;
        let time = Self::new((seconds / 3600) as u8, (seconds / 60 % 60) as u8, (seconds % 60) as u8)?;
        time.with_micros((micros % 1_000_000) as u32)
    }
}

/// A day and a time of day, wherever that may be. Displayed as `2024-02-29T12:00:00.123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename = "Elixir.NaiveDateTime")]
pub struct NaiveDateTime {
    /// As of [`Date`].
    pub year: i32,
    /// As of [`Date`].
    pub month: u8,
    /// As of [`Date`].
    pub day: u8,
    /// As of [`Time`].
    pub hour: u8,
    /// As of [`Time`].
    pub minute: u8,
    /// As of [`Time`].
    pub second: u8,
    /// As of [`Time`].
    pub microsecond: (u32, u8),
    /// How the numbers are meant.
    pub calendar: Iso,
}

impl NaiveDateTime {
    /// A time on a day.
    pub fn new(date: Date, time: Time) -> Self {
        let (Date { year, month, day, calendar }, Time { hour, minute, second, microsecond, .. }) = (date, time);
        Self { year, month, day, hour, minute, second, microsecond, calendar }
    }

    /// The day.
    pub fn date(&self) -> Date {
        Date { year: self.year, month: self.month, day: self.day, calendar: self.calendar }
    }

    /// The time of day.
    pub fn time(&self) -> Time {
        let &Self { hour, minute, second, microsecond, calendar, .. } = self;
        Time { hour, minute, second, microsecond, calendar }
    }
}

/// A moment, and the time zone in which it is told. Displayed as `2024-02-29T12:00:00.123Z`, or with the offset
/// where that is another than that of `Etc/UTC`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "Elixir.DateTime")]
pub struct DateTime {
    /// As of [`Date`].
    pub year: i32,
    /// As of [`Date`].
    pub month: u8,
    /// As of [`Date`].
    pub day: u8,
    /// As of [`Time`].
    pub hour: u8,
    /// As of [`Time`].
    pub minute: u8,
    /// As of [`Time`].
    pub second: u8,
    /// As of [`Time`].
    pub microsecond: (u32, u8),
    /// How the numbers are meant.
    pub calendar: Iso,
    /// `Europe/Berlin`.
    pub time_zone: String,
    /// `CEST`.
    pub zone_abbr: String,
    /// Seconds that the zone is ahead of UTC when it is not summer.
    pub utc_offset: i32,
    /// Seconds that are added to that in summer.
    pub std_offset: i32,
}

impl DateTime {
    /// The moment at which it is this time in UTC.
    pub fn utc(naive: NaiveDateTime) -> Self {
        let NaiveDateTime { year, month, day, hour, minute, second, microsecond, calendar } = naive;
        Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            microsecond,
            calendar,
            time_zone: UTC.to_owned(),
            zone_abbr: "UTC".to_owned(),
            utc_offset: 0,
            std_offset: 0,
        }
    }

    /// So many microseconds after 1970 began, in UTC; `None` where the year is out of range.
    pub fn from_unix_micros(micros: i64) -> Option<Self> {
        let date = Date::from_unix_days(micros.div_euclid(DAY))?;
        let time = Time::from_micros(micros.rem_euclid(DAY))?;
        Some(Self::utc(NaiveDateTime::new(date, time)))
    }

    /// How many microseconds after 1970 began it is; `None` for a time that does not exist.
    pub fn unix_micros(&self) -> Option<i64> {
        let naive = self.naive();
        let local = naive.date().unix_days()? * DAY + naive.time().micros()?;
        Some(local - self.offset() * 1_000_000)
    }

    /// The same without the zone.
    pub fn naive(&self) -> NaiveDateTime {
        let &Self { year, month, day, hour, minute, second, microsecond, calendar, .. } = self;
        NaiveDateTime { year, month, day, hour, minute, second, microsecond, calendar }
    }

    /// Seconds ahead of UTC.
    fn offset(&self) -> i64 {
        i64::from(self.utc_offset) + i64::from(self.std_offset)
    }
}

const UTC: &str = "Etc/UTC";
/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.year < 0 { "-" } else { "" };
        write!(f, "{sign}{:04}-{:02}-{:02}", self.year.unsigned_abs(), self.month, self.day)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)?;
        match (self.microsecond.0, self.microsecond.1.min(6)) {
            (_, 0) => Ok(()),
            (micros, digits) => {
                let shown = micros / 10u32.pow(6 - u32::from(digits));
                write!(f, ".{shown:0digits$}", digits = usize::from(digits))
            }
        }
    }
}

impl fmt::Display for NaiveDateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", self.date(), self.time())
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.naive())?;
        match self.offset() {
            0 if self.time_zone == UTC => f.write_str("Z"),
            offset => {
                let minutes = offset.abs() / 60;
                let sign = if offset < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days_are_where_they_are() {
        let days = |year, month, day| Date::new(year, month, day).unwrap().unix_days().unwrap();
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2024, 12, 31), 20_088);
        assert_eq!(days(1969, 12, 31), -1);
        assert_eq!(Date::new(2023, 2, 29), None);
        assert_eq!(Date::new(1900, 2, 29), None);
        assert_eq!(Date::new(10_000, 1, 1), None);
        assert_eq!(Date::from_unix_days(i64::MAX), None);
        assert_eq!(DateTime::from_unix_micros(i64::MIN), None);
        assert_eq!(Date { month: 13, ..Date::new(1, 1, 1).unwrap() }.unix_days(), None);
    }

    #[test]
    fn offsets_and_digits_are_shown_as_elixir_shows_them() {
        let mut time = DateTime::from_unix_micros(1_709_208_000_120_000).unwrap();
        assert_eq!(time.to_string(), "2024-02-29T12:00:00.120000Z");
        time.microsecond.1 = 2;
        (time.utc_offset, time.std_offset, time.time_zone) = (3600, 3600, "Europe/Berlin".to_owned());
        assert_eq!(time.to_string(), "2024-02-29T12:00:00.12+02:00");
        assert_eq!(time.unix_micros(), Some(1_709_208_000_120_000 - 7_200_000_000));
        time.utc_offset = -14_400;
        assert_eq!(time.to_string(), "2024-02-29T12:00:00.12-03:00");
        assert_eq!(Date::new(-1, 1, 1).unwrap().to_string(), "-0001-01-01");
    }

    proptest! {
        #[test]
        fn days_and_dates_are_the_same(days in -4_371_587i64..=2_932_896) {
            let date = Date::from_unix_days(days).unwrap();
            prop_assert_eq!(date.unix_days(), Some(days));
            let next = Date::from_unix_days(days + 1);
            prop_assert!(next.is_none_or(|next| next > date));
        }

        #[test]
        fn moments_and_microseconds_are_the_same(micros in -377_705_116_800_000_000i64..253_402_300_800_000_000) {
            prop_assert_eq!(DateTime::from_unix_micros(micros).unwrap().unix_micros(), Some(micros));
        }
    }
}

//! When something is due, as cron writes it; always UTC, so no clock change ever moves it. Pure.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use togather_model::Timestamp;

/// Five fields as cron writes them: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    text: String,
    pattern: croner::Cron,
}

impl Eq for Cron {}

/// The text is no schedule.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected minute, hour, day, month and weekday as cron writes them, such as `0 3 * * *`, found `{text}`: {why}"
)]
pub struct NotCron {
    text: String,
    why: String,
}

impl FromStr for Cron {
    type Err = NotCron;

    fn from_str(text: &str) -> Result<Self, NotCron> {
        let refused = |why: String| NotCron {
            text: text.to_owned(),
            why,
        };
        let parser = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Disallowed)
            .year(croner::parser::Year::Disallowed)
            .build();
        let cron = Self {
            pattern: parser.parse(text).map_err(|e| refused(e.to_string()))?,
            text: text.to_owned(),
        };
        match cron
            .pattern
            .find_next_occurrence(&DateTime::UNIX_EPOCH, true)
        {
            Ok(_) => Ok(cron),
            Err(_) => Err(refused("that day never comes".into())),
        }
    }
}

impl Cron {
    /// The newest time up to `now` that is due after `seen_to`; those before it, that were missed as
    /// well, are made good by the same run.
    #[must_use]
    pub fn due(&self, seen_to: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let now = DateTime::<Utc>::from_timestamp(now.as_second(), 0)?;
        let last = self.pattern.find_previous_occurrence(&now, true).ok()?;
        let last = Timestamp::from_second(last.timestamp()).ok()?;
        (last > seen_to).then_some(last)
    }

    /// The least that passes from one time to the next, as far as its next hundred times show.
    #[must_use]
    pub fn shortest_gap(&self) -> Duration {
        let start = DateTime::UNIX_EPOCH;
        let times: Vec<_> = self.pattern.iter_after(start).take(100).collect();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let shortest = gaps.min().and_then(|gap| gap.to_std().ok());
        shortest.unwrap_or(Duration::MAX)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(cron: &str, seen_to: &str, now: &str) -> Option<String> {
        let cron: Cron = cron.parse().unwrap();
        let due = cron.due(seen_to.parse().unwrap(), now.parse().unwrap());
        due.map(|due| due.to_string())
    }

    #[test]
    fn nothing_is_due_twice() {
        let daily = "0 3 * * *";
        let at = "2026-05-01T03:00:00Z";
        assert_eq!(
            due(daily, "2026-04-30T03:00:00Z", "2026-05-01T02:59:59Z"),
            None
        );
        assert_eq!(
            due(daily, "2026-04-30T03:00:00Z", "2026-05-01T03:00:00.4Z").as_deref(),
            Some(at)
        );
        assert_eq!(due(daily, at, "2026-05-01T23:00:00Z"), None);
    }

    #[test]
    fn of_several_missed_runs_the_newest_is_caught_up() {
        assert_eq!(
            due("0 3 * * *", "2026-04-20T03:00:00Z", "2026-05-01T12:00:00Z").as_deref(),
            Some("2026-05-01T03:00:00Z")
        );
    }

    #[test]
    fn months_end_where_they_end() {
        let last_day = "30 23 L * *";
        for (seen_to, now, at) in [
            (
                "2028-02-28T23:59:00Z",
                "2028-03-01T00:00:00Z",
                "2028-02-29T23:30:00Z",
            ),
            (
                "2027-01-31T23:30:00Z",
                "2027-03-01T00:00:00Z",
                "2027-02-28T23:30:00Z",
            ),
            (
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
                "2026-12-31T23:30:00Z",
            ),
        ] {
            assert_eq!(due(last_day, seen_to, now).as_deref(), Some(at));
        }
        // The 31st of a month that has none is not made up for on another day.
        assert_eq!(
            due("0 3 31 * *", "2026-03-31T03:00:00Z", "2026-05-30T00:00:00Z"),
            None
        );
    }

    /// 2026-03-29 and 2026-10-25 are when clocks change in Europe: each has one 02:30 in UTC.
    #[test]
    fn a_clock_change_neither_doubles_nor_drops_a_run() {
        for day in ["2026-03-29", "2026-10-25"] {
            let at = format!("{day}T02:30:00Z");
            let midnight = format!("{day}T00:00:00Z");
            let evening = format!("{day}T23:00:00Z");
            assert_eq!(due("30 2 * * *", &midnight, &evening), Some(at.clone()));
            assert_eq!(due("30 2 * * *", &at, &evening), None);
        }
    }

    /// The clock was ahead, a run was seen to, and the clock went back.
    #[test]
    fn a_clock_that_jumps_back_makes_nothing_due() {
        assert_eq!(
            due("0 3 * * *", "2026-05-01T03:00:00Z", "2026-04-30T12:00:00Z"),
            None
        );
    }

    /// As cron has it where both are given: 2026-05-03 is a Sunday and no 1st or 15th.
    #[test]
    fn a_day_of_the_month_or_of_the_week_is_enough() {
        let at = "2026-05-03T03:00:00Z";
        assert_eq!(
            due("0 3 1,15 * 0", "2026-05-02T00:00:00Z", at).as_deref(),
            Some(at)
        );
    }

    #[test]
    fn the_shortest_gap_is_told() {
        let gap = |cron: &str| cron.parse::<Cron>().unwrap().shortest_gap();
        assert_eq!(gap("0 3 * * *"), Duration::from_hours(24));
        assert_eq!(gap("*/15 3 * * *"), Duration::from_mins(15));
        assert!(gap("0 3 29 2 *") > Duration::from_hours(24 * 365));
    }

    #[test]
    fn what_never_comes_is_refused() {
        for text in ["", "daily", "0 0 3 * * *", "0 25 * * *", "0 3 30 2 *"] {
            assert!(text.parse::<Cron>().is_err(), "{text}");
        }
    }
}

//! The share of requests that fail, over the last seconds. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::health::Requests;

/// The share is that of so long a time; longer, where there were too few requests in it.
const SPAN: Duration = Duration::from_secs(10);

/// Samples are taken a little early or late.
const ABOUT: Duration = Duration::from_millis(500);

/// Fewer requests than this say nothing about a share.
const FEWEST_REQUESTS: u64 = 20;

/// What was counted during a soak.
pub(super) struct Window {
    /// The share that may fail, 0 to 1.
    limit: f64,
    /// Oldest first.
    samples: Vec<(Instant, Requests)>,
}

impl Window {
    pub(super) const fn new(limit: f64) -> Self {
        Self {
            limit,
            samples: Vec::new(),
        }
    }

    /// Takes in what was counted.
    ///
    /// # Errors
    /// Too large a share failed, with the series and the figures.
    pub(super) fn add(&mut self, now: Instant, counted: Requests) -> Result<(), String> {
        let is_anew = |(_, before): &(Instant, Requests)| counted.since(before).is_none();
        if self.samples.last().is_some_and(is_anew) {
            self.samples.clear();
        }
        let judged = self.judge(now, &counted);
        self.samples.push((now, counted));
        judged.map_or(Ok(()), Err)
    }

    fn judge(&self, now: Instant, counted: &Requests) -> Option<String> {
        let newest_first = self.samples.iter().enumerate().rev();
        let (over, recent) = newest_first
            .filter(|(nth, (at, _))| *nth == 0 || now.duration_since(*at) + ABOUT >= SPAN)
            .filter_map(|(_, (at, before))| Some((now.duration_since(*at), counted.since(before)?)))
            .find(|(_, recent)| recent.total >= FEWEST_REQUESTS)?;
        let share = share(&recent);
        (share > self.limit).then(|| {
            format!(
                "{}: {} of {} requests in {:.0} s failed with a 5xx status, {:.1} % (`strategy.soak_error_rate` allows {:.1} %){}",
                recent.series,
                recent.failed,
                recent.total,
                over.as_secs_f64(),
                share * 100.0,
                self.limit * 100.0,
                besides(&recent)
            )
        })
    }

    /// What was counted in all, for people.
    pub(super) fn seen(&self) -> String {
        let (Some((_, first)), Some((_, last))) = (self.samples.first(), self.samples.last())
        else {
            return "errors were not watched: the app counts no requests".into();
        };
        match last.since(first) {
            Some(all) => format!(
                "{}: {} of {} requests failed{}",
                all.series,
                all.failed,
                all.total,
                besides(&all)
            ),
            None => format!("{} began anew", last.series),
        }
    }
}

/// The requests that are in no share.
fn besides(requests: &Requests) -> String {
    let mut text = String::new();
    if requests.limited > 0 {
        text += &format!("; {} more were turned away (429)", requests.limited);
    }
    if requests.unwritten > 0 {
        text += &format!(
            "; to {} more nothing was written (status 0)",
            requests.unwritten
        );
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "a share of requests in seconds")]
fn share(requests: &Requests) -> f64 {
    requests.failed as f64 / requests.total as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(total: u64, failed: u64) -> Requests {
        Requests {
            series: "togather_http_requests_total".into(),
            total,
            failed,
            ..Requests::default()
        }
    }

    /// 50 requests a second, one in five failing from the 20th second on.
    fn at(second: u64) -> Requests {
        let bad = second.saturating_sub(20) * 50;
        counted(second * 50, bad / 5)
    }

    #[test]
    fn one_page_in_five_is_found_within_fifteen_seconds_however_samples_fall() {
        for interval in [5, 6, 7, 10] {
            for phase in 0..interval {
                let (mut window, begun) = (Window::new(0.05), Instant::now());
                let mut seconds = (phase..).step_by(usize::try_from(interval).unwrap());
                let (found, complaint) = seconds
                    .find_map(|second| {
                        let now = begun + Duration::from_secs(second);
                        Some((second, window.add(now, at(second)).err()?))
                    })
                    .unwrap();
                assert!(
                    (21..=35).contains(&found),
                    "every {interval} s: at {found} s"
                );
                assert!(
                    complaint.starts_with("togather_http_requests_total: "),
                    "{complaint}"
                );
            }
        }
    }

    #[test]
    fn the_complaint_names_series_figures_and_what_is_not_in_them() {
        let (mut window, begun) = (Window::new(0.05), Instant::now());
        let mut later = counted(500, 100);
        (later.limited, later.unwritten) = (7, 2);
        window.add(begun, counted(0, 0)).unwrap();
        assert_eq!(
            window.add(begun + SPAN, later).unwrap_err(),
            "togather_http_requests_total: 100 of 500 requests in 10 s failed with a 5xx status, 20.0 % \
             (`strategy.soak_error_rate` allows 5.0 %); 7 more were turned away (429); to 2 more \
             nothing was written (status 0)"
        );
    }

    #[test]
    fn few_requests_are_judged_over_a_longer_time() {
        let (mut window, begun) = (Window::new(0.05), Instant::now());
        for (nth, total) in (0..).zip([0, 4, 8, 12, 16]) {
            let judged = window.add(begun + TEN * nth, counted(total, total));
            assert_eq!(judged, Ok(()), "{total} requests say nothing");
        }
        assert!(window.add(begun + TEN * 5, counted(20, 20)).is_err());
    }

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn old_failures_are_forgotten_and_a_counter_may_begin_anew() {
        let (mut window, begun) = (Window::new(0.05), Instant::now());
        window.add(begun, counted(1_000, 900)).unwrap();
        window.add(begun + TEN, counted(2_000, 900)).unwrap();
        window.add(begun + TEN * 2, counted(5, 5)).unwrap();
        assert_eq!(window.add(begun + TEN * 3, counted(600, 6)), Ok(()));
    }
}

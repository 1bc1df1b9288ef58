//! Nothing goes by the machine's time zone: the same tests again where clocks change.

use std::{env, process::Command, time::Duration};

use jiff::tz::TimeZone;
use togather_model::{
    Timestamp, Ulid,
    retention::{Facts, Policy, Reason, judge},
};

use super::{tests::Bench, *};

/// Berlin's time, as any machine knows it without a data base of zones: clocks change on 2026-03-29
/// and 2026-10-25, at 01:00 UTC both times.
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

#[test]
fn all_is_the_same_in_a_zone_whose_clocks_change() {
    let tests = [
        "schedule::zone::each_day_has_one_run_when_clocks_change",
        "schedule::zone::the_scheduler_itself_goes_by_utc",
        "schedule::zone::days_weeks_and_months_of_snapshots_are_those_of_utc",
        "schedule::cron::tests::a_clock_change_neither_doubles_nor_drops_a_run",
        "schedule::cron::tests::months_end_where_they_end",
        "snapshots::manifest::tests::names_sort_by_time_and_are_safe_in_any_store",
    ];
    let again = Command::new(env::current_exe().unwrap())
        .arg("--exact")
        .args(tests)
        .env("TZ", BERLIN)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{said}");
    assert!(said.contains(&format!("{} passed", tests.len())), "{said}");
}

/// That the zone is what it is meant to be in the second run.
fn check_zone() {
    if env::var("TZ").is_ok_and(|zone| zone == BERLIN) {
        let summer: Timestamp = "2026-07-01T00:00:00Z".parse().unwrap();
        let offset = TimeZone::system().to_offset(summer);
        assert_eq!(offset.seconds(), 2 * 3600);
    }
}

#[tokio::test]
async fn each_day_has_one_run_when_clocks_change() {
    check_zone();
    // 02:30 does not come in Berlin on the one day, and comes twice on the other.
    for days in [
        ["2026-03-28", "2026-03-29", "2026-03-30"],
        ["2026-10-24", "2026-10-25", "2026-10-26"],
    ] {
        let mut now: Timestamp = format!("{}T00:00:00Z", days[0]).parse().unwrap();
        let bench = Bench::with("30 2 * * *", &now.to_string()).await;
        assert_eq!(bench.at_once(&now.to_string()).await, None);
        let mut runs = Vec::new();
        for _ in 0..days.len() * 48 {
            if bench.at_once(&now.to_string()).await.is_some() {
                runs.push(now.to_string());
            }
            now += Duration::from_secs(1800);
        }
        assert_eq!(runs, days.map(|day| format!("{day}T02:30:00Z")));
    }
}

#[tokio::test]
async fn the_scheduler_itself_goes_by_utc() {
    check_zone();
    let mut scheduler = JobScheduler::new().await.unwrap();
    let timed = at("0 30 2 * * *", || async {}.boxed()).unwrap();
    let job = scheduler.add(timed).await.unwrap();
    scheduler.start().await.unwrap();
    let next = scheduler.next_tick_for_job(job).await.unwrap().unwrap();
    assert_eq!(next.format("%H:%M:%S").to_string(), "02:30:00");
    scheduler.shutdown().await.unwrap();
}

#[test]
fn days_weeks_and_months_of_snapshots_are_those_of_utc() {
    check_zone();
    let kept = |policy: &Policy, times: [&str; 3]| -> Vec<bool> {
        let facts = times.map(|at| Facts {
            id: Ulid::from_parts(
                at.parse::<Timestamp>()
                    .unwrap()
                    .as_millisecond()
                    .unsigned_abs(),
                0,
            ),
            taken_at: at.parse().unwrap(),
            verified: true,
            schema: None,
        });
        let now = "2027-06-01T00:00:00Z".parse().unwrap();
        let is_of_its_period = |reason: &Reason| {
            matches!(
                reason,
                Reason::OfItsDay | Reason::OfItsWeek | Reason::OfItsMonth
            )
        };
        let judged = judge(&facts, policy, &[], now).into_iter();
        judged
            .map(|(_, reasons)| reasons.iter().any(is_of_its_period))
            .collect()
    };
    let none = Policy {
        keep_for: Duration::ZERO,
        min_verified: 1,
        ..Policy::default()
    };
    // In Berlin the second and the third of each are of the same day, week or month.
    let days = Policy {
        daily: 2,
        ..none.clone()
    };
    for day in [
        [
            "2026-03-28T20:00:00Z",
            "2026-03-28T23:30:00Z",
            "2026-03-29T21:30:00Z",
        ],
        [
            "2026-10-24T20:00:00Z",
            "2026-10-24T22:30:00Z",
            "2026-10-25T22:30:00Z",
        ],
    ] {
        assert_eq!(kept(&days, day), [false, true, true], "{day:?}");
    }
    let weeks = Policy {
        weekly: 2,
        ..none.clone()
    };
    let sunday = [
        "2026-10-25T03:00:00Z",
        "2026-10-25T23:30:00Z",
        "2026-10-26T03:00:00Z",
    ];
    assert_eq!(kept(&weeks, sunday), [false, true, true]);
    let months = Policy { monthly: 2, ..none };
    let end = [
        "2026-03-31T03:00:00Z",
        "2026-03-31T22:30:00Z",
        "2026-04-01T03:00:00Z",
    ];
    assert_eq!(kept(&months, end), [false, true, true]);
}

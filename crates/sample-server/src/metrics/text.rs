//! The metrics written down.

use std::fmt::{Arguments, Write};

use super::{All, BUCKETS, Gauges, LastHealth, Series};

/// Everything in one text.
pub(super) fn write(
    series: &All,
    health: Option<&LastHealth>,
    under_way: usize,
    gauges: &Gauges<'_>,
) -> String {
    let mut text = Text::default();
    text.about("http_requests_total", "counter", "Requests answered.");
    for ((method, path), series) in series {
        for (status, count) in &series.by_status {
            text.sample(
                "http_requests_total",
                format_args!("method=\"{method}\",path=\"{path}\",status=\"{status}\""),
                count,
            );
        }
    }
    let name = "http_request_duration_seconds";
    text.about(
        name,
        "histogram",
        "Time from a request to the head of its answer.",
    );
    for ((method, path), series) in series {
        text.histogram(
            name,
            &format!("method=\"{method}\",path=\"{path}\""),
            series,
        );
    }
    let about = "Requests under way, this one among them.";
    text.gauge("http_requests_in_flight", about, under_way);
    connections(&mut text, gauges);
    let name = "river_jobs_in_flight";
    text.about(name, "gauge", "Jobs that are worked on.");
    let labels = format_args!("kind=\"sample\",slot=\"{}\"", gauges.job_slot);
    text.sample(name, labels, 0);
    let build = gauges.build;
    text.about("app_info", "gauge", "What was built.");
    text.sample(
        "app_info",
        format_args!(
            "active_slot=\"unknown\",build_date=\"{}\",commit=\"{}\",version=\"{}\"",
            build.date, build.git_commit, build.version
        ),
        1,
    );
    if let Some(health) = health {
        last_health(&mut text, health, gauges.slot);
    }
    text.0
}

fn connections(text: &mut Text, gauges: &Gauges<'_>) {
    let (open, idle) = (gauges.connections_open, gauges.connections_idle);
    text.gauge("db_connections_open", "Connections to the database.", open);
    text.gauge("db_connections_idle", "Those that wait.", idle);
    let in_use = open.saturating_sub(idle);
    text.gauge("db_connections_in_use", "Those that work.", in_use);
    let most = gauges.connections_most;
    text.gauge("db_connections_max_open", "The most there may be.", most);
}

/// Written only once health was asked for, as by the Togather server.
fn last_health(text: &mut Text, health: &LastHealth, slot: &str) {
    text.about(
        "health_check_status",
        "gauge",
        "0: fails, 1: warns, 2: passes.",
    );
    for (check, figure) in &health.checks {
        let labels = format_args!("check=\"{check}\",slot=\"{slot}\"");
        text.sample("health_check_status", labels, figure);
    }
    let about = "0: unhealthy, 1: degraded, 2: healthy.";
    text.about("health_status", "gauge", about);
    let labels = format_args!("slot=\"{slot}\"");
    text.sample("health_status", labels, health.status);
}

/// Text in which every name has the Togather server's prefix.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn about(&mut self, name: &str, kind: &str, about: &str) {
        self.line(format_args!("# HELP togather_{name} {about}"));
        self.line(format_args!("# TYPE togather_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: Arguments<'_>, value: impl std::fmt::Display) {
        self.line(format_args!("togather_{name}{{{labels}}} {value}"));
    }

    fn gauge(&mut self, name: &str, about: &str, value: impl std::fmt::Display) {
        self.about(name, "gauge", about);
        self.line(format_args!("togather_{name} {value}"));
    }

    fn histogram(&mut self, name: &str, labels: &str, series: &Series) {
        let bucket = format!("{name}_bucket");
        let mut within = 0;
        for ((_, bound), count) in BUCKETS.iter().zip(series.buckets) {
            within += count;
            self.sample(&bucket, format_args!("{labels},le=\"{bound}\""), within);
        }
        let count: u64 = series.by_status.values().sum();
        self.sample(&bucket, format_args!("{labels},le=\"+Inf\""), count);
        let labels = format_args!("{labels}");
        self.sample(&format!("{name}_sum"), labels, series.seconds);
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn line(&mut self, line: Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

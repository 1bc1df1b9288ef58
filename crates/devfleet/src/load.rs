//! Open-loop HTTP load on servers of this machine: requests leave at a fixed rate whether or not
//! earlier ones were answered, and a request's latency counts from the moment it was meant to leave.
//! A server that stalls is therefore charged for everybody who would have waited.
//!
//! Loopback addresses only, and never more requests or time than the bounds below.

mod command;
mod sample;
mod send;
mod table;
mod target;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Result, bail, ensure};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

pub(crate) use self::{
    command::{Wanted, command},
    sample::{Summary, Trace, Window, summarise},
    table::{plain, table},
    target::Target,
};
use self::{
    sample::{Kind, Sample, Samples},
    send::Sender,
};

/// The longest a load may go on.
pub(crate) const LONGEST: Duration = Duration::from_secs(900);
/// The highest rate, in requests a second to one target.
pub(crate) const FASTEST: u32 = 1000;
/// The most requests of one load, all targets together.
const MOST: u64 = 500_000;
/// The most requests to one target that may wait for an answer; those beyond are not sent, and
/// count as failed.
const UNANSWERED: usize = 512;

/// What to send where.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<Target>,
    /// Requests a second, to each target.
    pub(crate) rate: u32,
    /// The load ends by itself after this time.
    pub(crate) at_most: Duration,
}

impl Plan {
    fn check(&self) -> Result<()> {
        ensure!(!self.targets.is_empty(), "there is nothing to send to");
        if !(1..=FASTEST).contains(&self.rate) {
            bail!("the rate must be 1 to {FASTEST} requests a second to each target");
        }
        ensure!(
            self.at_most <= LONGEST,
            "a load lasts at most {} s",
            LONGEST.as_secs()
        );
        let requests = self.at_most.as_secs() * u64::from(self.rate) * self.targets.len() as u64;
        ensure!(
            requests <= MOST,
            "that would be {requests} requests; at most {MOST} are sent"
        );
        Ok(())
    }
}

/// A load under way. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Load {
    under_way: JoinSet<()>,
    traces: Vec<(Target, Arc<Samples>)>,
    stop: Arc<watch::Sender<bool>>,
}

/// Ends a load from elsewhere.
#[derive(Debug)]
pub(crate) struct Stopper(Arc<watch::Sender<bool>>);

impl Stopper {
    /// Sends no more.
    pub(crate) fn stop(&self) {
        // Those who listen have ended by themselves if this fails.
        let _ = self.0.send(true);
    }
}

impl Load {
    /// Begins to send.
    ///
    /// # Errors
    /// The plan breaks a bound; nothing was sent.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        plan.check()?;
        let (stop, stopped) = watch::channel(false);
        let mut under_way = JoinSet::new();
        let mut traces = Vec::new();
        for target in &plan.targets {
            let samples = Arc::new(Samples::default());
            traces.push((target.clone(), Arc::clone(&samples)));
            let run = Run {
                sender: Arc::new(Sender::new(target)),
                samples,
                period: Duration::from_secs(1) / plan.rate,
                at_most: plan.at_most,
            };
            under_way.spawn(run.send_all(stopped.clone()));
        }
        Ok(Self {
            under_way,
            traces,
            stop: Arc::new(stop),
        })
    }

    /// Requests answered so far and how many of them failed.
    pub(crate) fn so_far(&self) -> (usize, usize) {
        self.traces
            .iter()
            .map(|(_, samples)| samples.count())
            .fold((0, 0), |(sent, failed), (s, f)| (sent + s, failed + f))
    }

    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Sends no more, waits for the answers still to come, and hands everything back.
    pub(crate) async fn stop(self) -> Vec<Trace> {
        self.stopper().stop();
        self.end().await
    }

    /// Waits until the plan's time is over, and hands everything back.
    pub(crate) async fn end(mut self) -> Vec<Trace> {
        while self.under_way.join_next().await.is_some() {}
        self.traces
            .into_iter()
            .map(|(target, samples)| Trace {
                target: target.name,
                samples: samples.take(),
            })
            .collect()
    }
}

/// The load on one target.
struct Run {
    sender: Arc<Sender>,
    samples: Arc<Samples>,
    period: Duration,
    at_most: Duration,
}

impl Run {
    async fn send_all(self, mut stopped: watch::Receiver<bool>) {
        let (begun, begun_at) = (Instant::now(), SystemTime::now());
        let mut waiting = JoinSet::new();
        for number in 0_u32.. {
            let since = self.period * number;
            if since >= self.at_most {
                break;
            }
            let intended = begun + since;
            tokio::select! {
                () = sleep_until(intended) => {}
                _ = stopped.changed() => break,
            }
            while waiting.try_join_next().is_some() {}
            let kind = Kind::of(number);
            let at = begun_at + since;
            if waiting.len() >= UNANSWERED {
                let why = format!("not sent: {UNANSWERED} earlier requests wait for an answer");
                self.samples.add(Sample::failed(kind, at, why));
                continue;
            }
            let (sender, samples) = (Arc::clone(&self.sender), Arc::clone(&self.samples));
            waiting.spawn(async move {
                let answer = sender.send(kind, number).await;
                samples.add(Sample {
                    kind,
                    at,
                    took: intended.elapsed(),
                    resent: answer.resent,
                    result: answer.result,
                });
            });
        }
        while waiting.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;

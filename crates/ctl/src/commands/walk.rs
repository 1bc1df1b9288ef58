//! What `rollout` and `rollback` share once it is decided what to do: carry it out, tell what came
//! of it, and leave the nodes to themselves when Ctrl-C is pressed.

use std::time::Duration;

use clap::Args;
use togather_model::{Image, Release, rollout::Progress};
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, span};
use crate::{
    client::Archive,
    error::{Error, Kind, Result},
    rollout::{
        Course, carry_out,
        standing::{Standing, Standings},
        survey::Survey,
    },
    ui::{plans, plans::Plans, summary},
};

/// How patient a command is that waits for nodes.
#[derive(Args)]
pub(crate) struct Patience {
    /// For how long a node that gets out of reach on the way is tried again
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = span)]
    pub(super) retry_for: Duration,
}

/// Shows what the nodes would do.
pub(super) fn show(context: &Context, survey: &Survey) -> Result<()> {
    context.ui.data(|| plans::text(survey), &Plans::of(survey))
}

/// Where nodes stand that were asked and not yet touched.
pub(super) fn add_surveyed(standings: &mut Standings, survey: &Survey) {
    for answer in survey
        .plans
        .iter()
        .filter(|answer| answer.plan.is_already_done())
    {
        standings.set(&answer.plan.node, Progress::Unchanged.into());
    }
    for (node, error) in &survey.behind {
        standings.set(node, Standing::behind(error.clone()));
    }
}

/// The version that all nodes come to; `None`: they come to different ones.
pub(super) fn version(survey: &Survey) -> Option<String> {
    let plans = survey.plans.iter();
    let mut versions: Vec<&str> = plans.map(|answer| answer.plan.version.as_str()).collect();
    versions.dedup();
    match versions.as_slice() {
        [one] => Some((*one).to_owned()),
        _ => None,
    }
}

/// The archive that was given, if it is this release's.
pub(super) async fn archive(
    path: Option<&std::path::Path>,
    release: &Release,
) -> Result<Option<Archive>> {
    let Some(path) = path else { return Ok(None) };
    let Image::Archive { digest, .. } = release.image else {
        return Err(Error::usage(
            "this release's image is pulled from a registry: leave --archive out",
        ));
    };
    let archive = Archive::read(path).await?;
    if archive.digest != digest {
        return Err(
            Error::usage(format!("{} is not this release's image", path.display())).cause(format!(
                "its digest is {}, the release names {digest}",
                archive.digest
            )),
        );
    }
    Ok(Some(archive))
}

/// The archive and the nodes it has to be sent to.
pub(super) fn to_send(
    archive: Option<Archive>,
    survey: &Survey,
) -> Result<Option<(Archive, Vec<String>)>> {
    let lacking = survey.lack_image();
    match archive {
        _ if lacking.is_empty() => Ok(None),
        Some(archive) => Ok(Some((archive, lacking))),
        None => Err(Error::usage(format!(
            "the release's image comes as an archive, and these nodes lack it: {}",
            lacking.join(", ")
        ))
        .next("give the file that `docker save` wrote: --archive FILE")),
    }
}

/// Carries it out and tells what came of it.
pub(super) async fn walk(
    context: &Context,
    course: Course<'_>,
    standings: Standings,
) -> Result<()> {
    // Installed before anything is ordered, so that no order goes out without it.
    let interrupted = interruption()?;
    let summary = tokio::select! {
        summary = Box::pin(carry_out(&course, standings)) => summary?,
        () = interrupted => return Err(left_alone(context, &course)),
    };
    context.ui.data(|| summary::text(&summary), &summary)?;
    summary
        .error(|rest| context.command(rest))
        .map_or(Ok(()), Err)
}

fn left_alone(context: &Context, course: &Course<'_>) -> Error {
    let error = Error::new(
        Kind::Interrupted,
        "interrupted; a node that is in the middle of a deployment finishes on its own, and no \
         other is begun",
    );
    if course.stored.is_some() {
        let resume = context.command(&format!("rollout resume {}", course.rollout.id));
        error.next(format!("to go on: {resume}"))
    } else {
        error.next(format!(
            "to see where the nodes are: {}",
            context.command("status")
        ))
    }
}

/// Ends when the operator, or the system, wants this program to end.
pub(super) fn interruption() -> Result<impl Future<Output = ()>> {
    let cannot = |error| Error::other("cannot listen for Ctrl-C").because(&error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

//! What `rollout`, `redeploy` and `rollback` share: ask the nodes and the operator, carry it out, tell
//! what came of it, and leave the nodes to themselves when Ctrl-C is pressed.

use bytes::Bytes;
use togather_model::{
    Image, Release,
    rollout::{Progress, Rollout},
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, pace::Consent};
use crate::{
    client::{Archive, Client, Wanted},
    error::{Error, Kind, Result},
    fleet::Node,
    rollout::{
        Course, carry_out,
        standing::{Standing, Standings},
        stored,
        survey::{Survey, survey},
    },
    session::Session,
    ui::{plans, plans::Plans, summary},
};

/// What a command wants of nodes, before they were asked.
pub(super) struct Intent {
    pub(super) rollout: Rollout,
    pub(super) wanted: Wanted,
    /// The release's bytes, kept by the nodes so that the rollout can be gone on with from any machine;
    /// `None`: it cannot.
    pub(super) stored: Option<Bytes>,
    pub(super) archive: Option<Archive>,
    pub(super) prefetch: bool,
    /// What is asked before anything is changed, of a version and a number of nodes.
    pub(super) question: fn(&str, usize) -> String,
    /// What is said for the version where nodes come to different ones.
    pub(super) unnamed: &'static str,
    /// What is said where no node has anything to do.
    pub(super) nothing: &'static str,
}

/// A session that signs only where something may be changed.
pub(super) fn session(context: &Context, consent: &Consent) -> Result<Session> {
    match consent.dry_run {
        true => context.session(),
        false => context.signing_session(),
    }
}

/// The names of these nodes.
pub(super) fn names(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| node.name.to_string()).collect()
}

/// So many nodes, in words.
pub(super) fn nodes(count: usize) -> String {
    match count {
        1 => "1 node".to_owned(),
        many => format!("{many} nodes"),
    }
}

/// Asks every node what it would do, shows it, asks the operator, and carries it out.
pub(super) async fn survey_and_walk(
    context: &Context,
    clients: Vec<Client>,
    intent: Intent,
    consent: &Consent,
) -> Result<()> {
    let Intent {
        mut rollout,
        wanted,
        ..
    } = intent;
    let survey = survey(&clients, &rollout, &wanted).await?;
    if rollout.version.is_empty() {
        rollout.version = version(&survey).unwrap_or_else(|| intent.unnamed.to_owned());
    }
    show(context, &survey)?;
    let archive = to_send(intent.archive, &survey)?;
    if consent.dry_run {
        return Ok(());
    }
    if survey.to_change().next().is_none() {
        context.ui.say(intent.nothing);
        let lost = survey.behind.into_iter().map(|(_, error)| error);
        return Error::several(lost).map_or(Ok(()), Err);
    }
    let question = (intent.question)(&rollout.version, rollout.nodes.len());
    context.ui.confirm(&question, consent.yes)?;

    let mut standings = Standings::default();
    add_surveyed(&mut standings, &survey);
    let stored = intent
        .stored
        .map(|release| stored::write(&rollout, release));
    let stored = stored
        .transpose()
        .map_err(|why| Error::other("the rollout cannot be written down").cause(why))?;
    let reporter = context.ui.reporter();
    let course = Course {
        rollout,
        wanted,
        stored,
        taken_up: false,
        archive,
        prefetch: intent.prefetch,
        clients,
        patience: consent.patience.retry_for,
        news: reporter.as_ref(),
    };
    walk(context, course, standings).await
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
fn version(survey: &Survey) -> Option<String> {
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
    let summary = Box::pin(carry_out(&course, standings, interrupted)).await?;
    let summary = summary.ok_or_else(|| left_alone(context, &course))?;
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

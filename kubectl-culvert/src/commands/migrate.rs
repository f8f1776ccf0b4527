//! `migrate`: the effects of [`crate::migrate`].

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::clock;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::duration;
use crate::exit::{self, Exit};
use crate::migrate::{self, KINDS, Migration};
use crate::output::{self, Progress};
use crate::request::{Ask, Failure, Role, Why, patch_params};
use crate::{Error, error, world};

const EXAMPLES: &str = "\
Examples:
  # What there is to do
  kubectl culvert migrate --dry-run

  # After an upgrade whose notes say so, and before one that takes an old version of the API away
  kubectl culvert migrate";

/// How many objects are asked for at a time.
const PAGE: u32 = 500;

/// How many are written side by side.
const AT_ONCE: usize = 8;

/// How often a request is made whose failure may pass.
const TRIES: u32 = 5;

/// How long it is waited before the second try; before each further one, twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// How many objects are named that were refused.
const NAMED: usize = 10;

/// Flags of `migrate`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
pub struct Args {
    /// Say what there is to do, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Does what was asked. What is refused keeps nothing else from being written; it keeps its kind's old versions.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?.for_role(Role::Installer);
    let definitions = definitions(&cluster).await?;
    if !args.dry_run {
        settle(&cluster, &definitions, context).await?;
    }
    let mut refused = Vec::new();
    for (resource, definition) in definitions {
        let said = match migrate::plan(&definition) {
            None => "stored in one version, nothing to do".to_owned(),
            Some(Migration { stored, older, .. }) if args.dry_run => {
                format!(
                    "to be written again as {stored}, so that {} may go",
                    older.join(", ")
                )
            }
            Some(migration) => {
                let written = whole(&cluster, resource, definition, &migration, context).await;
                let (stored, older) = (migration.stored, migration.older.join(", "));
                match written {
                    Ok(count) => format!("{count} written again as {stored}; {older} may go"),
                    Err(failures) => {
                        refused.extend(failures);
                        format!("could not all be written again; {older} may not go yet")
                    }
                }
            }
        };
        output::line(&format!("{resource:<18} {said}"))?;
    }
    let more = refused.len().saturating_sub(NAMED);
    let mut refused = refused.into_iter().take(NAMED).map(Error::from);
    let Some(first) = refused.next() else {
        return Ok(Exit::Done);
    };
    for other in refused {
        error::print(&other, context.screen);
    }
    if more > 0 {
        output::note(&format!("and {more} more"));
    }
    Err(first)
}

/// The definitions of all kinds that the cluster knows: of one at least.
async fn definitions(cluster: &Cluster) -> Result<Vec<(&'static str, CustomResourceDefinition)>, Failure> {
    let api = cluster.all::<CustomResourceDefinition>();
    let mut found = Vec::new();
    for resource in KINDS {
        let name = migrate::definition_of(resource);
        let ask = Ask::cluster("get", "customresourcedefinitions").named(&name);
        let definition = cluster.ask(ask, api.get_opt(&name)).await?;
        found.extend(definition.map(|definition| (resource, definition)));
    }
    if found.is_empty() {
        let ask = Ask::cluster("list", KINDS[0]).into();
        let why = Why::NoSuchKind;
        return Err(Failure { ask, why });
    }
    Ok(found)
}

/// Waits until every apiserver knows the definitions of which there is something to do.
async fn settle(
    cluster: &Cluster,
    definitions: &[(&'static str, CustomResourceDefinition)],
    context: &Context,
) -> Result<(), Failure> {
    let now = world::server(cluster).await?.there;
    let wait = definitions
        .iter()
        .filter(|(_, definition)| migrate::plan(definition).is_some())
        .map(|(_, definition)| migrate::settles(definition, now))
        .max()
        .unwrap_or_default();
    if !wait.is_zero() {
        let mut progress = Progress::new(context.screen);
        let text = duration::text(wait);
        progress.show(&format!(
            "waiting for {text}, until every apiserver knows the definitions"
        ));
        clock::until(clock::now().boot + wait).await;
        progress.end();
    }
    Ok(())
}

/// Has every object of a kind written, and the definition's list cut; gives their number, or all that was refused.
async fn whole(
    cluster: &Cluster,
    resource: &'static str,
    definition: CustomResourceDefinition,
    migration: &Migration,
    context: &Context,
) -> Result<usize, Vec<Failure>> {
    let objects = all(cluster, resource, migration)
        .await
        .map_err(|failure| vec![failure])?;
    let mut progress = Progress::new(context.screen);
    let count = objects.len();
    let mut writes = futures::stream::iter(objects)
        .map(|object| write(cluster, resource, migration, object))
        .buffer_unordered(AT_ONCE)
        .enumerate();
    let mut failures = Vec::new();
    while let Some((before, written)) = writes.next().await {
        progress.show(&format!("{resource}: {} of {count}", before + 1));
        if let Err(failure) = written {
            // What is about no object in particular would be so for each.
            let is_last = failure.is_unclear() || matches!(failure.why, Why::Denied | Why::Unauthenticated);
            failures.push(failure);
            if is_last {
                break;
            }
        }
    }
    progress.end();
    if failures.is_empty() {
        let cut = cut(cluster, definition, migration).await;
        cut.map_err(|failure| vec![failure])?;
        return Ok(count);
    }
    Err(failures)
}

/// An object, as it is named to the apiserver.
struct Named {
    namespace: Option<String>,
    name: String,
}

/// The names of all objects of a kind: without their contents, which may be many.
async fn all(
    cluster: &Cluster,
    resource: &'static str,
    migration: &Migration,
) -> Result<Vec<Named>, Failure> {
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &migration.through);
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = cluster.ask(Ask::cluster("list", resource), api.list_metadata(&params));
        let page = page.await?;
        found.extend(page.items.into_iter().map(|object| Named {
            namespace: object.namespace(),
            name: object.name_any(),
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// A change of nothing: what is stored differs from what would be, so that it is written.
async fn write(
    cluster: &Cluster,
    resource: &'static str,
    migration: &Migration,
    object: Named,
) -> Result<(), Failure> {
    let Named { namespace, name } = object;
    let client = cluster.client.clone();
    let (api, ask): (Api<DynamicObject>, Ask) = match &namespace {
        Some(namespace) => (
            Api::namespaced_with(client, namespace, &migration.through),
            Ask::within("patch", resource, namespace),
        ),
        None => (
            Api::all_with(client, &migration.through),
            Ask::cluster("patch", resource),
        ),
    };
    let ask = ask.named(&name);
    let (params, nothing) = (patch_params(), Patch::Merge(json!({})));
    let mut tries = 1;
    loop {
        let write = api.patch_metadata(&name, &params, &nothing);
        match cluster.ask(ask.clone(), write).await {
            // What is gone, or was written by somebody else meanwhile, needs it no more.
            Err(failure) if matches!(failure.why, Why::NotFound | Why::Conflict) => return Ok(()),
            Err(failure) if failure.may_pass() && tries < TRIES => {}
            result => return result.map(drop),
        }
        clock::pause(PAUSE * 2_u32.pow(tries - 1)).await;
        tries += 1;
    }
}

/// Cuts a definition's list to the version that is stored.
async fn cut(
    cluster: &Cluster,
    mut definition: CustomResourceDefinition,
    migration: &Migration,
) -> Result<(), Failure> {
    let name = definition.name_any();
    let definitions = cluster.all::<CustomResourceDefinition>();
    let about = |verb| Ask::cluster(verb, "customresourcedefinitions").named(&name);
    let params = patch_params();
    let mut tries = 0;
    loop {
        let patch = Patch::Merge(migrate::cut(&definition, migration));
        let cut = definitions.patch_status(&name, &params, &patch);
        match cluster.ask(about("patch"), cut).await {
            Err(failure) if matches!(failure.why, Why::Conflict) && tries < TRIES => {
                definition = cluster.ask(about("get"), definitions.get(&name)).await?;
                // Were anything else stored by now, what was written would be of no use.
                if migrate::plan(&definition).as_ref() != Some(migration) {
                    return Err(failure);
                }
                tries += 1;
            }
            result => return result.map(drop),
        }
    }
}

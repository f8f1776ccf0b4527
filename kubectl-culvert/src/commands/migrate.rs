//! `migrate`: the effects of [`crate::migrate`].

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::Error;
use crate::cluster::Cluster;
use crate::commands::Context;
use crate::exit::{self, Exit};
use crate::gateways::list;
use crate::migrate::{self, KINDS, Migration};
use crate::output::{self, Progress};
use crate::request::{Ask, Failure, Role, Why, patch_params};

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

/// How often the list of a definition is cut that somebody else's write was faster than.
const TRIES: u8 = 5;

/// Flags of `migrate`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Writes))]
pub struct Args {
    /// Say what there is to do, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// An object, as it is named to the apiserver.
struct Named {
    namespace: Option<String>,
    name: String,
}

/// Does what was asked.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?.for_role(Role::Installer);
    let definitions: Vec<CustomResourceDefinition> = list(&cluster, "customresourcedefinitions").await?;
    let mut is_known = false;
    for resource in KINDS {
        let name = migrate::definition_of(resource);
        let Some(definition) = definitions.iter().find(|one| one.name_any() == name) else {
            continue;
        };
        is_known = true;
        let said = match migrate::plan(definition) {
            None => "stored in one version, nothing to do".to_owned(),
            Some(migration) if args.dry_run => {
                let Migration { stored, older, .. } = migration;
                format!(
                    "to be written again as {stored}, so that {} may go",
                    listed(&older)
                )
            }
            Some(migration) => {
                let count = write_again(&cluster, resource, &migration, context).await?;
                cut(&cluster, definition.clone(), &migration).await?;
                let Migration { stored, older, .. } = migration;
                format!("{count} written again as {stored}; {} may go", listed(&older))
            }
        };
        output::line(&format!("{resource:<18} {said}"))?;
    }
    if is_known {
        return Ok(Exit::Done);
    }
    let ask = Ask::cluster("list", KINDS[0]).into();
    let why = Why::NoSuchKind;
    Err(Failure { ask, why }.into())
}

fn listed(versions: &[String]) -> String {
    versions.join(", ")
}

/// Has every object of a kind written, as it is, and gives their number. What has changed or gone meanwhile needs it no more.
async fn write_again(
    cluster: &Cluster,
    resource: &'static str,
    migration: &Migration,
    context: &Context,
) -> Result<usize, Error> {
    let objects = all(cluster, resource, migration).await?;
    let mut progress = Progress::new(context.screen);
    let count = objects.len();
    let mut writes = futures::stream::iter(objects)
        .map(|object| write(cluster, resource, migration, object))
        .buffer_unordered(AT_ONCE)
        .enumerate();
    while let Some((done, written)) = writes.next().await {
        written?;
        progress.show(&format!("{resource}: {done} of {count}"));
    }
    Ok(count)
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
    let (params, nothing) = (patch_params(), Patch::Merge(json!({})));
    let write = api.patch_metadata(&name, &params, &nothing);
    match cluster.ask(ask.named(&name), write).await {
        Err(failure) if !matches!(failure.why, Why::NotFound) => Err(failure),
        _ => Ok(()),
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

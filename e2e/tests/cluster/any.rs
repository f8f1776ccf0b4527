//! Whatever cluster there is: `CULVERT_CLUSTER=kubeconfig` takes the one that `KUBECONFIG` names.

use anyhow::Result;

use crate::{access, traffic, uninstall, world::World};

#[tokio::test]
async fn a_release_is_installed_upgraded_and_uninstalled() -> Result<()> {
    let world = if std::env::var("CULVERT_CLUSTER").is_ok_and(|value| value == "kubeconfig") {
        World::of_kubeconfig().await?
    } else {
        World::bare(2).await?
    };
    world.install().await?;
    traffic::upgrades_keep_tunnels(&world).await?;
    access::helm_test_passes(&world).await?;
    access::a_user_sees_no_other_teams_keys(&world).await?;
    access::rules_hold_without_an_operator(&world).await?;
    access::programs_have_the_rights_that_are_written_down(&world).await?;
    uninstall::a_release_leaves_nodes_clean_and_keys_as_they_were(&world, 300).await
}

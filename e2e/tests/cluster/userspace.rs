//! Three nodes on which WireGuard is a program.

use anyhow::Result;

use crate::{faults, traffic, uninstall, world::World};

#[tokio::test]
async fn tunnels_come_back_after_what_is_done_to_a_cluster() -> Result<()> {
    let mut world = World::bare(3).await?;
    world.install().await?;
    traffic::two_keys_have_tunnels_through_two_gateways(&mut world).await?;
    traffic::restarts_keep_tunnels(&world).await?;
    traffic::a_rotation_loses_no_ping(&world).await?;
    traffic::a_purge_forgets_everybody(&world).await?;
    traffic::upgrades_keep_tunnels(&world).await?;
    faults::another_operator_goes_on(&world).await?;
    faults::a_drained_node_is_clean(&world).await
}

#[tokio::test]
async fn a_release_comes_and_goes_with_ten_thousand_keys() -> Result<()> {
    let world = World::bare(3).await?;
    world.install().await?;
    uninstall::a_release_leaves_nodes_clean_and_keys_as_they_were(&world, 10_000).await
}

//! Nodes whose kernel has WireGuard.

use anyhow::Result;

use crate::{access, faults, logs, traffic, world::World, written};

#[tokio::test]
async fn tunnels_outlive_what_is_done_to_a_cluster() -> Result<()> {
    let mut world = World::bare(2).await?;
    world.install().await?;
    traffic::two_keys_have_tunnels_through_two_gateways(&mut world).await?;
    traffic::restarts_keep_tunnels(&world).await?;
    traffic::a_rotation_loses_no_ping(&world).await?;
    traffic::a_purge_forgets_everybody(&world).await?;
    traffic::upgrades_keep_tunnels(&world).await
}

#[tokio::test]
async fn tunnels_outlive_what_befalls_a_cluster() -> Result<()> {
    let mut world = World::bare(2).await?;
    world.install().await?;
    traffic::two_keys_have_tunnels_through_two_gateways(&mut world).await?;
    faults::an_outage_of_the_apiserver_ends_nothing(&world).await?;
    faults::another_operator_goes_on(&world).await?;
    faults::a_drained_node_is_clean(&world).await?;
    faults::a_killed_node_leaves_the_others_serving(&mut world).await
}

#[tokio::test]
async fn programs_keep_to_themselves() -> Result<()> {
    let mut world = World::bare(2).await?;
    world.install().await?;
    traffic::two_keys_have_tunnels_through_two_gateways(&mut world).await?;
    access::an_agent_writes_for_its_own_node_alone(&world).await?;
    access::metrics_ask_who_it_is_and_tell_of_nobody(&world).await?;
    logs::logs_are_read_by_whoever_has_the_role(&world).await
}

#[tokio::test]
async fn the_documentation_is_right() -> Result<()> {
    let world = World::bare(2).await?;
    written::the_documentation_is_right(&world).await
}

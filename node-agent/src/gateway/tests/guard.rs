//! The tables that keep clients where they belong.

use super::*;
use crate::plan::drift::Drift;

impl Bed {
    fn table(&self) -> Option<String> {
        self.kernel.table(&uid(200).to_string())
    }

    fn egress(&self) -> Option<Reason> {
        self.gateway.state().egress
    }

    /// Another agent takes the place of the one that has died.
    async fn restart(&mut self) {
        let mut found = look_through(&mut self.kernel, &self.keystore, &self.metrics)
            .await
            .unwrap();
        self.gateway = found.remove(&self.assignment.mark.gateway).unwrap();
        let known = self.desired.lock().known();
        self.gateway.news(&known);
    }

    fn has_counted(&self, drift: Drift) -> bool {
        let counted = format!("culvert_agent_repaired_total{{drift=\"{}\"}} 1", drift.as_str());
        self.metrics.encode().unwrap().contains(&counted)
    }
}

#[tokio::test]
async fn a_table_stands_before_its_link_is_up() {
    let mut bed = Bed::new(1);
    let calls = bed.tick(5).await;
    let at = |wanted: &Call| calls.iter().position(|call| call == wanted).unwrap();
    assert!(at(&Call::Create) < at(&Call::Apply));
    assert!(at(&Call::Apply) < at(&Call::Shape(Shape::Up)));
    let ifindex = bed.kernel.links()[0].ifindex;
    assert!(
        bed.table()
            .unwrap()
            .contains(&format!("iif {ifindex} goto from_tunnel"))
    );
    assert_eq!(bed.egress(), Some(Reason::Ready));
}

#[tokio::test]
async fn without_its_table_a_link_stays_down_and_says_why() {
    let mut bed = Bed::new(1);
    bed.kernel.fail_every(Call::Apply, Failure::Eperm);
    let error = bed.try_tick(5).await.unwrap_err();
    assert!(matches!(error, PassError::Firewall(_)), "{error}");
    assert!(!bed.kernel.links()[0].up);
    assert_eq!(bed.gateway.state().failure, Some(Reason::FirewallError));
    assert_eq!(bed.egress(), Some(Reason::FirewallError));
    bed.kernel.fail_no_more();
    bed.tick(5).await;
    assert!(bed.kernel.links()[0].up);
    assert_eq!(
        (bed.gateway.state().failure, bed.egress()),
        (None, Some(Reason::Ready))
    );
}

#[tokio::test]
async fn a_link_that_is_up_stays_up_when_its_new_table_is_refused() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    let old = bed.table();
    bed.assignment.egress.deny = vec!["203.0.113.0/24".parse().unwrap()];
    bed.kernel.fail_every(Call::Apply, Failure::Eperm);
    bed.tick(5).await;
    assert!(bed.kernel.links()[0].up);
    assert_eq!(bed.table(), old);
    assert_eq!(bed.egress(), Some(Reason::FirewallError));
    assert_eq!(served(&bed), [1]);
    bed.kernel.fail_no_more();
    assert_eq!(bed.tick(5).await, [Call::Apply]);
    assert!(bed.table().unwrap().contains("203.0.113.0/24"));
    assert_eq!(bed.egress(), Some(Reason::Ready));
}

#[tokio::test]
async fn a_link_whose_table_is_gone_and_refused_is_set_down_until_it_has_one() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    bed.kernel.flush_ruleset();
    bed.kernel.fail_every(Call::Apply, Failure::Eperm);
    let error = bed.try_tick(5).await.unwrap_err();
    assert!(matches!(error, PassError::Firewall(_)), "{error}");
    assert!(!bed.kernel.links()[0].up);
    assert_eq!(bed.gateway.state().failure, Some(Reason::FirewallError));
    bed.kernel.fail_no_more();
    bed.tick(5).await;
    assert!(bed.kernel.links()[0].up && bed.table().is_some());
    assert_eq!(bed.gateway.state().failure, None);
}

#[tokio::test]
async fn tables_that_are_flushed_are_made_again_and_counted() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    let table = bed.table();
    bed.kernel.flush_ruleset();
    assert_eq!(bed.tick(5).await, [Call::Apply]);
    assert_eq!(bed.table(), table);
    assert!(bed.has_counted(Drift::Table));
}

#[tokio::test]
async fn what_others_change_elsewhere_changes_nothing() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    bed.kernel.change_other_rules();
    let before = bed.kernel.made();
    assert_eq!(bed.tick(5).await, []);
    assert!(bed.kernel.calls_from(before).contains(&Call::ReadTable));
    // And is not looked at twice.
    let before = bed.kernel.made();
    bed.tick(5).await;
    assert!(!bed.kernel.calls_from(before).contains(&Call::ReadTable));
    assert!(!bed.has_counted(Drift::Table));
}

#[tokio::test]
async fn a_gateway_that_leaves_takes_its_tables_with_it_and_whom_its_clients_have_talked_to() {
    for departure in [Departure::ForNow, Departure::ForGood] {
        let mut bed = Bed::new(1);
        bed.tick(5).await;
        bed.leave(departure).await.unwrap();
        assert_eq!(bed.table(), None);
        assert_eq!(bed.gateway.take_flows(), [IpAddr::from([10, 64, 0, 2])]);
    }
}

#[tokio::test]
async fn what_the_node_lacks_is_said_in_the_order_of_what_it_takes_to_get_out() {
    let mut bed = Bed::new(1);
    bed.kernel.overrule(true);
    bed.tick(5).await;
    assert_eq!(bed.egress(), Some(Reason::OtherFirewall));
    bed.assignment.egress.source_addresses = vec!["203.0.113.7".parse().unwrap()];
    bed.tick(5).await;
    assert_eq!(bed.egress(), Some(Reason::SourceAddressMissing));
    assert!(bed.table().unwrap().contains("meta nfproto ipv4 drop"));
    bed.kernel.set_lacks(Some(Reason::ForwardingDisabled));
    bed.tick(5).await;
    assert_eq!(bed.egress(), Some(Reason::ForwardingDisabled));
    bed.kernel.set_lacks(None);
    bed.kernel.overrule(false);
    bed.kernel.make("eth0", "veth", None);
    bed.kernel
        .shape_by_hand("eth0", Shape::Add("203.0.113.7/24".parse().unwrap()));
    bed.tick(5).await;
    assert_eq!(bed.egress(), Some(Reason::Ready));
    assert!(bed.table().unwrap().contains("snat ip to 203.0.113.7"));
}

#[tokio::test]
async fn what_the_way_out_takes_is_said_at_the_next_tick() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    assert_eq!(bed.gateway.state().uplink_mtu, None);
    bed.kernel.set_uplink_mtu(1_400);
    bed.tick(5).await;
    assert_eq!(bed.gateway.state().uplink_mtu, Some(1_400));
}

#[tokio::test]
async fn a_range_that_the_cluster_gets_is_closed_at_once() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    bed.assignment.egress.cluster = vec!["203.0.113.0/28".parse().unwrap()];
    bed.pass(false).await.unwrap();
    assert!(bed.table().unwrap().contains("203.0.113.0/28"));
}

#[tokio::test]
async fn an_agent_that_starts_closes_what_it_finds_without_a_table_until_it_knows_more() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    let table = bed.table();
    bed.kernel.flush_ruleset();
    bed.restart().await;
    let number = bed.kernel.links()[0].ifindex;
    let own: Vec<IpAddr> = bed.assignment.addresses().iter().map(IpNet::addr).collect();
    let closed = rules::closed(&bed.assignment.mark.gateway, number, 51_820, &own);
    assert_eq!(bed.table(), Some(closed));
    assert!(bed.kernel.links()[0].up && bed.has_counted(Drift::Table));
    bed.tick(5).await;
    assert_eq!(bed.table(), table);
}

#[tokio::test]
async fn an_agent_that_starts_leaves_a_table_as_it_finds_it() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    let table = bed.table();
    bed.restart().await;
    assert_eq!(bed.table(), table);
}

#[tokio::test]
async fn an_agent_that_starts_and_cannot_close_sets_the_link_down() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    bed.kernel.flush_ruleset();
    bed.kernel.fail_every(Call::Apply, Failure::Eperm);
    bed.restart().await;
    assert!(!bed.kernel.links()[0].up);
    bed.kernel.fail_no_more();
    bed.tick(5).await;
    assert!(bed.kernel.links()[0].up && bed.table().is_some());
}

#[tokio::test]
async fn what_is_closed_and_nobody_asks_for_is_read_again_only_when_something_changes() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    bed.kernel.flush_ruleset();
    bed.restart().await;
    let closed = bed.table();
    let close = async |bed: &mut Bed| {
        bed.on(async |gateway, on, _| gateway.close(on).await)
            .await
            .unwrap();
    };
    close(&mut bed).await;
    let before = bed.kernel.made();
    close(&mut bed).await;
    assert_eq!(bed.kernel.calls_from(before), [Call::Generation]);
    bed.kernel.flush_ruleset();
    close(&mut bed).await;
    assert_eq!(bed.table(), closed);
}

#[tokio::test]
async fn a_link_whose_table_is_gone_is_set_down_though_nothing_can_be_run() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    bed.kernel.flush_ruleset();
    for call in [Call::Apply, Call::ReadTable, Call::Chains, Call::Tables] {
        bed.kernel.fail_every(call, Failure::Eperm);
    }
    bed.try_tick(5).await.unwrap_err();
    assert!(!bed.kernel.links()[0].up);
    // And so does one that starts.
    bed.kernel.fail_no_more();
    bed.tick(5).await;
    bed.kernel.flush_ruleset();
    for call in [Call::Apply, Call::ReadTable, Call::Chains, Call::Tables] {
        bed.kernel.fail_every(call, Failure::Eperm);
    }
    bed.restart().await;
    assert!(!bed.kernel.links()[0].up);
}

#[tokio::test]
async fn a_gateway_that_keeps_its_old_port_has_it_in_its_table() {
    let mut bed = Bed::new(1);
    bed.tick(5).await;
    bed.assignment.listen_port = 1_194;
    bed.kernel.occupy(1_194);
    bed.try_tick(5).await.unwrap_err();
    bed.try_tick(5).await.unwrap_err();
    let both = "udp dport { 1194, 51820 } fib daddr type local notrack";
    assert!(bed.table().unwrap().contains(both));
    assert_eq!(bed.gateway.port(), Some(51_820));
    bed.kernel.vacate(1_194);
    bed.tick(5).await;
    bed.tick(5).await;
    let one = "udp dport 1194 fib daddr type local notrack";
    assert!(bed.table().unwrap().contains(one));
}

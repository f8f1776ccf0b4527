//! Which tables nftables has, beside what its own program says.

use culvert_wireguard::netlink::nftables::has_table;

use super::harness::output;

#[test]
fn a_table_is_there_from_the_moment_it_is_made_to_the_moment_it_goes() {
    let name = "culvert-contract";
    assert!(!has_table(name).unwrap());
    // The same name in another family is another table.
    output("nft", &["add", "table", "ip", name]);
    assert!(!has_table(name).unwrap());
    output("nft", &["add", "table", "inet", name]);
    assert!(has_table(name).unwrap());
    assert!(!has_table("culvert-contrac").unwrap());
    output("nft", &["delete", "table", "inet", name]);
    assert!(!has_table(name).unwrap());
    output("nft", &["delete", "table", "ip", name]);
}

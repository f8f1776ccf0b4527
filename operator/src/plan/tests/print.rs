//! Whatever the planner holds may be printed by mistake: public keys and addresses are not in it.

use std::fmt::Write as _;

use super::*;

/// The shapes in which a key's canaries would be found.
fn canaries(public_key: PublicKey, addresses: &[IpAddr]) -> Vec<String> {
    let bytes = public_key.as_bytes();
    let mut shapes = vec![
        public_key.to_base64(),
        format!("{:?}", &bytes[..4]).trim_matches(['[', ']']).to_owned(),
        format!("{:02x}{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2], bytes[3]),
    ];
    for address in addresses {
        shapes.extend([address.to_string(), address.to_string().replace(':', "-")]);
        match address {
            IpAddr::V4(v4) => {
                let list = format!("{:?}", v4.octets());
                shapes.extend([
                    list.trim_matches(['[', ']']).to_owned(),
                    u32::from(*v4).to_string(),
                ]);
            }
            IpAddr::V6(v6) => shapes.push(u128::from(*v6).to_string()),
        }
    }
    shapes
}

#[test]
fn public_keys_and_addresses_do_not_print() {
    let mut bed = Bed::new("10.64.0.0/24");
    bed.add_gateway();
    let mut laptop = key("laptop", 201);
    laptop.public_key = Some(PublicKey::from_bytes([201; 32]));
    bed.put_key(laptop);
    let mut printed = String::new();
    let mut addresses = Vec::new();
    let mut has_released = false;
    // From the claim to its end, with all that is planned for it, and what there is meanwhile.
    for _ in 0..40 {
        let plan = bed.plan();
        write!(printed, "{plan:?} {plan:#?}").unwrap();
        for (_, step) in plan.steps {
            if let Step::CreateClaim(new) = &step {
                bed.promised.add(new);
                bed.promised.doubt(new.clone());
            }
            write!(printed, "{:?} {:?}", bed.promised, step).unwrap();
            bed.execute(step);
        }
        let claims: Vec<_> = bed.world.claims().map(|claim| claim.to_claim()).collect();
        let keys: Vec<_> = bed.world.keys().map(owned).collect();
        write!(printed, "{:?} {:#?} {claims:?} {keys:?}", bed.world, bed.world).unwrap();
        for claim in &claims {
            addresses.extend(claim.addresses.iter());
            if claim.released {
                has_released = true;
            }
        }
        let version = bed.version;
        bed.report("a", Some(version), &[]);
        if bed.ready("laptop") == Some(Reason::Ready) {
            bed.change_key("laptop", |key| key.suspend = true);
        }
        bed.pass(60);
    }
    assert!(
        has_released && bed.world.claims().next().is_none(),
        "not to the end"
    );
    assert_eq!(addresses.len() % 2, 0);
    for part in [
        "CreateClaim",
        "PublishKey",
        "ReleaseClaim",
        "DeleteClaim",
        "FreeV4",
        "Promised",
    ] {
        assert!(printed.contains(part), "no {part} was printed");
    }
    for canary in canaries(PublicKey::from_bytes([201; 32]), &addresses) {
        assert!(!printed.contains(&canary), "{canary} was printed");
    }
    assert!(
        !printed.contains("words"),
        "which addresses are taken was printed"
    );
}

//! Keys, as tenants write them.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{attempt, offer, plane, refuses, takes};
use crate::fixture::{key, public_key};

const SHAPE: &str = "publicKey must be 44 base64 characters encoding 32 bytes";
const POINT: &str = "publicKey is a low-order or non-canonical point that protects nothing";

#[tokio::test]
async fn admit_refuses_texts_that_are_no_public_key() -> Result<()> {
    for text in [
        "not base64 at all, but forty-four characters",
        "",
        // 31 and 33 bytes.
        "CQEJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQ==",
        "CQEJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ",
        // Aliases of one key: the last sextet's unused bits are set.
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Di=",
        // URL-safe letters, white space, a newline, no padding.
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZq_8Dg=",
        " TIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg",
        // Bit 255 is set.
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA=",
    ] {
        refuses(&key("bad", text), SHAPE, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_points_that_protect_nothing() -> Result<()> {
    for text in [
        // 0, 1, the two points of order 8, p - 1, p, p + 1, and the largest number below 2^255.
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
        "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
        "7P///////////////////////////////////////38=",
        "7f///////////////////////////////////////38=",
        "7v///////////////////////////////////////38=",
        "/////////////////////////////////////////38=",
    ] {
        refuses(&key("bad", text), POINT, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_takes_every_usable_public_key() -> Result<()> {
    // The neighbours of what is refused: 2, p - 2, and keys whose last letters are the rules' edges.
    for text in [
        "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "6////////////////////////////////////////38=",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    ] {
        takes(&key("good", text)).await?;
    }
    for n in 0..20 {
        takes(&key("good", &public_key(n))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_fields_that_nobody_may_choose() -> Result<()> {
    for field in ["address", "addresses", "ip", "endpoint", "presharedKey"] {
        let mut object = key("bad", &public_key(1));
        object["spec"][field] = json!("10.64.0.9");
        refuses(&object, &format!("unknown field \"spec.{field}\""), "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_repeats_no_key_however_long_it_is() -> Result<()> {
    // A whole configuration file, pasted in the wrong place.
    let secret = "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=";
    for text in [
        secret.repeat(11),
        secret.repeat(20),
        format!("[Interface]\nPrivateKey = {secret}"),
    ] {
        let (taken, said) = offer(&key("bad", &text)).await?;
        ensure!(!taken && !said.contains(secret), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn admit_drops_fields_that_nobody_may_choose_from_lenient_clients() -> Result<()> {
    let mut object = key("lenient", &public_key(1));
    object["spec"]["address"] = json!("10.64.0.1");
    let output = plane()
        .await?
        .kubectl(
            &[
                "create",
                "--dry-run=server",
                "--validate=ignore",
                "-o=json",
                "-f",
                "-",
            ],
            Some(&object.to_string()),
        )
        .await?;
    let stored: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        stored["spec"]["publicKey"] == public_key(1) && stored["spec"].get("address").is_none(),
        "{stored}"
    );
    Ok(())
}

#[tokio::test]
async fn admit_refuses_names_that_are_markup() -> Result<()> {
    for name in [
        "<b>bold</b>",
        "\u{1b}[31mred",
        "two\nlines",
        "a b",
        "Upper",
        "a%0a",
        "../up",
    ] {
        refuses(&key(name, &public_key(1)), "metadata.name", "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_durations_out_of_bounds() -> Result<()> {
    for duration in [
        "",
        "0s",
        "30s",
        "-1h",
        "+2h",
        "9000h",
        "1d",
        "1ms",
        "1.5h",
        "NaN",
        "Infinity",
        "one hour",
        "2262-04-11T00:00:00Z",
        // Beyond what 64 bits of nanoseconds hold.
        "999999h999999h999999h",
        "99999h99999h99999h",
        "8760h1s",
    ] {
        let mut object = key("bad", &public_key(1));
        object["spec"]["expireAfter"] = json!(duration);
        refuses(&object, "expireAfter must be a duration from 1m to 8760h", "").await?;
    }
    for duration in ["1m", "60s", "8760h", "168h", "1h30m15s", "525600m"] {
        let mut object = key("good", &public_key(1));
        object["spec"]["expireAfter"] = json!(duration);
        takes(&object).await?;
    }
    Ok(())
}

#[tokio::test]
async fn admit_refuses_address_generations_out_of_bounds() -> Result<()> {
    for (generation, because) in [
        (-1, "should be greater than or equal to 0"),
        (2_147_483_648_i64, "should be less than or equal to 2147483647"),
        (i64::MAX, "should be less than or equal to 2147483647"),
    ] {
        let mut object = key("bad", &public_key(1));
        object["spec"]["addressGeneration"] = json!(generation);
        refuses(&object, because, "").await?;
    }
    let mut object = key("good", &public_key(1));
    object["spec"]["addressGeneration"] = json!(2_147_483_647);
    takes(&object).await
}

#[tokio::test]
async fn admit_lets_an_address_generation_only_rise() -> Result<()> {
    let plane = plane().await?;
    let mut object = key("generation", &public_key(3));
    object["spec"]["addressGeneration"] = json!(5);
    plane
        .kubectl_text(&["apply", "-f", "-"], Some(&object.to_string()))
        .await?;
    for (generation, rises) in [(4, false), (0, false), (6, true)] {
        object["spec"]["addressGeneration"] = json!(generation);
        let (taken, said) = attempt(plane, &plane.kubeconfig(), &["apply", "-f", "-"], &object).await?;
        ensure!(
            taken == rises && (rises || said.contains("addressGeneration can only be raised")),
            "{generation}: {said}"
        );
    }
    Ok(())
}

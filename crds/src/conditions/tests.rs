use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{ConditionType, Reason, condition, condition_of_all};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons")
}

fn page(name: &str) -> String {
    let path = folder().join(format!("{name}.md"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pages() -> BTreeSet<String> {
    fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| file.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name != "README")
        .collect()
}

#[test]
fn every_reason_has_a_page_with_its_message() {
    for reason in Reason::ALL {
        let page = page(reason.as_str());
        assert!(
            page.starts_with(&format!("# {}\n", reason.as_str())),
            "{reason:?}"
        );
        assert!(
            page.contains(&format!("\n> {}\n", reason.message())),
            "{reason:?}"
        );
        for part in [
            "| On | Condition | Status |",
            "\n## What to do\n",
            "\n## What Culvert does by itself\n",
        ] {
            assert!(page.contains(part), "{reason:?} lacks `{}`", part.trim());
        }
    }
}

#[test]
fn every_page_is_a_reasons() {
    let reasons: BTreeSet<_> = Reason::ALL
        .iter()
        .map(|reason| reason.as_str().to_owned())
        .collect();
    assert_eq!(pages(), reasons);
}

#[test]
fn the_index_links_every_page_once() {
    let index = page("README");
    for reason in Reason::ALL {
        let name = reason.as_str();
        assert_eq!(
            index.matches(&format!("[{name}]({name}.md)")).count(),
            1,
            "{name}"
        );
    }
    assert_eq!(index.matches(".md)").count(), Reason::ALL.len());
}

#[test]
fn pages_say_the_conditions_that_the_index_says() {
    let index = page("README");
    for name in pages() {
        let row = index
            .lines()
            .find(|line| line.starts_with(&format!("| [{name}]")))
            .unwrap();
        let rows: Vec<_> = page(&name)
            .lines()
            .filter(|line| {
                line.starts_with("| ") && (line.ends_with("| True |") || line.ends_with("| False |"))
            })
            .map(str::to_owned)
            .collect();
        assert!(!rows.is_empty(), "{name}");
        for line in rows {
            let [kinds, conditions, status] = line
                .trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .try_into()
                .unwrap();
            for kind in kinds.split(", ") {
                assert!(row.contains(kind), "{name}: {kind}");
            }
            for condition in conditions.split(", ") {
                assert!(
                    row.contains(&format!("{condition}={status}")),
                    "{name}: {condition}"
                );
            }
        }
    }
}

#[test]
fn messages_read_as_sentences_within_a_line() {
    for reason in Reason::ALL {
        let message = reason.message();
        assert!(
            !message.ends_with('.') && !message.contains('\n'),
            "{reason:?}: {message}"
        );
    }
}

#[test]
fn a_condition_of_several_reasons_names_each_of_them() {
    let now = Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
    let of =
        |reasons: &[Reason]| condition_of_all(ConditionType::PrivacyDegraded, true, reasons, 3, &now, &[]);
    assert_eq!(of(&[]), None);
    let swap = condition(
        ConditionType::PrivacyDegraded,
        true,
        Reason::PlainSwap,
        3,
        &now,
        &[],
    );
    assert_eq!(of(&[Reason::PlainSwap]), Some(swap.clone()));
    let both = of(&[Reason::PlainSwap, Reason::PacketSockets]).unwrap();
    assert_eq!((&both.reason, &both.status), (&swap.reason, &swap.status));
    let (swap, sockets) = (Reason::PlainSwap.message(), Reason::PacketSockets.message());
    assert_eq!(
        both.message,
        format!("PlainSwap: {swap}. PacketSockets: {sockets}")
    );
}

#[test]
fn every_reason_at_once_is_no_longer_than_the_api_takes() {
    let now = Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
    let all = condition_of_all(ConditionType::Ready, false, Reason::ALL, 1, &now, &[]);
    assert!(all.unwrap().message.len() < 32_768);
}

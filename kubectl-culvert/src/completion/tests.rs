use super::*;
use clap::CommandFactory as _;

use crate::args::Cli;

fn ask(words: &[&str]) -> Choices {
    let mut root = Cli::command();
    // As clap does before it reads a line.
    root.build();
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    choices(&root, &words)
}

fn names(words: &[&str]) -> Vec<String> {
    ask(words).fixed.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn commands_are_completed_and_hidden_ones_are_not() {
    assert_eq!(names(&["key", "r"]), ["rotate", "revoke"]);
    assert!(names(&[""]).contains(&"key".to_owned()));
    assert!(!names(&["_"]).contains(&"__complete".to_owned()));
    // Global flags and their values are no commands.
    assert_eq!(
        names(&["-n", "tenant", "--context", "key", "key", "ro"]),
        ["rotate"]
    );
    assert_eq!(names(&["--namespace=tenant", "key", "ro"]), ["rotate"]);
}

#[test]
fn flags_are_those_of_the_command_and_the_global_ones() {
    let all = names(&["key", "config", "--"]);
    for flag in ["--gateway", "--split", "--namespace", "--help"] {
        assert_eq!(
            all.iter().filter(|name| *name == flag).count(),
            1,
            "{flag} in {all:?}"
        );
    }
    assert!(!all.contains(&"--expires".to_owned()));
}

#[test]
fn values_are_completed_from_what_they_may_be() {
    assert_eq!(
        names(&["key", "list", "-o", ""]),
        ["json", "yaml", "wide", "name"]
    );
    assert_eq!(names(&["key", "list", "--output=y"]), ["yaml"]);
    assert_eq!(ask(&["key", "list", "--output=y"]).before, "--output=");
    assert!(ask(&["key", "config", "laptop", "--out", ""]).files);
}

#[test]
fn live_names_are_asked_for_where_they_stand() {
    for (words, live) in [
        (&["key", "rotate", ""][..], Some(Live::Keys)),
        (&["key", "revoke", "one", "two", ""], Some(Live::Keys)),
        (&["key", "rotate", "laptop", ""], None),
        (&["key", "new", ""], None),
        (&["key", "new", "--pool", ""], Some(Live::Pools)),
        (&["key", "config", "laptop", "--gateway="], Some(Live::Gateways)),
        (&["-n", ""], Some(Live::Namespaces)),
        (&["key", "list", "--context", ""], Some(Live::Contexts)),
    ] {
        assert_eq!(ask(words).live, live, "{words:?}");
    }
}

#[test]
fn the_answer_is_cobras() {
    let choices = ask(&["key", "list", "--output=y"]);
    assert_eq!(
        answer(&choices, &[], "--output=y"),
        "--output=yaml\tThe objects, as YAML\n:4\n"
    );
    let choices = ask(&["key", "rotate", "l"]);
    let known = ["laptop".to_owned(), "phone".to_owned()];
    assert_eq!(answer(&choices, &known, "l"), "laptop\n:4\n");
    let choices = ask(&["key", "config", "laptop", "--gateway=g"]);
    assert_eq!(
        answer(&choices, &["gateway-1".to_owned()], "--gateway=g"),
        "--gateway=gateway-1\n:4\n"
    );
}

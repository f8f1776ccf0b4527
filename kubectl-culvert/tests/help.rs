//! What every command says about itself, beside what it is to say: `tests/snapshots/help__*.snap`.
//!
//! `INSTA_UPDATE=always cargo test -p kubectl-culvert` writes them anew; the change is then reviewed as any other.

use clap::{Command, CommandFactory as _};
use kubectl_culvert::args::Cli;

/// Every command with its words, hidden ones left out.
fn all(command: &Command, words: &str, found: &mut Vec<(String, Command)>) {
    found.push((words.to_owned(), command.clone()));
    for next in command.get_subcommands().filter(|next| !next.is_hide_set()) {
        all(next, &format!("{words}-{}", next.get_name()), found);
    }
}

#[test]
fn help_of_every_command_is_as_it_was() {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut found = Vec::new();
    all(&root, "culvert", &mut found);
    assert!(found.len() > 8, "{}", found.len());
    for (name, mut command) in found {
        insta::assert_snapshot!(name, command.render_long_help());
    }
}

#[test]
fn every_command_that_does_something_has_a_line_and_no_flag_is_without_one() {
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    all(&root, "culvert", &mut found);
    for (name, command) in found {
        assert!(command.get_about().is_some(), "{name}");
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{name} {arg}");
        }
    }
}

#[test]
fn every_command_has_examples_and_says_how_it_may_end() {
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    all(&root, "culvert", &mut found);
    for (name, mut command) in found {
        let help = command.render_long_help().to_string();
        assert!(help.contains("\nExit codes:"), "{name}");
        assert!(name == "culvert" || help.contains("\nExamples:\n"), "{name}");
    }
}

//! What may stand at a place of the command line (pure): the answer to a shell, and to kubectl.
//!
//! kubectl asks `kubectl_complete-culvert WORD… PREFIX` and reads Cobra's format: one choice a line, with a description after
//! a tab, and a last line `:N` that says whether files are choices, too. The shells' own scripts ask the same.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

/// Names that only the cluster, or the kubeconfig, knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// Keys of the namespace.
    Keys,
    /// Pools.
    Pools,
    /// Nodes with a gateway, and gateways.
    Gateways,
    /// Namespaces.
    Namespaces,
    /// Contexts of the kubeconfig.
    Contexts,
}

/// What may stand at the place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Each with what it means.
    pub fixed: Vec<(String, String)>,

    /// Names to ask for.
    pub live: Option<Live>,

    /// What stands before a name, as in `--gateway=`.
    pub before: String,

    /// Files may stand there, too.
    pub files: bool,
}

/// The choices for the last of these words, which may be empty. The command is one that is built: each part of it has the
/// global flags.
pub fn choices(root: &Command, words: &[String]) -> Choices {
    let Some((last, before)) = words.split_last() else {
        return Choices::default();
    };
    let mut command = root;
    let mut path = Vec::new();
    let mut pending: Option<&Arg> = None;
    let mut positionals = 0;
    for word in before {
        if pending.take().is_some() {
            continue;
        }
        if let Some(name) = word.strip_prefix("--") {
            pending = long(command, name).filter(|arg| takes_value(arg));
        } else if let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) {
            // `-nNAME` has its value already.
            let is_one = name.chars().count() == 1;
            let found = name.chars().next().and_then(|name| short(command, name));
            pending = found.filter(|arg| is_one && takes_value(arg));
        } else if let Some(next) = command.find_subcommand(word) {
            command = next;
            path.push(next.get_name());
        } else {
            positionals += 1;
        }
    }
    if let Some(arg) = pending {
        return of_value(arg, &path, last, "");
    }
    if let Some((name, value)) = last.strip_prefix("--").and_then(|rest| rest.split_once('=')) {
        let before = format!("--{name}=");
        return long(command, name).map_or_else(Choices::default, |arg| of_value(arg, &path, value, &before));
    }
    if last.starts_with('-') {
        return flags(command, last);
    }
    if command.has_subcommands() {
        let all = command.get_subcommands().filter(|one| !one.is_hide_set());
        let all = all.map(|one| (one.get_name().to_owned(), about(one.get_about())));
        return Choices {
            fixed: all.filter(|(name, _)| name.starts_with(last.as_str())).collect(),
            ..Choices::default()
        };
    }
    let places: Vec<&Arg> = command.get_positionals().collect();
    let place = places
        .get(positionals)
        .or(places.last().filter(|last| is_many(last)));
    place.map_or_else(Choices::default, |arg| of_value(arg, &path, last, ""))
}

/// Cobra's format. `names` are those that were asked for.
pub fn answer(choices: &Choices, names: &[String], prefix: &str) -> String {
    let mut text = String::new();
    let prefix = prefix.strip_prefix(&choices.before).unwrap_or(prefix);
    let names = names
        .iter()
        .filter(|name| name.starts_with(prefix))
        .map(|name| (name, ""));
    let fixed = choices.fixed.iter().map(|(name, means)| (name, means.as_str()));
    for (name, means) in fixed.chain(names) {
        let tab = if means.is_empty() { "" } else { "\t" };
        let _ = writeln!(text, "{}{name}{tab}{means}", choices.before);
    }
    // Cobra's ShellCompDirectiveDefault, or its ShellCompDirectiveNoFileComp.
    text + if choices.files { ":0\n" } else { ":4\n" }
}

fn of_value(arg: &Arg, path: &[&str], prefix: &str, before: &str) -> Choices {
    let values = arg.get_possible_values();
    let values = values.iter().filter(|value| !value.is_hide_set());
    let values = values.map(|value| (value.get_name().to_owned(), about(value.get_help())));
    Choices {
        fixed: values.filter(|(name, _)| name.starts_with(prefix)).collect(),
        live: live(arg.get_id().as_str(), path),
        before: before.to_owned(),
        files: is_file(arg.get_id().as_str()),
    }
}

fn live(arg: &str, path: &[&str]) -> Option<Live> {
    match (arg, path) {
        // One that is being made has no name yet.
        ("name", ["key", "new"]) => None,
        ("name" | "names", ["key", ..]) => Some(Live::Keys),
        ("gateway", _) | ("nodes", ["gateway", ..] | ["logs"]) => Some(Live::Gateways),
        ("pool", _) => Some(Live::Pools),
        ("namespace" | "system_namespace" | "agent_namespace", _) => Some(Live::Namespaces),
        ("context", _) => Some(Live::Contexts),
        _ => None,
    }
}

fn is_file(arg: &str) -> bool {
    ["kubeconfig", "private_key", "out"].contains(&arg)
}

fn flags(command: &Command, prefix: &str) -> Choices {
    let all = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let named = all.filter_map(|arg| Some((format!("--{}", arg.get_long()?), about(arg.get_help()))));
    Choices {
        fixed: named.filter(|(name, _)| name.starts_with(prefix)).collect(),
        ..Choices::default()
    }
}

fn long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

fn short(command: &Command, name: char) -> Option<&Arg> {
    command.get_arguments().find(|arg| arg.get_short() == Some(name))
}

fn takes_value(arg: &Arg) -> bool {
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    // One whose value may be left out takes it after `=` alone, for all that can be known here.
    takes && arg.get_num_args().is_none_or(|range| range.min_values() > 0)
}

fn is_many(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The first line: shells have no room for more.
fn about(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;

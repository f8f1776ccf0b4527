//! `check`: each precondition, and what is wrong with it.

use serde_json::json;

use crate::Error;
use crate::commands::Context;
use crate::exit::Exit;
use crate::judge::{self, Check, Finding, Weight};
use crate::output::{self, Format, Mood, paint};
use crate::world::{self, Ground, World};

const EXAMPLES: &str = "\
Examples:
  # Before an installation, and whenever a gateway does not serve
  kubectl culvert check

  # For a program
  kubectl culvert check -o json";

/// Flags of `check`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The namespace that Culvert runs in.
    #[arg(long, default_value = "culvert-system", value_name = "NAME")]
    pub system_namespace: String,

    /// How to print the findings.
    #[arg(long, short, value_parser = output::of_data())]
    pub output: Option<Format>,
}

/// Looks at everything.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.cluster().await?;
    let World {
        server,
        ground,
        culvert,
        failures,
    } = world::world(&cluster).await?;
    let findings = judge::all(&culvert, &ground, &server, &args.system_namespace);
    if let Some(format @ (Format::Json | Format::Yaml)) = args.output {
        let unread: Vec<String> = failures.iter().map(ToString::to_string).collect();
        let whole = json!({ "findings": findings, "unread": unread });
        output::bytes(output::value(format, &whole)?.as_bytes())?;
    } else {
        output::bytes(
            text(
                &findings,
                &ground,
                judge::heard(&culvert, server.there),
                context.screen.colour,
            )
            .as_bytes(),
        )?;
        for failure in &failures {
            output::note(&format!("not looked at: {failure}"));
        }
    }
    Ok(exit(&findings))
}

/// The exit code that findings ask for.
pub fn exit(findings: &[Finding]) -> Exit {
    if findings.iter().any(|finding| finding.weight == Weight::Bad) {
        Exit::Faulty
    } else {
        Exit::Done
    }
}

fn text(findings: &[Finding], ground: &Ground, heard: usize, colour: bool) -> String {
    let mut lines = Vec::new();
    for check in Check::ALL {
        let (name, well) = check.words();
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.check == check).collect();
        let unseen = if !ground.tells_of(check) {
            Some("not looked at: it could not be read")
        } else if check.is_of_nodes() && heard == 0 {
            Some("not looked at: no agent is heard")
        } else {
            None
        };
        if let Some(what) = unseen.filter(|_| found.is_empty()) {
            lines.push(format!(
                "{}   {name:<15} {what}\n",
                paint(colour, Mood::Odd, "-   ")
            ));
        } else if found.is_empty() {
            lines.push(format!(
                "{}   {name:<15} {well}\n",
                paint(colour, Mood::Good, "ok  ")
            ));
        }
        for finding in found {
            lines.push(line(finding, name, colour));
        }
    }
    lines.concat()
}

fn line(finding: &Finding, name: &str, colour: bool) -> String {
    let sign = match finding.weight {
        Weight::Bad => paint(colour, Mood::Bad, "FAIL"),
        Weight::Odd => paint(colour, Mood::Odd, "look"),
    };
    format!(
        "{sign}   {name:<15} {}: {}{}\n",
        finding.about,
        finding.what,
        page(finding)
    )
}

/// Where there is more to read.
pub fn page(finding: &Finding) -> String {
    finding
        .reason
        .map(|reason| format!(" (docs/reasons/{reason}.md)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_not_called_well() {
        let ground = Ground {
            definitions: Some(Vec::new()),
            policies: None,
            bindings: Some(Vec::new()),
            namespaces: None,
        };
        let text = text(&[], &ground, 1, false);
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        for unread in ["policies", "pod security"] {
            assert!(line(unread).contains("not looked at"), "{text}");
        }
        assert!(line("definitions").starts_with("ok"), "{text}");
    }
}

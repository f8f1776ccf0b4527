//! `check`: each precondition, and what is wrong with it.

use serde_json::json;

use crate::Error;
use crate::commands::{Context, unread};
use crate::exit::{self, Exit};
use crate::judge::{self, Check, Finding, Unseen, Weight};
use crate::output::{self, Format, Mood, paint};
use crate::world::{self, World};

const EXAMPLES: &str = "\
Examples:
  # Before an installation, and whenever a gateway does not serve
  kubectl culvert check

  # For a program
  kubectl culvert check -o json";

/// Flags of `check`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Looks))]
pub struct Args {
    /// The namespace that Culvert runs in; its agents, where they have one of their own.
    #[arg(long, default_value = "culvert-system", value_name = "NAME")]
    pub system_namespace: String,

    /// How to print the findings.
    #[arg(long, short, value_parser = output::of_data())]
    pub output: Option<Format>,
}

/// Looks at everything.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let cluster = context.administered().await?;
    let World {
        server,
        ground,
        culvert,
        failures,
    } = world::world(&cluster).await?;
    let system = &args.system_namespace;
    let findings = judge::all(&culvert, &ground, &server, system);
    let unseen = judge::unseen(&findings, &culvert, &ground, &server, system);
    if let Some(format @ (Format::Json | Format::Yaml)) = args.output {
        let unread: Vec<String> = failures.iter().map(ToString::to_string).collect();
        let whole = json!({ "findings": findings, "unseen": unseen, "unread": unread });
        output::bytes(output::value(format, &whole)?.as_bytes())?;
    } else {
        output::bytes(text(&findings, &unseen, context.screen.colour).as_bytes())?;
        unread(&failures, context.screen);
    }
    Ok(match (exit(&findings), failures.first()) {
        // Who may not look does not know that all is well.
        (Exit::Done, Some(failure)) => failure.exit(),
        (exit, _) => exit,
    })
}

/// The exit code that findings ask for.
pub fn exit(findings: &[Finding]) -> Exit {
    if findings.iter().any(|finding| finding.weight == Weight::Bad) {
        Exit::Faulty
    } else {
        Exit::Done
    }
}

fn text(findings: &[Finding], unseen: &[Unseen], colour: bool) -> String {
    let mut lines = Vec::new();
    for check in Check::ALL {
        let (name, well) = check.words();
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.check == check).collect();
        if let Some(unseen) = unseen.iter().find(|unseen| unseen.check == check) {
            lines.push(format!(
                "{}   {name:<15} not looked at: {}\n",
                paint(colour, Mood::Odd, "-   "),
                unseen.why
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

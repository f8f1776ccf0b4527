//! The commands of the documentation, run as they stand there, by somebody with a terminal on a machine outside of the
//! cluster.
//!
//! What makes the cluster, builds programs and brings images is done by the suite in its own way: such commands are named
//! here. Every other one is run to its end and must succeed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{
    Program,
    cluster::{Member, SOON},
    documents,
    process::{self, Signal},
    programs::Tool,
    wait,
};

use crate::{
    faults,
    world::{NAMESPACE, World, fact},
};

/// A part of the documentation.
struct Text {
    page: &'static str,
    /// The heading of the part; the whole page where there is none.
    section: Option<&'static str>,
    /// How the commands begin that the suite stands for, each with why.
    otherwise: &'static [(&'static str, &'static str)],
}

const QUICK_START: Text = Text {
    page: "docs/quick-start.md",
    section: None,
    otherwise: &[
        ("kind create cluster", "the suite's own cluster"),
        ("cargo xtask image", "the suite's own images"),
        ("for image in target/images", "its nodes have them"),
        ("cargo build", "the suite's own build"),
        ("sudo nsenter --net=/proc/$(docker", "its nodes are no containers"),
        ("kind delete cluster", "it goes with the machine"),
    ],
};

const README: Text = Text {
    page: "README.md",
    section: Some("## Try it on a cluster"),
    otherwise: &[
        ("cargo xtask image", "the suite's own images"),
        ("for name in culvert-operator", "its nodes have no registry"),
        ("cargo build", "the suite's own build"),
    ],
};

/// What README brings into a registry, under the name that the chart then asks for.
const IMAGES: [&str; 2] = [
    "culvert-dev/culvert-operator:0.1.0",
    "culvert-dev/culvert-node-agent:0.1.0",
];

/// Runs the quick start from the first to the last command, and then README's.
pub async fn the_documentation_is_right(world: &World) -> Result<()> {
    fact("the quick start is right, word for word", async {
        let label = ["label", "node", "--all", "culvert.dev/gateway=true"];
        world.tools().kubectl(&label).await?;
        let count = User::new(world, 8)?.follow(&QUICK_START, world).await?;
        for node in world.nodes() {
            faults::clean(world, &node.name)?;
        }
        // A DaemonSet that is made while a node has a pod of its forerunner takes that for its own, and starts none.
        let gone = [
            "wait",
            "--for=delete",
            "pod",
            "--all",
            "--timeout=2m",
            "-n",
            NAMESPACE,
        ];
        world.tools().kubectl(&gone).await?;
        Ok(format!("{count} commands"))
    })
    .await?;
    fact("README is right, word for word", async {
        let label = ["label", "node", "--all", "culvert.dev/gateway-"];
        world.tools().kubectl(&label).await?;
        for node in world.nodes() {
            for image in IMAGES {
                node.name_image(
                    &format!("ghcr.io/{image}"),
                    &format!("registry.example.com/{image}"),
                )?;
            }
        }
        let count = User::new(world, 9)?.follow(&README, world).await?;
        Ok(format!("{count} commands"))
    })
    .await
}

/// Somebody with a checkout, a kubeconfig where kubectl looks for it, and the programs in the PATH.
struct User {
    member: Member,
    home: PathBuf,
    checkout: PathBuf,
    programs: PathBuf,
}

impl User {
    fn new(world: &World, number: u8) -> Result<Self> {
        let member = Member::new(number, &world.folder)?;
        let home = world.folder.join(format!("user-{number}"));
        let (checkout, programs) = (home.join("culvert"), home.join("bin"));
        for folder in [&home.join(".kube"), &checkout, &programs] {
            fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        }
        let kubeconfig = world.cluster()?.kubeconfig_for_others()?;
        fs::copy(kubeconfig, home.join(".kube/config")).context("failed to copy a kubeconfig")?;
        // What commands write there is no part of the real one.
        let real = fs::read_dir(documents::checkout()).context("failed to list the checkout")?;
        for entry in real {
            let entry = entry?;
            symlink(entry.path(), checkout.join(entry.file_name()))?;
        }
        for (name, path) in [
            ("kubectl", Tool::Kubectl.find()?),
            ("helm", Tool::Helm.find()?),
            ("kubectl-culvert", program(&process::built("CULVERT_PLUGIN")?)),
        ] {
            symlink(path, programs.join(name))?;
        }
        // Whoever is root already need not have it.
        let sudo = programs.join("sudo");
        fs::write(&sudo, "#!/bin/sh\nexec env \"$@\"\n").context("failed to write a program")?;
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755))?;
        Ok(Self {
            member,
            home,
            checkout,
            programs,
        })
    }

    /// Runs the commands of a text; gives how many there were.
    async fn follow(&self, text: &Text, world: &World) -> Result<usize> {
        match self.follow_through(text).await {
            Ok(count) => Ok(count),
            Err(error) => Err(error
                .context(format!("in {}", text.page))
                .context(world.pods().await)),
        }
    }

    async fn follow_through(&self, text: &Text) -> Result<usize> {
        let commands = commands(text)?;
        let mut otherwise = text.otherwise.to_vec();
        let mut running = None;
        let mut count = 0;
        for command in &commands {
            if let Some(at) = otherwise.iter().position(|(begin, _)| command.starts_with(begin)) {
                otherwise.remove(at);
                continue;
            }
            count += 1;
            println!("$ {command}");
            if let Some(command) = command.strip_suffix('&') {
                running = Some(self.start(command)?);
                continue;
            }
            let said = self.run(command)?;
            // What a reader does with what he sees.
            if command.contains("| wg pubkey") {
                self.fill_in_key(said.trim())?;
            }
            if command.starts_with("kubectl delete") {
                // Before the end there is Ctrl-C.
                if let Some(program) = running.take() {
                    interrupt(program).await?;
                }
            }
        }
        ensure!(
            otherwise.is_empty(),
            "{} has no command that begins like these: {otherwise:?}",
            text.page
        );
        ensure!(running.is_none(), "{} leaves something running", text.page);
        Ok(count)
    }

    /// A shell of the user's that is to run this, in a terminal.
    fn shell(&self, command: &str) -> Command {
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.programs.display()
        );
        let mut shell = self.member.namespace.command("script");
        shell
            .args([
                "--quiet",
                "--flush",
                "--return",
                "--command",
                command,
                "/dev/null",
            ])
            .current_dir(&self.checkout)
            .env("PATH", path)
            .env("HOME", &self.home)
            .env("SHELL", "/bin/bash")
            .env_remove("KUBECONFIG");
        shell
    }

    fn run(&self, command: &str) -> Result<String> {
        let output = self
            .shell(command)
            .output()
            .with_context(|| format!("failed to run {command}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "`{command}` failed: {said}");
        Ok(said)
    }

    /// Starts what runs on, and waits until it says so.
    fn start(&self, command: &str) -> Result<Program> {
        let mut program = Program::start("connect", &self.shell(&format!("exec {command}")), &self.home)?;
        wait::until_blocking("`connect` to say that it is connected", SOON, || {
            program.ensure_running()?;
            Ok(program.output()?.contains("connected as").then_some(()))
        })?;
        Ok(program)
    }

    /// Makes `key.yaml` of the example, with this public key.
    fn fill_in_key(&self, public: &str) -> Result<()> {
        let example = documents::read(&documents::checkout().join("examples/key.yaml"))?;
        let (before, _) = example
            .split_once("publicKey: ")
            .context("the example has a public key")?;
        fs::write(
            self.checkout.join("key.yaml"),
            format!("{before}publicKey: {public}\n"),
        )
        .context("failed to write key.yaml")
    }
}

/// Ends a program as Ctrl-C does.
async fn interrupt(mut program: Program) -> Result<()> {
    program.signal(Signal::INT)?;
    program.wait(Duration::from_mins(1)).await.map(drop)
}

fn program(command: &Command) -> PathBuf {
    PathBuf::from(command.get_program())
}

/// The commands of a text: what stands behind `$ `, with the lines below it that are set in by four blanks.
fn commands(text: &Text) -> Result<Vec<String>> {
    let page = documents::read(&documents::checkout().join(Path::new(text.page)))?;
    let part = match text.section {
        None => page.as_str(),
        Some(heading) => {
            let (_, rest) = page
                .split_once(&format!("{heading}\n"))
                .with_context(|| format!("{} has no `{heading}`", text.page))?;
            rest.split_once("\n## ").map_or(rest, |(part, _)| part)
        }
    };
    let (blocks, _) = documents::blocks(part);
    let mut commands: Vec<String> = Vec::new();
    for block in blocks.iter().filter(|block| block.info == "console") {
        let mut is_command = false;
        for line in block.text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => {
                    is_command = true;
                    commands.push(command.to_owned());
                }
                (None, Some(command)) if is_command && line.starts_with("    ") => {
                    command.push('\n');
                    command.push_str(line);
                }
                _ => is_command = false,
            }
        }
    }
    ensure!(!commands.is_empty(), "{} has no command", text.page);
    Ok(commands)
}

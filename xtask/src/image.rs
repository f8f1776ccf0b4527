//! `cargo xtask image`: the container images, as archives of the Open Container Initiative that any runtime imports.
//!
//! Nothing is in an image but the programs, what they run, and the licences of what came from the distribution. With the
//! release profile they are linked statically, and the same sources, toolchain and packages give the same bytes, wherever
//! the checkout lies: no time, no name and no path of the machine that built them is in there. With `dev` they are the
//! tests' programs beside their libraries: the suite `cluster` runs those.

mod archive;
mod bill;
mod libraries;
mod programs;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

use archive::Image;
use programs::Programs;
use tree::Tree;

use crate::test::artifact;

/// Where the images will be, until a chart's `global.imageRegistry` says otherwise.
const REPOSITORY: &str = "ghcr.io/culvert-dev";

/// What the images are called.
const OPERATOR: &str = "culvert-operator";
const AGENT: &str = "culvert-node-agent";

/// A user without a name and without rights, as many images have it.
const NOBODY: &str = "65532:65532";

/// Files that everybody may run, and read.
const RUN: u32 = 0o755;
const READ: u32 = 0o644;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Static programs as they are shipped, or those of the tests.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,

    /// Where to [default: `images` in the target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// How the programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// As they are shipped.
    Release,
    /// As tests run them.
    Dev,
}

/// An image that was written.
#[derive(Debug)]
pub struct Written {
    /// Where.
    pub archive: PathBuf,
    /// What it is called.
    pub reference: String,
    /// Of its manifest, as a registry will show it.
    pub digest: String,
}

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => artifact::target()?.join("images"),
    };
    for image in write(arguments.profile, &out)? {
        println!(
            "{}\n  {}\n  {}",
            image.archive.display(),
            image.reference,
            image.digest
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the programs and writes both images into a folder, as they are shipped with a bill of materials beside each.
pub fn write(profile: Profile, out: &Path) -> Result<Vec<Written>> {
    fs::create_dir_all(out).with_context(|| format!("failed to create {}", out.display()))?;
    let programs = Programs::build(profile)?;
    let mut written = Vec::new();
    for image in [operator(&programs)?, agent(&programs)?] {
        let one = image.write(out)?;
        if profile == Profile::Release {
            let path = out.join(format!("{}.spdx.json", image.name));
            let bill = bill::of(&image, &one.digest)?;
            fs::write(&path, bill).with_context(|| format!("failed to write {}", path.display()))?;
        }
        written.push(one);
    }
    Ok(written)
}

/// Takes both images from a folder that [`write`] has written.
pub fn take(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("failed to create {}", to.display()))?;
    for name in [OPERATOR, AGENT] {
        let archive = format!("{name}.tar");
        let path = from.join(&archive);
        fs::copy(&path, to.join(&archive)).with_context(|| {
            format!(
                "failed to take {}; `cargo xtask image --out` writes it",
                path.display()
            )
        })?;
    }
    Ok(())
}

/// Writes the image of what keeps a pod's namespaces open in the tests' cluster.
pub fn write_pause(program: &Path, out: &Path) -> Result<Written> {
    let mut tree = Tree::default();
    tree.program(program, "culvert-pause")?;
    let image = Image {
        name: "culvert-pause",
        title: "What keeps a pod's namespaces open in Culvert's tests",
        entrypoint: "/culvert-pause",
        user: NOBODY,
        tree,
        of_crates: Vec::new(),
        of_modules: Vec::new(),
    };
    image.write(out)
}

/// The operator, and the plugin, by which the chart checks a cluster and takes gateways down.
fn operator(programs: &Programs) -> Result<Image> {
    let mut tree = Tree::default();
    tree.program(&programs.operator, "culvert-operator")?;
    tree.program(&programs.plugin, "kubectl-culvert")?;
    Ok(Image {
        name: OPERATOR,
        title: "Culvert's operator, and its plugin for kubectl",
        entrypoint: "/culvert-operator",
        user: NOBODY,
        tree,
        of_crates: vec![programs.operator.clone(), programs.plugin.clone()],
        of_modules: Vec::new(),
    })
}

/// The agent with what it runs: WireGuard for kernels without, and nftables' own program.
fn agent(programs: &Programs) -> Result<Image> {
    let mut tree = Tree::default();
    tree.program(&programs.agent, "culvert-node-agent")?;
    tree.program(&programs.wireguard_go, "usr/bin/wireguard-go")?;
    tree.program(&programs.nft, "usr/sbin/nft")?;
    // Where a volume goes, whatever the runtime makes of a root that cannot be written to.
    for folder in ["run/wireguard", "var/lib/culvert"] {
        tree.folder(folder);
    }
    Ok(Image {
        name: AGENT,
        title: "Culvert's agent on gateway nodes",
        entrypoint: "/culvert-node-agent",
        // The kernel asks who writes to a network's settings; the agent gives up every right of root's but one.
        user: "0:0",
        tree,
        of_crates: vec![programs.agent.clone()],
        of_modules: vec![programs.wireguard_go.clone()],
    })
}

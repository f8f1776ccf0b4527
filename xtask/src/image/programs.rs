//! The programs that go into images.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use culvert_e2e::programs::Tool;

use super::Profile;
use crate::{
    run,
    setup::{self, Need},
    test::artifact,
};

/// Where they are.
pub struct Programs {
    pub operator: PathBuf,
    pub agent: PathBuf,
    pub plugin: PathBuf,
    pub wireguard_go: PathBuf,
    pub nft: PathBuf,
    /// Copies that are not needed afterwards.
    copies: Option<PathBuf>,
}

impl Programs {
    /// Builds ours, and finds the others. Copies without debug information lie in the folder until [`Programs::clean`].
    pub fn build(profile: Profile, folder: &Path) -> Result<Self> {
        setup::ensure(&[Need::UserspaceWireGuard, Need::CargoAuditable])?;
        let wireguard_go = Tool::WireguardGo.find()?;
        let nft = PathBuf::from("/usr/sbin/nft");
        ensure!(
            nft.is_file(),
            "{} is not there; install the package nftables",
            nft.display()
        );
        match profile {
            Profile::Release => {
                let built = artifact::released_static()?;
                Ok(Self {
                    operator: built.operator.executable,
                    agent: built.agent.executable,
                    plugin: built.plugin.executable,
                    wireguard_go,
                    nft,
                    copies: None,
                })
            }
            Profile::Dev => {
                let copies = folder.join("programs");
                fs::create_dir_all(&copies)
                    .with_context(|| format!("failed to create {}", copies.display()))?;
                let mut stripped = Vec::new();
                for (_, program) in artifact::programs()? {
                    let copy = copies.join(program.file_name().context("a program has a name")?);
                    run::output(
                        Command::new("strip")
                            .arg("--strip-debug")
                            .arg("-o")
                            .args([&copy, &program]),
                    )?;
                    stripped.push(copy);
                }
                let [operator, agent, plugin] =
                    stripped.try_into().ok().context("three programs are built")?;
                Ok(Self {
                    operator,
                    agent,
                    plugin,
                    wireguard_go,
                    nft,
                    copies: Some(copies),
                })
            }
        }
    }

    /// One of ours, by its name.
    pub fn ours(&self, name: &str) -> Option<&Path> {
        match name {
            "culvert-operator" => Some(&self.operator),
            "culvert-node-agent" => Some(&self.agent),
            "kubectl-culvert" => Some(&self.plugin),
            _ => None,
        }
    }

    /// Removes the copies.
    pub fn clean(&self) -> Result<()> {
        match &self.copies {
            Some(copies) => {
                fs::remove_dir_all(copies).with_context(|| format!("failed to remove {}", copies.display()))
            }
            None => Ok(()),
        }
    }
}

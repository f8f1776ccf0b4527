//! The programs that go into images.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use culvert_e2e::{Scratch, programs::Tool};

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
    /// Where copies are that are not needed afterwards.
    _copies: Option<Scratch>,
}

impl Programs {
    /// Builds ours, and finds the others. The tests' are copies without debug information, which go when this does.
    pub fn build(profile: Profile) -> Result<Self> {
        setup::ensure(&[Need::UserspaceWireGuard])?;
        let wireguard_go = Tool::WireguardGo.find()?;
        let nft = PathBuf::from("/usr/sbin/nft");
        ensure!(
            nft.is_file(),
            "{} is not there; install the package nftables",
            nft.display()
        );
        match profile {
            Profile::Release => {
                setup::ensure(&[Need::CargoAuditable])?;
                let built = artifact::released_static()?;
                Ok(Self {
                    operator: built.operator.executable,
                    agent: built.agent.executable,
                    plugin: built.plugin.executable,
                    wireguard_go,
                    nft,
                    _copies: None,
                })
            }
            Profile::Dev => {
                let copies = Scratch::new("culvert-image-")?;
                let mut stripped = Vec::new();
                for (_, program) in artifact::programs()? {
                    let copy = copies
                        .path()
                        .join(program.file_name().context("a program has a name")?);
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
                    _copies: Some(copies),
                })
            }
        }
    }
}

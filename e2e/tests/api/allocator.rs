//! An operator behind a proxy of its own, which a test kills and starts again.

use anyhow::{Context, Result};
use culvert_e2e::{Chance, FaultProxy, Mishap, Program};
use std::time::Duration;

use crate::{fixture::Api, load::Load, scale};

/// How long each request takes at least, where the timing is to vary.
const DELAY: Duration = Duration::from_millis(2);

/// The operator and its proxy.
pub struct Allocator<'a> {
    pub proxy: FaultProxy,
    api: &'a Api,
    program: Option<Program>,
}

impl<'a> Allocator<'a> {
    /// Starts one.
    pub async fn start(api: &'a Api) -> Result<Self> {
        let mut allocator = Self {
            proxy: FaultProxy::start(api.plane.client().await?, &["leases"]).await?,
            api,
            program: None,
        };
        allocator.restart()?;
        Ok(allocator)
    }

    /// Starts it again after [`Self::kill`].
    pub fn restart(&mut self) -> Result<()> {
        self.program = Some(self.api.operator(&self.proxy.kubeconfig())?);
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().map_or(Ok(()), Program::kill)
    }

    /// It must be there still: a crash of its own is not what a test asked for.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.program.as_mut().map_or(Ok(()), Program::ensure_running)
    }

    /// What it has printed since it was started last.
    pub fn output(&self) -> Result<String> {
        self.program.as_ref().context("it does not run")?.output()
    }

    /// From now on each write fails with `probability`, in any of the ways there are.
    pub fn expose(&self, salt: u64, probability: f64) {
        let chance = Chance::new(scale::seed() ^ salt, probability, &Mishap::ALL);
        self.proxy.expose(chance);
        self.proxy.delay(DELAY);
    }

    /// No more faults.
    pub fn calm(&self) {
        self.proxy.calm();
        self.proxy.delay(Duration::ZERO);
    }
}

/// A control plane and its user.
pub async fn cluster() -> Result<(Api, Load)> {
    let api = Api::start().await?;
    let load = Load::new(&api.plane).await?;
    Ok((api, load))
}

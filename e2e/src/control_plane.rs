//! A real Kubernetes API: etcd and kube-apiserver on a loopback address of their own, in a folder of their own.
//!
//! [`ControlPlane::start`] returns when the API is ready. Dropping it, or the death of the test process, ends both
//! programs and removes the folder; `CULVERT_KEEP=1` keeps it. An apiserver that is killed or
//! stopped can be started again on the same port and data, so that clients reconnect by themselves.
//!
//! [`ControlPlane::shared`] is one for all tests of a process: starting takes seconds. A test that breaks the API
//! starts its own.

mod apply;
mod flags;
mod history;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::Client;
use tokio::sync::OnceCell;

pub use apply::apply;
pub use history::Snapshot;

use crate::{
    kubeconfig::{self, User},
    machine,
    pki::{self, Authority},
    process::Program,
    programs::Tool,
    scratch::Scratch,
    wait,
};

/// How long a start may take: seconds where the machine is idle, far more next to a build.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// How often a start is tried with other ports: one that was free may be taken by the time it is used.
const ATTEMPTS: usize = 3;

/// What a test may ask of its control plane.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The address that the apiserver listens on; without one it is the control plane's own on loopback.
    pub bind: Option<IpAddr>,

    /// The address by which pods reach the apiserver, published as the endpoint of the service `kubernetes`. Without
    /// one that service has no endpoint, which needs no address but loopback.
    pub advertise: Option<IpAddr>,

    /// Further addresses by which clients reach it, as from another network namespace; see
    /// [`ControlPlane::kubeconfig_via`].
    pub addresses: Vec<IpAddr>,

    /// An audit policy (YAML); the log is [`ControlPlane::audit_log`].
    pub audit_policy: Option<String>,

    /// Further flags of kube-apiserver; the last one of a name wins.
    pub flags: Vec<String>,

    /// Further flags of etcd; the last one of a name wins.
    pub etcd_flags: Vec<String>,
}

impl Options {
    /// For use in a [`crate::Machine`]: on every address, its uplink published to pods, and reachable by `addresses`.
    pub fn in_machine(addresses: &[IpAddr]) -> Self {
        let uplink = IpAddr::from(machine::UPLINK);
        let addresses = addresses.iter().copied().chain([uplink]).collect();
        Self {
            bind: Some(Ipv4Addr::UNSPECIFIED.into()),
            advertise: Some(uplink),
            addresses,
            ..Self::default()
        }
    }
}

/// A running etcd and kube-apiserver.
pub struct ControlPlane {
    // In the order of dropping: the apiserver does not complain about an etcd that went first.
    apiserver: Mutex<Option<Program>>,
    etcd: Mutex<Option<Program>>,
    authority: Authority,
    address: String,
    options: Options,
    home: Ipv4Addr,
    bind: IpAddr,
    etcd_port: u16,
    port: u16,
    folder: Scratch,
}

impl ControlPlane {
    /// Starts one on loopback.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts one as `options` say.
    pub async fn start_with(options: Options) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::attempt(options.clone()).await {
                Err(error)
                    if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// The one that the tests of this process share. Nobody may break it. It goes with the process.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    async fn attempt(options: Options) -> Result<Self> {
        let folder = Scratch::new("culvert-api-")?;
        let authority = Authority::new()?;
        let home = home();
        let bind = options.bind.unwrap_or(home.into());
        let (etcd_port, port) = (free_port(home.into())?, free_port(bind)?);
        let host = if bind.is_unspecified() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            bind
        };
        let address = format!("https://{}", SocketAddr::new(host, port));
        let plane = Self {
            apiserver: Mutex::new(None),
            etcd: Mutex::new(None),
            authority,
            address,
            options,
            home,
            bind,
            etcd_port,
            port,
            folder,
        };
        plane.write_files()?;
        let etcd = Program::start("etcd", &flags::etcd(&plane)?, plane.folder())?;
        *lock(&plane.etcd) = Some(etcd);
        plane.start_apiserver().await?;
        Ok(plane)
    }

    fn write_files(&self) -> Result<()> {
        let folder = self.folder();
        let mut addresses = self.options.addresses.clone();
        addresses.extend(self.options.advertise);
        addresses.push(self.bind);
        let server = self.authority.server(&addresses)?;
        let (signing, verifying) = pki::token_keys()?;
        // As whom the apiserver reads a pod's log.
        let kubelets = self.authority.client("kube-apiserver", Some("system:masters"))?;
        for (name, pem) in [
            ("kubelets.crt", &kubelets.certificate),
            ("kubelets.key", &kubelets.key),
            ("ca.crt", &self.authority.certificate().to_owned()),
            ("apiserver.crt", &server.certificate),
            ("apiserver.key", &server.key),
            ("sa.key", &signing),
            ("sa.pub", &verifying),
        ] {
            pki::write(folder, name, pem)?;
        }
        if let Some(policy) = &self.options.audit_policy {
            pki::write(folder, "audit-policy.yaml", policy)?;
        }
        self.kubeconfig_for("admin", Some("system:masters")).map(drop)
    }

    /// The folder with data, certificates and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the API is, `https://…`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port of the apiserver.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The audit log, where [`Options::audit_policy`] asked for one.
    pub fn audit_log(&self) -> PathBuf {
        self.folder().join("audit.log")
    }

    /// A kubeconfig with all rights.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("admin.kubeconfig")
    }

    /// A kubeconfig of a user by certificate, with the rights that RBAC gives to `name` and `group`.
    pub fn kubeconfig_for(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.authority.client(name, group)?;
        self.write_kubeconfig(name, &User::Certificate(&identity))
    }

    /// A kubeconfig of whoever `token` was issued for; `name` is for the file's name alone.
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.write_kubeconfig(name, &User::Token(token))
    }

    fn write_kubeconfig(&self, name: &str, user: &User<'_>) -> Result<PathBuf> {
        let path = self
            .folder()
            .join(format!("{}.kubeconfig", name.replace([':', '/'], "-")));
        kubeconfig::write(&path, &self.address, Some(self.authority.certificate()), user)
    }

    /// The same user as in `kubeconfig`, by another address of the apiserver: one of [`Options::addresses`].
    pub fn kubeconfig_via(&self, kubeconfig: &Path, address: IpAddr) -> Result<PathBuf> {
        let text = fs::read_to_string(kubeconfig)
            .with_context(|| format!("failed to read {}", kubeconfig.display()))?;
        let other = format!("https://{}", SocketAddr::new(address, self.port));
        let path = kubeconfig.with_extension(format!("{}.kubeconfig", address.to_string().replace(':', "-")));
        fs::write(&path, text.replace(&self.address, &other))
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// A client with all rights, for the runtime of the caller.
    pub async fn client(&self) -> Result<Client> {
        kubeconfig::client(&self.kubeconfig()).await
    }

    /// A client of a user by certificate.
    pub async fn client_for(&self, name: &str, group: Option<&str>) -> Result<Client> {
        kubeconfig::client(&self.kubeconfig_for(name, group)?).await
    }

    /// Runs kubectl with all rights; `input` is its standard input. A failure of kubectl is in the output's status.
    pub async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        self.kubectl_as(&self.kubeconfig(), arguments, input).await
    }

    /// As [`ControlPlane::kubectl`], for calls that must succeed: what it printed.
    pub async fn kubectl_text(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let output = self.kubectl(arguments, input).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "kubectl {} failed: {}",
            arguments.join(" "),
            said.trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs kubectl with the given kubeconfig.
    pub async fn kubectl_as(
        &self,
        kubeconfig: &Path,
        arguments: &[&str],
        input: Option<&str>,
    ) -> Result<Output> {
        let mut command = Command::new(Tool::Kubectl.find()?);
        // Its caches and preferences go to the folder, not to the user's home.
        command
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", self.folder())
            .current_dir(self.folder());
        let stdin = match input {
            None => Stdio::null(),
            Some(text) => {
                let mut file = tempfile::tempfile().context("failed to create a file for kubectl's input")?;
                std::io::Write::write_all(&mut file, text.as_bytes())?;
                std::io::Seek::rewind(&mut file)?;
                Stdio::from(file)
            }
        };
        command.stdin(stdin);
        tokio::task::spawn_blocking(move || command.output().context("failed to run kubectl"))
            .await
            .context("kubectl's thread ended early")?
    }

    /// Starts kube-apiserver, again where it ran before, and waits until it is ready.
    pub async fn start_apiserver(&self) -> Result<()> {
        let program = Program::start("kube-apiserver", &flags::apiserver(self)?, self.folder())?;
        *lock(&self.apiserver) = Some(program);
        self.ready().await.with_context(|| {
            format!(
                "the control plane in {} did not start{}",
                self.folder().display(),
                self.hint()
            )
        })
    }

    /// Waits until the API says that it is ready.
    pub async fn ready(&self) -> Result<()> {
        let client = self.client().await?;
        let client = &client;
        // A program that ended by itself ends the wait as well.
        let ended = wait::until("kube-apiserver to be ready", READY_WITHIN, || async move {
            if let Err(error) = self.ensure_running() {
                return Ok(Some(Err(error)));
            }
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await?;
            Ok(Some(Ok(())))
        })
        .await;
        ended.flatten()
    }

    fn ensure_running(&self) -> Result<()> {
        for program in [&self.etcd, &self.apiserver] {
            lock(program).as_mut().map_or(Ok(()), Program::ensure_running)?;
        }
        Ok(())
    }

    /// Kills kube-apiserver with SIGKILL; [`Self::start_apiserver`] starts it again.
    pub fn kill_apiserver(&self) -> Result<()> {
        take(&self.apiserver).map_or(Ok(()), Program::kill)
    }

    /// Asks kube-apiserver to end, and waits until it did.
    pub async fn stop_apiserver(&self) -> Result<()> {
        match take(&self.apiserver) {
            Some(program) => program.terminate(Duration::from_mins(1)).await.map(drop),
            None => Ok(()),
        }
    }

    /// The apiserver's process, while it runs.
    pub fn apiserver_pid(&self) -> Option<u32> {
        lock(&self.apiserver).as_ref().map(Program::pid)
    }

    /// Kills both programs with SIGKILL: the control plane is gone for good.
    pub fn kill_all(&self) -> Result<()> {
        self.kill_apiserver()?;
        take(&self.etcd).map_or(Ok(()), Program::kill)
    }

    /// Where to look, for a failure's message: the folder goes unless it is kept.
    fn hint(&self) -> String {
        let tail = lock(&self.apiserver)
            .as_ref()
            .map(|program| program.tail(15))
            .unwrap_or_default();
        format!(" (CULVERT_KEEP=1 keeps that folder); end of kube-apiserver.log:\n{tail}\n")
    }
}

fn lock(program: &Mutex<Option<Program>>) -> MutexGuard<'_, Option<Program>> {
    program.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(program: &Mutex<Option<Program>>) -> Option<Program> {
    lock(program).take()
}

/// A loopback address that no other control plane has. A free port may be somebody else's by the time that it is used; where
/// two control planes take the same one, the apiserver of one works on the etcd of the other, and both wait in vain.
fn home() -> Ipv4Addr {
    /// So many at a time in one process.
    const EACH: u32 = 4;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % EACH;
    // A process's number has 22 bits at most, the network 24.
    let host = (process::id() % (1 << 22)) * EACH + number;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) + host)
}

/// A port that nobody listens on at this moment.
fn free_port(address: IpAddr) -> Result<u16> {
    let listener = TcpListener::bind((address, 0))
        .with_context(|| format!("failed to find a free port on {address}"))?;
    Ok(listener.local_addr().context("failed to read a port")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_planes_have_addresses_of_their_own() {
        let (one, other) = (home(), home());
        assert_ne!(one, other);
        let process = |address: Ipv4Addr| (u32::from(address) & 0x00ff_ffff) / 4;
        assert!([one, other].iter().all(Ipv4Addr::is_loopback));
        assert_eq!([one, other].map(process), [process::id(); 2]);
    }
}

//! The way to the cluster, with kubectl's own flags.

use std::env;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};

use crate::duration;
use crate::request::{Ask, Failure, Role, Why};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a request may take that nobody gave a time for.
const PATIENCE: Duration = Duration::from_secs(30);

/// kubectl's flags about the cluster.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct ClusterArgs {
    /// The context of the kubeconfig to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// The namespace [default: the context's].
    #[arg(long, short, global = true, value_name = "NAME")]
    pub namespace: Option<String>,

    /// The kubeconfig to use [default: those in KUBECONFIG, else ~/.kube/config, else a pod's service account].
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Whom to act as.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,

    /// A group to act as a member of; may be repeated.
    #[arg(long, global = true, value_name = "GROUP", requires = "as_user")]
    pub as_group: Vec<String>,

    /// How long a single request may take, as in 30s; 0 for no limit [default: 30s].
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse_timeout)]
    pub request_timeout: Option<Duration>,
}

/// Why there is no cluster. What the library says of it quotes the file, which holds credentials; so this names the file
/// and no more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Nothing says where a cluster is.
    #[error("no cluster found")]
    NotConfigured,

    /// A file cannot be read.
    #[error("the kubeconfig `{}` cannot be read: {}", .0.display(), said(*.1))]
    Unread(PathBuf, io::ErrorKind),

    /// What a file holds is no kubeconfig.
    #[error("`{}` is no kubeconfig", .0.display())]
    Malformed(PathBuf),

    /// The kubeconfig has no such context.
    #[error("the kubeconfig has no context `{0}`")]
    NoContext(String),

    /// The kubeconfig chooses no context.
    #[error("the kubeconfig chooses no context")]
    NothingChosen,

    /// The file cannot be used.
    #[error("the kubeconfig is not usable")]
    Unusable,
}

impl ClusterError {
    fn of(error: &KubeconfigError) -> Self {
        match error {
            KubeconfigError::CurrentContextNotSet => Self::NothingChosen,
            KubeconfigError::LoadContext(name) => Self::NoContext(name.clone()),
            KubeconfigError::FindPath => Self::NotConfigured,
            KubeconfigError::ReadConfig(error, path) => Self::Unread(path.clone(), error.kind()),
            _ => Self::Unusable,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unread(_, _) if env::var_os("SUDO_USER").is_some() => {
                "sudo has another home and drops KUBECONFIG; say `sudo KUBECONFIG=\"$HOME/.kube/config\" kubectl culvert …`"
            }
            Self::Unread(_, io::ErrorKind::PermissionDenied) => {
                "be who may read it, or set KUBECONFIG or --kubeconfig to another file that kubectl uses"
            }
            Self::NotConfigured | Self::Unread(_, _) => {
                "set KUBECONFIG or --kubeconfig to the file that kubectl uses"
            }
            Self::NoContext(_) | Self::NothingChosen => {
                "`kubectl config get-contexts` lists those there are; choose one with --context"
            }
            Self::Malformed(_) => {
                "`kubectl config view --kubeconfig` with that file says what is wrong; get it anew from where it came, or name another"
            }
            Self::Unusable => "try `kubectl version` with it",
        }
    }
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Cluster {
    /// The client. It repeats no request by itself.
    pub client: Client,

    /// The namespace that keys are in.
    pub namespace: String,

    /// The host and port of the apiserver, by which a cluster is told from another on this machine.
    pub server: String,

    timeout: Option<Duration>,
    /// The role that lets a user do all that is asked.
    role: Option<Role>,
}

impl Cluster {
    /// Finds the cluster; asks it nothing.
    pub async fn find(args: &ClusterArgs) -> Result<Self, ClusterError> {
        Self::find_through(args, Client::try_from).await
    }

    /// As [`Cluster::find`], through a client of the caller's making.
    pub async fn find_through(
        args: &ClusterArgs,
        client: impl FnOnce(Config) -> kube::Result<Client>,
    ) -> Result<Self, ClusterError> {
        let mut config = config(args).await?;
        config.connect_timeout = Some(CONNECT);
        config.default_retry = false;
        if let Some(user) = &args.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(args.as_group.clone());
        }
        let namespace = args.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let server = config
            .cluster_url
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let timeout = args.request_timeout.unwrap_or(PATIENCE);
        Ok(Self {
            client: client(config).map_err(|_| ClusterError::Unusable)?,
            namespace,
            server,
            timeout: (!timeout.is_zero()).then_some(timeout),
            role: None,
        })
    }

    /// The same, for a command of which all requests are allowed by this role: whoever is refused one needs it for all.
    #[must_use]
    pub fn for_role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Objects of a namespaced kind, in the namespace that was asked for.
    pub fn here<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of any kind, in the whole cluster.
    pub fn all<K>(&self) -> Api<K>
    where
        K: kube::Resource,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }

    /// Waits for the answer to a request, for no longer than was asked.
    pub async fn ask<T>(
        &self,
        ask: Ask,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        let ask = Ask {
            granted_by: self.role,
            ..ask
        };
        let answer = match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, request).await,
            None => Ok(request.await),
        };
        match answer {
            Ok(answer) => answer.map_err(|error| Failure::of(ask, error)),
            Err(_) => Err(Failure {
                ask: ask.into(),
                why: Why::TimedOut,
            }),
        }
    }
}

async fn config(args: &ClusterArgs) -> Result<Config, ClusterError> {
    let named = args.kubeconfig.as_deref().map(read);
    // As the library does it: a pod has no kubeconfig.
    let file = match named.unwrap_or_else(of_environment) {
        Ok(file) => file,
        Err(error) if args.kubeconfig.is_none() && args.context.is_none() => {
            return Config::incluster().map_err(|_| error);
        }
        Err(error) => return Err(error),
    };
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let found = Config::from_custom_kubeconfig(file, &options).await;
    found.map_err(|error| ClusterError::of(&error))
}

/// As everybody says it.
fn said(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        other => other.to_string(),
    }
}

/// As kubectl does it: of the files in KUBECONFIG those that are not there are left out, unless none is.
fn of_environment() -> Result<Kubeconfig, ClusterError> {
    let list = env::var_os("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = env::split_paths(&list)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let mut there = named
        .iter()
        .filter(|path| path.try_exists().unwrap_or(true))
        .peekable();
    if there.peek().is_none() {
        let usual = || env::home_dir().map(|home| home.join(".kube/config"));
        let only = named.first().cloned().or_else(usual);
        return read(&only.ok_or(ClusterError::NotConfigured)?);
    }
    there.try_fold(Kubeconfig::default(), |all, path| {
        all.merge(read(path)?).map_err(|error| ClusterError::of(&error))
    })
}

fn read(path: &Path) -> Result<Kubeconfig, ClusterError> {
    Kubeconfig::read_from(path).map_err(|error| match ClusterError::of(&error) {
        ClusterError::Unusable => ClusterError::Malformed(path.to_owned()),
        error => error,
    })
}

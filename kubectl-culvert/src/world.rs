//! What an administrator's commands look at, read once and whole. What this user may not read is missing, with the reason.

use culvert_crds::{GatewayNode, IPPool, WireGuardGateway, WireGuardKey};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::client::Body;

use crate::clock;
use crate::cluster::Cluster;
use crate::gateways::list;
use crate::judge::Check;
use crate::keys;
use crate::request::{Ask, Failure};

/// Culvert's own objects.
#[derive(Clone, Debug, Default)]
pub struct Culvert {
    /// The apiserver knows the kinds; where it does not, there is nothing of them.
    pub is_defined: bool,

    /// All pools.
    pub pools: Vec<IPPool>,

    /// All gateways.
    pub gateways: Vec<WireGuardGateway>,

    /// All gateways on nodes.
    pub nodes: Vec<GatewayNode>,

    /// All keys.
    pub keys: Vec<WireGuardKey>,
}

/// What Culvert stands on. `None` is what could not be read.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// Definitions of kinds.
    pub definitions: Option<Vec<CustomResourceDefinition>>,

    /// Admission policies.
    pub policies: Option<Vec<ValidatingAdmissionPolicy>>,

    /// What puts them into force.
    pub bindings: Option<Vec<ValidatingAdmissionPolicyBinding>>,

    /// Its namespaces.
    pub namespaces: Option<Vec<Namespace>>,
}

/// The apiserver, and the time there and here.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its version, as in `v1.35.0`.
    pub version: String,

    /// What time it is there.
    pub there: Timestamp,

    /// What time it is here.
    pub here: Timestamp,
}

/// Reads Culvert's objects.
pub async fn culvert(cluster: &Cluster) -> Result<Culvert, Failure> {
    // On the heap, as each is large and all of them are under way at the same time. Where several fail, the same one is told
    // each time, whichever came first.
    let (pools, gateways, nodes, keys) = futures::join!(
        Box::pin(list(cluster, "ippools")),
        Box::pin(list(cluster, "wireguardgateways")),
        Box::pin(list(cluster, "gatewaynodes")),
        Box::pin(keys::list(cluster, true, None)),
    );
    let (pools, gateways, nodes, keys) = (pools?, gateways?, nodes?, keys?);
    Ok(Culvert {
        is_defined: true,
        pools,
        gateways,
        nodes,
        keys,
    })
}

impl Ground {
    /// Whether all that a check looks at could be read.
    pub fn tells_of(&self, check: Check) -> bool {
        match check {
            Check::Definitions => self.definitions.is_some(),
            Check::Policies => self.policies.is_some() && self.bindings.is_some(),
            Check::PodSecurity => self.namespaces.is_some(),
            _ => true,
        }
    }
}

/// All that there is to judge.
pub struct World {
    /// The apiserver.
    pub server: Server,

    /// What Culvert stands on.
    pub ground: Ground,

    /// Culvert itself.
    pub culvert: Culvert,

    /// What could not be read.
    pub failures: Vec<Failure>,
}

/// Reads all of it.
pub async fn world(cluster: &Cluster) -> Result<World, Failure> {
    let server = server(cluster).await?;
    let (ground, failures) = ground(cluster).await;
    // Without the definitions there is nothing else to read.
    let culvert = match culvert(cluster).await {
        Err(failure) if failure.is_of_no_kind() => Culvert::default(),
        read => read?,
    };
    Ok(World {
        server,
        ground,
        culvert,
        failures,
    })
}

/// Reads what Culvert stands on; and what failed.
pub async fn ground(cluster: &Cluster) -> (Ground, Vec<Failure>) {
    let (definitions, policies, bindings, namespaces) = futures::join!(
        Box::pin(list(cluster, "customresourcedefinitions")),
        Box::pin(list(cluster, "validatingadmissionpolicies")),
        Box::pin(list(cluster, "validatingadmissionpolicybindings")),
        Box::pin(list(cluster, "namespaces")),
    );
    let mut failures = Vec::new();
    let ground = Ground {
        definitions: read(definitions, &mut failures),
        policies: read(policies, &mut failures),
        bindings: read(bindings, &mut failures),
        namespaces: read(namespaces, &mut failures),
    };
    (ground, failures)
}

fn read<T>(result: Result<T, Failure>, failures: &mut Vec<Failure>) -> Option<T> {
    result.map_err(|failure| failures.push(failure)).ok()
}

/// Asks the apiserver for its version; each answer says what time it is there.
pub async fn server(cluster: &Cluster) -> Result<Server, Failure> {
    let ask = Ask::cluster("get", "/version");
    let asked = async {
        let request = http::Request::get("/version").body(Body::empty());
        let answer = cluster
            .client
            .send(request.map_err(kube::Error::HttpError)?)
            .await?;
        let date = answer.headers().get(http::header::DATE).cloned();
        let bytes = answer.into_body().collect_bytes().await?;
        let info: Info = serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)?;
        Ok((info, date))
    };
    let (info, date) = cluster.ask(ask, asked).await?;
    let here = clock::now().wall;
    let said = date.and_then(|date| {
        let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date.to_str().ok()?);
        parsed.ok()
    });
    Ok(Server {
        version: info.git_version,
        there: said.unwrap_or(here),
        here,
    })
}

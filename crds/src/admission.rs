//! Rules about who writes what, as `ValidatingAdmissionPolicy` objects.
//!
//! RBAC decides what a role may do; these policies hold when a role grants too much, as `admin` roles that list every
//! resource do. A forged claim or status would give its author somebody else's address, so a second, explicit grant is
//! asked for: a verb that no ordinary role lists.
//!
//! | Verb | On | Lets |
//! |---|---|---|
//! | `claim` | `wireguardpeers` | make, change and delete claims |
//! | `publish` | `wireguardkeys`, `ippools`, `wireguardgateways` | write the status of that kind |
//! | `enlist` | `gatewaynodes` | make, change and delete gateway nodes |
//! | `drain` | `gatewaynodes` | change a gateway node's `spec.drain` and raise its `spec.purgeGeneration`, no more |
//! | `report` | `gatewaynodes` | write the status of the gateway nodes on the node that the caller's token is bound to |
//! | `report-any` | `gatewaynodes` | with `report`: of any node |
//!
//! So no account is named here, and a backup tool is let in by a role. `*` in a cluster role grants all of them. Every
//! verb is asked for in the whole cluster: `*` within a namespace's role is not enough.
//!
//! An update of a claim or a gateway node that changes nothing needs none of them: that is how a storage version is
//! migrated. Nothing means nothing: not even who manages a field may change, because each change is another version, and
//! a version that keeps changing keeps the operator from releasing a claim. (Of a status nothing is written by such an
//! update, so for statuses there is no exception.)
//!
//! Whatever goes wrong in an expression refuses the request (`failurePolicy: Fail`). The policies run within the
//! apiserver and depend on nothing else. They become active a moment after they are stored.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec,
    Validation, Variable,
};
use kube::core::ObjectMeta;

use crate::GROUP;

/// An update that changes nothing.
const UNCHANGED: &str = "request.operation == 'UPDATE' && object == oldObject";

/// All policies, in the order in which they are applied.
pub fn policies() -> Vec<ValidatingAdmissionPolicy> {
    vec![claims(), statuses(), gateway_nodes(), reports(), key_metadata()]
}

/// What puts each policy into force, everywhere.
pub fn bindings() -> Vec<ValidatingAdmissionPolicyBinding> {
    policies().into_iter().map(binding).collect()
}

/// Claims are the operator's.
fn claims() -> ValidatingAdmissionPolicy {
    Policy::on(&["wireguardpeers"], &["CREATE", "UPDATE", "DELETE"])
        .variable("unchanged", UNCHANGED)
        .forbid(
            format!("variables.unchanged || {}", verb("wireguardpeers", "claim")),
            "WireGuardPeers are made by Culvert's operator; apply a WireGuardKey instead. A backup tool needs the verb `claim` on wireguardpeers.culvert.dev in a cluster role",
        )
        .named("wireguardpeers")
}

/// What the operator publishes is the operator's.
fn statuses() -> ValidatingAdmissionPolicy {
    Policy::on(
        &["wireguardkeys/status", "ippools/status", "wireguardgateways/status"],
        &["UPDATE"],
    )
    .forbid(
        format!("authorizer.group('{GROUP}').resource(request.resource.resource).check('publish').allowed()"),
        "this status is written by Culvert's operator; change the spec instead. A backup tool needs the verb `publish` on this resource of culvert.dev in a cluster role",
    )
    .named("published-status")
}

/// The operator says which gateway serves on which node, and where. Whoever may delete nodes may do the same to what
/// belongs to one: that is the garbage collector, which takes a gateway node when its node is gone, and asks for nothing
/// else.
fn gateway_nodes() -> ValidatingAdmissionPolicy {
    // What else is in the spec but `drain` and `purgeGeneration` is fixed by the definition itself. Who could set the host
    // would send clients elsewhere.
    let only_drain = [
        "spec.?endpointHost",
        "?metadata.annotations",
        "?metadata.labels",
        "?metadata.finalizers",
        "?metadata.ownerReferences",
    ]
    .map(|field| format!("object.{field} == oldObject.{field}"))
    .join(" && ");
    Policy::on(&["gatewaynodes"], &["CREATE", "UPDATE", "DELETE"])
        // As variables, which are evaluated when they are asked for: one expression may not cost three questions.
        .variable("unchanged", UNCHANGED)
        .variable("enlists", &verb("gatewaynodes", "enlist"))
        .variable(
            "collects",
            "(request.operation == 'DELETE' || request.operation == 'UPDATE' && object.spec == oldObject.spec) && authorizer.group('').resource('nodes').check('delete').allowed()",
        )
        .variable(
            "drains",
            &format!(
                "request.operation == 'UPDATE' && {only_drain} && {}",
                verb("gatewaynodes", "drain")
            ),
        )
        .forbid(
            "variables.unchanged || variables.enlists || variables.collects || variables.drains".to_owned(),
            "GatewayNodes are made by Culvert's operator from gateways and nodes; change a WireGuardGateway or a node's labels instead. The verb `drain` on gatewaynodes.culvert.dev in a cluster role lets change spec.drain and raise spec.purgeGeneration, the verb `enlist` all",
        )
        .named("gatewaynodes")
}

/// An agent speaks for its own node.
fn reports() -> ValidatingAdmissionPolicy {
    // What the token of a service account says, when it is bound to a node or to a pod on one.
    let node = "request.userInfo.?extra[?'authentication.kubernetes.io/node-name'][0].orValue('')";
    Policy::on(&["gatewaynodes/status"], &["UPDATE"])
        .variable("node", node)
        .forbid(
            verb("gatewaynodes", "report"),
            "the status of a GatewayNode is written by its node's agent, which needs the verb `report` on gatewaynodes.culvert.dev in a cluster role",
        )
        .forbid(
            format!(
                "(variables.node != '' && variables.node == oldObject.spec.nodeName) || {}",
                verb("gatewaynodes", "report-any")
            ),
            "an agent writes the status of its own node alone; use a service account token that is bound to a pod on that node, or to the node",
        )
        .named("gatewaynodes-status")
}

/// Metadata that tenants write is watched by the operator, so its size has bounds. An object that breaks one already may
/// be changed otherwise, and deleted.
fn key_metadata() -> ValidatingAdmissionPolicy {
    let unchanged = |field: &str| {
        format!("(oldObject != null && object.?metadata.{field} == oldObject.?metadata.{field})")
    };
    Policy::on(&["wireguardkeys"], &["CREATE", "UPDATE"])
        .when("not-being-deleted", "!has(object.metadata.deletionTimestamp)")
        .variable("annotations", "object.metadata.?annotations.orValue({})")
        .variable("owners", "object.metadata.?ownerReferences.orValue([])")
        // The count comes first: it bounds what the sum may cost.
        .refuse(
            format!("{} || (size(variables.annotations) <= 64 && variables.annotations.map(k, size(bytes(k)) + size(bytes(variables.annotations[k]))).sum() <= 16384)", unchanged("annotations")),
            "a WireGuardKey has at most 64 annotations of 16 KiB altogether; keep larger data elsewhere",
        )
        .refuse(
            format!("{} || size(object.metadata.?labels.orValue({{}})) <= 32", unchanged("labels")),
            "a WireGuardKey has at most 32 labels; remove some",
        )
        .refuse(
            format!("{} || size(object.metadata.?finalizers.orValue([])) <= 8", unchanged("finalizers")),
            "a WireGuardKey has at most 8 finalizers; Culvert itself needs none",
        )
        .refuse(
            format!("{} || (size(variables.owners) <= 8 && variables.owners.all(o, size(o.apiVersion) <= 317 && size(o.kind) <= 63 && size(o.name) <= 253 && size(o.uid) <= 64))", unchanged("ownerReferences")),
            "a WireGuardKey has at most 8 owner references, each to an object with a name of at most 253 and a uid of at most 64 characters",
        )
        .named("wireguardkeys-metadata")
}

/// Whether the caller may do `verb` on `resource` in the whole cluster.
fn verb(resource: &str, verb: &str) -> String {
    format!("authorizer.group('{GROUP}').resource('{resource}').check('{verb}').allowed()")
}

/// A policy in the making.
struct Policy(ValidatingAdmissionPolicySpec);

impl Policy {
    fn on(resources: &[&str], operations: &[&str]) -> Self {
        let owned = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
        let rule = NamedRuleWithOperations {
            api_groups: owned(&[GROUP]),
            // Later versions of the API as well.
            api_versions: owned(&["*"]),
            operations: owned(operations),
            resources: owned(resources),
            ..NamedRuleWithOperations::default()
        };
        Self(ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(MatchResources {
                resource_rules: Some(vec![rule]),
                ..MatchResources::default()
            }),
            ..ValidatingAdmissionPolicySpec::default()
        })
    }

    fn when(mut self, name: &str, expression: &str) -> Self {
        self.0
            .match_conditions
            .get_or_insert_default()
            .push(MatchCondition {
                name: name.to_owned(),
                expression: expression.to_owned(),
            });
        self
    }

    fn variable(mut self, name: &str, expression: &str) -> Self {
        self.0.variables.get_or_insert_default().push(Variable {
            name: name.to_owned(),
            expression: expression.to_owned(),
        });
        self
    }

    /// 403 with `message` unless `expression` holds: the caller may not.
    fn forbid(self, expression: String, message: &str) -> Self {
        self.validation(expression, message, "Forbidden")
    }

    /// 422 with `message` unless `expression` holds: the object is wrong.
    fn refuse(self, expression: String, message: &str) -> Self {
        self.validation(expression, message, "Invalid")
    }

    fn validation(mut self, expression: String, message: &str, reason: &str) -> Self {
        self.0.validations.get_or_insert_default().push(Validation {
            expression,
            message: Some(message.to_owned()),
            reason: Some(reason.to_owned()),
            ..Validation::default()
        });
        self
    }

    fn named(self, name: &str) -> ValidatingAdmissionPolicy {
        ValidatingAdmissionPolicy {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{GROUP}")),
                ..ObjectMeta::default()
            },
            spec: Some(self.0),
            ..ValidatingAdmissionPolicy::default()
        }
    }
}

fn binding(policy: ValidatingAdmissionPolicy) -> ValidatingAdmissionPolicyBinding {
    ValidatingAdmissionPolicyBinding {
        metadata: ObjectMeta {
            name: policy.metadata.name.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ValidatingAdmissionPolicyBindingSpec {
            policy_name: policy.metadata.name,
            validation_actions: Some(vec!["Deny".to_owned()]),
            ..ValidatingAdmissionPolicyBindingSpec::default()
        }),
    }
}

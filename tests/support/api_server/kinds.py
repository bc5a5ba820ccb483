# SPDX-License-Identifier: Apache-2.0
"""Which kinds of objects are served, and what is known of each: adding one is a line."""
from dataclasses import dataclass

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def at(*path, default=None):
    """A column's value: what is at a path of the object."""
    def read(value):
        for key in path:
            if isinstance(value, list):
                value = value[key] if key < len(value) else None
            else:
                value = (value or {}).get(key)
        return default if value is None else value
    return read


def joined(values):
    return ",".join(str(value) for value in values) or "<none>"


def _ready(pod):
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return f"{sum(bool(status.get('ready')) for status in statuses)}/{len(pod.get('spec', {}).get('containers', []))}"


def _node_status(node):
    ready = [c["status"] for c in node.get("status", {}).get("conditions", []) if c.get("type") == "Ready"]
    return "Ready" if ready == ["True"] else "NotReady" if ready else "Unknown"


def _ports(service):
    return joined(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in service.get("spec", {}).get("ports", []))


def _slice_ports(value):
    return joined(port.get("port", "*") for port in value.get("ports") or [])


def _slice_addresses(value):
    return joined(address for one in value.get("endpoints") or [] for address in one.get("addresses", []))


def _addresses(endpoints):
    return joined(f"{address['ip']}:{port['port']}" for subset in endpoints.get("subsets", [])
                  for address in subset.get("addresses", []) for port in subset.get("ports", []))


def _replicas(value):
    return f"{value.get('status', {}).get('readyReplicas', 0)}/{value.get('spec', {}).get('replicas', 1)}"


@dataclass(frozen=True, eq=False)  # compared as the one it is: they are keys
class Kind:
    plural: str
    name: str
    group: str = ""
    versions: tuple = ("v1",)  # served, best first
    namespaced: bool = True
    short: tuple = ()
    verbs: tuple = VERBS
    categories: tuple = ()
    subresources: tuple = ()
    fields: tuple = ()  # field selectors beside metadata.name and metadata.namespace
    columns: tuple = ()  # of a Table, between Name and Age: (title, value of an object)
    generation: bool = False  # counts changes of its spec
    custom: bool = False  # defined by a CustomResourceDefinition: no strategic merge patch

    @property
    def qualified(self):
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def api_version(self, version):
        return f"{self.group}/{version}" if self.group else version


ALL = {"categories": ("all",)}
APPS = ALL | {"group": "apps", "subresources": ("status",), "generation": True}
RBAC = {"group": "rbac.authorization.k8s.io"}

KINDS = (
    Kind("pods", "Pod", **ALL, short=("po",), subresources=("status",), fields=("spec.nodeName", "status.phase"),
         columns=(("Ready", _ready), ("Status", at("status", "phase", default="Pending")), ("IP", at("status", "podIP")),
                  ("Node", at("spec", "nodeName", default="<none>")))),
    Kind("services", "Service", **ALL, short=("svc",), subresources=("status",),
         columns=(("Type", at("spec", "type")), ("Cluster-IP", at("spec", "clusterIP", default="<none>")), ("Port(s)", _ports))),
    Kind("endpoints", "Endpoints", short=("ep",), columns=(("Endpoints", _addresses),)),
    Kind("endpointslices", "EndpointSlice", group="discovery.k8s.io", versions=("v1", "v1beta1"), generation=True,
         columns=(("AddressType", at("addressType")), ("Ports", _slice_ports), ("Endpoints", _slice_addresses))),
    Kind("namespaces", "Namespace", namespaced=False, short=("ns",), subresources=("status", "finalize"),
         columns=(("Status", at("status", "phase")),)),
    Kind("nodes", "Node", namespaced=False, short=("no",), subresources=("status",), columns=(("Status", _node_status),)),
    Kind("configmaps", "ConfigMap", short=("cm",), columns=(("Data", lambda v: len(v.get("data") or {})),)),
    Kind("secrets", "Secret", fields=("type",),
         columns=(("Type", at("type")), ("Data", lambda v: len(v.get("data") or {})))),
    Kind("serviceaccounts", "ServiceAccount", short=("sa",), subresources=("token",),
         columns=(("Secrets", lambda v: len(v.get("secrets", []))),)),
    Kind("events", "Event", short=("ev",), fields=("involvedObject.name", "involvedObject.namespace", "involvedObject.kind",
                                                   "involvedObject.uid", "reason", "type"),
         columns=(("Type", at("type")), ("Reason", at("reason")), ("Message", at("message")))),
    Kind("deployments", "Deployment", short=("deploy",), columns=(("Ready", _replicas),), **APPS),
    Kind("replicasets", "ReplicaSet", short=("rs",), columns=(("Ready", _replicas),), **APPS),
    Kind("statefulsets", "StatefulSet", short=("sts",), columns=(("Ready", _replicas),), **APPS),
    Kind("daemonsets", "DaemonSet", short=("ds",),
         columns=(("Desired", at("status", "desiredNumberScheduled", default=0)),
                  ("Ready", at("status", "numberReady", default=0))),
         **APPS),
    Kind("jobs", "Job", group="batch", subresources=("status",)),
    Kind("leases", "Lease", group="coordination.k8s.io", columns=(("Holder", at("spec", "holderIdentity")),)),
    Kind("networkpolicies", "NetworkPolicy", group="networking.k8s.io", short=("netpol",), generation=True),
    Kind("poddisruptionbudgets", "PodDisruptionBudget", group="policy", versions=("v1", "v1beta1"), short=("pdb",),
         subresources=("status",), generation=True),
    Kind("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", group="admissionregistration.k8s.io",
         namespaced=False, generation=True, columns=(("Webhooks", lambda v: len(v.get("webhooks", []))),)),
    Kind("roles", "Role", **RBAC),
    Kind("rolebindings", "RoleBinding", **RBAC),
    Kind("clusterroles", "ClusterRole", namespaced=False, **RBAC),
    Kind("clusterrolebindings", "ClusterRoleBinding", namespaced=False, **RBAC),
    Kind("serviceprofiles", "ServiceProfile", group="linkerd.io", versions=("v1alpha2",), short=("sp",), custom=True,
         generation=True),
    # Asked, never kept: answered by reviews.py.
    Kind("tokenreviews", "TokenReview", group="authentication.k8s.io", namespaced=False, verbs=("create",)),
    Kind("selfsubjectaccessreviews", "SelfSubjectAccessReview", group="authorization.k8s.io", namespaced=False, verbs=("create",)),
    Kind("subjectaccessreviews", "SubjectAccessReview", group="authorization.k8s.io", namespaced=False, verbs=("create",)),
)

# What a release serves otherwise than all versions above, and what it can do. Clients are to ask, not to compare versions.
RELEASES = {
    "1.20": {"version": ("1", "20", "v1.20.2"), "features": (),
             "unserved": ("discovery.k8s.io/v1", "policy/v1", "linkerd.io/v1alpha2")},
    "1.33": {"version": ("1", "33", "v1.33.1"), "features": ("watchList", "aggregatedDiscovery", "namespaceLabel"),
             "unserved": ("discovery.k8s.io/v1beta1", "policy/v1beta1", "linkerd.io/v1alpha2")},
}


class Served:
    """What is served at the moment, as the release has it until told otherwise."""

    def __init__(self, release):
        chosen = RELEASES[release]
        self.version = chosen["version"]
        self.features = set(chosen["features"])
        self.unserved = set(chosen["unserved"])

    def versions(self, kind):
        return [version for version in kind.versions if kind.api_version(version) not in self.unserved and
                f"{kind.api_version(version)}/{kind.plural}" not in self.unserved]

    def find(self, group, version, plural):
        for kind in KINDS:
            if kind.group == group and kind.plural == plural and version in self.versions(kind):
                return kind
        return None

    def groups(self):
        """{group: [versions]}, best first."""
        out = {}
        for kind in KINDS:
            for version in self.versions(kind):
                out.setdefault(kind.group, [])
                if version not in out[kind.group]:
                    out[kind.group].append(version)
        return out

    def kinds(self, group, version):
        return [kind for kind in KINDS if kind.group == group and version in self.versions(kind)]


def by_plural(plural):
    return next(kind for kind in KINDS if kind.plural == plural)

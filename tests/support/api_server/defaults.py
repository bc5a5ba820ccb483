# SPDX-License-Identifier: Apache-2.0
"""What the real server fills in, as far as clients look at it.

Defaults belong to whoever wrote the object (managedFields has them); what is prepared for a new object belongs to nobody.
"""
import base64


def apply_defaults(kind, value):
    """Changes `value`, an object that is about to be kept."""
    if kind.plural in DEFAULTS:
        DEFAULTS[kind.plural](value)


def prepare(server, kind, value):
    """Changes `value`, a new object."""
    if kind.plural in PREPARED:
        PREPARED[kind.plural](server, value)


def _service(value):
    spec = value.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])


def _pod(value):
    spec = value.setdefault("spec", {})
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in spec.get("containers") or []:
        for port in container.get("ports") or []:
            port.setdefault("protocol", "TCP")


def _namespace(value):
    value.setdefault("status", {}).setdefault("phase", "Active")


def _secret(value):
    for key, text in (value.pop("stringData", None) or {}).items():
        value.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
    value.setdefault("type", "Opaque")


def _slice(value):
    for port in value.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("name", "")


def _new_service(server, value):
    spec = value["spec"]
    if spec["type"] != "ExternalName":
        spec.setdefault("clusterIP", server.next_cluster_ip())
        spec["clusterIPs"] = [spec["clusterIP"]]
    value["status"] = {"loadBalancer": {}}


def _new_pod(_server, value):
    value["spec"]["serviceAccountName"] = value["spec"]["serviceAccount"] = value["spec"].get("serviceAccountName") or "default"
    value["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


def _new_namespace(server, value):
    value["spec"] = {"finalizers": ["kubernetes"]}
    if "namespaceLabel" in server.served.features:
        value["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = value["metadata"]["name"]


def _new_event(_server, value):
    value.setdefault("eventTime", None)
    value.setdefault("reportingComponent", "")
    value.setdefault("reportingInstance", "")


DEFAULTS = {"services": _service, "pods": _pod, "namespaces": _namespace, "secrets": _secret, "endpointslices": _slice}
PREPARED = {"services": _new_service, "pods": _new_pod, "namespaces": _new_namespace, "events": _new_event}

# SPDX-License-Identifier: Apache-2.0
"""Between the version that is kept (the best) and the one that is spoken: only EndpointSlices differ in more than the name."""

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


def from_kept(kind, value, version):
    value = {"kind": kind.name, "apiVersion": kind.api_version(version)} | {
        key: part for key, part in value.items() if key not in ("kind", "apiVersion")}
    if kind.plural == "endpointslices" and version == "v1beta1" and value.get("endpoints"):
        value["endpoints"] = [_older(endpoint) for endpoint in value["endpoints"]]
    return value


def to_kept(kind, value, version):
    value = {key: part for key, part in value.items() if key not in ("kind", "apiVersion")}
    if kind.plural == "endpointslices" and version == "v1beta1" and value.get("endpoints"):
        value["endpoints"] = [_newer(endpoint) for endpoint in value["endpoints"]]
    return value


def _older(endpoint):
    out = {key: part for key, part in endpoint.items() if key not in ("zone", "deprecatedTopology")}
    topology = dict(endpoint.get("deprecatedTopology", {}))
    if "zone" in endpoint:
        topology[ZONE] = endpoint["zone"]
    if "nodeName" in endpoint:
        topology[HOST] = out.pop("nodeName")
    return out | ({"topology": topology} if topology else {})


def _newer(endpoint):
    out = {key: part for key, part in endpoint.items() if key != "topology"}
    topology = dict(endpoint.get("topology") or {})
    if ZONE in topology:
        out["zone"] = topology.pop(ZONE)
    if HOST in topology:
        out["nodeName"] = topology.pop(HOST)
    return out | ({"deprecatedTopology": topology} if topology else {})

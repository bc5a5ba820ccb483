# SPDX-License-Identifier: Apache-2.0
"""What is served: /version, /api, /apis and below, also the aggregated form."""
import base64
import hashlib

SUBRESOURCE_VERBS = {"token": ["create"], "finalize": ["update"]}


def verbs_of(subresource):
    return SUBRESOURCE_VERBS.get(subresource, ["get", "patch", "update"])


def version(served):
    major, minor, text = served.version
    return {"major": major, "minor": minor, "gitVersion": text, "gitTreeState": "archive", "platform": "linux/amd64"}


def api_versions(address):
    return {"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]}


def _group(name, versions):
    every = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": every, "preferredVersion": every[0]}


def group_list(served):
    return {"kind": "APIGroupList", "apiVersion": "v1",
            "groups": [_group(name, versions) for name, versions in served.groups().items() if name]}


def one_group(served, name):
    versions = served.groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, versions) if versions and name else None


def _hash(kind):
    return base64.b64encode(hashlib.sha256(kind.qualified.encode()).digest()[:8]).decode()


def _resource(kind):
    out = {"name": kind.plural, "singularName": kind.name.lower() if kind.custom else "", "namespaced": kind.namespaced,
           "kind": kind.name, "verbs": list(kind.verbs)}
    if kind.short:
        out["shortNames"] = list(kind.short)
    if kind.categories:
        out["categories"] = list(kind.categories)
    if "list" in kind.verbs:
        out["storageVersionHash"] = _hash(kind)
    return out


def _subresource(kind, name):
    out = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if name == "token":
        out |= {"group": "authentication.k8s.io", "version": "v1"}
    return out | {"kind": "TokenRequest" if name == "token" else kind.name,
                  "verbs": verbs_of(name)}


def resource_list(served, group, version_name):
    kinds = served.kinds(group, version_name)
    if not kinds:
        return None
    resources = []
    for kind in sorted(kinds, key=lambda kind: kind.plural):
        resources += [_resource(kind), *(_subresource(kind, name) for name in sorted(kind.subresources))]
    out = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    return out | {"groupVersion": f"{group}/{version_name}" if group else version_name, "resources": resources}


def aggregated_version(served, accept):
    """The version of apidiscovery.k8s.io that is asked for and spoken, or ""."""
    if "aggregatedDiscovery" not in served.features:
        return ""
    for offer in accept.split(","):
        options = dict(part.strip().split("=", 1) for part in offer.split(";")[1:] if "=" in part)
        if options.get("as") == "APIGroupDiscoveryList" and options.get("v") in ("v2", "v2beta1"):
            return options["v"]
    return ""


def aggregated(served, form, core):
    """Everything in one answer: of the core group, or of all others."""
    items = []
    for group, versions in served.groups().items():
        if (group == "") != core:
            continue
        metadata = {"creationTimestamp": None} | ({"name": group} if group else {})
        items.append({"metadata": metadata, "versions": [
            {"version": version_name, "freshness": "Current", "resources": [
                _aggregated(kind, version_name) for kind in sorted(served.kinds(group, version_name), key=lambda k: k.plural)]}
            for version_name in versions]})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{form}", "metadata": {}, "items": items}


def _aggregated(kind, version_name):
    def response(name=kind.name, group=kind.group, version_of=version_name):
        return {"group": group, "version": version_of, "kind": name}
    out = {"resource": kind.plural, "responseKind": response(), "scope": "Namespaced" if kind.namespaced else "Cluster",
           "singularResource": kind.name.lower(), "verbs": list(kind.verbs)}
    if kind.short:
        out["shortNames"] = list(kind.short)
    if kind.subresources:
        out["subresources"] = [
            {"subresource": name, "verbs": verbs_of(name),
             "responseKind": response("TokenRequest", "authentication.k8s.io", "v1") if name == "token" else response()}
            for name in sorted(kind.subresources)]
    return out

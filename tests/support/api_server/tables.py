# SPDX-License-Identifier: Apache-2.0
"""Objects as the client asked for them: whole, their metadata only, or a Table (what kubectl prints)."""
import calendar
import time

NAME = {"name": "Name", "type": "string", "format": "name", "priority": 0}
AGE = {"name": "Age", "type": "string", "format": "", "priority": 0}


def wanted(accept):
    """"", "Table" or "PartialObjectMetadata", with the version of meta.k8s.io; None if nothing that we have is accepted."""
    for offer in (accept or "*/*").split(","):
        parts = [part.strip() for part in offer.split(";")]
        options = dict(part.split("=", 1) for part in parts[1:] if "=" in part)
        if parts[0] not in ("application/json", "application/yaml", "*/*", "application/*"):
            continue
        form = options.get("as", "")
        if form in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList") and options.get("v") in ("v1", "v1beta1"):
            return form.removesuffix("List"), options["v"]
        if not form:
            return "", "v1"
    return None


def age(value):
    created = value["metadata"].get("creationTimestamp")
    if not created:
        return "<unknown>"
    seconds = int(time.time()) - calendar.timegm(time.strptime(created, "%Y-%m-%dT%H:%M:%SZ"))
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    return f"{seconds // 60}m" if seconds < 7200 else f"{seconds // 3600}h"


def metadata_only(value, version):
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": value["metadata"]}


def columns(kind):
    middle = [{"name": title, "type": "string", "format": "", "priority": 0} for title, _ in kind.columns]
    return [NAME, *middle, AGE]


def table(kind, items, metadata, version, definitions=True):
    """definitions: only the first of a watch's tables has them."""
    rows = [{"cells": [item["metadata"]["name"], *(value(item) for _, value in kind.columns), age(item)],
             "object": metadata_only(item, version)} for item in items]
    return {"kind": "Table", "apiVersion": f"meta.k8s.io/{version}", "metadata": metadata,
            "columnDefinitions": columns(kind) if definitions else None, "rows": rows}

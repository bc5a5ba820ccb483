# SPDX-License-Identifier: Apache-2.0
"""An OpenAPI v2 document that has no schemas, which kubectl takes for kinds it need not check; only the query parameters of
writes, from which it learns that it may ask for a dry run, or for validation by the server."""
import json

PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


def _kinds(served):
    for group, versions in served.groups().items():
        for version in versions:
            for kind in served.kinds(group, version):
                if "patch" in kind.verbs:
                    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
                    scope = "/namespaces/{namespace}" if kind.namespaced else ""
                    yield f"{root}{scope}/{kind.plural}/{{name}}", {"group": group, "version": version, "kind": kind.name}


def document(served):
    paths = {path: {"patch": {"x-kubernetes-group-version-kind": kind, "responses": {"200": {"description": "OK"}},
                              "parameters": [{"name": name, "in": "query", "type": "string"} for name in PARAMETERS]}}
             for path, kind in _kinds(served)}
    return {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "unversioned"}, "paths": paths}


def _field(number, value):
    size, out = len(value), bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes([number << 3 | 2]) + bytes(out) + value


def protobuf(served):
    """The same as a message openapi.v2.Document, the form that kubectl asks for."""
    info = _field(1, b"Kubernetes") + _field(2, b"unversioned")
    paths = b""
    for path, kind in _kinds(served):
        operation = b""
        for name in PARAMETERS:
            query = _field(2, b"query") + _field(4, name.encode()) + _field(6, b"string")
            # ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema
            operation += _field(8, _field(1, _field(2, _field(3, query))))
        extension = _field(1, b"x-kubernetes-group-version-kind") + _field(2, _field(2, json.dumps(kind).encode()))
        operation += _field(13, extension)
        paths += _field(2, _field(1, path.encode()) + _field(2, _field(8, operation)))
    return _field(1, b"2.0") + _field(2, info) + _field(8, paths)

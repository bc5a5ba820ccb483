# SPDX-License-Identifier: Apache-2.0
"""Kinds that are asked and not kept: TokenReview and the reviews of access."""
from . import managed
from .statuses import bad_request
from .users import ISSUER, TokenError, User


def answer(server, kind, asked, user, manager, now):
    status = {"tokenreviews": _token, "selfsubjectaccessreviews": _own_access, "subjectaccessreviews": _access}[kind.plural]
    out = {"kind": kind.name, "apiVersion": kind.api_version("v1"), "metadata": {"creationTimestamp": None},
           "spec": asked.get("spec") or {}}
    result = status(server, out["spec"], user)
    return managed.note_update(None, out, manager, out["apiVersion"], now) | {"status": result}


def _token(server, spec, _user):
    if not spec.get("token"):
        raise bad_request("token is required for TokenReview in authentication")
    try:
        found = server.users.of_token(spec["token"], spec.get("audiences") or [ISSUER])
    except TokenError as error:
        return {"user": {}, "error": str(error)}
    who = {"username": found.name, "uid": found.uid, "groups": list(found.groups)}
    if found.extra:
        who["extra"] = {name: [value] for name, value in found.extra}
    return {"authenticated": True, "user": who, "audiences": list(found.audiences)}


def _own_access(server, spec, user):
    return _access(server, spec, user, own=True)


def _access(server, spec, user, own=False):
    if not own:
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
    asked = spec.get("resourceAttributes") or {}
    resource = asked.get("resource", "") + (f"/{asked['subresource']}" if asked.get("subresource") else "")
    why = server.access.why(user, asked.get("verb", ""), asked.get("group", ""), resource, asked.get("namespace", ""),
                            asked.get("name", ""))
    if why is None:
        return {"allowed": False}
    return {"allowed": True, "reason": why} if why else {"allowed": True}

# SPDX-License-Identifier: Apache-2.0
"""The errors of the API: Status objects with the words of the real server, because clients and people read them."""


class ApiError(Exception):
    def __init__(self, code, reason, message, details=None, **metadata):
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details
        self.metadata = metadata
        self.retry_after = None

    def document(self):
        out = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure", "message": str(self)}
        if self.reason:
            out["reason"] = self.reason
        if self.details is not None:
            out["details"] = self.details
        return out | {"code": self.code}


def details_of(kind, name=""):
    out = {"name": name} if name else {}
    if kind.group:
        out["group"] = kind.group
    return out | {"kind": kind.plural}


def not_found(kind, name):
    return ApiError(404, "NotFound", f'{kind.qualified} "{name}" not found', details_of(kind, name))


def no_such_resource():
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed():
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def already_exists(kind, name):
    return ApiError(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', details_of(kind, name))


def conflict(kind, name, why):
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}',
                    details_of(kind, name))


def modified(kind, name):
    return conflict(kind, name, "the object has been modified; please apply your changes to the latest version and try again")


def uid_conflict(kind_name, name, where, wanted, found):
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {kind_name} "{name}": the UID in the {where} '
                    f"({wanted}) does not match the UID in record{f' ({found})' if found else ''}. The object might have been "
                    "deleted and then recreated", {"name": name, "kind": kind_name})


def forbidden(kind, name, message):
    subject = kind.qualified + (f' "{name}"' if name else "")
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {message}", details_of(kind, name))


def bad_request(message):
    return ApiError(400, "BadRequest", message)


def unauthorized():
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(message, **metadata):
    return ApiError(410, "Expired", message, **metadata)


def invalid(kind, group, name, causes, prefix=""):
    """causes: [(reason, field, message)]; prefix: how messages call the kind, when not by its name alone."""
    said = [f"{field}: {message}" for _, field, message in causes]
    details = {"name": name} if name else {}
    if group:
        details["group"] = group
    details |= {"kind": kind, "causes": [{"reason": reason, "message": message, "field": field}
                                         for reason, field, message in causes]}
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    return ApiError(422, "Invalid", f'{prefix or kind} "{name}" is invalid: {text}', details)

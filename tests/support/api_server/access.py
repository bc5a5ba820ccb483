# SPDX-License-Identifier: Apache-2.0
"""What a user may do: RBAC as the objects in the store say, and what every real cluster grants."""
from .kinds import by_plural
from .statuses import ApiError, forbidden

DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/healthz", "/livez", "/readyz", "/version")
PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
REVIEWS = ("selfsubjectaccessreviews",)  # every user may ask what is granted


def _matches(patterns, path):
    return any(path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1])) for pattern in patterns)


class Access:
    def __init__(self, store):
        self.store = store

    def check_path(self, user, verb, path):
        allowed = DISCOVERY if "system:authenticated" in user.groups else PUBLIC
        if "system:masters" in user.groups or (verb == "get" and _matches(allowed, path)):
            return
        raise ApiError(403, "Forbidden", f'forbidden: User "{user.name}" cannot {verb} path "{path}"', {})

    def check(self, user, verb, kind, namespace, name="", subresource=""):
        resource = kind.plural + (f"/{subresource}" if subresource else "")
        if self.why(user, verb, kind.group, resource, namespace, name) is not None:
            return
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        raise forbidden(kind, name, f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}')

    def why(self, user, verb, group, resource, namespace, name):
        """What grants it; None if nothing does."""
        if "system:masters" in user.groups:
            return ""
        if resource in REVIEWS and "system:authenticated" in user.groups:
            return 'RBAC: allowed by ClusterRoleBinding "system:basic-user" of ClusterRole "system:basic-user" to Group ' \
                   '"system:authenticated"'
        asked = (verb, group, resource, name)
        bindings = [("ClusterRoleBinding", binding) for binding in self.store.all(by_plural("clusterrolebindings"))]
        if namespace:
            bindings += [("RoleBinding", binding) for binding in self.store.all(by_plural("rolebindings"), namespace)]
        for what, binding in bindings:
            subject = next((s for s in binding.get("subjects") or [] if _is_user(s, user, binding)), None)
            if subject and any(_grants(rule, *asked) for rule in self._rules(binding)):
                return _said(what, binding, subject)
        return None

    def _rules(self, binding):
        role = binding["roleRef"]
        if role["kind"] == "ClusterRole":
            found = self.store.get(by_plural("clusterroles"), "", role["name"])
        else:
            found = self.store.get(by_plural("roles"), binding["metadata"]["namespace"], role["name"])
        return (found or {}).get("rules") or []


def _is_user(subject, user, binding):
    if subject["kind"] == "User":
        return subject["name"] == user.name
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
    return user.name == f"system:serviceaccount:{namespace}:{subject['name']}"


def _grants(rule, verb, group, resource, name):
    def has(key, value):
        return value in rule.get(key, []) or "*" in rule.get(key, [])
    names = rule.get("resourceNames") or []
    subresource = "*/" + resource.partition("/")[2]
    return has("verbs", verb) and has("apiGroups", group) and (has("resources", resource) or (
        "/" in resource and subresource in rule.get("resources", []))) and (not names or name in names)


def _said(what, binding, subject):
    name = binding["metadata"]["name"] + (f"/{binding['metadata']['namespace']}" if what == "RoleBinding" else "")
    who = subject["name"] + (f"/{subject.get('namespace', '')}" if subject["kind"] == "ServiceAccount" else "")
    role = binding["roleRef"]
    return f'RBAC: allowed by {what} "{name}" of {role["kind"]} "{role["name"]}" to {subject["kind"]} "{who}"'

# SPDX-License-Identifier: Apache-2.0
"""Who asks: client certificates, bearer tokens that a test made known, and ServiceAccounts' tokens."""
import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
import uuid
from dataclasses import dataclass

from . import managed, statuses
from .kinds import by_plural

ISSUER = "https://kubernetes.default.svc.cluster.local"
SHORTEST = 600  # seconds that a token may be asked for


@dataclass(frozen=True)
class User:
    name: str
    groups: tuple = ()
    uid: str = ""
    audiences: tuple = ()
    extra: tuple = ()  # (name, value)


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class TokenError(Exception):
    """As TokenReview says it."""


def _encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Users:
    def __init__(self, store):
        self.store = store
        self.known = {}  # token -> User
        self.revoked = set()
        # The real server signs with RSA; whoever is handed a token cannot check either signature.
        self.key = secrets.token_bytes(32)

    def of_request(self, request):
        """The user of a request, or whom it asks to be treated as: any user of system:masters may."""
        user = self._of_credentials(request.certificate, request.header("authorization"))
        name = request.header("impersonate-user")
        if not name or "system:masters" not in user.groups:
            return user
        groups = ("system:authenticated",)
        if name.startswith("system:serviceaccount:"):
            groups += ("system:serviceaccounts", "system:serviceaccounts:" + name.split(":")[2])
        return User(name, groups)

    def _of_credentials(self, certificate, authorization):
        """certificate: as ssl.getpeercert() has it."""
        if certificate:
            names = [pair for part in certificate["subject"] for pair in part]
            common = next((value for key, value in names if key == "commonName"), "")
            groups = tuple(value for key, value in names if key == "organizationName")
            return User(common, groups + ("system:authenticated",))
        if not authorization.lower().startswith("bearer "):
            return ANONYMOUS
        try:
            return self.of_token(authorization[7:].strip(), [ISSUER])
        except TokenError as error:
            raise statuses.unauthorized() from error

    def of_token(self, token, audiences):
        if token in self.revoked:
            raise TokenError("invalid bearer token")
        if token in self.known:
            return self.known[token]
        return self._of_service_account(self._claims(token), audiences)

    def _claims(self, token):
        """Of a token with the issuer of this server, whatever else it is."""
        try:
            signed, _, signature = token.rpartition(".")
            claims = json.loads(_decoded(signed.split(".")[1]))
        except (ValueError, IndexError, binascii.Error) as error:
            raise TokenError("invalid bearer token") from error
        if claims.get("iss") != ISSUER:
            raise TokenError("invalid bearer token")
        if not hmac.compare_digest(signature, self._signature(signed)):
            raise TokenError("[invalid bearer token, square/go-jose: error in cryptographic primitive]")
        return claims

    def _of_service_account(self, claims, audiences):
        now = time.time()
        if claims["exp"] + 60 < now:
            raise TokenError("[invalid bearer token, Token has expired.]")
        if claims["nbf"] - 60 > now:
            raise TokenError("[invalid bearer token, Token could not be validated.]")
        shared = tuple(audience for audience in audiences if audience in claims["aud"])
        if not shared:
            def listed(names):
                return "[" + " ".join(json.dumps(name) for name in names) + "]"
            raise TokenError(f"[invalid bearer token, token audiences {listed(claims['aud'])} is invalid for the target "
                             f"audiences {listed(audiences)}]")
        bound = claims["kubernetes.io"]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        self._require("serviceaccounts", namespace, account)
        extra = ()
        if "pod" in bound:
            self._require("pods", namespace, bound["pod"])
            extra = (("authentication.kubernetes.io/pod-name", bound["pod"]["name"]),
                     ("authentication.kubernetes.io/pod-uid", bound["pod"]["uid"]))
        groups = ("system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated")
        return User(claims["sub"], groups, account["uid"], shared, extra)

    def _require(self, plural, namespace, wanted):
        found = self.store.get(by_plural(plural), namespace, wanted["name"])
        if found is None or found["metadata"]["uid"] != wanted["uid"]:
            raise TokenError("[invalid bearer token, Token has been invalidated]")

    def _signature(self, signed):
        return _encoded(hmac.digest(self.key, signed.encode(), hashlib.sha256))

    def token(self, account, pod=None, audiences=(ISSUER,), seconds=3600):
        """For a ServiceAccount, bound to a pod or not: both as objects."""
        now = int(time.time())
        namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
        bound = {"namespace": namespace, "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]}}
        if pod:
            bound["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        claims = {"aud": list(audiences), "exp": now + seconds, "iat": now, "iss": ISSUER, "jti": str(uuid.uuid4()),
                  "kubernetes.io": bound, "nbf": now,
                  "sub": f"system:serviceaccount:{namespace}:{name}"}
        signed = _encoded(b'{"alg":"HS256"}') + "." + _encoded(json.dumps(claims, separators=(",", ":")).encode())
        return signed + "." + self._signature(signed)

    def request(self, namespace, name, asked, manager, now):
        """Answers a TokenRequest."""
        account = self.store.get(by_plural("serviceaccounts"), namespace, name)
        if account is None:
            raise statuses.not_found(by_plural("serviceaccounts"), name)
        spec = asked.get("spec") or {}
        audiences = spec.get("audiences") or [ISSUER]
        seconds = spec.get("expirationSeconds", 3600)
        if seconds < SHORTEST:
            raise statuses.invalid("TokenRequest", "authentication.k8s.io", "", [
                ("FieldValueInvalid", "spec.expirationSeconds",
                 f"Invalid value: {seconds}: may not specify a duration less than 10 minutes")],
                "TokenRequest.authentication.k8s.io")
        bound = spec.get("boundObjectRef")
        pod = self._bound_pod(namespace, bound) if bound else None
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(time.time()) + seconds))
        out = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {"creationTimestamp": None},
               "spec": spec | {"expirationSeconds": seconds}}
        out = managed.note_update(None, out, manager, out["apiVersion"], now)
        out["spec"] |= {"audiences": audiences, "boundObjectRef": bound}
        return out | {"status": {"token": self.token(account, pod, audiences, seconds), "expirationTimestamp": until}}

    def _bound_pod(self, namespace, bound):
        pods = by_plural("pods")
        pod = self.store.get(pods, namespace, bound["name"]) if bound.get("kind") == "Pod" else None
        if pod is None:
            raise statuses.not_found(pods, bound["name"])
        if bound.get("uid") and bound["uid"] != pod["metadata"]["uid"]:
            raise statuses.uid_conflict("Pod", bound["name"], "bound object reference", bound["uid"], "")
        return pod

# SPDX-License-Identifier: Apache-2.0
"""Get and list."""
import asyncio
import base64
import binascii
import json

from . import statuses, tables
from .conversion import from_kept
from .messages import encoded
from .selectors import selection
from .statuses import ApiError

TOO_NEW_SECONDS = 3.0  # how long the real server waits for a revision that it does not have


def get(server, target, form):
    value = server.store.get(target.kind, target.namespace, target.name)
    if value is None:
        raise statuses.not_found(target.kind, target.name)
    return as_asked(server, target, value, form)


def as_asked(server, target, value, form):
    """One object in the form that the client accepts."""
    value = from_kept(target.kind, value, target.version)
    if form[0] == "Table":
        return tables.table(target.kind, [value], {"resourceVersion": value["metadata"].get("resourceVersion", "")}, form[1])
    return tables.metadata_only(value, form[1]) if form[0] else value


def number(text, name):
    if not text.isdigit():
        raise ApiError(500, "", f'{name}: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


async def listed(server, target, query, form):
    """The body of a list. Encoded here: large lists are encoded item by item, so that others are served meanwhile."""
    store, kind = server.store, target.kind
    selected = selection(kind, query)
    limit = number(query.get("limit") or "0", "limit")
    revision, start, kept = await _snapshot(store, kind, query)
    if query.get("resourceVersion") == "0" and not query.get("continue"):
        limit = 0  # out of a cache, which has no pages
    items, rest, following, last = [], 0, "", ""
    for key in sorted(kept):
        text = _text_key(key, kind, target.namespace)
        if target.namespace not in ("", key[0]) or text < start or (selected and not selected(kept[key])):
            continue
        if limit and len(items) == limit:
            following = following or _token(revision, last + "\0")
            rest += 1
            continue
        items.append(kept[key])
        last = text
    metadata = {"resourceVersion": str(revision if revision >= 0 else store.revision)}
    if following:
        metadata["continue"] = following
        if not selected:
            metadata["remainingItemCount"] = rest
    return await _encoded_list(target, items, metadata, form)


def _text_key(key, kind, namespace):
    """As the key is in the store, below what was listed."""
    return "/".join(key) if kind.namespaced and not namespace else key[1]


async def _snapshot(store, kind, query):
    """(the revision of the list or -1 for one that may be inconsistent, the first key, the objects by key)"""
    asked, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    if query.get("continue"):
        revision, start = _parse_token(query["continue"])
        if 0 <= revision < store.compacted:
            raise statuses.expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list "
                "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
                "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
                "modified, or deleted between the time the first chunk was returned and now may show up in the list.",
                **{"continue": _token(-1, start)})
        return revision, start, store.at(kind, revision) if revision >= 0 else store.objects.get(kind, {})
    revision = number(asked or "0", "resourceVersion")
    if revision > store.revision:
        await asyncio.sleep(TOO_NEW_SECONDS)
        error = ApiError(504, "Timeout", f"Timeout: Too large resource version: {revision}, current: {store.revision}",
                         {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                          "retryAfterSeconds": 1})
        error.retry_after = 1
        raise error
    if match == "Exact":
        if revision < store.compacted:
            raise statuses.expired("The resourceVersion for the provided list is too old.")
        return revision, "", store.at(kind, revision)
    return store.revision, "", store.objects.get(kind, {})


def _token(revision, start):
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _parse_token(text):
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return value["rv"], value["start"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise statuses.bad_request("invalid continue token: continue key is not valid: invalid character 'i' looking for "
                                   "beginning of value") from None


async def _encoded_list(target, items, metadata, form):
    kind = target.kind
    shape, version = form
    if shape == "Table":
        return encoded(tables.table(kind, [from_kept(kind, item, target.version) for item in items], metadata, version))
    if shape:
        head = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{version}", "metadata": metadata}
    else:
        head = {"kind": kind.name + "List", "apiVersion": kind.api_version(target.version), "metadata": metadata}
    parts = []
    for count, item in enumerate(items):
        value = from_kept(kind, item, target.version)
        if shape:
            value = tables.metadata_only(value, version)
        elif not kind.custom:
            value = {key: part for key, part in value.items() if key not in ("kind", "apiVersion")}
        parts.append(encoded(value)[:-1])
        if count % 500 == 499:
            await asyncio.sleep(0)
    return encoded(head)[:-2] + b',"items":[' + b",".join(parts) + b"]}\n"

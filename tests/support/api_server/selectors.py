# SPDX-License-Identifier: Apache-2.0
"""Label selectors and field selectors."""
import re

from .kinds import at
from .statuses import bad_request

SET_TERM = re.compile(r"^\s*(\S+)\s+(in|notin)\s*\(([^)]*)\)\s*$")
EQUAL_TERM = re.compile(r"^\s*([^\s=!,]+)\s*(==|=|!=)\s*([^\s=!,]*)\s*$")
EXISTS_TERM = re.compile(r"^\s*(!?)\s*([^\s=!,()]+)\s*$")


def _split(text):
    """At commas that are not inside parentheses."""
    return [part for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _label_term(text):
    if found := SET_TERM.match(text):
        key, wanted = found[1], {value.strip() for value in found[3].split(",")}
        if found[2] == "in":
            return lambda labels: labels.get(key) in wanted
        return lambda labels: labels.get(key) not in wanted
    if found := EQUAL_TERM.match(text):
        key, value = found[1], found[3]
        if found[2] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := EXISTS_TERM.match(text):
        key = found[2]
        if found[1]:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    words = text.split()
    raise bad_request(f"unable to parse requirement: found '{words[1] if len(words) > 1 else text}', expected: '=', '!=', "
                      "'==', 'in', notin'")


def _field_term(kind, text):
    found = EQUAL_TERM.match(text)
    if not found:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{text}'")
    name, different, value = found[1], found[2] == "!=", found[3]
    known = ("metadata.name", "metadata.namespace") + kind.fields
    if name not in known:
        if kind.fields:
            raise bad_request(f"field label not supported: {name}")
        raise bad_request(f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"')
    read = at(*name.split("."), default="")
    return lambda item: (read(item) != value) if different else (read(item) == value)


def selection(kind, query):
    """A function that says whether an object is selected, or None if all are."""
    labels = [_label_term(part) for part in _split(query.get("labelSelector", ""))]
    fields = [_field_term(kind, part) for part in _split(query.get("fieldSelector", ""))]
    if not labels and not fields:
        return None

    def selected(item):
        own = item["metadata"].get("labels") or {}
        return all(term(own) for term in labels) and all(term(item) for term in fields)
    return selected

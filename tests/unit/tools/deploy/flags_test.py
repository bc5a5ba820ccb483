#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every flag and environment variable that heddle's objects give to its programs is one that the program has, and
`heddle install` prints what `heddle render` does.

Usage: flags_test.py BIN_DIR
"""
import os
import re
import subprocess
import sys

try:
    from rendered import FORMS, containers, objects, text_of, title
except ImportError:
    sys.exit(77)

HELP = {}


def help_of(program, *subcommands):
    command = (program, *subcommands)
    if command not in HELP:
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        HELP[command] = done.stdout
    return HELP[command]


def knows(text, flag):
    return re.search(r"(?m)^\s+(?:-\w,)?" + re.escape(flag) + r"(?=[\s,]|$)", text) is not None


def wrong_in(container, folder):
    """What the container passes and its program does not know."""
    program = os.path.join(folder, os.path.basename(container["command"][0]))
    words = container["command"][1:] + container.get("args", [])
    subcommands = [word for word in words if not word.startswith("-")]
    assert words[:len(subcommands)] == subcommands, f"only flags after {subcommands}: {words}"
    texts = [help_of(program), help_of(program, *subcommands)]
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    twice = {flag for flag in flags if flags.count(flag) > 1}
    unknown = [flag for flag in flags if not any(knows(text, flag) for text in texts)]
    names = [one["name"] for one in container.get("env", [])]
    unread = [name for name in names if not any(f"(Env:{name})" in text for text in texts)]
    return unknown + unread + sorted(twice)


def main(folder):
    heddle = os.path.join(folder, "heddle")
    failures, looked_at = [], 0
    for form in FORMS:
        rendered = objects(text_of(heddle, "render", *form))
        installed = [one for one in objects(text_of(heddle, "install", *form)) if one["metadata"]["name"] != "heddle-install"]
        if installed != rendered:
            failures.append(f"install and render differ with {form}")
        for item in rendered:
            for container in containers(item):
                looked_at += 1
                failures += [f"{title(item)}, container {container['name']}, {form or 'defaults'}: {word}"
                             for word in wrong_in(container, folder)]
    # That this test can fail.
    strange = {"name": "x", "command": ["/usr/bin/heddle-agent"], "args": ["--no-such-flag=1", "--log-level=info", "--log-level=info"],
               "env": [{"name": "HEDDLE_NO_SUCH"}]}
    if wrong_in(strange, folder) != ["--no-such-flag", "HEDDLE_NO_SUCH", "--log-level"]:
        failures.append(f"a strange container passed: {wrong_in(strange, folder)}")
    print("\n".join(failures) or f"{looked_at} containers pass only what their programs know")
    return 1 if failures or looked_at < 4 * len(FORMS) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

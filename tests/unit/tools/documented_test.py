#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documentation and `heddle --help` tell the same: every command and every flag of it is documented, and every
command line that the documentation shows has only commands and flags that there are. Shells complete all of them.

Usage: documented_test.py HEDDLE SOURCE_DIR
"""
import glob
import os
import re
import subprocess
import sys

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def help_of(heddle, path):
    done = subprocess.run([heddle, *path, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"heddle {' '.join(path)} --help: {done.stderr}"
    return done.stdout


def commands_of(heddle, path=()):
    """Every command with its flags: {("lab", "up"): {"--name", ..}, ..}."""
    text = help_of(heddle, path)
    options, _, below = text.partition("\nSubcommands:\n")
    out = {path: set(FLAG.findall("\n".join(re.findall(r"(?m)^  -\S*", options))))}
    for name in re.findall(r"(?m)^  ([a-z][a-z-]*)  ", below.partition("\n\n")[0] + "\n"):
        out.update(commands_of(heddle, (*path, name)))
    return out


def shown(text):
    """Command lines of heddle in code blocks and between backticks."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"(?ms)^```[a-z]*\n(.*?)^```", text) + re.findall(r"(?m)^    (.+)$", text)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text))
    for line in [line for block in blocks for line in block.splitlines()] + spans:
        for part in re.split(r"\||&&|;|\$\(|<\(", line.partition(" # ")[0]):
            words = part.replace("\\", "").split()
            while words and (words[0] in ("sudo", "time") or re.fullmatch(r"[A-Z_]+=\S*", words[0])):
                words.pop(0)
            if words and words[0] in ("heddle", "build/debug/bin/heddle"):
                yield " ".join(words), words[1:]


def wrong_in(words, commands):
    """Why the words are no command line of heddle; empty: they may be."""
    if "--" in words:
        words = words[:words.index("--")]
    path = ()
    for word in words:
        if (*path, word) not in commands:
            break
        path = (*path, word)
    known = commands[path] | commands[()]
    if words and not path and re.fullmatch(r"[a-z-]+", words[0]):
        return f"no command {words[0]}"
    unknown = [flag for word in words[len(path):] for flag in FLAG.findall(word.partition("=")[0]) if flag not in known]
    return f"{' '.join(path)} has no {', '.join(unknown)}" if unknown else ""


def not_completed(heddle, commands):
    script = subprocess.run([heddle, "completion", "bash"], check=True, capture_output=True, text=True).stdout
    for path, flags in commands.items():
        found = re.search(r'(?m)^ *"' + "".join(" " + word for word in path) + r'"\) words="([^"]*)"', script)
        offered = set(found[1].split()) if found else set()
        yield from (f"not completed: {word} of heddle {' '.join(path)}" for word in flags - offered)


def main(heddle, source):
    commands = commands_of(heddle)
    texts = {}
    for name in glob.glob(source + "/docs/*.md") + [source + "/README.md"]:
        with open(name, encoding="utf-8") as file:
            texts[os.path.relpath(name, source)] = file.read()
    together = "\n".join(texts.values())
    failures = list(not_completed(heddle, commands))
    for path, flags in commands.items():
        name = " ".join(path)
        if path and not re.search(r"[`(|, ]" + re.escape(path[-1]) + r"[`\s|,)]", together):
            failures.append(f"not documented: heddle {name}")
        failures += [f"not documented: {flag} of heddle {name}" for flag in flags - {"--help", "--version"}
                     if not re.search(re.escape(flag) + r"(?![\w-])", together)]
    count = 0
    for name, text in texts.items():
        for line, words in shown(text):
            count += 1
            if reason := wrong_in(words, commands):
                failures.append(f"{name}: `{line}`: {reason}")
    # That this test can fail.
    for words in (["stauts"], ["status", "--no-such"], ["lab", "up", "--selector"]):
        if not wrong_in(words, commands):
            failures.append(f"a wrong command line passed: {words}")
    print("\n".join(failures) or f"{len(commands)} commands and {count} command lines")
    return 1 if failures or count < 30 or len(commands) < 25 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

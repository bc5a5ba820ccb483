#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A chained CNI plugin that records what the runtime passes, one line of JSON per call, and changes nothing."""
import json
import os
import sys
import time

RECORD = "/opt/cni/calls"


def main():
    command = os.environ.get("CNI_COMMAND", "")
    if command == "VERSION":
        print('{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]}')
        return
    config = json.load(sys.stdin)
    call = {"at": time.time(), "command": command, "container": os.environ.get("CNI_CONTAINERID", ""),
            "netns": os.environ.get("CNI_NETNS", ""), "previous": "prevResult" in config,
            "arguments": dict(pair.split("=", 1) for pair in os.environ.get("CNI_ARGS", "").split(";") if "=" in pair)}
    with open(RECORD, "a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")
    if command == "ADD":
        json.dump(config["prevResult"], sys.stdout)


if __name__ == "__main__":
    main()

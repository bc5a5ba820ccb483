#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a container image of one layer as an OCI archive, from files of this machine: no registry, no daemon."""
import argparse
import hashlib
import io
import json
import os
import platform
import tarfile

FOLDERS = {"bin": 0o755, "dev": 0o755, "etc": 0o755, "proc": 0o755, "sys": 0o755, "tmp": 0o1777, "var": 0o755}
MEDIA = "application/vnd.oci.image"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="such as heddle.test/pause:1")
    parser.add_argument("archive", help="file to write")
    parser.add_argument("entries", nargs="+", help="SOURCE=PATH for a file, PATH->TARGET for a symbolic link")
    parser.add_argument("--entrypoint", action="append", default=[], help="a word of it; repeatable")
    return parser.parse_args()


def add(tar, path, data=b"", mode=0o755, kind=tarfile.REGTYPE, target=""):
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.mode, entry.type, entry.linkname, entry.size = mode, kind, target, len(data)
    tar.addfile(entry, io.BytesIO(data))


def layer(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, mode in FOLDERS.items():
            add(tar, path, mode=mode, kind=tarfile.DIRTYPE)
        for entry in entries:
            if "->" in entry:
                path, _, target = entry.partition("->")
                add(tar, path, kind=tarfile.SYMTYPE, target=target)
            else:
                source, _, path = entry.partition("=")
                with open(source, "rb") as file:
                    add(tar, path, file.read(), mode=os.stat(source).st_mode & 0o777)
    return buffer.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(kind, data, **more):
    return {"mediaType": f"{MEDIA}.{kind}", "digest": digest(data), "size": len(data), **more}


def main():
    given = arguments()
    files = layer(given.entries)
    config = json.dumps({"architecture": ARCHITECTURE, "os": "linux",
                         "config": {"Env": ["PATH=/bin"], "Entrypoint": given.entrypoint, "WorkingDir": "/"},
                         "rootfs": {"type": "layers", "diff_ids": [digest(files)]}}).encode()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": f"{MEDIA}.manifest.v1+json",
                           "config": descriptor("config.v1+json", config),
                           "layers": [descriptor("layer.v1.tar", files)]}).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [descriptor(
        "manifest.v1+json", manifest, platform={"architecture": ARCHITECTURE, "os": "linux"},
        annotations={"io.containerd.image.name": given.name, "org.opencontainers.image.ref.name": given.name})]}).encode()
    with tarfile.open(given.archive, "w") as tar:
        add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644)
        add(tar, "index.json", index, 0o644)
        for data in (files, config, manifest):
            add(tar, "blobs/sha256/" + digest(data).removeprefix("sha256:"), data, 0o644)


if __name__ == "__main__":
    main()

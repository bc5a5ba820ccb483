# SPDX-License-Identifier: Apache-2.0
"""An OCI image of one static busybox, made from nothing but local files (OCI image layout specification 1.0)."""
import hashlib
import io
import json
import os
import tarfile

APPLETS = ("sh", "wget", "nc", "sleep", "httpd", "cat", "ip", "ls", "timeout", "true")


def add_file(tar, name, content, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = mode
    tar.addfile(info, io.BytesIO(content))


def layer():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "etc", "tmp", "www", "proc", "sys", "dev"):
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            info.mode = 0o755
            tar.addfile(info)
        with open("/bin/busybox", "rb") as file:
            add_file(tar, "bin/busybox", file.read(), 0o755)
        for applet in APPLETS:
            info = tarfile.TarInfo("bin/" + applet)
            info.type = tarfile.SYMTYPE
            info.linkname = "busybox"
            tar.addfile(info)
        add_file(tar, "www/index.html", b"served by a pod\n")
        add_file(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    return out.getvalue()


def write_image(path, name):
    """An image layout in a tar file, as `ctr image import` and `podman load` take it."""
    blobs = {}

    def blob(content, media_type):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

    content = layer()
    layer_entry = blob(content, "application/vnd.oci.image.layer.v1.tar")
    config = {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
              "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sleep", "1000"]},
              "rootfs": {"type": "layers", "diff_ids": [layer_entry["digest"]]}}
    config_entry = blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config_entry,
                "layers": [layer_entry]}
    entry = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
    with tarfile.open(path, mode="w") as tar:
        add_file(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add_file(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        for digest, data in blobs.items():
            add_file(tar, "blobs/sha256/" + digest, data)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Follows Destination.Get as a proxy does: prints all endpoints of a service, space separated, after each update.

A stream that ends, or an answer other than endpoints, is a line that begins with "!"; the program then ends.
"""
import argparse
import importlib
import ipaddress
import os
import subprocess
import sys
import tempfile

import grpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVER = "heddle-control.heddle.serviceaccount.identity.heddle.cluster.local"


def messages():
    """The message classes of destination.proto, compiled on the spot."""
    folder = tempfile.mkdtemp(prefix="heddle-proto-")
    names = [name for name in os.listdir(ROOT + "/api/linkerd") if name.endswith(".proto")]
    subprocess.run(["protoc", "-I", ROOT, "--python_out", folder, *(f"api/linkerd/{name}" for name in names)], check=True)
    sys.path.insert(0, folder)
    return importlib.import_module("api.linkerd.destination_pb2")


def text_of(address):
    ip = address.ip
    if ip.WhichOneof("ip") == "ipv4":
        return f"{ipaddress.IPv4Address(ip.ipv4)}:{address.port}"
    return f"[{ipaddress.IPv6Address((ip.ipv6.first << 64) | ip.ipv6.last)}]:{address.port}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of heddle-control's Destination service")
    parser.add_argument("trust_anchors", help="PEM file")
    parser.add_argument("path", help="NAME.NAMESPACE.svc.DOMAIN:PORT")
    given = parser.parse_args()
    api = messages()
    with open(given.trust_anchors, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    channel = grpc.secure_channel(given.address, credentials, [("grpc.ssl_target_name_override", SERVER)])
    get = channel.unary_stream("/io.linkerd.proxy.destination.Destination/Get",
                               api.GetDestination.SerializeToString, api.Update.FromString)
    known = set()
    try:
        for update in get(api.GetDestination(scheme="k8s", path=given.path), wait_for_ready=True):
            kind = update.WhichOneof("update")
            if kind == "add":
                known |= {text_of(entry.addr) for entry in update.add.addrs}
            elif kind == "remove":
                known -= {text_of(address) for address in update.remove.addrs}
            else:
                known.clear()
            print(" ".join(sorted(known)), flush=True)
        print("! the stream ended", flush=True)
    except grpc.RpcError as error:
        print(f"! {error.code().name}: {error.details()}", flush=True)


if __name__ == "__main__":
    main()

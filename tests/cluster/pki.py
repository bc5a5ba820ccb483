# SPDX-License-Identifier: Apache-2.0
"""Keys, certificates and kubeconfigs of a test cluster, made with openssl. They live as long as the cluster."""
import base64
import json
import os
import subprocess

API_NAMES = ("DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local")
CLIENTS = {"admin": "/O=system:masters/CN=admin", "controller-manager": "/CN=system:kube-controller-manager",
           "scheduler": "/CN=system:kube-scheduler", "kube-proxy": "/CN=system:kube-proxy"}


def openssl(folder, *words, text=None):
    done = subprocess.run(["openssl", *words], cwd=folder, input=text, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(words)}: {done.stdout}")


def key(folder, name):
    openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")


def authority(folder, name):
    key(folder, name)
    openssl(folder, "req", "-x509", "-new", "-key", name + ".key", "-subj", "/CN=" + name, "-days", "30", "-out",
            name + ".crt", "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")


def certificate(folder, name, subject, alternatives="", issuer="ca"):
    key(folder, name)
    openssl(folder, "req", "-new", "-key", name + ".key", "-subj", subject, "-out", name + ".csr")
    extensions = "extendedKeyUsage=serverAuth,clientAuth\n"
    if alternatives:
        extensions += f"subjectAltName={alternatives}\n"
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", issuer + ".crt", "-CAkey", issuer + ".key",
            "-CAcreateserial", "-days", "30", "-out", name + ".crt", "-extfile", "/dev/stdin", text=extensions)


def encoded(folder, name):
    with open(os.path.join(folder, name), "rb") as file:
        return base64.b64encode(file.read()).decode()


def kubeconfig(folder, name, server):
    """JSON is YAML too."""
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "test",
              "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": encoded(folder, "ca.crt")}}],
              "users": [{"name": name, "user": {"client-certificate-data": encoded(folder, name + ".crt"),
                                                "client-key-data": encoded(folder, name + ".key")}}],
              "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}]}
    path = os.path.join(folder, name + ".kubeconfig")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        json.dump(config, file)


def make(folder, server, addresses, nodes):
    """Everything that a control plane of this URL and these addresses, and these nodes (name -> address) need."""
    os.makedirs(folder, mode=0o700)
    authority(folder, "ca")
    authority(folder, "front-proxy-ca")
    openssl(folder, "genrsa", "-out", "service-accounts.key", "2048")
    openssl(folder, "rsa", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub")
    certificate(folder, "apiserver", "/CN=kube-apiserver",
                ",".join("IP:" + address for address in addresses) + "," + API_NAMES)
    certificate(folder, "front-proxy", "/CN=front-proxy-client", issuer="front-proxy-ca")
    certificate(folder, "kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    for name, address in nodes.items():
        certificate(folder, name, f"/O=system:nodes/CN=system:node:{name}", f"IP:{address},DNS:{name}")
        kubeconfig(folder, name, server)
    for name, subject in CLIENTS.items():
        certificate(folder, name, subject)
        kubeconfig(folder, name, server)

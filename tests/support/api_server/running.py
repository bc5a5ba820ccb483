# SPDX-License-Identifier: Apache-2.0
"""For tests: an API server as a process of its own, with its certificates and kubeconfigs."""
import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"  # Debian's, which python3-h2 is for
SERVER_NAMES = "IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc"


def _openssl(folder, *words, text=None):
    done = subprocess.run(["openssl", *words], cwd=folder, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(words)}: {done.stdout}")


def _certificate(folder, name, subject, alternatives=""):
    _openssl(folder, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", name + ".key",
             "-subj", subject, "-out", name + ".csr")
    extensions = "extendedKeyUsage=serverAuth,clientAuth\n" + (f"subjectAltName={alternatives}\n" if alternatives else "")
    _openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
             "-out", name + ".crt", "-extfile", "/dev/stdin", text=extensions)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class ApiServer:
    """Serves from construction to end()."""

    def __init__(self, release="1.33", *flags):
        self.folder = tempfile.mkdtemp(prefix="heddle-api-server-")
        _openssl(self.folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                 "ca.key", "-out", "ca.crt", "-subj", "/CN=test-ca", "-days", "2", "-addext",
                 "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
        _certificate(self.folder, "tls", "/CN=kube-apiserver", SERVER_NAMES)
        _certificate(self.folder, "admin", "/O=system:masters/CN=admin")
        self.process = subprocess.Popen([PYTHON, "-m", "api_server", "--folder", self.folder, "--release", release, *flags],
                                        cwd=os.path.dirname(HERE), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            self.end()
            raise RuntimeError("the API server did not begin")
        self.port = int(words[1])
        self.url = f"https://127.0.0.1:{self.port}"

    def end(self):
        self.process.stdin.close()  # it ends with us, however we do
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def order(self, operation, **given):
        """See admin.py."""
        connection = _UnixConnection(self.folder + "/admin.sock")
        try:
            connection.request("POST", "/" + operation, json.dumps(given))
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{operation}: {body.decode()}")
        return json.loads(body)

    def faults(self, *rules):
        """Take the place of the faults before; none: everything works."""
        self.order("faults", rules=rules)

    def put(self, resource, *objects):
        return self.order("put", resource=resource, objects=objects)["revision"]

    def file(self, name):
        return os.path.join(self.folder, name)

    def kubeconfig(self, token_file="", name="config"):
        """A file for the administrator's certificate, or for a token in a file."""
        def encoded(path):
            with open(self.file(path), "rb") as file:
                return base64.b64encode(file.read()).decode()
        user = {"tokenFile": token_file} if token_file else {
            "client-certificate-data": encoded("admin.crt"), "client-key-data": encoded("admin.key")}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "test",
                  "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority-data": encoded("ca.crt")}}],
                  "users": [{"name": "user", "user": user}],
                  "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}]}
        with open(os.open(self.file(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            json.dump(config, file)  # JSON is YAML too
        return self.file(name)




def main():
    """For programs in other languages, and by hand: serves until standard input ends."""
    server = ApiServer(*sys.argv[1:])
    try:
        print("ready", server.kubeconfig(), server.file("admin.sock"), flush=True)
        sys.stdin.read()
    finally:
        server.end()


if __name__ == "__main__":
    main()

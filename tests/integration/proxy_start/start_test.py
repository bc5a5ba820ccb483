#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A heddle-proxy that never was root, as in a container: it comes before the agent, and is replaced.

Usage: start_test.py HEDDLE_PROXY HEDDLE_AGENT      (as root)
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

PROXY = ""
AGENT = ""
UID = 65534
PATIENCE = 30


class Start(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="heddle-proxy-start-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.root)
        os.chmod(self.root, 0o755)
        self.program = os.path.join(self.root, "heddle-proxy")
        shutil.copy(PROXY, self.program)  # the build's folders may be root's alone
        self.anchors = os.path.join(self.root, "anchors.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=root", "-keyout", "/dev/null", "-out", self.anchors], check=True, capture_output=True)
        self.log = os.path.join(self.root, "log")
        self.process = None
        self.addCleanup(self.stop)

    def start_agent(self):
        agent = subprocess.Popen([AGENT, "--run-dir", self.root, "--http-address", "", "--interception", "iptables",
                                  "--pin-folder", "/sys/fs/bpf/" + os.path.basename(self.root)],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(agent.wait)
        self.addCleanup(agent.kill)

    def replace(self, *flags):
        """Two proxies one after the other at one address, the first with the flags. Returns it and the address."""
        address = f"127.{os.getpid() >> 16 & 127 | 64}.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
        self.start_agent()
        self.start(*flags, admin=address + ":4191")
        self.wait_until(lambda: "agent connected" in self.said() and self.answers(address))
        first, self.log = self.process, self.log + "2"
        self.addCleanup(first.wait)
        self.addCleanup(first.kill)
        self.start(admin=address + ":4191")
        return first, address

    def answers(self, address):
        try:
            with socket.create_connection((address, 4191), 5) as connection:
                connection.sendall(b"GET /live HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(100)
        except OSError:
            return False

    def start(self, *flags, admin="127.0.0.1:0"):
        # The search for leaks attaches to the process, which one that may not be looked into does not allow.
        environment = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.program, "--run-dir", self.root, "--admin-address", admin, "--workers", "1",
                 "--trust-anchors", self.anchors, *flags],
                env=environment, user=UID, group=UID, extra_groups=[], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def said(self):
        return self.text_of(self.log)

    @staticmethod
    def text_of(path):
        with open(path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_until(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertIsNone(self.process.poll(), "the proxy ended: " + self.said())
            self.assertLess(time.monotonic(), end, self.said())
            time.sleep(0.02)

    def test_waits_for_the_agent_to_make_its_folder(self):
        self.start()
        self.wait_until(lambda: "waiting for heddle-agent" in self.said())
        self.assertFalse(os.path.exists(self.root + "/proxy"))
        os.mkdir(self.root + "/proxy", 0o700)  # still root's
        os.chown(self.root + "/proxy", UID, UID)
        self.wait_until(lambda: os.path.exists(self.root + "/proxy/admin.sock"))

    def test_ends_when_told_to_while_it_waits(self):
        self.start()
        self.wait_until(lambda: "waiting for heddle-agent" in self.said())
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(PATIENCE), 1)
        self.assertIn("stopped while waiting", self.said())

    def test_begins_at_once_where_the_folder_is(self):
        os.mkdir(self.root + "/proxy", 0o700)
        os.chown(self.root + "/proxy", UID, UID)
        self.start()
        self.wait_until(lambda: os.path.exists(self.root + "/proxy/admin.sock"))
        self.assertNotIn("waiting for heddle-agent", self.said())

    def test_replaced_it_ends(self):
        first, _ = self.replace()
        self.assertEqual(first.wait(PATIENCE), 0)

    def test_replaced_it_holds_nothing_and_stays_when_told_to(self):
        log = self.log
        first, address = self.replace("--stay-when-replaced", "true")
        self.wait_until(lambda: "replaced: holding nothing" in self.text_of(log))
        self.wait_until(lambda: self.answers(address))  # the second: it has the first one's port
        self.assertIsNone(first.poll())
        self.assertEqual([fd for fd in os.listdir(f"/proc/{first.pid}/fd")
                          if os.readlink(f"/proc/{first.pid}/fd/{fd}").startswith("socket:")], [])
        first.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(PATIENCE), 0)


if __name__ == "__main__":
    PROXY = sys.argv.pop(1)
    AGENT = sys.argv.pop(1)
    unittest.main(verbosity=2)

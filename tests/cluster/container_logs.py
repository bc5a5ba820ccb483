# SPDX-License-Identifier: Apache-2.0
"""What the containers of a test cluster wrote, also those that are gone: kubelet removes a pod's logs with the pod."""
import collections
import datetime
import glob
import os
import threading

LOOK = 0.1  # seconds between looks for new logs: no container is as short
Line = collections.namedtuple("Line", "at text")


def parse(line):
    """A line of containerd's: "2026-11-28T18:00:33.123456789Z stdout F text"; None if it is none."""
    when, _, rest = line.partition(" ")
    try:
        at = datetime.datetime.strptime(when[:26] + "+0000", "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
    except ValueError:
        return None
    return Line(at, rest.partition(" F ")[2] or rest)


def clock(at):
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%H:%M:%S.%f")[:-3]


class ContainerLogs:
    """Holds the logs of all containers of a namespace open from the moment that they appear."""

    def __init__(self, cluster, namespace):
        self.cluster = cluster
        self.namespace = namespace
        self.files = {}  # (device, inode): (name, file)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def end(self):
        self.stopping.set()
        self.thread.join()

    def _follow(self):
        while not self.stopping.wait(LOOK):
            for node in list(self.cluster.nodes.values()):
                for path in glob.glob(f"/proc/{node.pid}/root/var/log/pods/{self.namespace}_*/*/*.log"):
                    self._hold(node, path)

    def _hold(self, node, path):
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in self.files:
                return
            file = open(path, encoding="utf-8", errors="replace")  # pylint: disable=consider-using-with
        except OSError:
            return  # gone already
        pod, container, number = path.split("/")[-3:]
        name = f"{node.name} {pod.split('_')[1]}/{container} {number.removesuffix('.log')}"
        self.files[status.st_dev, status.st_ino] = (name, file)

    def lines(self):
        """{container: its lines in order}."""
        out = {}
        for name, file in list(self.files.values()):
            file.seek(0)
            out.setdefault(name, []).extend(line for line in map(parse, file.read().splitlines()) if line)
        return {name: sorted(lines) for name, lines in sorted(out.items())}

    def show(self, moment, words, before=3.0, after=1.0, most=60):
        """Of each container at most `most` lines that it wrote from `before` seconds before the moment until `after` seconds
        after it: those with one of the `words`, then the nearest. What has such a word is shown from any time."""
        for name, lines in self.lines().items():
            near = [line for line in lines
                    if moment - before <= line.at <= moment + after or any(word in line.text for word in words)]
            if not near:
                continue
            chosen = sorted(near, key=lambda line: (not any(word in line.text for word in words), abs(line.at - moment)))[:most]
            print(f"--- {name}: {len(chosen)} of {len(near)} lines around {clock(moment)}")
            for line in sorted(chosen):
                print(line.text)

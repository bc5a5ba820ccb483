# SPDX-License-Identifier: Apache-2.0
"""The namespaces and cgroups that a test cluster lives in. When its first process ends, the kernel ends everything that
runs in them and takes mounts and interfaces along; cgroups are removed by name."""
import ctypes
import os
import signal
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
FORGOTTEN = 600  # seconds after which an empty cgroup of a cluster is nobody's

# Process 1: an empty /run, a loopback, and somebody to reap orphans.
MACHINE = ('mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/netns /run/lock && ip link set lo up && touch "$1" && '
           'while :; do sleep 3600 & wait $!; done')
# Joins the cgroups named before "--", then becomes the command.
IN_CGROUPS = ('while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"')


class TestbedError(Exception):
    """What is wrong with this machine or with the cluster, and what to do."""


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start_machine(folder, linger):
    """Returns the pid of process 1 of new mount, network and process namespaces. They end with this process, unless they
    `linger`."""
    ready = os.path.join(folder, "machine-ready")
    log = os.path.join(folder, "logs", "machine.log")
    with open(log, "w", encoding="utf-8") as output:
        unshare = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "sh",
             "-c", MACHINE, "sh", ready],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            preexec_fn=None if linger else end_with_parent)
    deadline = time.monotonic() + 20
    while not os.path.exists(ready):
        if unshare.poll() is not None or time.monotonic() > deadline:
            with open(log, encoding="utf-8") as file:
                raise TestbedError("cannot make namespaces (needs root and CAP_SYS_ADMIN): " + file.read())
        time.sleep(0.02)
    return init_below(unshare.pid)


def children_of(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            status = status_of(int(name))
            if status and int(status["PPid"]) == pid:
                found.append(int(name))
    return found


def status_of(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return None


def init_below(pid, seconds=20):
    """The nearest descendant of `pid` that is process 1 of a namespace."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        level = children_of(pid)
        while level:
            for child in level:
                status = status_of(child)
                if status and status["NSpid"].split()[-1] == "1":
                    return child
            level = [grandchild for child in level for grandchild in children_of(child)]
        time.sleep(0.02)
    raise TestbedError(f"process {pid} began no namespaces within {seconds} s; see the logs")


def started_at(pid):
    """Tells a process from a later one of the same number; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None


def cgroup_parents():
    """[(folder, version)]: where cgroups of a node go, in every hierarchy that is mounted."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        delegate_controllers("/sys/fs/cgroup")
        return [("/sys/fs/cgroup", 2)]
    found = []
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            number, controllers, path = line.rstrip("\n").split(":", 2)
            mount = "/sys/fs/cgroup/" + ("unified" if number == "0" else controllers.removeprefix("name="))
            if os.path.isdir(mount):
                folder = mount + path.rstrip("/")
                found.append((folder if os.path.isdir(folder) else mount, 2 if number == "0" else 1))
    if not any(version == 2 for _, version in found):
        raise TestbedError("cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
    return found


def delegate_controllers(root):
    with open(root + "/cgroup.controllers", encoding="ascii") as file:
        controllers = file.read().split()
    with open(root + "/cgroup.subtree_control", encoding="ascii") as file:
        missing = [name for name in controllers if name not in file.read().split()]
    for name in missing:
        try:
            with open(root + "/cgroup.subtree_control", "w", encoding="ascii") as file:
                file.write("+" + name)
        except OSError as error:
            raise TestbedError(f"cannot hand the cgroup controller {name} down from {root} ({error.strerror}): in a "
                               "container, run it with the host's cgroup namespace, or move its processes below that "
                               "folder") from error


def make_cgroups(name):
    """Returns [(folder, version)]."""
    made = []
    for parent, version in cgroup_parents():
        remove_forgotten(parent)
        folder = os.path.join(parent, name)
        os.makedirs(folder, exist_ok=True)
        if parent.startswith("/sys/fs/cgroup/cpuset"):
            for setting in ("cpuset.cpus", "cpuset.mems"):
                with open(os.path.join(parent, setting), encoding="ascii") as source:
                    with open(os.path.join(folder, setting), "w", encoding="ascii") as target:
                        target.write(source.read())
        made.append((folder, version))
    return made


def remove_forgotten(parent):
    """What a cluster left whose test was killed. Young ones may be about to be used."""
    for name in os.listdir(parent):
        folder = os.path.join(parent, name)
        try:
            if name.startswith("heddle-cluster-") and time.time() - os.stat(folder).st_mtime > FORGOTTEN:
                remove_below(folder)
        except OSError:
            pass  # somebody else was faster


def remove_below(root):
    """Removes cgroups without processes; the kernel refuses the others."""
    for folder, _, _ in os.walk(root, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            pass


def remove_cgroups(folders, seconds=10):
    """Their processes are ending; a cgroup can be removed once the last is gone."""
    deadline = time.monotonic() + seconds
    left = list(folders)
    while left:
        for root in left:
            remove_below(root)
        left = [folder for folder in left if os.path.isdir(folder)]
        if left and time.monotonic() > deadline:
            raise TestbedError("cgroups with processes are left: " + ", ".join(left))
        time.sleep(0.05)

# SPDX-License-Identifier: Apache-2.0
"""The machine the tests run on: running commands without losing their children, and what tests left behind."""
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
OURS = re.compile(r"heddle|hdl-|hd-")


def adopt_orphans():
    """Daemons whose parent ends become our children, so that none is lost (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children():
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                after_name = file.read().rpartition(")")[2].split()
            if int(after_name[1]) == os.getpid():
                found.append(int(entry))
        except OSError:
            pass
    return found


def end_children():
    """Ends what our commands left running, by process id. Returns the names of the ended."""
    names = []
    for attempt in range(20):
        running = []
        for pid in children():
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    continue
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    running.append((pid, file.read().strip()))
            except (ChildProcessError, OSError):
                pass
        if not running:
            break
        for pid, name in running:
            if attempt == 0:
                names.append(name)
            try:
                os.kill(pid, signal.SIGTERM if attempt < 10 else signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)
    return names


def run(command, log, cwd=None, environment=None, timeout=None, echo=None):
    """Runs a command in a session of its own, its output into a file and, filtered by `echo`, onto the terminal.

    Returns the exit status; 124 when it took longer than `timeout` seconds.
    """
    started = time.monotonic()
    with open(log, "a", encoding="utf-8", errors="replace") as file:
        process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   start_new_session=True)
        try:
            for line in process.stdout:
                file.write(line)
                if echo and echo(line):
                    print(line, end="", flush=True)
                if timeout and time.monotonic() - started > timeout:
                    os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        except BaseException:
            stop_group(process)
            raise
    return 124 if timeout and time.monotonic() - started > timeout else status


def stop_group(process):
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=5)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def output_of(command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          errors="replace", check=False).stdout


def cgroup_folders():
    for line in open("/proc/self/mountinfo", encoding="utf-8"):
        if " - cgroup2 " in line:
            mount = line.split()[4]
            yield from (os.path.join(mount, name) for name in os.listdir(mount) if os.path.isdir(os.path.join(mount, name)))


def traces():
    """What heddle's tests may leave on a machine, as (kind, name)."""
    found = {("namespace", name) for name in (os.listdir("/run/netns") if os.path.isdir("/run/netns") else [])}
    found |= {("interface", name) for name in os.listdir("/sys/class/net")}
    found |= {("cgroup", path) for path in cgroup_folders()}
    for folder in ("/tmp", "/run"):
        found |= {("path", os.path.join(folder, name)) for name in os.listdir(folder)}
    found |= {("mount", line.split()[4]) for line in open("/proc/self/mountinfo", encoding="utf-8")}
    for line in output_of(["iptables-save"]).splitlines():
        if "heddle" in line:
            found.add(("rule", line))
    return {trace for trace in found if OURS.search(trace[1])}


def remove_traces(left):
    """Removes what can be removed safely: only what appeared while we ran and bears our name."""
    for kind, name in sorted(left, key=lambda trace: ("mount", "namespace", "interface", "cgroup", "path").index(trace[0])
                             if trace[0] != "rule" else 9):
        if kind == "mount":
            subprocess.run(["umount", "-l", name], stderr=subprocess.DEVNULL, check=False)
        elif kind == "namespace":
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)
        elif kind == "interface":
            subprocess.run(["ip", "link", "delete", name], stderr=subprocess.DEVNULL, check=False)
        elif kind == "cgroup":
            for folder, _, _ in os.walk(name, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass
        elif kind == "path" and not os.path.ismount(name):
            if os.path.isdir(name) and not os.path.islink(name):
                shutil.rmtree(name, ignore_errors=True)
            else:
                os.unlink(name)

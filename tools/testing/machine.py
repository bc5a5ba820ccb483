# SPDX-License-Identifier: Apache-2.0
"""The machine the tests run on: running commands, keeping tests apart from it, and what they may leave behind."""
import os
import re
import signal
import subprocess
import threading
import time

OURS = re.compile(r"heddle")

# Network, mount and process namespaces of the tests' own, in which /run and /tmp are empty. When the command ends, the
# kernel ends every process and removes every mount, interface and pin that is left, whatever happened. The shell stays
# as process 1 to reap orphans; nothing but cgroups is shared with the machine.
ISOLATE = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private", "sh", "-c",
           # A checkout may itself be below /tmp or /run: it is held open and put back.
           'exec 8<"$2" 9<"$3" && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/netns /run/lock && '
           'mount --bind "$1" /tmp && mkdir -p "$2" "$3" && mount -c --rbind /proc/self/fd/8 "$2" && '
           'mount -c --rbind /proc/self/fd/9 "$3" && exec 8<&- 9<&- && cd "$2" && '
           'ip link set lo up && shift 3 && "$@"; exit $?', "sh"]


def isolated(scratch, root, build, command):
    """The command in such namespaces; `scratch` is its /tmp, the checkout and the build tree stay where they are."""
    return [*ISOLATE, scratch, root, build, *command]


class Running:
    """The commands of this run, which several threads begin; once stopped, no further one begins."""

    def __init__(self):
        self._lock = threading.Lock()
        self._processes = set()
        self._stopped = False

    def begin(self, command, **how):
        with self._lock:
            if self._stopped:
                raise RuntimeError("the run has ended")
            process = subprocess.Popen(command, start_new_session=True, **how)
            self._processes.add(process)
        if os.sched_getscheduler(0) == os.SCHED_IDLE:
            lower_session(process.pid)
        return process

    def ended(self, process):
        with self._lock:
            self._processes.discard(process)

    def stop(self):
        with self._lock:
            self._stopped = True
            left = list(self._processes)
        for process in left:
            stop_group(process)


RUNNING = Running()


def only_when_idle():
    """This thread, and what it begins, gets the processors' time that nothing else wants."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def lower_session(pid):
    """Where the kernel shares processors out among sessions, a policy counts within one only."""
    try:
        with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as file:
            file.write("19")
    except OSError:
        pass  # a kernel without autogroups, or the command has ended


def run(command, log, cwd=None, environment=None, timeout=None, echo=None):
    """Runs a command in a session of its own, its output into a file and, filtered by `echo`, onto the terminal.

    Returns the exit status; 124 when it took longer than `timeout` seconds.
    """
    started = time.monotonic()
    with open(log, "a", encoding="utf-8", errors="replace") as file:
        process = RUNNING.begin(command, cwd=cwd, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
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
        finally:
            RUNNING.ended(process)
    return 124 if timeout and time.monotonic() - started > timeout else status


def filtered(command, text, cwd):
    """The exit status of a command that is given a text, and what it says."""
    process = RUNNING.begin(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(text)
        return process.returncode, said
    finally:
        RUNNING.ended(process)


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
    """heddle's cgroups, at the root and beside this process, that no process is in: of tests that ended. Others belong to a lab or an agent that runs here."""
    found = set()
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = {line.rstrip("\n").split(":", 2)[2] for line in file}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line.split()[4] for line in file if " - cgroup" in line]
    for folder in {mount + path.rstrip("/") for mount in mounts for path in {"/"} | own}:
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            path = os.path.join(folder, name)
            if OURS.search(name) and os.path.isdir(path) and not populated(path):
                found.add(path)
    return found


def populated(path):
    for folder, _, _ in os.walk(path):
        try:
            with open(os.path.join(folder, "cgroup.procs"), encoding="utf-8") as file:
                if file.read().strip():
                    return True
        except OSError:
            return True  # unknown is in use
    return False


def remove_cgroups(paths):
    for path in paths:
        for folder, _, _ in os.walk(path, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass

# SPDX-License-Identifier: Apache-2.0
"""Where the proxies' CPU goes: stacks by perf as flame graphs, and system calls per request."""
import collections
import os
import subprocess
import xml.sax.saxutils

FREQUENCY = 997
ROW = 17
WIDTH = 1600
NARROWEST = 1
SYSCALLS = ("accept4", "close", "connect", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "getsockopt",
            "read", "readv", "recvfrom", "recvmsg", "sendmsg", "sendto", "setsockopt", "shutdown", "splice", "write",
            "writev")


def during(command, watch):
    """Runs `command` while `watch` (a perf command line) looks; what the command printed."""
    watcher = subprocess.Popen(watch, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        watcher.send_signal(2)  # perf ends its file on SIGINT
        errors = watcher.communicate()[1]
    if done.returncode != 0:
        raise ValueError(f"{' '.join(command)} failed: {done.stderr[-400:]}")
    return done.stdout, errors


def count_syscalls(command, pids):
    """What the command printed, and how often the processes called the kernel meanwhile, by name and in all."""
    events = ["raw_syscalls:sys_enter"] + [f"syscalls:sys_enter_{name}" for name in SYSCALLS]
    output, counted = during(command, ["perf", "stat", "-x,", "-e", ",".join(events), "-p", ",".join(map(str, pids))])
    found = {}
    for line in counted.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit():
            found[fields[2].rsplit(":", 1)[1].removeprefix("sys_enter_")] = int(fields[0])
    if "sys_enter" in found:
        found["all"] = found.pop("sys_enter")
    if not found.get("all"):
        raise ValueError(f"perf counted no system calls: {counted[-400:]}")
    return output, found


def record(command, pids, path):
    """Leaves `path`.svg and `path`.folded; what the command printed."""
    output, _ = during(command, ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-g", "-o", f"{path}.data",
                                 "-p", ",".join(map(str, pids))])
    script = subprocess.run(["perf", "script", "-i", f"{path}.data", "-F", "comm,ip,sym"], capture_output=True, text=True,
                            check=True)
    os.unlink(f"{path}.data")
    stacks = fold(script.stdout)
    with open(f"{path}.folded", "w") as f:
        f.writelines(f"{';'.join(stack)} {count}\n" for stack, count in sorted(stacks.items()))
    with open(f"{path}.svg", "w") as f:
        f.write(flame_graph(stacks, os.path.basename(path)))
    return output


def fold(script):
    """perf script's samples as stacks, outermost frame first -> how many."""
    stacks = collections.Counter()
    frames = []
    for line in script.splitlines() + [""]:
        if line.startswith(("\t", " ")) and frames:
            address, _, symbol = line.strip().partition(" ")
            frames.append(symbol or address)
        elif line.strip():
            frames = [line.strip()]
        elif frames:
            stacks[tuple([frames[0]] + frames[:0:-1])] += 1
            frames = []
    return stacks


class Frame:
    def __init__(self):
        self.count = 0
        self.inner = collections.defaultdict(Frame)

    def depth(self, least):
        """Of the frames that are drawn."""
        return 1 + max((frame.depth(least) for frame in self.inner.values() if frame.count >= least), default=0)


def flame_graph(stacks, title):
    root = Frame()
    for stack, count in stacks.items():
        frame = root
        frame.count += count
        for name in stack:
            frame = frame.inner[name]
            frame.count += count
    scale = WIDTH / max(1, root.count)
    height = (root.depth(NARROWEST / scale) + 2) * ROW
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="monospace" '
             f'font-size="11"><rect width="100%" height="100%" fill="white"/>'
             f'<text x="4" y="13">{xml.sax.saxutils.escape(title)}: {root.count} samples</text>']
    draw(root, 0, height - ROW, scale, max(1, root.count), parts)
    return "\n".join(parts) + "\n</svg>\n"


def draw(frame, left, top, scale, total, parts):
    for name, inner in sorted(frame.inner.items()):
        width = inner.count * scale
        if width >= NARROWEST:
            text = xml.sax.saxutils.escape(name)
            label = xml.sax.saxutils.escape(name[:int(width / 6.7)]) if width > 20 else ""
            hue = 20 + sum(name.encode()) % 40
            parts.append(f'<g><title>{text}: {inner.count} ({100 * inner.count / total:.1f} %)</title>'
                         f'<rect x="{left:.1f}" y="{top - ROW:.1f}" width="{width:.1f}" height="{ROW - 1}" '
                         f'fill="hsl({hue},80%,65%)"/><text x="{left + 2:.1f}" y="{top - 5:.1f}">{label}</text></g>')
            draw(inner, left, top - ROW, scale, total, parts)
        left += width

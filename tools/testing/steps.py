# SPDX-License-Identifier: Apache-2.0
"""The steps of a test run. Each takes the settings and returns outcomes; none raises for a failed test."""
import concurrent.futures
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import typing

from ahead import Ahead
from machine import filtered, isolated, output_of, run
from results import FAILED, PASSED, Outcome, print_failures, read_ctest, read_skipped_cases

# Programs with threads or hand-overs between them: what ThreadSanitizer can say something about.
THREADED = re.compile(r"proxy|agent|control|discovery|telemetry|_io_|tls|cni_integration|stream|link|scale")
# Debian's gRPC and Abseil are not built for it: it sees their accesses but not their locks, and every run ends in a
# report between two frames of theirs.
UNINSTRUMENTED = ("agent_integration_test", "control_process_test", "control_kubernetes_process_test", "discovery_test")
PROGRAMS = ["heddle", "heddle-agent", "heddle-cni", "heddle-control", "heddle-proxy"]
SANITIZED = {"unit", "netns", "integration", "soak"}


@dataclasses.dataclass
class Tree:
    """A preset and what is tested of it."""
    preset: str
    choose: typing.Callable  # (name, labels): is this test run
    environment: dict = dataclasses.field(default_factory=dict)
    prefix: tuple = ()
    whole: bool = False  # is everything built, or only what the tests need


@dataclasses.dataclass
class Settings:
    root: str
    logs: str
    jobs: int
    everything: bool
    filter: str = ""
    build_dir: str = ""
    ahead: Ahead = dataclasses.field(default_factory=Ahead)

    def folder(self, preset):
        return self.build_dir if preset == "debug" and self.build_dir else os.path.join(self.root, "build", preset)

    @property
    def scratch(self):
        """The tests' /tmp."""
        path = os.path.join(self.logs, "tmp")
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o1777)
        return path

    def log(self, name):
        return os.path.join(self.logs, name + ".log")


def say(text):
    print(f"tools/test: {text}", flush=True)


def tail(path, lines=40):
    with open(path, encoding="utf-8", errors="replace") as file:
        print("".join(file.readlines()[-lines:]))


def timed(step, name, action):
    """An Outcome of an action that returns (ok, reason)."""
    started = time.monotonic()
    ok, reason = action()
    return Outcome(step, name, PASSED if ok else FAILED, time.monotonic() - started, reason)


def configure(settings, preset):
    command = ["cmake", "--preset", preset, "-B", settings.folder(preset)]
    log = settings.log(f"{preset}-configure")
    status = run(command, log, cwd=settings.root)
    if status != 0:
        tail(log)
    return status == 0, f"cmake failed, see {log}"


def listed_tests(settings, preset):
    """What ctest says of every test of a configured tree."""
    listing = output_of(["ctest", "--test-dir", settings.folder(preset), "--show-only=json-v1"])
    return json.loads(listing or '{"tests": []}')["tests"]


def tests_of(settings, preset):
    """Name -> labels of every ctest test of a configured tree."""
    tests = {}
    for test in listed_tests(settings, preset):
        labels = next((p["value"] for p in test.get("properties", []) if p["name"] == "LABELS"), [])
        if not settings.filter or re.search(settings.filter, test["name"]):
            tests[test["name"]] = labels
    return tests


def build(settings, preset, targets):
    """Everything if no targets are named; goes on after errors, so that one broken file hides no other result."""
    log = settings.log(f"{preset}-build")
    command = ["cmake", "--build", settings.folder(preset), "-j", str(settings.jobs)]
    command += ["--target", *targets] if targets else []
    shown = [0.0]

    def progress(line):
        due = time.monotonic() - shown[0] > 30 and line.startswith("[")
        if due:
            shown[0] = time.monotonic()
        return due or "error:" in line or line.startswith("FAILED:")

    status = run(command + ["--", "-k", "0"], log, cwd=settings.root, echo=progress)
    if status != 0:
        tail(log)
    return status == 0, f"the build failed, see {log}"


def target_names(settings, preset, tests):
    """What has to be built for these tests: themselves, and programs of the tree that their command lines name."""
    wanted = set(tests)
    for test in listed_tests(settings, preset):
        if test["name"] in tests:
            wanted |= {os.path.basename(word) for word in test.get("command", [])
                       if word.startswith(settings.folder(preset) + os.sep)}
    known = set(re.findall(r"^(\S+): phony", output_of(["ninja", "-C", settings.folder(preset), "-t", "targets", "all"]),
                           re.MULTILINE))
    return sorted(known & wanted)


def run_ctest(settings, preset, tests, environment=None, prefix=(), step=""):
    """Runs exactly these tests of a built tree; `step` is what they count as, if not as the preset."""
    if not tests:
        return []
    step = step or preset
    folder = settings.folder(preset)
    cases = tempfile.mkdtemp(prefix=f"{step}-cases-", dir=settings.logs)
    junit = os.path.join(settings.logs, f"{step}-ctest.xml")
    exact = "^(" + "|".join(re.escape(name) for name in tests) + ")$"
    command = isolated(settings.scratch, settings.root, folder,
                       [*prefix, "ctest", "--test-dir", folder, "-R", exact, "-j", str(settings.jobs), "--output-junit", junit,
                        "--test-output-size-passed", "200000", "--test-output-size-failed", "400000", "--no-tests=error"])
    variables = {"GTEST_OUTPUT": f"xml:{cases}/", "CTEST_OUTPUT_ON_FAILURE": "1", **(environment or {})}
    if settings.everything:
        variables["HEDDLE_TEST_ALL"] = "1"
    run(command, settings.log(f"{step}-ctest"), cwd=settings.root, environment=variables,
        echo=lambda line: bool(re.match(r"\s*\d+/\d+ Test|.*(Failure|\[  FAILED  \])", line)))
    if not os.path.exists(junit):
        return [Outcome(step, "ctest", FAILED, 0, f"ctest wrote no results, see {settings.log(f'{step}-ctest')}")]
    outcomes = read_ctest(step, junit)
    print_failures(outcomes)
    return outcomes + read_skipped_cases(step, cases)


def prepare(settings, tree):
    """Configures and builds: the outcomes, and the tests that can then be run."""
    preset = tree.preset
    outcomes = [timed(preset, "configure", lambda: configure(settings, preset))]
    if outcomes[-1].status == FAILED:
        return outcomes, []
    tests = [name for name, labels in tests_of(settings, preset).items() if tree.choose(name, labels)]
    targets = target_names(settings, preset, tests)
    scripts = [name for name in tests if name not in targets and not name.startswith("layers")]
    if tree.whole and (scripts or not settings.filter):
        targets = []  # a script runs any of the programs
    elif scripts:
        targets += ["heddle-proxy"] if preset == "tsan" else PROGRAMS
    if tests and (targets or tree.whole):
        outcomes.append(timed(preset, "build", lambda: build(settings, preset, targets)))
    return outcomes, tests


def tree_step(settings, tree):
    """One preset: builds it, unless that was begun while other tests ran, and runs its tests."""
    say(f"{tree.preset}: {'waiting for the build' if settings.ahead.has(tree.preset) else 'configuring and building'}")
    outcomes, tests = settings.ahead.take(tree.preset, lambda: prepare(settings, tree))
    if tree is DEBUG:
        settings.ahead.start()
    if outcomes[0].status == FAILED:
        return outcomes
    say(f"{tree.preset}: {len(tests)} tests")
    return outcomes + run_ctest(settings, tree.preset, tests, tree.environment, tree.prefix)


def is_sanitized(name, labels):
    return bool(SANITIZED & set(labels)) and not name.startswith("layers")


DEBUG = Tree("debug", lambda name, labels: not {"fuzz", "cluster"} & set(labels), whole=True)
ASAN = Tree("asan", is_sanitized, {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:strict_string_checks=1",
                                   "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
                                   "ASAN_SYMBOLIZER_PATH": "/usr/bin/llvm-symbolizer-19"})
SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tsan-suppressions")
TSAN = Tree("tsan", lambda name, labels: is_sanitized(name, labels) and bool(THREADED.search(name)) and name not in UNINSTRUMENTED,
            {"TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={SUPPRESSIONS}"},
            # gcc 12's run-time cannot place its shadow memory under this much address randomisation (setarch(8) -R).
            ("setarch", "-R"))
FUZZ = Tree("fuzz", lambda name, labels: "fuzz" in labels)


def debug(settings):
    return tree_step(settings, DEBUG)


def asan(settings):
    return tree_step(settings, ASAN)


def tsan(settings):
    return tree_step(settings, TSAN)


def fuzz(settings):
    return tree_step(settings, FUZZ)


def cluster_tests(settings):
    return [name for name, labels in tests_of(settings, "debug").items() if "cluster" in labels]


def cluster(settings):
    """heddle's programs in a real Kubernetes. That is built outside of the tests' namespaces, as its source package has
    to be fetched; where it cannot be had the step fails, it is never skipped."""
    outcomes = [timed("cluster", "configure", lambda: configure(settings, "debug"))]
    tests = cluster_tests(settings)
    if outcomes[0].status == FAILED or (settings.filter and not tests):
        return outcomes
    say("cluster: building Kubernetes from Debian's source package (some minutes the first time)")
    outcomes.append(settings.ahead.take("cluster", lambda: kubernetes(settings)))
    outcomes.append(timed("cluster", "build", lambda: build(settings, "debug", PROGRAMS)))
    if any(outcome.status == FAILED for outcome in outcomes):
        return outcomes
    say(f"cluster: {len(tests)} tests")
    return outcomes + run_ctest(settings, "debug", tests, step="cluster")


def kubernetes(settings):
    if settings.filter and not cluster_tests(settings):
        return None  # and nobody will ask
    return timed("cluster", "kubernetes", lambda: build_kubernetes(settings))


def build_kubernetes(settings):
    log = settings.log("cluster-kubernetes")
    command = [os.path.join(settings.root, "tests/cluster/kubernetes/build")]
    status = run(command, log, cwd=settings.root, echo=lambda line: line.startswith("kubernetes: "))
    if status != 0:
        tail(log)
    return status == 0, f"Kubernetes could not be built, see {log}"


# What can be compiled while tests of an earlier step run, in the order in which it is wanted; all of it after the debug
# tree, of which clang-tidy and the headers need the generated sources.
AHEAD = {"asan": lambda settings: prepare(settings, ASAN), "tsan": lambda settings: prepare(settings, TSAN),
         "fuzz": lambda settings: prepare(settings, FUZZ), "tidy": lambda settings: look_at_sources(settings),
         "headers": lambda settings: compile_headers(settings), "cluster": kubernetes}


def formatting(settings):
    def check():
        log = settings.log("format")
        status = run([os.path.join(settings.root, "tools/format"), "--check"], log, cwd=settings.root)
        if status != 0:
            tail(log)
        return status == 0, "run tools/format"
    return [timed("source", "format", check)]


def tidy(settings):
    """clang-tidy's quick checks over the programs' sources; the debug tree says how they are compiled."""
    say("tidy: looking at every source file")
    return settings.ahead.take("tidy", lambda: look_at_sources(settings))


def look_at_sources(settings):
    def check():
        log = settings.log("tidy")
        status = run([os.path.join(settings.root, "tools/tidy"), "--all", "--jobs", str(settings.jobs), "--build-dir",
                      settings.folder("debug")], log, cwd=settings.root, echo=lambda line: "error:" in line)
        return status == 0, f"see {log}; tools/tidy FILE repeats it"
    return [timed("source", "tidy", check)]


def headers(settings):
    """Every header compiles by itself, with the flags of a neighbour that the debug tree compiles."""
    say("headers: compiling each by itself")
    return settings.ahead.take("headers", lambda: compile_headers(settings))


def compile_headers(settings):
    started = time.monotonic()
    with open(os.path.join(settings.folder("debug"), "compile_commands.json"), encoding="utf-8") as file:
        commands = [(os.path.relpath(c["file"], settings.root), c) for c in json.load(file)]
    listed = output_of(["git", "-C", settings.root, "ls-files", "*.h"]).split()
    wanted = [header for header in listed if not header.startswith(("bpf/", "cmake/"))]
    with concurrent.futures.ThreadPoolExecutor(settings.jobs) as pool:
        results = list(pool.map(lambda header: compile_header(settings, header, commands), wanted))
    broken = [result for result in results if result]
    for result in broken:
        print(result)
    reason = f"{len(broken)} of {len(wanted)} headers need something included before them"
    return [Outcome("source", f"headers ({len(wanted)})", FAILED if broken else PASSED, time.monotonic() - started, reason)]


def compile_header(settings, header, commands):
    """None, or what the compiler said."""
    def likeness(path):
        return len(os.path.commonprefix([os.path.dirname(path) + "/", os.path.dirname(header) + "/"]))
    cpp = [(path, command) for path, command in commands if path.endswith(".cpp")]
    _, nearest = max(cpp, key=lambda entry: likeness(entry[0]))
    words = shlex.split(nearest["command"])
    flags = []
    for index, word in enumerate(words):
        if word == "-isystem":
            flags += [word, words[index + 1]]
        elif word.startswith(("-I", "-D", "-f", "-W", "-m", "-O", "-std=")) and word != "-Winvalid-pch":
            flags.append(word)
    source = f'#include "{header}"\n#include "{header}"\n'
    status, said = filtered(["g++", "-std=c++20", "-fsyntax-only", "-x", "c++", *flags, "-I", settings.root, "-"], source,
                            nearest["directory"])
    return None if status == 0 else f"{header}:\n" + "\n".join(said.splitlines()[:6])


EXPECTED_FILES = {
    "heddle": ["/usr/bin/heddle"],
    "heddle-agent": ["/usr/bin/heddle-agent", "/usr/bin/heddle-proxy",
                     "/usr/bin/heddle-control"],
    "heddle-cni": ["/usr/lib/cni/heddle-cni"],
}


def packages(settings):
    """cmake --install and the .debs: right files, dependencies that exist, programs that start."""
    say("packages: installing to a scratch folder and building .debs")
    return [timed("packages", "install", lambda: check_install(settings)),
            timed("packages", "debs", lambda: check_debs(settings))]


def check_install(settings):
    with tempfile.TemporaryDirectory(prefix="heddle-install-") as root:
        log = settings.log("install")
        if run(["cmake", "--install", settings.folder("debug"), "--prefix", root + "/usr"], log) != 0:
            tail(log)
            return False, f"cmake --install failed, see {log}"
        for files in EXPECTED_FILES.values():
            for file in files:
                if output_of([root + file, "--version"]) == "":
                    return False, f"{file} is not installed or does not answer --version"
    return True, ""


def check_debs(settings):
    out = tempfile.mkdtemp(prefix="heddle-debs-")
    log = settings.log("cpack")
    try:
        config = os.path.join(settings.folder("debug"), "CPackConfig.cmake")
        if run(["cpack", "--config", config, "-B", out], log, cwd=out) != 0:
            tail(log)
            return False, f"cpack failed, see {log}"
        debs = {name.split("_")[0]: os.path.join(out, name) for name in os.listdir(out) if name.endswith(".deb")}
        if set(debs) != set(EXPECTED_FILES):
            return False, f"expected {sorted(EXPECTED_FILES)}, got {sorted(debs)}"
        for package, path in debs.items():
            names = {line.split()[5].lstrip(".") for line in output_of(["dpkg-deb", "-c", path]).splitlines()}
            for file in EXPECTED_FILES[package]:
                if file not in names:
                    return False, f"{package} lacks {file}"
            simulated = subprocess.run(["dpkg", "--dry-run", "-i", path], capture_output=True, text=True, check=False)
            if simulated.returncode != 0 and "dependency" not in simulated.stderr:
                return False, f"{package}: dpkg says {simulated.stderr.strip()}"
        return True, ""
    finally:
        shutil.rmtree(out, ignore_errors=True)

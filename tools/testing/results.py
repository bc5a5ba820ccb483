# SPDX-License-Identifier: Apache-2.0
"""What was run and how it ended: collected, printed, written as JUnit XML."""
import dataclasses
import glob
import os
import xml.etree.ElementTree as xml

PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"


@dataclasses.dataclass
class Outcome:
    step: str        # "debug", "asan", "format", ...
    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""  # why it failed or was skipped
    output: str = ""  # what a failed test printed


def read_ctest(step, path):
    """Outcomes of one ctest run, one per ctest test, from its JUnit file."""
    outcomes = []
    for case in xml.parse(path).getroot().iter("testcase"):
        status, reason, output = PASSED, "", ""
        if case.get("status") == "fail" or case.find("failure") is not None:
            status, reason, output = FAILED, failure_reason(case), case.findtext("system-out") or ""
        elif case.find("skipped") is not None:
            status, reason = SKIPPED, skip_reason(case)
        elif case.get("status") not in ("run", "disabled"):
            status, reason = FAILED, "not run: " + (case.get("status") or "")
        outcomes.append(Outcome(step, case.get("name"), status, float(case.get("time") or 0), reason, output))
    return outcomes


def failure_reason(case):
    """The cases that failed, as GoogleTest and our scripts name them."""
    lines = (case.findtext("system-out") or "").splitlines()
    named = [line.split("]", 1)[1].strip() for line in lines if line.startswith("[  FAILED  ]") and "." in line]
    named += [line.removeprefix("FAILED ") for line in lines if line.startswith("FAILED ")]
    unique = list(dict.fromkeys(name.split(" (")[0].split(",")[0] for name in named))
    failure = case.find("failure")
    message = failure.get("message", "") if failure is not None else ""
    return ", ".join(unique) if unique else message or "see the log"


def skip_reason(case):
    lines = (case.findtext("system-out") or "").splitlines()
    said = [line for line in lines if line.startswith("SKIP")]
    message = case.find("skipped").get("message", "")
    if message == "Unable to find executable":
        return "the executable was not built"
    return said[-1] if said else message


def read_skipped_cases(step, folder):
    """GoogleTest's own skips: a program passes although cases of it skipped themselves."""
    outcomes = []
    for path in sorted(glob.glob(os.path.join(folder, "*.xml"))):
        try:
            root = xml.parse(path).getroot()
        except xml.ParseError:
            continue  # of a program that was killed: ctest says so
        for case in root.iter("testcase"):
            skipped = case.find("skipped")
            if skipped is not None:
                lines = [line for line in (skipped.text or skipped.get("message") or "").strip().splitlines()
                         if line and not line.startswith("/")]
                name = f"{os.path.basename(path)[:-4]}: {case.get('classname')}.{case.get('name')}"
                outcomes.append(Outcome(step, name, SKIPPED, 0, " ".join(lines) or "no reason given"))
    return outcomes


def print_failures(outcomes, lines=120):
    """What failed tests printed last: the log that a CI keeps is often all there is."""
    for outcome in outcomes:
        if outcome.status == FAILED and outcome.output:
            print(f"\n--- {outcome.step}: {outcome.name}, the end of its output")
            print("\n".join(outcome.output.splitlines()[-lines:]))


def print_outcomes(outcomes, strict, seconds):
    """The summary; returns the exit status."""
    steps = list(dict.fromkeys(outcome.step for outcome in outcomes))
    print("\nRan:")
    for step in steps:
        of_step = [outcome for outcome in outcomes if outcome.step == step]
        count = {status: sum(o.status == status for o in of_step) for status in (PASSED, FAILED, SKIPPED)}
        took = sum(outcome.seconds for outcome in of_step)
        print(f"  {step:<10} {count[PASSED]:>4} passed {count[FAILED]:>3} failed {count[SKIPPED]:>3} skipped {took:8.1f} s")
    for status, title in ((SKIPPED, "Could not run:"), (FAILED, "Failed:")):
        matching = [outcome for outcome in outcomes if outcome.status == status]
        if matching:
            print(f"\n{title}")
        for outcome in matching:
            print(f"  {outcome.step}: {outcome.name}: {outcome.reason}")
    failed = any(outcome.status == FAILED for outcome in outcomes)
    skipped = any(outcome.status == SKIPPED for outcome in outcomes)
    if strict and skipped:
        print("\nWith --all and --cluster a skipped test is a failure.")
    failed = failed or (strict and skipped) or not outcomes
    print(f"\n{'FAILED' if failed else 'All passed'} in {seconds / 60:.1f} minutes")
    return 1 if failed else 0


def write_junit(path, outcomes):
    root = xml.Element("testsuites")
    for step in dict.fromkeys(outcome.step for outcome in outcomes):
        of_step = [outcome for outcome in outcomes if outcome.step == step]
        suite = xml.SubElement(root, "testsuite", name=step, tests=str(len(of_step)),
                               failures=str(sum(o.status == FAILED for o in of_step)),
                               skipped=str(sum(o.status == SKIPPED for o in of_step)))
        for outcome in of_step:
            case = xml.SubElement(suite, "testcase", classname=step, name=outcome.name, time=f"{outcome.seconds:.3f}")
            if outcome.status == FAILED:
                xml.SubElement(case, "failure", message=outcome.reason)
            elif outcome.status == SKIPPED:
                xml.SubElement(case, "skipped", message=outcome.reason)
    xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)

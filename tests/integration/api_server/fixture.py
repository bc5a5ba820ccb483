# SPDX-License-Identifier: Apache-2.0
"""What these tests share: the path to the API server for tests, and how cases are run."""
import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(os.path.dirname(os.path.dirname(HERE)), "support")
sys.path[:0] = [SUPPORT, os.path.join(os.path.dirname(os.path.dirname(HERE)), "e2e")]
from e2e_lab import eventually, run_cases, skip  # noqa: E402  pylint: disable=unused-import


def run(description, cases, seconds=100):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("tests", nargs="*", help="names of cases (default: all)")
    run_cases(cases, parser.parse_args(), seconds=seconds)

# SPDX-License-Identifier: Apache-2.0
"""What `heddle render` makes, for tests that look at it."""
import subprocess

import yaml

# Every switch the other way round, and every list with something in it.
SWITCHES = ("--set", "createNamespace=false", "--set", "startupTaint=false", "--set", "agent.podTokens=true",
            "--platform", "openshift", "--control-host", "10.96.0.9", "--ipv6", "--set", "control.tolerations=[{operator: Exists}]",
            "--set", "imagePullSecrets=[{name: x}]", "--set", "agent.nodeSelector={a: b}")
FORMS = ((), SWITCHES, ("--set", "injector=false", "--set", "networkPolicy=false", "--kubernetes-version", "1.20"))


def text_of(heddle, *words):
    return subprocess.run([heddle, *words], check=True, capture_output=True, text=True).stdout


def objects(text):
    return [one for one in yaml.safe_load_all(text) if one]


def title(item):
    return f"{item['kind']} {item['metadata']['name']}"


def containers(item):
    spec = item.get("spec", {}).get("template", {}).get("spec", {})
    return spec.get("initContainers", []) + spec.get("containers", [])

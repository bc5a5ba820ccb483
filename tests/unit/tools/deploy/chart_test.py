#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Go's text/template, which Helm fills charts with, makes of deploy/chart what `heddle render` prints: with the
defaults, and with every switch the other way round.

Usage: chart_test.py GO HEDDLE CHART
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    sys.exit(77)

PROGRAM = """
package main

import ("encoding/json"; "fmt"; "os"; "text/template")

func main() {
	var values map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&values); err != nil { fmt.Fprintln(os.Stderr, err); os.Exit(1) }
	funcs := template.FuncMap{"toJson": func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err }}
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		if err == nil {
			var parsed *template.Template
			parsed, err = template.New(path).Option("missingkey=error").Funcs(funcs).Parse(string(text))
			if err == nil { fmt.Println("---"); err = parsed.Execute(os.Stdout, map[string]any{"Values": values}) }
		}
		if err != nil { fmt.Fprintln(os.Stderr, path, err); os.Exit(1) }
	}
}
"""
SWITCHES = ["--set", "createNamespace=false", "--set", "startupTaint=false", "--set", "injector=false",
            "--set", "networkPolicy=false", "--platform", "openshift", "--kubernetes-version", "1.20",
            "--control-host", "10.96.0.9", "--ipv6", "--set", "agent.extraArgs=['--a=b c']",
            "--set", "control.tolerations=[{operator: Exists}]", "--set", "imagePullSecrets=[{name: x}]"]


def objects(text):
    return sorted(json.dumps(o, sort_keys=True) for o in yaml.safe_load_all(text) if o)


def main(go, heddle, chart):
    templates = sorted(os.path.join(chart, "templates", n) for n in os.listdir(os.path.join(chart, "templates")))
    with tempfile.TemporaryDirectory(prefix="heddle-chart-") as folder:
        source = os.path.join(folder, "main.go")
        program = os.path.join(folder, "fill")
        with open(source, "w", encoding="utf-8") as file:
            file.write(PROGRAM)
        settings = dict(os.environ, GO111MODULE="off", CGO_ENABLED="0", GOFLAGS="",
                        GOCACHE=os.environ.get("GOCACHE", os.path.join(folder, "cache")), HOME=folder)
        built = subprocess.run([go, "build", "-o", program, source], env=settings, capture_output=True, text=True)
        if built.returncode:
            print(built.stderr)
            return 1
        for flags in ([], SWITCHES):
            values = subprocess.run([heddle, "render", "--values-only", *flags], check=True, capture_output=True).stdout
            filled = subprocess.run([program, *templates], input=values, capture_output=True)
            if filled.returncode:
                print(filled.stderr.decode())
                return 1
            rendered = subprocess.run([heddle, "render", *flags], check=True, capture_output=True).stdout
            ours, theirs = objects(rendered), objects(filled.stdout)
            print(f"{len(ours)} objects, flags: {' '.join(flags) or 'none'}")
            if not ours or ours != theirs:
                for text in sorted(set(ours) ^ set(theirs)):
                    print(("heddle: " if text in ours else "go:     ") + text[:400])
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API server for tests: what clients see of a real one, with faults on demand, without a cluster.

It answers as kube-apiserver does (../../cluster/exchanges_test.py replays the same exchanges against a real one), keeps
objects in memory, and is told by a Unix socket when to misbehave. What it leaves out: it does not know the schemas of
objects, so it neither prunes nor validates fields; it speaks JSON and YAML, no protobuf; it calls no webhooks; of the
controllers it has only those that make a namespace's ServiceAccount and empty a namespace that is deleted.

Begun as a program (python3 -m api_server, see __main__.py) or by tests with running.ApiServer.
"""

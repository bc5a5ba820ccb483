# SPDX-License-Identifier: Apache-2.0
"""Runs the HTTP/1 exchanges directly and by each way through heddle, and compares."""

import threading

import differences
import h1_cases
import h1_parties
import h1_wire as wire

CLIENTS = 4
DEPTH = 6  # pipelined requests


class Exchanges:
    def __init__(self, mixtures):
        self.cases = h1_cases.all_cases(mixtures)
        self.server = h1_parties.Server(self.cases)
        self.direct = {}
        self.problems = []
        self.shown = set()

    def run(self, address):
        """(request as the server saw it, response as the client saw it) of every case."""
        results = {}

        def work(mine):
            client = h1_parties.Client(address)
            for case in mine:
                try:
                    response = client.exchange(case)
                except (wire.Broken, OSError, ValueError) as error:
                    client.close()
                    response = error
                results[case.id] = (self.server.seen.pop(case.id, None), response)

        run_all(work, [self.cases[i::CLIENTS] for i in range(CLIENTS)])
        return results

    def compare(self, way, address, identity, crosses_nodes):
        expected = differences.Expected(identity, crosses_nodes)
        for number, (request, response) in self.run(address).items():
            case = self.cases[number]
            found = self.differences_of(expected, case, request, response)
            self.problems += [f"{way}: {case.about}: {each}" for each in found]
        self.shown |= expected.shown

    def differences_of(self, expected, case, request, response):
        direct_request, direct_response = self.direct[case.id]
        if isinstance(response, Exception):
            return [f"client: {response}"]
        if request is None:
            return [f"the server saw no request, the client {response.line}"]
        want = expected.request(case, direct_request)
        got = expected.received_request(request)
        if not case.host:  # which address, the client cannot know
            want[1] = [each for each in want[1] if each[0] != b"host"]
            got[1] = [each for each in got[1] if each[0] != b"host"]
        found = differences.describe("request", differences.PARTS_OF_REQUEST, want, got)
        want = expected.response(case, direct_response)
        got = expected.received_response(response, want[2] is not None)
        return found + differences.describe("response", differences.PARTS_OF_RESPONSE, want, got)

    def run_direct(self):
        self.direct = self.run(self.server.address)
        for number, (request, response) in self.direct.items():
            if request is None or isinstance(response, Exception):
                self.problems.append(f"direct: {self.cases[number].about}: {response}")

    def pipelines(self, way, address):
        """Several requests in one piece: their answers are those of single ones, in order."""
        fit = [case for case in self.cases if case.version == "HTTP/1.1" and not case.expect and len(case.body) < 20000 and
               len(case.answer_body) < 20000 and "close" not in case.answer_framing and
               not any(name.lower() == b"connection" for name, _ in case.fields + case.answer_fields)]
        fit = fit[::7]
        for at in range(0, len(fit) - DEPTH, DEPTH):
            together = fit[at : at + DEPTH]
            client = h1_parties.Client(address)
            try:
                for case, got in zip(together, client.pipeline(together)):
                    want = self.direct[case.id][1]
                    if (got.line.split(b" ")[1], got.body, got.framing) != (want.line.split(b" ")[1], want.body, want.framing):
                        self.problems.append(f"{way}: pipelined {case.about}: {got.line} instead of {want.line}")
            except (wire.Broken, OSError, ValueError) as error:
                self.problems.append(f"{way}: pipelined {[case.about for case in together]}: {error}")
            client.close()
        return len(fit)


def run_all(work, shares):
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

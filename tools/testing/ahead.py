# SPDX-License-Identifier: Apache-2.0
"""What is compiled while another step's tests wait for something, in the processors' time that those leave."""
import concurrent.futures

import machine


class Ahead:
    """Jobs that run one after another in a thread of their own, from start() on. Used by one thread."""

    def __init__(self):
        self._planned = {}
        self._begun = {}
        self._lane = concurrent.futures.ThreadPoolExecutor(1, initializer=machine.only_when_idle)

    def plan(self, jobs):
        """Name -> job, in the order in which their results will be wanted."""
        self._planned = jobs

    def start(self):
        self._begun = {name: self._lane.submit(job) for name, job in self._planned.items()}

    def has(self, name):
        return name in self._begun

    def take(self, name, job):
        """What the job returns: the one of that name that was begun, or this one, run now."""
        begun = self._begun.pop(name, None)
        if begun is None or begun.cancel():  # the lane has not come to it
            return job()
        return begun.result()

    def stop(self):
        """Begins none of the others, and waits for the one that runs, whose commands have to be stopped before."""
        self._lane.shutdown(cancel_futures=True)

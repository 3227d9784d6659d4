"""Notes when a process reaches certain points: put this folder first on PYTHONPATH and set MILESTONES to a file.

Each line is ``seconds<TAB>process id<TAB>text``. Ray's workers inherit both, so that one file tells of all processes.
"""

import functools
import importlib.abc
import importlib.util
import os
import sys
import time

FILE = os.environ.get("MILESTONES")
# By module: calls to note in it, as "Class.method" or "function"; a module without any is noted when it is imported.
CALLS = {
    "ray": ["init"],
    "ray.rllib": [],
    "ray.tune": [],
    "rllib_mamql.cli.settings": ["prepare"],
    "rllib_mamql.algorithms.mamql.algorithm": ["MAMQL.setup", "MAMQL.training_step", "MAMQL.deal"],
    "rllib_mamql.learning.offline_input": ["JointOfflineData.__init__"],
    "rllib_mamql.learning.env_runner": ["ColumnarEnvRunner.__init__", "ColumnarEnvRunner.sample"],
    "rllib_mamql.algorithms.mamql.learner": ["MAMQLLearner.build", "MAMQLLearner.update"],
}


def note(text):
    with open(FILE, "a") as file:
        file.write(f"{time.time():.4f}\t{os.getpid()}\t{text}\n")


def wrap(module, dotted):
    *owner, name = dotted.split(".")
    holder = functools.reduce(getattr, owner, module)
    original = getattr(holder, name)

    @functools.wraps(original)
    def noted(*arguments, **settings):
        note(f"{dotted} begins")
        try:
            return original(*arguments, **settings)
        finally:
            note(f"{dotted} ends")

    setattr(holder, name, noted)


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self):
        self.seen = set()

    def find_spec(self, name, path=None, target=None):
        if name not in CALLS or name in self.seen:
            return None
        self.seen.add(name)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def noted(module):
            note(f"import {name} begins")
            execute(module)
            note(f"import {name} ends")
            for dotted in CALLS[name]:
                wrap(module, dotted)

        spec.loader.exec_module = noted
        return spec


if FILE:
    note(f"process starts: {' '.join(sys.argv[:3])[:80]}")
    sys.meta_path.insert(0, Finder())

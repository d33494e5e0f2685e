"""Savefuns and tasks that a writer process can find by their names."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

import numpy as np

kept = []


def save_json(path, mapping, indent=None):
    with open(path, "w") as file:
        json.dump({name: np.asarray(array).tolist() for name, array in mapping.items()}, file, indent=indent)


def save_description(path, mapping):
    with open(path, "w") as file:
        json.dump({name: [array.dtype.name, list(array.shape), repr(array)] for name, array in mapping.items()}, file)


def keep_and_save_all(path, mapping):
    kept.append(mapping)
    with open(path, "w") as file:
        json.dump([float(one["w"][0]) for one in kept], file)


def save_and_change(path, mapping):
    mapping["w"][:] = -1.0
    save_json(path, mapping)


def fail_if_two(path, mapping):
    if mapping["w"][0] == 2:
        raise RuntimeError("two is too much")
    save_json(path, mapping)


def die_if_two(path, mapping):
    if mapping["w"][0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    save_json(path, mapping)


def save_where(path, mapping):
    with open(path, "w") as file:
        json.dump({"pid": os.getpid(), "thread": threading.current_thread().name}, file)


def say_and_save(path, mapping):
    print("saying", flush=True)
    save_json(path, mapping)


def write_nothing(path, mapping):
    pass


def task(filename, outdir, mapping):
    save_json(os.path.join(outdir, filename), mapping)


class Static:
    @staticmethod
    def save(path, mapping):
        save_json(path, mapping)


if __name__ == "__main__":
    sys.exit("this is a module of tests")

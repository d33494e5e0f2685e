"""QueueWriter: a task instead of a savefun, and subclasses with a queue and a consumer of their own."""

from __future__ import annotations

import queue
import threading

from compat.side_by_side.support import Training, files, kind_raised


def main(api, out):
    extensions = api.training.extensions
    writers = extensions.snapshot_writers

    def run(folder, writer):
        training = Training(api, out / folder, (4, "iteration"))
        extension = extensions.snapshot_object(training.model, "m_{.updater.iteration}", writer=writer)
        training.trainer.extend(extension, trigger=(2, "iteration"))
        training.run()
        return files(out / folder)

    called, events = [], []

    def task(filename, outdir, target):
        called.append([filename, sorted(target), threading.current_thread() is threading.main_thread()])

    class Own(writers.QueueWriter):
        def create_task(self, savefun):
            events.append(f"create_task {savefun is api.serializers.save_npz}")
            return super().create_task(savefun)

        def create_queue(self):
            events.append("create_queue")
            return queue.Queue()

        def create_consumer(self, q):
            events.append("create_consumer")
            return threading.Thread(target=self.consume, args=(q,))

        def consume(self, q):
            events.append("consume")
            super().consume(q)
            events.append("consumed")

    made = run("own", Own(savefun=api.serializers.save_npz))
    return {
        "a task": [run("task", writers.ThreadQueueWriter(task=task)), called],
        "a subclass": [made, events],
        "the base": kind_raised(lambda: writers.QueueWriter()("m", str(out), {})),
    }

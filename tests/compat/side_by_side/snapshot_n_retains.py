"""n_retains: so many of the newest snapshots stay."""

from __future__ import annotations

from compat.side_by_side.support import Training, files

DIFFERS = {
    # Chainer takes whatever begins and ends like its names for its own, and removes it.
    "other files": [
        ["model_10", "model_9"],
        ["model_10", "model_9", "model_best", "model_card.md"],
    ],
    # It takes no notice of n_retains where the writer is none of its own.
    "any writer": [["m_1", "m_2", "m_3", "m_4"], ["m_3", "m_4"]],
}


def main(api, out):
    extensions, writers = api.training.extensions, api.training.extensions.snapshot_writers

    def run(folder, name, stop=(5, "iteration"), before=(), **options):
        (out / folder).mkdir()
        for other in before:
            (out / folder / other).write_text("precious")
        training = Training(api, out / folder, stop)
        training.trainer.extend(
            extensions.snapshot(filename=name, target=training.model, **options), trigger=(1, "iteration")
        )
        training.run()
        return files(out / folder)

    def write(filename, outdir, mapping):
        api.serializers.save_npz(f"{outdir}/{filename}", mapping)

    return {
        "two": run("two", "snapshot_{.updater.iteration}", n_retains=2),
        "npz": run("npz", "snapshot_{.updater.iteration}.npz", n_retains=3),
        "in the order of the run": run("many", "s_{.updater.iteration}", (12, "iteration"), n_retains=2),
        "one": run("one", "s_{.updater.iteration}", n_retains=1),
        "all by default": run("default", "s_{.updater.iteration}"),
        "zero": run("zero", "s_{.updater.iteration}", n_retains=0),
        "more than there are": run("more", "s_{.updater.iteration}", n_retains=9),
        "other files": run(
            "others", "model_{.updater.iteration}", (10, "iteration"), ["model_best", "model_card.md"], n_retains=2
        ),
        "a thread": run("thread", "s_{.updater.iteration}.npz", writer=writers.ThreadWriter(), n_retains=2),
        "a savefun": run("savefun", "s_{.updater.iteration}", savefun=api.serializers.save_npz, n_retains=2),
        "any writer": run("any", "m_{.updater.iteration}", (4, "iteration"), writer=write, n_retains=2),
    }

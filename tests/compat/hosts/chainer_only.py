"""Cases of what only Chainer's trainer has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chainer
import numpy as np

import holdfast
from compat.hosts.adapters import Host, started
from holdfast.training import extensions


def chainer_reads_the_npz_files(host: Host, out: Path) -> None:
    ended = started(host, out, 3, host.log_report(), extensions.snapshot(filename="{.iteration}.npz"))
    again = host.new(out / "other", 3, seed=99)
    again.extend(host.log_report())
    again.extend(extensions.snapshot())
    chainer.serializers.load_npz(str(out / "3.npz"), again.host)
    assert again.iteration == 3
    np.testing.assert_array_equal(again.weights(), ended.weights())
    assert again.host.get_extension("LogReport").log == ended.host.get_extension("LogReport").log


def chainers_own_functions_save_and_load(host: Host, out: Path) -> None:
    save, load = chainer.serializers.save_npz, chainer.serializers.load_npz
    for number, more in enumerate([{"loadfun": load}, {}]):  # holdfast reads what they write
        options = {"savefun": save, "filename": "{.iteration}.npz", **more}
        ended = started(host, out / str(number), 3, extensions.snapshot(**options))
        again = started(host, out / str(number), 3, extensions.snapshot(autoload=True, **options), seed=99)
        np.testing.assert_array_equal(again.weights(), ended.weights())


def an_optimizer_by_itself_gets_its_moments_back(host: Host, out: Path) -> None:
    run = host.new(out, 3)
    run.run()
    holdfast.save(out / "optimizer", run.host.updater.get_optimizer("main"))
    holdfast.save(out / "model", run.model)
    again = host.new(out / "other", 1, seed=99)
    holdfast.restore(out / "model", again.model)
    holdfast.restore(out / "optimizer", again.host.updater.get_optimizer("main"))
    np.testing.assert_array_equal(again.weights(), run.weights())


def the_elapsed_time_goes_on(host: Host, out: Path) -> None:
    ended = started(host, out, 3, extensions.snapshot())
    saved = holdfast.load(out / "snapshot_iter_3")["_snapshot_elapsed_time"]
    assert 0 < saved <= ended.host.elapsed_time
    again = started(host, out, 3, extensions.snapshot(autoload=True))
    assert again.host.elapsed_time > saved


def resumed_before_the_run_every_extension_is_initialized_afterwards(host: Host, out: Path) -> None:
    def new(folder: Path, stop: int, *, autoload: bool = False, resumes: bool = False, seed: int = 0) -> Any:
        run, rates = host.new(folder, stop, seed=seed), []
        run.extend(chainer.training.extensions.ExponentialShift("alpha", 0.5))
        run.extend(lambda given: rates.append(given.updater.get_optimizer("main").alpha), name="look", priority=0)
        extension = extensions.snapshot(autoload=autoload)
        run.extend(extension)
        if resumes:
            assert extension.resume(run.host) == str(folder / f"snapshot_iter_{stop - 3}")
            assert run.iteration == stop - 3
        run.run()
        return run, rates

    calm, expected = new(out / "calm", 6)
    new(out, 3)
    again, rates = new(out, 6, autoload=True, resumes=True, seed=99)
    assert rates == expected[3:]
    np.testing.assert_array_equal(again.weights(), calm.weights())


def generators_are_set_after_an_initialize_that_draws(host: Host, out: Path) -> None:
    @chainer.training.make_extension(initializer=lambda given: np.random.random(7), trigger=(9, "iteration"))
    def draws(given: Any) -> None: ...

    for resumes in (False, True):
        folder = out / str(resumes)
        calm = started(host, folder / "calm", 6, draws)
        started(host, folder, 2, draws, extensions.snapshot())
        again, extension = host.new(folder, 6, seed=99), extensions.snapshot(autoload=True)
        again.extend(draws)
        again.extend(extension)
        if resumes:
            extension.resume(again.host)
        again.run()
        np.testing.assert_array_equal(again.weights(), calm.weights())

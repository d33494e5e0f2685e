from __future__ import annotations

import pytest

from holdfast.errors import MismatchError
from holdfast.iterators import LoaderIterator
from iterators.loaders import (
    ONE_CORE,
    Kept,
    Measured,
    Numbers,
    Picky,
    Stream,
    generator,
    loader,
    resumes_at_every_batch,
    seeded,
    step,
    steps,
)
from training.serializers import restored, tree_of

torch = pytest.importorskip("torch")

pytestmark = ONE_CORE


def workers(dataset=None, **options):
    return loader(dataset, shuffle=None if isinstance(dataset, Stream) else True, num_workers=2, **options)


WITH_WORKERS = {
    "loaded again": (workers, None),
    "loaded again, with what the dataset keeps": (lambda: workers(Kept(), generator=generator()), None),
    "persistent": (lambda: workers(persistent_workers=True, generator=generator()), None),
    "not loaded": (lambda: workers(generator=generator()), False),
    "persistent, not loaded": (lambda: workers(persistent_workers=True), False),
    "a stream": (lambda: workers(Measured()), None),
    "a persistent stream": (lambda: workers(Stream(), persistent_workers=True), None),
}


class TestWorkers:
    @pytest.mark.parametrize("kind", WITH_WORKERS)
    def test_it_goes_on_at_the_very_batch_and_so_do_all_later_epochs(self, kind):
        make, load_skipped = WITH_WORKERS[kind]
        resumes_at_every_batch(lambda: LoaderIterator(make(), load_skipped=load_skipped), 10, further=5)

    def test_what_is_skipped_is_not_loaded_but_for_the_turn_of_the_worker(self):
        iterator = LoaderIterator(loader(batch_size=1, num_workers=2), load_skipped=False)
        whole = steps(iterator, 10)
        iterator.reset()
        steps(iterator, 5)
        tree = tree_of(iterator)
        late = Picky(range(4, 10))  # batch 5 is the second worker's, so batch 4 is loaded, and dropped
        with LoaderIterator(loader(late, 1, num_workers=2), load_skipped=False) as other:
            restored(tree, other)
            assert [step(other)[0][0][:2] for _ in range(5)] == [batch[0][:2] for batch, *_ in whole[5:]]

    @pytest.mark.parametrize("load_skipped", [True, False])
    def test_a_generator_of_the_loaders_is_all_that_workers_depend_on(self, load_skipped):
        def make():
            options = {"num_workers": 2, "persistent_workers": True, "generator": generator()}
            return LoaderIterator(loader(shuffle=True, **options), load_skipped=load_skipped)

        with make() as iterator:
            steps(iterator, 3)
            tree = tree_of(iterator)
            expected = [next(iterator).tolist() for _ in range(6)]
        seeded(1)
        with make() as iterator:
            restored(tree, iterator)
            assert [next(iterator).tolist() for _ in range(6)] == expected

    def test_epochs_of_persistent_workers_have_numbers_of_their_own(self):
        with LoaderIterator(loader(num_workers=2, persistent_workers=True, generator=generator())) as iterator:
            batches = steps(iterator, 8)
        first, second = batches[0][0], batches[4][0]
        assert [row[0] for row in first] == [row[0] for row in second]
        assert all(a[2:] != b[2:] for a, b in zip(first, second, strict=True))

    def test_numbers_of_one_batch_and_of_one_worker_are_all_different(self):
        with LoaderIterator(loader(num_workers=2), load_skipped=False) as iterator:
            drawn = [number for batch, *_ in steps(iterator, 8) for row in batch for number in row[2:]]
        assert len(set(drawn)) == len(drawn) == 60

    def test_an_error_in_a_worker_leaves_the_place_as_it_was(self):
        with LoaderIterator(loader(Picky({0, 1, 2, 3, 5}), num_workers=2)) as iterator:
            next(iterator)
            for _ in range(2):
                with pytest.raises(OSError, match="no such picture"):
                    next(iterator)
            assert (iterator.epoch, iterator.current_position, iterator.epoch_detail) == (0, 1, 0.25)

    def test_workers_of_a_pass_that_was_left_do_not_wait_for_the_garbage_collector(self):
        iterator = LoaderIterator(loader(num_workers=1))
        next(iterator)
        held = iterator._passes._pass  # as the traceback of an error holds it
        [process] = held._workers
        iterator.reset()
        assert not process.is_alive()

    def test_finalize_stops_persistent_workers_and_the_place_is_kept(self):
        iterator = LoaderIterator(loader(Numbers(noise=False), 2, num_workers=1, persistent_workers=True))
        next(iterator)
        [process] = iterator._passes._loader._iterator._workers
        iterator.finalize()
        assert not process.is_alive()
        assert next(iterator)[:, 0].tolist() == [2, 3]
        iterator.finalize()

    def test_another_number_of_workers_is_told(self, caplog):
        iterator = LoaderIterator(loader(num_workers=2))
        other = LoaderIterator(loader(num_workers=1))
        restored(tree_of(iterator), other)
        [record] = caplog.records
        assert "num_workers was 2 and is 1; the samples come in the same order" in record.getMessage()

    def test_another_number_of_workers_for_a_stream_is_refused(self):
        iterator, other = LoaderIterator(loader(Stream(), num_workers=2)), LoaderIterator(loader(Stream()))
        with pytest.raises(MismatchError, match="num_workers was 2 and is 0"):
            restored(tree_of(iterator), other)

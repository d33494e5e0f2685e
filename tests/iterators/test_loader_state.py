from __future__ import annotations

import pytest

import holdfast
from holdfast import training
from holdfast.errors import CaptureError, MismatchError
from holdfast.iterators import LoaderIterator
from holdfast.state.restore import restore
from holdfast.training import extensions, updaters
from iterators.loaders import (
    Numbers,
    Shorter,
    by_state_dict,
    by_tree,
    drawn,
    generator,
    loader,
    seeded,
    steps,
)
from training.serializers import restored, saved, tree_of

torch = pytest.importorskip("torch")
data = torch.utils.data


class TestMismatch:
    @pytest.mark.parametrize(
        ("other", "words"),
        [
            (lambda: loader(batch_size=2), "batch_size was 3 and is 2, length was 4 and is 5"),
            (lambda: loader(drop_last=True), "length was 4 and is 3"),
            (lambda: loader(Numbers(11)), "dataset_length was 10 and is 11"),
            (lambda: loader(generator=generator()), "generator"),
        ],
    )
    @pytest.mark.parametrize("save", [by_tree, by_state_dict])
    def test_another_loader_is_refused_and_nothing_is_changed(self, other, words, save):
        iterator = LoaderIterator(loader(Numbers(noise=False)))
        next(iterator)
        target = LoaderIterator(other())
        before = [row[0] for row in next(target).tolist()]
        load, at, state = save(iterator), target.current_position, target.state_dict()
        with pytest.raises(MismatchError, match=words):
            load(target)
        assert target.current_position == at
        assert str(target.state_dict()) == str(state)
        assert next(target)[0, 0] == before[-1] + 1

    @pytest.mark.parametrize(("key", "value"), [("current_position", 5), ("current_position", -1), ("epoch", -1)])
    def test_a_place_that_is_none_is_refused(self, key, value):
        iterator = LoaderIterator(loader())
        next(iterator)
        state = iterator.state_dict() | {key: value}
        with pytest.raises(MismatchError, match=r"after -?\d batches, and an epoch of the loader has 4"):
            iterator.load_state_dict(state)
        assert iterator.current_position == 1

    @pytest.mark.parametrize("options", [{}, {"load_skipped": True}])
    def test_an_epoch_that_has_become_shorter_is_refused_when_it_is_found_out(self, options):
        batches = [[0, 1], [2, 3], [4]]
        iterator = LoaderIterator(loader(batch_size=1, batch_sampler=batches), **options)
        steps(iterator, 2)
        tree = tree_of(iterator)
        other = LoaderIterator(loader(batch_size=1, batch_sampler=Shorter()), **options)
        restored(tree, other)
        seeded(3)
        for _ in range(2):
            with pytest.raises(MismatchError, match="taken after 2 batches of an epoch, but the loader gives only 1"):
                next(other)
        found = drawn()
        seeded(3)
        assert found == drawn()

    def test_a_serializer_that_writes_in_place_changes_nothing_that_is_in_use(self):
        class Writing:
            loading = True

            def __call__(self, key, value):
                if key == "begun":
                    value["torch"]["state"][:] = 0
                return 99 if key == "batch_size" else value

        iterator = LoaderIterator(loader())
        next(iterator)
        before = str(iterator.state_dict())
        with pytest.raises(MismatchError, match="batch_size was 99 and is 3"):
            iterator.serialize(Writing())
        assert str(iterator.state_dict()) == before

    def test_a_state_dict_belongs_to_who_asked_for_it(self):
        iterator = LoaderIterator(loader())
        next(iterator)
        state = iterator.state_dict()
        before = str(state)
        iterator.load_state_dict(state)
        state["begun"]["torch"]["state"][:] = []
        assert str(iterator.state_dict()) == before

    def test_a_place_without_the_generators_is_refused(self):
        iterator = LoaderIterator(loader())
        next(iterator)
        with pytest.raises(MismatchError, match="does not hold the generators as they were when it began"):
            iterator.load_state_dict(iterator.state_dict() | {"begun": None})

    def test_a_state_of_another_generator_is_refused(self):
        iterator = LoaderIterator(loader(generator=generator()))
        with pytest.raises(MismatchError, match=r"no state of a torch\.Generator"):
            iterator.load_state_dict(iterator.state_dict() | {"generators": {"generator": {"state": [1, 2, 3]}}})

    def test_a_failure_of_another_target_puts_it_back(self):
        class Refusing:
            def state_dict(self):
                return {"x": 1}

            def load_state_dict(self, state):
                raise RuntimeError("no")

        def make():
            return LoaderIterator(loader(Numbers(noise=False), shuffle=True, generator=generator()))

        iterator, expected = make(), make()
        tree = tree_of({"loader": iterator, "other": Refusing()})
        steps(iterator, 3)
        steps(expected, 3)
        with pytest.raises(MismatchError, match="'loader' was put back"):
            restore(tree, {"loader": iterator, "other": Refusing()})
        assert [next(iterator).tolist() for _ in range(6)] == [next(expected).tolist() for _ in range(6)]

    def test_what_keeps_no_generators_is_told(self):
        with pytest.raises(CaptureError, match="use a snapshot file"):
            saved(LoaderIterator(loader()))


def regression():
    """A small network with dropout, and data for it."""
    torch.manual_seed(1)
    points = torch.randn(20, 5)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def update(batch):
        optimizer.zero_grad()
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    return points, model, optimizer, update


class TestInARun:
    def test_with_a_trainer_nothing_else_is_needed(self, tmp_path):
        def run(out, stop):
            points, model, optimizer, update = regression()
            seeded(stop)
            if not out.exists():
                seeded(0)
            batches = LoaderIterator(data.DataLoader(points, 6, shuffle=True))
            updater = updaters.FunctionUpdater(batches, update, targets={"model": model, "optimizer": optimizer})
            trainer = training.Trainer(updater, (stop, "iteration"), out=out)
            losses = []
            trainer.extend(lambda trainer: losses.append((trainer.observation["loss"], batches.epoch_detail)), "losses")
            trainer.extend(extensions.snapshot(autoload=True), trigger=(1, "iteration"))
            trainer.run()
            return losses

        whole = run(tmp_path / "whole", 11)
        for stop in (1, 4, 6, 7):  # 4 batches to an epoch
            out = tmp_path / str(stop)
            assert run(out, stop) + run(out, 11) == whole

    @pytest.mark.parametrize("own", [True, False])
    def test_with_a_store_in_a_loop_without_a_trainer(self, tmp_path, own):
        def run(out, stop):
            points, model, optimizer, update = regression()
            seeded(0)
            batches = LoaderIterator(data.DataLoader(points, 6, shuffle=True, generator=generator() if own else None))
            target = {"model": model, "optimizer": optimizer, "loader": batches, "noise": torch.default_generator}
            losses = []
            with holdfast.SnapshotStore(out) as store:
                _, found = store.resume(target)
                for step, batch in zip(range(found.step if found else 0, stop), batches):  # noqa: B905  one is endless
                    losses.append(update(batch))
                    store.save(step + 1, target)
            return losses

        whole = run(tmp_path / "whole", 11)
        for stop in range(1, 11, 3):
            assert run(tmp_path / str(stop), stop) + run(tmp_path / str(stop), 11) == whole

    def test_an_order_from_a_generator_of_the_loaders_needs_no_other(self, tmp_path):
        def make():
            return LoaderIterator(data.DataLoader(range(10), 3, shuffle=True, generator=generator()))

        whole = [next(iterator).tolist() for iterator in [make()] for _ in range(12)]
        iterator = make()
        for number in range(12):
            holdfast.save(tmp_path / "state", {"loader": iterator})
            seeded(number)
            other = make()
            holdfast.restore(tmp_path / "state", {"loader": other})
            assert [next(other).tolist() for _ in range(number, 12)] == whole[number:]
            next(iterator)

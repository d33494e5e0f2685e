"""IteratorUpdater: what updaters have in common that take their batches, and the count of epochs, from an iterator."""

from __future__ import annotations

from typing import Any

from holdfast.training.updater import Updater


class IteratorUpdater(Updater):
    """One whose epochs are those of an iterator; a subclass says of which."""

    @property
    def epoch(self) -> int:
        """Finished epochs, as the iterator says."""
        return self._ask_iterator("epoch")  # type: ignore[no-any-return]

    @property
    def epoch_detail(self) -> float:
        """Finished epochs, with the part of the running one, as the iterator says."""
        return self._ask_iterator("epoch_detail")  # type: ignore[no-any-return]

    @property
    def previous_epoch_detail(self) -> float | None:
        """`epoch_detail` before the last batch, as the iterator says."""
        return self._ask_iterator("previous_epoch_detail")  # type: ignore[no-any-return]

    @property
    def is_new_epoch(self) -> bool:
        """Whether the last batch ended an epoch, as the iterator says."""
        return self._ask_iterator("is_new_epoch")  # type: ignore[no-any-return]

    def _main_iterator(self, wanted: str) -> Any:
        """The iterator that counts the epochs.

        Args:
            wanted: what it is asked for.

        Raises:
            AttributeError: there is none, so that `wanted` is not there.
        """
        raise NotImplementedError

    def _ask_iterator(self, wanted: str) -> Any:
        iterator = self._main_iterator(wanted)
        if not hasattr(iterator, wanted):
            raise AttributeError(
                f"{type(self).__name__}.{wanted} is what the iterator says, and that, a {type(iterator).__name__}, has "
                f"no {wanted}: use triggers that count iterations, such as (100, 'iteration'), or an iterator that "
                "counts epochs, such as holdfast.iterators.BatchIterator"
            )
        return getattr(iterator, wanted)


def check_keeps_its_place(what: str, iterator: Any) -> None:
    """Refuse an iterator that could not be restored.

    Raises:
        TypeError: it has neither `serialize` nor the pair `state_dict` and `load_state_dict`.
    """
    if hasattr(iterator, "serialize") or (hasattr(iterator, "state_dict") and hasattr(iterator, "load_state_dict")):
        return
    raise TypeError(
        f"{what}: a {type(iterator).__name__} cannot save its place, so that a resumed run would see other batches: "
        "use holdfast.iterators.BatchIterator for arrays in memory, LoaderIterator around a DataLoader, or give it "
        "serialize(serializer), or state_dict() and load_state_dict()"
    )

"""Objects that another library takes for its own, though it is not imported for their sake.

Some libraries ask isinstance: Chainer's optimizers whether a serializer is a Deserializer, pytorch-pfn-extras whether an
extension is an Extension. isinstance looks at an object's type, and then at its `__class__`, which may be a property: so
the answer is given when the question is asked, and by then the library is loaded.
"""

from __future__ import annotations

import functools
import sys


def posing_as(own: type, module: str, name: str) -> type:
    """What a property `__class__` of an object of type `own` is to return: a subclass of `own` and of the class `name` of
    `module`, or `own` itself where that module is not loaded.
    """
    other = getattr(sys.modules.get(module), name, None)  # None as well where the module is being loaded
    return own if other is None else _subclass(own, other)


@functools.cache
def _subclass(own: type, other: type) -> type:
    return type(own.__name__, (own, other), {})

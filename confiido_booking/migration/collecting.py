"""How often Python looks for cycles while many records pass."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_before: list[tuple[int, int, int]] = []  # the same of each use under way: what stood before the first


@contextmanager
def few_collections() -> Iterator[None]:
    """Records make no cycles, but many objects: looking for cycles after every 2,000 of them took up to a third of the
    time. It is of the whole process; uses may overlap."""
    _before.append(_before[0] if _before else gc.get_threshold())
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        first = _before.pop()
        if not _before:
            gc.set_threshold(*first)

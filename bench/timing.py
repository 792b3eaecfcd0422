"""Times of rival ways to do one thing, taken in turn, so that whatever else the machine does meets them all."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter

Attempt = Callable[[int], Awaitable[Mapping[str, float]]]  # seconds of each operation it did


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one operation by one way, one list per round."""

    rounds: Sequence[Sequence[float]]

    @property
    def milliseconds(self) -> float:
        """The median over all."""
        return median(self._all) * 1000

    @property
    def quartiles(self) -> tuple[float, float]:
        """Milliseconds: a quarter of the times is faster than the first, a quarter slower than the second."""
        low, _, high = quantiles(self._all, n=4)
        return low * 1000, high * 1000

    def over(self, base: "Times") -> "Ratio":
        """How many times as long as ``base``: each round compared with its own."""
        each = sorted(median(mine) / median(theirs) for mine, theirs in zip(self.rounds, base.rounds, strict=True))
        return Ratio(median(each), each[0], each[-1])

    @property
    def _all(self) -> list[float]:
        return [seconds for each in self.rounds for seconds in each]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the rounds' ratios, and their extremes."""

    median: float
    lowest: float
    highest: float


async def in_turn(ways: Mapping[str, Attempt], *, rounds: int, repeats: int) -> dict[str, dict[str, Times]]:
    """Times by way and operation. Each repeat does every way once, the first of them changing from one to the next.

    An attempt is given a number that no other attempt of its way gets. The first of each way warms up uncounted.
    """
    names = list(ways)
    for name in names:
        await ways[name](0)
    taken: dict[str, dict[str, list[list[float]]]] = {name: {} for name in names}
    number = 0
    for round_ in range(rounds):
        for _ in range(repeats):
            number += 1
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                for operation, seconds in (await ways[name](number)).items():
                    of_rounds = taken[name].setdefault(operation, [[] for _ in range(rounds)])
                    of_rounds[round_].append(seconds)
    return {name: {op: Times(lists) for op, lists in operations.items()} for name, operations in taken.items()}


async def seconds[T](work: Callable[[], Awaitable[T]]) -> tuple[float, T]:
    """How long it took, and what came of it."""
    start = perf_counter()
    result = await work()
    return perf_counter() - start, result

"""Work that threads do while what they did before is used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(pool: ThreadPoolExecutor, make: Callable[[Item], Made], items: Iterable[Item], count: int) -> Iterator[Made]:
    """What `make` gives for each item, in order, with up to `count` next ones in the making."""
    waiting: deque[Future[Made]] = deque()
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()

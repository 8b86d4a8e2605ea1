"""Work ahead of what is used: in order, bounded, and never silently lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from workers.ahead import ahead


def test_results_come_in_order_and_no_more_than_the_next_few_are_taken_up() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(6):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(3) as pool:
        made = ahead(pool, lambda item: item * 10, items(), count=2)
        assert next(made) == 0
        assert taken == [0, 1, 2]
        assert list(made) == [10, 20, 30, 40, 50]


def test_what_goes_wrong_with_an_item_comes_out_at_its_turn() -> None:
    with ThreadPoolExecutor(2) as pool:
        made = ahead(pool, lambda item: 6 // item, [3, 0, 2], count=2)
        assert next(made) == 2
        with pytest.raises(ZeroDivisionError):
            next(made)

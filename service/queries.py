"""Parameters of a query that may be given once are given once: a second value would be dropped unseen."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from service.access import Caller, Reader

LONGEST_PAGE: Final = 1000
"""Most entries of one page of any list."""


def once(*several: str) -> Callable[[Request, Caller], None]:
    """A dependency that refuses repeated parameters of those who may read, except for those named here."""

    def check(request: Request, _caller: Reader) -> None:
        counts = Counter(name for name, _ in request.query_params.multi_items())
        repeated = [name for name, count in counts.items() if count > 1 and name not in several]
        if repeated:
            raise RequestValidationError([_fault(name, request.query_params.getlist(name)) for name in repeated])

    return check


def _fault(name: str, values: list[str]) -> dict[str, object]:
    return {"type": "repeated", "loc": ("query", name), "msg": "may be given once", "input": values}

"""Pages of runs: what each filter asks of a run, and which id it names next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aioruns._values.json import encode
from aioruns._values.model import RunFilter, to_micros
from aioruns.stores.sqlite._columns import COLUMNS
from aioruns.stores.sqlite._queries import query

__all__ = ["select_page"]


class _Filter(NamedTuple):
    condition: str
    next_id: str
    """The highest id below that of ``walk`` that may satisfy it; null or 0 if there is none."""


def select_page(
    where: RunFilter, *, limit: int, before: int | None, columns: str = COLUMNS
) -> tuple[str, dict[str, Any]]:
    """Give the statement that reads a page, newest first, and what it binds."""
    values = dict(_values(where))
    filters = [_FILTERS[name] for name in values] or [_ANY]
    sql = query(
        "list_runs",
        columns=columns,
        next_ids=", ".join(f"coalesce(({each.next_id}), 0)" for each in filters),
        conditions=" AND ".join(each.condition for each in filters),
    )
    return sql, {**values, "limit": limit, "before": 2**63 - 1 if before is None else before}


def _values(where: RunFilter) -> Iterator[tuple[str, Any]]:
    """Give the fields that a filter has, and the values that they bind."""
    if where.status is not None:
        yield "statuses", encode(where.statuses, what="statuses")
    if where.tags:
        yield "tags", encode(where.tags, what="tags")
    for name in ("job", "key", "triggered_by"):
        if (text := getattr(where, name)) is not None:
            yield name, text
    for name in ("created_after", "created_before"):
        if (moment := getattr(where, name)) is not None:
            yield name, to_micros(moment, what=name)


def _equal(column: str) -> _Filter:
    condition = f"{column} = :{column}"
    return _Filter(condition, query("next_id", condition=condition))


_ANY: Final = _Filter("TRUE", query("next_id", condition="TRUE"))
_FILTERS: Final = {
    "statuses": _Filter(
        "status IN (SELECT value FROM json_each(:statuses))",
        query("next_in_status", next_id=query("next_id", condition="status = wanted.value")),
    ),
    "tags": _Filter(
        """NOT EXISTS (
        SELECT 1 FROM json_each(:tags) AS wanted WHERE wanted.value NOT IN (SELECT value FROM json_each(runs.tags)))""",
        query("next_tagged"),
    ),
    "job": _equal("job"),
    "key": _equal("key"),
    "triggered_by": _equal("triggered_by"),
    "created_after": _Filter("created_at >= :created_after", query("next_created", span="latest >= :created_after")),
    "created_before": _Filter("created_at < :created_before", query("next_created", span="earliest < :created_before")),
}

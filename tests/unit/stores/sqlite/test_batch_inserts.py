"""Inserts in a batch: each is told its own id, or what stood in its way, whatever the others met."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support import rows
from tests.unit.stores.sqlite.batches import NOW, committed, completed, new

from aioruns._values.model import Run, RunFilter
from aioruns._values.status import RunStatus
from aioruns.abc import NewRun
from aioruns.stores import SQLiteStore
from aioruns.stores._operations import Insert

pytestmark = pytest.mark.asyncio

LARGEST = 200


class Stranger:
    """Another process's connection, which inserts and deletes between batches."""

    def __init__(self, database: Path) -> None:
        self.connection = sqlite3.connect(database, isolation_level=None, timeout=10)
        self._token = 0

    def insert(self) -> None:
        self._token += 1
        self.connection.execute(
            "INSERT INTO runs (job, status, shared, manager_id, token, attempt, tags, created_at)"
            " VALUES ('other', 'pending', 0, 'other', ?, 1, '[]', ?)",
            (self._token, NOW),
        )

    def delete_newest(self) -> None:
        self.connection.execute("DELETE FROM runs WHERE id = (SELECT max(id) FROM runs) AND manager_id = 'other'")


@pytest.fixture
def stranger(store: SQLiteStore) -> Iterator[Stranger]:
    stranger = Stranger(Path(store.path))
    with contextlib.closing(stranger.connection):
        yield stranger


async def insert(store: SQLiteStore, *runs: NewRun) -> list[tuple[Run, bool]]:
    return await committed(store, *map(Insert, runs))


def token_of(database: Path, run_id: int) -> int:
    ((token,),) = rows(database, "SELECT token FROM runs WHERE id = ?", run_id)
    return token


async def test_G1_ids_are_those_of_the_rows_for_every_size_of_a_batch_and_whoever_else_inserts(
    store: SQLiteStore, database: Path, stranger: Stranger
) -> None:
    told: dict[int, int] = {}
    for size in range(1, LARGEST + 1):
        for _ in range(size % 4):
            stranger.insert()
        if size % 3 == 0:
            stranger.delete_newest()  # an id that is free, and that nobody is given
        tokens = [1000 * size + place for place in range(size)]
        answers = await insert(store, *map(new, tokens))
        assert all(inserted for _, inserted in answers)
        told.update((run.id, token) for (run, _), token in zip(answers, tokens, strict=True))
    assert told == {row["id"]: row["token"] for row in rows(database, "SELECT * FROM runs WHERE manager_id = 'm'")}
    assert len(told) == LARGEST * (LARGEST + 1) // 2


async def test_G1_ids_that_are_no_neighbours_are_told_rightly_all_the_same(
    store: SQLiteStore, database: Path, stranger: Stranger
) -> None:
    stranger.connection.execute("""
        CREATE TRIGGER gaps AFTER INSERT ON runs WHEN NEW.manager_id = 'm' AND NEW.token % 3 = 0
        BEGIN
            INSERT INTO runs (job, status, shared, manager_id, token, attempt, tags, created_at)
            VALUES ('other', 'pending', 0, 'other', NEW.token, 1, '[]', 0);
        END
    """)
    for size in (2, 3, 64, 100):
        tokens = [1000 * size + place for place in range(size)]
        answers = await insert(store, *map(new, tokens))
        assert [token_of(database, run.id) for run, _ in answers] == tokens
        assert all(inserted for _, inserted in answers)


async def test_what_is_told_of_inserted_runs_is_what_is_read(
    store: SQLiteStore,
) -> None:
    runs = [
        new(1),
        new(2, status=RunStatus.PENDING, key="k", idempotency_key="once"),
        new(3, tags=("b", "a"), triggered_by="somebody", timeout=0.5, arguments_json='{"scope":"full"}'),
    ]
    for answers in (await insert(store, *runs), await insert(store, *runs)):  # inserted; then found
        for run, inserted in answers:
            assert inserted
            assert run == await store.get_run(run.id)


def places(size: int) -> list[int]:
    """Places in a batch: its ends, its middle, and those where a statement ends and the next begins."""
    return sorted({0, size // 2, size - 1, *(place for place in (63, 64) if place < size)})


@pytest.mark.parametrize("what", ["key", "idempotency_key", "token", "own key", "own idempotency_key"])
@pytest.mark.parametrize("size", [1, 2, 3, 64, 65, 100])
async def test_G2_row_that_meets_something_in_its_way_shifts_no_id(
    store: SQLiteStore, database: Path, stranger: Stranger, what: str, size: int
) -> None:
    for number, place in enumerate(places(size)):
        stranger.insert()
        name, base = f"name {number}", 1000 * (number + 1)
        column = what.removeprefix("own ")
        batch = [new(base + row) for row in range(size)]
        batch[place] = new(base - 1) if what == "token" else new(base + place, **{column: name})
        rival = new(base - 1, **({} if what == "token" else {column: name}))
        if what.startswith("own "):  # in the same batch, and the first of it
            batch.insert(0, rival)
            expected = [each.token for each in batch]
            expected[place + 1] = rival.token
        else:
            await insert(store, rival)
            expected = [each.token for each in batch]
            expected[place] = rival.token
        answers = await insert(store, *batch)
        assert [token_of(database, run.id) for run, _ in answers] == expected
        refused = [] if what == "token" else [place + what.startswith("own ")]  # a repeated insert finds itself
        assert [row for row, (_, inserted) in enumerate(answers) if not inserted] == refused
        for run, _ in answers:
            assert run == await store.get_run(run.id)


class Model:
    """What a batch of inserts should be told, by inserting one after another."""

    def __init__(self) -> None:
        self.rows: list[NewRun] = []
        self.ended: set[int] = set()

    @property
    def active(self) -> list[NewRun]:
        return [row for row in self.rows if row.token not in self.ended]

    def find(self, run: NewRun) -> tuple[int, bool] | None:
        """Give the token of the row that a start finds, and whether that counts as inserted."""
        if any(row.token == run.token for row in self.active):
            return run.token, True
        for row in self.rows:
            if run.idempotency_key is not None and row.idempotency_key == run.idempotency_key:
                return row.token, False
        for row in self.active:
            if run.key is not None and row.key == run.key:
                return row.token, False
        return None

    def insert(self, batch: Sequence[NewRun]) -> list[set[tuple[int, bool] | None]]:
        """Give what each start may be told: what it met at its turn, or what the later ones of the batch have added."""
        told: list[tuple[int, bool]] = []
        for run in batch:
            found = self.find(run)
            if found is None:
                self.rows.append(run)
            told.append(found or (run.token, True))
        return [{at_its_turn, self.find(run)} for at_its_turn, run in zip(told, batch, strict=True)]


@pytest.mark.proof
@pytest.mark.timeout(600)
async def test_G2_answers_of_any_batches_are_those_of_one_insert_after_another(
    store: SQLiteStore,
    stranger: Stranger,
    scale: Callable[..., int],
    tally: Callable[..., None],
) -> None:
    for seed in range(seeds := scale(quick=40, full=300, soak=50_000)):
        chance, model, told = random.Random(seed), Model(), dict[int, int]()

        def draw(token: int, seed: int = seed, chance: random.Random = chance) -> NewRun:
            fields: dict[str, Any] = {"status": chance.choice([RunStatus.RUNNING, RunStatus.PENDING])}
            if chance.random() < 0.3:
                fields |= {"key": f"{seed} {chance.randrange(30)}", "join": chance.random() < 0.5}
            if chance.random() < 0.1:
                fields["idempotency_key"] = f"{seed} {chance.randrange(20)}"
            return new(seed * 10_000 + token, **fields)

        for turn in range(4):
            size = chance.choice([1, 2, chance.randrange(1, 20), chance.randrange(1, LARGEST)])
            batch = [draw(turn * 1000 + row) for row in range(size)]
            again = chance.sample(model.active, k=min(chance.randrange(3), len(model.active)))
            for run in again:  # an insert that is repeated, since its answer was lost
                batch.insert(chance.randrange(len(batch) + 1), run)
            expected = model.insert(batch)
            answers = await insert(store, *batch)
            sql = "SELECT id, token FROM runs WHERE manager_id = 'm' AND token >= ?"
            tokens = {row["id"]: row["token"] for row in rows(Path(store.path), sql, seed * 10_000)}
            told.update((token, run_id) for run_id, token in tokens.items())
            for (run, inserted), allowed in zip(answers, expected, strict=True):
                assert (tokens[run.id], inserted) in allowed, f"seed {seed}"
            stored = {run.id: run for run in await store.list_runs(RunFilter(), limit=2 * size + 10, before=None)}
            assert all(run == stored.get(run.id, run) for run, _ in answers), f"seed {seed}"
            began = [row for row in model.active if row.status is RunStatus.RUNNING]
            ending = chance.sample(began, k=len(began) // 3)
            await committed(store, *(completed(told[row.token]) for row in ending))
            model.ended |= {row.token for row in ending}
            stranger.insert()
        assert len(set(told.values())) == len(told)
    tally("batches of inserts against a model", 4 * seeds)

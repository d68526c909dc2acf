"""Reading runs: any text survives, and every connection sees a write when it returns."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from aioruns._values.model import RunFilter, from_micros
from aioruns._values.status import RunStatus
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, said

__all__ = ["Reads"]

_TEXTS = {
    "quotes": 'it\'s "quoted" `so`; DROP TABLE runs; --',
    "unicode": "naïve ключ 鍵 \u202e rtl",
    "astral": "🗝️ 👩‍🚀",
    "backslash": "C:\\new\\table %s {0} $1 ?1 :name",
    "null": "null",
}
_NUL = '{"text":"before\\u0000after","emoji":"🗝️"}'


class Reads(ContractCase):
    """``get_run``, ``get_active_run``, ``get_latest_run``, ``list_runs``, ``owned_runs``."""

    async def test_run_that_does_not_exist_is_none(self, owner: Owner) -> None:
        assert await owner.store.get_run(1) is None
        run = await owner.insert()
        assert await owner.store.get_run(run.id + 1) is None

    async def test_key_that_nobody_ever_had_has_no_run(self, owner: Owner) -> None:
        await owner.insert(key="a")
        assert await owner.store.get_active_run("b") is None
        assert await owner.store.get_latest_run("b") is None

    async def test_A1_latest_run_of_a_key_is_the_one_inserted_last(self, owner: Owner) -> None:
        for _ in range(3):
            run = await owner.insert(key="a", created_at=NOW)
            assert await owner.store.get_latest_run("a") == run
            ended = await owner.finish(run)
            await owner.insert(created_at=NOW)
            assert await owner.store.get_latest_run("a") == ended

    async def test_owned_runs_are_the_active_ones_of_a_manager(self, owner: Owner, other: Owner) -> None:
        active = [
            await owner.insert_as(status) for status in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.CANCELLING)
        ]
        await owner.insert_as(RunStatus.COMPLETED)
        theirs = await other.insert()
        for peer in (owner, other):
            assert sorted(await peer.store.owned_runs(owner.manager_id), key=lambda run: run.id) == active
            assert await peer.store.owned_runs(other.manager_id) == [theirs]
        assert await owner.store.owned_runs("somebody") == []

    async def test_runs_are_listed_newest_first(self, owner: Owner) -> None:
        runs = [await owner.insert() for _ in range(5)]
        assert await owner.store.list_runs(RunFilter(), limit=50, before=None) == runs[::-1]

    async def test_runs_are_listed_page_by_page(self, owner: Owner) -> None:
        ids = [(await owner.insert(job=job)).id for job in ("a", "b", "a", "a", "b", "a")]
        wanted = [run_id for run_id, job in zip(ids, "abaaba", strict=True) if job == "a"][::-1]
        found: list[int] = []
        while page := await owner.store.list_runs(RunFilter(job="a"), limit=3, before=found[-1] if found else None):
            assert len(page) <= 3
            found += [run.id for run in page]
        assert found == wanted

    @pytest.mark.parametrize(
        ("fields", "wanted"),
        [
            ({}, "abcdef"),
            ({"status": "running"}, "ab"),
            ({"status": ["pending", RunStatus.COMPLETED]}, "cd"),
            ({"status": ["interrupted"]}, ""),
            ({"status": []}, ""),
            ({"job": "build"}, "abde"),
            ({"job": "Build"}, ""),
            ({"key": "k'1"}, "a"),
            ({"tags": ["red"]}, "abd"),
            ({"tags": ["red", "blue"]}, "bd"),
            ({"tags": ["re"]}, ""),
            ({"tags": ["a,b", "ключ \U0001f5dd"]}, "e"),
            ({"triggered_by": "cron"}, "bf"),
            ({"created_after": from_micros(NOW + 3)}, "def"),
            ({"created_before": from_micros(NOW + 3)}, "abc"),
            ({"created_after": from_micros(NOW + 1), "created_before": from_micros(NOW + 3)}, "bc"),
            ({"created_after": from_micros(NOW + 2) + timedelta(microseconds=1)}, "def"),
            ({"status": "failed", "job": "build", "tags": ["aye"]}, ""),
            ({"status": "failed", "job": "build", "tags": ["a,b"], "triggered_by": "user"}, "e"),
        ],
    )
    async def test_runs_are_listed_by_what_they_satisfy(
        self, owner: Owner, fields: dict[str, Any], wanted: str
    ) -> None:
        build: dict[str, dict[str, Any]] = {
            "a": {"key": "k'1", "tags": ("red",)},
            "b": {"tags": ("blue", "red"), "triggered_by": "cron"},
            "c": {"status": RunStatus.PENDING, "job": "clean", "key": "k2"},
            "d": {"tags": ("blue", "green", "red")},
            "e": {"tags": ("a,b", "ключ \U0001f5dd"), "triggered_by": "user"},
            "f": {"job": "clean", "triggered_by": "cron"},
        }
        names: dict[int, str] = {}
        for late, (name, described) in enumerate(build.items()):
            run = await owner.insert(**described, created_at=NOW + late)
            names[run.id] = name
            if name in "def":
                await owner.finish(
                    run, {"d": RunStatus.COMPLETED, "e": RunStatus.FAILED, "f": RunStatus.CANCELLED}[name]
                )
        found = await owner.store.list_runs(RunFilter(**fields), limit=50, before=None)
        assert "".join(names[run.id] for run in reversed(found)) == wanted

    async def test_summary_leaves_out_what_may_be_large_and_nothing_else(self, owner: Owner) -> None:
        failed = await owner.finish(
            await owner.insert(key="a", tags=("red",), arguments_json="{}"), RunStatus.FAILED, error="E", traceback="T"
        )
        completed = await owner.finish(await owner.insert(arguments_json='{"a":1}'), result_json="1")
        large = {"arguments_json": None, "result_json": None, "traceback": None}
        found = await owner.store.list_runs(RunFilter(), limit=2, before=None, summary=True)
        assert found == [replace(completed, **large), replace(failed, **large)]
        assert await owner.store.list_runs(RunFilter(), limit=2, before=None) == [completed, failed]

    @pytest.mark.parametrize("text", _TEXTS.values(), ids=_TEXTS)
    async def test_text_reads_back_as_it_was_given(self, owner: Owner, text: str) -> None:
        run = await owner.insert(key=text, job=text, idempotency_key=text, tags=(text,), triggered_by=text)
        assert (run.key, run.job, run.idempotency_key, run.tags, run.triggered_by) == (text, text, text, (text,), text)
        assert await owner.read(run) == run == await owner.store.get_active_run(text)
        assert await owner.store.list_runs(RunFilter(key=text, job=text, tags=[text]), limit=2, before=None) == [run]
        text = f"{text}\n\t…"
        ended = await owner.finish(
            run, RunStatus.CANCELLED, error=text, traceback=text, cancel_requested_at=NOW, cancel_reason=text
        )
        assert (ended.error, ended.traceback, ended.cancel_reason) == (text, text, text)
        assert await owner.read(run) == ended

    async def test_json_reads_back_to_the_last_byte(self, owner: Owner) -> None:
        run = await owner.insert(arguments_json=_NUL)
        await owner.store.append_events(
            run.id, owner.fence, [said(1, data=_NUL), said(2, data="null"), said(3, data="0")]
        )
        await owner.finish(run, result_json=_NUL)
        ended = await owner.read(run)
        assert (ended.arguments_json, ended.result_json) == (_NUL, _NUL)
        value = {"text": "before\x00after", "emoji": "🗝️"}
        assert [event.data for event in await owner.events(run)][1:4] == [value, None, 0]

    async def test_arguments_result_and_events_may_be_a_megabyte_long(self, owner: Owner) -> None:
        text = f'"{"é" * (512 * 1024 - 1)}"'
        run = await owner.insert(arguments_json=text)
        await owner.finish(run, result_json=text, events=[said(1, data=text)])
        ended = await owner.read(run)
        assert ended.arguments_json == ended.result_json == text
        assert (await owner.events(run))[1].data == text[1:-1]

    async def test_F4_write_shows_elsewhere_when_it_returns(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING, key="a")
        assert await other.store.get_run(run.id) == await other.store.get_active_run("a") == run
        run = await owner.store.claim_run(run.id, owner.fence, at=NOW + 1)
        assert run is not None
        assert await other.store.get_run(run.id) == run
        await owner.store.append_events(run.id, owner.fence, [said(1)])
        assert len(await other.events(run)) == 3
        cancelled = await owner.store.request_cancel(run.id, at=NOW + 2)
        assert await other.store.get_run(run.id) == cancelled
        ended = await owner.finish(run, at=NOW + 3)
        assert await other.store.get_run(run.id) == ended
        assert (await other.events(run))[-1].terminal
        assert await owner.store.prune_runs(finished_before=NOW + 4, limit=1) == [run.id]
        assert await other.store.get_run(run.id) is None

    async def test_F4_writes_of_many_at_once_show_elsewhere_when_each_returns(self, owner: Owner, other: Owner) -> None:
        async def insert_and_look() -> None:
            run = await owner.insert()
            assert await other.store.get_run(run.id) == run
            ended = await owner.finish(run)
            assert await other.store.get_run(run.id) == ended

        await asyncio.gather(*(insert_and_look() for _ in range(20)))

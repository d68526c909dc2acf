"""The examples of the README, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from tests.examples.processes import running

README = Path(__file__).resolve().parents[2] / "README.md"
EXAMPLE = re.compile(
    r"^<!-- example: (?P<name>[\w-]+) -->\n+```python\n(?P<code>.*?)^```$"
    r"(?:\n\nIt prints:\n\n```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


def examples() -> dict[str, re.Match[str]]:
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    return {example["name"]: example for example in EXAMPLE.finditer(text)}


def test_readme_begins_with_an_example_that_is_run() -> None:
    assert next(iter(examples()), None) == "quickstart", "README.md has no block behind <!-- example: quickstart -->"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", examples())
async def test_example_of_the_readme_runs_and_prints_what_it_says(tmp_path: Path, name: str) -> None:
    example = examples()[name]
    (tmp_path / "example.py").write_text(example["code"], encoding="utf-8")
    async with running("-W", "error", "example.py", folder=tmp_path) as program:
        assert await program.ends() == 0, program.printed
    assert program.complaints == []
    if example["output"] is not None:
        # How many progress events are coalesced, and so the numbers of events, depend on the speed of the disk.
        def fixed(lines: list[str]) -> list[str]:
            return [line for line in lines if not line[:1].isdigit()]

        assert fixed(program.printed) == fixed(example["output"].splitlines())


@pytest.mark.asyncio
async def test_application_of_the_readme_is_served_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(examples()["hello"]["code"], encoding="utf-8")
    async with running("-m", "uvicorn", "hello:app", "--port", "0", folder=tmp_path) as program:
        address = re.search(r"http://127\.0\.0\.1:\d+", await program.prints("Uvicorn running on"))
        assert address is not None
        headers = {"Authorization": "Bearer the-token-of-this-example"}
        async with httpx.AsyncClient(base_url=address[0], headers=headers, trust_env=False) as client:
            assert (await client.get("/?token=the-token-of-this-example")).status_code == 200
            await client.post("/api/runs", json={"job": "greet", "args": {"name": "Ann"}})
            events = (await client.get("/api/runs/1/events")).text
        assert '"result":"Hello Ann! "' in events

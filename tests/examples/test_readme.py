"""The examples of the README, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

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

"""The pytest example, collected and run by a pytest of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.examples.processes import EXAMPLES, running


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["strict", "auto"])
async def test_users_tests_pass_without_a_warning(tmp_path: Path, mode: str) -> None:
    example = tmp_path / "test_with_pytest.py"
    example.write_text((EXAMPLES / example.name).read_text(encoding="utf-8"), encoding="utf-8")
    options = ("-W", "error", "-o", "asyncio_default_fixture_loop_scope=function", f"--asyncio-mode={mode}")
    async with running("-m", "pytest", *options, str(example), folder=tmp_path) as program:
        assert await program.ends() == 0, program.printed
    assert " 4 passed in " in program.printed[-1]
    assert program.complaints == []

"""Check the built distributions and the installed wheel: `python -I check_installed.py DIST_FOLDER`.

nox's session `packaging` runs it in an environment that holds the wheel and its dependencies, no extra and no pytest.
"""

import importlib.metadata
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def package_files() -> set[str]:
    """Give every file of the package in the repository, as `aioruns/...`."""
    source = ROOT / "src"
    files = (path for path in (source / "aioruns").rglob("*") if path.is_file())
    return {path.relative_to(source).as_posix() for path in files if path.suffix != ".pyc"}


def check_archives(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    wanted = package_files()
    assert any(name.endswith(".sql") for name in wanted), "the package has no .sql file: is this check out of date?"
    assert "aioruns/py.typed" in wanted

    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == wanted, f"the wheel and src differ by {sorted(packed ^ wanted)}"

    with tarfile.open(sdist) as archive:
        prefix = f"{sdist.name.removesuffix('.tar.gz')}/src/"
        packed = {name.removeprefix(prefix) for name in archive.getnames() if name.startswith(prefix)}
    assert wanted <= packed, f"the source distribution lacks {sorted(wanted - packed)}"


def check_installed() -> None:
    requirements = importlib.metadata.requires("aioruns") or []
    named = {line: line.split(";")[0].split(">")[0].split("[")[0] for line in requirements}
    extras = {name for line, name in named.items() if "extra ==" in line} - {"aioruns"}
    assert extras, "aioruns has no extras: is this check out of date?"
    came_along = extras & {distribution.name for distribution in importlib.metadata.distributions()}
    assert not came_along, f"installed without being asked for: {came_along}"

    import aioruns

    location = Path(aioruns.__file__).resolve()
    assert ROOT / "src" not in location.parents, f"the sources were imported, not the wheel: {location}"
    for name in aioruns.__all__:
        getattr(aioruns, name)


def check_command() -> None:
    command = str(Path(sys.executable).with_name("aioruns"))
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, timeout=120)
    assert version.stdout.strip() == f"aioruns {importlib.metadata.version('aioruns')}", version

    # Without the extra, a command says what to install: no traceback, and nothing is left behind.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "words.md").write_text("A lease is a proof of life.\n", encoding="utf-8")
        demo = subprocess.run(
            [command, "demo", "."], cwd=folder, capture_output=True, text=True, check=False, timeout=30
        )
        assert "pip install 'aioruns[cli]'" in demo.stderr, demo
        assert demo.returncode == 2, demo
        assert [path.name for path in Path(folder).iterdir()] == ["words.md"]


if __name__ == "__main__":
    check_archives(Path(sys.argv[1]))
    check_installed()
    check_command()
    print("the distributions are complete, and the wheel works without extras")

"""Every check of the project.

- `nox` is the quick check: style, import rules, types, and most tests on the Python that runs it. It takes less than
  five minutes on two cores.
- `nox -t full` is all the rest: what takes long, other Pythons, the browser, packaging, documentation.
- `.ci/run` runs both. `nox -s tests -- -k cancel` runs some tests, `nox -l` lists the sessions.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
# A Python that is not at hand is reported as skipped, on a CI machine too; it is never downloaded, because not every
# machine can. Every test runs at least on the Python that runs nox.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"

PYPROJECT = nox.project.load_toml("pyproject.toml")
SUPPORTED_PYTHONS = nox.project.python_versions(PYPROJECT)
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# What `nox` leaves to `nox -t full`: tests that start processes and wait for their ends, that put the library under
# load, or that check the benchmarks. They are a seventh of all tests, and take two thirds of the time. Whatever is not
# named here is quick.
SLOW = (
    "tests/benchmarks",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_demo_dashboard.py",
    "tests/e2e/web/test_disconnect.py",
    "tests/e2e/web/test_openapi.py",
    "tests/e2e/web/test_serve.py",
    "tests/e2e/web/test_shutdown.py",
    "tests/e2e/web/test_stream_crowd.py",
    "tests/e2e/web/test_stream_processes.py",
    "tests/examples",
    "tests/fault",
    "tests/load",
)
QUICK = tuple(f"--ignore={path}" for path in ("tests/browser", *SLOW))


def group(name: str) -> list[str]:
    """Give the requirements of one of pyproject.toml's dependency groups."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def run_tests(session: nox.Session, *selection: str) -> None:
    """Run tests, one process for each core; what `session.posargs` selects by its path is selected alone."""
    session.install("-e", ".[all]", *group("tests"))
    named = any(Path(argument.partition("::")[0]).exists() for argument in session.posargs)
    session.run("pytest", "--numprocesses=auto", "--dist=worksteal", *(() if named else selection), *session.posargs)


@nox.session(tags=["quick"])
def lint(session: nox.Session) -> None:
    """Check the code's style and its format."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(tags=["quick"])
def imports(session: nox.Session) -> None:
    """Check that imports only go down the floors of the house."""
    session.install(*group("imports"))
    session.run("lint-imports", env={"PYTHONPATH": "src"})


@nox.session(tags=["quick"])
def types(session: nox.Session) -> None:
    """Check the types of sources and tests, and that the installed package is completely typed."""
    session.install(".[all]", *group("types"))
    # Node.js always comes from the environment, so that every machine checks with the same one.
    node = {"PYRIGHT_PYTHON_GLOBAL_NODE": "0"}
    session.run("pyright", env=node)
    # Elsewhere, because here pyright would find the sources instead of the installed package.
    session.chdir(session.create_tmp())
    session.run("pyright", "--verifytypes", "aioruns", "--ignoreexternal", env=node)


@nox.session(tags=["quick"])
def tests(session: nox.Session) -> None:
    """Run the quick tests on the Python that runs nox; arguments go to pytest."""
    run_tests(session, *QUICK)


@nox.session(python=[version for version in SUPPORTED_PYTHONS if version != THIS_PYTHON], tags=["full"], default=False)
def other_pythons(session: nox.Session) -> None:
    """Run the quick tests on every other supported Python that is at hand."""
    run_tests(session, *QUICK)


@nox.session(python=sorted({SUPPORTED_PYTHONS[0], SUPPORTED_PYTHONS[-1], THIS_PYTHON}), tags=["full"], default=False)
def slow(session: nox.Session) -> None:
    """Run the tests that take long on the oldest and the newest supported Python, and on the one that runs nox."""
    # Where `proof` runs, it tries far more cases of the same tests.
    run_tests(session, *SLOW, *(("-m", "not proof") if session.python == THIS_PYTHON else ()))


@nox.session(tags=["full"], default=False)
def browser(session: nox.Session) -> None:
    """Drive the dashboard in Debian's Chromium, installed if missing; `-- --screenshots` renews the docs' pictures."""
    session.install("-e", ".[all]", *group("browser"))
    session.run("python", "tests/browser/install_chromium.py")
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session(tags=["full"], default=False)
def proof(session: nox.Session) -> None:
    """Run the tests that try many schedules, faults and kills, with thousands of cases."""
    session.install("-e", ".[all]", *group("tests"))
    session.run(
        "pytest",
        "--ignore=tests/browser",
        "-m",
        "proof",
        "--effort=full",
        "-o",
        "faulthandler_timeout=1860",  # behind FULL_TIMEOUT of tests/conftest.py
        *session.posargs,
    )


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """The same for hours: thousands of kills, a million schedules."""
    session.install("-e", ".[all]", *group("tests"))
    session.run(
        "pytest",
        "--ignore=tests/browser",
        "-m",
        "proof",
        "--effort=soak",
        "-o",
        "timeout=0",
        "-o",
        "faulthandler_timeout=0",
        *session.posargs,
    )


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Break the core in every small way, and see that the tests notice: in each module, 90 % of the time at least."""
    session.install("-e", ".[all]", *group("mutation"))
    copy = Path(session.create_tmp()) / "copy"  # mutmut writes where it stands
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("src", "tests"):
        shutil.copytree(name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", copy)
    session.chdir(copy)
    session.run("python", "tests/mutation/run.py", *session.posargs)


@nox.session(tags=["full"], default=False)
def packaging(session: nox.Session) -> None:
    """Build the distributions, and use the wheel as somebody does who installs it without extras."""
    session.install(*group("packaging"))
    tmp = Path(session.create_tmp()).resolve()
    dist, clean = tmp / "dist", tmp / "clean"
    shutil.rmtree(dist, ignore_errors=True)
    # Without options, the wheel is built from the source distribution, which proves that one complete.
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("python", "-m", "venv", "--clear", str(clean))
    python = str(clean / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    (wheel,) = dist.glob("*.whl")
    session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
    session.run(python, "-I", "tests/packaging/check_installed.py", str(dist), external=True)


@nox.session(tags=["full"], default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken reference is an error."""
    session.install(".[all]", *group("docs"))
    session.run("sphinx-build", "-W", "-n", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html")


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Look the dependencies up in the database of known vulnerabilities, which needs a network that reaches it."""
    session.install(".[all]", *group("audit"))
    session.run("pip-audit", "--local", "--skip-editable", *session.posargs)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Measure which lines and branches the tests reach."""
    session.install("-e", ".[all]", *group("coverage"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "--ignore=tests/browser", *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure this library, the limit and its peers, and write docs/benchmarks.md; arguments go to the harness."""
    session.install("-e", ".", *group("bench"))
    session.run("python", "-m", "tests.benchmarks", *session.posargs)

"""G12, E2, E3: what is shown of errors is never empty, bounded, valid UTF-8, and free of what must not be shown."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioruns import RunManager, redact_secrets
from aioruns._values.redaction import MAX_ERROR, MAX_TRACEBACK, cut, describe, safe_text

SECRET = "hunter2isMyNameAndMyPassword"


# What must not be shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:pa55@db.example.com:5432/app", "postgresql://***@db.example.com:5432/app"),
        ("cannot reach redis://:pa55@cache:6379/0 now", "cannot reach redis://***@cache:6379/0 now"),
        ("https://token@git.example.com/x/y.git", "https://***@git.example.com/x/y.git"),
        ("mysql+pymysql://root:pw@127.0.0.1/db", "mysql+pymysql://***@127.0.0.1/db"),
        ("an @ within: https://user:p@ss@host/path", "an @ within: https://***@host/path"),
        ("a slash within: postgresql://user:p/ss@host/db", "a slash within: postgresql://user:***@host/db"),
        ("https://example.com/cb?access_token=abc123&page=2", "https://example.com/cb?access_token=***&page=2"),
        ("password=pa55 user=bob", "password=*** user=bob"),
        ("{'password': 'pa55 word', 'user': 'bob'}", "{'password': ***, 'user': 'bob'}"),
        ('{"api_key": "abc"}', '{"api_key": ***}'),
        ('SECRET_KEY = "a b c" next', "SECRET_KEY = *** next"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=***"),
        ("private_key: abc", "private_key: ***"),
        ("X-Api-Key: abc", "X-Api-Key: ***"),
        ("sent Bearer abc.def-ghi there", "sent Bearer *** there"),
        ("sent Basic dXNlcjpwYXNz there", "sent Basic *** there"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def_ghi was refused", "*** was refused"),
        ("sk-proj-abcdefghijklmnop1234 was refused", "*** was refused"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "***"),
        ("xoxb-123456789012-abcdefghijkl", "***"),
        ("the key AKIAIOSFODNN7EXAMPLE is old", "the key *** is old"),
    ],
)
def test_E3_credentials_are_taken_out(text: str, shown: str) -> None:
    assert redact_secrets(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("No such file or directory: '/home/bob/data/in.txt'", "No such file or directory: '…/in.txt'"),
        ("Is a directory: '/home/bob'", "Is a directory: '~'"),
        ("in /home/bob.", "in ~"),
        ("cannot open /root/in.txt: denied", "cannot open …/in.txt: denied"),
        ("cannot enter /root.", "cannot enter ~."),
        ("/root/.ssh/id_rsa", "…/id_rsa"),
        ("~/keys/key.pem, ~bob/keys/key.pem", "…/key.pem, …/key.pem"),
        ("'~/My keys/key.pem'", "'…/key.pem'"),
        ("/home/bob/My Documents/in.txt is missing", "…/in.txt is missing"),
        ("'/home/bob/My Documents/my file.txt'", "'…/my file.txt'"),
        ("/Users/alice/Library/Application Support/x.db", "…/x.db"),
        ("/home/bob//twice/x", "…/x"),
        ("cannot copy /srv/a/b to /srv/c/d", "cannot copy …/b to …/d"),
        ("error:/home/bob/in.txt", "error:…/in.txt"),
        ("PATH=/usr/bin:/home/bob/bin", "PATH=…/bin:…/bin"),
        ("path=/var/lib/app/data.db, next", "path=…/data.db, next"),
        ("open(\"/var/lib/app.py\") at '/var/x.py':33", "open(\"…/app.py\") at '…/x.py':33"),
        ("PosixPath('/home/bob/x.txt')", "PosixPath('…/x.txt')"),
        ("sqlite:////home/bob/runs.db", "sqlite://…/runs.db"),
        ("file:///home/bob/x.txt and file:///root", "file://…/x.txt and file://~"),
        ("http://example.com/get?file=/home/bob/a.txt", "http://example.com/get?file=…/a.txt"),
        (r"C:\Users\Bob Smith\in.txt", "…/in.txt"),
        (r"C:\Users\Bob is missing", "~ is missing"),
        (r"'C:\\Users\\Bob Smith\\my file.txt'", "'…/my file.txt'"),
        (r"C:\\Users\\Bob\\in.txt", "…/in.txt"),
        ("C:/Users/Bob/in.txt", "…/in.txt"),
        (r"\\server\share\some folder\in.txt", "…/in.txt"),
        (r"'\\\\server\\share\\in.txt'", "'…/in.txt'"),
        (r"\\?\C:\Users\Bob\in.txt", "…/in.txt"),
        (r"\\?\UNC\server\share\in.txt", "…/in.txt"),
    ],
)
def test_E3_folders_of_local_paths_are_taken_out(text: str, shown: str) -> None:
    assert redact_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "redis://localhost:6379/0",
        "see https://example.com/a/b?x=1&y=2#z, or //cdn.example.com/a/b.js",
        "http://home/users/3 and http://localhost:8000/root/3",
        "sqlite:///runs.db",
        "ssh: git.example.com:x/y.git",
        "mail foo@example.com, mailto:foo@example.com",
        "on 2024/05/06 at 10:11:12, or 2024-05-06T10:11:12.5+02:00",
        "1/2 of them, 3 / 4, TCP/IP, and/or, n/a, km/h, he said 'a/b'",
        "// a comment; a // b / c; x ~ y; about ~5",
        "text/html; charset=utf-8",
        "./here/in.txt, ../there/in.txt, src/app/main.py",
        r"the pattern \\d+ and a \\ b and a\b",
        "the token is invalid, password is required, KeyError: 'password'",
        "Unexpected token } in JSON",
        "basic usage, Basic authentication required, bearer of news",
        "",
        "größer als 3 °C — 日本語 🎉",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert redact_secrets(text) == text


PLANTED = [
    f"postgresql://user:{SECRET}@db/app",
    f"Bearer {SECRET}",
    f"password={SECRET}",
    f"token: '{SECRET}'",
    f"/home/{SECRET}/in.txt",
    f"/home/{SECRET}",
    f"~/{SECRET}/in.txt",
    f"'/srv/{SECRET}/my file.txt'",
    f"C:\\Users\\{SECRET}\\in.txt",
    f"\\\\server\\{SECRET}\\in.txt",
]


@given(st.sampled_from(PLANTED), st.text(max_size=40), st.text(max_size=40))
@example(PLANTED[4], "'/", "'")
@example(PLANTED[8], "\\\\a", "/")
def test_E3_secrets_are_taken_out_whatever_stands_beside_them(secret: str, before: str, after: str) -> None:
    assert SECRET not in redact_secrets(f"{before} {secret} {after}")


HARD = [" ", "\n", "/", "\\", "~", "'/", '"~a', "/a b", "/a.b ", "~a", "~/a ", "C:\\a ", "\\\\a ", "\\\\a\\ ", ":/"]
HARD += ["-eyJaaaaaaaa", "eyJaaaaaaaa.", "bearer ", "basic\t", "a://b:", "://a:b", "a://b@", 'password="', "token "]
HARD += ["file://", "file:///a", "/home/a", "sk-", "a."]


@pytest.mark.parametrize("unit", HARD)
def test_G11_time_grows_with_the_length_and_not_with_its_square(unit: str) -> None:
    def seconds(length: int) -> float:
        text = (unit * length)[:length]
        began = time.thread_time()  # what others do on this machine does not count
        safe_text(text, MAX_TRACEBACK, redact_secrets, one_line=True)
        return time.thread_time() - began

    short, long = (min(seconds(length) for _ in range(4)) for length in (3_000, 30_000))
    assert long / short < 30, "ten times the text takes ten times as long; squared, it would be a hundred times"


# What the result looks like


def check_shown(text: str, limit: int) -> None:
    assert 0 < len(text.encode()) <= limit
    assert not [character for character in text if character < " " and character not in "\t\n"]
    assert not {"\x7f", "\u2028", "\u2029", *map(chr, range(0x80, 0xA0))} & set(text)


def raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@given(st.text(st.characters(), max_size=3000))
@example("")
@example(" \r\n\t ")
@example("\x00\x1b[31m\r\u2028\x85\ud800")
@example("é" * 3000)
@example("🎉" * 3000)
def test_E3_any_message_can_be_shown(message: str) -> None:
    line, trace = describe(raised(ValueError(message)), redact_secrets)
    check_shown(line, MAX_ERROR)
    check_shown(trace, MAX_TRACEBACK)
    assert line.startswith("ValueError")
    assert not {"\n", "\t"} & set(line)


@given(st.text(), st.integers(64, 200))
def test_cut_keeps_both_ends_and_says_how_much_is_gone(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short.encode()) <= limit
    if short != text:
        head, gone, tail = short.split(" … ")[0], int(short.split(" … ")[1].split()[0]), short.split(" … ")[-1]
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head) + gone + len(tail) == len(text)


def test_E3_carriage_returns_do_not_hide_anything() -> None:
    line, trace = describe(raised(ValueError("shown\r\nhidden\roverwritten")), redact_secrets)
    assert line == "ValueError: shown hidden overwritten"
    assert "shown\nhidden\noverwritten" in trace


def test_E3_bounds_are_bytes_and_both_ends_stay() -> None:
    line, trace = describe(raised(ValueError("first " + "é" * 1_000_000 + " last")), redact_secrets)
    assert len(line.encode()) <= 1024
    assert line.startswith("ValueError: first ")
    assert line.endswith(" last")
    assert len(trace.encode()) <= 16 * 1024
    assert "in raised" in trace


class Hostile(Exception):
    def __init__(self, behave: Callable[[], Any]) -> None:
        self.behave = behave

    def __str__(self) -> str:
        return self.behave()

    __repr__ = __str__


def throw(error: BaseException) -> Any:
    raise error


class Trap(str):
    """A string that bites whoever formats it."""

    __slots__ = ()

    def strip(self, chars: str | None = None) -> str:
        raise SystemExit(chars)

    def __format__(self, how: str) -> str:
        raise SystemExit(how)


@pytest.mark.parametrize(
    "error",
    [
        Hostile(lambda: throw(ValueError("no"))),
        Hostile(lambda: throw(SystemExit(3))),
        Hostile(lambda: throw(KeyboardInterrupt())),
        Hostile(lambda: 3),
        Hostile(lambda: Trap("bites")),
        KeyError(Hostile(lambda: throw(SystemExit(3)))),
        ExceptionGroup("several", [Hostile(lambda: throw(SystemExit(3)))]),
    ],
)
def test_E3_error_that_cannot_be_shown_is_described_by_its_type(error: BaseException) -> None:
    line, trace = describe(raised(error), redact_secrets)
    check_shown(line, MAX_ERROR)
    check_shown(trace, MAX_TRACEBACK)
    assert line.startswith(f"{type(error).__name__}: ")


@pytest.mark.parametrize("name", ["", "É" * 2000, "a\nb", "\x1b[0m"])
def test_E3_names_of_types_are_bounded_too(name: str) -> None:
    error_type = type("Named", (Exception,), {})
    error_type.__name__ = name
    line, trace = describe(raised(error_type("message")), redact_secrets)
    check_shown(line, MAX_ERROR)
    check_shown(trace, MAX_TRACEBACK)


# The user's own redaction


def test_G12_own_redaction_decides_what_is_shown() -> None:
    line, trace = describe(raised(ValueError("Mr. Smith")), lambda text: text.replace("Smith", "S."))
    assert line == "ValueError: Mr. S."
    assert "Smith" not in trace
    assert "Mr. S." in trace


@pytest.mark.parametrize(
    "redact",
    [
        lambda _: throw(RuntimeError("a bug")),
        lambda _: throw(SystemExit(3)),
        lambda _: None,
        lambda _: 3,
        lambda text: text.encode(),
    ],
)
def test_E4_own_redaction_that_fails_is_replaced_and_nothing_leaks(redact: Any) -> None:
    line, trace = describe(raised(ValueError(f"password={SECRET} on /home/bob/x")), redact)
    assert line == "ValueError: password=*** on …/x"
    assert SECRET not in trace


@pytest.mark.parametrize("rest", ["", " \n", "\ud800", "\x00" * 20_000, "é" * 20_000])
def test_G12_whatever_own_redaction_returns_can_be_shown(rest: str) -> None:
    line, trace = describe(raised(ValueError("message")), lambda _: rest)
    check_shown(line, MAX_ERROR)
    check_shown(trace, MAX_TRACEBACK)


# Tracebacks


def the_raising_frame(message: str = "the last straw") -> Any:
    raise ValueError(message)


def a_cause() -> None:
    try:
        the_raising_frame("the cause")
    except ValueError as error:
        raise KeyError("the effect") from error


def a_group() -> None:
    errors: list[Exception] = []
    for number in range(3):
        try:
            the_raising_frame(f"part {number}")
        except ValueError as error:
            errors.append(error)
    raise ExceptionGroup("three parts", errors)


def without_end() -> None:
    without_end()


def trace_of(function: Callable[[], object], redact: Callable[[str], str] = redact_secrets) -> str:
    kind = Exception
    with pytest.raises(kind) as caught:
        function()
    return describe(caught.value, redact)[1]


def test_E2_traceback_keeps_the_raising_frame_and_its_line() -> None:
    trace = trace_of(the_raising_frame)
    assert trace.startswith("Traceback (most recent call last):")
    assert ", in the_raising_frame\n    raise ValueError(message)" in trace
    assert trace.endswith("ValueError: the last straw")


def test_E2_traceback_keeps_the_frames_of_causes() -> None:
    trace = trace_of(a_cause)
    assert "in the_raising_frame" in trace
    assert trace.index("the cause") < trace.index("direct cause of") < trace.index("KeyError: 'the effect'")


def test_E2_traceback_keeps_the_frames_within_a_group() -> None:
    trace = trace_of(a_group)
    assert trace.count("in the_raising_frame") == 3
    assert all(f"ValueError: part {number}" in trace for number in range(3))


def test_E2_endless_recursion_is_described() -> None:
    trace = trace_of(without_end)
    check_shown(trace, MAX_TRACEBACK)
    assert "in without_end" in trace
    assert "RecursionError: maximum recursion depth exceeded" in trace


def test_E2_long_message_does_not_push_the_frames_out() -> None:
    trace = trace_of(lambda: the_raising_frame("x" * 1_000_000))
    check_shown(trace, MAX_TRACEBACK)
    assert "in the_raising_frame" in trace


def test_E2_long_chain_of_causes_keeps_the_last_frame() -> None:
    def chain() -> None:
        error: Exception | None = None
        for number in range(500):
            try:
                raise RuntimeError(f"link {number}") from error
            except RuntimeError as link:
                error = link
        assert error is not None
        raise error

    trace = trace_of(chain)
    check_shown(trace, MAX_TRACEBACK)
    assert "RuntimeError: link 0\n" in trace
    assert trace.endswith("RuntimeError: link 499")


def test_E3_files_of_a_traceback_are_named_as_they_are_imported() -> None:
    trace = trace_of(lambda: cut(None, 3))  # pyright: ignore[reportArgumentType]
    assert 'File "aioruns/_values/redaction.py"' in trace
    assert __file__.rsplit("/", 1)[0] not in trace
    assert not any(folder in trace for folder in sys.path if len(folder) > 1)


@pytest.mark.asyncio
async def test_E2_traceback_of_a_run_begins_with_its_own_function(manager: RunManager) -> None:
    async def work() -> None:
        the_raising_frame("password=pa55 in /home/bob/in.txt")

    run = await (await manager.start_run(work())).wait()
    assert run.error == "ValueError: password=*** in …/in.txt"
    assert run.traceback is not None
    assert re.findall(r", in (\w+)", run.traceback) == ["work", "the_raising_frame"]


def test_E3_own_redaction_is_applied_to_tracebacks() -> None:
    assert "the_raising_frame" not in trace_of(the_raising_frame, lambda text: text.replace("the_raising_frame", "f"))


def test_exception_that_was_never_raised_can_be_described() -> None:
    assert describe(ValueError("made only"), redact_secrets) == ("ValueError: made only", "ValueError: made only")

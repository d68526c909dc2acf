"""What is drawn. Nothing here depends on what has happened: what has, is never quite the same twice."""

from __future__ import annotations

from hypothesis import strategies as st
from tests.property.functions import Utterance
from tests.property.inspection import KEYS

from aioruns import RunStatus

choices = st.integers(0, 10)
slots = st.integers(0, 1)
turns = st.integers(0, 20)
capacities = st.sampled_from([None, 1, 2])

jobs = st.sampled_from(["obedient", "stubborn"])
held_keys = st.sampled_from(KEYS)
keys = st.none() | held_keys
idempotency_keys = st.sampled_from([None, None, "i", "j"])
tags = st.sets(st.sampled_from(["x", "y"])).map(lambda labels: tuple(sorted(labels)))
status_filters = st.none() | st.sets(st.sampled_from(RunStatus))
bounds = st.tuples(choices, choices, st.sampled_from([None, "after", "before", "both"]))

texts = st.text(max_size=20) | st.sampled_from(["\0", "\ud800", "\x1b[31mred\x1b[0m", "a\r\nb", "é" * 20])
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
outcomes = values | texts.map(LookupError)
utterances = st.builds(Utterance, st.just("note"), values, flush=st.booleans()) | st.builds(
    Utterance, st.sampled_from(["log", "progress"]), texts, st.sampled_from([None, "one", "two"]), st.booleans()
)
cursors = st.integers(0, 6) | st.just(10**6)

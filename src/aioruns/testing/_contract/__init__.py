"""What every store promises, one test for each promise; one module for each group of verbs."""

from __future__ import annotations

from aioruns.testing._contract._cancelling import CancelRequests
from aioruns.testing._contract._claiming import Claims
from aioruns.testing._contract._closing import OpeningAndClosing
from aioruns.testing._contract._counting import Counts
from aioruns.testing._contract._ending import Endings
from aioruns.testing._contract._events import Events
from aioruns.testing._contract._inserting import Inserts
from aioruns.testing._contract._keys import Keys
from aioruns.testing._contract._liveness import Liveness
from aioruns.testing._contract._pruning import Pruning
from aioruns.testing._contract._reading import Reads
from aioruns.testing._contract._watching import Watching

__all__ = ["StoreContract"]


class StoreContract(
    Inserts,
    Keys,
    Claims,
    CancelRequests,
    Endings,
    Events,
    Reads,
    Counts,
    Pruning,
    Liveness,
    Watching,
    OpeningAndClosing,
):
    """The suite that every store passes: each verb of ``aioruns.abc.Store``, and the rules that hold for all of them.

    Subclass it in a test module, and give it a fixture ``make_store``: a function that returns a new store, not opened,
    on the same data each time it is called in one test, and on empty data in the next test. The tests are collected
    with the subclass; pytest-asyncio may be in strict mode or in auto mode::

        class TestMyStore(StoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return lambda: MyStore(tmp_path / "runs")

    Names of tests bear the id of the invariant that they keep, where there is one.

    Attributes:
        shareable: Whether several stores can be open on the same data. If not, what concerns several is skipped.
    """

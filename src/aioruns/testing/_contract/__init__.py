"""The promises of every store, with one test for each promise and one module for each group of verbs."""

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
    """The suite that every store must pass. It tests each verb of ``aioruns.abc.Store``, and the rules for all verbs.

    Subclass it in a test module, and give it a fixture ``make_store``: a function that returns a new store, not opened.
    Within one test all its stores share their data; each test begins with empty data. pytest collects the tests with
    the subclass; pytest-asyncio may be in strict or auto mode::

        class TestMyStore(StoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return lambda: MyStore(tmp_path / "runs")

    The name of a test contains the id of the invariant that it checks, if there is one.

    Attributes:
        shareable: Whether several stores can be open on the same data. If not, tests that need several are skipped.
    """

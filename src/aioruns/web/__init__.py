"""An HTTP API, live events and a dashboard, as a router to include or an application to mount or serve.

This needs the extra ``web``: ``pip install 'aioruns[web]'``.
"""

from aioruns.web._actions import Action, Authorize
from aioruns.web._app import create_app
from aioruns.web._router import runs_router
from aioruns.web._serve import serve
from aioruns.web._streams import end_streams
from aioruns.web._views import EventView, RunSummary, RunView

__all__ = [
    "Action",
    "Authorize",
    "EventView",
    "RunSummary",
    "RunView",
    "create_app",
    "end_streams",
    "runs_router",
    "serve",
]

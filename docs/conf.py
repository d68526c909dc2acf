"""Configuration of Sphinx: `nox -s docs` builds the documentation without a network connection."""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

from sphinx.util import logging

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "aioruns"
author = "The aioruns authors"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx reads this name
version = release = version_of("aioruns")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"aioruns {version}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Other projects' objects have no target here, since looking them up would need a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(asyncio|collections|contextvars|datetime|enum|inspect|logging|msgspec|os|pathlib|types|typing)\..+"),
    (r"py:.*", r"(fastapi|pydantic|starlette)\..+"),
    (r"py:(class|exc|obj)", "|".join(vars(builtins))),
]

# The public modules, in the order in which a name that several of them export is looked up: it is documented once, in
# the first, and every reference to it leads there.
PUBLIC_MODULES = ["aioruns.errors", "aioruns.abc", "aioruns.stores", "aioruns.testing", "aioruns.web", "aioruns"]


@functools.cache
def documented_names() -> dict[int, str]:
    """Map the identity of every public object to the full name under which it is documented."""
    names: dict[int, str] = {}
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            names.setdefault(id(getattr(module, name)), f"{module_name}.{name}")
    return names


def resolve_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Element | None:
    """Lead a reference to `aioruns._values.model.Run`, or to a bare `Run`, to where that object is documented.

    Signatures also name what is not public: type variables, and types that users are given but never name. That stays
    text. What exists nowhere in the package remains a broken reference.
    """
    if node.get("refdomain") != "py":
        return None
    module_name, _, name = node["reftarget"].rpartition(".")
    for module in [module_name] if module_name else [m for m in sys.modules if m.split(".")[0] == "aioruns"]:
        if module in sys.modules and hasattr(sys.modules[module], name):
            full_name = documented_names().get(id(getattr(sys.modules[module], name)))
            if full_name is None:
                return contnode
            domain = env.get_domain("py")
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full_name, node, contnode)
    return None


def require_every_name(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn, which nox makes an error, of public names that no page of the reference describes."""
    described = {name for name, *_ in env.get_domain("py").get_objects()}
    for name in sorted(set(documented_names().values()) - described):
        logging.getLogger(__name__).warning("public, but not in the reference: %s", name)


def setup(app: Sphinx) -> None:
    """Connect the hooks above."""
    app.connect("missing-reference", resolve_name)
    app.connect("env-check-consistency", require_every_name)

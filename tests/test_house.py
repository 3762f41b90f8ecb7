"""The shape of the house: imports flow one way, names stay what they are, every public call is documented."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import ravine

pytestmark = pytest.mark.quick

ROOT = Path(ravine.__file__).parent
HOMES = ("gallery", "measure", "theory", "plot", "trainers")  # public names that are modules

FLOORS = (  # each wing imports only from wings that stand before its own floor
    {"_format", "_progress", "_system"},
    {"_torch", "_kernel"},
    {"_study"},
    {"theory", "_html", "_words"},
    {"measure", "_problem", "_store", "_parallel"},
    {"gallery"},
    {"_problems"},
    {"_findings", "curvature"},
    {"_plane"},
    {"plot._canvas"},
    {"plot._map"},
    {"plot._anatomy", "plot._phase", "plot._curves"},
    {"plot._film"},
    {"plot", "_landscape"},
    {"_descent"},
    {"_engine", "_record"},
    {"_sweep", "_checkpoints", "trainers"},
    {"_explore"},
    {""},  # ravine itself: the public names
    {"article"},
    {"cli"},
    {"__main__"},
)
DOORS = {"", "__main__", "article", "cli", "_explore"}
WITHOUT_TORCH = {
    *("_format", "_progress", "_system", "_study", "theory", "_html", "measure", "_store", "_parallel", "_findings"),
    *(wing for floor in FLOORS for wing in floor if wing.startswith("plot")),
}
WITHOUT_MATPLOTLIB = {
    *(
        "_torch",
        "_kernel",
        "_words",
        "_problem",
        "gallery",
        "_problems",
        "curvature",
        "_plane",
        "_descent",
        "_landscape",
        "_engine",
        "_record",
        "_sweep",
        "_checkpoints",
        "trainers",
    ),
}
"""The two shores, and the doors between them. The study contract and what it stands on belong to both."""


def modules():
    return sorted(m.name for m in pkgutil.walk_packages([str(ROOT)], prefix="ravine."))


def path_of(name):
    path = ROOT.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def nodes_of(path):
    """All of a file's syntax, read once for the tests that walk through it."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@functools.cache
def imports_of(name):
    found = set()
    for node in nodes_of(path_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wing_of(name):
    """The folder of the package that a module or a name of one belongs to; plot has wings of its own."""
    parts = name.split(".")[1:]
    inside_plot = parts[:1] == ["plot"] and len(parts) > 1 and parts[1].startswith("_")
    if len(parts) == 1 and path_of(name).suffix == ".py" and not path_of(name).exists():
        return ""  # a public name of the face, ravine.descend
    return ".".join(parts[: 1 + inside_plot])


def test_wings_import_downwards_only():
    floor_of = {wing: k for k, floor in enumerate(FLOORS) for wing in floor}
    for name in ["ravine", *modules()]:
        wing = wing_of(name)
        for other in {wing_of(each) for each in imports_of(name) if each.split(".")[0] == "ravine"} - {wing}:
            assert floor_of[other] < floor_of[wing], (name, other)


READS_TABLES = {f"ravine._problem.read_{what}" for what in ("csv", "frame", "numbers", "rows")}


def test_the_shores_never_cross():
    for name in modules():
        wing = wing_of(name)
        outside = {each.split(".")[0] for each in imports_of(name)}
        ours = {wing_of(each) for each in imports_of(name) if each.split(".")[0] == "ravine"} - {wing}
        if wing in WITHOUT_TORCH or name in READS_TABLES:
            assert "torch" not in outside, name
            assert not ours & (WITHOUT_MATPLOTLIB | DOORS), (name, ours)
        if wing in WITHOUT_MATPLOTLIB:
            assert "matplotlib" not in outside, name
            assert not any(each.startswith("plot") for each in ours), (name, ours)


def test_every_wing_stands_on_a_shore_or_is_a_door():
    wings = {wing_of(name) for name in modules()} | {""}
    assert wings == set().union(*FLOORS) == WITHOUT_TORCH | WITHOUT_MATPLOTLIB | DOORS


def test_a_public_verb_stands_in_a_file_of_its_name():
    """Or beside the verb that it belongs to, or with the class that it returns."""
    beside = {"around": "grid", "at": "select", "join": "select", "save": "files", "open": "files", "check": "contract"}
    beside |= {"code": "script", "residuals": "criteria", "landmarks": "_landmarks", "sharpness": "_hessian"}
    beside |= {"eigenvalues": "_eigenvalues"}
    beside |= {"path": "marks", "surface": "marks", "scatter": "fit", "vectors": "arrows"}
    verbs = [(name, getattr(ravine, name)) for name in ravine.__all__ if name not in HOMES]
    verbs += [(name, getattr(ravine.plot, name)) for name in ravine.plot.__all__]
    for name, thing in verbs:
        room = thing.__module__.split(".")[-1]
        assert room in (name.lower(), beside.get(name)), (name, thing.__module__)


def test_inner_wings_hand_nothing_on():
    for path in ROOT.rglob("__init__.py"):
        if any(part.startswith("_") for part in path.parent.relative_to(ROOT).parts):
            assert [type(node) for node in ast.parse(path.read_text()).body] == [ast.Expr], path


def test_what_begins_with_an_underscore_stays_in_its_room():
    for path in ROOT.rglob("*.py"):
        for node in nodes_of(path):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("ravine")):
                assert not any(alias.name.startswith("_") for alias in node.names), (path.name, node.module)


def test_public_names_are_the_ones_announced():
    assert set(ravine.__all__) <= set(dir(ravine))
    with pytest.raises(AttributeError, match="has no attribute 'optimize'"):
        ravine.optimize  # noqa: B018


def public():
    yield from ((f"ravine.{name}", getattr(ravine, name)) for name in ravine.__all__)
    for module in HOMES:
        home = importlib.import_module(f"ravine.{module}")
        yield from ((f"ravine.{module}.{name}", getattr(home, name)) for name in home.__all__)


@pytest.mark.parametrize(("name", "thing"), list(public()), ids=lambda v: v if isinstance(v, str) else "")
def test_every_public_name_has_a_docstring_with_a_worked_example(name, thing):
    text = inspect.getdoc(thing)
    assert text
    if callable(thing) and name != "ravine.open":
        assert ">>>" in text, name


def test_names_that_texts_speak_of_are_there():
    for path in ROOT.rglob("*.py"):
        for name in set(re.findall(r"\bravine(?:\.[A-Za-z_]+)+", path.read_text(encoding="utf-8"))):
            try:
                pkgutil.resolve_name(name)
            except (AttributeError, ImportError) as reason:
                pytest.fail(f"{path.relative_to(ROOT)} speaks of {name}: {reason}")


def test_no_code_branches_on_the_article():
    """Only the doors and the gallery may know the article's names."""
    for name in modules():
        wing = wing_of(name)
        if wing in DOORS | {"gallery"}:
            continue
        for node in nodes_of(path_of(name)):
            if isinstance(node, ast.If | ast.IfExp | ast.Compare):
                assert "article" not in ast.unparse(node), name


def test_the_version_is_written_once_for_each_reader():
    project = ROOT.parent.parent
    assert f"version: {ravine.__version__}" in (project / "CITATION.cff").read_text()
    assert f"## {ravine.__version__}" in (project / "CHANGELOG.md").read_text()


def test_every_wing_stands_in_the_design():
    page = (ROOT.parent.parent / "docs" / "design.md").read_text()
    wings = {wing.replace(".", "/") for floor in FLOORS for wing in floor if wing}
    assert [wing for wing in sorted(wings) if f"`{wing}" not in page] == []

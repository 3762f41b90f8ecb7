"""The shape of the house: imports flow one way, names stay what they are, every public call is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import random
import subprocess
import sys
from pathlib import Path

import pytest

import ravine

ROOT = Path(ravine.__file__).parent
HOMES = ("gallery", "measure", "theory", "plot")  # public names that are modules
DOORS = {"article", "cli", "executors", "growing", "options", "reports", "retold", "sources"}
TORCH_SHORE = {
    "batches",
    "capacity",
    "criterion",
    "curvature",
    "derivatives",
    "descent",
    "edges",
    "engines",
    "fields",
    "gallery",
    "gradients",
    "grid",
    "grounds",
    "identity",
    "jobs",
    "keeping",
    "landscape",
    "lattice",
    "making",
    "minima",
    "otherwise",
    "parts",
    "pieces",
    "plan",
    "problem",
    "races",
    "recipes",
    "regression",
    "results",
    "sgd",
    "spelling",
    "spots",
    "sweeps",
    "threads",
    "traces",
    "valleys",
}
OTHER_SHORE = {
    "audits",
    "columns",
    "files",
    "findings",
    "founding",
    "goals",
    "ledger",
    "limits",
    "measure",
    "opening",
    "parcels",
    "plot",
    "progress",
    "script",
    "stacks",
    "store",
    "study",
    "swings",
    "tallies",
    "tiling",
    "theory",
    "updates",
    "words",
    "workers",
}
"""Rooms that never import torch, nor a room that does."""


def modules():
    return sorted(m.name for m in pkgutil.walk_packages([str(ROOT)], prefix="ravine."))


def imports_of(name):
    path = ROOT / (name.removeprefix("ravine.").replace(".", "/") + ".py")
    if not path.exists():
        path = ROOT / name.removeprefix("ravine.").replace(".", "/") / "__init__.py"
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_shores_never_cross():
    for name in modules():
        room = name.removeprefix("ravine.").split(".")[0]
        imported = imports_of(name)
        ours = {each.split(".")[1] for each in imported if each.startswith("ravine.")} - {room}
        if room in OTHER_SHORE:
            assert not any(each.split(".")[0] == "torch" for each in imported), name
            assert not ours & (TORCH_SHORE | DOORS), (name, ours)
        if room in TORCH_SHORE:
            assert not any(each.split(".")[0] == "matplotlib" for each in imported), name
            assert not ours & ({"plot"} | DOORS), (name, ours)


def test_every_room_stands_on_one_shore_or_is_a_door():
    rooms = {name.split(".")[1] for name in modules()}
    assert rooms == TORCH_SHORE | OTHER_SHORE | DOORS
    assert len(rooms) == len(TORCH_SHORE) + len(OTHER_SHORE) + len(DOORS)


def test_what_begins_with_an_underscore_stays_in_its_room():
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("ravine")):
                assert not any(alias.name.startswith("_") for alias in node.names), (path.name, node.module)


def test_views_work_without_torch(tmp_path, told):
    path = ravine.save(told.sel(run="momentum"), tmp_path / "study.nc")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import ravine\n"
        f"study = ravine.open({str(path)!r})\n"
        "ravine.plot.descent(study, study); ravine.plot.fit(study); ravine.plot.losses(study)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_ravine_imports_nothing_heavy():
    code = "import sys, ravine; assert not {'torch', 'numpy', 'matplotlib', 'xarray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_hides_a_public_name():
    """Import every submodule in random order, then use every public name twice."""
    names = modules()
    order = random.Random(5)
    for _ in range(3):
        order.shuffle(names)
        code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)\nimport ravine\n" + "\n".join(
            f"assert (callable(ravine.{n}) or {n in HOMES}) and ravine.{n} is ravine.{n}" for n in ravine.__all__
        )
        subprocess.run([sys.executable, "-c", code], check=True)


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


def test_no_code_branches_on_the_article():
    """Only the doors and the gallery may know the article's names."""
    for name in modules():
        room = name.removeprefix("ravine.").split(".")[0]
        if room in DOORS | {"gallery", "plot"}:
            continue  # plot has a style of that name
        source = inspect.getsource(importlib.import_module(name))
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.If | ast.IfExp | ast.Compare):
                assert "article" not in ast.unparse(node), name


def test_the_version_is_written_once_for_each_reader():
    project = ROOT.parent.parent
    assert f"version: {ravine.__version__}" in (project / "CITATION.cff").read_text()
    assert f"## {ravine.__version__}" in (project / "CHANGELOG.md").read_text()


def test_every_room_stands_in_the_design():
    page = (ROOT.parent.parent / "docs" / "design.md").read_text()
    rooms = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if path.name != "__init__.py"]
    packages = ("findings/", "theory/")  # their own __init__ tells their rooms
    assert [room for room in rooms if f"`{room}`" not in page and not room.startswith(packages)] == []

"""What is imported when, each in a process of its own: seconds each, so apart from the quick tests of the house."""

from __future__ import annotations

import json
import subprocess
import sys

import processes
import ravine
from test_house import HOMES, modules


def test_importing_ravine_imports_nothing_heavy():
    code = "import sys, ravine; assert not {'torch', 'numpy', 'matplotlib', 'xarray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


IN_ORDER = """
import importlib, json, random, sys
names, public, homes = json.loads(sys.argv[1])
order = random.Random(5)
for _ in range(3):
    for name in [each for each in sys.modules if each.partition(".")[0] == "ravine"]:
        del sys.modules[name]  # what ravine itself imports stays: it has no order of ravine's
    order.shuffle(names)
    for name in names:
        importlib.import_module(name)
    import ravine
    for name in public:
        there = getattr(ravine, name)
        assert (callable(there) or name in homes) and there is getattr(ravine, name), name
"""


def test_no_module_hides_a_public_name():
    """Import every submodule in random order, then use every public name twice; and again in two other orders."""
    processes.run(IN_ORDER, json.dumps([modules(), ravine.__all__, HOMES]), check=True)


def test_views_work_without_torch(tmp_path, told):
    path = ravine.save(told.sel(run="momentum"), tmp_path / "study.nc")
    code = (
        f"{processes.FORGET}; sys.modules['torch'] = None\n"
        "import ravine\n"
        f"study = ravine.open({str(path)!r})\n"
        "ravine.plot.descent(study, study); ravine.plot.fit(study); ravine.plot.losses(study)"
    )
    processes.run(code, check=True)


def test_pyplot_is_never_imported():
    code = (
        f"{processes.FORGET}; import ravine; p = ravine.gallery.article()['MSELoss'];"
        "figure = ravine.plot.descent(ravine.descend(p, steps=2), ravine.surface(p, points=5));"
        "figure.savefig('/dev/null', format='png');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    processes.run(code, check=True)

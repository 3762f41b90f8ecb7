"""What is imported when, each in a process of its own: seconds each, so apart from the quick tests of the house."""

from __future__ import annotations

import random
import subprocess
import sys

import ravine
from test_house import HOMES, modules


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


def test_views_work_without_torch(tmp_path, told):
    path = ravine.save(told.sel(run="momentum"), tmp_path / "study.nc")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import ravine\n"
        f"study = ravine.open({str(path)!r})\n"
        "ravine.plot.descent(study, study); ravine.plot.fit(study); ravine.plot.losses(study)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pyplot_is_never_imported():
    code = (
        "import sys, ravine; p = ravine.gallery.article()['MSELoss'];"
        "figure = ravine.plot.descent(ravine.descend(p, steps=2), ravine.surface(p, points=5));"
        "figure.savefig('/dev/null', format='png');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

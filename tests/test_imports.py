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


def _run_cold(code, cwd):
    subprocess.run([sys.executable, "-c", code], check=True, cwd=cwd, stdout=subprocess.DEVNULL)


COMMAND = """
import atexit, sys
sys.argv = ["ravine", *{words}]
atexit.register(lambda: print(*{wanted}, file=open("seen", "w")))
from ravine.cli import main
main()
"""


def test_a_command_imports_neither_a_compiler_nor_dask(tmp_path):
    loaded = '(name for name in ("sympy", "torch._dynamo.eval_frame", "dask", "distributed") if sys.modules.get(name))'
    words = ["descend", "article", "--steps", "5", "-o", "run.nc"]
    _run_cold(COMMAND.format(words=words, wanted=loaded), tmp_path)
    assert not (tmp_path / "seen").read_text().split()
    everything = '(name for name in ("torch", "matplotlib") if name in sys.modules)'
    _run_cold(COMMAND.format(words=["explain", "run.nc"], wanted=everything), tmp_path)
    assert not (tmp_path / "seen").read_text().split()  # it reads, and neither computes nor draws


def test_a_module_of_the_users_finds_all_there_is(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import dask.array, torch, xarray, ravine\n"
        "assert xarray.DataArray(dask.array.ones((4, 4), chunks=2), dims=('x', 'y')).sum().compute() == 16\n"
        "loss = torch.compile(lambda x: x**2, backend='eager')\n"
        "problem = ravine.Problem(lambda p: loss(p['x']), start={'x': 1.0})\n"
    )
    words = ["descend", "mine:problem", "--steps", "5", "-o", "run.nc"]
    _run_cold(COMMAND.format(words=words, wanted="[sys.modules['dask'].array.Array.__name__]"), tmp_path)
    assert (tmp_path / "seen").read_text().split() == ["Array"]
    assert (tmp_path / "run.nc").exists()


def test_who_asks_for_the_compiler_gets_it(tmp_path):
    """Before and after torch was imported, whole or in part; each module is there once, and optimizers step as ever."""
    asking = (
        "import torch._dynamo.utils as part",
        "import torch; part = torch._dynamo.utils",
        "import torch; torch.optim.SGD([torch.zeros(1)]); import torch._dynamo.utils as part",
    )
    for line in asking:
        code = (
            "import sys\nfrom ravine.cli.lazy_imports import CompilerStub, defer_imports\n"
            "for _ in range(2): defer_imports([])\n"
            "assert type(sys.modules['torch._dynamo']) is CompilerStub and sys.modules['dask'] is None\n"
            f"{line}\n"
            "import torch, torch._dynamo.eval_frame\n"
            "assert torch._dynamo is sys.modules['torch._dynamo'] and type(torch._dynamo) is not CompilerStub\n"
            "assert part is torch._dynamo.utils is sys.modules['torch._dynamo.utils']\n"
            "assert part.__spec__.origin == part.__file__\n"
            "kept = vars(torch.optim.Optimizer.add_param_group.__wrapped__).get('__dynamo_disable')\n"
            "assert kept is None or kept is not torch.optim.Optimizer.add_param_group.__wrapped__\n"
            "x = torch.nn.Parameter(torch.ones(1)); (x * x).backward(); torch.optim.SGD([x], lr=0.25).step()\n"
            "assert x.item() == 0.5\n"
            "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item() == 2"
        )
        _run_cold(code, tmp_path)


def test_a_command_of_ones_own_process_leaves_imports_alone(tmp_path):
    """typer's runner, or whoever calls the app, is no process of a command's."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom ravine.cli import app\n"
        "assert CliRunner().invoke(app, ['descend', 'article', '--steps', '2', '-o', 'run.nc']).exit_code == 0\n"
        "import dask, torch._dynamo\n"
        "assert hasattr(torch._dynamo, 'eval_frame')"
    )
    _run_cold(code, tmp_path)

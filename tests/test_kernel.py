"""The compiled kernel: torch's bits at each level of instructions, refused without them, left out if asked."""

from __future__ import annotations

import copy
import ctypes
import itertools
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bare
import ravine
from ravine._engine import compiled_sgd, proven, reference
from ravine._kernel import build, neuron
from ravine._landscape import of_neuron
from ravine._problem import compiled
from ravine._problem.criteria import residual_functions
from ravine._problem.order import TorchValues, same_bits
from ravine._study.provenance import describe

LEVELS = neuron.CAPABILITIES.get(torch.backends.cpu.get_cpu_capability(), ("portable",))
BUILT = [level for level in LEVELS if (neuron.HERE / build.library_name(level)).exists()]
ROOT = Path(__file__).parent.parent

needs_kernel = pytest.mark.skipif(not BUILT, reason="no kernel was built: python -m ravine._kernel.build")

CRITERIA = [torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.HuberLoss(delta=0.7), torch.nn.SmoothL1Loss(beta=0.3)]
DTYPES = [torch.float32, torch.float64]


def neuron_on(random, samples, criterion, dtype):
    x, y = (torch.from_numpy(random.normal(size=(samples, 1)) * scale).to(dtype) for scale in (2, 3))
    model = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1, dtype=dtype)
    with torch.no_grad():
        model.weight.fill_(random.normal() * 3)
        model.bias.fill_(random.normal() * 3)
    return ravine.Problem.of(model, criterion, (x, y))


def torch_values(problem, position):
    """What autograd gives at each position by itself."""
    parts, found = problem.parts, []
    for weight, bias in position.T:
        leaves = [weight.reshape(1, 1).clone().requires_grad_(), bias.reshape(1).clone().requires_grad_()]
        loss = parts.criterion(torch.nn.functional.linear(parts.inputs, *leaves), parts.targets)
        found.append(torch.stack([loss, *(each.reshape(()) for each in torch.autograd.grad(loss, leaves))]).detach())
    rows = torch.stack(found, 1)
    return TorchValues(position, rows[0], rows[1:])


@needs_kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("level", BUILT)
def test_losses_and_gradients_are_torchs_wherever_the_kernel_is_taken(level, dtype, monkeypatch):
    """For numbers of samples around torch's vectors, and one at which its sums are carried to further levels."""
    monkeypatch.setenv(neuron.SWITCH, level)
    random, taken = np.random.default_rng(), []
    for samples, criterion in itertools.product((1, 7, 8, 9, 50, 64, 1000), CRITERIA):
        problem = neuron_on(random, samples, criterion, dtype)
        position = torch.from_numpy(random.normal(size=(2, 70)) * 4).to(dtype)
        values = torch_values(problem, position)
        found = compiled.choose_compiled(
            problem.parts, TorchValues(*(each[..., :30] for each in vars(values).values()))
        )
        if found is None:
            continue
        assert found.neuron.kernel.level == level
        losses = torch.empty_like(values.loss)
        gradient = found(position, losses)
        assert same_bits(losses, values.loss), (samples, criterion)
        assert same_bits(gradient, values.gradient), (samples, criterion)
        taken.append(samples)
    assert {8, 9, 50, 64} <= set(taken)


@needs_kernel
@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda each: type(each).__name__)
def test_runs_are_torchs_from_first_to_last(criterion, monkeypatch):
    """With every setting of SGD, and where they end in infinities and NaN."""
    random = np.random.default_rng()
    settings = {
        "lr": [*10.0 ** random.uniform(-3, 0, 3), 80.0],
        "momentum": [0.0, random.uniform(0.1, 1.1)],
        "dampening": [0.0, random.uniform(0.1, 1)],
        "weight_decay": [0.0, 0.3],
        "nesterov": [False, True],
        "maximize": [False, True],
    }
    for samples, dtype in zip((9, 50), random.permutation(2), strict=True):
        problem = neuron_on(random, samples, criterion, DTYPES[dtype])
        runs = ravine.sweep(problem, steps=40, **settings)
        facts = describe(runs, "loss")
        assert f"compiled for {BUILT[0]}" in facts["why"]
        assert facts["equals_torch"].startswith("every bit")
        some = random.choice(runs.lr.size * 2**5, 16, replace=False)
        for place in zip(*np.unravel_index(some, [len(each) for each in settings.values()]), strict=True):
            given = {name: settings[name][k] for name, k in zip(settings, place, strict=True)}
            if given["nesterov"] and (given["momentum"] == 0 or given["dampening"] != 0):
                continue
            parts = problem.parts
            positions, losses = bare.train(parts.model, criterion, parts.inputs, parts.targets, steps=40, **given)
            assert bare.same_bits(runs.position.values[place], positions), given
            assert bare.same_bits(runs.loss.values[place], losses), given


SIZES = (1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50, 63, 64, 65, 127, 128, 129, 255, 257, 399, 511, 513, 999)


@needs_kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", [type(each) for each in CRITERIA])
def test_random_settings_on_data_of_any_size(kind, dtype):
    """Around torch's vectors and the kernel's lanes, as many runs as lanes or one more or less, divergence included."""
    random = np.random.default_rng()
    lanes = neuron.load_kernel().lanes[dtype]
    for samples, runs in zip(random.choice(SIZES, 3), (lanes - 1, lanes, lanes + 1), strict=True):
        turn = {"HuberLoss": "delta", "SmoothL1Loss": "beta"}.get(kind.__name__)
        criterion = kind(**({turn: 10.0 ** random.uniform(-1, 1)} if turn else {}))
        problem = neuron_on(random, int(samples), criterion, dtype)
        settings = {"momentum": random.uniform(0.01, 1.1), "weight_decay": 10.0 ** random.uniform(-2, 0)}
        settings |= {"nesterov": True} if random.random() < 0.5 else {"dampening": random.uniform(0, 1)}
        settings = {name: each for name, each in settings.items() if random.random() < 0.7 or name == "momentum"}
        settings["maximize"] = bool(random.random() < 0.3)
        rates = 10.0 ** random.uniform(-3, 3, runs)
        found = ravine.sweep(problem, steps=12, lr=rates, **settings)
        if "steps too" not in describe(found, "loss")["why"]:
            assert samples > 64
            continue
        for place in random.choice(runs, 4, replace=False):
            parts, given = problem.parts, {"lr": float(rates[place]), **settings}
            positions, losses = bare.train(parts.model, criterion, parts.inputs, parts.targets, steps=12, **given)
            assert bare.same_bits(found.position.values[place], positions), (samples, criterion, given)
            assert bare.same_bits(found.loss.values[place], losses), (samples, criterion, given)


@needs_kernel
def test_steps_in_stretches_and_under_a_schedule_are_the_same(article, monkeypatch):
    settings = {"lr": np.geomspace(1e-3, 3, 40), "momentum": [0.5, 0.9], "weight_decay": [0.0, 0.1], "steps": 25}
    summary = {"keep": "summary"}
    for more in ({}, {"scheduler": "cosine"}, summary, {"scheduler": "StepLR(step_size=7)", **summary}):
        monkeypatch.setenv(neuron.SWITCH, "off")
        apart = ravine.sweep(article["HuberLoss"], **settings, **more)
        monkeypatch.delenv(neuron.SWITCH)
        for some in (compiled_sgd.SAMPLES_AT_ONCE, 160 * 50 * 7):
            with monkeypatch.context() as patch:
                patch.setattr(compiled_sgd, "SAMPLES_AT_ONCE", some)
                runs = ravine.sweep(article["HuberLoss"], **settings, **more)
            name = "loss" if "loss" in runs else "final_loss"
            assert describe(runs, name)["why"].endswith("steps too")
            for each in apart.data_vars:
                assert bare.same_bits(runs[each], apart[each]), (each, more)


@needs_kernel
def test_interrupted_it_keeps_the_steps_that_were_taken(article, monkeypatch):
    settings = {"lr": np.geomspace(1e-3, 1, 30), "momentum": [0.0, 0.9], "steps": 20}
    whole = ravine.sweep(article["MSELoss"], **settings)
    monkeypatch.setattr(compiled_sgd, "SAMPLES_AT_ONCE", 60 * 50 * 6)
    calls, descend = [], neuron.Neuron.descend

    def stop_at_the_third(self, *given, **more):
        if more["begun"] and given[4].shape[1] == 60:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
        descend(self, *given, **more)

    monkeypatch.setattr(neuron.Neuron, "descend", stop_at_the_third)
    with pytest.warns(UserWarning, match="interrupted: 0 of 60 runs were finished"):
        runs = ravine.sweep(article["MSELoss"], **settings)
    assert (runs.steps_taken == 11).all()
    assert bare.same_bits(runs.position[..., :12, :], whole.position[..., :12, :])
    assert runs.position[..., 12:, :].isnull().all()


@needs_kernel
def test_a_sweep_like_one_before_compares_others_and_says_so(article, monkeypatch):
    monkeypatch.setattr(proven, "LEAST_RUNS", 100)
    proven.forget()
    compared, compare = [], reference.TorchReference._compare

    def look(self, runs, begin, record):
        compared.append(runs.tolist())
        return compare(self, runs, begin, record)

    monkeypatch.setattr(reference.TorchReference, "_compare", look)
    settings = {"lr": np.geomspace(1e-3, 0.5, 40), "momentum": [0.0, 0.5, 0.9], "steps": 10}

    def words(problem=article["MSELoss"], **more):
        return describe(ravine.sweep(problem, **{**settings, **more}), "loss")["equals_torch"]

    first = "every bit, 16 whole runs of 10 steps compared"
    assert words() == first
    assert words() == "every bit, 2 whole runs of 10 steps compared, 16 of such sweeps before"
    assert words(lr=settings["lr"] / 2) == "every bit, 2 whole runs of 10 steps compared, 18 of such sweeps before"
    assert len(compared[1]) == len(compared[2]) == 2
    assert compared[1] != compared[2]
    # of another kind is whatever else may change a bit
    parts = article["MSELoss"].parts
    other_data = article["MSELoss"].with_parts(replace(parts, targets=parts.targets + 1))
    for more in (
        {"problem": article["L1Loss"]},
        {"problem": article["MSELoss"].in_double()},
        {"problem": article["MSELoss"].starting_at({"weight": 1.0, "bias": 2.0})},
        {"problem": other_data},
        {"weight_decay": 0.1},
        {"maximize": True},
        {"steps": 11},
        {"starts": [[6.0, -3.0], [1.0, 2.0]]},
        {"starts": [[6.0, -3.0], [1.0, 2.5]]},
    ):
        assert words(**more).startswith("every bit, 16 whole runs"), more
    torch.set_float32_matmul_precision("medium")
    try:
        assert words() == first
    finally:
        torch.set_float32_matmul_precision("highest")
    assert words().startswith("every bit, 2 whole runs")
    # one that is off is told, and nothing is taken as known any more
    for each in proven._known.values():
        each.descent.compiled.neuron.share *= 1.0001
    assert words() == first  # it is seen where the runs begin, and the whole trial made
    monkeypatch.setattr(compiled_sgd, "rows_of", lambda held, rows_of=compiled_sgd.rows_of: rows_of(held) * 1.0001)
    assert words().startswith("within ")
    monkeypatch.undo()
    proven.forget()


@needs_kernel
def test_what_proves_nothing_for_others_is_not_remembered(article, monkeypatch):
    monkeypatch.setattr(proven, "LEAST_RUNS", 100)
    proven.forget()
    # runs that stand still have the bits of either way to take a step
    still = {"lr": [0.0], "momentum": np.linspace(0, 0.9, 120), "steps": 3}
    ravine.sweep(article["MSELoss"], **still)
    assert not proven._known
    # a hook may act where no run of before was
    parts = copy.deepcopy(article["MSELoss"].parts)
    parts.criterion.register_full_backward_pre_hook(lambda module, slope: (slope[0].clamp(max=10.0),))
    ravine.sweep(article["MSELoss"].with_parts(parts), **{**still, "lr": [0.01]})
    assert not proven._known
    ravine.sweep(article["MSELoss"], **{**still, "lr": [0.01]})
    assert len(proven._known) == 1
    proven.forget()


@needs_kernel
def test_losses_of_much_data_are_torchs_too():
    """Sums of so many samples have levels; the map of them is tried as any other."""
    random = np.random.default_rng()
    for samples, criterion, dtype in zip((513, 2100, 9000, 70_000), CRITERIA, DTYPES * 2, strict=True):
        problem = neuron_on(random, samples, criterion, dtype)
        (key,) = compiled.keys_of_losses([problem.parts])
        assert compiled.choose_for_losses(problem.parts, key, -3.0, 3.0) is not None, samples


@needs_kernel
def test_without_it_the_numbers_are_the_same(article, monkeypatch):
    settings = {"lr": np.geomspace(1e-3, 3, 50), "momentum": [0.0, 0.9], "steps": 40}
    for name, problem in article.items():
        runs = {}
        for switch in ("off", *BUILT):
            monkeypatch.setenv(neuron.SWITCH, switch)
            runs[switch] = ravine.sweep(problem, **settings)
            said = describe(runs[switch], "loss")
            assert ("compiled" in said["why"]) == (switch != "off"), name
            assert said["engine"] == "SGD's rule on a batch, gradient written out"
            assert bare.same_bits(runs[switch].position, runs["off"].position)
            assert bare.same_bits(runs[switch].loss, runs["off"].loss)


@needs_kernel
def test_a_map_is_the_same_with_it_and_without(article, monkeypatch):
    """And without it in chunks of any size, a criterion without a slope that is written out among them."""
    article = article | {
        "beta 0": article["L1Loss"].with_parts(
            replace(article["L1Loss"].parts, criterion=torch.nn.SmoothL1Loss(beta=0.0))
        )
    }
    axes = {"weight": np.linspace(-4, 7, 45).tolist(), "bias": np.linspace(-5, 8, 23).tolist()}
    for problem in (article, {name: each.in_double() for name, each in article.items()}):
        lands = {}
        for switch, bytes_at_once in (("off", 1_200_000), ("off", 9_000), *((level, 0) for level in BUILT)):
            monkeypatch.setenv(neuron.SWITCH, switch)
            monkeypatch.setattr(of_neuron, "CHUNK_BYTES", bytes_at_once)
            lands[switch, bytes_at_once] = land = ravine.surface(problem, axes)
            ways = describe(land, "surface")["engine"]
            assert ("compiled" in str(ways)) == (switch != "off")
            assert bare.same_bits(land.surface, lands["off", 1_200_000].surface)
        parts = problem["HuberLoss"].parts
        prediction = torch.nn.functional.linear(
            parts.inputs, parts.inputs.new_tensor([[axes["weight"][3]]]), parts.inputs.new_tensor([axes["bias"][5]])
        )
        alone = parts.criterion(prediction, parts.targets).item()
        assert alone == land.surface.sel(criterion="HuberLoss").isel(weight=3, bias=5)


def test_a_switch_that_means_nothing_is_refused(article, monkeypatch):
    monkeypatch.setenv(neuron.SWITCH, "sse2")
    with pytest.raises(ValueError, match="RAVINE_KERNEL must be off or one of avx512, avx2, portable, got 'sse2'"):
        ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=2)
    monkeypatch.setenv(neuron.SWITCH, "portable")
    monkeypatch.setattr(neuron, "HERE", Path("nowhere"))
    neuron._open.cache_clear()
    with pytest.raises(ValueError, match=r"RAVINE_KERNEL=portable: this processor runs .*, built are none"):
        neuron.load_kernel()
    monkeypatch.delenv(neuron.SWITCH)
    assert neuron.load_kernel() is None
    neuron._open.cache_clear()


def test_problems_that_are_not_its_own_are_left_alone(article):
    x, y = torch.ones(5, 1), torch.ones(5, 1)
    assert neuron.make_neuron(torch.ones(5, 2), y, torch.nn.MSELoss()) is None
    assert neuron.make_neuron(x, y, torch.nn.BCEWithLogitsLoss()) is None
    assert neuron.make_neuron(x, y, torch.nn.MSELoss(reduction="sum")) is None
    assert neuron.make_neuron(x, y, torch.nn.SmoothL1Loss(beta=0.0)) is None
    assert neuron.make_neuron(x.bfloat16(), y.bfloat16(), torch.nn.MSELoss()) is None


FAULTS = {
    "contracted": ("VECTOR d = product + at->bias.v[v] - y;", "VECTOR d = product + (at->bias.v[v] - y);"),
    "reciprocal": ("sum.cost.v[v] / (REAL)data->samples;", "sum.cost.v[v] * (1 / (REAL)data->samples);"),
    "rows": ("#define ROWS 4", "#define ROWS 2"),
    "slope": ("return d * share;", "return d * (REAL)(share * 1.000001);"),
    "rest": ("NAME(extend)(task, &sum, data, at, held, vectors, 1, samples - vectors);", ""),
}


@needs_kernel
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_kernel_with_one_operation_changed_is_refused(fault, tmp_path, monkeypatch, article):
    """The trial sees it, and torch alone makes the runs."""
    right, wrong = FAULTS[fault]
    sources = {name: (build.HERE / name).read_text() for name in build.SOURCES}
    assert any(right in text for text in sources.values())
    for name, text in sources.items():
        (tmp_path / name).write_text(text.replace(right, wrong))
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "LEVELS", {"portable": ("-O0",)})
    build.compile_all(tmp_path)
    monkeypatch.setattr(neuron, "HERE", tmp_path)
    monkeypatch.setenv(neuron.SWITCH, "portable")
    neuron._open.cache_clear()
    try:
        runs = ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=20)
    finally:
        neuron._open.cache_clear()
    assert "compiled" not in describe(runs, "loss")["why"]
    assert describe(runs, "loss")["engine"] == "SGD's rule on a batch, gradient written out"


def test_without_a_compiler_nothing_is_built_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "/bin/false")
    with pytest.raises(OSError, match="/bin/false made no library"):
        build.compile_all(tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_kernel
def test_a_library_of_another_system_is_no_kernel(tmp_path, monkeypatch):
    (tmp_path / build.library_name("portable")).write_bytes(b"not a library")
    monkeypatch.setattr(neuron, "HERE", tmp_path)
    neuron._open.cache_clear()
    with pytest.warns(UserWarning, match=r"portable\.so is left out \(.*\), and torch alone is used: python -m ravine"):
        assert neuron.load_kernel() is None
    neuron._open.cache_clear()
    assert isinstance(ctypes.CDLL(str(build.HERE / build.library_name(BUILT[-1]))), ctypes.CDLL)


@needs_kernel
def test_a_library_of_another_source_is_refused(tmp_path, monkeypatch, article):
    """One that was built before its source changed: its functions may take other arguments."""
    for name in build.SOURCES:
        (tmp_path / name).write_text((build.HERE / name).read_text())
    library = build.library_name(BUILT[-1])
    (tmp_path / library).write_bytes((build.HERE / library).read_bytes())
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(neuron, "HERE", tmp_path)
    neuron._open.cache_clear()
    assert neuron.load_kernel() is not None
    with (tmp_path / "neuron.h").open("a") as source:
        source.write("/* another */")
    neuron._open.cache_clear()
    with pytest.warns(UserWarning, match=r"\.so is left out \(it was built from another source\)"):
        runs = ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=3)
    neuron._open.cache_clear()
    assert "compiled" not in describe(runs, "loss")["why"]


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["cc", "/bin/false"])
def test_a_wheel_is_built_with_a_compiler_and_without(compiler, tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(["env", f"CC={compiler}", *command], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    assert bool(inside) == (compiler == "cc") == (not wheel.name.endswith("py3-none-any.whl"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("samples", [3, 9, 24, 50, 67])  # of vectors of 16, 32 and 64 bytes some leave over, some not
def test_slopes_that_torchs_vectors_leave_over_are_torchs(samples, dtype):
    """torch divides and multiplies in another order there, where a criterion turns at another number than 1."""
    random, nothing = torch.Generator().manual_seed(samples), torch.zeros(samples, dtype=dtype)
    for criterion in (*CRITERIA, torch.nn.HuberLoss(delta=0.3), torch.nn.HuberLoss(), torch.nn.SmoothL1Loss()):
        _, slopes_of = residual_functions(criterion, nothing)
        residual = torch.randn(50, samples, generator=random, dtype=dtype)
        for row, slopes in zip(residual, slopes_of(residual.clone()), strict=True):
            leaf = row.clone().requires_grad_()
            (expected,) = torch.autograd.grad(criterion(leaf, nothing), leaf)
            assert same_bits(slopes, expected), criterion


def test_how_many_slopes_torch_works_out_at_once_is_asked_of_torch():
    """Nobody's state of autograd, default device or random numbers has a say in it, nor is any of it changed."""
    before = torch.get_rng_state()
    known = [neuron.slopes_at_once(dtype) for dtype in DTYPES]
    assert known[0] in (1, 2 * known[1])
    neuron.slopes_at_once.cache_clear()
    with torch.no_grad(), torch.device("meta"):
        assert [neuron.slopes_at_once(dtype) for dtype in DTYPES] == known
    assert torch.equal(torch.get_rng_state(), before)

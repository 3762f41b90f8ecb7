"""Cases of people who do this job, and their siblings: nothing untrue is said, and nothing is lost on the way."""

from __future__ import annotations

import contextlib
import copy
import functools
import io

import numpy as np
import pytest
import torch
import xarray as xr

import ravine

S = torch.optim.lr_scheduler
HALF = torch.tensor([0.5, -0.25])


@pytest.fixture
def mse():
    return ravine.gallery.article()["MSELoss"]


def kinds(runs):
    return {each.kind for each in ravine.explain(runs)}


def printed(run):
    """What the script of a run prints as its losses."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), torch.random.fork_rng():
        exec(compile(ravine.code(run), "script", "exec"), {"__name__": "script"})
    return [float(line.rpartition(" ")[2]) for line in out.getvalue().splitlines()]


def is_reproduced(run):
    wanted = run["batch_loss" if "batch_loss" in run else "loss"].values[:-1].astype(float)
    return np.array_equal(printed(run), wanted, equal_nan=True)


# -- a loss that is a parameter itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "start", "expected"),
    [
        (lambda p: p["x"], {"x": 1.0}, [1.0, 0.5, 0.0, -0.5]),
        (lambda p: p["x"].reshape(()), {"x": torch.tensor([1.0])}, [1.0, 0.5, 0.0, -0.5]),
        (lambda p: p["x"][1], {"x": torch.tensor([5.0, 1.0])}, [1.0, 0.5, 0.0, -0.5]),
        (lambda p: p["x"] * 1, {"x": 1.0}, [1.0, 0.5, 0.0, -0.5]),
    ],
    ids=["itself", "a view", "an element", "a copy"],
)
def test_a_loss_does_not_move_with_the_parameter_that_it_is(loss, start, expected):
    run = ravine.descend(ravine.Problem(loss, start=start), lr=0.5, steps=3)
    assert run.loss.values.tolist() == expected
    assert is_reproduced(run)
    again = ravine.descend(ravine.Problem(loss, start=start), torch.optim.LBFGS, lr=0.5, steps=1, max_iter=1)
    assert float(again.loss[0]) == 1.0


# -- studies that do not hold every step -----------------------------------------------------------------------------


def test_what_swings_between_two_places_does_not_stand_still():
    bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    run = ravine.descend(bowl, lr=1.0, steps=40)  # x, -x, x, …
    for every in (2, 4, 10):
        said = " ".join(each.sentence for each in ravine.explain(run.isel(step=slice(None, None, every))))
        assert "moves" not in said
        assert "for all 40 steps" not in said
    sloped = ravine.Problem(lambda p: p["x"].abs() + 0.3 * p["x"], start={"x": 0.25})
    swings = ravine.descend(sloped, lr=0.5, steps=60)
    assert "for all" not in " ".join(each.sentence for each in ravine.explain(swings.isel(step=slice(None, None, 5))))


@pytest.mark.parametrize("part", [slice(10, None), slice(50, None, 5), [100], slice(99, None)], ids=str)
@pytest.mark.parametrize(
    "settings", [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "weight_decay": 1.0}, {"lr": 1.0}], ids=str
)
def test_nothing_is_said_of_a_start_that_is_not_there(mse, part, settings):
    late = ravine.descend(mse, steps=100, **settings).isel(step=part)
    told = ravine.explain(late)
    first = int(late.step[0])
    assert f"from step {first} on" in told[0].sentence
    assert not {"arrival", "course", "diverged", "still", "pull", "bend", "swing"} & {each.kind for each in told}
    assert not any("of its start" in each.sentence or "at the start" in each.sentence for each in told)
    assert ravine.plot.losses(late) is not None


def test_of_a_network_too(all_cases):
    late = ravine.descend(all_cases["network"].problem, torch.optim.Adam, lr=0.1, steps=40).isel(step=slice(7, None))
    assert [each.kind for each in ravine.explain(late)][:1] == ["no start"]


# -- what only some runs leave behind ---------------------------------------------------------------------------------


def test_runs_are_joined_with_what_only_some_of_them_have(mse):
    plain = ravine.descend(mse, lr=0.1, steps=10)
    others = {
        "cosine": ravine.descend(mse, lr=0.1, steps=10, scheduler="cosine"),
        "one cycle": ravine.descend(
            mse, lr=0.1, momentum=0.9, steps=10, scheduler=functools.partial(S.OneCycleLR, max_lr=0.2, total_steps=11)
        ),
        "batches": ravine.descend(mse, lr=0.1, steps=12, batch_size=10),
    }
    for label, other in others.items():
        for first, second in (({"plain": plain}, {label: other}), ({label: other}, {"plain": plain})):
            both = ravine.join(first | second)
            alone = {each.sentence for each in ravine.explain(plain)}
            assert {each.sentence for each in ravine.explain(both.sel(run="plain"))} == alone
            told = {each.sentence for each in ravine.explain(both.sel(run=label))}
            assert told == {each.sentence for each in ravine.explain(other)}
            assert is_reproduced(both.sel(run="plain").drop_vars("batch_loss", errors="ignore").isel(step=slice(11)))
    assert ravine.plot.losses(ravine.join({"plain": plain} | others)) is not None


def test_dead_and_living_networks_are_joined(tmp_path):
    x = torch.linspace(-1, 1, 20)[:, None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    runs = {}
    for label, bias in {"dead": -1.0, "alive": 1.0}.items():
        own = copy.deepcopy(model)
        with torch.no_grad():
            own[0].weight.zero_()
            own[0].bias.fill_(bias)
        runs[label] = ravine.descend(ravine.Problem.of(own, torch.nn.MSELoss(), (x, x)), lr=0.1, steps=20)
    both = ravine.join(runs)
    assert both.zero_gradient.dtype == bool
    assert both.zero_gradient.sel(run="dead").any()
    assert not both.zero_gradient.sel(run="alive").any()
    assert ravine.open(ravine.save(both, tmp_path / "both.nc")).identical(both)


# -- minima without curvature -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "start", "curvatures"),
    [
        (lambda p: p["x"] ** 4 + p["y"] ** 2, {"x": 1.0, "y": 1.0}, [0.0, 2.0]),
        (lambda p: 5 * p["x"] ** 4 + 3 * p["y"] ** 2, {"x": 0.5, "y": 1.0}, [0.0, 6.0]),
        (lambda p: (p["x"] + p["y"]) ** 2 + (p["x"] - p["y"]) ** 4, {"x": 1.0, "y": 0.0}, [0.0, 4.0]),
    ],
    ids=["fourth power", "steeper", "aslant"],
)
def test_where_a_loss_is_flatter_than_a_square_there_is_no_condition_number(loss, start, curvatures):
    problem = ravine.Problem(loss, start=start)
    found = ravine.landmarks(problem)
    assert np.allclose(np.linalg.eigvalsh(found.hessian.values), curvatures, atol=1e-4)
    run = ravine.descend(problem, lr=0.05, momentum=0.9).assign(found)
    said = " ".join(each.sentence for each in ravine.explain(run))
    assert "condition number" not in said
    assert "in the long run" not in said


@pytest.mark.parametrize(
    ("loss", "start", "place"),
    [
        (lambda p: p["x"] ** 6 + p["y"] ** 2, {"x": 1.0, "y": 1.0}, [0.0, 0.0]),
        (lambda p: p["x"] ** 8 + p["y"] ** 2, {"x": 1.0, "y": 1.0}, [0.0, 0.0]),
        (lambda p: 1e3 * (p["x"] - 3) ** 6 + p["y"] ** 2 + 1, {"x": 1.0, "y": 0.5}, [3.0, 0.0]),
        (lambda p: p["x"] ** 10, {"x": 2.0}, [0.0]),
        (lambda p: (p["x"] + p["y"]) ** 6 + (p["x"] - p["y"]) ** 2, {"x": 1.0, "y": 0.5}, [0.0, 0.0]),
        (lambda p: p["x"] ** 4 + p["x"] ** 2 * p["y"] + p["y"] ** 2, {"x": 1.0, "y": 1.0}, [0.0, 0.0]),
        (lambda p: torch.cosh(p["x"]) - 1 - p["x"] ** 2 / 2 + p["y"] ** 2, {"x": 1.0, "y": 0.5}, [0.0, 0.0]),
        (
            lambda p: (
                (p["a"] + 10 * p["b"]) ** 2
                + 5 * (p["c"] - p["d"]) ** 2
                + (p["b"] - 2 * p["c"]) ** 4
                + 10 * (p["a"] - p["d"]) ** 4
            ),
            {"a": 3.0, "b": -1.0, "c": 0.0, "d": 1.0},
            [0.0] * 4,
        ),
    ],
    ids=["sixth", "eighth", "sixth, steep and away", "tenth alone", "aslant", "along a curve", "a cosine", "Powell's"],
)
def test_a_minimum_flatter_than_a_square_is_found_where_it_is(loss, start, place):
    start = {name: torch.tensor(value, dtype=torch.float64) for name, value in start.items()}
    found = ravine.landmarks(ravine.Problem(loss, start=start))
    assert found.minimizer.values == pytest.approx(place, abs=1e-6)
    assert float(found.minimum_loss) == pytest.approx(float(loss(dict(zip(start, torch.tensor(place), strict=True)))))


def test_where_a_loss_only_levels_off_there_is_no_minimum():
    for loss in (lambda p: p["x"] ** 3, lambda p: p["x"] ** 3 - 3 * p["x"] * p["y"] ** 2, lambda p: -(p["x"] ** 6)):
        start = {"x": torch.tensor(1.0, dtype=torch.float64), "y": torch.tensor(0.0, dtype=torch.float64)}
        assert np.isnan(ravine.landmarks(ravine.Problem(loss, start=start)).minimum_loss)


def test_a_narrow_square_keeps_its_curvature():
    problem = ravine.Problem(lambda p: 1e-9 * p["x"] ** 2 + p["y"] ** 2, start={"x": 1.0, "y": 1.0})
    assert np.allclose(np.linalg.eigvalsh(ravine.landmarks(problem).hessian.values), [2e-9, 2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "start"),
    [
        (lambda p: torch.exp(-1 / p["x"] ** 2), {"x": 0.5}),
        (lambda p: torch.exp(-1 / (p["x"] - 3) ** 2) + p["y"] ** 2, {"x": 4.0, "y": 1.0}),
        (lambda p: torch.exp(-1 / (p["x"] - 3) ** 2) + p["y"] ** 2 + 2, {"x": 3.7, "y": 1.0}),
        (lambda p: torch.exp(-1 / (p["x"] + p["y"] - 1) ** 2) + (p["x"] - p["y"]) ** 2, {"x": 1.0, "y": 1.5}),
        (lambda p: torch.exp(-1 / p["x"] ** 2) * (2 + torch.sin(1 / p["x"])), {"x": 0.8}),
        (lambda p: torch.exp(-1 / p["x"].abs()), {"x": 1.0}),
    ],
    ids=["alone", "away", "raised", "aslant", "wavy", "one over x"],
)
def test_no_place_is_told_where_a_loss_is_flatter_than_any_power(loss, start):
    """Around its minimum such a loss is level within rounding, and no number says where it is lowest."""
    start = {name: torch.tensor(value, dtype=torch.float64) for name, value in start.items()}
    found = ravine.landmarks(ravine.Problem(loss, start=start))
    assert np.isnan(found.minimizer).all()
    assert np.isnan(found.minimum_loss)


@pytest.mark.parametrize("power", [20, 34, 40])
def test_high_powers_are_followed_to_their_minimum(power):
    start = {"x": torch.tensor(2.9, dtype=torch.float64), "y": torch.tensor(1.0, dtype=torch.float64)}
    found = ravine.landmarks(ravine.Problem(lambda p: (p["x"] - 2) ** power + p["y"] ** 2, start=start))
    assert found.minimizer.values == pytest.approx([2.0, 0.0], abs=1e-6)


def test_what_is_level_is_no_doubt():
    for power in (2, 4):
        start = {"x": torch.tensor(3.0, dtype=torch.float64)}
        found = ravine.landmarks(ravine.Problem(lambda p, n=power: torch.relu(p["x"].abs() - 1) ** n, start=start))
        assert abs(found.minimizer.item()) <= 1 + 1e-9


# -- minima on a kink -------------------------------------------------------------------------------------------------

KINKED = {
    "along one": (lambda p: p["x"].abs() + p["y"] ** 2, {"x": 0.0, "y": 0.0}),
    "aslant": (lambda p: (p["x"] + p["y"]).abs() + (p["x"] - p["y"]) ** 2, {"x": 0.0, "y": 0.0}),
    "a cone": (lambda p: (p["x"] ** 2 + p["y"] ** 2).sqrt(), {"x": 0.0, "y": 0.0}),
    "two slopes": (lambda p: torch.maximum(p["x"] - 3, 2 * (3 - p["x"])) + p["y"] ** 2 + 100, {"x": 3.0, "y": 0.0}),
    "two bowls": (lambda p: torch.maximum(p["x"] ** 2, (p["x"] - 2) ** 2) + p["y"] ** 2, {"x": 1.0, "y": 0.0}),
    "lasso": (lambda p: (p["x"] - 1) ** 2 + (p["y"] - 0.1) ** 2 + 0.5 * (p["x"].abs() + p["y"].abs()),
              {"x": 0.75, "y": 0.0}),
    "a power of 1.5": (lambda p: p["x"].abs() ** 1.5 + p["y"] ** 2, {"x": 0.0, "y": 0.0}),
}  # fmt: skip


@pytest.mark.parametrize("case", KINKED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_at_a_kink_no_curvature_sets_a_limit(case, dtype):
    """The slope does not fade there: however small the lr, steps go to and fro."""
    loss, place = KINKED[case]
    start = {name: torch.tensor(value, dtype=dtype) for name, value in {"x": 2.3, "y": 1.7}.items()}
    run = ravine.descend(ravine.Problem(loss, start=start, minimizers=[place]), lr=0.1, steps=60)
    assert not {"margin", "beyond the limit", "momentum", "nesterov"} & kinds(run)


SMOOTH = {
    "steep and level": lambda p: 1e-9 * p["x"] ** 2 + p["y"] ** 2,
    "level": lambda p: (p["x"] + p["y"]) ** 2,
    "a narrow bowl": lambda p: torch.nn.functional.huber_loss(p["x"], 0 * p["x"], delta=1e-5) + p["y"] ** 2,
    "a fourth power": lambda p: p["x"] ** 4 + p["y"] ** 2,
    "high up": lambda p: 1e6 + p["x"] ** 2 + p["y"] ** 2,
    "rounded": lambda p: (p["x"].float() ** 2 + p["y"].float() ** 2).to(p["x"]),
}


@pytest.mark.parametrize("case", SMOOTH)
def test_without_a_kink_curvature_speaks(case):
    start = {name: torch.tensor(value, dtype=torch.float64) for name, value in {"x": 2.3, "y": 1.7}.items()}
    problem = ravine.Problem(SMOOTH[case], start=start, minimizers=[{"x": 0.0, "y": 0.0}])
    assert "margin" in kinds(ravine.descend(problem, lr=0.1, steps=5))


# -- standing still ---------------------------------------------------------------------------------------------------


def test_at_home_nobody_asks_why_it_stands_still():
    """A fit without a residual has a loss of nothing but rounding."""
    x = torch.tensor([[2.0], [1.0], [0.0]])
    line = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1)
    with torch.no_grad():
        line.weight.fill_(0.3)
        line.bias.fill_(-0.2)
    run = ravine.descend(ravine.Problem.of(line, torch.nn.MSELoss(), (x, 2 * x + 1)), lr=0.1, steps=400)
    assert "still" not in kinds(run)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_coarse_numbers_stand_still_away_from_the_minimum(dtype):
    start = {"x": torch.tensor(3.0, dtype=dtype)}
    problem = ravine.Problem(lambda p: (p["x"] - 1) ** 2 + 3, start=start)
    run = ravine.descend(problem, lr=0.01 if dtype == torch.bfloat16 else 0.002, steps=1000)
    run = run.assign(ravine.landmarks(problem))
    still = next(each for each in ravine.explain(run) if each.kind == "still")
    place = torch.tensor(float(run.position[-1, 0]), dtype=dtype, requires_grad=True)
    rule = torch.optim.SGD([place], lr=float(run.lr))
    ((place - 1) ** 2 + 3).backward()
    before = place.item()
    rule.step()
    assert place.item() == before  # torch itself does not move it
    assert abs(place.grad.item()) <= still.values["lost_below"]


def test_an_arrival_within_rounding_says_so():
    problem = ravine.Problem(lambda p: (p["x"] - 3) ** 2 - 1e6, start={"x": 1.0})
    run = ravine.descend(problem, lr=0.1, steps=30).assign(ravine.landmarks(problem))
    found = next(each for each in ravine.explain(run) if each.kind == "arrival")
    gaps = ravine.measure.gap(run).values
    assert gaps[int(found.values["step"])] > 0.01 * gaps[0]
    assert "stays within the rounding of the loss, 0.239" in found.sentence
    assert gaps[int(found.values["step"]) :].max() <= 0.239
    shifted = ravine.Problem(lambda p: (p["x"] - 3) ** 2 - 100, start={"x": 1.0})
    run = ravine.descend(shifted, lr=0.1, steps=30).assign(ravine.landmarks(shifted))
    assert "within 1 % of its start" in next(e for e in ravine.explain(run) if e.kind == "arrival").sentence


def test_more_steps_are_no_remedy_over_the_limit():
    """Nearly an absolute error: it hops about the kink however long it runs."""
    line = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1)
    torch.nn.init.zeros_(line.weight)
    torch.nn.init.zeros_(line.bias)
    data = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [5.0]])
    run = ravine.descend(ravine.Problem.of(line, torch.nn.SmoothL1Loss(beta=1e-6), data), lr=0.1, steps=60)
    said = " ".join(each.sentence for each in ravine.explain(run))
    assert "cannot settle" in said
    assert "not enough" not in said


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": 0.1, "momentum": float("nan")}, "momentum is nan"),
        ({"lr": float("inf"), "weight_decay": float("inf")}, "lr is inf and weight_decay is inf"),
    ],
    ids=str,
)
def test_a_setting_that_is_no_number_is_named(mse, settings, words):
    found = next(each for each in ravine.explain(ravine.descend(mse, steps=10, **settings)) if each.kind == "diverged")
    assert found.sentence.endswith(f"at the start: {words}.")


def test_a_joined_run_without_a_setting_has_no_odd_one(mse):
    both = ravine.join(
        {"sgd": ravine.descend(mse, lr=5.0, steps=60), "rprop": ravine.descend(mse, torch.optim.Rprop, steps=60)}
    )
    assert not any("nan" in each.sentence for each in ravine.explain(both))


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_one_target_for_all_rows():
    line = torch.nn.utils.skip_init(torch.nn.Linear, 3, 1)
    torch.nn.init.zeros_(line.weight)
    torch.nn.init.zeros_(line.bias)
    problem = ravine.Problem.of(line, torch.nn.MSELoss(), (torch.arange(12.0).reshape(4, 3), torch.tensor(1.0)))
    run = ravine.descend(problem, lr=0.001, steps=3)
    assert np.isfinite(run.loss).all()
    runs = ravine.sweep(problem, lr=[0.001, 0.002], steps=3)
    assert np.array_equal(ravine.at(runs, lr=0.001).loss.values, run.loss.values)


# -- scripts and files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [np.float32(0.1), np.longdouble(0.1), np.array(0.1), np.float16(0.1), torch.tensor(0.1, dtype=torch.bfloat16)],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_numbers_of_all_kinds_are_written_into_scripts(mse, value):
    assert is_reproduced(ravine.descend(mse, lr=value, steps=3))


@pytest.mark.parametrize(
    "criterion",
    [
        torch.nn.functional.mse_loss,
        torch.nn.functional.smooth_l1_loss,
        functools.partial(torch.nn.functional.huber_loss, delta=0.5),
    ],
    ids=["mse", "smooth l1", "huber"],
)
def test_functional_criteria_are_written_into_scripts(criterion):
    model = torch.nn.utils.skip_init(torch.nn.Linear, 2, 1)
    torch.nn.init.constant_(model.weight, 0.5)
    torch.nn.init.zeros_(model.bias)
    data = torch.arange(8.0).reshape(4, 2), torch.arange(4.0)[:, None]
    assert is_reproduced(ravine.descend(ravine.Problem.of(model, criterion, data), lr=0.01, steps=3))


def test_arrays_around_a_loss_are_written_into_scripts():
    local = np.array([1.0, 2.0])

    def of_array(p):
        return ((p["x"] - torch.from_numpy(local).float()) ** 2).sum()

    for loss in (lambda p: ((p["x"] - HALF) ** 2).sum(), of_array):
        run = ravine.descend(ravine.Problem(loss, start={"x": torch.zeros(2)}), lr=0.1, steps=3)
        assert is_reproduced(run)
    log = []
    logged = ravine.Problem(lambda p: (log.append(1), p["x"] ** 2)[1], start={"x": 1.0})
    with pytest.raises(ValueError, match="it uses log from around it"):
        ravine.code(ravine.descend(logged, steps=2))


@pytest.mark.parametrize(
    "values", [np.array([None] * 4, dtype=object), np.ones(4) * 1j, np.array([{}] * 4, dtype=object)], ids=str
)
def test_what_no_file_holds_is_refused_before_it_is_written(mse, values, tmp_path):
    run = ravine.descend(mse, steps=3).assign(note=("step", values))
    with pytest.raises(ValueError, match="'note' holds values of dtype"):
        ravine.save(run, tmp_path / "run.nc")
    assert not list(tmp_path.iterdir())


def test_texts_of_the_user_are_kept(mse, tmp_path):
    run = ravine.descend(mse, steps=3).assign(note=("step", np.array(["a", "ü", "学", ""])))
    assert ravine.open(ravine.save(run, tmp_path / "run.nc")).identical(run)
    assert isinstance(run, xr.Dataset)
    for text in ("a\0", "\0", "a\0b", "line\n\ttab", " ", "ü\0"):
        noted = ravine.descend(mse, steps=1).assign_attrs(note=text)
        noted.loss.attrs["remark"] = text
        assert ravine.open(ravine.save(noted, tmp_path / "noted.nc", force=True)).identical(noted)

"""Random runs of many kinds: every number of every sentence is read back and found again by other means.

The numbers of a sentence must be those of its values, within the rounding that it is written with, and the values
must be those that plain numpy makes of the recorded losses and positions, of the Hessian and of the settings.
"""

from __future__ import annotations

import dataclasses
import math
import re
from functools import partial

import numpy as np
import pytest
import torch

import ravine

S = torch.optim.lr_scheduler
DOUBLE = torch.float64

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
NUMBER = re.compile(r"(?<![\w.,\[])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?![\w\]])|\binf\b|\bnan\b")


# ----------------------------------------------------------------------------------------------------- runs


def problem_of(random):
    """Return a random problem: a bowl, one that bends elsewhere, a regression, a valley, a small network."""
    kind = random.choice(["bowl", "huber", "regression", "valley", "network", "logistic", "flat", "left", "level"])
    size = int(random.integers(1, 4))
    if kind == "bowl":
        turn = np.linalg.qr(random.standard_normal((size, size)))[0]
        hessian = (turn * np.exp(random.uniform(-4, 2, size))) @ turn.T
        h, at = torch.tensor((hessian + hessian.T) / 2), torch.tensor(random.standard_normal(size))
        labels = [f"p{k}" for k in range(size)]
        start = {n: torch.tensor(random.standard_normal() * 3, dtype=DOUBLE) for n in labels}

        def loss(p):
            e = torch.stack(list(p.values())) - at
            return e @ h @ e / 2 + 0.25

        return ravine.Problem(loss, start, minimizers=[dict(zip(labels, at.tolist(), strict=True))])
    if kind == "huber":
        delta = float(np.exp(random.uniform(0, 4)))

        def bends(p):
            return torch.nn.functional.huber_loss(p["x"], torch.zeros_like(p["x"]), delta=delta) + p["y"] ** 2

        start = {n: torch.tensor(random.standard_normal() * 3, dtype=DOUBLE) for n in "xy"}
        return ravine.Problem(bends, start, minimizers=[{"x": 0.0, "y": 0.0}])
    if kind == "regression":
        return ravine.gallery.article()[str(random.choice(["MSELoss", "L1Loss", "HuberLoss"]))]
    if kind == "valley":
        return ravine.gallery.rosenbrock()
    if kind == "left":  # a logarithm that steps may leave, and come back to
        start = {"x": torch.tensor(random.uniform(0.2, 3.0), dtype=DOUBLE), "y": torch.tensor(1.0, dtype=DOUBLE)}
        return ravine.Problem(lambda p: p["x"] ** 2 - 0.1 * torch.log(p["x"] + 1) + p["y"] ** 2, start)
    if kind == "level":  # it cannot exceed its level, however it begins
        start = {"x": torch.tensor(float(np.exp(random.uniform(-7, 1))), dtype=DOUBLE)}
        return ravine.Problem(lambda p: 1 - torch.exp(-(p["x"] ** 2)), start, minimizers=[{"x": 0.0}])
    if kind == "flat":
        start = {n: torch.tensor(random.standard_normal() * 30, dtype=torch.float32) for n in "wb"}
        return ravine.Problem(lambda p: torch.sigmoid(p["w"] + p["b"]) ** 2, start)
    with torch.random.fork_rng():
        torch.manual_seed(int(random.integers(2**31)))
        x = torch.randn(12, 2)
        if kind == "logistic":
            targets = (torch.rand(12, 1) > 0.5).float()
            return ravine.Problem.of(torch.nn.Linear(2, 1), torch.nn.BCEWithLogitsLoss(), (x, targets))
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
        return ravine.Problem.of(model, torch.nn.MSELoss(), (x, x[:, :1] * x[:, 1:]))


def run_of(random):
    """Return a random run of a random problem."""
    problem = problem_of(random)
    steps = int(random.choice([1, 2, 3, 5, 10, 30, 60, 120]))
    lr = float(np.exp(random.uniform(np.log(1e-4), np.log(5))))
    more = {}
    if random.random() < 0.2:
        more["scheduler"] = [
            partial(S.StepLR, step_size=7, gamma=0.5),
            partial(S.ExponentialLR, gamma=1.05),
            partial(S.OneCycleLR, max_lr=lr, total_steps=steps + 1, cycle_momentum=True),
            partial(S.LambdaLR, lr_lambda=lambda k: 1 - k / 20),
            partial(S.ConstantLR, factor=0.5, total_iters=1000),
            partial(S.StepLR, step_size=1000, gamma=1e-3),
        ][int(random.integers(6))]
    if random.random() < 0.2:
        rule = [torch.optim.Adam, torch.optim.RMSprop, torch.optim.AdamW, torch.optim.Adagrad][int(random.integers(4))]
        if getattr(more.get("scheduler"), "func", None) is S.OneCycleLR:
            del more["scheduler"]
        decay = {"weight_decay": float(random.choice([0.0, 0.1]))}
        return ravine.descend(problem, rule, lr=lr, steps=steps, **decay, **more)
    settings = {"momentum": float(random.choice([0.0, 0.3, 0.9, 0.99]))}
    if settings["momentum"] and random.random() < 0.3:
        settings["nesterov"] = True
    elif settings["momentum"] and random.random() < 0.3:
        settings["dampening"] = float(random.choice([0.2, 0.8, 1.0]))
    settings["weight_decay"] = float(random.choice([0.0, 0.0, 0.3, 2.0]))
    if getattr(more.get("scheduler"), "func", None) is S.OneCycleLR and not settings["momentum"]:
        del more["scheduler"]
    if problem.parts is not None and random.random() < 0.2:
        more["batch_size"] = 4
    if random.random() < 0.15:
        more["clip_norm"] = float(np.exp(random.uniform(-3, 3)))
    if random.random() < 0.1:
        more |= {"noise": float(np.exp(random.uniform(-6, 0))), "seed": int(random.integers(1000))}
    if "batch_size" not in more and random.random() < 0.15:
        first = next(iter(problem.start))
        more["groups"] = {first: {"weight_decay": float(random.choice([0.0, 1.0])), "lr": lr / 2}}
    return ravine.descend(problem, lr=lr, steps=steps, **settings, **more)


def runs_on_a_plane(random):
    """Return a random training of a small network, projected onto a random plane, with its sharpness along the way."""
    with torch.random.fork_rng():
        torch.manual_seed(int(random.integers(2**31)))
        x = torch.randn(12, 2)
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (x, x[:, :1] * x[:, 1:]))
    rule = [torch.optim.SGD, torch.optim.SGD, torch.optim.Adam][int(random.integers(3))]
    lr = float(np.exp(random.uniform(np.log(0.01), np.log(1.0))))
    more = {"momentum": float(random.choice([0.0, 0.9]))} if rule is torch.optim.SGD else {}
    if random.random() < 0.3:
        more["scheduler"] = partial(S.StepLR, step_size=5, gamma=0.5)
    run = ravine.descend(problem, rule, lr=lr, steps=int(random.choice([4, 9, 20])), **more)
    if not np.isfinite(run.position).all():
        return run, problem, None
    plane = [ravine.Plane.pca, ravine.Plane.ends][int(random.integers(2))](run)
    sharp = ravine.sharpness(problem, run, steps=run.step.values[::3].tolist())
    return plane.project(run.assign(sharpness=sharp), problem), problem, plane


# ----------------------------------------------------------------------------------------------- reading back


def numbers_in(sentence):
    """Return the numbers of a sentence with what their last digit is worth; two count at least, as in 7 for 7.0."""
    text = re.sub(rf" {TIMES} 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "e" + m[1].translate(RAISED), sentence)
    text = re.sub(r"\b10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "1e" + m[1].translate(RAISED), text).replace(MINUS, "-")
    for word in NUMBER.findall(re.sub(r"(?<=\d)x\b", " times", text)):
        value = float(word.replace(",", ""))
        digits = len(word.partition("e")[0].replace(",", "").replace(".", "").strip("-0"))
        size = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
        yield value, 10.0 ** (size - max(digits, 2) + 1)


def is_one_of(value, unit, known):
    """Tell whether a number is one of those known, within its last digit."""
    same = [each for each in known if value == each or (math.isnan(value) and math.isnan(each))]
    return bool(same) or any(abs(value - each) <= 1.001 * unit for each in known if math.isfinite(each))


def known_numbers(run, found):
    """Return what a sentence's numbers may be: its values, the settings, the shapes, and what is made of the values."""
    numbers = [float(v) for v in found.values.values() if not isinstance(v, str | bool)]
    settings = [float(v) for n, v in run.coords.items() if v.ndim == 0 and v.dtype.kind in "fiub"]
    whole = [float(run.sizes["step"] - 1), float(run.sizes["parameter"]), 1.0]
    both = numbers + settings + whole
    derived = [100 * v for v in both] + [1 / v for v in both if v] + [100 * (1 - v) for v in both]
    derived += [1 - v for v in both] + [100 * (v - 1) for v in both]
    if {"late_mean", "mean_before"} <= set(found.values):
        ratio = found.values["late_mean"] / found.values["mean_before"]
        derived += [100 * abs(ratio - 1), ratio]
    if found.kind in ("still", "goal", "swing"):
        derived += np.abs(run.position.values[-1].astype(float)).tolist()
    if "share" in found.values and found.kind == "beyond the limit":
        derived.append(found.values["lr"] / found.values["limit"])
    if {"lr", "limit"} <= set(found.values) and found.values["limit"]:
        derived.append(found.values["lr"] / found.values["limit"])
    if "last_turn" in found.values:
        derived += [math.floor(found.values["first_turn"]), math.ceil(found.values["last_turn"])]
    if found.kind == "floor":
        derived.append(2.0)  # ulp
    if found.kind == "still" and "still" in found.values:
        derived.append(found.values["still"] - 4)  # that many are named
    if found.kind in ("arrival", "bend", "swing", "margin", "beyond the limit") and "hessian" in run:
        derived += np.linalg.eigvalsh(run.hessian.values).tolist()  # a direction may be named by its curvature
    if found.kind == "not finite":
        derived.append(float(found.values["loss"]))
    if found.kind == "first step":
        derived.append(found.values["factor"])
    if found.kind == "dampening":
        derived += [found.values["kept"]]
    if found.kind == "goal":
        for name in ("data_minimizer", "minimizer"):
            if name in run:
                place = run[name].values.astype(float)
                derived += [*place.tolist(), float(np.linalg.norm(place))]
    if found.kind == "swing" and found.scope == "exact":
        derived.append(
            100 * 0.5 ** (1 / found.values["longest_half_life"]) if found.values["longest_half_life"] else 0.0
        )
    return both + derived


def without_names(sentence, run):
    """Return a sentence without the names of parameters, which may hold numbers."""
    for label in sorted(map(str, run.parameter.values), key=len, reverse=True):
        sentence = re.sub(rf"(?<![\w.]){re.escape(label)}(?!\w)", "", sentence)
    return sentence.replace("  ", " ")


def check(run, found):
    """Hold one finding against the run."""
    losses, positions = run.loss.values.astype(float), run.position.values.astype(float)
    values, sentence = found.values, found.sentence
    if found.kind != "diverged":
        known = known_numbers(run, found)
        for value, unit in numbers_in(without_names(sentence, run)):
            assert is_one_of(value, unit, known), (value, sentence, dict(values))
    assert "  " not in sentence
    assert sentence.endswith(".")
    if found.kind == "course":
        seen = losses[np.isfinite(losses)]
        assert (values["start_loss"], values["last_loss"]) == (seen[0], seen[-1])
        assert (values["best"], values["largest"]) == (seen.min(), seen.max())
    if found.kind == "still":
        moved = np.flatnonzero((np.diff(positions, axis=0) != 0).any(axis=1))
        if "still" in values:
            assert values["still"] == (positions == positions[0]).all(axis=0).sum()
        else:
            assert values["step"] == (moved[-1] + 1 if len(moved) else 0)
    if found.kind == "arrival" and values.get("outcome") == "arrived" and "from there on" in sentence:
        goals = ravine.measure.objective(run).values - float(run.minimum_loss)
        late = goals[int(values["step"]) :]
        assert (late <= 0.01 * goals[0] + 1e-5 * abs(float(run.minimum_loss))).all()
    if found.kind == "diverged":
        minimised = ravine.measure.objective(run).values  # decay of single groups included
        if "largest" in values:
            assert (minimised[values["step"] == run.step.values], minimised.max()) == (values["largest"],) * 2
            assert minimised.max() > minimised[0]
        else:
            assert not np.isfinite(losses).all() or losses[-1] > losses[0] or minimised[-1] > minimised[0]
    if found.kind in ("margin", "beyond the limit") and found.scope == "exact":
        check_limit(run, values)
    if "would arrive" in sentence or "could be" in sentence or "diverges" in sentence:
        scheduled = "scheduler" in run.loss.attrs.get("provenance", "")
        assert not scheduled or sentence.startswith("As long as no schedule moves its settings, ")
    if found.kind == "clipping":
        check_treated(run, found)


def check_outcome(run, told):
    """One outcome: measured, told and counted alike; who came back, or arrives, has not diverged."""
    losses, lost = run.loss.values.astype(float), bool(ravine.measure.diverged(run))
    if not bool(run.coords.get("maximize", False)):
        assert ("diverged" in told) == lost
    assert lost or math.isfinite(losses[-1]) or "loss_every" in str(run.loss.attrs)
    if lost and math.isfinite(losses[-1]):
        goals = ravine.measure.objective(run).values
        assert np.nanmax(goals) > goals[0]
    if "minimum_loss" in run:
        fate = str(ravine.measure.arrival(run).outcome.values)
        assert (fate == "diverged") == lost
        assert not lost or told.get("arrival") is None or told["arrival"].values["outcome"] != "arrived"
        assert lost == bool(ravine.measure.summary(run).diverged)
    if "not finite" in told:
        broken = np.flatnonzero(~np.isfinite(losses))
        assert told["not finite"].values["count"] == len(broken)
        assert told["not finite"].values["first"] == broken[0]
        assert not lost or math.isfinite(losses[-1])


def check_treated(run, found):
    """Clipping is counted again from the norms of gradients that plain autograd gives at each position."""
    norms = run.gradient_norm.values[:-1].astype(float)
    over = np.flatnonzero(norms > float(run.clip_norm))
    assert (found.values["clipped"], found.values["of"]) == (len(over), run.sizes["step"] - 1)
    assert found.values["largest"] == norms.max()
    assert not len(over) or found.values.get("last") == over[-1]


def check_on_plane(run, problem, plane, found):
    """Hold a finding about a plane against the network itself."""
    values, sentence = found.values, found.sentence
    if found.kind == "map":
        steps = run.step.values.tolist()
        at = steps.index(int(values["step"]))
        place = plane.at(*run.position.values[at].astype(float))
        sizes, pieces = [v.numel() for v in problem.start.values()], {}
        for (name, v), piece in zip(problem.start.items(), np.split(place, np.cumsum(sizes)[:-1]), strict=True):
            pieces[name] = torch.tensor(piece, dtype=v.dtype).reshape(v.shape)
        assert values["drawn_loss"] == pytest.approx(float(problem.loss(pieces)), rel=1e-4, abs=1e-7)
        assert values["loss"] == pytest.approx(float(run.loss[at]), rel=1e-6)
        off = np.abs(run.drawn_loss.values.astype(float) - run.loss.values.astype(float))
        assert values["off"] == pytest.approx(off.max(), rel=1e-6)
    if found.kind == "edge":
        sharp = run.sharpness.values
        looked = np.isfinite(sharp)
        rates = run.scheduled_lr.values if "scheduled_lr" in run else np.full(len(sharp), float(run.lr))
        momentum = float(run.momentum) if "momentum" in run.coords else 0.0
        shares = (sharp * rates / (2 * (1 + momentum)))[looked]
        assert values["looked"] == looked.sum()
        assert values["over"] == (shares > 1).sum()
        assert values["largest_share"] == pytest.approx(shares.max(), rel=1e-9)
        assert values["largest_share_step"] == run.step.values[looked][shares.argmax()]
    known = known_numbers(run, found) + run.step.values.astype(float).tolist()
    for value, unit in numbers_in(sentence):
        assert is_one_of(value, unit, known), (value, sentence, dict(values))


def check_sweep(random):
    """Explain a random sweep, and count what became of its runs from each run by itself."""
    problem = problem_of(random)
    rates = np.exp(np.sort(random.uniform(np.log(1e-3), np.log(5), 9)))
    momenta = [[0.0, 0.5, 0.9], [0.0, 0.3, 0.6, 0.95]][int(random.integers(2))]
    runs = ravine.sweep(problem, lr=rates, momentum=momenta, steps=int(random.choice([10, 40])))
    told = {each.kind: each for each in ravine.explain(runs)}
    known_minimum = "minimum_loss" in runs
    fates, arrivals = {}, []
    for place in np.ndindex(len(rates), len(momenta)):
        one = runs.isel(lr=place[0], momentum=place[1])
        fate = "diverged" if bool(ravine.measure.diverged(one)) else "not diverged"
        if known_minimum:
            measured = ravine.measure.arrival(one)
            fate = str(measured.outcome.item())
            arrivals.append(float(measured))
        fates[fate] = fates.get(fate, 0) + 1
    assert {kind: told["outcomes"].values[kind] for kind in fates} == fates
    if "best" in told:
        assert told["best"].values["step"] == np.nanmin(arrivals)
        assert told["best"].values["runs"] == sum(each == np.nanmin(arrivals) for each in arrivals)
    if "border" in told:
        wild = np.asarray(ravine.measure.diverged(runs).transpose("lr", "momentum").values)
        calm, all_of = rates[~wild.any(1)], rates[wild.all(1)]
        assert told["border"].values.get("none_up_to", 0.0) <= (calm.max() if len(calm) else 0.0)
        assert told["border"].values.get("all_from", np.inf) >= (all_of.min() if len(all_of) else np.inf)
    labels = [*rates.tolist(), *map(float, momenta), float(runs.lr.size * runs.momentum.size)]
    for found in told.values():
        known = labels + [float(v) for v in found.values.values() if not isinstance(v, str | bool)]
        for value, unit in numbers_in(found.sentence):
            assert is_one_of(value, unit, known), (value, found.sentence, dict(found.values))
    return {*told}


def check_limit(run, values):
    """Follow the mode beyond which a run diverges on either side of the limit: the radius of its step's matrix."""
    m, kept = float(run.momentum), 1 - float(run.dampening) if float(run.momentum) else 1.0
    ahead = m * bool(run.nesterov)

    def radius(lr):
        radii = []
        for c in np.linalg.eigvalsh(run.hessian.values):
            if c > 1e-9:
                buffer = np.array([kept * c, m])
                moved = ahead * buffer + [c, 0.0] if ahead else buffer
                radii.append(abs(np.linalg.eigvals(np.array([[1.0, 0.0] - lr * moved, buffer]))).max())
        return max(radii)

    limit = values["limit"]
    if 0 < limit < np.inf:
        assert radius(limit * 0.999) < 1 + 1e-9
        assert radius(limit * 1.001) > 1 - 1e-9


def adversary(seed, count):
    random = np.random.default_rng(seed)
    kinds = set()
    for _ in range(count):
        run = run_of(random)
        told = ravine.explain(run)
        assert len({each.kind for each in told}) == len(told), [each.kind for each in told]
        check_outcome(run, {each.kind: each for each in told})
        for found in told:
            check(run, found)
        kinds |= {each.kind for each in told}
    for _ in range(max(count // 12, 1)):
        run, problem, plane = runs_on_a_plane(random)
        for found in ravine.explain(run) if plane is not None else ():
            check_on_plane(run, problem, plane, found)
            kinds |= {found.kind}
        kinds |= check_sweep(random)
    return kinds


def new_seed():
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print(f"seed {seed}")
    return seed


@pytest.mark.slow
def test_three_hundred_random_runs():
    kinds = adversary(new_seed(), 300)
    told = {"margin", "beyond the limit", "arrival", "course", "still", "momentum", "swing", "diverged", "goal"}
    assert told | {"clipping", "noise", "map", "plane", "edge", "outcomes", "best", "border"} <= kinds


def test_some_random_runs():
    assert adversary(new_seed(), 12)


def test_reading_back_can_fail():
    run = ravine.descend(ravine.gallery.quadratic(), lr=0.1)
    margin = next(each for each in ravine.explain(run) if each.kind == "margin")
    check(run, margin)
    with pytest.raises(AssertionError):
        check(run, dataclasses.replace(margin, sentence="It could be 77 times as high (limit 1)."))
    with pytest.raises(AssertionError):
        check(run, dataclasses.replace(margin, values={**margin.values, "limit": 1.2}))
    assert [value for value, _ in numbers_in(f"1,230 at 2.5 {TIMES} 10⁻⁷, {MINUS}0.5, 10⁹ and 1e+09 of p0")] == [
        1230.0,
        2.5e-7,
        -0.5,
        1e9,
        1e9,
    ]

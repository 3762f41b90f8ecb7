"""Sentences about runs on a plane: what it holds, where the map misleads, sharpness against its limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import planes
import ravine


def told(run, kind):
    found = [each for each in ravine.explain(run) if each.kind == kind]
    assert len(found) < 2
    return found[0] if found else None


# -- the plane against a random walk


def test_what_the_plane_holds_is_set_against_a_random_walk_with_its_steps(trained, run):
    found = told(run, "plane")
    places = torch.as_tensor(trained.recorded)
    sizes = torch.linalg.svdvals(places - places.mean(dim=0)) ** 2
    assert found.values["explained"] == pytest.approx(float(sizes[:2].sum() / sizes.sum()))
    lengths = np.linalg.norm(np.diff(trained.positions, axis=0), axis=1)
    steps = np.random.default_rng(0).standard_normal((len(lengths), 1500))
    for k in range(1, len(steps)):  # the directions of updates under momentum 0.9
        steps[k] = 0.9 * steps[k - 1] + np.sqrt(1 - 0.9**2) * steps[k]
    ways = np.cumsum(steps * lengths[:, None], axis=0)
    walk = np.concatenate([np.zeros((1, 1500)), ways])[trained.steps]
    shares = np.linalg.svd(walk - walk.mean(axis=0), compute_uv=False) ** 2
    assert found.values["null"] == pytest.approx(shares[:2].sum() / shares.sum(), abs=0.02)
    assert found.scope == "measured"


@pytest.mark.parametrize(
    ("explained", "null", "words"),
    [
        ([0.7, 0.2], [0.6, 0.15], "; a random walk"),
        ([0.7, 0.2], [0.7, 0.19], "about what a random walk"),
        ([0.6, 0.2], [0.8, 0.1], "less than a random walk"),
    ],
)
def test_how_the_two_compare_is_said(trained, explained, null, words):
    assert words in told(planes.project(trained, explained=explained, null=null), "plane").sentence


def test_of_other_planes_the_squared_distance_is_told(trained):
    assert "of the squared distance from the end" in told(planes.project(trained, kind="ends"), "plane").sentence


@pytest.mark.parametrize(
    "facts", [{"kind": "random", "explained": None, "null": None}, {"null": None}, {"explained": [0.5, float("nan")]}]
)
def test_where_either_share_is_not_known_nothing_is_said_of_the_plane(trained, facts):
    assert told(planes.project(trained, **facts), "plane") is None


def test_the_plane_is_told_once_for_all_runs_on_it(run):
    found = ravine.explain(ravine.join({"one": run, "other": run}))
    assert [each.about for each in found if each.kind == "plane"] == [{}]


# -- where the map misleads


def test_where_the_map_misleads_most_is_found_again_by_evaluating_the_network(trained, run):
    found = told(run, "map")
    origin, directions, _ = planes.pca(trained.recorded)
    spots = run.position.values
    true = [float(trained.loss(place)) for place in trained.recorded]
    drawn = [float(trained.loss(origin + a * directions[0] + b * directions[1])) for a, b in spots]
    off = np.abs(np.subtract(true, drawn))
    assert found.values["step"] == trained.steps[off.argmax()]
    assert found.values["off"] == pytest.approx(off.max())
    assert found.values["share"] == pytest.approx(off.max() / np.ptp(true))
    assert found.scope == "measured"


def test_a_map_that_is_true_to_the_run_is_called_so(run):
    near = run.assign(drawn_loss=run.loss + 1e-4)
    assert "The map is true to this run" in told(near, "map").sentence
    assert told(near, "map").values["share"] < 0.01
    assert "in every bit" in told(run.assign(drawn_loss=run.loss), "map").sentence


def test_a_loss_that_only_the_map_shows_as_finite_is_what_misleads_most(run):
    broken = run.copy(deep=True)
    broken["loss"][-1] = np.inf
    found = told(broken, "map")
    assert found.values["step"] == 160
    assert "the loss is inf there" in found.sentence
    assert "range" not in found.sentence


def test_nothing_misleads_where_there_is_no_plane_or_no_drawn_loss(run):
    assert told(run.drop_vars("drawn_loss"), "map") is None
    assert told(ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=20), "map") is None


# -- sharpness against its limit


def with_shares(run, shares, at):
    """The run with sharpness at these shares of 2 (1 + momentum) / lr."""
    values = np.full(len(run.step), np.nan)
    values[np.isin(run.step, at)] = np.array(shares) * 2 * (1 + float(run.momentum)) / float(run.lr)
    return run.assign(sharpness=("step", values))


def test_sharpness_is_set_against_the_limit_at_every_place_that_was_looked_at(trained, run):
    at = trained.steps[::10]
    sharp = [
        float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(trained.loss, place))[-1])
        for place in map(torch.as_tensor, trained.recorded[::10])
    ]
    shares = np.array(sharp) / (2 * 1.9 / 0.3)
    found = told(run.assign(sharpness=planes.sharpness(trained, at)), "edge")
    assert found.values["looked"] == len(at)
    assert found.values["over"] == 0
    assert found.values["largest_share"] == pytest.approx(shares.max())
    assert found.values["largest_share_step"] == at[shares.argmax()]
    assert found.scope == "local"
    assert "below the limit of its lr at all of the 5 steps" in found.sentence


def test_steps_beyond_the_limit_are_counted_and_the_first_is_named(run):
    found = told(with_shares(run, [0.5, 1.2, 2.0, 0.3], [0, 40, 80, 120]), "edge")
    assert found.values["over"] == 2
    assert found.values["first_over"] == 40
    assert found.sentence == (
        "Locally, the largest curvature is over the limit of its lr at 2 of the 4 steps that were looked at, first at "
        "step 40: up to 2 times, at step 80; at the last it is at 30 % of it."
    )


def test_sharpness_that_stays_at_its_limit_is_the_edge_of_stability(run):
    at = [0, 20, 40, 60, 80, 100, 120, 160]
    found = told(with_shares(run, [0.3, 0.6, 0.95, 1.05, 1.1, 0.97, 1.02, 0.99], at), "edge")
    assert found.sentence.endswith(
        ". At the 6 looks from step 40 on it is at 95 to 110 % of it: the edge of stability."
    )
    assert found.values["near_looked"] == 6
    even = told(with_shares(run, [0.3, 0.6, *[0.95] * 6], at), "edge")
    assert even.sentence.endswith("from step 40 on it is at 95 % of it: the edge of stability.")
    crossing = told(with_shares(run, [0.92, 1.05, 0.95, 1.05, 1.1, 0.97, 1.02, 0.99], at), "edge")
    assert crossing.values["near_from"] == 0


@pytest.mark.parametrize(
    ("shares", "at"),
    [
        ([0.3, 0.6, 0.5, 0.95, 1.05, 1.1, 1.02, 0.99, 1.01], [0, 20, 40, 140, 144, 148, 152, 156, 160]),  # late
        ([0.3, 0.95, 1.05, 1.1, 0.97, 1.02, 0.99, 0.2], [0, 20, 40, 60, 80, 100, 120, 160]),  # passes
        ([0.5, 0.6, 2.0, *[0.85] * 6], [0, 20, 40, 60, 80, 100, 120, 140, 160]),  # jumps, and is not near after
        ([0.5, 0.6, 0.95, 1.05, 0.98], [0, 40, 80, 120, 160]),  # a few looks
        ([0.95] * 8, [0, 20, 40, 60, 80, 100, 120, 160]),  # where it was from the start
        ([1.5, *[0.95] * 7], [0, 20, 40, 60, 80, 100, 120, 160]),  # from above
    ],
)
def test_what_is_not_the_edge_of_stability(run, shares, at):
    found = told(with_shares(run, shares, at), "edge")
    assert "edge of stability" not in found.sentence
    assert "stay" not in found.sentence
    assert "near_from" not in found.values
    assert ("; it is at 95 % of it throughout" in found.sentence) == (len(set(shares)) == 1)


def test_an_lr_that_comes_to_a_curvature_that_stands_still_is_not_the_edge_of_stability():
    bowl = ravine.gallery.quadratic()  # its largest curvature is 2 everywhere
    for name in ("LinearLR(start_factor=0.2, total_iters=10)", "CyclicLR(base_lr=0.9, max_lr=1.1, step_size_up=4)"):
        run = ravine.descend(bowl, lr=0.95, steps=30, scheduler=name)
        found = told(run.assign(ravine.eigenvalues(bowl, run)), "edge")
        assert "edge of stability" not in found.sentence, name


def test_nothing_is_said_of_an_lr_where_all_curvature_is_below_0(run):
    assert told(with_shares(run, [-0.1, -0.3, -0.2], [0, 40, 160]), "edge") is None
    last = told(with_shares(run, [0.3, 1.2, -0.2], [0, 40, 160]), "edge")
    assert "at the last" not in last.sentence


def test_a_limit_for_mini_batches_is_said_to_be_of_the_whole_batch():
    trained = planes.train(lr=0.5, steps=40, batch=10)
    found = told(planes.project(trained).assign(sharpness=planes.sharpness(trained, [0, 20, 40])), "edge")
    assert "limit of its lr for steps over the whole batch" in found.sentence


def test_sharpness_has_no_limit_for_other_optimizers_and_few_places_say_little(run):
    assert told(with_shares(run, [0.5, 1.2], [0, 160]), "edge") is None
    assert told(run, "edge") is None
    trained = planes.train(torch.optim.Adam, lr=0.01, steps=40)
    adam = planes.project(trained)
    assert told(adam.assign(sharpness=("step", np.ones(len(adam.step)))), "edge") is None
    climbing = with_shares(run, [0.5, 1.2, 1.3], [0, 80, 160]).assign_coords(maximize=True)
    assert told(climbing, "edge") is None


# -- what is not said of a run on a plane


def test_what_speaks_of_parameters_is_silent_on_a_plane():
    trained = planes.train(lr=0.3, momentum=0.9, nesterov=True, weight_decay=0.02, steps=40, every=1)
    run = planes.project(trained).assign(batch_loss=("step", np.full(41, np.nan)))
    kinds = {each.kind for each in ravine.explain(run)}
    assert kinds <= {"course", "map", "plane", "effective lr", "diverged"}
    assert {"map", "plane"} <= kinds
    still = run.assign(position=run.position * 0)
    assert not [each for each in ravine.explain(still) if "nothing moves" in each.sentence or each.kind == "still"]

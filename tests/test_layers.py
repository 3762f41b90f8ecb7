"""Update over weight by layer: recorded with positions and without, and drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

import ravine
from artists import of_gid
from ravine import plot
from ravine._system import format_bytes


def recorded(count=3, **settings):
    """A deep network whose last layer is trained ten times as fast, its weights after each step, and its recording."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [layer for _ in range(count) for layer in (torch.nn.Linear(4, 4), torch.nn.Tanh())]
        model, x, y = torch.nn.Sequential(*layers, torch.nn.Linear(4, 1)), torch.randn(20, 4), torch.randn(20, 1)
    groups = [{"params": model[-1].parameters(), "lr": 0.5}, {"params": model[:-1].parameters()}]
    rule, criterion = torch.optim.SGD(groups, lr=0.05), torch.nn.MSELoss()
    places = []

    def look():
        parts = {name: list(module.parameters()) for name, module in model.named_children()}
        places.append({n: torch.cat([p.detach().reshape(-1) for p in some]) for n, some in parts.items() if some})

    look()
    with ravine.record(model, rule, criterion, **settings) as recorder:
        for _ in range(6):
            rule.zero_grad()
            criterion(model(x), y).backward()
            rule.step()
            look()
    return recorder, places


@pytest.fixture(scope="module")
def both():
    return recorded(every=1), recorded(every=1, positions=False)


def test_ratios_without_positions_are_the_same(both, tmp_path):
    (full, places), (bare, _) = both
    run, found = full.dataset(), bare.dataset()
    assert "position" not in found
    assert "parameter" not in found.dims
    for name in ("update_ratio", "batch_loss"):
        assert np.array_equal(found[name], run[name], equal_nan=True)
    for layer in found.layer.values:
        here, there = (torch.stack([each[layer] for each in some]) for some in (places[:-1], places[1:]))
        expected = (there - here).norm(dim=1) / here.norm(dim=1)
        np.testing.assert_allclose(found.update_ratio.sel(layer=layer)[:-1], expected, rtol=1e-5)
    assert not (bare.path / "position.bin").exists()
    assert sum(each.stat().st_size for each in bare.path.iterdir()) < 10_000
    assert ravine.open(ravine.save(found, tmp_path / "ratios.nc")).identical(found)
    for ask in (ravine.Plane.ends, ravine.explain, lambda run: ravine.between(ravine.gallery.rosenbrock(), run, run)):
        with pytest.raises(ValueError, match=r"make it with ravine\.record\(model, optimizer, positions=True\)"):
            ask(found)


def test_a_recorder_tells_the_size_of_what_it_wrote(both):
    for (recorder, _), names in zip(both, (("entries.bin", "position.bin"), ("entries.bin",)), strict=True):
        size = sum((recorder.path / name).stat().st_size for name in names)
        assert f", {format_bytes(size)} in " in repr(recorder)


def test_positions_is_a_switch():
    with torch.random.fork_rng():
        model = torch.nn.Linear(1, 1)
    with pytest.raises(TypeError, match="positions must be True or False, got 'no'"):
        ravine.record(model, torch.optim.SGD(model.parameters(), lr=0.1), positions="no")


def test_the_title_of_layers_that_move_alike():
    for count, title in ((2, "Both layers move by 1 % of their"), (3, "All 3 layers move by 1 % of their weights")):
        ratios = np.full((4, count), 0.01)
        coords = {"step": range(4), "layer": [f"l{k}" for k in range(count)]}
        figure = plot.layers(xr.Dataset({"update_ratio": (("step", "layer"), ratios)}, coords))
        assert title in " ".join(figure.texts[0].get_text().split())


def test_without_positions_thinned_out_and_buffers(monkeypatch):
    from ravine._record import budget, snapshots

    monkeypatch.setattr(budget, "FREE", np.inf)
    monkeypatch.setattr(snapshots, "MOST", 4)
    with torch.random.fork_rng():
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule, positions=False) as recorder:
        for _ in range(9):
            rule.zero_grad()
            recorder.loss(model(torch.ones(3, 2)).sum()).backward()
            rule.step()
    assert recorder.dataset().step.values.tolist() == [0, 4, 8, 9]
    assert "buffers" not in recorder.dataset()


@pytest.mark.parametrize("style", ["ravine", "dark", "article"])
def test_each_layer_has_its_curve(both, style):
    run = both[1][0].dataset()
    figure = plot.layers(run, style=style)
    ax = figure.axes[0]
    for layer in run.layer.values:
        (line,) = of_gid(ax, layer)
        assert np.array_equal(line.get_xdata(), run.step)
        assert np.array_equal(line.get_ydata(), run.update_ratio.sel(layer=layer), equal_nan=True)
    assert ax.get_yscale() == "log"
    assert {text.get_text() for text in ax.texts} >= {"0", "2", "4", "6"}
    if style != "article":
        medians = run.update_ratio.median("step")
        words = " ".join(figure.texts[0].get_text().split())
        assert words.startswith(f"Layer 6 moves most, by {100 * float(medians.sel(layer='6')):.3g} % of its weights")
        assert str(run.layer.values[np.argmin(medians.values)]) in words.partition(";")[2]


def test_of_many_layers_the_two_of_the_title_bear_names():
    recorder, _ = recorded(12, every=1, positions=False)
    figure = plot.layers(recorder.dataset())
    ax, key = figure.axes
    assert len([line for line in ax.lines if len(line.get_xdata()) == 7]) == 13
    assert key.get_label() == "key"
    assert {tick.get_text()[-2:] for tick in ax.get_yticklabels()} == {" %"}


def drawn(rows, names):
    """A picture of ratios by step and layer, its title, and what stands on its Axes."""
    run = xr.Dataset({"update_ratio": (("step", "layer"), rows)}, {"step": range(len(rows)), "layer": names})
    figure = plot.layers(run)
    title = " ".join(figure.texts[0].get_text().split())
    return run, title, [text.get_text() for text in figure.axes[0].texts]


def test_a_step_that_does_not_move_a_layer_is_one_of_its_steps():
    """The medians of the title are those of all steps, as the study itself gives them; what never moves is named."""
    rows = np.full((61, 3), [0.01, 0.02, 0.03])
    rows[20:60, 0] = 0.0  # frozen after a third of the way
    rows[5:30, 1] = 0.0
    rows[-1] = np.nan
    run, title, _ = drawn(rows, ["in", "mid", "out"])
    assert run.update_ratio.median("step").values.tolist() == [0.0, 0.02, 0.03]
    assert title == "out moves most, by 3 % of its weights at a step; in least, at 20 of 60 steps"
    rows[:, 0] = [*[0.0] * 60, np.nan]
    assert drawn(rows, ["in", "mid", "out"])[1].endswith("; in never")
    rows[:60, 1] = 0.0
    assert drawn(rows, ["in", "mid", "out"])[1].endswith("; 2 layers never")
    rows[:60] = [0.01, 0.02, 0.03]
    rows[25:60] = 0.0
    rows[:10, 0] = 0.0
    assert drawn(rows, ["in", "mid", "out"])[1].startswith("out moves most, at 25 of 60 steps; in least, at 15 of")


@pytest.mark.parametrize("count", [11, 14, 40])
def test_the_layers_of_the_title_are_found_among_many(count):
    """Their names, and their numbers on the bar, stand beside their curves, which are drawn stronger."""
    generator = np.random.default_rng(0)
    names = [f"bert.encoder.layer.{k}.attention.self.key" for k in range(count)]
    middle = 1e-3 * np.exp(generator.permutation(count) / count)
    rows = middle * np.exp(generator.normal(0, 0.1, (60, count)))
    run, title, said = drawn(rows, names)
    medians = run.update_ratio.median("step").values
    for k in (int(medians.argmin()), int(medians.argmax())):
        assert names[k] in title
        assert f"{names[k]}, no. {k + 1}" in said
    assert len([each for each in said if ", no. " in each]) == 2
    lines = plot.layers(run).axes[0].lines
    assert len({line.get_linewidth() for line in lines if line.get_gid() in names}) == 2


def test_on_an_axes_of_hers(both):
    figure = Figure()
    ax = figure.add_subplot()
    assert plot.layers(both[1][0].dataset(), ax=ax) is ax
    assert (ax.get_ylabel(), ax.get_title(), ax.get_title("left")) == ("update over weights", "", "")
    assert not figure.texts


def test_what_has_no_place_on_the_scale_is_told():
    ratios = np.array([[np.inf, 0.01], [0.0, 0.02], [0.1, 0.03], [np.nan, np.nan]])
    run = xr.Dataset({"update_ratio": (("step", "layer"), ratios)}, {"step": [0, 1, 2, 3], "layer": ["up", "down"]})
    figure = plot.layers(run)
    (line,) = of_gid(figure.axes[0], "up")
    assert np.array_equal(line.get_ydata(), [np.nan, np.nan, 0.1, np.nan], equal_nan=True)
    assert any("2 updates of a layer that is 0, or that move nothing" in text.get_text() for text in figure.texts)
    assert not of_gid(figure.axes[0], "rule of thumb")
    assert of_gid(plot.layers(run / 20).axes[0], "rule of thumb")
    with pytest.raises(ValueError, match="no update moved anything"):
        plot.layers(run * 0)
    with pytest.raises(ValueError, match="update_ratio"):
        plot.layers(run.drop_vars("update_ratio"))
    with pytest.raises(ValueError, match="one run expected"):
        plot.layers(xr.concat([run, run], "seed").transpose("seed", ...))

"""Films: each frame holds just what has happened by its step, in every kind of file, and nothing else is touched."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import re

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib import pyplot as plt
from PIL import Image
from typer.testing import CliRunner

import bare
import ravine
from ravine import _system, measure, plot
from ravine.cli import app
from ravine.plot._film import animate
from ravine.plot._film import moving as scoreboard


def of_gid(ax, gid):
    return [artist for artist in ax.get_children() if artist.get_gid() == gid]


def points(artist):
    return np.c_[artist.get_data()].astype(float)


def said(figure, gid):
    """Words that are shown under this name, on all Axes."""
    return [t.get_text() for ax in figure.axes for t in ax.texts if t.get_gid() == gid]


def labelled(figure, label):
    (ax,) = [ax for ax in figure.axes if ax.get_label() == label]
    return ax


def shown(ax):
    return [t.get_text() for t in ax.texts if t.get_visible()]


@pytest.fixture(scope="module")
def four():
    problems = ravine.gallery.article()
    return ravine.descend(problems, lr=0.1, momentum=0.9), ravine.surface(problems, points=31)


@pytest.fixture(scope="module")
def one(four):
    return tuple(each.sel(criterion="MSELoss") for each in four)


@pytest.fixture(scope="module")
def race():
    bowl = ravine.gallery.quadratic(condition=20)
    entries = {
        "SGD": ravine.descend(bowl, lr=0.05, steps=60),
        "momentum": ravine.descend(bowl, lr=0.05, momentum=0.7, steps=60),
        "Adam": ravine.descend(bowl, torch.optim.Adam, lr=0.5, steps=60),
    }
    return ravine.join(entries), ravine.surface(bowl, points=31)


@pytest.fixture(scope="module")
def film_of_four(four):
    """A film turns to whatever frame it is asked for: made once for all that look at it."""
    return plot.animate(*four)


@pytest.fixture(scope="module")
def film_of_race(race):
    return plot.animate(*race, hue="run")


@pytest.fixture(scope="module")
def short():
    bowl = ravine.gallery.quadratic()
    return plot.animate(ravine.descend(bowl, lr=0.1, steps=6), ravine.surface(bowl, points=21))


# -- what a frame holds --------------------------------------------------------------------------------------------


def test_each_frame_holds_the_positions_so_far_on_four_problems(case):
    run = ravine.descend(case.problem, lr=case.lr, momentum=0.5, steps=40)
    land = ravine.surface(case.problem, case.axes, points=31)
    if run.sizes["parameter"] > 2:
        with pytest.raises(ValueError, match="a path needs a position of two parameters"):
            plot.animate(run, land)
        return
    with torch.random.fork_rng():
        positions, losses = case.loop(lr=case.lr, momentum=0.5, steps=40)  # a plain torch loop
    order = [list(run.parameter.values).index(name) for name in list(land.surface.dims)[::-1]]
    film = plot.animate(run, land)
    assert film.steps == tuple(range(41))
    for k in (0, 17, 40):
        figure = film.frame(k)
        ax = figure.axes[0]
        for gid in ("path", "casing", "steps"):
            assert all(bare.same_bits(points(line), positions[: k + 1][:, order]) for line in of_gid(ax, gid)), gid
        (head,) = of_gid(ax, "head")
        assert bare.same_bits(points(head)[0], positions[k][order])
        curve_ax = labelled(figure, "loss")
        (curve,), (moment,), (now,) = (of_gid(curve_ax, gid) for gid in ("loss", "moment", "now"))
        assert curve.get_xdata().tolist() == list(range(k + 1))
        assert moment.get_xdata().tolist() == [k]
        assert set(now.get_xdata()) == {k}
        assert bare.same_bits(points(moment)[0], points(curve)[-1])
        heights = losses[: k + 1]
        if "minimum_loss" in run:
            heights = (heights - run.minimum_loss.item()) / (losses[0] - run.minimum_loss.item())
        assert np.allclose(curve.get_ydata(), heights, rtol=1e-4, atol=1e-9)
        assert said(figure, "step") == [f"step {k}"]


def test_the_fitted_line_is_that_of_the_step(one):
    run, land = one
    film = plot.animate(run, land)
    for k in (0, 5, 100):
        (line,) = of_gid(labelled(film.frame(k), "fit"), "fit")
        weight, bias = run.position.sel(parameter=["weight", "bias"]).values[k].astype(float)
        ends = np.array([run.inputs.values.min(), run.inputs.values.max()], dtype=float)
        assert np.allclose(line.get_ydata(), weight * ends + bias, rtol=1e-12)


def test_four_panels_move_in_step(four, film_of_four):
    (runs, _), film = four, film_of_four
    assert len(film) == 101
    arrivals = measure.arrival(runs).values
    for k in (0, 45, 100):
        figure = film.frame(k)
        for j, ax in enumerate(figure.axes[:4]):
            track = runs.position.isel(criterion=j).sel(parameter=["bias", "weight"]).values
            assert bare.same_bits(points(of_gid(ax, "path")[0]), track[: k + 1])
            (words,) = [t.get_text() for t in ax.texts if t.get_gid() == "standing"]
            assert f"loss {runs.loss.values[j, k]:.4g}" in words
            assert (f"arrived at step {arrivals[j]:.0f}" in words) == (k >= arrivals[j])
    assert not any(ax.child_axes for ax in film.figure.axes)


def test_a_frame_is_the_figure_of_the_descent_at_its_end(four, film_of_four):
    """Map, contours, marks and the finished path are those of the still picture."""
    figure, still = film_of_four.frame(-1), plot.descent(*four)
    for moving, quiet in zip(figure.axes[:4], still.axes, strict=True):
        for gid in ("path", "start", "minimum", "steps"):
            (a,), (b,) = of_gid(moving, gid), of_gid(quiet, gid)
            assert bare.same_bits(points(a), points(b))
            assert (a.get_color(), a.get_linewidth(), a.get_markersize()) == (
                b.get_color(),
                b.get_linewidth(),
                b.get_markersize(),
            )
        assert moving.get_title(loc="left") == quiet.get_title(loc="left")
        assert moving.get_xlim() == quiet.get_xlim()
        assert np.allclose(moving.get_window_extent().size, quiet.get_window_extent().size)


def test_frames_count_from_the_end_too(short):
    assert short.frame(-1) is short.figure
    assert said(short.figure, "step") == ["step 6"]
    with pytest.raises(IndexError, match="there are 7 frames, counted from 0; got 7"):
        short.frame(7)


def test_long_runs_are_seen_early_and_to_the_end():
    for last in (0, 1, 99, 100, 101, 150, 1000, 123_456):
        steps = animate.frames_of(last)
        assert len(steps) == min(last + 1, 101)
        assert steps[0] == 0
        assert steps[-1] == last
        strides = np.diff(steps)
        assert (strides >= 1).all()
        if last:
            assert steps[1] == 1
        if last > 200:
            assert strides[-1] > strides[50] > strides[3]
        assert all(each % 10 == 0 for each in animate.durations_of(len(steps)))
        assert len(animate.durations_of(len(steps))) == len(steps)
    run = ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=500)
    film = plot.animate(run, ravine.surface(ravine.gallery.rosenbrock(), points=31))
    place = film.steps[60]
    figure = film.frame(60)
    track = run.position.sel(parameter=["x", "y"]).values
    assert bare.same_bits(points(of_gid(figure.axes[0], "path")[0]), track[: place + 1])  # all steps, not only animate
    assert said(figure, "step") == [f"step {place}"]


# -- races ---------------------------------------------------------------------------------------------------------


def test_the_scoreboard_says_what_measure_says(race, film_of_race):
    (runs, _), film = race, film_of_race
    arrivals, gaps = measure.arrival(runs), measure.gap(runs)
    assert len(set(arrivals.values)) == 3  # so that there is a first
    for k in (0, 20, 60):
        figure = film.frame(k)
        assert said(figure, "name") == ["SGD", "momentum", "Adam"]
        assert len(of_gid(figure.axes[0], "head")) == len(of_gid(labelled(figure, "loss"), "moment")) == 3
        for j, (value, status) in enumerate(zip(said(figure, "value"), said(figure, "status"), strict=True)):
            share = float(gaps.values[j, k] / gaps.values[j, 0])
            least = re.fullmatch(r"under 0\.001 % left", value)
            assert (
                share < 1e-5 if least else abs(float(value.split()[0]) - 100 * share) <= 0.005 * max(100 * share, 0.1)
            )
            arrived = arrivals.values[j]
            first = "first, " * bool(arrived == arrivals.min())
            expected = f"arrived {first}at step {arrived:.0f}" if k >= arrived else "has not arrived" * (k == 60)
            assert status == expected
    settings = [text.replace("\n", " ") for text in said(film.figure, "settings")]
    assert settings == ["SGD(lr=0.05)", "SGD(lr=0.05, momentum=0.7)", "Adam(lr=0.5)"]
    assert any("60 steps" in t.get_text() for t in film.figure.texts)


def test_names_arrivals_and_notes_appear_in_time(race, film_of_race):
    (runs, _), film = race, film_of_race
    arrivals = sorted(measure.arrival(runs).values)
    for k in range(61):
        figure = film.frame(k)
        dots = [dot for dot in of_gid(labelled(figure, "loss"), "arrival") if dot.get_visible()]
        assert len(dots) == sum(k >= each for each in arrivals)
        told = [text for text in shown(labelled(figure, "loss")) if text.startswith("arrives")]
        assert len(told) <= len(dots)
    assert {"SGD", "momentum", "Adam"} <= set(shown(figure.axes[0]))
    assert not {"SGD", "momentum", "Adam"} & set(shown(film.frame(0).axes[0]))


def test_a_setting_may_be_the_hue(four):
    _, land = four
    problems = ravine.gallery.article()
    both = ravine.join({m: ravine.descend(problems, lr=0.1, momentum=m, steps=20) for m in (0.0, 0.9)}, dim="momentum")
    figure = plot.animate(both, land, hue="momentum").frame(-1)
    words = said(figure, "standing")
    assert len(words) == 8
    assert words[0].startswith("momentum 0: ")
    with pytest.raises(ValueError, match="runs do not differ in 'lr'"):
        plot.animate(both, land, hue="lr")


def test_a_share_is_never_compared_with_a_loss(race):
    runs, land = race
    unknown = runs.assign(minimum_loss=runs.minimum_loss + xr.DataArray([0.0, np.nan, 0.0], dims="run"))
    figure = plot.animate(unknown, land, hue="run").frame(3)
    assert said(figure, "value") == [f"loss {loss:.4g}" for loss in runs.loss.values[:, 3].tolist()]
    assert labelled(figure, "loss").get_ylabel() == "loss"


# -- what goes wrong is shown ----------------------------------------------------------------------------------------


def test_a_run_that_diverges_is_shown_so(article):
    problem = article["MSELoss"]
    run, land = ravine.descend(problem, lr=30.0), ravine.surface(problem, points=31)
    broken = int(measure.first_nonfinite(run))
    film = plot.animate(run, land)
    assert "diverged" not in "".join(said(film.frame(broken - 1), "standing"))
    assert "off the map" in "".join(said(film.frame(1), "standing"))
    assert not any(p.get_visible() for p in of_gid(film.frame(0).axes[0], "leaves"))
    assert all(p.get_visible() for p in of_gid(film.frame(1).axes[0], "leaves"))
    for k in (0, 1, 2, broken, 100):
        figure = film.frame(k)
        path = points(of_gid(figure.axes[0], "path")[0])
        assert bare.same_bits(path, run.position.sel(parameter=["bias", "weight"]).values[: k + 1])
        told = f"diverged at step {broken}" in shown(labelled(figure, "loss"))
        assert told == (k >= broken)
    (whole,), (still,) = of_gid(film.frame(-1).axes[0], "leg"), of_gid(plot.descent(run, land).axes[0], "leg")
    assert bare.same_bits(points(whole), points(still))
    assert len(points(of_gid(film.frame(1).axes[0], "leg")[0])) == 3
    (words,) = said(film.frame(-1), "standing")
    assert f"diverged at step {broken}" in words
    assert "loss nan" in words or "loss inf" in words
    film.frame(broken).savefig(os.devnull, format="png")


def test_a_loss_that_grows_without_bound_is_called_diverged_at_the_end(article):
    problem = article["MSELoss"]
    run = ravine.descend(problem, lr=1.2)
    assert np.isfinite(run.loss).all()
    (words,) = said(plot.animate(run, ravine.surface(problem, points=21)).frame(-1), "standing")
    assert "gap grown" in words
    assert "diverged, off the map" in words


def test_runs_of_unequal_length_stay_where_they_end(article):
    problem = article["MSELoss"]
    both = ravine.join({str(n): ravine.descend(problem, lr=0.1, steps=n) for n in (20, 60)})
    film = plot.animate(both, ravine.surface(problem, points=21), hue="run")
    assert len(film) == 61
    figure = film.frame(40)
    short, long = of_gid(figure.axes[0], "path")
    assert (len(points(short)), len(points(long))) == (21, 41)
    truth = both.position.sel(parameter=["bias", "weight"]).values
    assert bare.same_bits(points(of_gid(figure.axes[0], "head")[0])[0], truth[0, 20])
    assert "ended at step 20" in said(figure, "status")[0]
    assert "ended" not in said(film.frame(20), "status")[0]
    assert "ended" not in said(film.frame(60), "status")[1]


def test_losses_that_were_not_looked_at_are_passed_over(one):
    run, land = one
    thinned = run.assign(loss=run.loss.where(run.step % 10 == 0).assign_attrs(run.loss.attrs, loss_every=10))
    film = plot.animate(thinned, land)
    figure = film.frame(17)
    assert f"loss {run.loss.values[10]:.4g}" in said(figure, "standing")[0]
    assert points(of_gid(labelled(figure, "loss"), "moment")[0])[0, 0] == 10


def test_steps_that_were_recorded_now_and_then_keep_their_numbers(one):
    run, land = one
    sparse = run.isel(step=slice(None, None, 7))
    film = plot.animate(sparse, land)
    assert film.steps == tuple(range(0, 101, 7))
    arrived = float(measure.arrival(sparse))
    for k in range(len(film)):
        (words,) = said(film.frame(k), "standing")
        assert ("arrived" in words) == (film.steps[k] >= arrived)
        (moment,) = of_gid(labelled(film.figure, "loss"), "moment")
        assert moment.get_xdata().tolist() == [film.steps[k]]


def test_the_losses_of_mini_batches_come_one_by_one(article):
    problem = article["MSELoss"]
    run = ravine.descend(problem, lr=0.02, batch_size=5, seed=1, steps=30)
    film = plot.animate(run, ravine.surface(problem, points=21))
    for k in (0, 11, 30):
        (cloud,) = of_gid(labelled(film.frame(k), "loss"), "batch_loss")
        assert cloud.get_xdata().tolist() == list(range(k + 1))


def test_a_schedule_and_a_maximum(article):
    from functools import partial

    problem = article["MSELoss"]
    halving = partial(torch.optim.lr_scheduler.StepLR, step_size=5, gamma=0.5)
    run = ravine.descend(problem, lr=0.1, steps=12, scheduler=halving)
    land = ravine.surface(problem, points=21)
    film = plot.animate(run, land)
    for k in (0, 7, 12):
        (legs,) = of_gid(film.frame(k).axes[0], "lr")
        assert len(legs.get_segments()) == k
    up = ravine.descend(problem, lr=0.001, steps=5, maximize=True)
    (words,) = said(plot.animate(up, land).frame(-1), "standing")
    assert words.strip().startswith("loss ")
    assert "left" not in words


def test_odd_studies_are_drawn(one):
    run, land = one
    assert len(plot.animate(run.isel(step=[0]), land)) == 1
    bare_run = run[["position"]]  # as from a recording
    figure = plot.animate(bare_run, land).frame(30)
    assert not any(ax.get_label() == "loss" for ax in figure.axes)
    plot.animate(ravine.join({"a": bare_run, "b": bare_run}), land, hue="run").frame(-1)
    wide = land.isel(weight=slice(10, 16))
    plot.animate(run, wide).frame(-1)


def test_what_cannot_be_is_said(four, one):
    runs, land = four
    with pytest.raises(ValueError, match="no moving picture in style 'article'"):
        plot.animate(runs, land, style="article")
    with pytest.raises(ValueError, match="the study has no 'surface'"):
        plot.animate(runs, runs)
    with pytest.raises(ValueError, match="there is one run only"):
        plot.animate(*one, hue="run")


def test_shares_in_words():
    words = [scoreboard.share_text(share) for share in (1.0, 0.9999, 0.1, 0.01, 9.99e-6, -1e-9, 1.5, 2e5)]
    assert words == [
        "100 % left",
        "100.0 % left",
        "10.0 % left",
        "1.00 % left",
        "under 0.001 % left",
        "under 0.001 % left",
        "gap grown 1.5-fold",
        "gap grown 200,000-fold",
    ]


# -- files -----------------------------------------------------------------------------------------------------------


def test_drawing_once_shows_what_drawing_anew_shows(race):
    """Frames that are put together from what stays and what moves equal the figure drawn whole."""
    film = plot.animate(*race, hue="run")
    for k in (0, 30, 60):
        (fast,) = film._pictures(100, [k])
        canvas = film.frame(k).canvas
        for part in film.parts:
            part.artist.set_animated(False)
        canvas.draw()
        whole = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
        for part in film.parts:
            part.artist.set_animated(True)
        far = np.abs(whole - fast.astype(int)).max(axis=-1) > 40
        assert far.mean() < 2e-4  # words on the map that a line passes


def test_a_gif_has_every_frame_and_its_time(short, tmp_path):
    path = short.save(tmp_path / "deep" / "run.gif")
    with Image.open(path) as gif:
        assert gif.n_frames == len(short) == 7
        assert gif.info["loop"] == 0
        times, pictures = [], []
        for k in range(7):
            gif.seek(k)
            times.append(gif.info["duration"])
            pictures.append(np.asarray(gif.convert("RGB")).astype(int))
    assert times == list(short.durations)
    for k, truth in enumerate(short._pictures(96, range(7))):
        assert np.abs(pictures[k] - truth).mean() < 0.3
        assert (pictures[k][0, 0] == 255).all()  # the paper keeps its colour
        assert np.percentile(np.abs(pictures[k] - truth), 99.9) < 40
    assert os.listdir(tmp_path / "deep") == ["run.gif"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio_ffmpeg leaves its pipes open
def test_an_mp4_plays_as_long_as_the_film(short, tmp_path):
    path = short.save(tmp_path / "run.mp4")
    frames = imageio_ffmpeg.read_frames(str(path))
    about = next(frames)
    assert (about["codec"], about["pix_fmt"].partition("(")[0]) == ("h264", "yuv420p")
    assert all(side % 2 == 0 for side in about["source_size"])
    ticks = [round(each / min(short.durations)) for each in short.durations]
    shown = [np.frombuffer(each, np.uint8).reshape(*about["size"][::-1], 3) for each in frames]
    assert len(shown) == sum(ticks)
    assert abs(about["duration"] - sum(short.durations) / 1000) < 0.3
    height, width = shown[0].shape[:2]
    for k, truth in zip(np.cumsum(ticks) - 1, short._pictures(150, range(len(short))), strict=True):
        assert np.abs(shown[k].astype(int) - truth[:height, :width]).mean() < 3
    assert os.listdir(tmp_path) == ["run.mp4"]


def test_without_ffmpeg_the_remedy_is_named(short, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"needs the program ffmpeg.*no .*nowhere: install it.*\.gif or \.html"):
        short.save(tmp_path / "run.mp4")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("reads", [False, True], ids=["fails at once", "fails at the end"])
def test_what_ffmpeg_complains_of_is_passed_on(short, tmp_path, monkeypatch, reads):
    """A film that was not finished is no film, however far ffmpeg had come."""
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{'cat > /dev/null' * reads}\necho 'No space left on device' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
    with pytest.raises(RuntimeError, match=r"ffmpeg could not write run\.mp4: No space left on device"):
        short.save(tmp_path / "run.mp4")
    assert os.listdir(tmp_path) == ["bin"]


@pytest.mark.parametrize("name", ["run.png", "run", "run.avi"])
def test_an_unknown_ending_is_refused(short, tmp_path, name):
    with pytest.raises(ValueError, match=r"a film ends in \.gif, \.mp4 or \.html, got 'run"):
        short.save(tmp_path / name)


def test_nothing_is_overwritten_unless_asked(short, tmp_path):
    path = tmp_path / "run.gif"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="exists already: choose another name, or force=True"):
        short.save(path)
    assert path.read_bytes() == b"mine"
    short.save(path, force=True)
    assert path.read_bytes().startswith(b"GIF89a")
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(IsADirectoryError):
        short.save(tmp_path / "folder.gif", force=True)


@pytest.mark.parametrize("ending", ["gif", "html", "mp4"])
def test_an_interrupt_leaves_the_old_file_and_no_litter(short, tmp_path, monkeypatch, ending):
    path = tmp_path / f"run.{ending}"
    path.write_bytes(b"old")
    draw, dpi = type(short)._all, short.figure.get_dpi()

    def interrupted(film, dpi):
        for k, picture in enumerate(draw(film, dpi)):
            if k == 3:
                raise KeyboardInterrupt
            yield picture

    monkeypatch.setattr(type(short), "_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        short.save(path, force=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]
    assert short.figure.get_dpi() == dpi


def test_saving_touches_nothing_else(short, tmp_path):
    with plt.rc_context({"font.size": 30, "path.simplify": False, "savefig.dpi": 10}):
        before, figures = dict(plt.rcParams), plt.get_fignums()
        bowl = ravine.gallery.quadratic()
        film = plot.animate(ravine.descend(bowl, lr=0.1, steps=6), ravine.surface(bowl, points=21))
        first = film.save(tmp_path / "other.gif").read_bytes()
        assert dict(plt.rcParams) == before
        assert plt.get_fignums() == figures
    assert first == short.save(tmp_path / "plain.gif").read_bytes()  # whatever the user's settings
    assert short.figure.get_dpi() == 100


def test_the_study_is_left_as_it_was(race):
    runs, land = race
    before = runs.copy(deep=True), land.copy(deep=True)
    plot.animate(runs, land, hue="run").frame(30)
    assert runs.identical(before[0])
    assert land.identical(before[1])


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_page_needs_no_server(short, tmp_path):
    text = short.save(tmp_path / "run.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert len(json.loads(re.search(r"const film = (.*);\n", text)[1])["sheets"]) == 7
    embedded = short._repr_html_()
    assert embedded.startswith("<iframe srcdoc=")
    assert "http" not in embedded


def test_a_title_cannot_break_the_page(tmp_path):
    bowl = ravine.gallery.quadratic()
    run, land = ravine.descend(bowl, lr=0.1, steps=1), ravine.surface(bowl, points=11)
    text = (
        plot.animate(run, land, title='</title><script>alert("1")</script> 100 %s')
        .save(tmp_path / "a.html")
        .read_text()
    )
    assert "<script>alert" not in text
    assert "100 %s" in text


@pytest.mark.filterwarnings("default")
def test_the_player_shows_the_frame_that_is_asked_for(browser, race, tmp_path):
    runs, land = race
    film = plot.animate(runs.isel(step=slice(21)), land, hue="run")
    path = film.save(tmp_path / "race.html")
    context = browser.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page, asked, heard = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function("canvas.dataset.frame === '20'")  # motion is not wanted: the end, and still
    assert page.inner_text("#play") == "Again"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for k in (7, 18, 3, 20, 0):  # back and forth
        page.evaluate(f"slider.value = {k}; slider.dispatchEvent(new Event('input'))")
        page.wait_for_function(f"canvas.dataset.frame === '{k}'")
        _, _, coded = page.evaluate("canvas.toDataURL()").partition(",")
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(coded))).convert("RGB")).astype(int)
        (truth,) = film._pictures(144, [k])
        assert drawn.shape == truth.shape
        assert np.percentile(np.abs(drawn - truth), 99.9) < 40
        assert page.inner_text("#step") == f"step {k}"
        assert page.get_attribute("#slider", "aria-valuetext") == f"step {k} of 20"
    for key, frame in (("ArrowRight", 1), ("End", 20), ("ArrowLeft", 19), ("Home", 0)):
        page.keyboard.press(key)
        page.wait_for_function(f"canvas.dataset.frame === '{frame}'")
    page.keyboard.press(" ")
    page.wait_for_function("Number(canvas.dataset.frame) > 2")
    assert page.inner_text("#play") == "Pause"
    page.click("#play")
    assert page.inner_text("#play") == "Play"
    context.close()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert heard == []


@pytest.mark.filterwarnings("default")
def test_the_player_plays_by_itself_to_the_end_in_a_frame_of_a_notebook(browser, short, tmp_path):
    hasty = dataclasses.replace(short, durations=(40,) * len(short))
    (tmp_path / "book.html").write_text(f"<!doctype html><body>{hasty._repr_html_()}</body>")
    page, asked = browser.new_page(viewport={"width": 600, "height": 900}), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "book.html").as_uri())
    frame = page.frames[1]
    frame.wait_for_function("canvas.dataset.frame === '6'")
    frame.wait_for_function("play.textContent === 'Again'")
    tall = page.evaluate("document.querySelector('iframe').offsetHeight")
    assert tall == frame.evaluate("document.querySelector('main').offsetHeight")
    page.close()
    assert not [url for url in asked if url.startswith("http")]


# -- the command line ------------------------------------------------------------------------------------------------


def command(*words, code=0):
    result = CliRunner().invoke(app, ["animate", *map(str, words)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.stderr


def test_a_study_becomes_a_film(one, race, tmp_path):
    (run, land), (runs, under) = one, race
    path = ravine.save(run.isel(step=slice(4)).assign(surface=land.surface), tmp_path / "run.nc")
    assert command(path).strip() == str(tmp_path / "run.gif")
    with Image.open(tmp_path / "run.gif") as gif:
        assert gif.n_frames == 4
    command(path)  # the same command writes its own file again
    assert "exists already" in command(path, "--style", "dark", code=2)
    command(path, "--force", "--style", "dark")
    both = ravine.save(runs.isel(step=slice(4)).assign(surface=under.surface), tmp_path / "race.nc")
    command(both, "--hue", "run", "-o", tmp_path / "race.html")
    assert (tmp_path / "race.html").read_text().startswith("<!doctype html>")
    command(both, "--at", "run=Adam", "-o", tmp_path / "adam.gif")


def test_what_cannot_be_a_film_is_one_line(one, tmp_path):
    run, land = one
    path = ravine.save(run, tmp_path / "run.nc")
    told = command(path, code=2)
    assert told.startswith("ravine: ")
    assert "holds no surface to move over" in told
    assert len(told.strip().splitlines()) == 1
    assert "a film ends in .gif, .mp4 or .html" in command(path, "-o", "run.png", code=2)
    assert "there is no file" in command(tmp_path / "none.nc", code=2)
    whole = ravine.save(run.assign(surface=land.surface), tmp_path / "whole.nc")
    assert "style 'article'" in command(whole, "--style", "article", code=2)
    assert os.listdir(tmp_path) != []


def test_a_file_is_moved_only_when_whole(tmp_path):
    with pytest.raises(TypeError), _system.write_whole(tmp_path / "a" / "x.gif") as draft:
        draft.write_bytes("half")
    assert os.listdir(tmp_path / "a") == []


def test_nothing_on_a_scoreboard_covers_anything_else(article):
    problem = article["MSELoss"]
    rates = (0.01, 0.05, 0.2, 0.5, 1.2, 30.0)
    runs = ravine.join({f"a run with a rather long name, at {lr:g}": ravine.descend(problem, lr=lr) for lr in rates})
    film = plot.animate(runs, ravine.surface(problem, points=21), hue="run")
    for k in (0, 10, 100):
        figure = film.frame(k)
        for part in film.parts:
            part.artist.set_animated(False)
        figure.draw_without_rendering()
        for part in film.parts:
            part.artist.set_animated(True)
        board = labelled(figure, "board")
        boxes = [(t.get_text(), t.get_window_extent()) for t in board.texts if t.get_text()]
        edge = figure.bbox
        for j, (words, box) in enumerate(boxes):
            assert edge.x0 <= box.x0 < box.x1 <= edge.x1, words
            shrunk = box.padded(-0.12 * box.height)
            assert not any(shrunk.overlaps(other.padded(-1)) for _, other in boxes[j + 1 :]), words
        assert boxes[-1][1].y0 > labelled(figure, "loss").get_tightbbox().y1

"""The command line: what it prints, what it writes, and one clear line for whatever is wrong."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import processes
import ravine
from ravine._store.store import Store
from ravine._sweep import plan
from ravine.cli import app

pytestmark = pytest.mark.usefixtures("coarsely")


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def refused(*words):
    """The one line that says what is wrong."""
    result = run(*words, code=2)
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("ravine: ")
    return lines[0]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("dose,effect,who\n0.5,1,a\n1,2.5,b\n2,3,c\n3.5,6.5,d\n")
    return path


@pytest.mark.parametrize("style", ["ravine", "article", pytest.param("dark", marks=pytest.mark.slow)])
def test_article_writes_all_and_prints_the_log(written_article, style):
    out, printed = written_article(*([] if style == "ravine" else ["--style", style]))
    check_article(out, printed)


def check_article(out, printed):
    lines = printed.splitlines()
    assert lines[0] == "epoch 0, loss 53.078269958496094"
    assert lines[9:12] == ["epoch 9, loss 1.8742430210113525", "...", "epoch 97, loss 0.4994412660598755"]
    names = {path.name for path in out.iterdir()}
    assert names == {*(f"figure_{k:02d}.png" for k in range(1, 11)), "index.html", "log.txt", "study.nc"}
    for name in names:
        assert any(line.startswith(str(out / name)) for line in lines)
    log = (out / "log.txt").read_text().splitlines()
    assert len(log) == 100
    assert log[99] == "epoch 99, loss 0.4994412660598755"
    assert ravine.open(out / "study.nc").sizes["run"] == 5


def test_article_overwrites_only_when_told(tmp_path):
    """That --force is such a word, and that a figure may be an SVG, test_report.py shows with knobs turned."""
    (tmp_path / "figure_03.svg").write_text("mine")
    assert "figure_03.svg exists already: choose another --out, or --force" in refused(
        "article", "--out", tmp_path, "--format", "svg"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["figure_03.svg"]
    assert (tmp_path / "figure_03.svg").read_text() == "mine"


def test_descend_takes_every_setting_and_is_the_run_of_the_library(table, tmp_path):
    out = tmp_path / "run.nc"
    words = [
        "--x",
        "dose",
        "--y",
        "effect",
        "--loss",
        "HuberLoss(delta=0.5)",
        "--epochs",
        30,
        "--lr",
        0.1,
        "--momentum",
        0.9,
    ]
    words += ["--weight-decay", 0.1, "--nesterov", "--foreach", "--start", "weight=2", "--start", "bias=-1", "-o", out]
    said = run("descend", table, *words).output
    problem = ravine.Problem.from_csv(
        table, "dose", "effect", torch.nn.HuberLoss(delta=0.5), start={"weight": 2.0, "bias": -1.0}
    )
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True, "foreach": True}
    expected = ravine.descend(problem, steps=30, **settings)
    saved = ravine.open(out)
    assert saved.position.equals(expected.position)
    assert f"{expected.loss.values[0]:.4g} → {expected.loss.values[-1]:.4g} in 30 steps" in said
    assert f"{expected.position.values[-1, 0]:.6g}" in said
    assert out.with_suffix(".png").exists()
    assert "surface" in saved


def test_descend_several_criteria_with_one_lr_for_all(table, tmp_path):
    out = tmp_path / "run.nc"
    said = run(
        "descend", table, "--x", "dose", "--y", "effect", "--criterion", "MSELoss", "--criterion", "L1Loss", "-o", out
    )
    assert "MSELoss" in said.output
    saved = ravine.open(out)
    assert saved.criterion.values.tolist() == ["MSELoss", "L1Loss"]
    found = re.search(r"lr ([\d.]+\d)", said.output)
    assert found
    assert float(saved.lr) == float(found[1])  # one for both, chosen and said


def test_more_than_two_parameters_draw_the_loss_and_say_so(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("a,b,y\n1,2,3\n2,1,4\n3,5,6\n")
    result = run("descend", path, "--x", "a", "--x", "b", "--y", "y", "-o", tmp_path / "run.nc")
    assert "3 parameters: a map shows two, so the picture is the loss at every step" in result.stderr
    assert (tmp_path / "run.png").exists()


def test_descend_a_problem_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mine_for_cli.py").write_text(
        "import ravine\n"
        "bowl = ravine.Problem(lambda p: p['x']**2 + 4 * p['y']**2, start={'x': 2.0, 'y': 1.0})\n"
        "def maker():\n    return bowl\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("bowl", "maker"):
        run("descend", f"mine_for_cli:{name}", "--lr", 0.1, "-o", f"{name}.nc")
        assert ravine.open(tmp_path / f"{name}.nc").parameter.values.tolist() == ["x", "y"]
    assert "has no 'bowll' (did you mean bowl?)" in refused("descend", "mine_for_cli:bowll")
    assert "expected a ravine.Problem" in refused("descend", "mine_for_cli:number")
    assert "there is no module 'no_such_module'" in refused("descend", "no_such_module:thing")


def test_descend_the_gallery_by_any_optimizer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--optimizer", "Adam", "--lr", 0.1, "--set", "betas=(0.8, 0.99)", "--scheduler", "StepLR(step_size=10)"]
    run("descend", "quadratic(condition=100)", *words, "--steps", 30, "-o", "adam.nc")
    from functools import partial

    expected = ravine.descend(
        ravine.gallery.quadratic(100),
        torch.optim.Adam,
        30,
        lr=0.1,
        betas=(0.8, 0.99),
        scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=10),
    )
    assert ravine.open("adam.nc").position.equals(expected.position)
    assert "no optimizer 'Adm' in torch.optim (did you mean Adam" in refused(
        "descend", "rosenbrock", "--optimizer", "Adm"
    )
    assert "no scheduler 'Stepp'" in refused("descend", "rosenbrock", "--scheduler", "Stepp")
    assert "condition must be at least 1, got 0.5" in refused("descend", "quadratic(condition=0.5)")
    assert "Adam takes no setting 'momentum'" in refused("descend", "saddle", "--optimizer", "Adam", "--momentum", 1)
    run("descend", "article", "--criterion", "L1Loss", "--lr", 0.1, "--batch-size", 10, "--seed", 3, "-o", "batches.nc")
    assert int(ravine.open("batches.nc").seed) == 3


def test_descend_the_article_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run("descend", "article", "--lr", 0.1, "--criterion", "MSELoss").output
    assert "loss 53.08 → 0.4994 in 100 steps" in said
    assert (tmp_path / "article-descent.nc").exists()
    assert (tmp_path / "article-descent.png").exists()
    run("descend", "article", "--lr", 0.1, "-o", "four.nc")
    assert ravine.open(tmp_path / "four.nc").sizes["criterion"] == 4


def test_plot_every_view_of_a_study(table, tmp_path):
    out = tmp_path / "run.nc"
    run("descend", table, "--x", "dose", "--y", "effect", "--lr", 0.1, "-o", out)
    for view in ("descent", "panel", "losses", "fit", "scatter", "surface"):
        said = run("plot", out, view).output.strip()
        assert said == str(tmp_path / f"run-{view}.png")
        assert (tmp_path / f"run-{view}.png").read_bytes().startswith(b"\x89PNG")
    run("plot", out, "descent", "--style", "article", "-o", tmp_path / "pictures" / "one.pdf")
    assert (tmp_path / "pictures" / "one.pdf").exists()
    assert "exists already" in refused("plot", out, "losses", "-o", tmp_path / "run-fit.png")
    assert "no view 'desent' (did you mean descent?)" in refused("plot", out, "desent")
    assert "a picture ends in .png, .svg or .pdf" in refused("plot", out, "-o", tmp_path / "a.gif")
    assert "there is no file" in refused("plot", tmp_path / "none.nc")
    assert "no coordinate 'run'" in refused("plot", out, "--at", "run=a", "-o", tmp_path / "b.png")


def test_plot_knows_lines_range_tests_and_recordings(tmp_path, monkeypatch):
    drawn, draw = [], ravine.plot.losses

    def losses(*given, **named):
        drawn.append(draw(*given, **named))
        return drawn[-1]

    monkeypatch.setattr(ravine.plot, "losses", losses)
    bowl = ravine.gallery.quadratic()
    line = ravine.save(ravine.between(bowl, {"x": 1.0, "y": 1.0}, {"x": -1.0, "y": 1.0}, 5), tmp_path / "line.nc")
    assert run("plot", line).output.strip() == str(tmp_path / "line-between.png")
    curve = ravine.range_test(bowl, lr=(1e-3, 1), steps=10)
    run("plot", ravine.save(curve, tmp_path / "curve.nc"))
    falls = curve.assign(scheduled_lr=curve.scheduled_lr[::-1].values + 0 * curve.scheduled_lr)
    run("plot", ravine.save(falls, tmp_path / "falls.nc"))
    run("plot", ravine.save(ravine.descend(bowl, steps=9), tmp_path / "run.nc"), "losses")
    assert [figure.axes[0].get_xlabel() for figure in drawn] == ["lr", "step", "step"]
    ratios = xr.Dataset({"update_ratio": (("step", "layer"), [[0.1], [0.2]])}, {"step": [0, 1], "layer": ["0"]})
    recording = ravine.save(ratios, tmp_path / "recording.nc")
    assert run("plot", recording).output.strip() == str(tmp_path / "recording-layers.png")


def test_plot_selects(told, tmp_path):
    path = ravine.save(told, tmp_path / "study.nc")
    assert "select some along 'run' and 'criterion'" in refused("plot", path)
    run("plot", path, "--at", "run=momentum", "-o", tmp_path / "one.png")
    run("plot", path, "--at", "momentum=0.9", "--at", "dampening=0.8", "-o", tmp_path / "two.png")
    assert "expected name=value, got 'momentum'" in refused(
        "plot", path, "--at", "momentum", "-o", tmp_path / "three.png"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{none}"], "there is no file"),
        (["{table}"], "say which columns are x (input) and y (target); the file has dose, effect, who"),
        (["{table}", "--x", "dose", "--y", "who"], "column 'who', data row 1 is 'a', expected a finite number"),
        (["{good}", "--criterion", "HubertLoss"], "no criterion 'HubertLoss' in torch.nn (did you mean HuberLoss"),
        (["{good}", "--criterion", "HuberLoss(delta=)"], "cannot read 'HuberLoss(delta=)'"),
        (["{good}", "--criterion", "HuberLoss(delta=-1)"], "delta"),
        (["{good}", "--lr", "-0.1"], "Invalid learning rate: -0.1"),
        (["{good}", "--nesterov"], "Nesterov momentum requires a momentum and zero dampening"),
        (["{good}", "--fused", "--foreach"], "`fused` and `foreach` cannot be `True` together."),
        (["{good}", "--steps", "-3"], "steps must be a whole number, 0 or more, got -3"),
        (["{good}", "--start", "wait=1"], "no parameter 'wait'"),
        (["{good}", "--start", "weight=high"], "weight"),
        (["{good}", "-o", "picture.png"], "should end in .nc"),
        (["articel"], "(did you mean article"),
        (["article", "--x", "a"], "are for files with data"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_code_2(table, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good.csv"
    good.write_text("a,b\n1,2\n2,3.5\n4,4\n")
    places = {"none": tmp_path / "none.csv", "table": table, "good": good}
    line = refused("descend", *[word.format(**places) for word in words])
    assert said in line
    assert not list(tmp_path.glob("*.nc"))


def test_existing_output_is_not_overwritten(table, tmp_path):
    out = tmp_path / "run.nc"
    out.with_suffix(".png").write_text("mine")
    words = ["descend", table, "--x", "dose", "--y", "effect", "-o", out]
    assert "run.png exists already" in refused(*words)
    assert not out.exists()
    run(*words, "--force")
    assert out.exists()


def test_a_diverging_run_is_told_and_drawn(table, tmp_path):
    said = run("descend", table, "--x", "dose", "--y", "effect", "--lr", 30, "-o", tmp_path / "run.nc").output
    assert "it diverged" in said
    assert "A smaller --lr may keep it from diverging" in said
    assert (tmp_path / "run.png").exists()


def test_diabetes_tells_a_story_from_csv_to_picture(tmp_path):
    """Bmi against target: raw columns diverge at lr 0.1, standardized ones arrive at the least-squares line."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(as_frame=True, scaled=False)
    path = tmp_path / "diabetes.csv"
    data.frame[["bmi", "target"]].to_csv(path, index=False)
    raw = run("descend", path, "--x", "bmi", "--y", "target", "--lr", 0.1, "-o", tmp_path / "raw.nc").output
    assert "it diverged" in raw
    run("descend", path, "--x", "bmi", "--y", "target", "--standardize", "--lr", 0.1, "-o", tmp_path / "run.nc")
    saved = ravine.open(tmp_path / "run.nc")
    correlation = np.corrcoef(data.frame["bmi"], data.frame["target"])[0, 1]
    weight, bias = (float(saved.position.sel(parameter=name)[-1]) for name in ("weight", "bias"))
    assert weight == pytest.approx(correlation, abs=1e-4)
    assert bias == pytest.approx(0, abs=1e-5)
    assert float(saved.loss[-1]) == pytest.approx(1 - correlation**2, abs=1e-4)


def test_debug_shows_where_an_error_comes_from():
    """In place of the one line; nothing else changes."""
    plain, debug = (CliRunner().invoke(app, [*words, "descend", "none.csv"]) for words in ([], ["--debug"]))
    assert plain.exit_code == debug.exit_code == 2
    assert plain.stderr == "ravine: there is no file none.csv, and no such problem\n"
    assert debug.stderr.startswith("Traceback")
    assert "in load_problem" in debug.stderr
    assert debug.stderr.splitlines()[-1] == "FileNotFoundError: there is no file none.csv, and no such problem"
    assert "--debug" in run("--help").output


def test_help_everywhere_and_version():
    for words in (["--help"], ["article", "--help"], ["descend", "--help"], ["plot", "--help"]):
        assert "Usage" in run(*words).output
    assert run("--version").output.strip() == f"ravine {ravine.__version__}"


def test_help_and_version_import_nothing_heavy():
    for flag in ("--help", "--version"):
        code = (
            f"import sys; sys.argv = ['ravine', '{flag}']\n"
            "from ravine.cli import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'numpy', 'matplotlib', 'xarray', 'pandas', 'scipy'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["descend", "a.csv", "--lr", "abc"], "ravine: Invalid value for '--lr'"),
        (["descend", "a.csv", "--wrong", "3"], "ravine: No such option: --wrong; see ravine --help"),
        (
            ["landscape", "a.py:b", "--checkpoints", "*.pt", "--plane", "hessian"],
            "ravine: Invalid value for '--plane': 'hessian' is not one of 'ends', 'pca'; see",
        ),
        (["nonsense"], "ravine: No such command 'nonsense'; see ravine --help"),
        (["descend", "none.csv"], "ravine: there is no file none.csv"),
    ],
    ids=str,
)
def test_the_program_itself_answers_in_one_line(tmp_path, words, said):
    result = processes.run(processes.COMMAND, *words, cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith(said)


def test_the_program_without_words_shows_its_help(tmp_path):
    result = processes.run(processes.COMMAND, cwd=tmp_path)
    assert "Usage" in result.out
    assert result.returncode in (0, 2)


def test_a_folder_is_no_file_to_write(table, tmp_path):
    (tmp_path / "run.nc").mkdir()
    assert "run.nc is a folder" in refused(
        "descend", table, "--x", "dose", "--y", "effect", "-o", tmp_path / "run.nc", "--force"
    )


def test_sweep_on_the_command_line(table, tmp_path):
    out = tmp_path / "sweep.nc"
    words = ["--x", "dose", "--y", "effect", "--lr", "0.001:0.3:30:log", "--momentum", "0:0.9:10", "--steps", 60]
    printed = run("sweep", table, *words, "-o", out, "-v").output
    study = ravine.open(out)
    problem = ravine.Problem.from_csv(table, x="dose", y="effect")
    same = ravine.sweep(problem, steps=60, lr=np.geomspace(0.001, 0.3, 30), momentum=np.linspace(0, 0.9, 10))
    assert study.identical(same)
    assert printed.startswith("300 runs: ")
    assert "of torch: every bit, 16 whole runs of 60 steps compared" in printed
    best = float(ravine.measure.arrival(same).min())
    assert f"best: step {best:.0f} with lr " in printed
    assert out.with_suffix(".png").stat().st_size > 10_000
    picture = tmp_path / "phase.svg"
    run("plot", out, "phase", "--x", "momentum", "--y", "lr", "--mark", "mine: lr=0.1 momentum=0.9", "-o", picture)
    assert picture.read_text().startswith("<?xml")
    assert "300 curves are too many to tell apart" in refused("plot", out, "losses", "-o", tmp_path / "losses.png")
    run("plot", out, "losses", "--band", "-o", tmp_path / "losses.png")


def test_sweep_of_other_settings(tmp_path):
    out = tmp_path / "adam.nc"
    words = ["--optimizer", "Adam", "--lr", "0.1,0.2", "--set", "betas=(0.9,0.99),(0.5,0.9)", "--steps", 5]
    assert "4 runs: " in run("sweep", "rosenbrock", *words, "-o", out).output
    assert ravine.open(out).betas.values.tolist() == ["(0.9, 0.99)", "(0.5, 0.9)"]
    brief = tmp_path / "brief.nc"
    words = ["--criterion", "HuberLoss", "--lr", "0.1:1:3", "--set", "delta=0.5,1", "--nesterov", "false,true"]
    printed = run("sweep", "article", *words, "--momentum", "0.9", "--summary", "-o", brief).output
    assert printed.startswith("12 runs: ")
    assert ravine.open(brief).final_loss.dims == ("delta", "lr", "nesterov")
    seeded = tmp_path / "seeds.nc"
    run("sweep", "article", "--criterion", "MSELoss", "--lr", "0.1", "--batch-size", 10, "--seed", "1,2", "-o", seeded)
    assert ravine.open(seeded).seed.values.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--lr", "0.1:1"), "lr: cannot read the range '0.1:1'; expected start:stop:count"),
        (("--lr", "0:1:5:log"), "lr: a range with equal ratios needs a start and a stop above 0, got '0:1:5:log'"),
        (("--lr", "0.1,0.1"), "lr holds 0.1 2 times"),
        (("--lr", "-1"), "Invalid learning rate: -1.0"),
        (("--lr", "fast"), "lr must be a number, got 'fast'"),
        (("--set", "lrr=1,2"), "SGD takes no setting 'lrr' (did you mean lr?)"),
        (("--set", "lr"), "expected name=value, got 'lr'"),
        (("--seed", "a"), "seed must be a whole number or several with commas, got 'a'"),
        (("-o", "x.png"), "--out names the study, so it should end in .nc"),
    ],
    ids=str,
)
def test_sweep_refuses(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in refused("sweep", "rosenbrock", *words)
    assert list(tmp_path.iterdir()) == []


def test_what_an_interrupt_left_out_is_told(article):
    from ravine.cli.report import format_report

    runs = ravine.sweep(article["MSELoss"], lr=[0.1, 0.2, 0.3, 5.0], steps=50)
    cut = runs.assign(steps_taken=("lr", [50, 50, 7, 0]))
    assert format_report(cut)[0] == "4 runs: 2 arrived, 2 not finished"
    unknown = runs.drop_vars(["minimum_loss", "minimizer", "hessian"], errors="ignore")
    assert format_report(unknown)[0] == "4 runs: 3 not diverged, 1 diverged"
    assert format_report(unknown)[1].startswith("best: last loss 0.4994 with lr 0.")
    race = ravine.sweep(article, {torch.optim.SGD: {"lr": 0.1}, torch.optim.Adam: {"lr": [0.1, 0.2]}}, steps=9)
    lines = format_report(race, verbose=True)[-6:]
    assert lines[0].startswith("SGD: SGD's rule on a batch, gradient written out (every bit torch's at 10 positions: ")
    assert lines[1] == "SGD: of torch: every bit, 1 whole run of 9 steps compared"
    for k, label in enumerate(("Adam lr 0.1", "Adam lr 0.2")):
        assert lines[2 + 2 * k].startswith(f"{label}: Adam's rule on a batch, gradient written out (every bit torch's")
        assert lines[3 + 2 * k] == f"{label}: of torch: every bit, 2 whole runs of 9 steps compared"


def test_a_mark_needs_a_name(tmp_path):
    out = tmp_path / "sweep.nc"
    run("sweep", "quadratic", "--lr", "0.1:1:4", "--momentum", "0,0.5,0.9", "-o", out)
    assert "expected a name and settings" in refused("plot", out, "phase", "--mark", "lr=0.1", "-o", tmp_path / "a.png")


def test_a_sweep_too_large_says_so_in_one_line(tmp_path, monkeypatch):
    from ravine._engine import keep

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keep, "bytes_free", lambda: 25_000)
    assert "Three ways out" in refused("sweep", "quadratic", "--lr", "0.1:1:400")


def test_explain_prints_what_the_library_says(tmp_path):
    out = tmp_path / "run.nc"
    words = ["--criterion", "MSELoss", "--criterion", "L1Loss", "--lr", 0.1, "--momentum", 0.9]
    printed = run("descend", "article", *words, "-o", out).output.splitlines()
    findings = ravine.explain(ravine.open(out))
    told = run("explain", out).output.splitlines()
    assert told[0] == "MSELoss"
    assert [line.strip() for line in told if line.startswith("  ")] == [each.told for each in findings]
    assert f"  {findings[0].told}" in printed  # the most important ones
    one = run("explain", out, "--at", "criterion=L1Loss").output.splitlines()
    assert one == [each.told for each in findings if each.about["criterion"] == "L1Loss"]
    many = tmp_path / "many.nc"
    run("sweep", "quadratic", "--lr", "0.1:1:30", "-o", many)
    *told, hint = run("explain", many).output.splitlines()
    assert [line.strip() for line in told] == [each.told for each in ravine.explain(ravine.open(many))]
    assert hint == "--at lr=0.1 selects the runs with that lr; up to 24 are explained one by one."
    surface = tmp_path / "surface.nc"
    ravine.save(ravine.surface(ravine.gallery.quadratic(), points=3), surface)
    assert "the study has no 'position'" in refused("explain", surface)
    brief = tmp_path / "brief.nc"
    run("sweep", "quadratic", "--lr", "0.1,0.2", "--summary", "-o", brief)
    assert run("explain", brief).output.splitlines()[0] == "Of 2 runs 2 arrive. (measured)"


def test_descend_prints_three_findings_of_each_run(tmp_path):
    lines = run("descend", "article", "--steps", 5, "-o", tmp_path / "run.nc").output.splitlines()
    assert sum(line.startswith("  ") for line in lines) <= 12


def test_a_sweep_over_maximize_is_told_by_its_last_losses(tmp_path):
    """Runs that climb have no gap to a minimum: what is printed and drawn is the last loss, of all of them."""
    out = tmp_path / "both.nc"
    words = ["--criterion", "MSELoss", "--lr", "0.01:0.5:4", "--momentum", "0:0.9:4", "--maximize", "false,true"]
    lines = run("sweep", "article", *words, "-o", out).output.splitlines()
    assert lines[0].startswith("32 runs: ")
    assert lines[1].startswith("best: last loss ")
    assert out.with_suffix(".png").stat().st_size > 10_000
    run("plot", out, "-o", tmp_path / "again.png")


def test_an_optimizer_of_one_s_own_that_diverges(tmp_path, monkeypatch):
    """It has no ``maximize``: what is printed must not look for it."""
    (tmp_path / "mine_that_diverges.py").write_text(
        "import torch\n"
        "class Up(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr=10.0):\n"
        "        super().__init__(params, {'lr': lr})\n"
        "    @torch.no_grad()\n"
        "    def step(self):\n"
        "        for group in self.param_groups:\n"
        "            for p in group['params']:\n"
        "                p -= group['lr'] * p.grad\n"
    )
    monkeypatch.chdir(tmp_path)
    printed = run("descend", "quadratic", "--optimizer", "mine_that_diverges:Up", "-o", "run.nc").output
    assert "it diverged" in printed
    assert "A smaller --lr may keep it from diverging" in printed


# -- sweeps in a store -----------------------------------------------------------------------------------------------

SWEPT = ["sweep", "rosenbrock", "--lr", "0.0005,0.001,0.002", "--momentum", "0,0.9", "--steps", 30]


@functools.cache
def swept():
    return ravine.sweep(ravine.gallery.rosenbrock(), steps=30, lr=[0.0005, 0.001, 0.002], momentum=[0.0, 0.9])


@pytest.fixture
def in_pieces(monkeypatch):
    """A block for each run."""
    monkeypatch.setattr(plan, "BLOCK_BYTES", 1)


@pytest.fixture
def interrupted(tmp_path, monkeypatch, in_pieces):
    """A store with two of six runs, begun on the command line in another folder."""
    monkeypatch.chdir(tmp_path)
    make, made = plan.SweepPlan.make, []

    def pressed(self, runs, advance):
        made.append(runs)
        if len(made) == 3:
            raise KeyboardInterrupt
        return make(self, runs, advance)

    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        patch.setattr(plan.SweepPlan, "make", pressed)
        assert run(*SWEPT, "-o", "runs.zarr", code=130).output == ""
    assert [str(each.message) for each in said] == [
        "2 of 6 runs are in runs.zarr: interrupted; ravine resume runs.zarr goes on"
    ]
    return tmp_path / "runs.zarr"


def test_a_sweep_into_a_store(tmp_path, in_pieces):
    out = tmp_path / "runs.zarr"
    said = run(*SWEPT, "-o", out).output
    assert said.startswith("6 runs: ")
    assert said.endswith(
        f"\n{out.with_suffix('.png')}  the picture\n{out}  every number, for ravine.open and ravine plot\n"
    )
    assert ravine.open(out).load().identical(swept())
    picture = out.with_suffix(".png").read_bytes()
    out.with_suffix(".png").write_bytes(b"mine")
    again = run(*SWEPT, "-o", out).output  # nothing is left to do
    assert again.startswith(said.splitlines()[0])
    assert "the picture" not in again
    assert out.with_suffix(".png").read_bytes() == b"mine"
    assert run("resume", out).output == again
    run(*SWEPT, "-o", out, "--force")
    assert out.with_suffix(".png").read_bytes() == picture
    assert run("verify", out).output == f"{out}: all 6 runs are there, every bit as it was written\n"
    assert (tmp_path / "runs-phase.png") == Path(run("plot", out).output.strip())
    assert "10 %" not in refused("explain", out, "--at", "lr=7")
    assert len(run("explain", out, "--at", "lr=0.001", "--at", "momentum=0").output.splitlines()) > 1


def test_resume_goes_on_from_anywhere(interrupted, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    verified = run("verify", "../runs.zarr").output
    assert verified == (
        "../runs.zarr: 2 of 6 runs are there, every bit as it was written; ravine resume ../runs.zarr goes on\n"
    )
    made, make = [], plan.SweepPlan.make
    monkeypatch.setattr(plan.SweepPlan, "make", lambda self, runs, tell: made.append(runs) or make(self, runs, tell))
    assert run("resume", "../runs.zarr").output.startswith("6 runs: ")
    assert made[0] in (slice(0, 1), slice(1, 2))  # one that is there, made again as a proof
    assert made[1:] == [slice(k, k + 1) for k in range(2, 6)]
    assert ravine.open(interrupted).load().identical(swept())
    assert interrupted.with_suffix(".png").exists()
    assert not list(elsewhere.iterdir())


def test_a_store_that_is_not_complete_is_drawn_with_a_warning(interrupted):
    with pytest.warns(UserWarning, match=r"2 of 6 runs are in runs\.zarr: ravine resume runs\.zarr goes on"):
        run("plot", "runs.zarr")
    assert (interrupted.parent / "runs-phase.png").exists()


def test_other_settings_are_refused_in_one_line(interrupted):
    words = [*SWEPT[:-1], 31]
    before = sorted(interrupted.rglob("*"))
    assert refused(*words, "-o", "runs.zarr") == (
        "ravine: runs.zarr holds another sweep: steps was 30, now 31. Go on with what it was begun with, or sweep into "
        "a new store"
    )
    assert sorted(interrupted.rglob("*")) == before


def test_verify_finds_and_forgets(interrupted):
    run("resume", "runs.zarr")
    chunk = Store(interrupted).chunks(4, "loss")[0]
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"!")
    lines = run("verify", "runs.zarr", code=1).output.splitlines()
    assert lines[0].startswith("block 4 (run 4) of loss cannot be read: ")
    assert lines[-1] == (
        "ravine verify runs.zarr --forget forgets damaged blocks; "
        "then ravine resume runs.zarr goes on, and makes them again"
    )
    lines = run("verify", "runs.zarr", "--forget", code=1).output.splitlines()
    assert lines[-1] == "runs.zarr: 5 of 6 runs are there and not forgotten; ravine resume runs.zarr goes on"
    run("resume", "runs.zarr")
    run("verify", "runs.zarr")
    assert ravine.open(interrupted).load().identical(swept())


def test_force_deletes_a_store_and_nothing_else(tmp_path):
    folder = tmp_path / "mine.zarr"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    for force in ([], ["--force"]):
        assert "is a folder, but no store of a sweep" in refused(*SWEPT, "-o", folder, *force)
    assert (folder / "notes.txt").read_text() == "mine"
    file = tmp_path / "file.zarr"
    file.write_text("mine")
    assert "is a file, and a store is a folder" in refused(*SWEPT, "-o", file, "--force")
    assert file.read_text() == "mine"
    assert not list(tmp_path.glob("*.png"))
    picture = tmp_path / "new.png"
    picture.write_text("mine")
    assert "new.png exists already" in refused(*SWEPT, "-o", tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store that each slip leaves as it is."""
    out = tmp_path_factory.mktemp("kept") / "runs.zarr"
    run(*SWEPT, "-o", out)
    return out


@pytest.mark.parametrize(
    "slip",
    [
        ["--set", "lr=0.1"],
        ["--scheduler", "NoSuchLR()"],
        ["--seed", "one"],
        ["--optimizer", "Adm"],
        ["--set", "nonsense=1"],
    ],
)
def test_a_slip_of_the_pen_costs_no_store(slip, kept):
    refused(*SWEPT, *slip, "-o", kept, "--force")
    assert ravine.open(kept).load().identical(swept())


def test_force_waits_for_nobody_and_deletes_from_under_nobody(tmp_path):
    out = tmp_path / "runs.zarr"
    run(*SWEPT, "-o", out)
    with Store(out).writing():
        assert "is being written by process" in refused(*SWEPT, "-o", out, "--force")
        for words in (["resume", out], [*SWEPT, "-o", out]):  # nothing is left to be written
            run(*words)
    assert ravine.verify(out) == []
    Store(out).forget(0)
    with Store(out).writing():
        for words in (["resume", out], [*SWEPT, "-o", out], [*SWEPT, "-o", out, "--force"]):
            assert "is being written by process" in refused(*words)


def test_resume_of_what_cannot_be_resumed(tmp_path):
    study = tmp_path / "run.nc"
    ravine.save(ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=2), study)
    assert f"{study} is a file, and a store is a folder" in refused("resume", study)
    assert "there is no store" in refused("resume", tmp_path / "none.zarr")
    own = tmp_path / "own.zarr"
    ravine.sweep(ravine.gallery.rosenbrock(), lr=[1e-3], steps=2, store=own)
    assert f"{own} was begun from Python, not by ravine sweep: the same call" in refused("resume", own)
    for command in ("verify", "plot", "explain"):
        assert "is a folder, but no store of a sweep" in refused(command, tmp_path)


def test_only_sweeps_go_into_a_store(tmp_path):
    out = tmp_path / "run.zarr"
    assert f"--out should end in .nc, got {out}: only ravine sweep writes folders .zarr" in refused(
        "descend", "rosenbrock", "-o", out
    )
    assert not list(tmp_path.iterdir())


def test_a_table_that_changed_is_another_sweep(table, tmp_path):
    words = ["sweep", table, "--x", "dose", "--y", "effect", "--lr", "0.01,0.1", "-o", tmp_path / "runs.zarr"]
    run(*words)
    table.write_text(table.read_text().replace("6.5", "6.25"))
    assert "holds another sweep: data was" in refused("resume", tmp_path / "runs.zarr")


@pytest.mark.parametrize("name", ["runs.zar", "what.h5", "new", "run.png"])
def test_a_study_ends_in_nc_or_a_sweep_s_in_zarr(tmp_path, name):
    for command in ("sweep", "descend"):
        assert "should end in .nc" in refused(command, "quadratic", "--lr", "0.1", "-o", tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_hint_on_selecting_names_a_value_of_the_study(tmp_path):
    many = tmp_path / "many.nc"
    run("sweep", "quadratic", "--lr", "0.0001:0.001:30", "-o", many)
    hint = run("explain", many).output.splitlines()[-1]
    assert hint == "--at lr=0.0001 selects the runs with that lr; up to 24 are explained one by one."
    assert len(run("explain", many, *hint.split()[:2]).output.splitlines()) > 0

"""What people type on the command line works, or is answered in one line that names the call."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import processes
import ravine
from ravine.cli import app
from ravine.cli.options import GALLERY
from test_cli import refused, run

DOSE, EFFECT = [0.5, 1.0, 2.0, 3.5], [1.0, 2.5, 3.0, 6.5]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_points(tmp_path)
    return tmp_path


def write_points(folder):
    (folder / "points.csv").write_text("dose,effect\n0.5,1\n1,2.5\n2,3\n3.5,6.5\n")


def read(text, folder, name="table.csv", **asked):
    (folder / name).write_text(text)
    problem = ravine.Problem.from_csv(folder / name, **asked)
    return problem.parts.inputs[:, 0].tolist(), problem.parts.targets[:, 0].tolist(), problem.parts.names


# -- help, completion, output ------------------------------------------------------------------------------------------


def test_h_is_help_everywhere_and_every_option_is_explained():
    for command in (
        "",
        "article",
        "descend",
        "explore",
        "sweep",
        "resume",
        "verify",
        "landscape",
        "plot",
        "animate",
        "explain",
        "code",
    ):
        words = [command] if command else []
        said = run(*words, "-h").output
        assert said == run(*words, "--help").output
        assert "…" not in said  # nothing is cut in a window of 80 columns
    import typer.main

    for command in typer.main.get_command(app).commands.values():
        for option in command.params:
            assert getattr(option, "help", None), (command.name, option.name)


def test_help_lists_the_gallery_as_it_is():
    assert list(GALLERY) == list(ravine.gallery.__all__)
    said = " ".join(run("descend", "--help").output.replace("│", " ").split())
    assert all(name in said for name in GALLERY)


def test_completion_knows_commands_and_problems():
    def complete(words, at):
        asked = {"_RAVINE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        return processes.run(processes.COMMAND, env=asked).out.split()

    assert complete("ravine exp", 1) == ["explore", "explain"]
    assert complete("ravine descend ros", 2) == ["rosenbrock"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes that break")
def test_a_reader_that_leaves_early_is_no_error(here):
    for words in (["descend", "quadratic", "--lr", 0.1], ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        assert processes.run(processes.COMMAND, *words, stdout=writing).err == ""
        os.close(writing)
    assert ravine.open("quadratic-descent.nc").sizes["step"] == 101  # the work was done all the same


def test_how_runs_were_computed_is_said_when_asked_for(here):
    plain = run("sweep", "quadratic", "--lr", "0.1,0.2", "-o", "a.nc").output
    told = run("sweep", "quadratic", "--lr", "0.1,0.2", "-o", "b.nc", "-v").output
    assert "autograd" in told
    assert "of torch: every bit" in told
    assert not re.search("torch|engine|autograd|batch", plain)


# -- words -------------------------------------------------------------------------------------------------------------


def test_words_mean_what_they_mean_in_python(here):
    run(
        "descend",
        "points.csv",
        "--loss",
        "mse",
        "--optimizer",
        "adam",
        "--lr",
        0.1,
        "--scheduler",
        "cosine",
        "-o",
        "a.nc",
    )
    problem = ravine.Problem.from_csv("points.csv", criterion="mse")
    expected = ravine.descend(problem, "adam", lr=0.1, scheduler="cosine", also=("gradient",))
    study = ravine.open("a.nc")
    assert np.array_equal(study.position, expected.position)
    assert str(study.criterion.values) == "MSELoss"
    run("descend", "points.csv", "--criterion", "Huber", "--criterion", "MAE", "--lr", 0.1, "-o", "b.nc")
    assert ravine.open("b.nc").criterion.values.tolist() == ["HuberLoss", "L1Loss"]
    run("descend", "article", "--criterion", "l1", "--lr", 0.1, "-o", "c.nc")
    assert str(ravine.open("c.nc").criterion.values) == "L1Loss"
    run("descend", "Rosenbrock", "--lr", 1e-3, "-o", "d.nc")


@pytest.mark.parametrize(
    ("option", "many"), [("--lr", "0.1,0.2"), ("--momentum", "0.001:1:5:log"), ("--weight-decay", "0.1,0.2")]
)
def test_several_values_name_the_sweep(here, option, many):
    done = processes.run(processes.COMMAND, "descend", "quadratic", option, many)
    assert done.returncode == 2
    assert done.err.count("\n") == 1
    assert f"'{many}' is several values, and this makes one run; ravine sweep takes it" in done.err


def test_the_script_of_a_study(here):
    run("descend", "article", "--lr", 0.1, "--momentum", 0.9, "-o", "runs.nc")
    script = run("code", "runs.nc", "--at", "criterion=MSELoss").output
    one = ravine.open("runs.nc").sel(criterion="MSELoss")
    assert script.strip() == ravine.code(one).strip()
    run("code", "runs.nc", "--at", "criterion=MSELoss", "-o", "script.py")
    done = processes.run(here / "script.py", check=True)
    assert done.out.splitlines()[-1] == f"step 99, loss {one.loss.values[99].item()}"
    assert "select" in refused("code", "runs.nc")


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_table_comes_from_standard_input(here):
    done = CliRunner().invoke(app, ["descend", "-", "--lr", "0.05"], input=(here / "points.csv").read_text())
    assert done.exit_code == 0, done.output
    run("descend", "points.csv", "--lr", 0.05)
    assert np.array_equal(ravine.open("stdin-descent.nc").loss, ravine.open("points-descent.nc").loss)
    done = CliRunner().invoke(app, ["descend", "-", "--lr", "0.05", "-o", "b.nc"], input="nothing\n")
    assert done.exit_code == 2
    assert "standard input has 0 rows of data" in done.stderr
    assert "only from a file" in refused("sweep", "-", "--lr", "0.1,0.2", "-o", "runs.zarr")


def test_several_criteria_read_standard_input_once(here):
    words = ["descend", "-", "--lr", "0.05", "--loss", "mse", "--loss", "mae"]
    done = CliRunner().invoke(app, words, input=(here / "points.csv").read_text())
    assert done.exit_code == 0, done.output
    assert ravine.open("stdin-descent.nc").sizes["criterion"] == 2


def test_an_open_file_is_read(here):
    with (here / "points.csv").open() as text:
        from_text = ravine.Problem.from_csv(text)
    with (here / "points.csv").open("rb") as data:
        assert ravine.Problem.from_csv(data).parts.inputs.equal(from_text.parts.inputs)


@pytest.mark.parametrize("ending", ["xlsx", "parquet", "json", "jsonl"])
def test_tables_that_pandas_reads(here, ending):
    frame = pd.DataFrame({"dose": [*DOSE[:3], 0.1 + 0.2], "effect": EFFECT, "who": list("abcd")})
    file = here / f"points.{ending}"
    needs = {"xlsx": "openpyxl", "parquet": "pyarrow"}.get(ending)
    if needs and importlib.util.find_spec(needs) is None:
        file.write_bytes(b"PK")
        with pytest.raises(ModuleNotFoundError, match=f"needs {needs} to be read: pip install {needs}"):
            ravine.Problem.from_csv(file, "dose", "effect")
        assert f"pip install {needs}" in refused("descend", file)
        return
    write = {"xlsx": lambda: frame.to_excel(file, index=False), "parquet": lambda: frame.to_parquet(file)}
    write |= {"json": lambda: frame.to_json(file, double_precision=15), "jsonl": lambda: None}
    write[ending]()
    if ending == "jsonl":
        frame.to_json(file, orient="records", lines=True, double_precision=15)
    with file.open("rb") as piped:
        problems = ravine.Problem.from_csv(file, "dose", "effect"), ravine.Problem.from_csv(piped, "dose", "effect")
    for parts in (each.parts for each in problems):
        assert parts.inputs[:, 0].tolist() == np.array(frame["dose"], dtype=np.float32).tolist()
        assert parts.targets[:, 0].tolist() == EFFECT
    with pytest.raises(ValueError, match="column 'who', data row 1 is 'a'"):
        ravine.Problem.from_csv(file, "who", "effect")


def test_a_file_that_is_not_what_its_name_says(here):
    (here / "broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken.json cannot be read as json"):
        ravine.Problem.from_csv(here / "broken.json")


@pytest.mark.parametrize("text", ["[kg],y\n1,2\n2,3\n", "{x},y\n1,2\n2,3\n", "caf\udce9,y\n1,2\n2,3\n"])
def test_a_csv_that_begins_as_json_might_is_read_as_csv(text):
    parts = ravine.Problem.from_csv(io.StringIO(text)).parts
    assert (parts.inputs[:, 0].tolist(), parts.targets[:, 0].tolist()) == ([1, 2], [2, 3])


def test_columns_by_their_places(here):
    three = "a,b,c\n1,10,100\n2,20,200\n"
    assert read(three, here, x="0", y="2")[2] == ("a", "c")
    assert read(three, here, x=0, y=-1)[2] == ("a", "c")
    assert read("b,2,0\n1,10,100\n2,20,200\n", here, x="0", y="2") == ([100, 200], [10, 20], ("0", "2"))  # names first
    for text, said in (
        ("a,2,c\n1,10,100\n2,20,200\n", "no column '0' in the file: it has columns called a, 2, c"),
        ("1,10,100\n2,20,200\n", "it has no header, and its columns are called 1, 2, 3"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            read(text, here, x="0", y="2")
    with pytest.raises(ValueError, match="no column 7 in the file: it has 3, from 0 to 2"):
        read(three, here, x="7", y="2")
    (here / "three.csv").write_text(three)
    run("descend", "three.csv", "--x", 0, "--y", 2, "--lr", 0.01)


@pytest.mark.filterwarnings("ignore:[^\n]*it has no header")  # of the rows of numbers alone
@pytest.mark.parametrize(
    ("text", "inputs", "targets"),
    [
        ("a;b\n1,5;2\n3;4,25\n", [1.5, 3], [2, 4.25]),
        ("a\tb\n1,5\t2\n3\t4,25\n", [1.5, 3], [2, 4.25]),
        ('a,b\n"1,5","2"\n"3","4,25"\n', [1.5, 3], [2, 4.25]),
        ("a;b\n1.234,5;2\n3;4\n", [1234.5, 3], [2, 4]),
        ("1,5;2,5\n3,5;4,5\n", [1.5, 3.5], [2.5, 4.5]),
        ("a;b\n-1,5e2;2\n3;4\n", [-150, 3], [2, 4]),
    ],
)
def test_decimal_commas_that_can_be_nothing_else_are_read_and_said(here, text, inputs, targets):
    with pytest.warns(UserWarning, match="with a comma before the decimals, as in 1,5"):
        found = read(text, here)
    assert found[:2] == (inputs, targets)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "[^\n]*it has no header")
        assert read(text, here, decimal=",")[:2] == (inputs, targets)  # what is said is not guessed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a;b\n1,234;2\n3;4\n", "'1,234', which may be thousands or decimals"),
        ("a;b\n1,5;2.5\n3;4\n", "'1,5', which may be thousands"),
        ("a;b\n1,5;2.345\n3;4\n", "'1,5', which may be thousands"),
    ],
)
def test_commas_that_may_mean_two_things_are_refused(here, text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        read(text, here)


def test_the_decimal_sign_can_be_said(here):
    thousands = "a;b\n1,234;2\n3;4\n"
    assert read(thousands, here, decimal=",")[0] == [np.float32(1.234), 3]
    assert read(thousands, here, decimal=".")[0] == [1234, 3]
    assert read('a,b\n"1,234",2\n3,4\n', here)[0] == [1234, 3]  # as ever: in a file cut at commas it was quoted
    with pytest.raises(ValueError, match=r"'2.5', expected a finite number"):
        read("a;b\n1,5;2.5\n3;4\n", here, decimal=",")
    with pytest.raises(ValueError, match="decimal is the sign before the decimals"):
        read(thousands, here, decimal=";")
    (here / "comma.csv").write_text(thousands)
    run("descend", "comma.csv", "--decimal", ",", "--lr", 0.01)
    assert ravine.open("comma-descent.nc").inputs.values[0] == np.float32(1.234)


def test_a_column_that_counts_the_rows_is_left_out_and_said(here):
    frame = pd.DataFrame({"dose": DOSE, "effect": EFFECT})
    said = "column 'Unnamed: 0' is left out: it only counts the rows"
    with pytest.warns(UserWarning, match=said):
        assert read(frame.to_csv(), here)[2] == ("dose", "effect")
    with pytest.warns(UserWarning, match=said):
        assert read(frame.assign(age=1.0).to_csv(), here, x=["dose", "age"])[2] == ("dose, age", "effect")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(frame.to_csv(), here, x="dose", y="effect")[2] == ("dose", "effect")
        assert read(frame[["effect"]].to_csv(), here)[2] == ("Unnamed: 0", "effect")  # there is nothing else
        assert read(frame.to_csv(), here, x=0, y="effect")[2] == ("Unnamed: 0", "effect")  # it was asked for
    with pytest.raises(ValueError, match="say which columns are x"):
        read(frame.set_index("dose").assign(age=1.0).to_csv(), here)  # it has a name: it is data
    with pytest.raises(ValueError, match="say which columns are x"):
        read(",dose,effect\n7,1,2\n9,2,3\n", here)  # it counts nothing


# -- files that are there ----------------------------------------------------------------------------------------------


CALL = ("descend", "points.csv", "--lr", "0.05", "-o", "run.nc")


def test_the_same_command_writes_its_own_files_again(here):
    run(*CALL)
    before = os.stat("run.nc").st_mtime_ns
    time.sleep(0.01)
    run(*CALL)
    assert os.stat("run.nc").st_mtime_ns > before
    run("plot", "run.nc", "losses", "-o", "losses.png")
    run("plot", "run.nc", "losses", "-o", "losses.png")
    run("sweep", "points.csv", "--lr", "0.05,0.1", "-o", "sweep.nc")
    run("sweep", "points.csv", "--lr", "0.05,0.1", "-o", "sweep.nc")


@pytest.fixture(scope="module")
def descended(tmp_path_factory):
    """Where that call was made, once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("descended")
        patch.chdir(folder)
        write_points(folder)
        run(*CALL)
    return folder


def changed(here):
    (here / "points.csv").write_text("dose,effect\n0.5,1\n1,2.5\n2,3\n3.5,7\n")


def somebody(name):
    def write(here):
        (here / name).write_bytes(b"mine")

    return write


@pytest.mark.parametrize(
    ("between", "call"),
    [
        (lambda here: None, (*CALL[:3], "0.06", *CALL[4:])),
        (changed, CALL),
        (somebody("run.nc"), CALL),
        (somebody("run.png"), CALL),
    ],
    ids=["another command", "another input", "a study of somebody's", "a picture of somebody's"],
)
def test_files_of_others_are_never_overwritten(here, descended, between, call):
    shutil.copytree(descended, here, dirs_exist_ok=True)
    between(here)
    held = {name: (here / name).read_bytes() for name in ("run.nc", "run.png")}
    assert re.search(r"exists? already: choose another --out, or --force", refused(*call))
    assert held == {name: (here / name).read_bytes() for name in held}
    run(*call, "--force")
    run(*call)  # now it is this command's


def test_a_file_that_force_left_alone_is_not_taken_for_ones_own(here):
    run("sweep", "rosenbrock", "--lr", "1e-4,1e-3", "--summary", "-o", "sums.nc")
    (here / "sums.png").write_bytes(b"mine")
    run("sweep", "rosenbrock", "--lr", "1e-4,1e-3", "--summary", "-o", "sums.nc", "--force")
    if (here / "sums.png").read_bytes() == b"mine":  # a summary has no picture
        assert "already: choose" in refused("sweep", "rosenbrock", "--lr", "1e-4,1e-3", "--summary", "-o", "sums.nc")


def test_columns_in_one_word_with_commas(tmp_path):
    path = tmp_path / "five.csv"
    path.write_text('rooms,age,"tax, EUR",price\n' + "".join(f"{k},{k * k},{9 - k},{3 * k + 1}\n" for k in range(8)))
    for x in ("rooms,age", "rooms, age"):
        said = CliRunner().invoke(
            app,
            ["descend", str(path), "--x", x, "--y", "price", "--steps", "3", "-o", str(tmp_path / "a.nc"), "--force"],
        )
        assert said.exit_code == 0, said.output
        assert ravine.open(tmp_path / "a.nc").parameter.values.tolist() == ["rooms", "age", "bias"]
    one = ravine.Problem.from_csv(path, x="tax, EUR", y="price")  # a column's own name comes first
    assert one.parts.inputs.flatten().tolist() == [9.0 - k for k in range(8)]
    with pytest.raises(ValueError, match="no column 'rooms, ages'"):
        ravine.Problem.from_csv(path, x="rooms, ages", y="price")


def test_what_selects_is_said_as_it_is_typed_here(here):
    run("descend", "article", "--steps", 3, "-o", "run.nc")
    assert refused("code", "run.nc").endswith("for example --at criterion=MSELoss")
    assert "import torch" in run("code", "run.nc", "--at", "criterion=MSELoss").output

"""Problems: from functions, modules and files, and a clear word on what is wrong with any of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import ravine

pytestmark = pytest.mark.quick


def test_from_csv_reads_what_people_have(tmp_path):
    rows = [(1.0, 2.0), (2.5, 3.0), (4.0, -1.0)]
    texts = {
        "plain": "a,b\n1,2\n2.5,3\n4,-1\n",
        "semicolons": "a;b\n1;2\n2.5;3\n4;-1\n",
        "tabs and a byte order mark": "\ufeffa\tb\n1\t2\n2.5\t3\n4\t-1\n",
        "spaces after commas, quotes": '"a", "b"\n1, 2\n2.5, 3\n4, -1\n',
        "no header": "1,2\n2.5,3\n4,-1\n",
        "no end of line": "a,b\n1,2\n2.5,3\n4,-1",
    }
    for what, text in texts.items():
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        parts = ravine.Problem.from_csv(path).parts
        assert parts.inputs[:, 0].tolist() == [a for a, _ in rows], what
        assert parts.targets[:, 0].tolist() == [b for _, b in rows], what
    assert parts.inputs.dtype == torch.get_default_dtype()


def test_columns_by_name_and_several_inputs(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("age,bmi,who,y\n1,4,anna,7\n2,5,bert,8\n3,7,cleo,10\n")
    problem = ravine.Problem.from_csv(path, x=["bmi", "age"], y="y", criterion=torch.nn.L1Loss())
    assert problem.labels == ("weight[0,0]", "weight[0,1]", "bias")
    assert problem.parts.inputs.tolist() == [[4, 1], [5, 2], [7, 3]]
    assert problem.criterion == "L1Loss"
    run = ravine.descend(ravine.Problem.from_csv(path, x="bmi", y="y"), lr=0.01, steps=1)
    assert (run.inputs.attrs["long_name"], run.targets.attrs["long_name"]) == ("bmi", "y")


def test_standardize_brings_mean_0_and_deviation_1(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n100,2\n250,3\n400,-1\n")
    parts = ravine.Problem.from_csv(path, standardize=True).parts
    for column in (parts.inputs, parts.targets):
        assert float(column.mean()) == pytest.approx(0, abs=1e-7)
        assert float(column.std(correction=0)) == pytest.approx(1)
    path.write_text("a,b\n5,2\n5,3\n")
    with pytest.raises(ValueError, match="column 'a' is constant"):
        ravine.Problem.from_csv(path, standardize=True)


@pytest.mark.parametrize(
    ("text", "call", "words"),
    [
        ("", {}, "is empty; expected a header and at least two rows of numbers"),
        ("  \n\n", {}, "is empty"),
        ("a,b\n", {}, "has 0 rows of data; expected at least two"),
        ("a,b\n1,2\n", {}, "has 1 row of data; expected at least two"),
        ("a,b\n1,2\n3,x\n", {}, "column 'b', data row 2 is 'x', expected a finite number"),
        ("a,b\n1,2\n,4\n", {}, "column 'a', data row 2 is empty or NaN; remove or fill such rows first"),
        ("a,b\n1,2\n3,nan\n", {}, "column 'b', data row 2 is empty or NaN"),
        ("a,b\n1,2\n3,inf\n", {}, "data row 2 is"),
        ("a,b,c\n1,2,3\n3,4,5\n", {}, "say which columns are x (input) and y (target); the file has a, b, c"),
        ("a,b\n1,2\n3,4\n", {"x": "aa"}, "no column 'aa'; the file has a, b"),
        ("dose,effect\n1,2\n3,4\n", {"y": "efect"}, "(did you mean effect?)"),
        ("a,b\n1,2\n3,4\n", {"x": "a", "y": "a"}, "column 'a' cannot be both x and y"),
        ("a,b\n1,2\n3,4,5,6\n", {}, "is no table"),
        ("a;b\n1,5;2\n3;4\n", {}, "is '1,5', expected a finite number; write decimals with a point"),
    ],
)
def test_bad_files_are_told_in_one_line(tmp_path, text, call, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        ravine.Problem.from_csv(path, **call)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        ravine.Problem.from_csv(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no text file in UTF-8"):
        ravine.Problem.from_csv(tmp_path / "picture.csv")


def test_of_takes_arrays_tables_and_tensors():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]}).astype("float32")
    with torch.random.fork_rng():
        neuron = torch.nn.Linear(1, 1)
    for data in (
        (frame[["a"]], frame[["b"]]),
        (frame[["a"]].to_numpy(), frame[["b"]].to_numpy()),
        ([[1.0], [2.0]], [[3.0], [5.0]]),
    ):
        parts = ravine.Problem.of(neuron, torch.nn.MSELoss(), data).parts
        assert parts.inputs.tolist() == [[1], [2]]
        assert parts.targets.tolist() == [[3], [5]]
    array = np.ones((2, 1), dtype=np.float32)
    problem = ravine.Problem.of(neuron, torch.nn.MSELoss(), (array, array))
    array[:] = 7  # the problem has its own copy
    assert problem.parts.inputs.tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("criterion", "inputs", "targets", "words"),
    [
        (torch.nn.MSELoss(reduction="none"), (4, 1), (4, 1), "MSELoss (reduction='none') returned 4 numbers"),
        (torch.nn.MSELoss(), (4, 1), (4,), "would compare every one with every other; reshape the targets"),
        (torch.nn.MSELoss(), (4, 1), (3, 1), "inputs have 4 rows and targets 3 rows"),
        (torch.nn.MSELoss(), (0, 1), (0, 1), "inputs are empty"),
        (torch.nn.HuberLoss(delta=-1.0), (4, 1), (4, 1), "delta"),  # torch's own words
        (torch.nn.MSELoss(), (4, 2), (4, 1), "mat1 and mat2 shapes cannot be multiplied"),  # torch's own words
    ],
    ids=str,
)
def test_what_does_not_fit_is_said_when_the_problem_is_made(criterion, inputs, targets, words):
    with torch.random.fork_rng():
        neuron = torch.nn.Linear(1, 1)
    with pytest.raises((ValueError, RuntimeError)) as caught:
        ravine.Problem.of(neuron, criterion, (torch.ones(inputs), torch.ones(targets)))
    assert words in str(caught.value)


def test_values_that_are_not_finite_are_named():
    with torch.random.fork_rng():
        neuron = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"targets hold nan at \[1, 0\]"):
        ravine.Problem.of(neuron, torch.nn.MSELoss(), (torch.ones(2, 1), torch.tensor([[1.0], [torch.nan]])))


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({}, "start must be a mapping of at least one parameter name"),
        ({"step": 1.0}, "a parameter cannot be called 'step'"),
        ({"x": "one"}, "start of 'x' is no number or array: 'one'"),
        ({"x": float("nan")}, "start of 'x' is not finite"),
        ({"x": 1j}, "start of 'x' is complex"),
        ({"x": 1.0, "y": np.float64(2)}, "unlike dtypes"),
    ],
    ids=str,
)
def test_bad_starts(start, words):
    with pytest.raises(ValueError) as caught:
        ravine.Problem(lambda p: p["x"], start=start)
    assert words in str(caught.value)


def test_starting_at_moves_only_what_is_named(article):
    problem = article["MSELoss"].starting_at({"weight": 1})
    assert {name: value.item() for name, value in problem.start.items()} == {"weight": 1.0, "bias": -3.0}
    assert float(ravine.descend(problem, steps=0).position[0, 0]) == 1.0
    with pytest.raises(
        ValueError, match=r"no parameter 'wait'; the problem has weight, bias \(did you mean weight\?\)"
    ):
        article["MSELoss"].starting_at(wait=1)


def test_no_random_number_is_drawn(article):
    assert set(article) == {
        "MSELoss",
        "L1Loss",
        "HuberLoss",
        "SmoothL1Loss",
    }  # the fixture in conftest checks the state


def test_mappings_must_share_parameters(article):
    other = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    with pytest.raises(ValueError, match="parameters differ: 'a' has weight, bias and 'b' x"):
        ravine.descend({"a": article["MSELoss"], "b": other})
    with pytest.raises(ValueError, match="the mapping of problems is empty"):
        ravine.descend({})
    with pytest.raises(TypeError, match=r"'a' is a function, expected a ravine.Problem"):
        ravine.descend({"a": lambda p: p})


def test_lazy_modules_are_told():
    with pytest.raises(ValueError, match="LazyLinear has lazy parameters: call it on some inputs once"):
        ravine.Problem.of(torch.nn.LazyLinear(1), torch.nn.MSELoss(), (torch.ones(2, 1), torch.ones(2, 1)))

"""Problems: from functions, modules and files, and a clear word on what is wrong with any of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import ravine

pytestmark = pytest.mark.quick


@pytest.mark.filterwarnings("ignore:.*it has no header")
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
    assert problem.labels == ("bmi", "age", "bias")
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
        ("a;b\n1,5;2.5\n3;4\n", {}, "is '1,5', which may be thousands or decimals: say which with decimal="),
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
        (torch.nn.MSELoss(), (4, 2), (4, 1), "takes (…, 1) and gets shape (4, 2); give such inputs"),
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
        ({"": 1.0}, "a parameter cannot be called ''"),
        ({"x": "one"}, "start of 'x' is no number or array: 'one'"),
        ({"x": float("nan")}, "start of 'x' is not finite"),
        ({"x": 1j}, "start of 'x' is complex"),
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
    with pytest.raises(TypeError, match=r"'a' is the function <lambda>, expected a ravine.Problem"):
        ravine.descend({"a": lambda p: p})


def test_lazy_modules_are_told():
    with pytest.raises(ValueError, match="LazyLinear has lazy parameters: call it on some inputs once"):
        ravine.Problem.of(torch.nn.LazyLinear(1), torch.nn.MSELoss(), (torch.ones(2, 1), torch.ones(2, 1)))


def read(folder, text, written_in="utf-8", **how):
    path = folder / "table.csv"
    path.write_bytes(text.encode(written_in))
    return ravine.Problem.from_csv(path, **how)


ROWS = [(1.0, 2.0), (3.0, 4.0), (5.0, 6.5)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2,\n3,4,\n5,6.5,\n", ("a", "b")),
        ("a,b,\n1,2,\n3,4,\n5,6.5,\n", ("a", "b")),
        ("a;b;\n1;2;\n3;4;\n5;6.5;\n", ("a", "b")),
        ("a,b\n1,2,\n3,4\n5,6.5,\n", ("a", "b")),
        ("a\tb\n1\t2\t\n3\t4\t\n5\t6.5\t\n", ("a", "b")),
        ('"size; m2",price\n1,2\n3,4\n5,6.5\n', ("size; m2", "price")),
        ("size|m2,price\n1,2\n3,4\n5,6.5\n", ("size|m2", "price")),
        ('"a,b";c\n1;2\n3;4\n5;6.5\n', ("a,b", "c")),
        ("weight in kg,b\n1,2\n3,4\n5,6.5\n", ("weight in kg", "b")),
        ("# made by hand\na,b\n1,2\n# half-way\n3,4\n5,6.5\n", ("a", "b")),
        ("# a b\n1 2\n3 4\n5 6.5\n", ("a", "b")),
        ("  a    b \n  1    2 \n  3    4\n 5  6.5\n", ("a", "b")),
        ("'a','b'\n1,2\n3,4\n5,6.5\n", ("a", "b")),
        ('"a","b"\n"1",1,2\n"2",3,4\n"3",5,6.5\n', ("a", "b")),
        ("a b\nfirst 1 2\nsecond 3 4\nthird 5 6.5\n", ("a", "b")),
        ("a,b\r\n1,2\r\n3,4\r\n5,6.5\r\n", ("a", "b")),
        ("a,a\n1,2\n3,4\n5,6.5\n", ("a", "a.1")),
        ('"a" "b"\n"Mazda RX4" 1 2\n"Datsun 710" 3 4\n"Hornet" 5 6.5\n', ("a", "b")),
        ("a b\n1 1 2\n2 3 4\n3 5 6.5\n", ("a", "b")),
        ("a\tb\n0\t1\t2\n1\t3\t4\n2\t5\t6.5\n", ("a", "b")),
        ("sep=;\na;b\n1;2\n3;4\n5;6,5\n".replace(",", "."), ("a", "b")),
        ("\ufeffSEP=,\r\na,b\r\n1,2\r\n3,4\r\n5,6.5\r\n", ("a", "b")),
        ('"sep=|"\na|b\n1|2\n3|4\n5|6.5\n', ("a", "b")),
        ("sep=\t\na\tb\n1\t2\n3\t4\n5\t6.5\n", ("a", "b")),
        ("sep=,b\n1,2\n3,4\n5,6.5\n", ("sep=", "b")),
        ('\ufeff\ufeff"a",b\n1,2\n3,4\n5,6.5\n', ("a", "b")),
        ("a,b\r1,2\r3,4\r5,6.5\r\x1a", ("a", "b")),
        ('"a\x85c",b\n1,2\n3,4\n5,6.5\n', ("a\x85c", "b")),
        ('"a\u2028c",b\n1,2\n3,4\n5,6.5\n', ("a\u2028c", "b")),
    ],
)
def test_files_are_read_as_they_are_written(tmp_path, text, names):
    problem = read(tmp_path, text)
    assert problem.parts.names == names
    assert problem.parts.inputs[:, 0].tolist() == [x for x, _ in ROWS]
    assert problem.parts.targets[:, 0].tolist() == [y for _, y in ROWS]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a;b\n1\u00a0234,5;2\n2\u202f500;4\n", [1234.5, 2500]),
        ("a;b\n1'234.5;2\n-2\u2019500;4\n", [1234.5, -2500]),
        ("a;b\n1 234;2\n12 345 678;4\n", [1234, 12345678]),
        ("a,b\n\N{MINUS SIGN}1.5,2\n2.5,4\n", [-1.5, 2.5]),
    ],
    ids=["unbreakable spaces", "apostrophes", "spaces", "a minus of print"],
)
@pytest.mark.filterwarnings("ignore:.*comma before the decimals")
def test_numbers_as_other_countries_and_printers_write_them(tmp_path, text, numbers):
    assert read(tmp_path, text).parts.inputs[:, 0].tolist() == numbers


@pytest.mark.parametrize("error", ["#DIV/0!", "#N/A", "#VALUE!", "#NUM!", "#REF!"])
def test_a_row_that_begins_with_an_error_of_a_spreadsheet_is_no_comment(tmp_path, error):
    text = f"a,b\n{error},2\n3,4\n5,6\n# a comment\n7,{error}\n"
    with pytest.raises(ValueError, match=f"column 'a', data row 1 is '{error}', which is no number.*--drop-missing"):
        read(tmp_path, text)
    with pytest.warns(UserWarning, match="2 of 4 rows are left out"):
        assert read(tmp_path, text, drop_missing=True).parts.inputs[:, 0].tolist() == [3, 5]


def test_a_first_column_without_a_name_that_names_the_rows_is_left_out(tmp_path):
    with pytest.warns(UserWarning, match="'Unnamed: 0' is left out: it only names the rows"):
        problem = read(tmp_path, '"","a","b"\n"Mazda RX4",1,2\n"Datsun",3,4\n"Hornet",5,6.5\n')
    assert problem.parts.names == ("a", "b")
    with pytest.raises(ValueError, match="say which columns are x"):  # some are numbers: it may be data
        read(tmp_path, '"","a","b"\n"Mazda RX4",1,2\n7,3,4\n"Hornet",5,6.5\n')


def test_numbers_in_the_first_line_are_data_and_that_is_said(tmp_path):
    with pytest.warns(UserWarning, match="it has no header: its first row is data, and its columns are called 1, 2"):
        assert read(tmp_path, "1990,1991\n1,2\n3,4\n").parts.inputs[:, 0].tolist() == [1990, 1, 3]
    assert read(tmp_path, "1990,1991\n1,2\n3,4\n", x="1", y="2").parts.names == ("1", "2")  # who names them knows


def test_rows_that_are_longer_than_the_header_are_refused(tmp_path):
    with pytest.raises(ValueError, match="line 2 has 3 cells, expected 2"):
        read(tmp_path, "a,b\n1,2,3\n3,4,5\n")
    with pytest.raises(ValueError, match="line 3 has 3 cells, expected 2"):
        read(tmp_path, "a,b\n1,2\n3,4,5\n6,7\n")


def test_a_quoted_line_break_is_no_new_row_and_no_comment(tmp_path):
    problem = read(tmp_path, 'a,note,b\n1,"x\n# no comment",2\n3,y,4\n5,z,6.5\n', x="a", y="b")
    assert problem.parts.inputs[:, 0].tolist() == [1, 3, 5]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig"])
def test_encodings(tmp_path, encoding):
    text = "größe,€\n1,2\n3,4\n5,6.5\n" if encoding != "latin-1" else "größe,b\n1,2\n3,4\n5,6.5\n"
    assert read(tmp_path, text, encoding, encoding=encoding).parts.names[0] == "größe"
    if encoding.startswith("utf"):  # it says so itself
        assert read(tmp_path, text, encoding).parts.names[0] == "größe"
    else:
        with pytest.raises(ValueError, match=r'encoding="latin-1" \(--encoding latin-1\)'):
            read(tmp_path, text, encoding)
    for given, wrong in (("utf-8-sig", "latin-1"), ("utf-16", "utf-8"), ("utf-32", "cp1252")):
        assert read(tmp_path, text, given).parts.names[0] == "größe"
        with pytest.raises(ValueError, match="no text file in utf-8|begins with the mark of utf-.*, and so is not in"):
            read(tmp_path, text, given, encoding=wrong)
    with pytest.raises(ValueError, match="there is no encoding 'klingon'"):
        read(tmp_path, text, encoding="klingon")


@pytest.mark.parametrize("gap", ["", "NA", "?", "nan", ".", "NULL"])
def test_gaps_are_left_out_on_request_and_counted(tmp_path, gap):
    text = f"a,b,c\n1,2,1\n{gap},4,1\n3,4,1\n5,6.5,1\n7,8,{gap}\n"
    with pytest.warns(UserWarning, match="1 of 5 rows are left out, because a is missing there"):
        problem = read(tmp_path, text, x="a", y="b", drop_missing=True)
    assert problem.parts.inputs[:, 0].tolist() == [1, 3, 5, 7]
    with pytest.warns(UserWarning, match="2 of 5 rows are left out, because a, c are missing there"):
        read(tmp_path, text, x=["a", "c"], y="b", drop_missing=True)
    with pytest.raises(ValueError, match=r"column 'a', data row 2 is .*--drop-missing"):
        read(tmp_path, text, x="a", y="b")
    read(tmp_path, text.replace(f"{gap},4", "2,4"), x="a", y="b", drop_missing=True)  # without a warning
    with pytest.raises(ValueError, match="without the rows that have gaps 1 are left"):
        read(tmp_path, f"a,b\n1,2\n{gap},4\n", drop_missing=True)


def test_thousands_in_quotes(tmp_path):
    problem = read(tmp_path, 'a,b\n"1,234",2\n"-12,345.5",4\n"1,000,000",5\n7,8\n')
    assert problem.parts.inputs[:, 0].tolist() == [1234, -12345.5, 1_000_000, 7]
    with pytest.raises(ValueError, match="may be thousands or decimals"):
        read(tmp_path, "a;b\n1,234;2\n3;4\n")


def test_float64_where_float32_would_make_numbers_one(tmp_path):
    seconds = "".join(f"{1_700_000_000 + 60 * k},{k}\n" for k in range(40))
    problem = read(tmp_path, "t,y\n" + seconds)
    assert problem.start["weight"].dtype == problem.parts.inputs.dtype == torch.float64
    assert len(problem.parts.inputs.unique()) == 40
    assert read(tmp_path, "t,y\n" + seconds, standardize=True).parts.inputs.dtype == torch.float32
    assert read(tmp_path, "n,y\n16777216,1\n16777217,2\n16777218,3\n").parts.inputs.dtype == torch.float64
    assert read(tmp_path, "y,n\n1,16777216\n2,16777217\n").parts.targets.dtype == torch.float64
    assert read(tmp_path, "n,y\n1e300,1\n2,2\n").parts.inputs.dtype == torch.float64
    assert read(tmp_path, "n,y\n0.1,1\n0.1,2\n0.2,3\n").parts.inputs.dtype == torch.float32


def test_several_columns_keep_their_names(tmp_path):
    text = "Limit,Income,bias,Balance\n1,2,3,4\n4,5,7,6\n7,8,1,1\n"
    problem = read(tmp_path, text, x=["Limit", "Income"], y="Balance", start={"Income": 2.0, "bias": 5.0})
    assert problem.labels == ("Limit", "Income", "bias")
    assert problem.start["weight"].tolist() == [[0.0, 2.0]]
    run = ravine.descend(problem, lr=1e-3, steps=3)
    assert run.parameter.values.tolist() == ["Limit", "Income", "bias"]
    assert run.position[0].values.tolist() == [0.0, 2.0, 5.0]
    land = ravine.surface(problem, Limit=(-1, 1), Income=(0, 2), points=3)
    assert land.surface.dims == ("Income", "Limit")
    swept = ravine.sweep(problem, lr=[1e-3, 1e-2], steps=3, starts=[{"Limit": 0.0}, {"Limit": 1.0}])
    assert swept.parameter.values.tolist() == ["Limit", "Income", "bias"]
    both = ravine.descend(problem.in_double(), lr=1e-3, steps=3)
    assert both.parameter.values.tolist() == ["Limit", "Income", "bias"]
    odd = read(tmp_path, text, x=["Limit", "bias"], y="Balance")
    assert odd.labels == ("Limit", "weight[bias]", "bias")
    assert "Limit" not in ravine.code(run)  # plain torch has a weight and a bias
    with pytest.raises(ValueError, match=r"no parameter 'Limt'; the problem has .*did you mean Limit"):
        problem.starting_at(Limt=1.0)


def test_a_problem_fits_a_line(case):
    line = repr(case.problem)
    assert "\n" not in line
    assert len(line) <= 110
    assert line.startswith("<Problem: ")
    assert next(iter(case.problem.start)) in line


def test_a_line_says_what_a_problem_is_made_of():
    assert repr(ravine.gallery.article()["L1Loss"]) == "<Problem: Linear, L1Loss, 50 samples; start weight 6, bias −3>"
    wide = ravine.Problem(lambda p: p["w"].sum(), start={"w": torch.zeros(100, 3)})
    assert repr(wide) == "<Problem: start w 100×3>"
    assert len(repr(ravine.Problem(lambda p: 0, start={f"{'long' * 9}{k}": 0.0 for k in range(4)}))) == 110

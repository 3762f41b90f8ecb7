"""The article's page: it needs nothing else, its sentences are computed, and its claims are proved again here."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import math
import re
import shlex
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from typer.testing import CliRunner

import bare
import ravine
from ravine import article, cli
from ravine._html.inline import format_inline
from ravine._html.page import Claim, Listing, Page, Plate, Print, Section, Table, Text, find_matrix, make_html
from ravine._html.render import colors_of
from ravine._system import write_text
from ravine.article import claims, knobs, story, valley
from ravine.article.page import COMMANDS, LIBRARY, make_page
from ravine.article.words import ONCE
from ravine.plot._canvas.style import ARTICLE, DARK, RAVINE

VOID = {"meta", "link", "img", "br", "hr", "input"}
CRITERIA = {"MSELoss": torch.nn.MSELoss(), "L1Loss": torch.nn.L1Loss(), "HuberLoss": torch.nn.HuberLoss()}
TURNED = {
    "half": {"momentum": 0.5},
    "diverging": {"lr": 2.0},
    "short": {"momentum": 0.0, "nesterov": False, "steps": 5},
    "everything": {"lr": 0.05, "momentum": 0.7, "dampening": 0.3, "weight_decay": 0.0, "steps": 110},
}


class Walk(HTMLParser):
    """What an HTML file holds; complains where tags do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.headings, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.open[-3:], self.getpos())

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module", autouse=True)
def shared_parts(told, proofs):
    """Made once for all pages, as no knob turns it: the article's own study and its claims."""
    with pytest.MonkeyPatch.context() as patch:
        make_study, check = article.figures.study, claims.check_claims
        patch.setattr(article.figures, "study", lambda **given: make_study(**given) if given else told)
        checked = lambda study: list(proofs.values()) if study is told else check(study)  # noqa: E731
        patch.setattr("ravine.article.page.check_claims", checked)
        yield


@pytest.fixture
def page(written_page):
    return written_page[0]


@pytest.fixture(scope="module")
def written(written_page):
    return written_page[1]


def as_html(page):
    return make_html(page, RAVINE, DARK, RAVINE)


@pytest.fixture(scope="module")
def walked(written):
    return Walk(written)


def sections_of(sections):
    for section in sections:
        yield section
        yield from sections_of(section.inner)


def blocks_of(page, kind):
    return [b for section in sections_of(page.sections) for b in section.blocks if isinstance(b, kind)]


# -- the file ----------------------------------------------------------------------------------------------------


def test_ids_are_unique_and_every_link_has_its_target(walked):
    ids = [attrs["id"] for _, attrs in walked.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] for attrs in walked.all("a")]
    assert len(targets) > 40
    assert all(target.startswith("#") and target[1:] in ids for target in targets)
    assert all(attrs["aria-labelledby"] in ids for attrs in walked.all("section"))


def test_every_section_stands_in_the_contents(page, walked):
    parts = ["reading", "story", "knobs", "claims", "valley-of-100", "remember", "further", "colophon"]
    assert [section.id for section in page.sections] == parts
    targets = {attrs["href"] for attrs in walked.all("a")}
    for section in sections_of(page.sections):
        assert f"#{section.id}" in targets


def test_the_page_needs_nothing_else(written, walked):
    for _, attrs in walked.tags:
        for name in ("src", "srcset", "href", "data", "poster", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:")), attrs
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", written)
    assert "http" not in without_pictures
    assert "@import" not in written
    assert set(re.findall(r"url\([^)]*\)", without_pictures)) == {"url(#dark)"}
    assert len(written) < 6_000_000


def test_language_title_headings_and_size_for_phones(walked, page):
    assert walked.all("html")[0]["lang"] == "en"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in walked.all("meta")
    assert walked.headings[0] == 1
    assert walked.headings.count(1) == 1
    assert all(after <= before + 1 or after == 4 for before, after in pairwise(walked.headings))
    assert page.title in walked.words


def test_every_picture_is_inside_has_words_and_its_true_size(walked, page):
    images = walked.all("img")
    plates = blocks_of(page, Plate)
    assert len(images) == len(plates) >= 19
    for attrs, plate in zip(images, plates, strict=True):
        assert attrs["alt"] == plate.alt
        assert len(plate.alt) > 30
        assert len(plate.look) > 40
        kind, data = attrs["src"].split(",", 1)
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == (int(attrs["width"]), int(attrs["height"]))
            assert 700 <= image.width <= 1900
            assert len(image.convert("RGB").getcolors(256)) > 8


def test_the_ten_figures_in_order(page):
    numbers = [int(plate.id.removeprefix("figure-")) for plate in blocks_of(page, Plate) if plate.id.startswith("fig")]
    assert numbers == list(range(1, 11))


def test_the_thirteen_numbers_of_the_log_are_printed(walked):
    text = "".join(walked.words)
    for line in (*range(10), 97, 98, 99):
        assert len(re.findall(rf"epoch {line}, loss \d", text)) == 1
    assert "epoch 0, loss 53.078269958496094" in text
    assert "epoch 98, loss 0.4994412362575531" in text


def test_the_same_call_writes_the_same_bytes(told):
    """Two chapters, each time from the study; with ``-m slow`` the whole page, below."""

    def make():
        data = story.StoryData(told, {n: article.FIGURES[n].draw(told, "ravine") for n in (2, 4)}, "ravine")
        return as_html(Page("T", "l", [], [], [story._make_line(data), story._make_descent(data)]))

    first = make()
    assert first.count("<img") == 2
    assert make() == first


@pytest.mark.slow
def test_the_command_writes_the_page(told, written):
    assert as_html(make_page(told, article.draw_figures(told))) == written


def test_written_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "index.html"
    path.write_text("old")
    write_text("new", path)
    assert path.read_text() == "new"
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode

    def broken(*_):
        raise OSError("no room")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="no room"):
        write_text("newer", path)
    assert path.read_text() == "new"
    assert {each.name for each in tmp_path.iterdir()} == {"index.html", "other"}


def test_text_cannot_become_markup():
    assert "<script>" not in format_inline("<script>alert('x')</script> `<b>` *<i>*")
    assert format_inline("2 * 3 * 4") == "2 * 3 * 4"
    assert "<a" not in format_inline("[there](javascript:alert(1))")
    assert "<img" not in format_inline("![x](#y) <img src=x>")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("at -3, and 5 - 2; well-known, 1e-3", "at \N{MINUS SIGN}3, and 5 \N{MINUS SIGN} 2; well-known, 1e-3"),
        ("the article's", "the article\N{RIGHT SINGLE QUOTATION MARK}s"),
        ("`lr - 3` is *so* & [there](#a-b)", '<code>lr - 3</code> is <em>so</em> &amp; <a href="#a-b">there</a>'),
        ("weight_decay and _x_ \\* &lt;", "weight_decay and <em>x</em> \\* &amp;lt;"),
        ("a `b", "a `b"),
    ],
)
def test_marks_in_a_line(text, html):
    assert format_inline(text) == html


def test_colours_of_a_page_are_those_of_the_styles(written):
    for style in (RAVINE, DARK):
        for name, color in colors_of(style).items():
            assert f"--{name}: {color};" in written


# -- what is said ------------------------------------------------------------------------------------------------


def test_every_sentence_beneath_a_figure_is_one_that_explain_says(page, told):
    """And none is missing, but arrivals, which stand beside the picture, and what an earlier figure has said."""
    before = set()
    for number, run in {4: "plain", **article.RUN_OF}.items():
        runs = told.sel(run=run) if number > 4 else told.sel(run=run, criterion="MSELoss")
        said = {(each.whose, each.told): each for each in ravine.explain(runs)}
        (plate,) = (each for each in blocks_of(page, Plate) if each.id == f"figure-{number}")
        shown = {
            (label, line)
            for group in plate.findings
            for label in re.split(", | and ", group.whose)
            for line in (*group.first, *group.rest)
        }
        assert shown <= set(said)
        for _, line in set(said) - shown:
            arrived = re.match(r"It arrives at step (\d+):", line)
            assert line in before or (arrived and re.search(rf"\bat step {arrived[1]}\b", plate.look)), line
        before |= {each.told for each in said.values() if each.kind in ONCE}


def test_the_page_says_each_fact_once(page):
    defined = [text for text in texts_of(page) if "1 % of the gap at the start" in text]
    assert len(defined) == 1
    lines = [
        line
        for plate in blocks_of(page, Plate)
        if plate.id != "valley"  # its runs have settings of their own
        for group in plate.findings
        for line in (*group.first, *group.rest)
    ]
    assert not [line for line in lines if line.startswith("It arrives")]
    shared = [line for line in lines if "effective lr" in line or "the same function" in line]
    assert len(shared) == len(set(shared)) == 3  # with dampening the effective lr is another


def texts_of(page):
    for block in blocks_of(page, Text):
        yield from (block.words, *block.points)
    yield from (each.look for each in blocks_of(page, Plate))
    yield from (each.answer for each in blocks_of(page, Claim))
    for plate in blocks_of(page, Plate):
        for group in plate.findings:
            yield from (*group.first, *group.rest)


def test_the_script_beneath_a_figure_is_the_run(page, told):
    for number, run in {2: "plain", **article.RUN_OF}.items():
        (plate,) = (each for each in blocks_of(page, Plate) if each.id == f"figure-{number}")
        if number == 5:
            assert not plate.beneath  # the run of figure 2
            continue
        (script,) = plate.beneath
        printed = io.StringIO()
        with torch.random.fork_rng(), contextlib.redirect_stdout(printed):
            exec(script.text, {})
        losses = [float(line.split("loss ")[1]) for line in printed.getvalue().splitlines()]
        assert bare.same_bits(losses, told.loss.sel(run=run, criterion="MSELoss")[:-1])


def test_figure_7_in_numbers_adds_up(page):
    tables = [each for each in blocks_of(page, Table) if each.caption.startswith("The update from step")]
    assert len(tables) == 2
    for table in tables:
        rows = [[float(cell.replace("\N{MINUS SIGN}", "-")) for cell in row[1:]] for row in table.rows]
        before, velocity, gradient, after, update, end = map(np.array, rows)
        assert np.allclose(0.9 * velocity + gradient, after, atol=2e-4)
        assert np.allclose(before + update, end, atol=2e-4)


@pytest.mark.parametrize("given", [{"steps": 5}, {"steps": 60, "lr": 40.0}])
def test_figure_7_has_its_numbers_whatever_step_it_opens(given):
    study = article.study(**given)
    figures = {7: article.FIGURES[7].draw(study, "ravine")}
    chapter = story._make_nesterov(story.StoryData(study, figures, "ravine"))
    told = [each.caption for each in chapter.blocks if isinstance(each, Table)]
    for ax, run, caption in zip(figures[7].axes, ("momentum", "nesterov"), told, strict=False):
        step = article.step_shown(study.sel(run=run, criterion="MSELoss"), run)
        assert f"step {step}" in [text.get_text() for text in ax.texts]
        assert caption.startswith(f"The update from step {step} in the run “{run}”")
    assert len(told) == 2


def test_the_first_update_has_no_velocity_before_it():
    study = article.study(steps=1)
    figures = {7: article.FIGURES[7].draw(study, "ravine")}
    for table in story._make_nesterov(story.StoryData(study, figures, "ravine")).blocks:
        if isinstance(table, Table):
            rows = {title.partition(":")[0]: cells for title, *cells in table.rows}
            numbers = {
                title: [float(each.replace("\N{MINUS SIGN}", "-")) for each in cells] for title, cells in rows.items()
            }
            assert np.isfinite([*numbers.values()]).all()
            assert numbers["new velocity"] == numbers["gradient g there"]
            assert "velocity v so far" not in numbers


def test_the_page_prints_what_the_log_leaves_out(page, told):
    losses = told.loss.sel(run="plain", criterion="MSELoss").values
    words = next(each for each in texts_of(page) if "before* its step" in each)
    assert f"After the last step it is `{float(losses[-1])}`: no step follows" in words
    assert len(article.log(told)) == len(losses) - 1


DRAWN = ("diverging", "everything")


def shorten_asides(patch, page):
    """Take the valley, which no knob turns, from the article's page, on which numbers of single knobs are read as well.

    Runs of single knobs, which are not drawn here, are short.
    """
    (in_valley,) = (section for section in page.sections if section.id == "valley-of-100")
    patch.setattr("ravine.article.page.make_valley_section", lambda style: in_valley)
    patch.setattr(knobs, "STEPS", 20)
    patch.setattr(knobs, "sweep_knobs", functools.partial(knobs.sweep_knobs, 20))


@pytest.fixture(scope="module")
def make_turned(written_page):
    """Make a page on which knobs were turned, once; whole, or not drawn and without what is said of each knob alone."""

    def make(name):
        given = TURNED[name]
        study = article.study(**given)
        figures = article.draw_figures(study) if name in DRAWN else {}
        with pytest.MonkeyPatch.context() as patch:
            shorten_asides(patch, written_page[0])
            if name not in DRAWN:
                patch.setattr("ravine.article.page.make_knob_sections", lambda *_, **__: [])
                patch.setattr("ravine.article.page.make_switch_sections", lambda **_: [])
            return given, study, figures, make_page(study, figures, **given)

    return functools.cache(make)


@pytest.fixture(params=TURNED)
def turned(request, make_turned):
    return make_turned(request.param)


def test_what_was_turned_stands_at_the_top(turned):
    given, study, _, page = turned
    text = " ".join(page.turned)
    for name, value in given.items():
        said = {True: "on", False: "off"}.get(value, f"{value:g}") if isinstance(value, bool) else f"{value:g}"
        assert f"{name.replace('_', ' ')} {said} (the article: " in text
    ours = train(neuron(), torch.nn.MSELoss(), *columns(), lr=0.1)[1][:100]
    same = (
        bare.same_bits(study.loss.sel(run="plain", criterion="MSELoss")[:-1], ours)
        if study.sizes["step"] == 101
        else False
    )
    assert ("is still the article's" in text) == same
    assert ("is then not the article's" in text) != same


def test_settings_replace_the_articles_wherever_it_turns_them(turned):
    given, study, _, _ = turned
    for run, chosen in bare.SETTINGS.items():
        for name, value in chosen.items():
            assert study.sel(run=run)[name].item() == given.get(name, value)
        for name in {"momentum", "dampening", "weight_decay", "nesterov"} - set(chosen):
            assert study.sel(run=run)[name].item() == 0
    assert study.sizes["step"] == given.get("steps", 100) + 1


def test_arrivals_in_the_sentences_are_those_of_a_bare_loop(turned):
    given, study, _, page = turned
    plates = {plate.id: plate for plate in blocks_of(page, Plate)}
    several = [
        {name: given.get(name, value) for name, value in bare.SETTINGS[run].items()} for run in article.RUN_OF.values()
    ]
    for name, criterion in CRITERIA.items():
        for number, step in zip(article.RUN_OF, arrivals(criterion, study.sizes["step"] - 1, several), strict=True):
            said = plates[f"figure-{number}"].look + plates[f"figure-{number}"].alt
            told = re.search(rf"\b{name}(?: = \w+)? (?:arrives )?at step (\d+)", said)
            assert (told is None) == (step is None), (number, name, said)
            if told is not None:
                assert int(told[1]) == step


@pytest.mark.parametrize("name", [*DRAWN, *(pytest.param(n, marks=pytest.mark.slow) for n in TURNED if n not in DRAWN)])
def test_a_turned_page_can_be_drawn_and_has_the_same_chapters(name, page, make_turned):
    """The short one the command draws as well, below."""
    if name in DRAWN:
        _, _, figures, other = make_turned(name)
    else:
        study = article.study(**TURNED[name])
        figures = article.draw_figures(study)
        other = make_page(study, figures, **TURNED[name])
    ids = [section.id for section in sections_of(page.sections)]
    assert [section.id for section in sections_of(other.sections)] == ids
    assert set(figures) >= set(range(1, 11)) - {7}
    assert [claim.answer for claim in blocks_of(other, Claim)] == [claim.answer for claim in blocks_of(page, Claim)]


def test_runs_that_only_stand_at_one_place_are_not_called_one():
    study = article.study(lr=0.0, steps=2)
    chapter = story._make_decay(story.StoryData(study, {}, "ravine"))
    (plate,) = (block for block in chapter.blocks if isinstance(block, Plate) and block.id == "figure-9")
    assert "MSELoss = L1Loss" not in plate.look
    moved = [math.dist(lowest(name, 0.0)[0], lowest(name, 2.0)[0]) for name in CRITERIA]
    for name, distance in zip(CRITERIA, moved, strict=True):
        assert f"{distance:.3g} with {name}" in plate.look


@pytest.mark.parametrize(
    "given",
    [{"lr": math.nan, "steps": 20}, pytest.param({"momentum": 1.0, "steps": 1}, marks=pytest.mark.slow)],
    ids=str,
)
def test_settings_that_torch_lets_pass_make_a_page_too(given, page, monkeypatch):
    shorten_asides(monkeypatch, page)
    study = article.study(**given)
    other = make_page(study, article.draw_figures(study), **given)
    assert len(blocks_of(other, Plate)) >= 18


def test_a_figure_without_anything_to_show_is_left_out_and_said():
    """That it is left out the command says, with all figures drawn; here what stands in its place."""
    study = article.study(momentum=0.0, nesterov=False, steps=3)
    assert article.figures._draw_seventh(study, "ravine") is None
    chapter = story._make_nesterov(story.StoryData(study, {}, "ravine"))
    words = [block.words for block in chapter.blocks if isinstance(block, Text)]
    assert any("it is left out" in each for each in words)


def test_captions_at_the_articles_settings_are_the_articles(told):
    assert {n: article.caption(n, told) for n in article.FIGURES} == {n: e.caption for n, e in article.FIGURES.items()}
    assert article.settings() == article.RUNS


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"momentum": 0.0, "nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
        ({"nesterov": True, "dampening": 0.5}, "Nesterov momentum requires a momentum and zero dampening"),
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value: -1.0"),
    ],
)
def test_torch_refuses_before_any_work(given, said, tmp_path, monkeypatch):
    monkeypatch.setattr(article.figures, "study", lambda **_: pytest.fail("it began to work"))
    words = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in given.items()]
    result = CliRunner().invoke(cli.app, ["article", "--out", str(tmp_path / "out"), *words])
    assert result.exit_code == 2
    assert result.stderr.strip() == f"ravine: {said}"
    assert not (tmp_path / "out").exists()


def test_the_command_turns_knobs_and_says_what_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setattr("ravine._html.page.make_html", lambda page, *_: " ".join(page.turned))
    empty = Section("valley-of-100", "Drawn on the article's page, and turned by no knob", [])
    monkeypatch.setattr("ravine.article.page.make_valley_section", lambda style: empty)
    # these are among the values of each knob alone, whose pictures are therefore those of the article's page
    monkeypatch.setattr("ravine.article.page.make_knob_sections", lambda *_, **__: [])
    monkeypatch.setattr("ravine._html.page.print_figure", lambda figure: Print(b"", figure.get_figwidth()))
    (tmp_path / "figure_03.svg").write_text("mine")
    words = ["article", "--out", str(tmp_path), "--momentum", "0", "--steps", "5"]  # nesterov has nothing to work with
    words += ["--format", "svg", "--force"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "index.html").read_text()
    assert text.startswith(
        "Turned on this page: momentum 0 (the article: 0.9), nesterov off (the article: on) and steps 5"
    )
    assert result.stderr.splitlines()[0] == "ravine: momentum 0 leaves nesterov nothing to work with: it is off"
    assert "figure 7 is left out" in result.stdout
    assert {path.name for path in tmp_path.glob("figure_*")} == {f"figure_{k:02d}.svg" for k in range(1, 11) if k != 7}
    assert (tmp_path / "figure_03.svg").read_text().startswith("<?xml")
    assert (tmp_path / "log.txt").read_text().splitlines() == result.stdout.splitlines()[:5]


def test_an_existing_page_is_kept(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    result = CliRunner().invoke(cli.app, ["article", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "index.html exists already" in result.stderr
    assert (tmp_path / "index.html").read_text() == "mine"


def test_the_commands_on_the_page_run(tmp_path, monkeypatch, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "figures").mkdir()
    ravine.save(told, Path("figures/study.nc"))
    for line in COMMANDS.splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "ravine"
        if words[1] == "article":  # the page itself: its options are read elsewhere
            continue
        result = CliRunner().invoke(cli.app, words[1:])
        assert result.exit_code == 0, (line, result.stderr)
    exec(LIBRARY, {"print": lambda *_: None})
    assert Path("momentum.png").exists()


# -- the knobs, one at a time ------------------------------------------------------------------------------------


def neuron():
    with torch.random.fork_rng():
        return bare.article_neuron()


def train(*given, **settings):
    with torch.random.fork_rng():
        return bare.train(*given, **settings)


def columns():
    x, y = bare.article_data()
    return torch.from_numpy(x).reshape(-1, 1), torch.from_numpy(y).reshape(-1, 1)


def objective(positions, criterion, decay):
    """Loss plus decay in float64 at each (weight, bias)."""
    x, y = (torch.from_numpy(np.asarray(each, dtype=np.float64)) for each in bare.article_data())
    places = torch.tensor(np.asarray(positions), dtype=torch.float64)
    of_each = type(criterion)(reduction="none")
    losses = of_each(x * places[:, :1] + places[:, 1:], y.expand(len(places), -1)).mean(dim=1)
    return (losses + decay / 2 * (places**2).sum(dim=1)).numpy()


LOWEST = {}


def lowest(name, decay):
    """The minimum of loss plus decay, by a search of its own."""
    from scipy.optimize import minimize

    if (name, decay) not in LOWEST:
        criterion = CRITERIA[name]
        found = minimize(
            lambda p: objective([p], criterion, decay)[0],
            [0.5, 1.5],
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000, "maxfev": 4000},
        )
        LOWEST[name, decay] = found.x, found.fun
    return LOWEST[name, decay]


def train_beside(criterion, steps, several, dtype=torch.float32):
    """Positions (steps + 1, runs, 2) of bare runs with settings of their own, in one loop: each has a group."""
    x, y = (column.ravel().to(dtype) for column in columns())
    leaves = [torch.tensor([6.0, -3.0], dtype=dtype, requires_grad=True) for _ in several]
    rule = torch.optim.SGD([{"params": [leaf], **given} for leaf, given in zip(leaves, several, strict=True)], lr=0.1)
    of_each, positions = type(criterion)(reduction="none"), []
    for step in range(steps + 1):
        places = torch.stack(leaves)
        positions.append(places.detach().numpy())
        if step < steps:
            rule.zero_grad()
            of_each(x * places[:, :1] + places[:, 1:], y.expand(len(leaves), -1)).mean(1).sum().backward()
            rule.step()
    return np.array(positions)


def arrival(criterion, steps, **settings):
    return arrivals(criterion, steps, [settings])[0]


def arrivals(criterion, steps, several):
    """Where each of some runs comes within 1 % of its gap at the start, to stay; None where it does not."""
    found = []
    for positions, settings in zip(train_beside(criterion, steps, several).swapaxes(0, 1), several, strict=True):
        decay = settings.get("weight_decay", 0.0)
        with np.errstate(all="ignore"):
            gap = objective(positions, criterion, decay) - lowest(type(criterion).__name__, decay)[1]
            small = gap <= 0.01 * gap[0]
        away = np.flatnonzero(~small)
        first = away[-1] + 1 if len(away) else 0
        found.append(first if first <= steps else None)
    return found


@pytest.mark.parametrize("turn", knobs.TURNS, ids=lambda turn: turn.name)
def test_the_table_of_each_knob_against_bare_loops(page, turn):
    (section,) = (each for each in sections_of(page.sections) if each.id == f"alone-{turn.name}")
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert table.head[1:] == ["MSELoss", "L1Loss", "HuberLoss = SmoothL1Loss"]
    several = [{"lr": 0.1, **({"momentum": 0.9} if turn.beside else {}), turn.name: value} for value in turn.values]
    for place, (name, criterion) in enumerate(CRITERIA.items(), 1):
        for value, row, step in zip(turn.values, table.rows, arrivals(criterion, 600, several), strict=True):
            assert row[place] in ({str(step)} if step is not None else {"not in 600", "diverged"})
            assert (row[place] == "diverged") == (turn.name == "lr" and value == 1.0 and name == "MSELoss")


def powers(value):
    plain, power = f"{value:.2g}".split("e")
    raised = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in power.lstrip("-+0"))
    return f"{plain} \N{MULTIPLICATION SIGN} 10{'⁻' * power.startswith('-')}{raised}"


def test_implementations_are_measured(page):
    (section,) = (each for each in sections_of(page.sections) if each.id == "alone-implementations")
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    cells = {row[0]: row[1:] for row in table.rows}
    for way in ("foreach", "fused"):
        for settings, cell in zip(({"lr": 0.1}, {"lr": 0.1, "momentum": 0.9}), cells[f"{way}=True"], strict=True):
            away = 0.0
            for criterion in CRITERIA.values():
                paths = [train(neuron(), criterion, *columns(), **settings, **more)[0] for more in ({}, {way: True})]
                away = max(away, np.abs(paths[0] - paths[1]).max())
            assert cell == ("none, bit for bit" if away == 0 else powers(away))
    assert cells["differentiable=True"] == ["none, bit for bit"] * 2


# -- the claims, each proved again from plain loops --------------------------------------------------------------


@pytest.fixture(scope="module")
def proofs(told):
    return {claim.id: claim for claim in claims.check_claims(told)}


@pytest.fixture(scope="module")
def loops():
    """Positions, losses and gradients of the article's runs, from loops that know nothing of ravine."""
    found = {}
    x, y = (column.double() for column in columns())
    for run, settings in bare.SETTINGS.items():
        for name, criterion in CRITERIA.items():
            positions, losses = train(neuron(), criterion, *columns(), **settings)
            places = torch.tensor(positions, dtype=torch.float64, requires_grad=True)
            of_each = type(criterion)(reduction="none")
            of_each(x.T * places[:, :1] + places[:, 1:], y.T.expand(len(places), -1)).mean(1).sum().backward()
            found[run, name] = positions, losses, places.grad.numpy()
    return found


def test_all_claims_hold_and_are_on_the_page(proofs, page):
    assert [claim.id for claim in blocks_of(page, Claim)] == list(proofs)
    assert all(claim.holds for claim in proofs.values())
    assert {claim.verdict for claim in proofs.values()} == {"confirmed", "corrected", "needs a word"}
    places = {plate.id for plate in blocks_of(page, Plate)} | {each.id for each in sections_of(page.sections)}
    assert all(claim.where in places for claim in proofs.values())


def test_a_claim_that_turns_false_is_said_to(told):
    """Each is shown a study in which it is not so."""
    scaled = told.copy(deep=True)
    for name in ("position", "gradient", "velocity", "loss", "surface"):
        noise = np.random.default_rng(1).normal(size=told[name].shape).astype(np.float32)
        scaled[name] = told[name] + np.float32(3) * noise
    fallen = {claim.id for claim in claims.check_claims(scaled) if not claim.holds}
    expected = {
        "comes-down",
        "start",
        "smaller-steps",
        "same-function",
        "accumulated",
        "look-ahead",
        "goal",
        "incoming",
    }
    assert expected <= fallen


def test_an_unexpected_result_is_said_on_the_page():
    section = Section("c", "C", [Claim("one", "It is so.", "confirmed", False, "It is not.", {}, "")])
    text = as_html(Page("T", "l", [], [], [section]))
    assert "does not hold here" in text
    assert ">confirmed<" not in text


def test_comes_down_and_off_by_one(proofs, loops):
    losses = loops["plain", "MSELoss"][1]
    values = proofs["comes-down"].values
    x, y = (each.numpy().astype(float).ravel() for each in columns())
    slope, height = np.polyfit(x, y, 1)
    assert values["lowest"] == pytest.approx(np.mean((slope * x + height - y) ** 2), rel=1e-9)
    assert (values["first"], values["last_printed"]) == (losses[0], losses[99])
    assert values["last_printed"] == pytest.approx(values["lowest"], rel=1e-6)
    assert proofs["off-by-one"].values == {"printed": 100, "positions": 101, "end": losses[100]}
    assert "100 losses were printed, of 101 positions" in proofs["off-by-one"].answer


def test_grid_and_start(proofs):
    assert proofs["start"].values == {"weight": 6.0, "bias": -3.0}
    spacing, cell = 13 / 100, 13 / 101
    away = max(abs(-5 + cell / 2 + cell * i - (-5 + spacing * i)) for i in range(101))
    assert proofs["grid"].values["points"] == 101
    assert proofs["grid"].values["misplaced"] == pytest.approx(away, rel=1e-9)
    assert away == pytest.approx(0.0644, abs=1e-4)


def test_smaller_steps(proofs, loops):
    positions = loops["plain", "MSELoss"][0]
    lengths = [math.dist(a, b) for a, b in pairwise(positions)]
    count = proofs["smaller-steps"].values["updates"]
    assert all(after < before for before, after in pairwise(lengths[:count]))
    assert count == len(lengths) or lengths[count] >= lengths[count - 1]
    assert proofs["smaller-steps"].values["then"] == pytest.approx(lengths[count - 1], rel=1e-6)


def test_heights_and_faster(proofs, loops):
    x, y = columns()
    for name, criterion in CRITERIA.items():
        corners = [(w, b) for w in (-5.0, 8.0) for b in (-5.0, 8.0)]  # a convex function is highest at a corner
        highest = max(criterion(x * w + b, y).item() for w, b in corners)
        assert proofs["heights"].values[name] == pytest.approx(highest, rel=1e-6)
        assert proofs["faster"].values[name] == arrival(criterion, 300, lr=0.1)
        slope = np.hypot(*loops["plain", name][2][0])
        assert proofs["faster"].values["slopes"][name] == pytest.approx(slope, rel=1e-6)
    assert [proofs["faster"].values[name] for name in CRITERIA] == [12, 104, 110]


def test_same_function(proofs):
    residuals = [-3 + 6 * i / 1000 for i in range(1001)]
    huber = [0.5 * r * r if abs(r) <= 0.5 else 0.5 * (abs(r) - 0.25) for r in residuals]
    smooth = [r * r if abs(r) < 0.5 else abs(r) - 0.25 for r in residuals]
    apart = max(abs(h - s) for h, s in zip(huber, smooth, strict=True))
    assert proofs["same-function"].values["apart"] == pytest.approx(apart, rel=1e-9)
    assert max(abs(h - 0.5 * s) for h, s in zip(huber, smooth, strict=True)) < 1e-12
    one, other = (train(neuron(), c, *columns(), lr=0.1)
                  for c in (torch.nn.HuberLoss(), torch.nn.SmoothL1Loss()))  # fmt: skip
    assert proofs["same-function"].values["same"]
    assert bare.same_bits(one[0], other[0])


def test_accumulated(proofs, loops):
    gradients = loops["momentum", "MSELoss"][2]
    velocity = np.zeros(2)
    for k in range(10):
        velocity = 0.9 * velocity + gradients[k]
    missed = np.hypot(*(gradients[9] + 0.9 * gradients[8] - velocity)) / np.hypot(*velocity)
    assert proofs["accumulated"].values["two"] == pytest.approx(missed, rel=1e-4)
    assert proofs["accumulated"].values["all"] < 1e-6


def test_small_momentum(proofs):
    values = proofs["small-momentum"].values
    for name, criterion in CRITERIA.items():
        assert values[name] == (arrival(criterion, 300, lr=0.1), arrival(criterion, 300, lr=0.1, momentum=0.9))
    x = columns()[0].numpy().astype(float).ravel()
    hessian = 2 * np.array([[np.mean(x * x), np.mean(x)], [np.mean(x), 1]])
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert values["condition"] == pytest.approx(eigenvalues[1] / eigenvalues[0], rel=1e-6)
    assert values["valley"] == (valley_arrival(0.1, 0.0), valley_arrival(0.1, 0.9)) == (337, 49)


def valley_arrival(lr, momentum, nesterov=False, steps=400):
    """The bowl x²/100 + y² from (6, -3), in plain Python."""
    x, y, u, v = 6.0, -3.0, 0.0, 0.0
    gaps = [x * x / 100 + y * y]
    for _ in range(steps):
        gx, gy = x / 50, 2 * y
        u, v = momentum * u + gx, momentum * v + gy
        dx, dy = (gx + momentum * u, gy + momentum * v) if nesterov else (u, v)
        x, y = x - lr * dx, y - lr * dy
        gaps.append(x * x / 100 + y * y)
    return next(k for k in range(steps + 1) if all(gap <= 0.01 * gaps[0] for gap in gaps[k:]))


def overshoot(positions, goal):
    away = [math.dist(place, goal) for place in positions]
    first = next(k for k in range(len(away) - 1) if away[k + 1] > away[k])
    return max(away[first:]) / away[0]


def test_overshoots(proofs, loops):
    for name in CRITERIA:
        goal, _ = lowest(name, 0.0)
        with_momentum, ahead, damped = (
            overshoot(loops[run, name][0], goal) for run in ("momentum", "nesterov", "dampening")
        )
        assert proofs["overshoots"].values[name] == pytest.approx(with_momentum, rel=1e-3)
        assert proofs["cuts-overshoot"].values[name] == pytest.approx((with_momentum, ahead), rel=1e-3)
        assert proofs["moderates"].values[name] == pytest.approx((with_momentum, damped), rel=1e-3)


def test_limits_by_trying(proofs):
    """A stability limit is where runs begin to grow: torch in float64, on both sides of each."""
    limits = [
        ({"momentum": 0.9}, proofs["near-diverging"].values["limit"]),
        ({"momentum": 0.9}, proofs["cuts-overshoot"].values["limits"][0]),
        ({"momentum": 0.9, "nesterov": True}, proofs["cuts-overshoot"].values["limits"][1]),
    ]
    several = [{**settings, "lr": share * limit} for settings, limit in limits for share in (0.98, 1.02)]
    ends = train_beside(CRITERIA["MSELoss"], 500, several, torch.float64)[-1]
    assert np.isfinite(ends).all()
    assert (np.abs(ends).max(axis=1) > 100).tolist() == [False, True] * 3
    assert proofs["near-diverging"].values["share"] == pytest.approx(0.1 / proofs["near-diverging"].values["limit"])


def test_periods_and_half_life_by_counting(proofs, loops):
    positions = loops["momentum", "MSELoss"][0]
    x = columns()[0].numpy().astype(float).ravel()
    hessian = 2 * np.array([[np.mean(x * x), np.mean(x)], [np.mean(x), 1]])
    _, vectors = np.linalg.eigh(hessian)
    errors = (positions - lowest("MSELoss", 0.0)[0]) @ vectors
    told = proofs["near-diverging"].values
    for mode, period in ((0, told["long"]), (1, told["short"])):
        error = errors[:60, mode]
        crossings = [k + error[k] / (error[k] - error[k + 1]) for k in range(59) if error[k] * error[k + 1] < 0]
        assert 2 * np.diff(crossings).mean() == pytest.approx(period, rel=0.02)
    assert told["half_life"] == pytest.approx(math.log(0.5) / math.log(math.sqrt(0.9)), rel=1e-9)


def test_look_ahead(proofs, loops):
    """The textbook's own recurrence, in plain float64, lands one stretch of velocity behind torch's parameters."""
    x, y = (each.numpy().astype(float).ravel() for each in columns())

    def gradient(place):
        error = place[0] * x + place[1] - y
        return np.array([2 * np.mean(error * x), 2 * np.mean(error)])

    place, stride, furthest = np.array([6.0, -3.0]), np.zeros(2), 0.0
    for k, recorded in enumerate(loops["nesterov", "MSELoss"][0]):
        assert np.allclose(place + 0.9 * stride, recorded, atol=1e-4), k
        furthest = max(furthest, np.hypot(*(0.9 * stride)))
        stride = 0.9 * stride - 0.1 * gradient(place + 0.9 * stride)
        place = place + stride
    assert proofs["look-ahead"].values["between"] == pytest.approx(furthest, rel=1e-4)


def test_goal_and_least_on_l2(proofs, loops):
    for name in CRITERIA:
        values = proofs["goal"].values[name]
        data, goal = lowest(name, 0.0)[0], lowest(name, 2.0)[0]
        assert values["data"] == pytest.approx(tuple(data), abs=2e-4)
        assert values["goal"] == pytest.approx(tuple(goal), abs=2e-4)
        assert values["end"] == pytest.approx(tuple(loops["weight decay", name][0][-1]), abs=1e-6)
        slope = np.hypot(*loops["weight decay", name][2][0])
        pull = 2 * math.hypot(6, 3)
        assert proofs["least-on-l2"].values[name] == pytest.approx(pull / (pull + slope), rel=1e-6)
        assert proofs["least-on-l2"].values["moved"][name] == pytest.approx(math.dist(data, goal), abs=3e-4)


def test_incoming_and_moderates(proofs, loops):
    gradients = loops["dampening", "MSELoss"][2]
    velocity, other = gradients[0], []
    for k in range(1, 100):
        following = 0.9 * velocity + 0.2 * gradients[k]
        other.append(np.abs(0.9 * 0.2 * velocity + gradients[k] - following).max())
        velocity = following
    assert proofs["incoming"].values["momentum"] == pytest.approx(max(other), rel=1e-3)
    assert proofs["incoming"].values["first"] == 0
    values = proofs["moderates"].values
    for name, criterion in CRITERIA.items():
        pair = tuple(arrival(criterion, 300, **bare.SETTINGS[run]) for run in ("momentum", "dampening"))
        assert values["arrived"][name] == pair
    assert values["rates"] == pytest.approx((math.sqrt(0.9), math.sqrt(0.9)), rel=1e-9)


def test_the_narrow_valley_in_plain_python(page):
    (section,) = (each for each in sections_of(page.sections) if each.id == "valley-of-100")
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    for name, _, _, _, arrives in table.rows:
        settings = {
            "plain": (0.1, 0.0),
            "momentum": (0.1, 0.9),
            "nesterov": (0.1, 0.9, True),
        }.get(name)
        if settings:
            assert int(arrives) == valley_arrival(*settings)
    diagram = valley.sweep_valley()
    there = diagram.isel(problem=1)
    for values, cell in ((there, table.rows[4]), (there.sel(momentum=[0.0]), table.rows[3])):
        best = valley.find_best(values)
        assert int(cell[4]) == valley_arrival(best["lr"], best["momentum"]) == int(values.min())
        assert [f"{best['lr']:.3g}", f"{best['momentum']:.3g}"] == list(cell[1:3])
    (plate,) = (block for block in section.blocks if isinstance(block, Plate) and block.id == "phases")
    counts = re.findall(r"(\d+) of 45 with", plate.look)
    earlier = [valley_arrival(0.1, m, steps=600) < 49 for m in np.linspace(0, 0.98, 50) if m < 0.9 - 1e-9]
    assert int(counts[1]) == sum(earlier)


# -- in a browser ------------------------------------------------------------------------------------------------


WIDTHS = {"light": (320, 390, 768, 1100, 1400), "dark": (1400, 1100, 768, 390, 320)}


@pytest.fixture(scope="module")
def page_file(written, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_text(written, path)
    return path


@pytest.fixture(scope="module")
def open_tab(browser, page_file):
    """Open the page, light or dark, once for all tests that look at it; what it asks for and complains of is kept."""

    def open(scheme):
        view = {"width": WIDTHS[scheme][0], "height": 900}
        tab = browser.new_context(viewport=view, offline=True, color_scheme=scheme).new_page()
        tab.asked, tab.complaints = [], []
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.on("console", lambda message: tab.complaints.append(message.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.goto(page_file.as_uri())
        tab.wait_for_load_state("load")
        tab.unfolded = tab.locator("nav ol").first.is_visible()
        return tab

    return functools.cache(open)


@pytest.mark.parametrize("scheme", WIDTHS)
def test_in_a_browser(open_tab, page_file, scheme):
    """Opened narrow or wide, and then made wider or narrower."""
    tab = open_tab(scheme)
    size = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    clipped = (
        "[...document.querySelectorAll('td, th, li, p, h1, h2, h3')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60))"
    )
    for width in WIDTHS[scheme]:
        tab.set_viewport_size({"width": width, "height": 900})
        for opened in ("false", "true"):
            tab.evaluate(f"document.querySelectorAll('details').forEach(each => {{ each.open = {opened}; }})")
            assert tab.evaluate(size) == [width, width]
        assert tab.evaluate(clipped) == [], width
    assert [url for url in tab.asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert tab.complaints == []
    broken = "[...document.images].filter(each => !each.complete || each.naturalWidth < 700).length"
    assert tab.evaluate(broken) == 0


def test_figure_6_moves_and_can_be_turned_where_the_page_begins(browser, page_file, told):
    context = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True)
    tab = context.new_page()
    tab.goto(page_file.as_uri())
    title = told.sel(run="momentum")
    shown = ravine.plot.descent(title, title).texts[0].get_text()
    headline = tab.locator("#live h1", has_text="arrive").inner_text()
    assert shown.lower() == f"sgd, lr 0.1, {headline}".lower()
    tab.wait_for_function(
        "document.querySelector('#live').shadowRoot.querySelector('.stepno').textContent == 'step 100'"
    )
    box = tab.locator("#live").bounding_box()
    assert box["y"] + box["height"] < 800  # all of it on the first screen
    assert [each.inner_text() for each in tab.locator("#live .knob label").all()] == ["lr", "momentum"]
    tab.fill("#live [aria-label='momentum, as a number']", "0")
    tab.keyboard.press("Enter")
    run = told.sel(run="plain", criterion="MSELoss")
    tab.locator("#live .verdict", has_text=f"arrives at step {int(ravine.measure.arrival(run))}").wait_for()
    context.close()


def test_a_dark_page_shows_pictures_in_the_dark_styles_colours(open_tab):
    matrix = np.array(find_matrix(RAVINE, DARK))

    def turn(color):
        return matrix @ np.array([*to_rgb(color), 0, 1])

    close = {"ground": 0.01, "ink": 0.02, "contour": 0.1, "grid": 0.05, "number": 0.1}
    for name, bound in close.items():
        assert np.abs(turn(getattr(RAVINE, name)) - to_rgb(getattr(DARK, name))).max() < bound, name
    for ours, theirs in zip((*RAVINE.ramp, *RAVINE.accents[:3]), (*DARK.ramp, *DARK.accents[:3]), strict=True):
        assert np.abs(turn(ours).clip(0, 1) - to_rgb(theirs)).max() < 0.13, ours
    tab = open_tab("dark")
    tab.set_viewport_size({"width": 1100, "height": 900})
    picture = tab.locator("#figure-1 img")
    picture.scroll_into_view_if_needed()
    with Image.open(io.BytesIO(picture.screenshot())) as seen:
        _, paper = max(seen.convert("RGB").getcolors(10**6))
    assert np.abs(np.array(paper) - 255 * np.array(to_rgb(DARK.ground))).max() <= 2
    assert "feColorMatrix" not in make_html(Page("T", "l", [], [], []), RAVINE, DARK, ARTICLE)


def test_contents_are_folded_where_there_is_no_room(open_tab):
    """As it is opened narrow or wide, and when it is made narrower or wider."""
    assert [open_tab(scheme).unfolded for scheme in ("light", "dark")] == [False, True]
    tab = open_tab("light")
    for width in (390, 1400):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.evaluate("document.querySelectorAll('main details').forEach(each => { each.open = false; })")
        tab.locator("nav ol").first.wait_for(state="visible" if width == 1400 else "hidden")
        images = (
            "[...document.images].filter(each => each.closest('.card').scrollWidth > each.closest('.card').clientWidth)"
        )
        moving = tab.evaluate(f"{images}.map(each => each.closest('.plate').id)")
        assert "figure-6" not in moving
        assert moving == [] or width == 390


def test_code_can_be_copied_and_no_script_is_needed_to_read(browser, open_tab, page_file, page):
    scripts = [more for plate in blocks_of(page, Plate) for more in plate.beneath]
    copied = [each for each in (*scripts, *blocks_of(page, Listing)) if each.copied]
    tab = open_tab("light")
    tab.set_viewport_size({"width": 1100, "height": 900})
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = false; })")
    assert tab.locator("pre.copied").count() == tab.locator(".code button").count() == len(copied)
    tab.locator("details.script").first.locator("summary").click()
    button = tab.locator("details.script").first.locator("button")
    button.click()
    tab.wait_for_function("document.querySelector('details.script button').textContent === 'copied'")
    bare_context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True, java_script_enabled=False)
    tab = bare_context.new_page()
    tab.goto(page_file.as_uri())
    assert tab.locator(".code button").count() == 0
    assert tab.locator("h2").count() == len(page.sections)
    bare_context.close()

"""The server answers its own page and nobody else; the same page as a file, from the command line, in a notebook."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import socket
import threading
import tracemalloc
import warnings

import httpx
import numpy as np
import pytest
import torch
import uvicorn

import processes
import ravine
from node import STATIC
from pages import wait_until
from ravine._explore import explore as pages
from ravine._explore.answers import QuestionError, answer
from ravine._explore.server import MOST_BYTES, make_app, serve
from ravine._explore.standalone import make_html, make_page

ADDRESS, TOKEN = "http://127.0.0.1:8123", "a-token-of-this-test"
SETTINGS = {"lr": 0.001, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
QUESTION = {"settings": SETTINGS, "start": [-1.2, 1.0], "steps": 20}


def rosenbrock():
    return ravine.Problem(
        lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2,
        start={"x": -1.2, "y": 1.0},
        minimizers=[{"x": 1.0, "y": 1.0}],
    )


@pytest.fixture(scope="module")
def app():
    problem = rosenbrock()
    return make_app({"": problem}, make_page(problem), ADDRESS, TOKEN)


def ask(app, method="POST", path="/run", content=None, headers=None, client=None):
    """One request to the application, as the page would send it unless told otherwise."""
    sent = {"origin": ADDRESS, "x-ravine-token": TOKEN, "content-type": "application/json", **(headers or {})}
    sent = {name: value for name, value in sent.items() if value is not None}
    body = json.dumps(QUESTION) if content is None else content

    async def once():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as one:
            return await one.request(method, path, content=body if method == "POST" else None, headers=sent)

    return asyncio.run(once())


def numbers(text, dtype=np.float32):
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def test_runs_are_those_of_descend(app):
    (run,) = ask(app).json()["runs"]
    truth = ravine.descend(rosenbrock(), lr=0.001, momentum=0.9, steps=20, also=("gradient",))
    for name in ("position", "loss", "gradient"):
        np.testing.assert_array_equal(numbers(run[name]), truth[name].values.reshape(-1))
    assert run["landmark"]["place"] == [1.0, 1.0]
    assert run["own"] is None


def test_the_page_comes_without_a_token_and_holds_none(app):
    page = ask(app, "GET", "/", headers={"x-ravine-token": None, "origin": None})
    assert page.status_code == 200
    assert TOKEN not in page.text
    assert page.headers["x-frame-options"] == "DENY"
    assert f"connect-src {ADDRESS}" in page.text


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost:8123"},
        {"host": "127.0.0.1:1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"x-ravine-token": "another"},
        {"x-ravine-token": None},
        {"x-ravine-token": "é"},
    ],
    ids=str,
)
def test_strangers_are_refused(app, headers):
    encoded = {name: value.encode() if value else None for name, value in headers.items()}
    refused = ask(app, headers=encoded)
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b"[" * 50_000,
        json.dumps({**QUESTION, "steps": 10_001}),
        json.dumps({**QUESTION, "steps": 0}),
        json.dumps({**QUESTION, "steps": True}),
        json.dumps({**QUESTION, "steps": 1.5}),
        json.dumps({**QUESTION, "start": [0.0]}),
        json.dumps({**QUESTION, "start": [0.0, "x"]}),
        json.dumps({**QUESTION, "start": [0.0, 1e999]}),
        json.dumps({**QUESTION, "start": [0, 10**400]}),
        json.dumps({**QUESTION, "settings": {"lr": "fast"}}),
        json.dumps({**QUESTION, "settings": {"lr": float("nan")}}),
        json.dumps({**QUESTION, "settings": {"nesterov": 1}}),
        json.dumps({**QUESTION, "settings": {"fused": True}}),
        json.dumps({**QUESTION, "settings": 3}),
    ],
    ids=range(20),
)  # fmt: skip
def test_what_no_page_asks_is_a_bad_request(app, content):
    refused = ask(app, content=content)
    assert refused.status_code == 400
    assert refused.json()["error"]


def test_long_questions_and_other_ways_are_refused(app):
    assert ask(app, content=b" " * (MOST_BYTES + 1)).status_code == 413
    assert ask(app, path="/read").status_code == 400
    assert ask(app, "GET", "/run").status_code == 405
    assert ask(app, "DELETE", "/run").status_code == 405
    assert ask(app, "GET", "/../pyproject.toml").status_code in (404, 405)


def test_random_questions_never_break_it(app):
    random = np.random.default_rng(0)
    pool = [None, True, -1, 0, 3, 1e308, -1e-300, "x", [], {}, [1, 2], {"lr": 1}, "run", [[1]]]
    for _ in range(150):
        keys = random.choice(["settings", "start", "steps", "x", "y", "nx", "ny", "z"], size=4)
        question = {str(key): pool[int(random.integers(len(pool)))] for key in keys}
        path = str(random.choice(["/run", "/map"]))
        assert ask(app, path=path, content=json.dumps(question)).status_code in (200, 400)


def test_many_at_once_are_answered_and_memory_stays(app):
    async def crowd(count):
        headers = {"origin": ADDRESS, "x-ravine-token": TOKEN}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
            sent = [client.post("/run", json=QUESTION, headers=headers) for _ in range(count)]
            return [each.status_code for each in await asyncio.gather(*sent)]

    assert asyncio.run(crowd(10)) == [200] * 10
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    assert asyncio.run(crowd(50)) == [200] * 50
    grown = sum(each.size_diff for each in tracemalloc.take_snapshot().compare_to(before, "filename"))
    tracemalloc.stop()
    assert grown < 2_000_000


def test_refused_settings_come_in_torchs_words():
    told = answer({"": rosenbrock()}, "run", {**QUESTION, "settings": {**SETTINGS, "nesterov": True, "momentum": 0.0}})
    assert told == {"refused": "Nesterov momentum requires a momentum and zero dampening"}


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adagrad"])
def test_runs_of_other_optimizers_are_those_of_descend(name):
    own = {"betas": [0.8, 0.99]} if name.startswith("Adam") else {}
    settings = {"optimizer": name, "lr": 0.1, "weight_decay": 0.5, "maximize": False, **own}
    (run,) = answer({"": rosenbrock()}, "run", {**QUESTION, "settings": settings})["runs"]
    truth = ravine.descend(rosenbrock(), name, lr=0.1, weight_decay=0.5, steps=20, **own)
    np.testing.assert_array_equal(numbers(run["position"]), truth.position.values.reshape(-1))
    for wrong in ({"optimizer": "LBFGS"}, {"optimizer": ["Adam"]}, {"optimizer": name, "dampening": 0.5}):
        with pytest.raises(QuestionError, match="settings"):
            answer({"": rosenbrock()}, "run", {**QUESTION, "settings": wrong})


def test_a_loss_that_raises_is_told_in_its_panel():
    def fails(p):
        raise RuntimeError("no such place")

    problems = {"fine": rosenbrock(), "fails": ravine.Problem(fails, {"x": -1.2, "y": 1.0})}
    fine, fails = answer(problems, "run", QUESTION)["runs"]
    assert "position" in fine
    assert fails == {"error": "RuntimeError: no such place"}
    asked = {"x": [-2.0, 2.0], "y": [-1.0, 3.0], "nx": 5, "ny": 4}
    drawn, none = answer(problems, "map", asked)["maps"]
    assert none is None
    land = ravine.surface(problems["fine"], x=np.linspace(-2, 2, 5), y=np.linspace(-1, 3, 4)).surface
    np.testing.assert_array_equal(numbers(drawn, np.float64).reshape(4, 5), land.transpose("y", "x").values)


def test_how_soon_pairs_arrive_is_what_descend_says():
    problem = rosenbrock()
    asked = {"panel": 1, "start": [-1.0, 0.9], "steps": 40, "lrs": [1e-4, 2e-3, 1e-2], "second": "momentum"}
    asked |= {"seconds": [0.0, 0.9], "settings": {"lr": 1.0, "nesterov": True}}
    cells = answer({"a": ravine.gallery.quadratic(), "b": problem}, "pace", asked)["cells"]
    told = {"diverged": -1, "not arrived": 0}
    expected = [-2] * 3  # torch takes no nesterov without momentum
    for lr in asked["lrs"]:
        run = ravine.descend(problem.starting_at({"x": -1.0, "y": 0.9}), lr=lr, momentum=0.9, nesterov=True, steps=40)
        arrived = ravine.measure.arrival(run)
        expected.append(told.get(str(arrived.outcome.values), float(arrived) + 1))
    assert cells == expected
    assert {-1, 0} < set(cells)
    adam = {"second": "beta1", "seconds": [0.5], "lrs": [0.1], "settings": {"optimizer": "Adam", "betas": [0.9, 0.99]}}
    run = ravine.descend(problem.starting_at({"x": -1.0, "y": 0.9}), "Adam", lr=0.1, betas=(0.5, 0.99), steps=40)
    assert answer({"a": problem, "b": problem}, "pace", asked | adam)["cells"] == [
        told.get(str(ravine.measure.arrival(run).outcome.values), float(ravine.measure.arrival(run)) + 1)
    ]
    for wrong in ({"panel": 2}, {"panel": True}, {"second": "speed"}, {"lrs": []}, {"seconds": [0.1, 0.1]}, {"lrs": 3}):
        with pytest.raises(QuestionError, match=next(iter(wrong)).rstrip("s")):
            answer({"a": problem, "b": problem}, "pace", asked | wrong)


def test_a_map_is_no_larger_than_a_page_needs():
    for size in (1, 100_000, "3", None):
        with pytest.raises(QuestionError, match="a map has"):
            answer({"": rosenbrock()}, "map", {"x": [0, 1], "y": [0, 1], "nx": size, "ny": 300})


# ---- from Python ----------------------------------------------------------------------------------


def test_a_file_that_needs_nothing(tmp_path):
    path = ravine.explore(ravine.gallery.quadratic(condition=100), to=tmp_path / "valley.html", momentum=0.9)
    text = path.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "import " not in text.partition('<script type="module">')[2].replace("// ", "")[:50]
    assert "default-src 'none'" in text
    with pytest.raises(FileExistsError, match="exists already"):
        ravine.explore(to=path)
    assert ravine.explore(ravine.gallery.saddle(), to=path, force=True) == path


def test_what_has_no_page_is_refused_with_a_remedy(tmp_path, all_cases):
    file = tmp_path / "page.html"
    with pytest.raises(ValueError, match=r"exactly two parameters, this one has 17.*ravine\.plot\.losses.*surface"):
        ravine.explore(all_cases["network"].problem, to=file)
    with pytest.raises(ValueError, match="a server on this machine shows it"):
        ravine.explore(all_cases["rosenbrock"].problem, to=file)
    with pytest.raises(ValueError, match="up to 4 problems"):
        ravine.explore({str(k): ravine.gallery.saddle() for k in range(5)}, to=file)
    with pytest.raises(ValueError, match="no setting 'momentun' .did you mean momentum"):
        ravine.explore(to=file, momentun=0.9)
    with pytest.raises(ValueError, match="no setting 'momentum'; of Adam it has lr, weight_decay, maximize, betas"):
        ravine.explore(optimizer="adam", to=file, momentum=0.9)
    with pytest.raises(ValueError, match="betas must be two finite numbers, got 0.9"):
        ravine.explore(optimizer=torch.optim.Adam, to=file, betas=0.9)
    with pytest.raises(ValueError, match="the page has SGD, Adam, AdamW, RMSprop, Adagrad of torch.optim, got 'LBFGS'"):
        ravine.explore(optimizer="LBFGS", to=file)
    with pytest.raises(ValueError, match="nesterov must be True or False"):
        ravine.explore(to=file, nesterov=1)
    with pytest.raises(ValueError, match="lr must be a finite number"):
        ravine.explore(to=file, lr=float("inf"))
    with pytest.raises(ValueError, match=r"ends in \.html"):
        ravine.explore(to=tmp_path / "page.pdf")
    with pytest.raises(ValueError, match="steps must be a whole number"):
        ravine.explore(to=file, steps=0)
    starts = {"a": ravine.gallery.saddle(), "b": ravine.gallery.saddle().starting_at(x=1.0)}
    with pytest.raises(ValueError, match="begins all its problems at one place"):
        ravine.explore(starts, to=file)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["article", "csv"])
def test_cards_of_regressions_hold_their_data(name, all_cases):
    problem = all_cases[name].problem
    given = make_page(problem)
    card = given["cards"][given["own"]]
    np.testing.assert_array_equal(np.float32(card["inputs"]), problem.parts.inputs[:, 0].numpy())
    assert card["family"] == "neuron"
    assert "NaN" not in make_html(given).partition('id="given">')[2].partition("</script>")[0].replace('"NaN"', "")


def test_a_network_of_two_parameters_is_asked_of_python():
    x = torch.linspace(-1, 1, 9).reshape(-1, 1)
    model = torch.nn.Sequential(torch.nn.utils.skip_init(torch.nn.Linear, 1, 1), torch.nn.Tanh())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (x, torch.tanh(2 * x)))
    problems, given = pages.prepare(problem, {"lr": 0.5})
    assert given["cards"][given["own"]]["family"] == "python"
    asked = {"settings": {**SETTINGS, "lr": 0.5}, "start": [0.5, 0.5], "steps": 10}
    (run,) = answer(problems, "run", asked)["runs"]
    truth = ravine.descend(problem, lr=0.5, momentum=0.9, steps=10)
    np.testing.assert_array_equal(numbers(run["position"]), truth.position.values.reshape(-1))


@pytest.mark.filterwarnings("ignore")
def test_the_widget_answers_its_page():
    pytest.importorskip("anywidget")
    from ravine._explore.widget import make_widget

    widget = make_widget({"": rosenbrock()}, make_page(rosenbrock()))
    sent = []
    widget.send = sent.append
    widget._reply(widget, {"id": 7, "what": "run", "question": QUESTION}, [])
    widget._reply(widget, {"id": 8, "what": "run", "question": {}}, [])
    widget._reply(widget, "nonsense", [])
    assert [each["id"] for each in sent] == [7, 8]
    assert len(sent[0]["answer"]["runs"]) == 1
    assert "settings" in sent[1]["answer"]["gone"]
    assert "export default" in widget._esm


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_modules_can_be_joined_line_by_line_and_are_small(path):
    lines = path.read_text().splitlines()
    assert len(lines) < 250
    assert lines[0].startswith("// ")  # says what it is for
    for line in lines:
        assert line.count("`") % 2 == 0, line  # a text over several lines would lose its blanks
        assert "innerHTML" not in line
        assert "eval(" not in line
        assert "</script" not in line  # would end the script


# ---- from the command line ------------------------------------------------------------------------


def test_the_command_serves_until_ctrl_c():
    process = processes.start(processes.COMMAND, "explore", "quadratic(condition=100)", "--no-browser")
    address = process.wait_for_line()
    base, _, token = address.partition("/#token=")
    assert base.startswith("http://127.0.0.1:")
    assert len(token) >= 32
    assert "ravine" in httpx.get(base).text
    assert httpx.post(f"{base}/run", json=QUESTION).status_code == 403
    assert httpx.post(f"{base}/run", json=QUESTION, headers={"x-ravine-token": token}).status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.err == "ravine: interrupted\n"


def test_the_command_writes_a_file(tmp_path):
    table = tmp_path / "points.csv"
    table.write_text("dose,effect\n1,2\n2,3.5\n3,4\n")
    file = tmp_path / "page.html"
    words = ["explore", table, "--x", "dose", "--y", "effect", "--momentum", 0.9, "-o", file]
    process = processes.run(processes.COMMAND, *words)
    assert (process.returncode, process.err) == (0, "")
    assert process.out.startswith(str(file))
    given = json.loads(file.read_text().partition('id="given">')[2].partition("</script>")[0])
    assert given["settings"] == {"momentum": 0.9}
    labels = [each["label"] for each in given["cards"]["points.csv"]["criteria"]]
    assert labels == ["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"]


@contextlib.contextmanager
def serving(problem, **settings):
    """The page of a function that Python runs, behind a real server."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{bound.getsockname()[1]}"
    app = make_app({"": problem}, make_page(problem, settings=settings), address, TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield f"{address}/#token={TOKEN}"
    finally:
        server.should_exit = server.force_exit = True  # a page that a failed test left open is not waited for
        thread.join()
        bound.close()


@pytest.fixture
def served():
    with serving(rosenbrock()) as address:
        yield address


@pytest.mark.filterwarnings("default")
def test_a_pin_of_what_python_runs_stays_as_a_ghost(browser, served):
    context = browser.new_context()
    page = context.new_page()
    page.goto(served)
    wait_until(page, "ravine.shown.length > 0")
    bits = "[...{}.run.position].map(String)"
    before = page.evaluate(bits.format("ravine.shown[0].facts"))
    page.keyboard.press("p")
    page.fill("[aria-label='lr, as a number']", "0.0005")
    page.keyboard.press("Enter")
    wait_until(page, "ravine.shown[0].pinned && ravine.shown[0].facts.settings.lr === 0.0005")
    assert page.evaluate(bits.format("ravine.shown[0].pinned")) == before
    assert page.evaluate(bits.format("ravine.shown[0].facts")) != before
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("p")
    wait_until(page, "!ravine.shown[0].pinned")
    context.close()


INSIDE = (
    "ravine.visible().every(({ facts: { run: { position } }, panelView }) => panelView.view &&"
    " position.every((_, k) => k % 2 ||"
    " (([x, y]) => x >= 0 && y >= 0 && x <= panelView.view.width && y <= panelView.view.height)"
    "(panelView.at(position, k / 2))))"
)


@pytest.mark.filterwarnings("default")
def test_the_map_of_a_loss_of_ones_own_follows_the_run_and_has_the_column(browser):
    bump = ravine.Problem(lambda p: p["x"] ** 2 + 3 * p["y"] ** 2 + torch.sin(3 * p["x"]), {"x": 2.0, "y": 1.0})
    with serving(bump, lr=0.05) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.goto(address)
        wait_until(page, f"ravine.shown.length > 0 && {INSIDE}")
        for momentum in ("0.9", "0.95"):
            page.fill("[aria-label='momentum, as a number']", momentum)
            page.keyboard.press("Enter")
            wait_until(page, f"ravine.shown[0].facts.settings.momentum === {momentum} && !ravine.request && {INSIDE}")
        stage, maps = page.locator(".panel .stage").first.bounding_box(), page.locator(".maps").bounding_box()
        assert page.locator(".pace").is_hidden()
        assert stage["width"] > 0.9 * maps["width"]
        assert stage["y"] + stage["height"] < 742  # above the step bar
        wait_until(page, "ravine.gridOf(0, ravine.panelViews[0].view, false) !== null")
        context.close()


@pytest.mark.filterwarnings("default")
def test_what_python_refuses_is_told_in_the_panel_and_an_lr_of_0_holds_nothing_up(browser):
    with serving(rosenbrock(), lr=0.0) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        wait_until(page, "ravine.shown.length > 0")
        page.fill("[aria-label='start, x']", "1e30")
        page.keyboard.press("Tab")
        wait_until(page, "ravine.shown[0].error && !ravine.dirty && !ravine.request && !ravine.resting")
        told = "ValueError: the loss at the start is inf: start where it is finite"
        assert page.inner_text(".verdict .reason") == told
        assert page.inner_text("h1") == "Plain SGD at lr 0: no run"
        page.fill("[aria-label='start, x']", "1")
        page.keyboard.press("Tab")
        wait_until(page, "!ravine.shown[0].error && !ravine.request")
        context.close()


def test_filters_of_warnings_are_set_while_it_serves_and_put_back(monkeypatch):
    before, heard = list(warnings.filters), []

    def run(self, sockets):
        with warnings.catch_warnings(record=True) as said:
            warnings.warn("1,600 runs go one by one, about 9 s by a few timed steps", stacklevel=1)
            warnings.warn("runs of one's own loss", stacklevel=1)
        heard.extend(str(each.message) for each in said)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        serve({"": rosenbrock()}, make_page(rosenbrock()), browser=False)
    assert heard == ["runs of one's own loss"]
    assert warnings.filters == before

"""The article's page: its head, the story, the knobs one at a time, the claims, and what to remember."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ravine import gallery, theory
from ravine._explore.standalone import make_small
from ravine._format import names, number, setting
from ravine._html.page import Block, Claim, Drawing, Listing, Live, Page, Print, Section, Text, draw_plates
from ravine._study.contract import last_step
from ravine._study.provenance import describe
from ravine._study.rule import DEFAULTS
from ravine.article import figures
from ravine.article.claims import check_claims
from ravine.article.evidence import NEEDS_A_WORD
from ravine.article.figures import RUN_OF, STEPS
from ravine.article.knobs import make_knob_sections, make_switch_sections
from ravine.article.story import StoryData, make_chapters
from ravine.article.valley import make_valley_section

OURS: Mapping[str, Any] = {
    "lr": 0.1,
    "momentum": 0.9,
    "dampening": 0.8,
    "weight_decay": 2.0,
    "nesterov": True,
    "steps": STEPS,
}
"""The value that the article gives each knob where it turns it."""

MAPS = {
    "ravine": "the further from the paper in colour, the lower",
    "dark": "the lighter, the lower",
    "article": "in the article's own colours, from blue for low to white for high",
}
PATHS = {
    "ravine": "A ring is the start, each small dot a step, a filled dot the end.",
    "dark": "A ring is the start, each small dot a step, a filled dot the end.",
    "article": "Each red + is a position: the start, and one after each step.",
}
CROSS = (
    "*The cross* is the minimum of what is minimised. With weight decay that is called the goal, and a diamond marks "
    "where the minimum of the loss alone lies."
)


@dataclass(frozen=True, eq=False)
class Asides:
    """The parts of the page that need nothing of the study: each knob alone, and the same knobs in a valley."""

    knobs: Sequence[Section]
    valley: Section

    def draw(self) -> Asides:
        """Return them with their pictures drawn: half of the work on the page, which another process may do."""
        return Asides([draw_plates(each) for each in self.knobs], draw_plates(self.valley))


def make_asides(style: str, **turned: Any) -> Asides:
    """Make what needs nothing of the study; its pictures are not drawn yet."""
    given = {name: value for name, value in _drop_usual(turned).items() if name != "steps"}
    return Asides(make_knob_sections(style, **given), make_valley_section(style))


def make_page(
    study: xr.Dataset,
    drawings: Mapping[int, Drawing | Print],
    style: str = "ravine",
    asides: Callable[[], Asides] | None = None,
    **turned: Any,
) -> Page:
    """Compose the article's page from its study and figures.

    Parameters
    ----------
    study, drawings
        From `ravine.article.study` and `ravine.article.draw_figures`, with the same knobs turned; drawn, or printed.
    style
        How pictures look.
    asides
        Gives what `make_asides` makes of the same style and knobs, if it is being made already; asked for at the end.
    **turned
        What was turned, and ``steps`` where they are not the article's.
    """
    turned = _drop_usual(turned)
    own = figures.study() if turned else study
    checked = check_claims(own)
    chapters = make_chapters(StoryData(study, drawings, style))
    given = {name: value for name, value in turned.items() if name != "steps"}
    switches = make_switch_sections(**given)
    beside = make_asides(style, **turned) if asides is None else asides()
    sections = [
        Section("reading", "How to read the pictures", [_write_reading(style)]),
        Section("story", "The story", [_write_opening(bool(turned))], chapters),
        Section("knobs", "One knob at a time", [_write_alone(given)], [*beside.knobs, *switches]),
        Section("claims", "What the article says, and what is so", [_count_verdicts(checked), *checked]),
        Section("valley-of-100", beside.valley.title, beside.valley.blocks),
        Section("remember", "What to remember", [_write_remember(own, checked)]),
        Section("further", "Where to go on", _write_further()),
        Section("colophon", "Colophon", _write_colophon(study, turned)),
    ]
    return Page(
        "What every knob of SGD does",
        "One neuron, fifty points, four criteria, and every setting of `torch.optim.SGD` drawn as a path over the "
        "loss. The story is that of P. G. Baumstarck's article *Visualizing Gradient Descent Parameters in Torch*; "
        "all numbers and pictures were computed for this page, and what the article says is checked.",
        _list_facts(study),
        _write_notice(study, own, turned),
        sections,
        _make_live(study),
    )


def _drop_usual(turned: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in turned.items() if value != OURS[name]}


def _make_live(study: xr.Dataset) -> Live:
    """Return figure 6 as one that moves and can be turned, with the settings of its runs."""
    run = study.sel(run=RUN_OF[6])
    begun = {name: run[name].item() for name in DEFAULTS}
    known = {name: value for name, value in begun.items() if np.isfinite(value)}  # where it is not, torch's own
    style, script, given = make_small(gallery.article(), "article", {**known, "steps": last_step(run)})
    more = (
        "This is [figure 6](#figure-6), made as you look at it. Turn lr and momentum, drag a start: the sentences "
        "follow. `ravine explore article` opens the page with every knob."
    )
    return Live(style, script, given, "story$.start", "figure-6", more)


def _list_facts(study: xr.Dataset) -> list[str]:
    made = describe(study, "position")
    return [f"computed with torch {made['torch']}", f"ravine {made['ravine']}", "opens without a network"]


def _write_notice(study: xr.Dataset, own: xr.Dataset, turned: Mapping[str, Any]) -> list[str]:
    """Say plainly what is not the article's on this page."""
    if not turned:
        return []
    listed = names(
        [
            f"{_format_setting(name, value)} (the article: {_format_setting(name, OURS[name], False)})"
            for name, value in turned.items()
        ]
    )
    if figures.log(study) == figures.log(own):
        printed = "The printed log is still the article's: plain SGD has none of these knobs."
    else:
        printed = "*The printed log is then not the article's.*"
    return [
        f"Turned on this page: {listed}. The value stands wherever the article turns that knob, and whatever is said "
        "beneath the pictures follows from these runs.",
        f"{printed} The article's claims are checked at its own settings all the same.",
    ]


def _format_setting(name: str, value: Any, named: bool = True) -> str:
    text = ("on" if value else "off") if isinstance(value, bool) else setting(value)
    return f"{name.replace('_', ' ')} {text}" if named else text


def _write_reading(style: str) -> Text:
    return Text(
        points=(
            "*A map* has the bias from left to right and the weight from bottom to top. Each place on it is one "
            f"straight line through the data, and contours join places of equal loss; {MAPS[style]}.",
            f"*The path* is what the optimizer did. {PATHS[style]} Where many steps crowd in a small place, a corner "
            "of the map may show them enlarged.",
            *([CROSS] if style != "article" else []),
            "A run *arrives* at the first step from which its gap (what is minimised, less its minimum) stays at or "
            "below 1 % of the gap at the start. Every picture, sentence and table uses this one measure.",
            "Each sentence says how far it goes. *Exact*: it follows from torch's rule, or from the curvature of a "
            "loss that is a quadratic. *Local*: true near the minimum. *Measured*: read off the steps of this run.",
            "In formulas θ are the parameters, g their gradient, v the velocity (torch calls it "
            "`momentum_buffer`). A step is one call of the optimizer; step 0 is the start.",
        )
    )


def _write_opening(turned: bool) -> Text:
    words = (
        "A framework hides its machinery behind a friendly call, and that is what it is for. But whoever sets "
        "`momentum=0.9` because everybody does is copying a ritual. So: take a problem small enough to be seen whole, "
        "turn the knobs, and look."
    )
    return Text(words + " The ten figures are the article's, with the knobs turned as said at the top." * turned)


def _write_alone(given: Mapping[str, Any]) -> Text:
    turned = names([_format_setting(name, value) for name, value in given.items()])
    return Text(
        "The article turns its knobs one on top of the other. Here each is turned alone, from plain SGD; only those "
        "that torch ignores or refuses without momentum have momentum beside them. The maps show MSELoss, the tables "
        "all criteria; a run that diverges has no arrival."
        + (f" What was turned on this page ({turned}) is among the values, or stands beside them." if given else "")
    )


def _count_verdicts(checked: Sequence[Claim]) -> Text:
    counts = Counter(claim.verdict if claim.holds else "not as expected on this machine" for claim in checked)
    plural = {NEEDS_A_WORD: "need a word"}
    counted = names([f"{n} {plural.get(verdict, verdict) if n > 1 else verdict}" for verdict, n in counts.items()])
    return Text(
        f"{len(checked)} statements of the article, in our words, each held against runs at the article's own "
        f"settings: {counted}. The numbers in each answer were computed when this page was made."
    )


def _write_remember(own: xr.Dataset, checked: Sequence[Claim]) -> Text:
    known = {claim.id: claim.values for claim in checked}
    faster, small, price = known["faster"], known["small-momentum"], known["cuts-overshoot"]["limits"]
    curvatures = np.linalg.eigvalsh(own["hessian"].sel(run="plain", criterion="MSELoss").values)
    limit = float(theory.stability_limit(curvatures))
    return Text(
        points=(
            f"*The learning rate has a limit, and the curvature sets it*: 2 / {number(float(curvatures[-1]))} = "
            f"{number(limit)} for plain SGD on this bowl. Below it a run may be slow; above it, it is lost.",
            f"*The same lr is not the same pace.* With lr 0.1, MSELoss arrives at step {faster['MSELoss']}, L1Loss at "
            f"{faster['L1Loss']}, HuberLoss at {faster['HuberLoss']}. Change the criterion, and tune again.",
            f"*Momentum is for ravines.* In a round bowl 0.9 costs (step {small['MSELoss'][1]} instead of "
            f"{small['MSELoss'][0]}), in a narrow one it pays ({small['valley'][1]} instead of {small['valley'][0]}).",
            f"*Nesterov brakes earlier, and stands less*: with momentum 0.9 its limit is lr {number(price[1])}, not "
            f"{number(price[0])}.",
            "*Weight decay moves the goal.* The run does not miss the minimum; it is sent to another one, and the bias "
            "is pulled as well.",
            "*Dampening makes new gradients count less, not old ones.* On this bowl the swings become smaller and "
            "slower, and last as long.",
            "*One bowl is one bowl.* Ask for the condition number before you carry a lesson home from a picture.",
        )
    )


COMMANDS = """\
ravine article --momentum 0.5 --out half             # this page with a knob turned
ravine descend article --lr 0.3 --momentum 0.5       # one setting, all four criteria
ravine sweep article --lr 0.01:2:40:log --momentum 0:0.95:40
ravine explain figures/study.nc --at run=momentum    # all findings of figure 6
ravine descend "quadratic(condition=100)" --lr 0.1 --momentum 0.9"""

LIBRARY = """\
import ravine

problems = ravine.gallery.article()
runs = ravine.descend(problems, lr=0.1, momentum=0.9)
land = ravine.surface(problems, bias=(-5, 8), weight=(-5, 8))
ravine.plot.descent(runs, land).savefig("momentum.png")
for finding in ravine.explain(runs.sel(criterion="MSELoss")):
    print(finding)"""


def _write_further() -> list[Block]:
    return [
        Text("From the command line, where this page was made with `--out figures`:"),
        Listing("Commands", COMMANDS, shut=False),
        Text("From Python; your own model, criterion and data go through `ravine.Problem.of(model, criterion, data)`:"),
        Listing("Python", LIBRARY, shut=False),
        Text(
            points=(
                "G. Goh, “Why Momentum Really Works”, Distill 2017: the theory behind these periods and limits.",
                "P. G. Baumstarck, “Visualizing Gradient Descent Parameters in Torch”, 2024: the article.",
                "torch, `torch/optim/sgd.py`, `_single_tensor_sgd`: the rule itself.",
            )
        ),
    ]


def _write_colophon(study: xr.Dataset, turned: Mapping[str, Any]) -> list[Block]:
    made = describe(study, "position")
    options = "".join(f" {_format_option(name, value)}" for name, value in turned.items())
    versions = names([f"{name} {made[name]}" for name in ("torch", "numpy", "xarray", "python") if name in made])
    return [
        Text(
            f"Made by ravine {made['ravine']} with {versions}, on {made['processor']}. The runs are those of "
            "`torch.optim.SGD` itself, in float32; the tables of single knobs and the diagrams come from sweeps, which "
            "take torch's rule on many settings at once and are checked against torch as they run. The figures lie "
            "beside this page as files, every number of figures 1 to 10 is in `study.nc`, and the whole log in "
            "`log.txt`."
        ),
        Listing("This page again", f"ravine article --out figures{options}", shut=False),
    ]


def _format_option(name: str, value: Any) -> str:
    word = name.replace("_", "-")
    return f"--{'' if value else 'no-'}{word}" if isinstance(value, bool) else f"--{word} {value:g}"

"""The article: its runs, figures, log and page."""

from ravine.article.figures import (
    FIGURES,
    RUN_OF,
    RUNS,
    STEPS,
    caption,
    check,
    draw_figures,
    log,
    settings,
    step_shown,
    study,
)

__all__ = [
    "FIGURES",
    "RUNS",
    "RUN_OF",
    "STEPS",
    "caption",
    "check",
    "draw_figures",
    "log",
    "settings",
    "step_shown",
    "study",
]

"""The page in a notebook: an anywidget whose one module is the page joined, and which answers its questions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ravine._explore.answers import QuestionError, answer
from ravine._explore.standalone import join_modules, read_style
from ravine._problem.problem import Problem


@functools.cache
def _widget_class() -> Any:
    try:
        import anywidget
        import traitlets
    except ImportError:
        raise ImportError(
            "a notebook shows the page as a widget, which needs anywidget: pip install 'ravine[notebook]'; "
            'or write it with ravine.explore(problem, to="page.html")'
        ) from None

    class Page(anywidget.AnyWidget):
        """The live page; it shows itself where it stands last in a cell."""

        _esm = f"{join_modules('widget.js')}export default {{ render: widget$.render }};\n"
        _css = read_style("page.css")
        given = traitlets.Dict().tag(sync=True)

        def __init__(self, problems: Mapping[str, Problem], given: Mapping[str, Any]) -> None:
            super().__init__(given=dict(given))
            self._problems = problems
            self.on_msg(self._reply)

        def _reply(self, widget: Any, content: Any, buffers: Any) -> None:
            if not isinstance(content, dict) or "question" not in content:
                return
            try:
                found = answer(self._problems, str(content.get("what")), content["question"])
            except QuestionError as reason:
                found = {"gone": str(reason)}
            self.send({"id": content.get("id"), "answer": found})

    return Page


def make_widget(problems: Mapping[str, Problem], given: Mapping[str, Any]) -> Any:
    """Return the page as a widget.

    Raises
    ------
    ImportError
        If anywidget is not installed; it says how to install it.
    """
    return _widget_class()(problems, given)

"""Draws the pictures of the README again: python docs/draw.py."""

from pathlib import Path

import ravine

PICTURES = Path(__file__).parent / "pictures"


def main() -> None:
    """Draw each picture with the very call that the README shows."""
    PICTURES.mkdir(exist_ok=True)
    problems = ravine.gallery.article()
    land = ravine.surface(problems, bias=(-5, 8), weight=(-5, 8))
    runs = ravine.descend(problems, lr=0.1, momentum=0.9)
    ravine.plot.descent(runs, land).savefig(PICTURES / "momentum.png")

    rosenbrock = ravine.Problem(
        lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2, start={"x": -1.2, "y": 1.0}
    )
    run = ravine.descend(rosenbrock, lr=1e-3, momentum=0.9, steps=300)
    ravine.plot.descent(run, ravine.surface(rosenbrock, x=(-2, 2), y=(-1, 3))).savefig(PICTURES / "rosenbrock.png")


if __name__ == "__main__":
    main()

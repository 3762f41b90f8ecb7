"""How tests of pages in a browser wait: never for a while, always for the thing itself."""

from __future__ import annotations


def wait_until(page, true, frames=1, seconds=20):
    """Wait until an expression holds in so many frames in a row; the frames are the page's own.

    It is asked from outside: the live page's policy forbids Playwright's way, which evaluates text within the page.
    """
    came = page.evaluate(
        f"""new Promise((done) => {{
          const end = performance.now() + {1000 * seconds};
          let held = 0;
          const look = () => {{
            held = {true} ? held + 1 : 0;
            if (held < {frames} && performance.now() < end) requestAnimationFrame(look);
            else done(held >= {frames});
          }};
          requestAnimationFrame(look);
        }})"""
    )
    assert came, f"it does not come: {true}"

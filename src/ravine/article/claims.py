"""What the article says, each held against runs made for the purpose, at the article's own settings."""

from __future__ import annotations

import xarray as xr

from ravine._html.page import Claim
from ravine.article.criteria_claims import CRITERIA_CLAIMS
from ravine.article.evidence import Evidence
from ravine.article.knob_claims import KNOB_CLAIMS


def check_claims(study: xr.Dataset) -> list[Claim]:
    """Check every claim, in the article's order; `study` is the article's, with nothing turned.

    Examples
    --------
    >>> from ravine import article
    >>> claims = {claim.id: claim for claim in check_claims(article.study())}
    >>> claims["same-function"].verdict, claims["same-function"].holds
    ('corrected', True)
    """
    evidence = Evidence(study)
    return [claim(evidence) for claim in (*CRITERIA_CLAIMS, *KNOB_CLAIMS)]

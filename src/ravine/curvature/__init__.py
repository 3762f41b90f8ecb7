"""Curvature: where a loss is lowest and how it curves there."""

from ravine.curvature._eigenvalues import eigenvalues
from ravine.curvature._hessian import hessian, hessian_product, sharpness, top_eigenpairs
from ravine.curvature._landmarks import landmarks

__all__ = ["eigenvalues", "hessian", "hessian_product", "landmarks", "sharpness", "top_eigenpairs"]

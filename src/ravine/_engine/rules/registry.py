"""Which class of torch.optim has which rule."""

from __future__ import annotations

from collections.abc import Mapping

from ravine._engine.rules.adadelta import Adadelta
from ravine._engine.rules.adagrad import Adagrad
from ravine._engine.rules.adam import Adam, AdamW
from ravine._engine.rules.adamax import Adamax
from ravine._engine.rules.nadam import NAdam
from ravine._engine.rules.radam import RAdam
from ravine._engine.rules.rmsprop import RMSprop
from ravine._engine.rules.rule import Rule
from ravine._engine.rules.sgd import SGD

RULES: Mapping[str, type[Rule]] = {
    f"torch.optim.{rule.__name__.lower()}:{rule.__name__}": rule
    for rule in (SGD, Adam, AdamW, RMSprop, Adagrad, NAdam, RAdam, Adamax, Adadelta)
}
"""Rules by the path of exactly that class: a subclass may do anything."""

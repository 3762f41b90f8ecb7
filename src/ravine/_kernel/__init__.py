"""Compiled code: what torch does for one position of a linear neuron, or of layers, for many at once."""

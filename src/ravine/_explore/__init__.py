"""The live page: turn a knob, and everything follows."""

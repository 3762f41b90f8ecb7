"""Trainings that are over, from the states they saved: files, their order, names, and the recording made of them."""

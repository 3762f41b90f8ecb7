"""What every picture stands on: style, layout, axes, labels and words."""

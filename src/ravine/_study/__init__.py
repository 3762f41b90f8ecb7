"""The study contract between what computes and what draws."""

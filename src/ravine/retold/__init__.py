"""The article told anew as one page: its figures, why they look so, its claims with proofs, and a narrow valley."""

"""Update rules of torch.optim on tensors, for many settings at once: a file for each, all of one shape."""

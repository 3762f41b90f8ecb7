"""Update rules of torch.optim as functions of tensors, for many settings at once."""

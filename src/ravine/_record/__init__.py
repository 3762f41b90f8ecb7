"""Recording of a training loop that is nobody's but the user's."""

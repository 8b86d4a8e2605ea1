"""A generated landscape with its satellite scenes: the same pipeline without any download."""

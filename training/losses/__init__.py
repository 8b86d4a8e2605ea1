"""The terms of the losses, one to a file."""

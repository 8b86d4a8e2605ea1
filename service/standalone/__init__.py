"""The server that needs nothing beside it: API, worker, beat and Redis as the children of one process."""

"""Queued work: the steps of a job, one message each, for as many processes as there are. The ledger decides, not Redis."""

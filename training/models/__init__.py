"""The dense two-branch encoder with Gaussian experts, their fusion, and the mapping model on top."""

"""What crosses between the folders of landsigma: plain records, errors and the ledger of jobs."""

"""Pre-training, probes, calibration and evaluation of VDual-SimCLR."""

"""Archives of Sentinel-1/2 pairs behind one small interface, their labels, splits and checks."""

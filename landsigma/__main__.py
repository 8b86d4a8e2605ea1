"""The same as the console script: `python -m landsigma`."""

from landsigma.entry import main

if __name__ == "__main__":
    main()

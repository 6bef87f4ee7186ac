"""The command line: `./rubato up`, and all that can be asked of a running Rubato."""

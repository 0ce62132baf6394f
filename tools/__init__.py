"""Command-line programs; `--help` lists the options of each."""

"""The command line: one module a command, each with a `main`. The modules hold words and printing, the rooms work."""

"""The command line: Hydra composes, jobs are checked, then trained; each further command in a file."""

"""The command line: Hydra composes the jobs, which are checked, then trained; each other command has its own file."""
